//! Conditions, as every kind of the API has them.

use std::borrow::Cow;

use serde::Serialize;

use crate::finding::Problem;

/// The API server refuses longer messages.
const LONGEST_MESSAGE: usize = 32_768;

/// One condition.
#[derive(Debug)]
pub(super) struct Condition<'c> {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: Cow<'c, str>,
}

/// One condition as it stands in a status. Its `lastTransitionTime` is the host's to keep.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rendered<'c> {
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: &'c str,
    observed_generation: i64,
}

impl<'c> Condition<'c> {
    pub(super) fn holds(kind: &'static str, reason: &'static str, message: impl Into<Cow<'c, str>>) -> Self {
        Self { kind, holds: true, reason, message: message.into() }
    }

    pub(super) fn fails(kind: &'static str, reason: &'static str, message: impl Into<Cow<'c, str>>) -> Self {
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

    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    pub(super) fn render(&self, generation: i64) -> Rendered<'_> {
        Rendered {
            kind: self.kind,
            status: if self.holds { "True" } else { "False" },
            reason: self.reason,
            message: &self.message[..self.message.floor_char_boundary(LONGEST_MESSAGE)],
            observed_generation: generation,
        }
    }
}

pub(super) fn render<'c>(
    conditions: impl IntoIterator<Item = &'c Condition<'c>>,
    generation: i64,
) -> Vec<Rendered<'c>> {
    conditions.into_iter().map(|condition| condition.render(generation)).collect()
}

/// Problems in one message.
pub(super) fn sentences(problems: &[&Problem]) -> String {
    problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ")
}
