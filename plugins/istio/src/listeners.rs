//! Servers of all Gateways on their ports: which share a listener, which have one of their own, which lose.
//!
//! Istio's rules (`mergeGateways`): plain HTTP servers of a port share one table of routes; TLS servers of a port are
//! told apart by SNI; anything else that meets on a port is a conflict, and the older Gateway wins.

use std::collections::{HashMap, HashSet};

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{Address, Binding, ClientVerification, Listener, Misdirected, Protocol, Termination};
use sekisho_sdk::{Origin, Severity};

use crate::findings::Findings;
use crate::gateway::{Bind, Gateway, Kind, Server};
use crate::sources::Sources;
use crate::tls;

/// A server by its position among the Gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerId {
    pub(crate) gateway: usize,
    pub(crate) server: usize,
}

/// Where traffic enters.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) bindings: Vec<Binding>,
    pub(crate) listeners: Vec<Listener>,
    /// The servers of each listener, in order of precedence.
    pub(crate) servers: Vec<Vec<ServerId>>,
    by_bind: HashMap<Bind, u32>,
    sockets: HashMap<(Bind, u16), Socket>,
}

/// What a port of an address is already taken for.
#[derive(Debug)]
enum Socket {
    /// The shared listener, and the hosts it has.
    Http(usize, HashSet<HostName>),
    /// Hosts that are taken, and by which server.
    Tls(HashMap<HostName, String>),
    Tcp,
}

/// Places every server, or says why not.
pub(crate) fn place(gateways: &[Gateway], sources: &mut Sources, findings: &mut Findings) -> Listeners {
    let mut listeners = Listeners::default();
    for (gateway, of) in gateways.iter().enumerate() {
        for (server, said) in of.servers.iter().enumerate() {
            listeners.add(ServerId { gateway, server }, said, sources, findings);
        }
    }
    listeners.report_shared(gateways, findings);
    listeners
}

impl Listeners {
    fn add(&mut self, id: ServerId, server: &Server, sources: &mut Sources, findings: &mut Findings) {
        let at = (server.bind.clone(), server.port);
        let protocol = match (&server.kind, self.sockets.get_mut(&at)) {
            (Kind::Http { .. }, Some(Socket::Http(listener, known))) => {
                let more = server.hosts.names().iter().filter(|host| known.insert((*host).clone()));
                self.listeners[*listener].hosts.extend(more.map(HostName::to_pattern));
                self.servers[*listener].push(id);
                return;
            }
            (Kind::Http { .. }, None) => {
                let hosts = server.hosts.names().iter().cloned().collect();
                self.sockets.insert(at, Socket::Http(self.listeners.len(), hosts));
                Protocol::Http
            }
            (Kind::Tcp, None) => {
                self.sockets.insert(at, Socket::Tcp);
                Protocol::Tcp
            }
            (Kind::Https(_) | Kind::Tls(_) | Kind::Passthrough, None) => {
                let taken = server.hosts.names().iter().map(|host| (host.clone(), server.name.clone()));
                self.sockets.insert(at, Socket::Tls(taken.collect()));
                protocol(&server.kind, sources)
            }
            (Kind::Https(_) | Kind::Tls(_) | Kind::Passthrough, Some(Socket::Tls(taken))) => {
                let names = server.hosts.names();
                if let Some((host, owner)) = names.iter().find_map(|host| Some((host, taken.get(host)?))) {
                    let message = format!(
                        "`{host}` on port {} is already served by {owner}, so that this server is not used at all",
                        server.port
                    );
                    return lose(server, message, "remove the host from one of the two servers", findings);
                }
                taken.extend(names.iter().map(|host| (host.clone(), server.name.clone())));
                protocol(&server.kind, sources)
            }
            (_, Some(socket)) => {
                let what = match socket {
                    Socket::Http(..) => "plain HTTP",
                    Socket::Tls(_) => "TLS",
                    Socket::Tcp => "TCP",
                };
                let message =
                    format!("port {} is already taken for {what}, so that this server is not used", server.port);
                return lose(server, message, "give the server another port", findings);
            }
        };
        let binding = self.binding(server);
        let listener = listener(server, protocol, binding);
        self.listeners.push(listener);
        self.servers.push(vec![id]);
    }

    /// Browsers take a connection for every host that its certificate covers, whichever Gateway has the host.
    fn report_shared(&self, gateways: &[Gateway], findings: &mut Findings) {
        let mut shown: HashMap<(u32, u16, u32), usize> = HashMap::new();
        for (listener, servers) in self.listeners.iter().zip(&self.servers) {
            let (Protocol::Https(termination), [id]) = (&listener.protocol, &servers[..]) else { continue };
            for credential in &termination.credentials {
                let first = *shown.entry((listener.binding, listener.port, *credential)).or_insert(id.gateway);
                if first != id.gateway {
                    let message = format!(
                        "Gateway {} shows the same certificate on port {}: a connection to one of its hosts may be used for \
                         these, and is, where clients are verified alike; otherwise the answer is 421",
                        gateways[first].name, listener.port
                    );
                    let remedy = "nothing; to keep connections apart, give each its own certificate";
                    findings.say(Severity::Info, listener.origin.clone(), "shared-certificate", message, remedy);
                }
            }
        }
    }

    fn binding(&mut self, server: &Server) -> u32 {
        let next = index(self.bindings.len());
        *self.by_bind.entry(server.bind.clone()).or_insert_with(|| {
            let address = match &server.bind {
                Bind::Shared => Address::Shared,
                Bind::Ip(ip) => Address::Ip(ip.to_string()),
                Bind::Unix(path) => Address::Unix(path.clone()),
            };
            self.bindings.push(Binding { origin: server.origin.clone(), address, infrastructure: None });
            next
        })
    }
}

fn protocol(kind: &Kind, sources: &mut Sources) -> Protocol {
    match kind {
        Kind::Http { .. } => Protocol::Http,
        Kind::Https(said) => Protocol::Https(termination(said, sources)),
        Kind::Tls(said) => Protocol::Tls(termination(said, sources)),
        Kind::Passthrough => Protocol::Passthrough,
        Kind::Tcp => Protocol::Tcp,
    }
}

fn termination(said: &tls::Termination, sources: &mut Sources) -> Termination {
    let client = said.client.as_ref().map(|client| ClientVerification {
        trust: sources.indices(&client.trust),
        no_certificate: client.no_certificate,
        untrusted: client.untrusted,
        names: client.names.clone(),
        pins: client.pins.clone(),
        max_depth: None,
    });
    Termination {
        client,
        min_version: said.min_version,
        max_version: said.max_version,
        cipher_suites: said.cipher_suites.clone(),
        ..Termination::http(sources.indices(&said.credentials))
    }
}

fn listener(server: &Server, protocol: Protocol, binding: u32) -> Listener {
    // The shared listener keeps its name whichever servers join it, so that open connections find it again.
    let name = match (&protocol, &server.bind) {
        (Protocol::Http, Bind::Shared) => format!("http.{}", server.port),
        (Protocol::Http, Bind::Ip(ip)) => format!("http.{}.{ip}", server.port),
        (Protocol::Http, Bind::Unix(path)) => format!("http.{path}"),
        _ => server.name.clone(),
    };
    let hosts = match protocol {
        Protocol::Tcp => vec![HostName::Any.to_pattern()],
        _ => server.hosts.names().iter().map(HostName::to_pattern).collect(),
    };
    let listener = Listener::new(name, server.origin.clone(), server.port, protocol, hosts);
    Listener { binding, misdirected: Misdirected::Follow, ..listener }
}

fn lose(server: &Server, message: String, remedy: &str, findings: &mut Findings) {
    let Origin { object, field } = server.origin.clone();
    findings.say(Severity::Error, Origin { object, field }, "conflict", message, remedy);
}

fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
