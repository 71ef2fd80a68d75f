//! What a DestinationRule asks for and cannot be done: destinations that it is for answer 503.

use sekisho_sdk::{ObjectKey, Origin, Severity};

use crate::findings::{Findings, Place};

/// Why a destination cannot be treated as it should be. Of a rule that nobody uses nothing is said.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    at: Origin,
    code: &'static str,
    message: String,
    remedy: &'static str,
}

impl Refusal {
    /// Something that is legal, but not done here.
    pub(super) fn unsupported(at: &Place<'_>, message: impl Into<String>, remedy: &'static str) -> Box<Self> {
        Box::new(Self { at: at.origin(), code: "unsupported", message: message.into(), remedy })
    }

    /// A mistake, which is an error finding at once.
    pub(super) fn mistake(
        at: &Place<'_>,
        code: &'static str,
        message: impl Into<String>,
        remedy: &'static str,
        findings: &mut Findings,
    ) -> Box<Self> {
        let refusal = Self { at: at.origin(), code, message: message.into(), remedy };
        refusal.say(findings);
        Box::new(refusal)
    }

    /// The finding where it is written; said once however often.
    pub(crate) fn say(&self, findings: &mut Findings) {
        findings.say(Severity::Error, self.at.clone(), self.code, self.message.clone(), self.remedy);
    }

    /// The place, in words.
    pub(crate) fn place(&self) -> String {
        let Origin { object: ObjectKey { kind, namespace, name, .. }, field } = &self.at;
        format!("{field} of {kind} {namespace}/{name}")
    }
}
