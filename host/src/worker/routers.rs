//! A worker's plugin instances: one that answers, one in reserve, and a breaker for those that keep failing
//! (decision 4).

use std::time::{Duration, Instant};

use crate::plugin::{Failure, Head, Router};

/// Failures in [`BREAKER_WINDOW`] that open the breaker.
const BREAKER_FAILURES: u32 = 5;
/// What failures are counted over.
const BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// How long the breaker is open at first; it doubles up to [`BREAKER_LONGEST`].
const BREAKER_FIRST: Duration = Duration::from_secs(1);
/// How long the breaker is open at most.
const BREAKER_LONGEST: Duration = Duration::from_secs(30);

/// Two instances of one plugin that have loaded the same table.
#[derive(Debug)]
pub struct Loaded {
    /// Index of the plugin.
    pub plugin: usize,
    /// Which table.
    pub table: u64,
    /// The one that answers.
    pub active: Router,
    /// The one that takes its place.
    pub spare: Router,
}

/// Why there is no answer from a plugin.
#[derive(Debug)]
pub enum RouteError {
    /// It failed, and that instance is lost.
    Failed(Failure),
    /// It was not asked.
    Unavailable(&'static str),
}

pub(super) struct Routers {
    slots: Vec<Slot>,
    want_spare: Box<dyn Fn(usize)>,
}

#[derive(Default)]
struct Slot {
    table: u64,
    active: Option<Router>,
    spare: Option<Router>,
    breaker: Breaker,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    since: Option<Instant>,
    open_until: Option<Instant>,
    open_for: Duration,
}

impl Routers {
    pub(super) fn new(want_spare: Box<dyn Fn(usize)>) -> Self {
        Self { slots: Vec::new(), want_spare }
    }

    pub(super) fn replace(&mut self, loaded: Vec<Loaded>) {
        for Loaded { plugin, table, active, spare } in loaded {
            if self.slots.len() <= plugin {
                self.slots.resize_with(plugin + 1, Slot::default);
            }
            self.slots[plugin] = Slot { table, active: Some(active), spare: Some(spare), breaker: Breaker::default() };
        }
    }

    pub(super) fn add_spare(&mut self, plugin: usize, table: u64, router: Router) {
        let Some(slot) = self.slots.get_mut(plugin).filter(|slot| slot.table == table) else { return };
        if slot.active.is_none() {
            slot.active = Some(router);
            (self.want_spare)(plugin);
        } else {
            slot.spare = Some(router);
        }
    }

    pub(super) fn route(&mut self, plugin: usize, head: Head<'_>) -> Result<Option<u32>, RouteError> {
        let Some(slot) = self.slots.get_mut(plugin) else {
            return Err(RouteError::Unavailable("the plugin is not loaded"));
        };
        if slot.breaker.is_open(Instant::now) {
            return Err(RouteError::Unavailable("the plugin failed too often and is not called for a while"));
        }
        let Some(router) = &mut slot.active else {
            return Err(RouteError::Unavailable("the plugin failed and its replacement is not ready"));
        };
        match router.route(head) {
            Ok(route) => Ok(route),
            Err(failure) => {
                slot.active = slot.spare.take();
                // How long a call takes is also up to the client that sent the request; refusing the others for it would
                // hand that client the switch.
                if !failure.overran {
                    slot.breaker.failed(Instant::now());
                }
                tracing::error!(plugin = &*failure.plugin, "{failure}");
                (self.want_spare)(plugin);
                Err(RouteError::Failed(failure))
            }
        }
    }
}

impl Breaker {
    /// The clock is read only after a failure.
    fn is_open(&self, now: impl FnOnce() -> Instant) -> bool {
        self.open_until.is_some_and(|until| now() < until)
    }

    fn failed(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) > BREAKER_WINDOW) {
            self.since = Some(now);
            self.failures = 0;
            // A quiet window after the last opening forgives.
            if self.open_until.is_none_or(|until| now > until + BREAKER_WINDOW) {
                self.open_for = Duration::ZERO;
            }
        }
        self.failures += 1;
        if self.failures >= BREAKER_FAILURES {
            self.open_for =
                if self.open_for.is_zero() { BREAKER_FIRST } else { (self.open_for * 2).min(BREAKER_LONGEST) };
            self.open_until = Some(now + self.open_for);
            // One more failure after that opens it again.
            self.failures = BREAKER_FAILURES - 1;
            self.since = Some(now + self.open_for);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_breaker_opens_for_longer_each_time_and_forgives() {
        let start = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..BREAKER_FAILURES {
            assert!(!breaker.is_open(|| start));
            breaker.failed(start);
        }
        assert!(breaker.is_open(|| start));
        let again = start + BREAKER_FIRST;
        assert!(!breaker.is_open(|| again));
        breaker.failed(again);
        assert!(breaker.is_open(|| again + BREAKER_FIRST), "the second time is twice as long");
        let later = again + Duration::from_secs(60);
        breaker.failed(later);
        assert!(!breaker.is_open(|| later), "one failure after a quiet time");
    }
}
