//! What goes wrong because a test wants it to.

use std::time::Duration;

use super::calls::Calls;
use super::journal::Request;
use super::refusal::Refusal;

/// Troubles that wait for requests.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

#[derive(Debug)]
struct Fault {
    calls: Calls,
    left: usize,
    trouble: Trouble,
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// It is refused.
    Refuse(Refusal),
    /// It waits.
    Delay(Duration),
    /// It is told that what it watches from is too old.
    Expire,
    /// Somebody else writes the object first.
    Interfere,
}

impl Faults {
    /// The next so many of these requests have this trouble.
    pub(super) fn add(&mut self, calls: Calls, times: usize, trouble: Trouble) {
        self.0.push(Fault { calls, left: times, trouble });
    }

    /// Nothing goes wrong any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The troubles of this request, which are used up by it. Of two refusals that wait for it, it has the first.
    pub(super) fn meet(&mut self, request: &Request) -> Vec<Trouble> {
        let mut met = Vec::new();
        let mut refused = false;
        for fault in &mut self.0 {
            let refuses = matches!(fault.trouble, Trouble::Refuse(_));
            if fault.left > 0 && fault.calls.include(request) && !(refuses && refused) {
                fault.left -= 1;
                refused |= refuses;
                met.push(fault.trouble.clone());
            }
        }
        self.0.retain(|fault| fault.left > 0);
        met
    }
}
