//! Conditions, as every kind of the API has them.

use serde_json::{Value, json};

use crate::finding::Problem;

/// The API server refuses longer messages.
const LONGEST_MESSAGE: usize = 32_768;

/// One condition. Its `lastTransitionTime` is the host's to keep.
#[derive(Debug)]
pub(super) struct Condition {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Condition {
    pub(super) fn holds(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: true, reason, message: message.into() }
    }

    pub(super) fn fails(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }

    /// That all references lead somewhere; when some do not, the first of them gives the reason.
    pub(super) fn resolved_refs(unresolved: &[&Problem]) -> Self {
        match unresolved.first() {
            None => Self::holds("ResolvedRefs", "ResolvedRefs", "All references lead somewhere."),
            Some(first) => Self::fails("ResolvedRefs", first.reason, sentences(unresolved)),
        }
    }

    pub(super) fn is_true(&self) -> bool {
        self.holds
    }

    fn render(&self, generation: i64) -> Value {
        let mut message = self.message.as_str();
        if message.len() > LONGEST_MESSAGE {
            message = &message[..message.floor_char_boundary(LONGEST_MESSAGE)];
        }
        json!({
            "type": self.kind,
            "status": if self.holds { "True" } else { "False" },
            "reason": self.reason,
            "message": message,
            "observedGeneration": generation,
        })
    }
}

pub(super) fn render<'c>(conditions: impl IntoIterator<Item = &'c Condition>, generation: i64) -> Value {
    conditions.into_iter().map(|condition| condition.render(generation)).collect()
}

/// Problems in one message.
pub(super) fn sentences(problems: &[&Problem]) -> String {
    problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}
