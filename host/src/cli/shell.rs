//! `sekisho completions` and `sekisho man`: made from the definition of the command line itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print};

/// What `completions` is told.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// What `man` is told.
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where the pages go, one for each command; it is made if need be
    directory: PathBuf,
}

pub(super) fn completions(options: &Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "sekisho", &mut script);
    print::say(&String::from_utf8(script).context("the script is no text")?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(options: &Man) -> anyhow::Result<ExitCode> {
    let directory = &options.directory;
    let made = std::fs::create_dir_all(directory).map_err(anyhow::Error::from);
    made.and_then(|()| Ok(clap_mangen::generate_to(Cli::command(), directory)?))
        .with_context(|| format!("cannot write manual pages into {}", directory.display()))?;
    Ok(ExitCode::SUCCESS)
}
