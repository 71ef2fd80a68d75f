//! Where requests go: a cluster's members, what they speak, and what is done to be good to them.

use std::time::Duration;

use http::HeaderName;

use super::Origin;

/// Where requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// For logs and metrics.
    pub name: String,
    /// Who says so.
    pub origin: Origin,
    /// Its members.
    pub endpoints: Endpoints,
    /// What they speak.
    pub protocol: UpstreamProtocol,
    /// What they are spoken to in; none in the clear.
    pub tls: Option<UpstreamTls>,
    /// How one is chosen.
    pub balance: Balance,
    /// To connect; none for the host's own.
    pub connect_timeout: Option<Duration>,
    /// How long a connection is kept without a request; none for the host's own.
    pub idle_timeout: Option<Duration>,
    /// How much it is asked for at a time.
    pub limits: ClusterLimits,
    /// When a member is left out for a while.
    pub outlier: Option<Outlier>,
    /// What connections begin with, before TLS.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Why this host cannot use it.
    pub refused: Option<String>,
}

impl Cluster {
    /// Its sources, of authorities and of a certificate.
    pub fn sources(&self) -> impl Iterator<Item = usize> {
        self.tls.iter().flat_map(|tls| tls.trust.iter().chain(&tls.credential)).copied()
    }

    /// One that asks for nothing, for tests.
    #[cfg(test)]
    pub(crate) fn plain(name: &str) -> Self {
        let object = crate::object::ObjectKey::core("Service", "default", name);
        Self {
            name: name.to_owned(),
            origin: Origin { object, field: String::new() },
            endpoints: Endpoints::Fixed(Vec::new()),
            protocol: UpstreamProtocol::Http1,
            tls: None,
            balance: Balance::LeastRequest,
            connect_timeout: None,
            idle_timeout: None,
            limits: ClusterLimits::default(),
            outlier: None,
            proxy_protocol: None,
            refused: None,
        }
    }
}

/// A label of a pod or an endpoint: name and value.
pub type Label = (String, String);

/// The members of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Endpoints {
    /// A Service's, by its EndpointSlices.
    Service {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// The Service's port number.
        port: u16,
        /// What their pods must be labelled with.
        labels: Vec<Label>,
    },
    /// Addresses as given.
    Fixed(Vec<FixedEndpoint>),
    /// Names that are looked up in the background.
    Dns(Vec<FixedEndpoint>),
}

/// An endpoint as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FixedEndpoint {
    /// An address, or a name for [`Endpoints::Dns`].
    pub address: String,
    /// Port.
    pub port: u16,
    /// Share of the requests.
    pub weight: u32,
    /// What its plugin chose it by.
    pub labels: Vec<Label>,
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by prior knowledge, or with TLS by agreement.
    Http2,
    /// Either, as the TLS handshake says.
    Alpn,
    /// The client's own version.
    AsClient,
}

/// TLS towards endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// The name that they are asked for.
    pub sni: Option<String>,
    /// Sources of authorities, united; empty where whoever answers is taken.
    pub trust: Vec<usize>,
    /// Who they must be.
    pub identity: UpstreamIdentity,
    /// The source of the certificate that they are shown.
    pub credential: Option<usize>,
}

/// Who an endpoint must be, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamIdentity {
    /// Anybody whom its authorities vouch for.
    Unchecked,
    /// A host, by the rules for servers: wildcards count.
    Name(String),
    /// Any subject alternative name, to the letter.
    AnyOf(Vec<String>),
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The less busy of two.
    LeastRequest,
    /// By chance.
    Random,
    /// The same for requests that have this in common: the first of it that a request has.
    Hash(Vec<HashOn>),
}

/// What requests have in common that go to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HashOn {
    /// A header's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(HashCookie),
    /// The client's address.
    SourceIp,
    /// The value of a parameter of the query.
    Query(String),
}

/// A cookie that keeps a client with its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HashCookie {
    /// Name.
    pub name: String,
    /// The paths that it counts for.
    pub path: Option<String>,
    /// How long clients without it keep the one that they are given, zero for their session. None: they are given none to
    /// be hashed by, and one for their session to stay by.
    pub ttl: Option<Duration>,
}

/// How much a cluster is asked for at a time, by all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClusterLimits {
    /// Connections.
    pub connections: Option<u32>,
    /// Requests that wait for a connection.
    pub pending: Option<u32>,
    /// Requests under way.
    pub requests: Option<u32>,
    /// Tries besides the first of each request.
    pub retries: Option<u32>,
    /// Requests that a connection is used for.
    pub requests_per_connection: Option<u32>,
}

/// When an endpoint is left out for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outlier {
    /// After so many failures in a row: statuses of 500 and more count, and connections that fail.
    pub consecutive_errors: Option<u32>,
    /// The same, but of statuses 502, 503 and 504 alone count.
    pub consecutive_gateway_errors: Option<u32>,
    /// So long without being left out takes one time back.
    pub interval: Duration,
    /// For how long the first time; each further time adds as much.
    pub ejection: Duration,
    /// How many of the endpoints may be left out, in percent; one of several in any case, unless it is zero.
    pub max_percent: u8,
    /// With a smaller share left than this, in percent, nobody is left out.
    pub min_health_percent: u8,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary.
    V2,
}
