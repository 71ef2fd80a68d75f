//! The command line. One command, one file; printing happens only here.
#![allow(clippy::print_stdout, reason = "what a command answers goes to standard output")]

mod check;
mod client;
mod demo;
mod explain;
mod print;
mod run;
mod shell;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Does what `run` does before it serves, looks names up and binds every address for a moment, and prints each
    /// finding: severity, object, field, what is wrong and what to do. An address in use is no error, as the gateway
    /// itself may run. Exits with 1 when there is an error, and with 2 when the command line is wrong.
    #[command(after_help = "Example: sekisho check --config sekisho.json --format json --fail-on warning")]
    Check(check::Options),
    /// Says which way a request takes, and why not another
    ///
    /// Walks a request through listener, certificate, client verification, plugin, virtual host, rule and backend as the
    /// gateway would, and names at each step what was near and why it was not chosen. Reads the files; with --live or
    /// --admin it asks a running gateway instead. Exits with 0 once it has answered, whatever the answer is.
    #[command(after_help = "Example: sekisho explain https://httpbin.example.com/status/418 -H 'x-user: jason'")]
    Explain(explain::Options),
    /// Shows how a running gateway does
    ///
    /// Asks its admin endpoint: listeners, objects with the conditions that their API defines, credentials, clusters with
    /// their endpoints, plugins, refused handshakes and findings. Exits with 1 when the gateway is not ready.
    #[command(after_help = "Example: sekisho status --admin 127.0.0.1:15000 --format json")]
    Status(status::Options),
    /// Shows the gateway at work, with sample backends and certificates of its own
    ///
    /// Runs sample-configs/secure-gateway on port 8443 of the loopback interface, with backends on ports 8000 and 5000, and
    /// prints the curl lines to try with the answers to expect. Ctrl-C ends it and removes what it made.
    Demo(demo::Options),
    /// Prints a completion script for a shell
    #[command(after_help = "Example: source <(sekisho completions bash)")]
    Completions(shell::Completions),
    /// Writes manual pages into a directory
    #[command(after_help = "Example: sekisho man ~/.local/share/man/man1")]
    Man(shell::Man),
}

/// Where the bootstrap file is.
#[derive(Debug, Args)]
struct Config {
    /// The bootstrap file
    #[arg(long, short, value_name = "FILE", default_value = "sekisho.json")]
    config: PathBuf,
}

impl Config {
    /// Whether nobody named another.
    fn is_default(&self) -> bool {
        self.config.as_os_str() == "sekisho.json"
    }

    fn read(&self) -> Result<Bootstrap, BootstrapError> {
        Bootstrap::read(&self.config)
    }
}

/// Where the bootstrap file is, and the objects.
#[derive(Debug, Args)]
struct Configuration {
    #[command(flatten)]
    config: Config,
    /// Read objects from the Kubernetes API instead of `resources`; the bootstrap file may be missing then
    #[arg(long)]
    kubernetes: bool,
}

impl Configuration {
    fn read(&self) -> Result<Bootstrap, BootstrapError> {
        match self.kubernetes {
            false => self.config.read(),
            true if self.config.is_default() && !self.config.config.exists() => Bootstrap::for_kubernetes(),
            true => Bootstrap::read_for_kubernetes(&self.config.config),
        }
    }
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
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
        Command::Explain(options) => explain::explain(&options),
        Command::Status(options) => status::status(&options),
        Command::Demo(options) => demo::demo(&options),
        Command::Completions(options) => shell::completions(&options),
        Command::Man(options) => shell::man(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("sekisho: {error:#}");
        ExitCode::FAILURE
    })
}
