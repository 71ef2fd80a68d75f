//! A call into a plugin that did not return.

use std::fmt;
use std::sync::Arc;

use super::store::DeadlineExceeded;
use crate::printable::{self, printable};

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
    /// The demangled frames, innermost first, from where it panicked if it did; may be empty.
    pub backtrace: Vec<String>,
}

impl Failure {
    pub(super) fn new(plugin: &Arc<str>, call: &'static str, error: &wasmtime::Error) -> Self {
        let backtrace = error
            .downcast_ref::<wasmtime::WasmBacktrace>()
            .map(|trace| trace.frames().iter().map(frame).skip_while(|name| panics(name)).collect())
            .unwrap_or_default();
        let overran = error.downcast_ref::<DeadlineExceeded>().is_some();
        let cause = if let Some(deadline) = error.downcast_ref::<DeadlineExceeded>() {
            deadline.to_string()
        } else if let Some(trap) = error.downcast_ref::<wasmtime::Trap>() {
            trap.to_string()
        } else {
            error.root_cause().to_string()
        };
        Self { overran, backtrace, ..Self::because(plugin, call, cause) }
    }

    /// A call that returned, but not what it should have.
    pub(crate) fn because(plugin: &Arc<str>, call: &'static str, cause: impl Into<String>) -> Self {
        let cause = printable(cause, printable::SENTENCE);
        Self { plugin: Arc::clone(plugin), call, cause, overran: false, backtrace: Vec::new() }
    }
}

fn frame(frame: &wasmtime::FrameInfo) -> String {
    match frame.func_name() {
        Some(name) => printable(format!("{:#}", rustc_demangle::demangle(name)), printable::NAME),
        None => format!("function {}", frame.func_index()),
    }
}

/// What stands between a panic and its trap says nothing of the plugin.
fn panics(name: &str) -> bool {
    ["__rustc::", "std::panicking::", "std::sys::backtrace::", "core::panicking::"]
        .iter()
        .any(|of| name.starts_with(of))
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {} failed in {}: {}", self.plugin, self.call, self.cause)?;
        if self.backtrace.is_empty() { Ok(()) } else { write!(f, " at {}", self.backtrace.join(" < ")) }
    }
}

impl std::error::Error for Failure {}
