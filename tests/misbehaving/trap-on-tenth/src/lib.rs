//! Every tenth `route` of an instance traps.

use std::sync::atomic::{AtomicU32, Ordering};

use sekisho_ordinary::Ordinary;

/// The plugin.
#[derive(Debug)]
pub struct TrapOnTenth;

impl Ordinary for TrapOnTenth {
    fn route(_path: &str, ordinary: Option<u32>) -> Option<u32> {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let asked = ASKED.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(!asked.is_multiple_of(10), "the tenth");
        ordinary
    }
}

sekisho_ordinary::export!(TrapOnTenth);
