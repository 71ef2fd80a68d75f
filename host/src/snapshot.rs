//! All objects of a source at one moment.

use std::collections::BTreeMap;

use crate::finding::Finding;
use crate::object::{Object, ObjectKey};

/// All objects of a source at one moment, and what was wrong with reading them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The objects, of every kind.
    pub objects: BTreeMap<ObjectKey, Object>,
    /// What was wrong with reading them.
    pub findings: Vec<Finding>,
    /// What is not among them may be there all the same: not everything may be read, or it is what was kept on disk.
    pub partial: bool,
}

impl Snapshot {
    /// The objects of one kind, in order of their names.
    pub fn of_kind<'s>(&'s self, group: &'s str, kind: &'s str) -> impl Iterator<Item = &'s Object> {
        let first =
            ObjectKey { group: group.to_owned(), kind: kind.to_owned(), namespace: String::new(), name: String::new() };
        self.objects
            .range(first..)
            .map(|(_, object)| object)
            .take_while(move |object| object.key.group == group && object.key.kind == kind)
    }
}
