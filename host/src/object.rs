//! Kubernetes-style objects as their source has them: a key, a version and JSON.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;

/// Group and kind of the objects that the host itself reads; all others are the plugins' alone.
pub const OWN_KINDS: [(&str, &str); 5] =
    [("", "Secret"), ("", "ConfigMap"), ("", "Service"), ("", "Namespace"), ("discovery.k8s.io", "EndpointSlice")];

/// What the host reads where a subset asks for it, and therefore does not keep taken apart.
pub const POD: (&str, &str) = ("", "Pod");

/// What names an object. The core group is the empty string; a cluster-scoped object has no namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key of the core group.
    #[must_use]
    pub fn core(kind: &str, namespace: &str, name: &str) -> Self {
        Self { group: String::new(), kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.namespace.is_empty() {
            write!(f, "/{}", self.namespace)?;
        }
        if self.name.is_empty() { Ok(()) } else { write!(f, "/{}", self.name) }
    }
}

/// One object. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Object(Arc<Content>);

/// What an object is.
#[derive(Debug)]
pub struct Content {
    /// Its name.
    pub key: ObjectKey,
    /// The version part of `apiVersion`.
    pub version: String,
    /// Where it was read, for messages.
    pub place: Arc<str>,
    /// The whole object as JSON, without its status and with what an API server would have filled in.
    pub json: Box<[u8]>,
    /// The same, taken apart; kept for [`OWN_KINDS`], as it takes many times the memory.
    value: Option<Value>,
    status: Option<Arc<Value>>,
    created: Option<Box<str>>,
}

impl Object {
    /// An object of that key and version.
    #[must_use]
    pub fn new(key: ObjectKey, version: String, place: Arc<str>, mut value: Value) -> Self {
        let status = value.as_object_mut().and_then(|fields| fields.remove("status")).map(Arc::new);
        let json = value.to_string().into_bytes().into();
        let created = value["metadata"]["creationTimestamp"].as_str().map(Box::from);
        let own = OWN_KINDS.contains(&(&key.group, &key.kind));
        let value = own.then_some(value);
        Self(Arc::new(Content { key, version, place, json, value, status, created }))
    }

    /// The object taken apart, anew for each call if it is not of [`OWN_KINDS`].
    #[must_use]
    pub fn value(&self) -> Cow<'_, Value> {
        match &self.value {
            Some(value) => Cow::Borrowed(value),
            None => Cow::Owned(serde_json::from_slice(&self.json).unwrap_or_default()),
        }
    }

    /// Its `.status` as its source has it, which is for the host alone to read.
    #[must_use]
    pub fn status(&self) -> Option<&Arc<Value>> {
        self.status.as_ref()
    }

    /// `metadata.creationTimestamp`, empty when there is none; the text order of RFC 3339 is the order in time.
    #[must_use]
    pub fn created(&self) -> &str {
        self.created.as_deref().unwrap_or_default()
    }

    /// `metadata.labels.<name>` of one of [`OWN_KINDS`].
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.value.as_ref()?["metadata"]["labels"][name].as_str()
    }
}

impl Object {
    /// What tells it from every other one that is held at the same time.
    pub(crate) fn identity(&self) -> *const Content {
        Arc::as_ptr(&self.0)
    }
}

impl Deref for Object {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0
    }
}

impl PartialEq for Object {
    /// Two objects are equal when a plugin could not tell them apart.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.key == other.key && self.version == other.version && self.json == other.json)
    }
}
