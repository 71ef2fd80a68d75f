//! Constructors and defaults for the translation's records, so that a dialect spells out only what it means.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::Serialize;

use crate::model::{
    Action, Balance, Cluster, Destination, Endpoints, Forward, HeaderOps, HostPattern, Limits, Listener, Locator,
    Misdirected, Protocol, Redirect, RedirectPort, Response, Role, Route, ServicePort, Source, Target, Termination,
    Text, TlsVersion, UpstreamProtocol, WhenDeleted,
};
use crate::objects::finding;
use crate::{Environment, Finding, Kind, ObjectKey, Origin, Severity, Status};

impl ObjectKey {
    /// A key from its parts; the core group is empty.
    #[must_use]
    pub fn new(group: &str, kind: &str, namespace: &str, name: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The origin of something that `field` of this object says.
    #[must_use]
    pub fn at(&self, field: impl Into<String>) -> Origin {
        Origin { object: self.clone(), field: field.into() }
    }

    /// Whether it is an object of this kind.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    fn parts(&self) -> [&str; 4] {
        [&self.group, &self.kind, &self.namespace, &self.name]
    }
}

impl Eq for ObjectKey {}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By group, kind, namespace and name.
impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Origin {
    /// A field below this one.
    #[must_use]
    pub fn below(&self, field: &str) -> Self {
        self.object.at(format!("{}.{field}", self.field))
    }

    /// The elements of the list that stands here, each with its own place.
    pub fn items<'l, T>(&self, list: &'l [T]) -> impl Iterator<Item = (Self, &'l T)> {
        let place = |index| self.object.at(format!("{}[{index}]", self.field));
        list.iter().enumerate().map(move |(index, item)| (place(index), item))
    }

    /// A finding that something here does not work as written, and what to do about it.
    #[must_use]
    pub fn error(&self, code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        finding(Severity::Error, code, &self.object, &self.field, message).remedy(remedy)
    }

    /// A finding that something here works, but hardly as meant, and what to do about it.
    #[must_use]
    pub fn warning(&self, code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        finding(Severity::Warning, code, &self.object, &self.field, message).remedy(remedy)
    }
}

/// As another object's finding refers to it: `spec.rules[0] of default/web`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ObjectKey { namespace, name, .. } = &self.object;
        write!(f, "{} of {namespace}/{name}", self.field)
    }
}

impl Environment {
    /// What a dialect without a configuration of its own says of one that is there: it was meant for something else.
    #[must_use]
    pub fn unknown_config(&self, dialect: &str) -> Option<Finding> {
        let nothing = ["", "null", "{}"].contains(&self.config.trim());
        let config = ObjectKey::new("", "Plugin", "", dialect).at("config");
        let found = || config.warning("unknown-config", "this plugin has no configuration", "remove it");
        (!nothing).then(found)
    }
}

impl Status {
    /// The status of an object.
    ///
    /// # Panics
    /// When it is no JSON, having maps with keys that are no text.
    #[must_use]
    pub fn new(object: &ObjectKey, status: &impl Serialize) -> Self {
        let json = serde_json::to_string(status).expect("a status has string keys only");
        Self { object: object.clone(), json }
    }
}

impl Kind {
    /// A kind in these versions, the preferred one first; the core group is empty.
    #[must_use]
    pub fn new(group: &str, kind: &str, versions: &[&str]) -> Self {
        let versions = versions.iter().map(|version| (*version).to_owned()).collect();
        Self { group: group.to_owned(), kind: kind.to_owned(), versions }
    }
}

// The records are generated: a derive would reach every one of them, and most have no default that makes sense.
#[allow(clippy::derivable_impls, reason = "as above")]
impl Default for HeaderOps {
    fn default() -> Self {
        Self { request: Vec::new(), response: Vec::new() }
    }
}

#[allow(clippy::derivable_impls, reason = "as above")]
impl Default for Limits {
    fn default() -> Self {
        Self { connections: None, pending: None, requests: None, retries: None, requests_per_connection: None }
    }
}

impl Listener {
    /// On the first binding, for routes that are chosen by host and path alone.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        origin: Origin,
        port: u16,
        protocol: Protocol,
        hosts: Vec<HostPattern>,
    ) -> Self {
        Self {
            name: name.into(),
            origin,
            binding: 0,
            port,
            protocol,
            hosts,
            misdirected: Misdirected::Refuse,
            inputs: Vec::new(),
            filters: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

impl Termination {
    /// For requests: HTTP/2 and HTTP/1.1 over TLS 1.2 or 1.3, from clients that need no certificate.
    #[must_use]
    pub fn http(credentials: Vec<u32>) -> Self {
        Self {
            credentials,
            client: None,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            alpn: ["h2", "http/1.1"].map(str::to_owned).into(),
        }
    }
}

impl Protocol {
    /// HTTPS with these credentials, from clients that need no certificate; [`Termination::http`] says the rest.
    #[must_use]
    pub fn https(credentials: Vec<u32>) -> Self {
        Self::Https(Termination::http(credentials))
    }

    /// The sources of what is shown where TLS ends; none where it does not.
    #[must_use]
    pub fn credentials(&self) -> &[u32] {
        match self {
            Self::Https(termination) | Self::Tls(termination) => &termination.credentials,
            Self::Http | Self::Passthrough | Self::Tcp | Self::Udp => &[],
        }
    }
}

impl Source {
    /// The first of these objects that exists, and nothing once it is deleted. Without candidates nothing can fill it:
    /// what depends on it keeps its place and refuses.
    #[must_use]
    pub fn new(origin: Origin, role: Role, candidates: Vec<ObjectKey>) -> Self {
        let candidates = candidates.into_iter().map(Locator::Object).collect();
        Self { origin, role, candidates, when_deleted: WhenDeleted::Refuse }
    }
}

impl Forward {
    /// To these targets, with nothing changed on the way.
    #[must_use]
    pub fn to(targets: Vec<Target>) -> Self {
        Self {
            targets,
            host: None,
            path: None,
            timeout: None,
            idle_timeout: None,
            retry: None,
            mirrors: Vec::new(),
            session: None,
        }
    }
}

impl Action {
    /// Everything to one cluster, with nothing changed on the way.
    #[must_use]
    pub fn forward_to(cluster: u32) -> Self {
        Self::Forward(Forward::to(vec![Target::new(1, Destination::Cluster(cluster))]))
    }

    /// The gateway answers by itself, with a status without headers or body.
    #[must_use]
    pub fn respond(status: u16) -> Self {
        Self::Respond(Response::status(status))
    }
}

impl Target {
    /// A share of the requests for one destination.
    #[must_use]
    pub fn new(weight: u32, to: Destination) -> Self {
        Self { weight, to, host: None, headers: HeaderOps::default(), filters: Vec::new() }
    }
}

impl Route {
    /// A route that does just `action`.
    #[must_use]
    pub fn new(name: impl Into<String>, origin: Origin, action: Action) -> Self {
        Self {
            name: name.into(),
            origin,
            cors: None,
            fault: None,
            headers: HeaderOps::default(),
            filters: Vec::new(),
            max_request_body: None,
            action,
            extensions: Vec::new(),
        }
    }
}

impl Response {
    /// A status without headers or body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, grpc_status: None, headers: Vec::new(), body: Vec::new() }
    }
}

impl Redirect {
    /// To the same place as sent; the caller says what differs.
    #[must_use]
    pub fn with_status(status: u16) -> Self {
        Self { status, scheme: None, host: None, port: RedirectPort::AsSent, path: None }
    }
}

impl Endpoints {
    /// Those of a Service's port, which the host follows.
    #[must_use]
    pub fn of_service(service: &ObjectKey, port: u16) -> Self {
        let ObjectKey { namespace, name, .. } = service.clone();
        Self::Service(ServicePort { namespace, name, port, labels: Vec::new() })
    }
}

impl Cluster {
    /// A port of a Service, called `namespace/name:port`.
    #[must_use]
    pub fn of_service(service: &ObjectKey, port: u16) -> Self {
        let name = format!("{}/{}:{port}", service.namespace, service.name);
        Self::new(name, service.at("spec.ports"), Endpoints::of_service(service, port))
    }

    /// HTTP/1.1 in the clear, the host's defaults for everything else.
    #[must_use]
    pub fn new(name: impl Into<String>, origin: Origin, endpoints: Endpoints) -> Self {
        Self {
            name: name.into(),
            origin,
            endpoints,
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balance: Balance::LeastRequest,
            connect_timeout: None,
            idle_timeout: None,
            limits: Limits::default(),
            outlier: None,
            proxy_protocol: None,
            extensions: Vec::new(),
        }
    }
}

impl Text {
    /// A template that is one literal.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> Vec<Self> {
        vec![Self::Literal(text.into())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_operators_write_them() {
        let rule = ObjectKey::new("example.com", "Thing", "default", "t").at("spec.rules[0]");
        assert_eq!(rule.below("host").field, "spec.rules[0].host");
        let paths: Vec<_> =
            rule.below("paths").items(&["a", "b"]).map(|(at, path)| format!("{path} is {at}")).collect();
        assert_eq!(paths, ["a is spec.rules[0].paths[0] of default/t", "b is spec.rules[0].paths[1] of default/t"]);
        let found = rule.error("code", "message", "remedy");
        assert_eq!((found.severity, found.origin), (Severity::Error, rule));
    }

    #[test]
    fn a_configuration_that_nobody_reads_is_named() {
        let unknown = |config: &str| {
            let environment = Environment {
                namespace: String::new(),
                labels: Vec::new(),
                class_name: String::new(),
                controller_name: String::new(),
                capabilities: Vec::new(),
                config: config.to_owned(),
            };
            environment.unknown_config("mine").map(|found| found.origin.object.name)
        };
        assert_eq!((unknown("null"), unknown("{}"), unknown("{\"a\":1}")), (None, None, Some("mine".to_owned())));
    }
}
