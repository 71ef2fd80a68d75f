//! `route` names a route that does not exist.

use sekisho_ordinary::{MISBEHAVE, Ordinary};

/// The plugin.
#[derive(Debug)]
pub struct IndexInRoute;

impl Ordinary for IndexInRoute {
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        if path == MISBEHAVE { Some(u32::MAX) } else { ordinary }
    }
}

sekisho_ordinary::export!(IndexInRoute);
