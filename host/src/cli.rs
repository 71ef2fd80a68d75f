//! The command line. One command, one file; printing happens only here.
#![allow(clippy::print_stdout, reason = "what a command answers goes to standard output")]

mod check;
mod demo;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::bootstrap::{Bootstrap, BootstrapError};
use crate::telemetry::LogFormat;

/// A secure gateway whose semantics are WebAssembly plugins.
///
/// Sekisho terminates TLS, chooses certificates by SNI and verifies client certificates. What your configuration means
/// is decided by sandboxed plugins: Istio's Gateway and VirtualService, the Kubernetes Gateway API, and the formats of
/// Kubernetes secrets are built in.
///
/// A JSON file, sekisho.json, says where the objects are and on which ports to listen; every key of it has a default.
#[derive(Debug, Parser)]
#[command(name = "sekisho", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Try `sekisho demo` first: it needs no configuration and prints the curl lines to try.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the gateway
    ///
    /// Objects, secrets and plugins are watched: a change is in force within a second, without a restart. SIGHUP reads
    /// the bootstrap file again; SIGTERM and SIGINT drain and exit with 0.
    #[command(after_help = "Example: sekisho run --config /etc/sekisho/sekisho.json")]
    Run(run::Options),
    /// Says what is wrong with a configuration, without running it
    ///
    /// Loads everything as `run` would, except that no socket is opened and no name looked up, and prints each finding:
    /// severity, object, field, what is wrong and what to do. Exits with 1 when there is an error.
    #[command(after_help = "Example: sekisho check --config sekisho.json --format json")]
    Check(check::Options),
    /// Shows the gateway at work, with sample backends and certificates of its own
    ///
    /// Runs sample-configs/secure-gateway on port 8443 of the loopback interface, with backends on ports 8000 and 5000, and
    /// prints the curl lines to try with the answers to expect. Ctrl-C ends it and removes what it made.
    Demo(demo::Options),
}

/// Where the bootstrap file is.
#[derive(Debug, Args)]
struct Config {
    /// The bootstrap file
    #[arg(long, short, value_name = "FILE", default_value = "sekisho.json")]
    config: PathBuf,
}

impl Config {
    fn read(&self) -> Result<Bootstrap, BootstrapError> {
        Bootstrap::read(&self.config)
    }
}

/// How the log is written.
#[derive(Debug, Args)]
struct Log {
    /// Form of the log on standard error; SEKISHO_LOG chooses its level, such as `debug`
    #[arg(long, value_enum, default_value_t = LogFormat::Auto)]
    log: LogFormat,
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Check(options) => check::check(&options),
        Command::Demo(options) => demo::demo(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("sekisho: {error:#}");
        ExitCode::FAILURE
    })
}
