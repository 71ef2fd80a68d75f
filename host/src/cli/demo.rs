//! `sekisho demo`.
use std::process::ExitCode;
use clap::Args;
/// What `demo` is told.
#[derive(Debug, Args)]
pub(super) struct Options {}
pub(super) fn demo(_options: &Options) -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
