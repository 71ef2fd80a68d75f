//! Constructors and defaults for the translation's records, so that a dialect spells out only what it means.

use std::hash::{Hash, Hasher};

use crate::model::{
    Action, Balance, Cluster, Destination, Endpoints, Forward, HeaderOps, HostPattern, Limits, Listener, Misdirected,
    Protocol, Redirect, RedirectPort, Response, Route, Target, Termination, Text, TlsVersion, Translation,
    UpstreamProtocol,
};
use crate::{Kind, ObjectKey, Origin};

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
}

impl Eq for ObjectKey {}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.group, &self.kind, &self.namespace, &self.name).hash(state);
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

#[allow(clippy::derivable_impls, reason = "as above")]
impl Default for Translation {
    fn default() -> Self {
        Self {
            bindings: Vec::new(),
            listeners: Vec::new(),
            sources: Vec::new(),
            clusters: Vec::new(),
            routes: Vec::new(),
            streams: Vec::new(),
            findings: Vec::new(),
            table: Vec::new(),
        }
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

impl Cluster {
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
