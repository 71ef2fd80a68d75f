//! What the operator should know: collected everywhere, judged in one place.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::ObjectKey;
use crate::printable::{self, printable};

/// Where each object was read.
pub type Places = HashMap<ObjectKey, Arc<str>>;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Something asked for is not done.
    Error,
    /// It works, but perhaps not as meant.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word for logs and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// How many findings there are of each severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Errors.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// The rest.
    pub infos: usize,
}

impl Counts {
    /// Counts them.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        Self { errors: count(Severity::Error), warnings: count(Severity::Warning), infos: count(Severity::Info) }
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A file, with line and column when they are known.
    File {
        /// Its path.
        path: String,
        /// Line and column, from 1.
        at: Option<(usize, usize)>,
    },
    /// An object, or a part of it.
    Object {
        /// Which one.
        key: ObjectKey,
        /// A path such as `spec.servers[0].tls`; empty for the whole.
        field: String,
    },
    /// A plugin, by its bootstrap name.
    Plugin(String),
    /// A socket.
    Socket(String),
    /// Where the objects come from, where it is not files.
    Source(&'static str),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: None } => f.write_str(path),
            Self::File { path, at: Some((line, column)) } => write!(f, "{path}:{line}:{column}"),
            Self::Object { key, field } if field.is_empty() => write!(f, "{key}"),
            Self::Object { key, field } => write!(f, "{key} {field}"),
            Self::Plugin(name) => write!(f, "plugin {name}"),
            Self::Socket(address) => write!(f, "socket {address}"),
            Self::Source(name) => f.write_str(name),
        }
    }
}

/// One thing the operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// A stable kebab-case word.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do; may be empty.
    pub remedy: String,
}

impl Finding {
    /// A finding without a remedy. Whatever its text quotes, it can be printed.
    pub fn new(severity: Severity, subject: Subject, code: &str, message: impl Into<String>) -> Self {
        let (code, message) = (printable(code, printable::NAME), printable(message, printable::SENTENCE));
        Self { severity, subject, code, message, remedy: String::new() }
    }

    /// A finding about an object's field.
    pub fn on(severity: Severity, key: &ObjectKey, field: &str, code: &str, message: impl Into<String>) -> Self {
        let subject = Subject::Object { key: key.clone(), field: field.to_owned() };
        Self::new(severity, subject, code, message)
    }

    /// As commands and the admin endpoint give it to programs; docs/check.md describes the form, to which keys may be added.
    #[must_use]
    pub fn to_json(&self, places: &Places) -> Value {
        let mut value = json!({
            "severity": self.severity.name(),
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
        });
        match &self.subject {
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
            Subject::Source(name) => value["source"] = json!(name),
        }
        value
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = printable(remedy, printable::SENTENCE);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, " ({})", self.remedy) }
    }
}

#[cfg(test)]
mod tests;
