//! Connections that are forwarded as bytes: for each listener that has no requests the rules of `tls` or `tcp`, in
//! Istio's order.
//!
//! A listener that decrypts nothing tells connections apart by the name that clients ask for, each match of `tls` being
//! one claim. Elsewhere the first rule of `tcp` takes them all. Istio overlooks the networks that a match names on a
//! gateway; here they count.

use std::collections::HashMap;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{StreamRoute, StreamTarget};
use sekisho_sdk::table::{ConnectionRule, ListenerRules, ServerName, Subnet};
use sekisho_sdk::{Origin, Severity, push};

use crate::bound::Bound;
use crate::destinations::{Backend, Destinations};
use crate::findings::{Findings, Place};
use crate::gateway::{Kind, Server};
use crate::listeners::Listeners;
use crate::routes::{Places, report_not_allowed};
use crate::tenancy::Tenants;
use crate::virtual_service::{StreamMatch, StreamRule, VirtualService};

/// What connections meet.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) routes: Vec<StreamRoute>,
    /// The stream routes of each VirtualService.
    pub(crate) of: Vec<Vec<u32>>,
}

/// Fills the tables of the listeners that forward bytes.
pub(crate) fn build(
    places: &mut Places<'_>,
    listeners: &Listeners,
    services: &[VirtualService],
    tables: &mut [ListenerRules],
    findings: &mut Findings,
) -> Streams {
    let streams = Streams { routes: Vec::new(), of: vec![Vec::new(); services.len()] };
    let Places { gateways, bound, tenants, destinations } = places;
    let mut builder = Builder { services, bound, tenants, destinations, findings, streams, known: HashMap::new() };
    let mut asked = HashMap::new();
    for (servers, table) in listeners.servers.iter().zip(tables) {
        // Only plain HTTP servers share a listener.
        let [id] = servers[..] else { continue };
        let gateway = &gateways[id.gateway];
        let server = &gateway.servers[id.server];
        let (rules, refuses) = match &server.kind {
            Kind::Http { .. } | Kind::Https(_) => continue,
            Kind::Passthrough => (builder.by_name(server, &gateway.name, &mut asked), false),
            Kind::Tls(termination) => (builder.for_all(server, &gateway.name), termination.credentials.is_empty()),
            Kind::Tcp => (builder.for_all(server, &gateway.name), false),
        };
        // Of one that refuses its clients there is enough to say.
        if rules.is_empty() && !refuses {
            report_idle(server, builder.findings);
        }
        table.server_names = rules;
    }
    builder.report_unasked(asked);
    builder.streams
}

struct Builder<'b> {
    services: &'b [VirtualService],
    bound: &'b Bound<'b>,
    tenants: &'b Tenants,
    destinations: &'b mut Destinations,
    findings: &'b mut Findings,
    streams: Streams,
    known: HashMap<RouteKey, u32>,
}

/// Which list of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Of {
    Tls,
    Tcp,
}

/// A rule of a VirtualService, and the port of a server where that changes where it leads.
type RouteKey = (usize, Of, usize, Option<u16>);

/// Whether any server has a name, by VirtualService, rule, match and position of the name.
type Asked = HashMap<(usize, usize, usize, usize), bool>;

/// The matches that ask for one name.
struct Claim {
    name: HostName,
    /// As it was written; a server may have narrowed it.
    said: HostName,
    rule: ConnectionRule,
}

/// A claim that came before.
struct Taken {
    sources: Vec<Subnet>,
    destinations: Vec<Subnet>,
    service: usize,
}

impl Builder<'_> {
    /// Rules by the name that clients ask for.
    fn by_name(&mut self, server: &Server, gateway: &str, asked: &mut Asked) -> Vec<ServerName> {
        let mut claims: Vec<Claim> = Vec::new();
        let mut taken: HashMap<&HostName, Vec<Taken>> = HashMap::new();
        let services = self.services;
        for service_index in self.bound.near(gateway, &server.hosts) {
            let service = &services[service_index];
            if !self.meet(server, service) {
                continue;
            }
            for (index, rule) in service.tls.iter().enumerate() {
                for (number, one) in rule.matches.iter().filter(|(_, one)| one.servers.include(gateway, server.port)) {
                    let mut names = Vec::new();
                    for (position, said) in &one.names {
                        let both = server.hosts.intersect(said, &service.key.namespace);
                        *asked.entry((service_index, index, *number, *position)).or_default() |= !both.is_empty();
                        names.extend(both.into_iter().map(|name| (name, said)));
                    }
                    names.retain(|(name, _)| self.tenants.allow(&service.key.namespace, name, Some(server.port)));
                    if names.is_empty() {
                        continue;
                    }
                    if let Some((said, owner)) =
                        one.names.iter().find_map(|(_, said)| Some((said, owner(&taken, said, one)?)))
                    {
                        self.report_duplicate(rule, *number, said, server, &services[owner]);
                        continue;
                    }
                    let stream = self.stream((service_index, Of::Tls, index), rule, server.port);
                    for (_, said) in &one.names {
                        let (sources, destinations) = (one.sources.clone(), one.destinations.clone());
                        let claim = Taken { sources, destinations, service: service_index };
                        taken.entry(said).or_default().push(claim);
                    }
                    claims.extend(names.into_iter().map(|(name, said)| {
                        let (sources, destinations) = (one.sources.clone(), one.destinations.clone());
                        Claim { name, said: said.clone(), rule: ConnectionRule { stream, sources, destinations } }
                    }));
                }
            }
        }
        grouped(claims)
    }

    /// The first rule for all connections, and those before it that look at addresses.
    fn for_all(&mut self, server: &Server, gateway: &str) -> Vec<ServerName> {
        let mut rules = Vec::new();
        let mut taker: Option<usize> = None;
        let services = self.services;
        for service_index in self.bound.near(gateway, &server.hosts) {
            let service = &services[service_index];
            if !self.meet(server, service) {
                continue;
            }
            for (index, rule) in service.tcp.iter().enumerate() {
                let mut fitting =
                    rule.matches.iter().filter(|(_, one)| one.servers.include(gateway, server.port)).peekable();
                if fitting.peek().is_none() {
                    continue;
                }
                if let Some(taker) = taker {
                    report_unreachable(rule, server, &services[taker], self.findings);
                    continue;
                }
                let stream = self.stream((service_index, Of::Tcp, index), rule, server.port);
                for (_, one) in fitting {
                    let (sources, destinations) = (one.sources.clone(), one.destinations.clone());
                    rules.push(ConnectionRule { stream, sources, destinations });
                    if one.is_from_everywhere() {
                        taker = Some(service_index);
                        break;
                    }
                }
            }
        }
        if rules.is_empty() { Vec::new() } else { vec![ServerName { name: HostName::Any, rules }] }
    }

    /// Whether the two have a host in common that the VirtualService may claim there.
    fn meet(&mut self, server: &Server, service: &VirtualService) -> bool {
        let namespace = &service.key.namespace;
        let mut meet = false;
        for (position, said) in &service.hosts {
            for host in server.hosts.intersect(said, namespace) {
                if self.tenants.allow(namespace, &host, Some(server.port)) {
                    meet = true;
                } else {
                    report_not_allowed(service, *position, &host, server.port, self.findings);
                }
            }
        }
        meet
    }

    fn stream(&mut self, (service, of, index): (usize, Of, usize), rule: &StreamRule, port: u16) -> u32 {
        let by_server = rule.targets.iter().any(|(_, backend)| matches!(backend, Backend::ServerPort { .. }));
        let key = (service, of, index, by_server.then_some(port));
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let Self { destinations, findings, .. } = self;
        let targets = rule.targets.iter().map(|(weight, backend)| StreamTarget {
            weight: *weight,
            cluster: destinations.on_server(backend, port, findings),
        });
        let mut targets: Vec<StreamTarget> = targets.collect();
        if targets.is_empty() {
            targets.push(StreamTarget { weight: 1, cluster: None });
        }
        let (name, origin) = (rule.name.clone(), rule.origin.clone());
        let stream = push(&mut self.streams.routes, StreamRoute { name, origin, targets, idle_timeout: None });
        self.known.insert(key, stream);
        self.streams.of[service].push(stream);
        stream
    }

    fn report_duplicate(
        &mut self,
        rule: &StreamRule,
        number: usize,
        said: &HostName,
        server: &Server,
        owner: &VirtualService,
    ) {
        let Origin { object, field } = &rule.origin;
        let key = &owner.key;
        let message = format!(
            "`{said}` on port {} is already taken by VirtualService {}/{}, so that this match is left out",
            server.port, key.namespace, key.name
        );
        let origin = object.at(format!("{field}.match[{number}]"));
        self.findings.say(Severity::Warning, origin, "duplicate-sni", message, "remove the name from one of the two");
    }

    /// Names that no server of the VirtualService's Gateways has.
    fn report_unasked(&mut self, asked: Asked) {
        let mut unasked: Vec<_> = asked.into_iter().filter_map(|(key, asked)| (!asked).then_some(key)).collect();
        unasked.sort_unstable();
        for (service, index, number, position) in unasked {
            let service = &self.services[service];
            let spec = Place::root(&service.key, "spec");
            let rule = spec.item("tls", index);
            let at = rule.item("match", number);
            let message = "no server that decrypts nothing has this host for the VirtualService's namespace";
            let remedy = "add it to such a server, or correct it here";
            self.findings.warning(&at.item("sniHosts", position), "host-not-in-gateway", message, remedy);
        }
    }
}

/// Who has taken a name for the same connections, or for all of them.
fn owner(taken: &HashMap<&HostName, Vec<Taken>>, said: &HostName, by: &StreamMatch) -> Option<usize> {
    let same = |taken: &&Taken| {
        taken.sources.is_empty() && taken.destinations.is_empty()
            || taken.sources == by.sources && taken.destinations == by.destinations
    };
    taken.get(said)?.iter().find(same).map(|taken| taken.service)
}

/// Each name once; where servers narrowed claims to the same one, what was written more narrowly comes first.
fn grouped(claims: Vec<Claim>) -> Vec<ServerName> {
    let mut names: Vec<(HostName, Vec<Claim>)> = Vec::new();
    let mut known: HashMap<HostName, usize> = HashMap::new();
    for claim in claims {
        let position = *known.entry(claim.name.clone()).or_insert_with(|| {
            names.push((claim.name.clone(), Vec::new()));
            names.len() - 1
        });
        names[position].1.push(claim);
    }
    let names = names.into_iter().map(|(name, mut claims)| {
        claims.sort_by(|a, b| b.said.specificity(&a.said));
        ServerName { name, rules: claims.into_iter().map(|claim| claim.rule).collect() }
    });
    names.collect()
}

fn report_unreachable(rule: &StreamRule, server: &Server, taker: &VirtualService, findings: &mut Findings) {
    let key = &taker.key;
    let message = format!(
        "on port {} of {} this is never reached, because VirtualService {}/{} takes every connection",
        server.port, server.name, key.namespace, key.name
    );
    let remedy = "match another port or Gateway, or remove one of the two";
    findings.say(Severity::Warning, rule.origin.clone(), "unreachable-rule", message, remedy);
}

fn report_idle(server: &Server, findings: &mut Findings) {
    let kind = if matches!(server.kind, Kind::Passthrough) { "tls" } else { "tcp" };
    let message = format!("no VirtualService has `{kind}` routes for this server, so that its connections are closed");
    let remedy = "write them, or remove the server";
    findings.say(Severity::Info, server.origin.clone(), "server-without-routes", message, remedy);
}
