//! The bootstrap file `sekisho.json`: what was written ([`raw`]), checked into what the gateway runs on.
//!
//! Every key has a default that serves, and an unknown key is an error. `docs/configuration.md` lists them.

mod duration;
mod headers;
mod kubernetes;
mod raw;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

pub use headers::{ClientCertificate, Extra, Headers, Server, Usual};
pub use kubernetes::{Kept, Kubernetes, Resources, SecretsBy};

/// Where the admin endpoint listens when the bootstrap file does not say.
pub const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_000);

/// The checked bootstrap file.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    /// The file itself; none when all defaults are used.
    pub path: Option<PathBuf>,
    /// Where objects come from.
    pub resources: Resources,
    /// The command line says that it is the Kubernetes API, whatever the file does.
    pub kubernetes_asked: bool,
    /// Route plugins, in order of precedence where two meet on one socket.
    pub routes: Vec<Plugin>,
    /// Secret plugins, in the order in which they are asked.
    pub secrets: Vec<Plugin>,
    /// The gateway's own addresses.
    pub addresses: Vec<IpAddr>,
    /// The port an object names -> the port that is bound.
    pub ports: BTreeMap<u16, u16>,
    /// Threads that serve requests.
    pub workers: usize,
    /// What the dialects are told about this gateway.
    pub gateway: Gateway,
    /// Where the admin endpoint listens.
    pub admin: SocketAddr,
    /// Where its pages for probes are served too, of any interface.
    pub probes: Option<SocketAddr>,
    /// Time-outs, sizes and counts.
    pub limits: Limits,
    /// Whose forwarded headers count.
    pub trust: Trust,
    /// What the gateway says of its clients and of itself.
    pub headers: Headers,
    /// TLS choices that no object can make.
    pub tls: Tls,
}

/// A plugin of either kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Its name in logs, findings and status.
    pub name: String,
    /// Where its code is.
    pub code: PluginCode,
    /// The file's SHA-256 that must be met, in lower-case hex.
    pub sha256: Option<String>,
    /// Handed to the plugin as it is.
    pub config: serde_json::Value,
    /// What it may use.
    pub limits: PluginLimits,
}

/// Where a plugin's code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginCode {
    /// Embedded in this binary, by name.
    Builtin(String),
    /// A component, or a core module that carries its component type.
    File(PathBuf),
}

/// What a plugin may use (DESIGN: decision 16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLimits {
    /// Linear memory of one instance, in bytes.
    pub memory: usize,
    /// CPU time of one `route`.
    pub route: Duration,
    /// Time of one `translate`, `load` or `report`.
    pub translate: Duration,
    /// Time of one `decode`.
    pub decode: Duration,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            route: Duration::from_millis(2),
            translate: Duration::from_secs(5),
            decode: Duration::from_secs(1),
        }
    }
}

/// What the dialects are told about this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Where it lives: Istio looks up its credentials there.
    pub namespace: String,
    /// Its labels, for Istio's `selector`.
    pub labels: BTreeMap<String, String>,
    /// The GatewayClass that is implied among files.
    pub class_name: String,
    /// The controller that classes name whose Gateways are served.
    pub controller_name: String,
    /// The address that clients use for what listens on the gateway's own addresses.
    pub published: Published,
    /// Addresses of which every object that is bound on its own gets one; without any they share the gateway's own.
    pub pool: Vec<IpNet>,
    /// Whether a Service is kept in the cluster for what has addresses of its own.
    pub services: bool,
}

/// The address that clients use for what listens on the gateway's own addresses, for statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Published {
    /// The one that it listens on.
    #[default]
    Bound,
    /// These IP addresses or host names.
    Addresses(Vec<String>),
    /// Those of a Service: of its load balancer, its external IPs, or its cluster IPs, whichever it has first.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            namespace: "istio-system".to_owned(),
            labels: BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]),
            class_name: "istio".to_owned(),
            controller_name: "sekisho.dev/gateway-controller".to_owned(),
            published: Published::default(),
            pool: Vec::new(),
            services: false,
        }
    }
}

/// The class in a cluster, where `istio` is another controller's.
const CLUSTER_CLASS: &str = "sekisho";

/// Time-outs, sizes and counts of the request path, each with what the peer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From accept to the end of the TLS handshake; then the connection is closed.
    pub handshake_timeout: Duration,
    /// For a whole request head; then the connection is closed (HTTP/1.1).
    pub header_timeout: Duration,
    /// Without a request in flight; then the connection is closed (GOAWAY).
    pub idle_timeout: Duration,
    /// Between two pieces of a request body; then 408.
    pub body_timeout: Duration,
    /// Between two pieces of a response body, and without a piece taken by the client; then the response is cut.
    pub response_timeout: Duration,
    /// To connect to an endpoint, where the configuration names no other; then the next try, or 503.
    pub connect_timeout: Duration,
    /// For requests in flight after SIGTERM.
    pub drain_timeout: Duration,
    /// All headers of a request together, in bytes; beyond: 431.
    pub header_bytes: usize,
    /// Headers of a request; beyond: 431.
    pub header_count: usize,
    /// Path and query together, in bytes; beyond: 414.
    pub path_bytes: usize,
    /// Concurrent streams of an HTTP/2 connection; beyond: the stream is refused.
    pub streams: u32,
    /// Client connections of one worker; beyond: accepted and closed at once.
    pub connections: usize,
    /// Of these, in their TLS handshake; beyond: accepted and closed at once.
    pub handshakes: usize,
    /// Requests of one worker that a fault makes wait; those that come beyond do not wait.
    pub delays: usize,
    /// Copies of requests of one worker that are on their way to mirrors; beyond: there is no copy.
    pub mirrors: usize,
    /// How far a request's body may be ahead of a mirror, in bytes; beyond: the copy is cut.
    pub mirror_buffer: usize,
    /// Idle connections kept to one endpoint by one worker.
    pub upstream_idle_connections: usize,
    /// How long an idle connection to an endpoint is kept.
    pub upstream_idle_timeout: Duration,
    /// How old a connection to an endpoint becomes; then it takes no further request.
    pub upstream_age: Duration,
    /// A connection that is not read as requests, silent on both sides for so long, ends.
    pub stream_idle_timeout: Duration,
    /// Routes that a worker remembers of each plugin, by all that the plugin was told of the request.
    pub route_decisions: usize,
    /// A file of objects, in bytes; beyond: it is not read.
    pub resource_bytes: u64,
    /// A plugin's file, in bytes; beyond: it is not loaded.
    pub plugin_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            response_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            header_bytes: 60 << 10,
            header_count: 100,
            path_bytes: 8 << 10,
            streams: 100,
            connections: 16_384,
            handshakes: 4096,
            delays: 1024,
            mirrors: 1024,
            mirror_buffer: 256 << 10,
            upstream_idle_connections: 128,
            upstream_idle_timeout: Duration::from_secs(60),
            upstream_age: Duration::from_secs(3600),
            stream_idle_timeout: Duration::from_secs(3600),
            route_decisions: 1024,
            resource_bytes: 64 << 20,
            plugin_bytes: 32 << 20,
        }
    }
}

/// Whose forwarded headers count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Peers whose `x-forwarded-*` and `forwarded` headers are kept; from all others they are dropped.
    pub proxies: Vec<IpNet>,
    /// How many such proxies may stand one behind another: the client's address is at most so many addresses from the
    /// end of `x-forwarded-for`. With 0 it is the peer's.
    pub hops: usize,
}

impl Trust {
    /// Whether an address is that of a proxy whose word counts.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&address))
    }
}

/// TLS choices that no object can make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Namespace and name of the secret shown to clients whose SNI no listener claims; without it they get the alert
    /// `unrecognized_name`.
    pub default_credential: Option<(String, String)>,
    /// Whether client certificates of X.509 version 1 are verified (they carry no key usage) or refused.
    pub v1_client_certificates: bool,
    /// Directories below which objects may name certificate files.
    pub files: Vec<PathBuf>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { default_credential: None, v1_client_certificates: true, files: Vec::new() }
    }
}

/// Why a bootstrap file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It cannot be read.
    #[error("cannot read {path} (name another with --config, or try `sekisho demo`)")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not JSON, or a key in it is unknown or of a wrong type.
    #[error("{path}:{line}:{column}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// Values in it do not fit; all of them.
    #[error("{path}: {}", problems.join("; "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// `key: what is wrong`.
        problems: Vec<String>,
    },
}

impl Bootstrap {
    /// Reads and checks a bootstrap file. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// When it cannot be read, is not the JSON it should be, or values do not fit.
    pub fn read(path: &Path) -> Result<Self, BootstrapError> {
        Self::check(raw::Raw::read(path)?, path)
    }

    /// The same with the Kubernetes API in the place of its `resources`.
    ///
    /// # Errors
    /// As those of [`Bootstrap::read`].
    pub fn read_for_kubernetes(path: &Path) -> Result<Self, BootstrapError> {
        let checked = Self::check(raw::Raw::read(path)?.for_kubernetes(), path)?;
        Ok(Self { kubernetes_asked: true, ..checked })
    }

    /// What the file says now, read as it was before.
    ///
    /// # Errors
    /// As those of [`Bootstrap::read`].
    pub fn read_again(&self, path: &Path) -> Result<Self, BootstrapError> {
        if self.kubernetes_asked { Self::read_for_kubernetes(path) } else { Self::read(path) }
    }

    /// All defaults, with the Kubernetes API as the source.
    ///
    /// # Errors
    /// None is known; defaults are checked as everything is.
    pub fn for_kubernetes() -> Result<Self, BootstrapError> {
        let checked = Self::check(raw::Raw::default().for_kubernetes(), Path::new(""))?;
        Ok(Self { path: None, ..checked })
    }

    /// The same for who only looks: nothing is written anywhere.
    #[must_use]
    pub fn only_to_read(mut self) -> Self {
        if let Resources::Kubernetes(api) = &mut self.resources {
            (api.status, api.snapshot) = (false, None);
        }
        self
    }

    fn check(raw: raw::Raw, path: &Path) -> Result<Self, BootstrapError> {
        raw.check(path).map_err(|problems| BootstrapError::Invalid { path: path.to_owned(), problems })
    }

    /// The port that is bound for the port that an object names.
    #[must_use]
    pub fn bound_port(&self, port: u16) -> u16 {
        self.ports.get(&port).copied().unwrap_or(port)
    }

    /// The names of keys in which `new` differs in a way that only a restart brings into force.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let is_api = |resources: &Resources| matches!(resources, Resources::Kubernetes(_));
        if self.resources != new.resources && (is_api(&self.resources) || is_api(&new.resources)) {
            keys.push("resources");
        }
        if self.workers != new.workers {
            keys.push("workers");
        }
        if (self.admin, self.probes) != (new.admin, new.probes) {
            keys.push("admin");
        }
        let (before, after) = (&self.limits, &new.limits);
        if before.drain_timeout != after.drain_timeout {
            keys.push("limits.drainTimeout");
        }
        if before.upstream_idle_connections != after.upstream_idle_connections {
            keys.push("limits.upstreamIdleConnections");
        }
        if before.upstream_idle_timeout != after.upstream_idle_timeout {
            keys.push("limits.upstreamIdleTimeout");
        }
        if before.upstream_age != after.upstream_age {
            keys.push("limits.upstreamAge");
        }
        if before.route_decisions != after.route_decisions {
            keys.push("limits.routeDecisions");
        }
        keys
    }
}

/// serde_json and serde-saphyr repeat line and column at the end of their messages.
pub(crate) fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(what, _)| what).to_owned()
}
