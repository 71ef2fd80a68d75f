//! `load` traps on the table that `translate` made.

use sekisho_ordinary::Ordinary;

/// The plugin.
#[derive(Debug)]
pub struct TrapInLoad;

impl Ordinary for TrapInLoad {
    fn load() {
        panic!("it loads nothing")
    }
}

sekisho_ordinary::export!(TrapInLoad);
