//! What objects of every kind have: metadata and a spec, an age.

use std::rc::Rc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::objects::{self, Metadata};
use crate::{Finding, Object};

/// An object with this spec.
#[derive(Clone, Debug, Deserialize)]
pub struct Typed<S> {
    /// What every kind has.
    #[serde(default)]
    pub metadata: Metadata,
    /// What this kind asks for.
    pub spec: S,
}

/// When an object was created; the least is the oldest, which has what several claim. One that was never in a cluster
/// has no time and is younger than any that was, so that adding a file takes nothing away from what a cluster serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// RFC 3339 in UTC, whose text order is its time order.
    Since(String),
    /// Never in a cluster.
    Unknown,
}

impl<S: DeserializeOwned + 'static> Typed<S> {
    /// Reads an object of a kind that is the dialect's own, as [`objects::read`] does.
    pub fn read(object: &Object, findings: &mut Vec<Finding>) -> Option<Rc<Self>> {
        objects::read(object, findings)
    }

    /// Reads an object of which only a part matters, as [`objects::read_part`] does.
    pub fn read_part(object: &Object, findings: &mut Vec<Finding>) -> Option<Rc<Self>> {
        objects::read_part(object, findings)
    }

    /// Its age.
    #[must_use]
    pub fn age(&self) -> Age {
        Age::of(self.metadata.creation_timestamp.clone())
    }
}

impl Age {
    /// Of an object with this `metadata.creationTimestamp`.
    #[must_use]
    pub fn of(created: Option<String>) -> Self {
        created.map_or(Self::Unknown, Self::Since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_in_a_cluster_is_the_youngest() {
        let since = |time: &str| Age::of(Some(time.to_owned()));
        assert!([since("2025-12-31T23:59:59Z"), since("2026-01-01T00:00:00Z"), Age::of(None)].is_sorted());
    }
}
