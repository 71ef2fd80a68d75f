//! `route` writes ten thousand lines into the log.

use sekisho_ordinary::{MISBEHAVE, Ordinary};

/// The plugin.
#[derive(Debug)]
pub struct LogFlood;

impl Ordinary for LogFlood {
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        if path == MISBEHAVE {
            (0..10_000).for_each(|_| sekisho_sdk::log::info("flood"));
        }
        ordinary
    }
}

sekisho_ordinary::export!(LogFlood);
