//! `sekisho run`.

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Configuration, Log};
use crate::admin;
use crate::bootstrap::Bootstrap;
use crate::control::{self, Control, Event};
use crate::telemetry;

/// What `run` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: Configuration,
    #[command(flatten)]
    log: Log,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let bootstrap = options.config.read()?;
    let _log = telemetry::start(options.log.log);
    tracing::info!(version = env!("CARGO_PKG_VERSION"), workers = bootstrap.workers, "sekisho starts");
    serve(bootstrap)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the gateway until a signal ends it.
pub(super) fn serve(bootstrap: Bootstrap) -> anyhow::Result<()> {
    let (sender, events) = mpsc::channel();
    listen_to_signals(sender.clone(), bootstrap.limits.drain_timeout + GRACE)?;
    let (admin, probes) = (bootstrap.admin, bootstrap.probes);
    let control = Control::start(bootstrap, sender)?;
    admin::start(admin, probes, control.board())?;
    control::run(control, &events);
    Ok(())
}

/// After the drain's own time, when control or a worker does not come to its end.
const GRACE: Duration = Duration::from_secs(5);

/// The first signal to stop drains; a second one, or a drain that does not end, stops at once.
fn listen_to_signals(sender: mpsc::Sender<Event>, patience: Duration) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime for signals")?;
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
                let stop = matches!(event, Event::Stop);
                if sender.send(event).is_err() {
                    return;
                }
                if stop {
                    tokio::select! {
                        _ = terminate.recv() => tracing::warn!("told to stop again: stopping at once"),
                        _ = interrupt.recv() => tracing::warn!("told to stop again: stopping at once"),
                        () = tokio::time::sleep(patience) => tracing::error!("the drain does not end: stopping at once"),
                    }
                    std::process::exit(1);
                }
            }
        });
    })?;
    Ok(())
}
