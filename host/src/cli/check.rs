//! `sekisho check`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Config;
use crate::control::Pipeline;
use crate::finding::{Finding, Severity, Subject};

/// What `check` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: Config,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn check(options: &Options) -> anyhow::Result<ExitCode> {
    let bootstrap = options.config.read()?;
    let mut pipeline = Pipeline::new(bootstrap, 1, None)?;
    let mut build = pipeline.build(Instant::now());
    build.drop_unbound(&BTreeMap::new());
    let findings = &build.findings;
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match options.format {
        Format::Text => {
            let colours = std::io::stdout().is_terminal();
            findings.iter().for_each(|finding| println!("{}", text(finding, colours)));
            println!("{errors} errors, {warnings} warnings");
        }
        Format::Json => {
            let findings: Vec<Value> = findings.iter().map(as_json).collect();
            let answer = json!({"errors": errors, "warnings": warnings, "findings": findings});
            println!("{answer:#}");
        }
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(finding: &Finding, colours: bool) -> String {
    let word = finding.severity.name();
    let word = match (colours, finding.severity) {
        (false, _) => word.to_owned(),
        (true, Severity::Error) => format!("\u{1b}[1;31m{word}\u{1b}[0m"),
        (true, Severity::Warning) => format!("\u{1b}[1;33m{word}\u{1b}[0m"),
        (true, Severity::Info) => format!("\u{1b}[1;34m{word}\u{1b}[0m"),
    };
    let mut text = format!("{word}[{}]: {}\n    {}", finding.code, finding.subject, finding.message);
    if !finding.remedy.is_empty() {
        text.push_str("\n    → ");
        text.push_str(&finding.remedy);
    }
    text
}

fn as_json(finding: &Finding) -> Value {
    let mut value = json!({
        "severity": finding.severity.name(),
        "code": finding.code,
        "message": finding.message,
        "remedy": finding.remedy,
    });
    match &finding.subject {
        Subject::File { path, at } => {
            value["file"] = json!(path);
            if let Some((line, column)) = at {
                value["line"] = json!(line);
                value["column"] = json!(column);
            }
        }
        Subject::Object { key, field } => {
            value["object"] =
                json!({"group": key.group, "kind": key.kind, "namespace": key.namespace, "name": key.name});
            value["field"] = json!(field);
        }
        Subject::Plugin(name) => value["plugin"] = json!(name),
        Subject::Socket(address) => value["socket"] = json!(address),
    }
    value
}
