//! A call into a plugin that did not return.

use std::fmt;
use std::sync::Arc;

use super::store::DeadlineExceeded;

/// A call into a plugin that did not return: it trapped, ran too long, or gave what the interface does not allow. The
/// instance is lost.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The plugin's bootstrap name.
    pub plugin: Arc<str>,
    /// Which call.
    pub call: &'static str,
    /// What happened, in one line.
    pub cause: String,
    /// Whether it ran longer than it may, which can be a client's doing.
    pub overran: bool,
    /// The demangled frames, innermost first; may be empty.
    pub backtrace: Vec<String>,
}

impl Failure {
    pub(super) fn new(plugin: &Arc<str>, call: &'static str, error: &wasmtime::Error) -> Self {
        let backtrace = error
            .downcast_ref::<wasmtime::WasmBacktrace>()
            .map(|trace| trace.frames().iter().map(frame).collect())
            .unwrap_or_default();
        let overran = error.downcast_ref::<DeadlineExceeded>().is_some();
        let cause = if let Some(deadline) = error.downcast_ref::<DeadlineExceeded>() {
            deadline.to_string()
        } else if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
            trap.to_string()
        } else {
            error.root_cause().to_string()
        };
        Self { plugin: Arc::clone(plugin), call, cause, overran, backtrace }
    }
}

fn frame(frame: &wasmtime::FrameInfo) -> String {
    match frame.func_name() {
        Some(name) => format!("{:#}", rustc_demangle(name)),
        None => format!("function {}", frame.func_index()),
    }
}

/// Names come demangled from Rust's `v0` scheme only when the module keeps them so; the legacy scheme ends in a hash
/// that nobody reads.
fn rustc_demangle(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => rest,
        _ => name,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} failed in {}: {}", self.plugin, self.call, self.cause)?;
        if self.backtrace.is_empty() { Ok(()) } else { write!(f, " at {}", self.backtrace.join(" < ")) }
    }
}

impl std::error::Error for Failure {}
