//! `report` traps.

use sekisho_ordinary::Ordinary;
use sekisho_sdk::Status;

/// The plugin.
#[derive(Debug)]
pub struct TrapInReport;

impl Ordinary for TrapInReport {
    fn report(_ordinary: Vec<Status>) -> Vec<Status> {
        panic!("it reports nothing")
    }
}

sekisho_ordinary::export!(TrapInReport);
