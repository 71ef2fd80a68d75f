//! Listeners onto sockets: who claims what where, and who yields (decision 11).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use serde_json::Value;

use super::pool::Pool;
use crate::bootstrap::{Bootstrap, Published};
use crate::finding::{Finding, Severity};
use crate::generation::{Listener, Socket, Traffic};
use crate::host_pattern::HostIndex;
use crate::model::{self, Address, Binding, Translation, Transport};
use crate::object::ObjectKey;
use crate::plugin::ListenerState;
use crate::snapshot::Snapshot;
use crate::socket_name::SocketName;
use crate::tls::TlsListener;

/// One listener of one plugin, ready to be placed.
pub(super) struct Claim<'t> {
    pub(super) plugin: usize,
    pub(super) number: u32,
    pub(super) said: &'t model::Listener,
    pub(super) listener: Arc<Listener>,
    pub(super) addresses: Result<Vec<SocketName>, String>,
    /// Older claims come first: time of creation, namespace, name, plugin, place in the translation.
    pub(super) age: (String, String, String, usize, u32),
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is on these sockets.
    On(Vec<SocketName>),
    /// Another has its place everywhere.
    Yielded(ObjectKey),
    /// There is no address for it.
    Nowhere(String),
}

/// All sockets, and what became of each claim in the order given.
pub(super) fn place(
    mut claims: Vec<Claim<'_>>,
    default_tls: Option<&Arc<TlsListener>>,
    findings: &mut Vec<Finding>,
) -> (BTreeMap<SocketName, Socket>, BTreeMap<(usize, u32), Placed>) {
    claims.sort_by(|a, b| a.age.cmp(&b.age));
    let mut sockets: BTreeMap<SocketName, (Socket, ObjectKey)> = BTreeMap::new();
    let mut origins: BTreeMap<SocketName, Vec<ObjectKey>> = BTreeMap::new();
    let mut placed = BTreeMap::new();
    let mut told = HashSet::new();
    for claim in claims {
        let addresses = match &claim.addresses {
            Ok(addresses) => addresses,
            Err(why) => {
                placed.insert((claim.plugin, claim.number), Placed::Nowhere(why.clone()));
                continue;
            }
        };
        let transport = claim.said.protocol.transport();
        let mut on = Vec::new();
        let mut winner = None;
        for address in addresses {
            let (socket, first) = sockets.entry(address.clone()).or_insert_with(|| {
                let default_tls =
                    default_tls.filter(|_| transport == Transport::Tls).and_then(|tls| tls.config.clone().ok());
                let socket = Socket {
                    address: address.clone(),
                    transport,
                    hosts: HostIndex::new(),
                    listeners: Vec::new(),
                    by_name: HashMap::new(),
                    some_sealed: false,
                    some_http: false,
                    default_tls,
                };
                (socket, claim.said.origin.object.clone())
            });
            if socket.transport != transport {
                winner = Some(first.clone());
                yields(&claim, first, "the port speaks another protocol there", &mut told, findings);
                continue;
            }
            let index = socket.listeners.len();
            let owners = origins.entry(address.clone()).or_default();
            let mut held = false;
            for host in &claim.said.hosts {
                match socket.hosts.insert(host, index) {
                    None => held = true,
                    Some(taken) if taken == index => held = true,
                    Some(taken) => {
                        let owner = owners[taken].clone();
                        yields(&claim, &owner, &format!("the host `{host}` is taken"), &mut told, findings);
                        winner = Some(owner);
                    }
                }
            }
            if held {
                socket.by_name.insert(Arc::clone(&claim.listener.name), index);
                socket.some_sealed |= claim.listener.traffic == Traffic::Sealed;
                socket.some_http |= claim.listener.traffic == Traffic::Requests;
                socket.listeners.push(Arc::clone(&claim.listener));
                owners.push(claim.said.origin.object.clone());
                on.push(address.clone());
            }
        }
        let outcome = match winner {
            Some(winner) if on.is_empty() => Placed::Yielded(winner),
            None if on.is_empty() => Placed::Nowhere("it claims no host".to_owned()),
            _ => Placed::On(on),
        };
        placed.insert((claim.plugin, claim.number), outcome);
    }
    (sockets.into_iter().map(|(address, (socket, _))| (address, socket)).collect(), placed)
}

fn yields(
    claim: &Claim<'_>,
    winner: &ObjectKey,
    why: &str,
    told: &mut HashSet<(usize, u32, String)>,
    findings: &mut Vec<Finding>,
) {
    if !told.insert((claim.plugin, claim.number, why.to_owned())) {
        return;
    }
    let origin = &claim.said.origin;
    let message = format!("{why} by {winner}, which is older");
    findings.push(
        Finding::on(Severity::Error, &origin.object, &origin.field, "listener-conflict", message)
            .remedy("give one of the two another host or port"),
    );
}

/// The sockets of a listener.
///
/// # Errors
/// Why there is none.
pub(super) fn addresses(
    listener: &model::Listener,
    translation: &Translation,
    bootstrap: &Bootstrap,
    pool: &Pool,
) -> Result<Vec<SocketName>, String> {
    let Binding { origin, address, .. } = &translation.bindings[listener.binding];
    if let Address::Unix(path) = address {
        return Ok(vec![SocketName::Unix(path.as_str().into())]);
    }
    let port = bootstrap.bound_port(listener.port);
    if port == 0 {
        return Err("port 0 is no port to listen on".to_owned());
    }
    let on = |ip: &IpAddr| SocketName::from(SocketAddr::new(*ip, port));
    let shared = || bootstrap.addresses.iter().map(on).collect();
    match address {
        Address::Ip(ip) => Ok(vec![on(ip)]),
        Address::Shared | Address::Unix(_) => Ok(shared()),
        Address::Dedicated(wanted) if wanted.is_empty() && bootstrap.gateway.pool.is_empty() => Ok(shared()),
        Address::Dedicated(wanted) if wanted.is_empty() => match pool.of(&origin.object) {
            Some(ip) => Ok(vec![on(&ip)]),
            None => Err("every address of `gateway.pool` is another's".to_owned()),
        },
        Address::Dedicated(wanted) => wanted
            .iter()
            .map(|text| {
                let ip: IpAddr = text.parse().map_err(|_| format!("`{text}` is not an address of this host"))?;
                Ok(on(&ip))
            })
            .collect(),
    }
}

/// What clients use in the place of the gateway's own addresses; none where they use those.
///
/// # Errors
/// Why there is nothing that they could use.
pub(super) fn published(published: &Published, snapshot: &Snapshot) -> Option<Result<Vec<String>, String>> {
    match published {
        Published::Bound => None,
        Published::Addresses(addresses) => Some(Ok(addresses.clone())),
        Published::Service { namespace, name } => {
            let key = ObjectKey::core("Service", namespace, name);
            let Some(service) = snapshot.objects.get(&key) else {
                return Some(Err(format!("{key}, whose addresses clients would use, does not exist")));
            };
            let addresses = service_addresses(&service.value(), service.status().map(|status| &**status));
            Some(if addresses.is_empty() { Err(format!("{key} has no address yet")) } else { Ok(addresses) })
        }
    }
}

/// From the outermost inwards: a load balancer waits for its own, and is not stood in for.
fn service_addresses(service: &Value, status: Option<&Value>) -> Vec<String> {
    let texts = |list: &Value| -> Vec<String> {
        let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.filter(|text| !text.is_empty() && *text != "None").map(str::to_owned).collect()
    };
    let spec = &service["spec"];
    let ingress = status.map_or(&Value::Null, |status| &status["loadBalancer"]["ingress"]);
    let ingress = ingress.as_array().into_iter().flatten();
    let balancer: Vec<String> =
        ingress.filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str())).map(str::to_owned).collect();
    if !balancer.is_empty() || spec["type"] == "LoadBalancer" {
        let external = texts(&spec["externalIPs"]);
        return if balancer.is_empty() { external } else { balancer };
    }
    let external = texts(&spec["externalIPs"]);
    if external.is_empty() { texts(&spec["clusterIPs"]) } else { external }
}

/// Before an object may be older than another.
pub(super) fn age(
    listener: &model::Listener,
    snapshot: &Snapshot,
    plugin: usize,
    number: u32,
) -> (String, String, String, usize, u32) {
    let key = &listener.origin.object;
    let created = snapshot.objects.get(key).map(|object| object.created().to_owned()).unwrap_or_default();
    (created, key.namespace.clone(), key.name.clone(), plugin, number)
}

/// The addresses that clients can use, for a binding's sockets: an unspecified one stands for this machine's own.
pub(super) fn reachable<'n>(names: impl Iterator<Item = &'n SocketName>) -> Vec<String> {
    let mut reachable: Vec<String> = Vec::new();
    for name in names {
        let text = match name {
            SocketName::Inet(address) if address.ip().is_unspecified() => own_address(address.ip()).to_string(),
            SocketName::Inet(address) => address.ip().to_string(),
            SocketName::Unix(_) => name.to_string(),
        };
        if !reachable.contains(&text) {
            reachable.push(text);
        }
    }
    reachable
}

/// The address of the way to the outside, which connecting a datagram socket tells without sending anything.
fn own_address(unspecified: IpAddr) -> IpAddr {
    let (outside, loopback): (IpAddr, IpAddr) = match unspecified {
        IpAddr::V4(_) => ([192, 0, 2, 1].into(), std::net::Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()),
    };
    UdpSocket::bind(SocketAddr::new(unspecified, 0))
        .and_then(|socket| socket.connect(SocketAddr::new(outside, 9)).and_then(|()| socket.local_addr()))
        .map_or(loopback, |address| address.ip())
}

/// The state of a listener that was placed.
pub(super) fn state(
    placed: Option<&Placed>,
    listener: &Listener,
    unbound: &BTreeMap<SocketName, String>,
) -> ListenerState {
    match placed {
        Some(Placed::Yielded(winner)) => ListenerState::Conflict(winner.clone()),
        Some(Placed::Nowhere(why)) => ListenerState::Unbound(why.clone()),
        None => ListenerState::Unbound("it was not placed".to_owned()),
        Some(Placed::On(addresses)) => {
            let bound = addresses.iter().any(|address| !unbound.contains_key(address));
            if !bound {
                let why = addresses.iter().filter_map(|address| Some(format!("{address}: {}", unbound.get(address)?)));
                return ListenerState::Unbound(why.collect::<Vec<_>>().join("; "));
            }
            if let Some(why) = &listener.refused {
                return ListenerState::Unsupported(why.clone());
            }
            match &listener.tls {
                Some(tls) if tls.config.is_err() => ListenerState::NoCredential,
                _ => ListenerState::Serving,
            }
        }
    }
}
