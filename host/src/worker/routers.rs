//! A worker's plugin instances: one that answers, one in reserve, and a breaker for those that keep failing
//! (decision 4).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::decisions::Decisions;
use crate::plugin::{ConnectionHead, Failure, Head, Router};
use crate::tally::{Histogram, ROUTE_BOUNDS};

/// Failures in [`BREAKER_WINDOW`] that open the breaker.
const BREAKER_FAILURES: u32 = 5;
/// What failures are counted over.
const BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// How long the breaker is open at first; it doubles up to [`BREAKER_LONGEST`].
const BREAKER_FIRST: Duration = Duration::from_secs(1);
/// How long the breaker is open at most.
const BREAKER_LONGEST: Duration = Duration::from_secs(30);

/// Instances of a plugin that have loaded a table.
#[derive(Debug)]
pub struct Loaded {
    /// Index of the plugin.
    pub plugin: usize,
    /// Which table.
    pub table: u64,
    /// The one that answers.
    pub active: Router,
    /// The one that takes its place; without one it is asked for as soon as the other is in use.
    pub spare: Option<Router>,
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
    most_decisions: usize,
    want_spare: Box<dyn Fn(usize)>,
}

#[derive(Default)]
struct Slot {
    plugin: Option<Arc<str>>,
    counts: PluginCounts,
    table: u64,
    active: Option<Router>,
    spare: Option<Router>,
    breaker: Breaker,
    /// Of this table.
    decisions: Decisions,
}

/// What is counted of one plugin.
#[derive(Clone, Debug)]
struct PluginCounts {
    calls: Histogram,
    known: u64,
    traps: u64,
    overruns: u64,
    unavailable: u64,
    last_failure: Option<(SystemTime, Failure)>,
}

/// How a plugin does on one worker.
#[derive(Clone, Debug)]
pub struct PluginReport {
    /// Its bootstrap name.
    pub plugin: Arc<str>,
    /// `route` calls.
    pub calls: Histogram,
    /// Requests whose route was known from one before.
    pub known: u64,
    /// Calls that trapped.
    pub traps: u64,
    /// Calls that ran too long.
    pub overruns: u64,
    /// Requests for which it was not asked, because it had failed.
    pub unavailable: u64,
    /// Instances that have loaded its table.
    pub instances: usize,
    /// Their linear memory, in bytes.
    pub memory: usize,
    /// How long it is not to be asked yet.
    pub breaker_open: Option<Duration>,
    /// How often that happened.
    pub breaker_opened: u64,
    /// The last call that failed, and when.
    pub last_failure: Option<(SystemTime, Failure)>,
}

impl Default for PluginCounts {
    fn default() -> Self {
        let calls = Histogram::new(ROUTE_BOUNDS);
        Self { calls, known: 0, traps: 0, overruns: 0, unavailable: 0, last_failure: None }
    }
}

impl PluginCounts {
    fn failed(&mut self, failure: &Failure) {
        if failure.overran {
            self.overruns += 1;
        } else {
            self.traps += 1;
        }
        self.last_failure = Some((SystemTime::now(), failure.clone()));
    }
}

#[derive(Default)]
struct Breaker {
    opened: u64,
    failures: u32,
    since: Option<Instant>,
    open_until: Option<Instant>,
    open_for: Duration,
}

impl Routers {
    /// Each plugin's last `most_decisions` answers are kept.
    pub(super) fn new(most_decisions: usize, want_spare: Box<dyn Fn(usize)>) -> Self {
        Self { slots: Vec::new(), most_decisions, want_spare }
    }

    /// Takes instances into use; those that they replace.
    pub(super) fn replace(&mut self, loaded: Vec<Loaded>) -> Vec<Router> {
        let mut replaced = Vec::new();
        for Loaded { plugin, table, active, spare } in loaded {
            if self.slots.len() <= plugin {
                self.slots.resize_with(plugin + 1, Slot::default);
            }
            let slot = &mut self.slots[plugin];
            replaced.extend(slot.active.take().into_iter().chain(slot.spare.take()));
            let name = Arc::clone(active.plugin());
            // Counts go on from one table to the next of the same plugin.
            let same = slot.plugin.as_ref() == Some(&name);
            let counts = if same { std::mem::take(&mut slot.counts) } else { PluginCounts::default() };
            let breaker = Breaker { opened: if same { slot.breaker.opened } else { 0 }, ..Breaker::default() };
            let decisions = Decisions::new(self.most_decisions);
            if spare.is_none() {
                (self.want_spare)(plugin);
            }
            *slot = Slot { plugin: Some(name), counts, table, active: Some(active), spare, breaker, decisions };
        }
        replaced
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

    pub(super) fn report(&self) -> Vec<PluginReport> {
        let report = |slot: &Slot| {
            let instances = || slot.active.iter().chain(&slot.spare);
            let counts = slot.counts.clone();
            Some(PluginReport {
                plugin: slot.plugin.clone()?,
                calls: counts.calls,
                known: counts.known,
                traps: counts.traps,
                overruns: counts.overruns,
                unavailable: counts.unavailable,
                instances: instances().count(),
                memory: instances().map(Router::memory).sum(),
                breaker_open: slot.breaker.open_until.and_then(|until| until.checked_duration_since(Instant::now())),
                breaker_opened: slot.breaker.opened,
                last_failure: counts.last_failure,
            })
        };
        self.slots.iter().filter_map(report).collect()
    }

    pub(super) fn route(&mut self, plugin: usize, table: u64, head: Head<'_>) -> Result<Option<u32>, RouteError> {
        // Another table's answer would be an index into the wrong routes.
        let Some(slot) = self.slots.get_mut(plugin).filter(|slot| slot.table == table) else {
            return Err(RouteError::Unavailable("the plugin is not loaded"));
        };
        if let Some(route) = slot.decisions.find(head) {
            slot.counts.known += 1;
            return Ok(route);
        }
        let route = slot.ask(plugin, &self.want_spare, |router| router.route(head))?;
        slot.decisions.keep(route);
        Ok(route)
    }

    pub(super) fn route_connection(
        &mut self,
        plugin: usize,
        table: u64,
        head: ConnectionHead<'_>,
    ) -> Result<Option<u32>, RouteError> {
        let Some(slot) = self.slots.get_mut(plugin).filter(|slot| slot.table == table) else {
            return Err(RouteError::Unavailable("the plugin is not loaded"));
        };
        slot.ask(plugin, &self.want_spare, |router| router.route_connection(head))
    }
}

impl Slot {
    /// Calls the plugin, unless it failed too often; an instance that fails is lost.
    fn ask(
        &mut self,
        plugin: usize,
        want_spare: &dyn Fn(usize),
        call: impl FnOnce(&mut Router) -> Result<Option<u32>, Failure>,
    ) -> Result<Option<u32>, RouteError> {
        if self.breaker.is_open(Instant::now) {
            self.counts.unavailable += 1;
            return Err(RouteError::Unavailable("the plugin failed too often and is not called for a while"));
        }
        let Some(router) = &mut self.active else {
            self.counts.unavailable += 1;
            return Err(RouteError::Unavailable("the plugin failed and its replacement is not ready"));
        };
        let started = Instant::now();
        let routed = call(router);
        self.counts.calls.observe(started.elapsed());
        routed.map_err(|failure| {
            self.active = self.spare.take();
            self.counts.failed(&failure);
            // How long a call takes is also up to the client that sent the request; refusing the others for it would
            // hand that client the switch.
            if !failure.overran {
                self.breaker.failed(Instant::now());
            }
            tracing::error!(plugin = &*failure.plugin, "{failure}");
            want_spare(plugin);
            RouteError::Failed(failure)
        })
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
            self.opened += 1;
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
