//! What a configuration means, as the host executes it: a plugin's translation, checked and compiled once.
//!
//! Nothing here knows of Istio, the Gateway API or wasmtime. A value of these types can be executed as it is; what a
//! plugin said and this host cannot do stands in `refused` and is answered, never ignored.

mod action;
mod cluster;
mod cors;
mod path;
mod stream;
mod weights;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;

pub use action::{
    Abort, Action, Destination, Fault, Forward, HeaderOp, HeaderOps, Mirror, Piece, Redirect, RedirectPort, Response,
    Retry, RetryOn, Route, Session, SessionBy, Share, Target, Template, Variable,
};
pub use cluster::{
    Balance, Cluster, ClusterLimits, Endpoints, FixedEndpoint, HashCookie, HashOn, Label, Outlier, ProxyVersion,
    UpstreamIdentity, UpstreamProtocol, UpstreamTls,
};
pub use cors::{Allowed, Cors, TextMatch, Unmatched};
pub use path::PathRewrite;
pub use stream::{StreamRoute, StreamTarget};
pub(crate) use weights::at_point;

use crate::finding::Finding;
pub use crate::host_pattern::HostPattern;
use crate::object::ObjectKey;

/// Who said something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The object.
    pub object: ObjectKey,
    /// The place in it.
    pub field: String,
}

/// A plugin's translation.
#[derive(Debug)]
pub struct Translation {
    /// Where traffic enters.
    pub bindings: Vec<Binding>,
    /// What is served there.
    pub listeners: Vec<Listener>,
    /// Secrets by reference.
    pub sources: Vec<Source>,
    /// Where requests go.
    pub clusters: Vec<Arc<Cluster>>,
    /// What is done with requests.
    pub routes: Vec<Arc<Route>>,
    /// What is done with connections that are not read as requests.
    pub streams: Vec<Arc<StreamRoute>>,
    /// What the operator should know.
    pub findings: Vec<Finding>,
    /// For the plugin's own router.
    pub table: Arc<[u8]>,
    /// Routes that answer 500 because this host cannot do them, and why.
    pub refused_routes: Vec<(u32, String)>,
    /// Clusters that answer 503 because this host cannot do them, and why.
    pub refused_clusters: Vec<(u32, String)>,
}

/// Where traffic enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Who says so.
    pub origin: Origin,
    /// Which address.
    pub address: Address,
    /// What is kept in the cluster for it.
    pub infrastructure: Option<Infrastructure>,
}

/// What is kept in the cluster for an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Infrastructure {
    /// A label of DNS (RFC 1035).
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// An address as an object asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The gateway's own.
    Shared,
    /// One of these, or any when empty.
    Dedicated(Vec<String>),
    /// This one.
    Ip(IpAddr),
    /// A socket in the file system.
    Unix(String),
}

/// One claim on traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Stable and unique within its plugin.
    pub name: String,
    /// Who says so.
    pub origin: Origin,
    /// Index of its binding.
    pub binding: usize,
    /// As the object says it.
    pub port: u16,
    /// What its clients speak.
    pub protocol: Protocol,
    /// The names it claims.
    pub hosts: Vec<HostPattern>,
    /// What to do with an authority of another listener.
    pub misdirected: Misdirected,
    /// What the router reads.
    pub inputs: Vec<Input>,
    /// Why this host cannot serve it; it then keeps its claim and refuses.
    pub refused: Option<String>,
}

/// What a listener's clients speak, and what is made of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// Requests in the clear.
    Http,
    /// Requests after a TLS handshake.
    Https(Termination),
    /// Bytes after a TLS handshake.
    Tls(Termination),
    /// TLS that is never decrypted here.
    Passthrough,
    /// Bytes.
    Tcp,
    /// Datagrams, which this host does not serve.
    Udp,
}

impl Protocol {
    /// The TLS that ends here.
    #[must_use]
    pub fn termination(&self) -> Option<&Termination> {
        match self {
            Self::Https(termination) | Self::Tls(termination) => Some(termination),
            Self::Http | Self::Passthrough | Self::Tcp | Self::Udp => None,
        }
    }

    /// How clients begin.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match self {
            Self::Http => Transport::Http,
            Self::Https(_) | Self::Tls(_) | Self::Passthrough => Transport::Tls,
            Self::Tcp | Self::Udp => Transport::Tcp,
        }
    }
}

/// How the clients of a socket begin: listeners share one only if theirs begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// With a request in the clear.
    Http,
    /// With a TLS handshake.
    Tls,
    /// With whatever they like.
    Tcp,
}

/// What happens when the authority is another listener's than the one the SNI chose (decision 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdirected {
    /// 421.
    Refuse,
    /// Served there, if the certificate shown covers it and client verification is equal; else 421.
    Follow,
}

/// One thing that a router reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The method.
    Method,
    /// `http` or `https`, as the client reached us.
    Scheme,
    /// The authority as sent.
    Authority,
    /// The query without `?`.
    Query,
    /// The client's address.
    SourceIp,
    /// A header, several lines joined.
    Header(HeaderName),
}

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// Sources of certificates.
    pub credentials: Vec<usize>,
    /// Whether and how clients are verified.
    pub client: Option<ClientPolicy>,
    /// Protocol versions.
    pub versions: TlsVersions,
    /// IANA names; empty for the host's own.
    pub cipher_suites: Vec<String>,
    /// Application protocols, in order of preference.
    pub alpn: Vec<Vec<u8>>,
}

impl Termination {
    /// All its sources, of certificates and of authorities.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        self.credentials.iter().chain(self.client.iter().flat_map(|client| &client.trust)).copied()
    }
}

/// Protocol versions that a listener takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    Both,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

/// How clients are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPolicy {
    /// Sources of authorities, united.
    pub trust: Vec<usize>,
    /// A client without a certificate is served.
    pub accept_missing: bool,
    /// A client whose certificate does not verify is served.
    pub accept_untrusted: bool,
    /// Any of these names must be in the certificate; empty for no such check.
    pub names: Vec<String>,
    /// Any of these must be met; empty for no such check.
    pub pins: Vec<Pin>,
    /// Longest chain.
    pub max_depth: Option<u8>,
}

/// A digest that a client's certificate must meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    /// SHA-256 of the certificate.
    Certificate([u8; 32]),
    /// SHA-256 of its public key.
    Spki([u8; 32]),
}

/// A secret by reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Who says so.
    pub origin: Origin,
    /// What it is read as.
    pub role: Role,
    /// The first that exists is used, alone.
    pub candidates: Vec<Locator>,
    /// What a deletion means.
    pub when_deleted: WhenDeleted,
}

/// What a secret is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A certificate chain and its key.
    Credential,
    /// Certificate authorities.
    Trust,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Locator {
    /// In an object.
    Object(ObjectKey),
    /// In files: data key and path.
    Files(Vec<(String, String)>),
    /// The operating system's authorities.
    SystemRoots,
}

/// What a deletion means (decision 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDeleted {
    /// The last good content stays.
    KeepLast,
    /// After a grace it is gone.
    Refuse,
}
