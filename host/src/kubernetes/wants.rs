//! What is to be read of a cluster, and the watches that it takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::bootstrap::SecretsBy;
use crate::object::ObjectKey;

/// Services, by namespace and name.
pub(super) type Services = BTreeSet<(String, String)>;

/// A kind that somebody reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Kind {
    /// API group; the core group is the empty string.
    pub(super) group: String,
    /// Kind.
    pub(super) kind: String,
    /// Versions that the reader knows, the best first.
    pub(super) versions: Vec<String>,
}

/// What is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    kinds: BTreeMap<(String, String), Vec<String>>,
    pub(super) objects: BTreeSet<ObjectKey>,
    pods: BTreeSet<String>,
    pub(super) services: Services,
}

impl Wants {
    /// All objects of a kind, in the first of these versions that is served. Who asks first chooses first.
    pub fn kind(&mut self, group: &str, kind: &str, versions: &[String]) {
        let known = self.kinds.entry((group.to_owned(), kind.to_owned())).or_default();
        for version in versions {
            if !known.contains(version) {
                known.push(version.clone());
            }
        }
    }

    /// A secret or a ConfigMap; of other kinds nothing is read by name.
    pub fn object(&mut self, key: &ObjectKey) {
        if key.group.is_empty() && ["Secret", "ConfigMap"].contains(&key.kind.as_str()) {
            self.objects.insert(key.clone());
        }
    }

    /// The labels of the pods of a namespace.
    pub fn pods(&mut self, namespace: &str) {
        self.pods.insert(namespace.to_owned());
    }

    /// The endpoints of a Service: of the others changes do not matter.
    pub fn endpoints(&mut self, namespace: &str, name: &str) {
        self.services.insert((namespace.to_owned(), name.to_owned()));
    }

    pub(super) fn watched(&self, secrets: SecretsBy) -> BTreeSet<Watched> {
        let kinds = self.kinds.iter().map(|((group, kind), versions)| {
            Watched::Kind(Kind { group: group.clone(), kind: kind.clone(), versions: versions.clone() })
        });
        let objects = self.objects.iter().map(|key| match secrets {
            SecretsBy::Name => Watched::Object(key.clone()),
            SecretsBy::Namespace => Watched::Namespace { kind: key.kind.clone(), namespace: key.namespace.clone() },
        });
        kinds.chain(objects).chain(self.pods.iter().cloned().map(Watched::Pods)).collect()
    }
}

/// What one watch is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Watched {
    /// Everything of a kind.
    Kind(Kind),
    /// One secret or ConfigMap.
    Object(ObjectKey),
    /// All secrets or ConfigMaps of a namespace.
    Namespace { kind: String, namespace: String },
    /// The metadata of a namespace's pods.
    Pods(String),
}

impl Watched {
    pub(super) fn is_kind(&self) -> bool {
        matches!(self, Self::Kind(_))
    }

    /// Group and kind.
    pub(super) fn kind(&self) -> (&str, &str) {
        match self {
            Self::Kind(kind) => (&kind.group, &kind.kind),
            Self::Object(key) => (&key.group, &key.kind),
            Self::Namespace { kind, .. } => ("", kind),
            Self::Pods(_) => ("", "Pod"),
        }
    }

    /// Whether an object is one of these.
    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        let of_kind = self.kind() == (&key.group, &key.kind);
        of_kind
            && match self {
                Self::Kind(_) => true,
                Self::Object(object) => object == key,
                Self::Namespace { namespace, .. } | Self::Pods(namespace) => *namespace == key.namespace,
            }
    }

    /// The object that findings about it are about; its name may be empty.
    pub(super) fn subject(&self) -> ObjectKey {
        let (group, kind) = self.kind();
        let (namespace, name) = match self {
            Self::Kind(_) => ("", ""),
            Self::Object(key) => (key.namespace.as_str(), key.name.as_str()),
            Self::Namespace { namespace, .. } | Self::Pods(namespace) => (namespace.as_str(), ""),
        };
        let own = |text: &str| text.to_owned();
        ObjectKey { group: own(group), kind: own(kind), namespace: own(namespace), name: own(name) }
    }
}
