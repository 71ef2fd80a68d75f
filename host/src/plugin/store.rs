//! What surrounds one instance: its memory cap, its deadline and its log.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use super::bindings::routes::sekisho::gateway::log;
use super::engine::Engine;

/// Elements of one table; a plugin's function table has some hundreds.
const MOST_TABLE_ELEMENTS: usize = 100_000;
/// Longest line that a plugin may log, in bytes.
const MOST_LOG_BYTES: usize = 4 << 10;
/// Lines that one plugin may log in [`LOG_WINDOW`].
const MOST_LOG_LINES: u32 = 100;
/// What [`MOST_LOG_LINES`] is counted over.
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// What the host keeps beside one instance.
pub(super) struct HostState {
    log: Arc<PluginLog>,
    most_memory: usize,
    /// All that its memories have grown to.
    memory: usize,
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
    let state = HostState { log: Arc::clone(log), most_memory, memory: 0, budget: Duration::ZERO, since: None };
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
        self.memory
    }
}

impl ResourceLimiter for HostState {
    /// All memories of the instance share one cap.
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let memory = self.memory.saturating_add(desired.saturating_sub(current));
        let admitted = memory <= self.most_memory;
        if admitted {
            self.memory = memory;
        }
        Ok(admitted)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MOST_TABLE_ELEMENTS)
    }
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
        let text = printable(&message);
        match level {
            log::Level::Error => tracing::error!(plugin, "{text}"),
            log::Level::Warn => tracing::warn!(plugin, "{text}"),
            log::Level::Info => tracing::info!(plugin, "{text}"),
            log::Level::Debug => tracing::debug!(plugin, "{text}"),
        }
    }
}

/// Text from outside as it may stand in a log: cut, and with control characters escaped.
fn printable(text: &str) -> String {
    let mut end = text.len().min(MOST_LOG_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut printable = String::with_capacity(end);
    for c in text[..end].chars() {
        if c.is_control() { printable.extend(c.escape_default()) } else { printable.push(c) }
    }
    if end < text.len() {
        printable.push('…');
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_text_is_cut_and_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
        let long = "é".repeat(MOST_LOG_BYTES);
        assert!(printable(&long).len() <= MOST_LOG_BYTES + 3);
    }

    #[test]
    fn a_flood_is_dropped() {
        let log = PluginLog::new("p".into());
        let admitted = (0..1000).filter(|_| log.admit()).count();
        assert_eq!(admitted, MOST_LOG_LINES as usize);
    }
}
