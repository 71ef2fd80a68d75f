//! `route` traps.

use sekisho_ordinary::{MISBEHAVE, Ordinary};

/// The plugin.
#[derive(Debug)]
pub struct TrapInRoute;

impl Ordinary for TrapInRoute {
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        assert_ne!(path, MISBEHAVE, "as it was asked to");
        ordinary
    }
}

sekisho_ordinary::export!(TrapInRoute);
