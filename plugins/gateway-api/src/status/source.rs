//! What the host says of a secret, in the words of conditions.

use sekisho_sdk::model::{Locator, Source};
use sekisho_sdk::{Outcome, SourceState};

use crate::finding::Problem;

/// What became of a source.
pub(super) struct Look {
    /// It has something to serve with.
    pub(super) serves: bool,
    /// What is wrong with it. One without candidates has its problem in the spec, where it is told.
    pub(super) problem: Option<Problem>,
}

impl Look {
    /// Source `index` of the translation; `reason` is the condition's where something is wrong.
    pub(super) fn at(source: &Source, index: u32, reason: &'static str, outcome: &Outcome) -> Self {
        let Some(name) = names(source) else { return Self { serves: false, problem: None } };
        let (serves, message) = match outcome.sources.get(index as usize) {
            Some(SourceState::Ready) | None => return Self { serves: true, problem: None },
            Some(SourceState::Stale(why)) => (true, format!("{name}: {why}; the last good content serves")),
            Some(SourceState::Missing(_)) => (false, format!("there is no {name}")),
            Some(SourceState::Unusable(why)) => (false, format!("{name}: {why}")),
        };
        Self { serves, problem: Some(Problem::new(reason, message)) }
    }
}

/// The candidates of a source: their kind, and them by namespace and name.
fn names(source: &Source) -> Option<String> {
    if source.candidates.contains(&Locator::SystemRoots) {
        return Some("the system's authorities".to_owned());
    }
    let key = |locator: &Locator| match locator {
        Locator::Object(key) => Some(key.clone()),
        Locator::Files(_) | Locator::SystemRoots => None,
    };
    let keys: Vec<_> = source.candidates.iter().filter_map(key).collect();
    let kind = &keys.first()?.kind;
    let names: Vec<_> = keys.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    Some(format!("{kind} {}", names.join(" or ")))
}
