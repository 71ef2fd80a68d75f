//! `sekisho check`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::print::{self, Colours, counted};
use super::{Config, Format};
use crate::bootstrap::BootstrapError;
use crate::control::Pipeline;
use crate::finding::Severity;

/// What `check` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: Config,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
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
            let colours = Colours::of_stdout();
            findings.iter().for_each(|found| println!("{}", print::finding(&found.as_json(&build.places), colours)));
            println!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
        }
        Format::Json => {
            let findings: Vec<Value> = findings.iter().map(|finding| finding.as_json(&build.places)).collect();
            let answer = json!({"errors": errors, "warnings": warnings, "findings": findings});
            println!("{answer:#}");
        }
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chain(error: BootstrapError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
