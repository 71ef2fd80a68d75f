//! `sekisho run`.

use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Config, Log};
use crate::bootstrap::Bootstrap;
use crate::control::{self, Event};
use crate::telemetry;

/// What `run` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    log: Log,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let bootstrap = options.config.read()?;
    telemetry::start(options.log.log);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), workers = bootstrap.workers, "sekisho starts");
    serve(bootstrap)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the gateway until a signal ends it.
pub(super) fn serve(bootstrap: Bootstrap) -> anyhow::Result<()> {
    let (sender, events) = mpsc::channel();
    listen_to_signals(sender.clone())?;
    control::run(bootstrap, sender, &events)
}

fn listen_to_signals(sender: mpsc::Sender<Event>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("no runtime for signals")?;
    let entered = runtime.enter();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(entered);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                let event = tokio::select! {
                    _ = hangup.recv() => Event::Reload,
                    _ = terminate.recv() => Event::Stop,
                    _ = interrupt.recv() => Event::Stop,
                };
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}
