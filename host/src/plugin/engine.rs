//! One wasmtime engine for the process, and the clock that its deadlines are counted with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Config, OptLevel, Strategy};

use super::cache::Cache;

/// One beat of the clock; deadlines are a number of beats.
pub(super) const BEAT: Duration = Duration::from_millis(1);

/// The engine that compiles and runs all plugins. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: wasmtime::Engine,
    pub(super) cache: Cache,
    _clock: Arc<Clock>,
}

/// Ends the clock's thread with the last engine.
struct Clock(Arc<AtomicBool>);

impl Drop for Clock {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Engine {
    /// An engine whose plugins can do nothing but compute.
    ///
    /// # Errors
    /// When this machine cannot run it, or no thread can be started.
    pub fn new() -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.strategy(Strategy::Cranelift);
        config.cranelift_opt_level(OptLevel::Speed);
        config.wasm_component_model(true);
        config.epoch_interruption(true);
        // What advisories are about and no plugin needs. The cargo features stay compiled in: see the manifest.
        config.wasm_gc(false);
        config.wasm_function_references(false);
        config.wasm_threads(false);
        config.shared_memory(false);
        config.wasm_memory64(false);
        config.wasm_exceptions(false);
        config.concurrency_support(false);
        config.max_wasm_stack(512 << 10);
        let inner = wasmtime::Engine::new(&config)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let clock = Clock(Arc::clone(&stopped));
        let beating = inner.clone();
        std::thread::Builder::new().name("plugin-clock".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(BEAT);
                beating.increment_epoch();
            }
        })?;
        Ok(Self { inner, cache: Cache::of_user(), _clock: Arc::new(clock) })
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
