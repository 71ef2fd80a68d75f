//! The statuses are larger than any that the host takes.

use sekisho_ordinary::Ordinary;
use sekisho_sdk::Status;

/// The plugin.
#[derive(Debug)]
pub struct HugeReport;

impl Ordinary for HugeReport {
    fn report(ordinary: Vec<Status>) -> Vec<Status> {
        let json = format!("\"{}\"", "a".repeat(65 << 20));
        ordinary.into_iter().map(|status| Status { json: json.clone(), ..status }).collect()
    }
}

sekisho_ordinary::export!(HugeReport);
