//! `route` never returns.

use sekisho_ordinary::{MISBEHAVE, Ordinary};

/// The plugin.
#[derive(Debug)]
pub struct EndlessLoop;

impl Ordinary for EndlessLoop {
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        // Never zero, which the compiler is not told.
        let mut beat = u64::from(path == MISBEHAVE);
        while std::hint::black_box(beat) != 0 {
            beat = beat.rotate_left(1);
        }
        ordinary
    }
}

sekisho_ordinary::export!(EndlessLoop);
