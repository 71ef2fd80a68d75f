//! The log: text for people on a terminal, JSON lines for everything else, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Which form the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log. `SEKISHO_LOG` chooses what is in it, such as `debug` or `info,access=off`.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_env_var("SEKISHO_LOG")
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .from_env_lossy();
    let terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        let layer =
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal).with_target(false);
        registry.with(layer).init();
    } else {
        let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().flatten_event(true);
        registry.with(layer).init();
    }
}
