//! `route` returns, but long after its deadline.

use sekisho_ordinary::{MISBEHAVE, Ordinary};

/// The plugin.
#[derive(Debug)]
pub struct SlowLoop;

impl Ordinary for SlowLoop {
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        let beats = if path == MISBEHAVE { 100_000_000 } else { 0 };
        (0..beats).for_each(|beat| _ = std::hint::black_box(beat));
        ordinary
    }
}

sekisho_ordinary::export!(SlowLoop);
