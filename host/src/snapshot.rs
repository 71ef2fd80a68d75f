//! All objects of a source at one moment.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Index;

use crate::finding::Finding;
use crate::object::{Object, ObjectKey};

/// All objects of a source at one moment, and what was wrong with reading them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The objects, of every kind.
    pub objects: Objects,
    /// What was wrong with reading them.
    pub findings: Vec<Finding>,
    /// What is not among them may be there all the same: not everything may be read, or it is what was kept on disk.
    pub partial: bool,
}

/// Objects in the order of their keys, each key once.
#[derive(Clone, Debug, Default)]
pub struct Objects(BTreeSet<Keyed>);

/// An object that is its own key, compared by it alone: a copy of the key beside each of thousands, at every change, would cost more than the
/// rest of reading them.
#[derive(Clone, Debug)]
struct Keyed(Object);

impl Objects {
    /// The object of this key.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.0.get(key).map(|Keyed(object)| object)
    }

    /// Whether there is one of this key.
    #[must_use]
    pub fn contains(&self, key: &ObjectKey) -> bool {
        self.0.contains(key)
    }

    /// Adds an object, in the place of another of its key.
    pub fn insert(&mut self, object: Object) {
        self.0.replace(Keyed(object));
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.0.iter().map(|Keyed(object)| object)
    }
}

impl PartialEq for Objects {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl FromIterator<Object> for Objects {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        Self(objects.into_iter().map(Keyed).collect())
    }
}

impl Index<&ObjectKey> for Objects {
    type Output = Object;

    fn index(&self, key: &ObjectKey) -> &Object {
        self.get(key).unwrap_or_else(|| panic!("there is no {key}"))
    }
}

impl Borrow<ObjectKey> for Keyed {
    fn borrow(&self) -> &ObjectKey {
        &self.0.key
    }
}

impl PartialEq for Keyed {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Keyed {}

impl PartialOrd for Keyed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Keyed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl Snapshot {
    /// The objects of one kind, in order of their names.
    pub fn of_kind<'s>(&'s self, group: &'s str, kind: &'s str) -> impl Iterator<Item = &'s Object> {
        let first =
            ObjectKey { group: group.to_owned(), kind: kind.to_owned(), namespace: String::new(), name: String::new() };
        self.objects
            .0
            .range(first..)
            .map(|Keyed(object)| object)
            .take_while(move |object| object.key.group == group && object.key.kind == kind)
    }
}
