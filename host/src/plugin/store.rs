//! What surrounds one instance: its memory cap, its deadline and its log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::bindings::routes::sekisho::gateway::log;
use super::engine::Engine;
use crate::printable::{self, printable};

/// Elements of all tables of an instance; a plugin's function table has some hundreds.
const MOST_TABLE_ELEMENTS: usize = 100_000;
/// Core instances of one component: its modules, and what joins them.
const MOST_INSTANCES: usize = 64;
/// Tables of one component.
const MOST_TABLES: usize = 16;
/// Memories of one component; each takes 4 GiB of the address space, however small it is.
const MOST_MEMORIES: usize = 4;
/// Lines that one plugin may log in [`LOG_WINDOW`].
const MOST_LOG_LINES: u32 = 100;
/// What [`MOST_LOG_LINES`] is counted over.
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// What the host keeps beside one instance.
pub(super) struct HostState {
    log: Arc<PluginLog>,
    most_memory: usize,
    /// Bytes that its memories may still grow by, together.
    memory: usize,
    /// Elements that its tables may still grow by, together.
    elements: usize,
    budget: Duration,
    /// The thread's CPU time when the first beat of this call was seen.
    since: Option<Duration>,
}

/// The log of one plugin, shared by its instances so that a flood is counted over all of them.
pub(super) struct PluginLog {
    plugin: Arc<str>,
    started: Instant,
    window: AtomicU64,
    lines: AtomicU32,
}

/// A call ran longer than it may.
#[derive(Debug)]
pub(super) struct DeadlineExceeded(Duration);

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it ran longer than its {:?}", self.0)
    }
}

impl std::error::Error for DeadlineExceeded {}

/// A store for one instance.
pub(super) fn new(engine: &Engine, log: &Arc<PluginLog>, most_memory: usize) -> Store<HostState> {
    let state = HostState {
        log: Arc::clone(log),
        most_memory,
        memory: most_memory,
        elements: MOST_TABLE_ELEMENTS,
        budget: Duration::ZERO,
        since: None,
    };
    let mut store = Store::new(&engine.inner, state);
    store.limiter(|state| state);
    // The clock beats in wall time, but what counts is the time that this thread ran: a worker that the kernel sets
    // aside in the middle of a call must not cost the request.
    store.epoch_deadline_callback(|mut context| {
        let now = cpu_time();
        let state = context.data_mut();
        let since = *state.since.get_or_insert(now);
        if now.saturating_sub(since) < state.budget {
            Ok(UpdateDeadline::Continue(1))
        } else {
            Err(wasmtime::Error::new(DeadlineExceeded(state.budget)))
        }
    });
    store
}

/// Before every call: how long it may run, and how many bytes it may hand over.
pub(super) fn arm(store: &mut Store<HostState>, budget: Duration, most_bytes: usize) {
    let state = store.data_mut();
    state.budget = budget;
    state.since = None;
    store.set_hostcall_fuel(most_bytes);
    store.set_epoch_deadline(1);
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl HostState {
    /// Linear memory of the instance, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.most_memory - self.memory
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(take(&mut self.memory, current, desired, maximum))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(take(&mut self.elements, current, desired, maximum))
    }

    fn instances(&self) -> usize {
        MOST_INSTANCES
    }

    fn tables(&self) -> usize {
        MOST_TABLES
    }

    fn memories(&self) -> usize {
        MOST_MEMORIES
    }
}

/// Takes from what is left, if that is enough. What will fail by its own maximum takes nothing.
fn take(left: &mut usize, current: usize, desired: usize, maximum: Option<usize>) -> bool {
    if maximum.is_some_and(|maximum| desired > maximum) {
        return false;
    }
    let rest = left.checked_sub(desired.saturating_sub(current));
    *left = rest.unwrap_or(*left);
    rest.is_some()
}

impl PluginLog {
    pub(super) fn new(plugin: Arc<str>) -> Arc<Self> {
        Arc::new(Self { plugin, started: Instant::now(), window: AtomicU64::new(0), lines: AtomicU32::new(0) })
    }

    /// Whether one more line may be written; says once a window that lines are dropped.
    fn admit(&self) -> bool {
        let window = self.started.elapsed().as_secs() / LOG_WINDOW.as_secs() + 1;
        if self.window.swap(window, Ordering::Relaxed) != window {
            self.lines.store(0, Ordering::Relaxed);
        }
        let lines = self.lines.fetch_add(1, Ordering::Relaxed);
        if lines == MOST_LOG_LINES {
            tracing::warn!(
                plugin = &*self.plugin,
                "the plugin logs too much; its lines are dropped for {LOG_WINDOW:?}"
            );
        }
        lines < MOST_LOG_LINES
    }
}

impl log::Host for HostState {
    fn write(&mut self, level: log::Level, message: String) {
        if !self.log.admit() {
            return;
        }
        let plugin = &*self.log.plugin;
        let text = printable(message, printable::SENTENCE);
        match level {
            log::Level::Error => tracing::error!(plugin, "{text}"),
            log::Level::Warn => tracing::warn!(plugin, "{text}"),
            log::Level::Info => tracing::info!(plugin, "{text}"),
            log::Level::Debug => tracing::debug!(plugin, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shared() {
        let mut left = 100;
        assert!(take(&mut left, 0, 60, None));
        assert!(!take(&mut left, 0, 60, None) && !take(&mut left, 60, 101, None));
        assert!(!take(&mut left, 60, 90, Some(80)), "it fails by itself");
        assert!(take(&mut left, 60, 100, Some(100)));
        assert_eq!(left, 0);
    }

    #[test]
    fn a_flood_is_dropped() {
        let log = PluginLog::new("p".into());
        let admitted = (0..1000).filter(|_| log.admit()).count();
        assert_eq!(admitted, MOST_LOG_LINES as usize);
    }
}
