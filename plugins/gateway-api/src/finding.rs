//! What is wrong, told twice: as a finding for `check` and the log, and as the sentence of a condition.

use std::fmt::Display;

use sekisho_sdk::objects::finding;
use sekisho_sdk::{Finding, ObjectKey, Severity};

/// Something wrong, before it is known what it costs.
#[derive(Debug)]
pub(crate) struct Fault {
    code: &'static str,
    reason: &'static str,
    field: String,
    message: String,
    remedy: String,
}

/// Why a condition is not as one would wish: its `reason` and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Fault {
    /// A fault whose condition, where it has one, says `UnsupportedValue`.
    pub(crate) fn new(
        code: &'static str,
        field: impl Display,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (field, message, remedy) = (field.to_string(), message.into(), remedy.into());
        Self { code, reason: "UnsupportedValue", field, message, remedy }
    }

    /// The same fault under the API's own word for it.
    pub(crate) fn because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// The API's word for it.
    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }

    /// Its sentence for the status, where the finding has been recorded already.
    pub(crate) fn problem(&self) -> Problem {
        Problem { reason: self.reason, message: format!("{}: {}", self.field, self.message) }
    }

    fn into_finding(self, severity: Severity, object: &ObjectKey) -> Finding {
        finding(severity, self.code, object, self.field, self.message).remedy(self.remedy)
    }
}

impl Problem {
    /// A problem that nobody wrote into an object, such as one that the host reports.
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// The findings about one object. An error says that something is refused, a warning that something is served in
/// another way than one might think, an info that something has no effect by design.
pub(crate) struct Findings<'f> {
    object: &'f ObjectKey,
    list: &'f mut Vec<Finding>,
}

impl<'f> Findings<'f> {
    pub(crate) fn about(object: &'f ObjectKey, list: &'f mut Vec<Finding>) -> Self {
        Self { object, list }
    }

    /// The findings about another object.
    pub(crate) fn of<'o>(&'o mut self, object: &'o ObjectKey) -> Findings<'o> {
        Findings { object, list: self.list }
    }

    pub(crate) fn object(&self) -> &ObjectKey {
        self.object
    }

    /// Records an error and keeps its sentence for the status.
    pub(crate) fn refuse(&mut self, fault: Fault) -> Problem {
        let problem = fault.problem();
        self.list.push(fault.into_finding(Severity::Error, self.object));
        problem
    }

    pub(crate) fn warn(&mut self, fault: Fault) {
        self.list.push(fault.into_finding(Severity::Warning, self.object));
    }

    pub(crate) fn info(&mut self, fault: Fault) {
        self.list.push(fault.into_finding(Severity::Info, self.object));
    }
}
