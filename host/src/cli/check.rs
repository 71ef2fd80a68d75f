//! `sekisho check`.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Config;
use crate::bootstrap::BootstrapError;
use crate::control::Pipeline;
use crate::finding::{Finding, Severity, Subject};
use crate::object::ObjectKey;

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
    let bootstrap = match options.config.read() {
        Ok(bootstrap) => bootstrap,
        Err(error) if options.format == Format::Json => {
            let finding = json!({"severity": "error", "code": "bootstrap", "message": chain(error), "remedy": ""});
            println!("{:#}", json!({"errors": 1, "warnings": 0, "findings": [finding]}));
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    let mut pipeline = Pipeline::new(bootstrap, 1, None)?;
    let mut build = pipeline.build(Instant::now());
    build.drop_unbound(&BTreeMap::new());
    let findings = &build.findings;
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match options.format {
        Format::Text => {
            let colours = std::io::stdout().is_terminal();
            findings.iter().for_each(|finding| println!("{}", text(finding, &build.places, colours)));
            println!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
        }
        Format::Json => {
            let findings: Vec<Value> = findings.iter().map(|finding| as_json(finding, &build.places)).collect();
            let answer = json!({"errors": errors, "warnings": warnings, "findings": findings});
            println!("{answer:#}");
        }
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where each object was read.
type Places = HashMap<ObjectKey, Arc<str>>;

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn chain(error: BootstrapError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

fn text(finding: &Finding, places: &Places, colours: bool) -> String {
    let word = finding.severity.name();
    let word = match (colours, finding.severity) {
        (false, _) => word.to_owned(),
        (true, Severity::Error) => format!("\u{1b}[1;31m{word}\u{1b}[0m"),
        (true, Severity::Warning) => format!("\u{1b}[1;33m{word}\u{1b}[0m"),
        (true, Severity::Info) => format!("\u{1b}[1;34m{word}\u{1b}[0m"),
    };
    let place = match &finding.subject {
        Subject::Object { key, .. } => places.get(key).map(|place| format!(" in {place}")).unwrap_or_default(),
        _ => String::new(),
    };
    let mut text = format!("{word}[{}]: {}{place}\n    {}", finding.code, finding.subject, finding.message);
    if !finding.remedy.is_empty() {
        text.push_str("\n    → ");
        text.push_str(&finding.remedy);
    }
    text
}

fn as_json(finding: &Finding, places: &Places) -> Value {
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
            if let Some(place) = places.get(key) {
                value["file"] = json!(&**place);
            }
        }
        Subject::Plugin(name) => value["plugin"] = json!(name),
        Subject::Socket(address) => value["socket"] = json!(address),
    }
    value
}
