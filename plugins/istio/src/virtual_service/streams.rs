//! `tls` and `tcp`: rules for connections that are forwarded as bytes.

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::table::Subnet;
use sekisho_sdk::{ObjectKey, Origin};

use super::Reader;
use crate::destinations::Backend;
use crate::findings::{Findings, Place};
use crate::hosts::ServerHosts;
use crate::matching::Servers;
use crate::objects::virtual_service::{StreamDestination, StreamMatch as SaidMatch, TcpRoute, TlsRoute};

/// One entry of `tls` or `tcp`.
#[derive(Debug)]
pub(crate) struct StreamRule {
    /// `namespace/virtual-service/tls[0]`.
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// With their place in `match`; any of them will do.
    pub(crate) matches: Vec<(usize, StreamMatch)>,
    /// With their weights; nothing where the rule cannot be done as written, so that its connections are closed.
    pub(crate) targets: Vec<(u32, Backend)>,
}

/// One entry of its `match`: all of it must hold.
#[derive(Debug)]
pub(crate) struct StreamMatch {
    /// With their place in `sniHosts`; empty in `tcp`.
    pub(crate) names: Vec<(usize, HostName)>,
    pub(crate) sources: Vec<Subnet>,
    pub(crate) destinations: Vec<Subnet>,
    pub(crate) servers: Servers,
}

impl StreamMatch {
    /// Whether addresses do not matter.
    pub(crate) fn is_from_everywhere(&self) -> bool {
        self.sources.is_empty() && self.destinations.is_empty()
    }
}

/// Reads `tls` of a VirtualService that has these hosts.
pub(super) fn read_tls(
    said: &[TlsRoute],
    key: &ObjectKey,
    hosts: &ServerHosts,
    reader: &mut Reader<'_>,
) -> Vec<StreamRule> {
    let spec = Place::root(key, "spec");
    let rules = said.iter().enumerate().map(|(index, rule)| {
        let at = spec.item("tls", index);
        if rule.r#match.is_empty() {
            let message = "a rule of `tls` needs a match with `sniHosts`; it has no effect";
            reader.findings.error(&at.field("match"), "missing-field", message, "name the hosts that clients ask for");
        }
        let matches = rule.r#match.iter().enumerate().filter_map(|(number, one)| {
            let at = at.item("match", number);
            let names = names(one, hosts, &at, reader.findings);
            let matched = read_match(one, names, key, reader, &at)?;
            // Hosts that were left out must not leave a match for everything.
            (!matched.names.is_empty()).then_some((number, matched))
        });
        let matches = matches.collect();
        let name = format!("{}/{}/tls[{index}]", key.namespace, key.name);
        let targets = targets(&rule.route, &key.namespace, reader, &at);
        StreamRule { name, origin: at.origin(), matches, targets: targets.unwrap_or_default() }
    });
    rules.collect()
}

/// Reads `tcp`.
pub(super) fn read_tcp(said: &[TcpRoute], key: &ObjectKey, reader: &mut Reader<'_>) -> Vec<StreamRule> {
    let spec = Place::root(key, "spec");
    let rules = said.iter().enumerate().map(|(index, rule)| {
        let at = spec.item("tcp", index);
        let read = rule.r#match.iter().enumerate().filter_map(|(number, one)| {
            let at = at.item("match", number);
            if !one.sni_hosts.is_empty() {
                let message = "a rule of `tcp` cannot ask for names; this match is left out";
                reader.findings.error(&at.field("sniHosts"), "conflicting-fields", message, "write it under `tls`");
                return None;
            }
            Some((number, read_match(one, Vec::new(), key, reader, &at)?))
        });
        let mut matches: Vec<_> = read.collect();
        if rule.r#match.is_empty() {
            let servers = Servers::every();
            matches
                .push((0, StreamMatch { names: Vec::new(), sources: Vec::new(), destinations: Vec::new(), servers }));
        }
        let name = format!("{}/{}/tcp[{index}]", key.namespace, key.name);
        let targets = targets(&rule.route, &key.namespace, reader, &at);
        StreamRule { name, origin: at.origin(), matches, targets: targets.unwrap_or_default() }
    });
    rules.collect()
}

/// `sniHosts`: each must be a part of what the VirtualService claims.
fn names(said: &SaidMatch, hosts: &ServerHosts, at: &Place<'_>, findings: &mut Findings) -> Vec<(usize, HostName)> {
    if said.sni_hosts.is_empty() {
        let message = "a match of `tls` needs the hosts that clients ask for; it has no effect";
        findings.error(&at.field("sniHosts"), "missing-field", message, "name at least one");
    }
    let mut names = Vec::with_capacity(said.sni_hosts.len());
    for (index, text) in said.sni_hosts.iter().enumerate() {
        let at = at.item("sniHosts", index);
        match HostName::parse(text) {
            Ok(name) if hosts.claim(&name) => names.push((index, name)),
            Ok(_) => {
                let message = format!("`{text}` is not part of the VirtualService's hosts; it is left out");
                findings.error(&at, "invalid-host", message, "add it to `spec.hosts`, or remove it here");
            }
            Err(problem) => {
                let message = format!("`{text}` is not a host: {problem}; it is left out");
                findings.error(&at, "invalid-host", message, "write a DNS name, `*.` and a suffix, or `*`");
            }
        }
    }
    names
}

/// None when a condition in it cannot be read, because without it more would match than was meant.
fn read_match(
    said: &SaidMatch,
    names: Vec<(usize, HostName)>,
    key: &ObjectKey,
    reader: &mut Reader<'_>,
    at: &Place<'_>,
) -> Option<StreamMatch> {
    let Reader { scope, findings, .. } = reader;
    let labels = (&said.source_labels, said.source_namespace.as_str());
    let here = (key.namespace.as_str(), scope.environment);
    let servers = Servers::read(said.port, &said.gateways, labels, here, at, findings);
    let destinations = said.destination_subnets.iter().enumerate();
    let destinations: Vec<_> =
        destinations.map(|(index, text)| subnet(text, &at.item("destinationSubnets", index), findings)).collect();
    let source = (!said.source_subnet.is_empty()).then_some(&said.source_subnet);
    let sources: Vec<_> = source.map(|text| subnet(text, &at.field("sourceSubnet"), findings)).into_iter().collect();
    let destinations = destinations.into_iter().collect::<Option<_>>()?;
    Some(StreamMatch { names, sources: sources.into_iter().collect::<Option<_>>()?, destinations, servers: servers? })
}

fn subnet(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Subnet> {
    let read = text.parse();
    read.map_err(|problem: String| {
        let message = format!("`{text}` is not a network: {problem}; the match is left out");
        findings.error(at, "invalid-value", message, "write an address such as `10.0.0.1`, or a network `10.0.0.0/8`");
    })
    .ok()
}

/// None when they cannot be done as written.
fn targets(
    said: &[StreamDestination],
    namespace: &str,
    reader: &mut Reader<'_>,
    rule: &Place<'_>,
) -> Option<Vec<(u32, Backend)>> {
    let Reader { destinations, findings, .. } = reader;
    if said.is_empty() {
        let message = "the rule has no destination; its connections are closed";
        findings.error(&rule.field("route"), "missing-field", message, "name one");
        return None;
    }
    let mut legal = true;
    let mut targets = Vec::with_capacity(said.len());
    for (index, share) in said.iter().enumerate() {
        let at = rule.item("route", index);
        let Ok(weight) = u32::try_from(share.weight) else {
            let message = format!("{} is not a weight; the rule's connections are closed", share.weight);
            findings.error(&at.field("weight"), "invalid-value", message, "write 0 or more");
            legal = false;
            continue;
        };
        let Some(destination) = &share.destination else {
            let message = "the share has no destination; the rule's connections are closed";
            findings.error(&at, "missing-field", message, "name one");
            legal = false;
            continue;
        };
        // One destination gets everything, whatever its weight; of several, those without a weight get nothing.
        let weight = if said.len() == 1 { 1 } else { weight };
        let backend = destinations.resolve_stream(destination, namespace, &at.field("destination"), findings);
        if weight > 0 {
            targets.push((weight, backend));
        }
    }
    if legal && targets.is_empty() {
        let message = "none of the destinations has a weight; the rule's connections are closed";
        findings.error(&rule.field("route"), "no-weight", message, "give at least one a weight above 0");
        return None;
    }
    legal.then_some(targets)
}
