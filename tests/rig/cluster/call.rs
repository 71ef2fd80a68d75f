//! What a request is about: method, path and query in the terms of the API.

use super::kinds::{KINDS, Kind};
use super::refusal::Refusal;
use super::selection::Selection;
use super::store::{Key, Store};
use super::writes::Part;

/// A request about objects.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) kind: &'static Kind,
    /// In which answers are to be.
    pub(super) version: &'static str,
    pub(super) namespace: Option<String>,
    /// Empty for a collection.
    pub(super) name: String,
    pub(super) part: Part,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Call {
    /// None when the path is not one of objects.
    pub(super) fn read(store: &Store, method: &str, path: &str, query: &Query) -> Option<Result<Self, Refusal>> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let place = Place::read(group, rest)?;
        let served = |kind: &&Kind| kind.group == group && kind.plural == place.plural && store.serves(kind);
        let found = KINDS.iter().find(served).and_then(|kind| {
            let version = kind.versions.iter().find(|served| **served == version)?;
            Some((kind, *version))
        });
        let Some((kind, version)) = found else { return Some(Err(Refusal::no_such_resource())) };
        Some(place.call(kind, version, method, query))
    }

    /// What the object is called.
    pub(super) fn key(&self) -> Key {
        let namespace = self.namespace.clone().unwrap_or_default();
        Key { kind: self.kind, namespace, name: self.name.clone() }
    }

    /// Which objects a collection has.
    pub(super) fn selection(&self, query: &Query) -> Result<Selection, Refusal> {
        let all = Selection::all(self.kind, self.namespace.as_deref());
        all.narrowed(query.get("labelSelector").unwrap_or_default(), query.get("fieldSelector").unwrap_or_default())
    }

    /// `httproutes.gateway.networking.k8s.io/status`
    pub(super) fn resource(&self) -> String {
        let part = if self.part == Part::Status { "/status" } else { "" };
        format!("{}{part}", self.kind.resource())
    }
}

/// A path below a group and a version.
struct Place<'a> {
    namespace: Option<&'a str>,
    plural: &'a str,
    name: Option<&'a str>,
    part: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn read(group: &str, rest: &[&'a str]) -> Option<Self> {
        let (namespace, rest) = match rest {
            // A namespace has parts of its own.
            ["namespaces", _, "status" | "finalize"] if group.is_empty() => (None, rest),
            ["namespaces", namespace, inside @ ..] if !inside.is_empty() => (Some(*namespace), inside),
            _ => (None, rest),
        };
        let mut segments = rest.iter().copied();
        Some(Self { namespace, plural: segments.next()?, name: segments.next(), part: segments.next() })
    }

    fn call(self, kind: &'static Kind, version: &'static str, method: &str, query: &Query) -> Result<Call, Refusal> {
        if self.namespace.is_some() != kind.namespaced && (self.namespace.is_some() || self.name.is_some()) {
            return Err(Refusal::no_such_resource());
        }
        let part = match self.part {
            None => Part::Whole,
            Some("status") if kind.status => Part::Status,
            Some(_) => return Err(Refusal::no_such_resource()),
        };
        let verb = match (method, self.name) {
            ("GET" | "HEAD", Some(_)) => Verb::Get,
            ("GET", None) if query.is_set("watch") => Verb::Watch,
            ("GET", None) => Verb::List,
            ("POST", None) if self.namespace.is_some() == kind.namespaced => Verb::Create,
            ("PUT", Some(_)) => Verb::Update,
            ("PATCH", Some(_)) => Verb::Patch,
            ("DELETE", Some(_)) if part == Part::Whole => Verb::Delete,
            ("DELETE", None) if self.namespace.is_some() == kind.namespaced => Verb::DeleteCollection,
            _ => return Err(Refusal::method_not_allowed()),
        };
        let namespace = self.namespace.map(str::to_owned);
        Ok(Call { verb, kind, version, namespace, name: self.name.unwrap_or_default().to_owned(), part })
    }
}

impl Verb {
    /// As access control calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

/// The parameters of a URL.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn read(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decoded(k), decoded(v)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is given, and not as false.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value, "" | "false" | "0"))
    }

    /// A number above zero.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok().filter(|number| *number > 0)
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
