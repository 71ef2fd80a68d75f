//! What is counted of a plugin's calls off the request path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Failure;

/// The calls of one loaded plugin, by name. Control's threads alone share it.
#[derive(Debug, Default)]
pub struct Calls(Mutex<Counted>);

/// What [`Calls`] holds.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// By name of the call.
    pub calls: BTreeMap<&'static str, Call>,
    /// The last one that failed, and when.
    pub last_failure: Option<(SystemTime, Failure)>,
}

/// One kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// How many.
    pub count: u64,
    /// How many of these trapped.
    pub traps: u64,
    /// How many of these ran too long.
    pub overruns: u64,
    /// How long all took together.
    pub total: Duration,
    /// How long the longest took.
    pub longest: Duration,
}

impl Calls {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Counts a call that `Failure` is looked for in.
    pub(super) fn count<T>(&self, call: &'static str, make: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let started = Instant::now();
        let made = make();
        let took = started.elapsed();
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = counted.calls.entry(call).or_default();
        entry.count += 1;
        entry.total += took;
        entry.longest = entry.longest.max(took);
        if let Err(failure) = &made {
            if failure.overran {
                entry.overruns += 1;
            } else {
                entry.traps += 1;
            }
            counted.last_failure = Some((SystemTime::now(), failure.clone()));
        }
        made
    }

    /// A copy.
    #[must_use]
    pub fn counted(&self) -> Counted {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
