//! What the gateway serves at one moment. Immutable: a change makes a new one, and whatever did not change is carried
//! over by reference.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::host_pattern::{HostIndex, HostPattern};
use crate::model::{Input, Misdirected, Origin, Protocol, Route, StreamRoute, Transport};
use crate::object::ObjectKey;
use crate::socket_name::SocketName;
use crate::tls::TlsListener;
use crate::upstream::Cluster;

/// What the gateway serves at one moment.
#[derive(Debug, Default)]
pub struct Generation {
    /// Counts up.
    pub number: u64,
    /// By where they are; each is bound.
    pub sockets: BTreeMap<SocketName, Arc<Socket>>,
    /// One for each route plugin, in the bootstrap file's order.
    pub parts: Vec<Arc<Part>>,
}

/// One plugin's routes and clusters.
#[derive(Debug)]
pub struct Part {
    /// The plugin's bootstrap name.
    pub plugin: Arc<str>,
    /// The table whose indices these routes are.
    pub table: u64,
    /// What its router answers with.
    pub routes: Vec<Arc<Route>>,
    /// What it answers with for connections that are not read as requests.
    pub streams: Vec<Arc<StreamRoute>>,
    /// Where these lead.
    pub clusters: Vec<Arc<Cluster>>,
}

/// One place that clients connect to.
#[derive(Debug)]
pub struct Socket {
    /// Where it is.
    pub address: SocketName,
    /// How clients begin on it.
    pub transport: Transport,
    /// Which names lead to which listener.
    pub hosts: HostIndex<usize>,
    /// The listeners, of all plugins.
    pub listeners: Vec<Arc<Listener>>,
    /// The same by their names.
    pub by_name: HashMap<Arc<str>, usize>,
    /// Whether TLS of some of its clients ends elsewhere.
    pub some_sealed: bool,
    /// Whether some of its clients are read as HTTP.
    pub some_http: bool,
    /// What is shown to clients whose SNI no listener claims.
    pub default_tls: Option<Arc<rustls::ServerConfig>>,
}

/// What is served under some names of a socket.
#[derive(Debug)]
pub struct Listener {
    /// Plugin and name; stable across generations.
    pub name: Arc<str>,
    /// Index of its plugin.
    pub plugin: usize,
    /// Its index in the plugin's translation.
    pub number: u32,
    /// Who says that there is one.
    pub origin: Origin,
    /// As the object says it, before the bootstrap file's port map.
    pub port: u16,
    /// The objects that its secrets may be in.
    pub secrets: Vec<ObjectKey>,
    /// What its connections carry.
    pub traffic: Traffic,
    /// The names it claims.
    pub hosts: Vec<HostPattern>,
    /// What to do with an authority of another listener.
    pub misdirected: Misdirected,
    /// What its router reads.
    pub inputs: Vec<Input>,
    /// Its TLS, on a secure socket.
    pub tls: Option<Arc<TlsListener>>,
    /// Why it refuses its clients.
    pub refused: Option<String>,
}

/// What connections of a listener carry, as far as this gateway looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Requests.
    Requests,
    /// Bytes.
    Bytes,
    /// Bytes of a TLS connection that ends elsewhere.
    Sealed,
}

impl From<&Protocol> for Traffic {
    fn from(protocol: &Protocol) -> Self {
        match protocol {
            Protocol::Http | Protocol::Https(_) => Self::Requests,
            Protocol::Tls(_) | Protocol::Tcp | Protocol::Udp => Self::Bytes,
            Protocol::Passthrough => Self::Sealed,
        }
    }
}

impl Socket {
    /// Whether clients speak TLS on it.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.transport == Transport::Tls
    }

    /// The listener for a name, in lower case without port and trailing dot.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<&Arc<Listener>> {
        self.hosts.find(host).map(|index| &self.listeners[index])
    }

    /// The listener of that name, which a connection remembers from its handshake.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Listener>> {
        self.by_name.get(name).map(|index| &self.listeners[*index])
    }

    /// The listener for a TLS client; one that sends no name comes to whoever claims every name.
    #[must_use]
    pub fn for_sni(&self, sni: Option<&str>) -> Option<&Arc<Listener>> {
        match sni {
            Some(name) => self.find(name),
            None => self.hosts.nameless().map(|index| &self.listeners[index]),
        }
    }

    /// The names that are claimed here, for logs.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<String> =
            self.listeners.iter().flat_map(|listener| &listener.hosts).map(ToString::to_string).collect();
        names.join(", ")
    }
}

impl Listener {
    /// The TLS that its clients are offered.
    ///
    /// # Errors
    /// Why it refuses them.
    pub fn tls_config(&self) -> Result<Arc<rustls::ServerConfig>, String> {
        match (&self.refused, &self.tls) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(tls)) => tls.config.clone(),
            (None, None) => Err("it has no TLS".to_owned()),
        }
    }
}
