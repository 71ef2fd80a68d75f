//! Lines for the gateway's log, under the plugin's name. In a native build they go to standard error.

#[cfg(target_arch = "wasm32")]
use crate::bindings::routes::sekisho::gateway::log::{Level, write};

#[cfg(not(target_arch = "wasm32"))]
use native::{Level, write};

/// Something failed.
pub fn error(message: &str) {
    write(Level::Error, message);
}

/// Something looks wrong.
pub fn warn(message: &str) {
    write(Level::Warn, message);
}

/// Something happened.
pub fn info(message: &str) {
    write(Level::Info, message);
}

/// For whoever debugs the plugin.
pub fn debug(message: &str) {
    write(Level::Debug, message);
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    #[derive(Clone, Copy, Debug)]
    pub(super) enum Level {
        Error,
        Warn,
        Info,
        Debug,
    }

    pub(super) fn write(level: Level, message: &str) {
        eprintln!("{level:?}: {message}");
    }
}
