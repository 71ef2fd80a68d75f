//! What kinds there are: names, versions, and how the server treats them.

use serde_json::{Value, json};

/// A kind of object.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    /// `gateway.networking.k8s.io`; empty for the core.
    pub(super) group: &'static str,
    /// `HTTPRoute`
    pub(super) kind: &'static str,
    /// `httproutes`
    pub(super) plural: &'static str,
    /// Served versions, the preferred one first.
    pub(super) versions: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub(super) namespaced: bool,
    /// Whether `/status` is a resource of its own, so that neither write touches the other's part.
    pub(super) status: bool,
    /// Whether `metadata.generation` counts changes of what is wanted.
    pub(super) generation: bool,
}

const GATEWAY: &str = "gateway.networking.k8s.io";
const ISTIO: &str = "networking.istio.io";
const EXTENSIONS: &str = "apiextensions.k8s.io";

const fn built_in(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, kind, plural, versions: &["v1"], namespaced: true, status: false, generation: false }
}

const fn custom(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { status: true, generation: true, ..built_in(group, kind, plural) }
}

const BOTH: &[&str] = &["v1", "v1beta1"];

/// All that this server may serve.
pub(super) static KINDS: &[Kind] = &[
    Kind { namespaced: false, ..built_in("", "Namespace", "namespaces") },
    Kind { status: true, ..built_in("", "Service", "services") },
    built_in("", "Secret", "secrets"),
    built_in("", "ConfigMap", "configmaps"),
    Kind { status: true, ..built_in("", "Pod", "pods") },
    Kind { generation: true, ..built_in("discovery.k8s.io", "EndpointSlice", "endpointslices") },
    built_in("coordination.k8s.io", "Lease", "leases"),
    Kind { namespaced: false, ..custom(EXTENSIONS, "CustomResourceDefinition", "customresourcedefinitions") },
    Kind { namespaced: false, versions: BOTH, ..custom(GATEWAY, "GatewayClass", "gatewayclasses") },
    Kind { versions: BOTH, ..custom(GATEWAY, "Gateway", "gateways") },
    custom(GATEWAY, "ListenerSet", "listenersets"),
    Kind { versions: BOTH, ..custom(GATEWAY, "HTTPRoute", "httproutes") },
    custom(GATEWAY, "GRPCRoute", "grpcroutes"),
    custom(GATEWAY, "TLSRoute", "tlsroutes"),
    custom(GATEWAY, "TCPRoute", "tcproutes"),
    custom(GATEWAY, "UDPRoute", "udproutes"),
    Kind { versions: BOTH, status: false, ..custom(GATEWAY, "ReferenceGrant", "referencegrants") },
    custom(GATEWAY, "BackendTLSPolicy", "backendtlspolicies"),
    custom(ISTIO, "Gateway", "gateways"),
    custom(ISTIO, "VirtualService", "virtualservices"),
    custom(ISTIO, "DestinationRule", "destinationrules"),
    custom(ISTIO, "ServiceEntry", "serviceentries"),
];

/// The definitions of the custom ones.
pub(super) fn definitions() -> &'static Kind {
    of("apiextensions.k8s.io/v1", "CustomResourceDefinition").expect("it is one of them")
}

/// A kind as an object names it.
pub(super) fn of(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    KINDS.iter().find(|known| known.group == group && known.kind == kind && known.versions.contains(&version))
}

/// A kind as a test names it, as `kubectl` does: `httproutes`, or with its group where the name alone says too little:
/// `gateways.networking.istio.io`.
#[track_caller]
pub(super) fn named(resource: &str) -> &'static Kind {
    let (plural, group) = resource.split_once('.').map_or((resource, None), |(plural, group)| (plural, Some(group)));
    let mut found = KINDS.iter().filter(|kind| kind.plural == plural && group.is_none_or(|group| kind.group == group));
    match (found.next(), found.next()) {
        (Some(kind), None) => kind,
        (None, _) => panic!("{resource} is no resource of the test's cluster"),
        (Some(_), Some(_)) => {
            panic!("{resource} may be of several groups: add one, as in gateways.networking.istio.io")
        }
    }
}

impl Kind {
    /// Whether a CustomResourceDefinition brings it.
    pub(super) fn is_custom(&self) -> bool {
        matches!(self.group, GATEWAY | ISTIO)
    }

    /// `gateway.networking.k8s.io/v1`
    pub(super) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// `httproutes.gateway.networking.k8s.io`
    pub(super) fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `httproute`
    pub(super) fn singular(&self) -> String {
        self.kind.to_lowercase()
    }

    /// What the status is until a controller comes.
    pub(super) fn default_status(&self) -> Option<Value> {
        let types: &[&str] = match (self.group, self.kind) {
            (GATEWAY, "GatewayClass") => &["Accepted"],
            (GATEWAY, "Gateway" | "ListenerSet") => &["Accepted", "Programmed"],
            (EXTENSIONS, _) => {
                let established = json!({ "type": "Established", "status": "True", "reason": "InitialNamesAccepted" });
                return Some(json!({ "conditions": [established] }));
            }
            _ => return None,
        };
        let waiting = |kind: &&str| {
            json!({ "type": kind, "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
                "lastTransitionTime": "1970-01-01T00:00:00Z" })
        };
        Some(json!({ "conditions": types.iter().map(waiting).collect::<Vec<_>>() }))
    }

    /// Its CustomResourceDefinition, without a schema: this server checks none.
    pub(super) fn definition(&self) -> Value {
        let version = |(at, name): (usize, &&str)| {
            let subresources = if self.status { json!({ "status": {} }) } else { json!({}) };
            let schema =
                json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
            json!({ "name": name, "served": true, "storage": at == 0, "subresources": subresources, "schema": schema })
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": self.resource() },
            "spec": {
                "group": self.group,
                "names": { "kind": self.kind, "plural": self.plural, "singular": self.singular(),
                    "listKind": format!("{}List", self.kind) },
                "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
                "versions": self.versions.iter().enumerate().map(version).collect::<Vec<_>>(),
            },
        })
    }
}
