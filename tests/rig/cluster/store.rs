//! The objects, what happened to them, and reading both. Each change has a revision, of which the `resourceVersion`s are
//! made, as with etcd: one count for everything.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{KINDS, Kind, definitions};
use super::refusal::Refusal;
use super::selection::Selection;

/// Changes that a watch can go back to.
const REMEMBERED: usize = 100_000;

/// Everything that the cluster holds.
#[derive(Debug)]
pub(super) struct Store {
    revision: u64,
    /// Of the last change that is no longer remembered.
    compacted: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    changes: VecDeque<Change>,
    served: BTreeSet<&'static Kind>,
    /// Fields that a definition does not know.
    unknown: Vec<(&'static Kind, String)>,
    /// The rest of lists that were read in part.
    pages: HashMap<String, Page>,
    /// How many things were ever numbered, so that no two uids and tokens are the same.
    numbered: u64,
}

/// What an object is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: &'static Kind,
    /// Empty for kinds without.
    pub(super) namespace: String,
    pub(super) name: String,
}

#[derive(Debug)]
struct Change {
    revision: u64,
    kind: &'static Kind,
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
}

#[derive(Debug)]
struct Page {
    revision: u64,
    items: Vec<Arc<Value>>,
}

/// What a watch tells of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Added,
    Modified,
    Deleted,
}

/// A list, or a page of one.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) revision: u64,
    pub(super) items: Vec<Arc<Value>>,
    pub(super) rest: Option<Rest>,
}

/// What a page leaves.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) token: String,
    pub(super) items: usize,
}

impl Store {
    /// A fresh cluster with everything installed, and the task's namespaces.
    pub(super) fn new() -> Self {
        let mut store = Self {
            revision: 1,
            compacted: 1,
            objects: BTreeMap::new(),
            changes: VecDeque::new(),
            served: KINDS.iter().filter(|kind| !kind.is_custom()).collect(),
            unknown: Vec::new(),
            pages: HashMap::new(),
            numbered: 0,
        };
        for name in ["default", "kube-system", "istio-system"] {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            store.apply(&namespace).expect("it is a namespace");
        }
        for kind in KINDS.iter().filter(|kind| kind.is_custom()) {
            store.install(kind);
        }
        store
    }

    /// Of the last change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The kinds that there are at present.
    pub(super) fn served(&self) -> impl Iterator<Item = &'static Kind> {
        self.served.iter().copied()
    }

    pub(super) fn serves(&self, kind: &Kind) -> bool {
        self.served.contains(kind)
    }

    /// A CustomResourceDefinition appears.
    pub(super) fn install(&mut self, kind: &'static Kind) {
        self.served.insert(kind);
        self.apply(&kind.definition()).expect("it is a definition");
    }

    /// A CustomResourceDefinition goes, and all objects of the kind with it.
    pub(super) fn withhold(&mut self, kind: &'static Kind) {
        let keys: Vec<Key> = self.objects.keys().filter(|key| key.kind == kind).cloned().collect();
        for key in keys {
            self.commit(&key, None);
        }
        self.served.remove(kind);
        self.commit(&Key { kind: definitions(), namespace: String::new(), name: kind.resource() }, None);
    }

    /// The definition is an older one, which does not know a field.
    pub(super) fn age(&mut self, kind: &'static Kind, field: &str) {
        self.unknown.push((kind, field.to_owned()));
    }

    /// Takes out of an object what its definition does not know.
    pub(super) fn prune(&self, kind: &Kind, object: &mut Value) {
        for (_, field) in self.unknown.iter().filter(|(of, _)| *of == kind) {
            let (parent, last) = field.rsplit_once('/').expect("it is a pointer");
            if let Some(Value::Object(fields)) = object.pointer_mut(parent) {
                fields.remove(last);
            }
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The keys of what is in a namespace.
    pub(super) fn keys_in(&self, namespace: &str) -> Vec<Key> {
        self.objects.keys().filter(|key| key.namespace == namespace).cloned().collect()
    }

    /// All that is selected, by namespace and name.
    pub(super) fn selected(&self, selection: &Selection) -> Vec<Arc<Value>> {
        let first = Key { kind: selection.kind, namespace: String::new(), name: String::new() };
        let of_kind = self.objects.range(first..).take_while(|(key, _)| key.kind == selection.kind);
        of_kind.map(|(_, object)| object).filter(|object| selection.holds(object)).cloned().collect()
    }

    /// A list from its beginning; with a limit, a page of it.
    pub(super) fn list(&mut self, selection: &Selection, limit: Option<usize>) -> Listed {
        let page = Page { revision: self.revision, items: self.selected(selection) };
        self.page(page, limit)
    }

    /// The next page of a list. All pages are of the moment of the first.
    pub(super) fn list_on(&mut self, token: &str, limit: Option<usize>) -> Result<Listed, Refusal> {
        let page = self.pages.remove(token).ok_or_else(|| {
            Refusal::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new \
                 list without the continue parameter, or use the continue token in this response to retrieve the \
                 remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
                 that were created, modified, or deleted between the time the first chunk was returned and now may show \
                 up in the list.",
            )
        })?;
        Ok(self.page(page, limit))
    }

    fn page(&mut self, mut page: Page, limit: Option<usize>) -> Listed {
        let size = limit.unwrap_or(usize::MAX).min(page.items.len());
        let left = page.items.split_off(size);
        let (revision, items) = (page.revision, page.items);
        let rest = (!left.is_empty()).then(|| {
            let rest = Rest { token: format!("page-{}", self.number()), items: left.len() };
            self.pages.insert(rest.token.clone(), Page { revision, items: left });
            rest
        });
        Listed { revision, items, rest }
    }

    /// What happened to what is selected after a revision, oldest first, with the revision of each; 410 when that is no
    /// longer known.
    pub(super) fn changes_since(
        &self,
        selection: &Selection,
        revision: u64,
    ) -> Result<Vec<(u64, Happened, Arc<Value>)>, Refusal> {
        if revision < self.compacted {
            return Err(Refusal::expired(format!("too old resource version: {revision} ({})", self.compacted)));
        }
        let first = self.changes.partition_point(|change| change.revision <= revision);
        Ok(self.changes.range(first..).filter_map(|change| change.to(selection)).collect())
    }

    /// Forgets all changes until now, and all lists read in part.
    pub(super) fn compact(&mut self) {
        self.changes.clear();
        self.pages.clear();
        self.compacted = self.revision;
    }

    /// Puts an object in place, or takes it away; what is stored then, or was last.
    pub(super) fn commit(&mut self, key: &Key, object: Option<Value>) -> Option<Arc<Value>> {
        let before = self.objects.get(key).cloned();
        if before.is_none() && object.is_none() {
            return None;
        }
        self.revision += 1;
        let revision = self.revision.to_string();
        let versioned = |mut object: Value| {
            object["metadata"]["resourceVersion"] = json!(revision);
            Arc::new(object)
        };
        let after = object.map(versioned);
        match &after {
            Some(object) => self.objects.insert(key.clone(), Arc::clone(object)),
            None => self.objects.remove(key),
        };
        let last = after.clone().or_else(|| before.as_deref().cloned().map(versioned));
        self.changes.push_back(Change { revision: self.revision, kind: key.kind, before, after });
        if self.changes.len() > REMEMBERED {
            self.compacted = self.changes.pop_front().map_or(self.compacted, |oldest| oldest.revision);
        }
        last
    }

    /// A number that was not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }
}

impl Change {
    /// What it is to somebody who sees the selected objects only: one that is no longer selected is gone.
    fn to(&self, selection: &Selection) -> Option<(u64, Happened, Arc<Value>)> {
        if self.kind != selection.kind {
            return None;
        }
        let selected = |object: &Option<Arc<Value>>| object.clone().filter(|object| selection.holds(object));
        let (happened, object) = match (selected(&self.before), selected(&self.after)) {
            (None, None) => return None,
            (None, Some(after)) => (Happened::Added, after),
            (Some(_), Some(after)) => (Happened::Modified, after),
            (Some(before), None) => {
                let mut last = Value::clone(&before);
                last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
                (Happened::Deleted, Arc::new(last))
            }
        };
        Some((self.revision, happened, object))
    }
}

impl Happened {
    /// As a watch spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}
