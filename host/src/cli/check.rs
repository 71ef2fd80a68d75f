//! `sekisho check`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::print::{self, Colours, counted};
use super::{Configuration, Format};
use crate::bootstrap::BootstrapError;
use crate::control::{self, Checked};
use crate::finding::{Counts, Finding, Places, Severity, Subject};

/// Of the JSON that is printed; keys may be added without a new one.
const VERSION: u32 = 1;

/// What `check` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: Configuration,
    /// Form of the answer; docs/check.md describes the JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The least bad finding that makes the exit code 1
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Error,
    Warning,
}

pub(super) fn check(options: &Options) -> anyhow::Result<ExitCode> {
    let checked = match options.config.read() {
        Ok(bootstrap) => control::check(bootstrap)?,
        Err(error) => Checked { findings: of_bootstrap(error), places: Places::new() },
    };
    let counts = Counts::of(&checked.findings);
    match options.format {
        Format::Text => print::say(&as_text(&checked, counts))?,
        Format::Json => print::say(&format!("{:#}\n", as_json(&checked, counts)))?,
    }
    let fails = counts.errors > 0 || (options.fail_on == FailOn::Warning && counts.warnings > 0);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn of_bootstrap(error: BootstrapError) -> Vec<Finding> {
    let of = |path: &std::path::Path, at, message| {
        let subject = Subject::File { path: path.display().to_string(), at };
        Finding::new(Severity::Error, subject, "bootstrap-file", message)
    };
    match error {
        BootstrapError::Unreadable { path, source } => {
            let finding = of(&path, None, format!("cannot read it: {source}"));
            vec![finding.remedy("name another with --config, or try `sekisho demo`")]
        }
        BootstrapError::Syntax { path, line, column, message } => {
            vec![of(&path, Some((line, column)), message).remedy("docs/configuration.md lists its keys")]
        }
        BootstrapError::Invalid { path, problems } => {
            problems.into_iter().map(|problem| of(&path, None, problem)).collect()
        }
    }
}

fn as_json(checked: &Checked, counts: Counts) -> Value {
    let Counts { errors, warnings, infos } = counts;
    let findings: Vec<Value> = checked.findings.iter().map(|finding| finding.to_json(&checked.places)).collect();
    json!({"version": VERSION, "errors": errors, "warnings": warnings, "infos": infos, "findings": findings})
}

fn as_text(checked: &Checked, counts: Counts) -> String {
    let colours = Colours::of_stdout();
    let mut text = String::new();
    for finding in &checked.findings {
        text.push_str(&print::finding(&finding.to_json(&checked.places), colours));
        text.push('\n');
    }
    let infos = if counts.infos > 0 { format!(", {}", counted(counts.infos, "info")) } else { String::new() };
    text + &format!("{}, {}{infos}\n", counted(counts.errors, "error"), counted(counts.warnings, "warning"))
}
