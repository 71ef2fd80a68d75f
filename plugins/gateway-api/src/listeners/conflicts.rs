//! Which listeners cannot be told apart, which share host names, and which keep a place that they do not serve.
//!
//! Among a Gateway's own listeners nobody wins (Gateway `listeners`, "Handling indistinct Listeners"), and neither does
//! among those of one ListenerSet, once those that lose to others are gone. A Gateway goes before its sets, and of those
//! the older before the younger (ListenerSet `listeners`). Gateways that share their addresses share sockets, and there
//! the older Gateway keeps what it has: a newcomer takes nothing away from it.

use std::collections::{BTreeMap, HashMap, HashSet};

use sekisho_sdk::Finding;
use sekisho_sdk::host_name::HostName;

use super::{Claim, Family, Listener};
use crate::finding::{Fault, Findings, Problem};
use crate::gateways::Gateway;

const HOSTNAME: &str = "HostnameConflict";
const PROTOCOL: &str = "ProtocolConflict";

/// Marks the listeners of one Gateway, or of one ListenerSet, that cannot be told apart.
pub(crate) fn within(listeners: &mut [&mut Listener], findings: &mut Findings<'_>) {
    let mut ports: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        if let Some(claim) = listener.claim() {
            ports.entry(claim.port).or_default().push(index);
        }
    }
    for (port, indices) in ports {
        let claim = |index: &usize| listeners[*index].claim();
        let families = indices.iter().filter_map(claim).map(|claim| claim.family).collect::<HashSet<_>>();
        if indices.len() > 1 && (families.len() > 1 || families.contains(&Family::Tcp)) {
            let mut protocols = indices.iter().filter_map(claim).map(|claim| claim.protocol).collect::<Vec<_>>();
            protocols.sort_unstable();
            protocols.dedup();
            let message = match protocols[..] {
                [one] => format!("port {port} has room for one {one} listener only"),
                _ => format!("port {port} cannot be {} at once", protocols.join(" and ")),
            };
            for index in indices {
                listeners[index].set_conflict(PROTOCOL, "port", &message, findings);
            }
            continue;
        }
        let mut hosts: HashMap<HostName, Vec<usize>> = HashMap::new();
        for index in indices {
            hosts.entry(listeners[index].host.clone().unwrap_or(HostName::Any)).or_default().push(index);
        }
        let mut shared: Vec<_> = hosts.into_values().filter(|indices| indices.len() > 1).collect();
        shared.sort_unstable();
        for indices in shared {
            let host = listeners[indices[0]].host.as_ref().map_or_else(String::new, ToString::to_string);
            let message = format!("{} listeners claim `{host}` on port {port}", indices.len());
            for index in indices {
                listeners[index].set_conflict(HOSTNAME, "hostname", &message, findings);
            }
        }
    }
}

/// Marks the listeners that lose to one that goes before them on the same sockets, and those of one ListenerSet that
/// cannot be told apart. The Gateways come oldest first, and the listeners of each with those of its sets behind its own.
pub(crate) fn across(gateways: &mut [Gateway], list: &mut Vec<Finding>) {
    let mut ports = Ports::default();
    for gateway in gateways.iter_mut().filter(|gateway| gateway.refused.is_none()) {
        let Some(sockets) = gateway.sockets() else { continue };
        let Gateway { key, sets, listeners, seniority, .. } = gateway;
        // What is not accepted serves nobody, but no set behind it may have its names.
        let mut held: HashMap<(u16, HostName), String> = HashMap::new();
        for members in listeners.chunk_by_mut(|a, b| a.set == b.set) {
            let set = members[0].set.map(|index| &sets[index]);
            let owner = match set {
                None => format!("Gateway {}", seniority.name),
                Some(set) => format!("ListenerSet {}", set.seniority.name),
            };
            let mut findings = Findings::about(set.map_or(&*key, |set| &set.key), list);
            let who = |listener: &Listener| format!("listener `{}` of {owner}", listener.name);
            let mut members: Vec<_> = members.iter_mut().collect();
            for listener in members.iter_mut().filter(|listener| listener.is_accepted()) {
                let Some(claim) = listener.claim() else { continue };
                let kept = held.get(&(claim.port, claim.host.clone())).map(|owner| {
                    let message = format!("`{}` belongs to {owner}, which goes first and is not accepted", claim.host);
                    (HOSTNAME, "hostname", message)
                });
                let lost = kept.filter(|_| set.is_some()).or_else(|| ports.lost(&sockets, claim));
                if let Some((reason, below, message)) = lost {
                    listener.set_conflict(reason, below, &message, &mut findings);
                }
            }
            if set.is_some() {
                // What has lost its place to others is in nobody's way.
                members.retain(|listener| listener.conflict.is_none());
                within(&mut members, &mut findings);
            }
            for listener in members {
                let Some(claim) = listener.claim() else { continue };
                if listener.is_accepted() {
                    ports.take(&sockets, claim, who(listener));
                } else {
                    held.entry((claim.port, claim.host.clone())).or_insert_with(|| who(listener));
                }
            }
        }
    }
}

/// Who holds which ports, by sockets.
#[derive(Default)]
struct Ports(HashMap<(String, u16), Taken>);

/// Who holds a port.
struct Taken {
    family: Family,
    protocol: &'static str,
    by: String,
    hosts: HashMap<HostName, String>,
}

impl Ports {
    /// Why a claim loses: the reason, which field of its listener is in question, and who goes first.
    fn lost(&self, sockets: &str, claim: Claim<'_>) -> Option<(&'static str, &'static str, String)> {
        let port = self.0.get(&(sockets.to_owned(), claim.port))?;
        if port.family != claim.family || port.family == Family::Tcp {
            let message = format!("the port is {} for {}, which goes first", port.protocol, port.by);
            return Some((PROTOCOL, "port", message));
        }
        let owner = port.hosts.get(claim.host)?;
        Some((HOSTNAME, "hostname", format!("`{}` belongs to {owner}, which goes first", claim.host)))
    }

    fn take(&mut self, sockets: &str, claim: Claim<'_>, who: String) {
        let port = self.0.entry((sockets.to_owned(), claim.port)).or_insert_with(|| Taken {
            family: claim.family,
            protocol: claim.protocol,
            by: who.clone(),
            hosts: HashMap::new(),
        });
        port.hosts.insert(claim.host.clone(), who);
    }
}

/// Marks the listeners of a port with TLS whose names overlap: clients may reuse a connection of one for the other.
pub(crate) fn overlaps(gateways: &mut [Gateway]) {
    let served = Served::of(gateways);
    let mut marks = Vec::new();
    for (at, names) in &served.0 {
        for (host, place) in names.iter().filter(|_| at.family == Family::Tls) {
            for wider in wider(host) {
                if let Some(other) = names.get(&wider) {
                    marks.push((*place, wider.clone(), *other));
                    marks.push((*other, host.clone(), *place));
                }
            }
        }
    }
    // The nearest name is told, whatever the order of the maps.
    marks.sort_by(|(a, a_host, _), (b, b_host, _)| {
        a.cmp(b).then_with(|| b_host.specificity(a_host)).then_with(|| a_host.to_string().cmp(&b_host.to_string()))
    });
    for ((gateway, listener), host, (other_gateway, other)) in marks {
        let other = &gateways[other_gateway].listeners[other].name;
        let message = format!("listener `{other}` on the same port claims `{host}`");
        gateways[gateway].listeners[listener]
            .overlap
            .get_or_insert_with(|| Problem::new("OverlappingHostnames", message));
    }
}

/// The listeners that are not accepted but must keep their place, because a wider listener on the same sockets would
/// take their traffic.
pub(crate) fn holds_place(gateways: &[Gateway]) -> Vec<(usize, usize)> {
    let mut served = Served::of(gateways);
    let mut places = Vec::new();
    for (gateway, listener, at) in
        claims(gateways).filter(|(gateway, listener, _)| !serves(gateways, *gateway, *listener))
    {
        let Some(host) = gateways[gateway].listeners[listener].claim().map(|claim| claim.host) else { continue };
        let Some(names) = served.0.get_mut(&at) else { continue };
        if !names.contains_key(host) && wider(host).any(|wider| names.contains_key(&wider)) {
            names.insert(host.clone(), (gateway, listener));
            places.push((gateway, listener));
        }
    }
    places
}

/// Where a listener listens.
#[derive(PartialEq, Eq, Hash)]
struct At {
    sockets: String,
    port: u16,
    family: Family,
}

/// The names served, and by which listener of which Gateway.
struct Served(HashMap<At, HashMap<HostName, (usize, usize)>>);

impl Served {
    fn of(gateways: &[Gateway]) -> Self {
        let mut served: HashMap<At, HashMap<HostName, (usize, usize)>> = HashMap::new();
        for (gateway, listener, at) in
            claims(gateways).filter(|(gateway, listener, _)| serves(gateways, *gateway, *listener))
        {
            if let Some(host) = &gateways[gateway].listeners[listener].host {
                served.entry(at).or_default().insert(host.clone(), (gateway, listener));
            }
        }
        Self(served)
    }
}

fn claims(gateways: &[Gateway]) -> impl Iterator<Item = (usize, usize, At)> {
    gateways.iter().enumerate().flat_map(|(gateway_index, gateway)| {
        let sockets = gateway.sockets();
        gateway.listeners.iter().enumerate().filter_map(move |(index, listener)| {
            let Claim { family, port, .. } = listener.claim()?;
            Some((gateway_index, index, At { sockets: sockets.clone()?, port, family }))
        })
    })
}

fn serves(gateways: &[Gateway], gateway: usize, listener: usize) -> bool {
    gateways[gateway].refused.is_none() && gateways[gateway].listeners[listener].is_accepted()
}

/// The claims that cover this one, nearest first.
fn wider(host: &HostName) -> impl Iterator<Item = HostName> {
    let name = match host {
        HostName::Any => None,
        HostName::Exact(name) | HostName::Subdomains(name) | HostName::OneLabel(name) => Some(name),
    };
    name.into_iter().flat_map(|name| {
        let suffixes = name.match_indices('.').map(|(dot, _)| HostName::Subdomains(name[dot + 1..].to_owned()));
        suffixes.chain([HostName::Any])
    })
}

impl Listener {
    fn set_conflict(&mut self, reason: &'static str, below: &str, message: &str, findings: &mut Findings<'_>) {
        let remedy = "change a port or a hostname, so that every request belongs to one listener";
        let fault = Fault::new("listener-conflict", format!("{}.{below}", self.field), message, remedy);
        self.conflict = Some(findings.refuse(fault.because(reason)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_names_are_the_suffixes_and_any() {
        let names = |host: &str| wider(&HostName::parse(host).unwrap()).map(|h| h.to_string()).collect::<Vec<_>>();
        assert_eq!(names("a.b.c"), ["*.b.c", "*.c", "*"]);
        assert_eq!(names("*.b.c"), ["*.c", "*"]);
        assert!(names("*").is_empty());
    }
}
