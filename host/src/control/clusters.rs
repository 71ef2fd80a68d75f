//! Clusters: their members, what their connections are made with, and what goes on from one generation to the next.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dns::Resolver;
use super::endpoints::EndpointIndex;
use super::lint;
use super::vault::Resolved;
use crate::finding::{Finding, Severity};
use crate::model::{self, Endpoints, FixedEndpoint, ProxyVersion};
use crate::tls::client_auth::TrustLint;
use crate::tls::{ClientSpec, TlsClient, TlsClients, TrustMaterial};
use crate::upstream::{Cluster, Endpoint, Transport};

/// Clusters that share connections have all of this in common: TLS, how connections begin, and, where it counts them or
/// has a time of its own, being the same cluster.
type Lane = (Option<u64>, Option<ProxyVersion>, Option<(usize, String)>);

/// Everything that is kept of clusters from one generation to the next.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    known: HashMap<(usize, String), Known>,
    before: HashMap<(usize, String), Known>,
    clients: TlsClients,
    lanes: HashMap<Lane, u64>,
    lanes_before: HashMap<Lane, u64>,
    last_lane: u64,
}

/// What a plugin said, and what it came to.
type Known = (Arc<model::Cluster>, Arc<Cluster>);

/// An address, and its share.
type Member = (SocketAddr, u32);

impl Clusters {
    /// Begins a generation.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.known);
        self.lanes_before = std::mem::take(&mut self.lanes);
        self.clients.begin();
    }

    /// Forgets what the generation did not use.
    pub(super) fn finish(&mut self) {
        self.before.clear();
        self.lanes_before.clear();
        self.clients.finish();
    }

    /// A cluster of a plugin; the one that there was if nothing about it changed.
    pub(super) fn cluster(
        &mut self,
        plugin: usize,
        said: &Arc<model::Cluster>,
        members: Result<Vec<Member>, String>,
        sources: &[Resolved],
        connect_timeout: Duration,
        findings: &mut Vec<Finding>,
    ) -> Arc<Cluster> {
        let members = members.unwrap_or_else(|why| {
            findings.push(without_endpoints(said, &why));
            Vec::new()
        });
        let tls = self.tls(said, sources, findings);
        let lane = self.lane(plugin, said, tls.as_ref().ok().and_then(Option::as_ref));
        let connect_timeout = said.connect_timeout.unwrap_or(connect_timeout);
        let key = (plugin, said.name.clone());
        let kept = self.before.remove(&key);
        let cluster = carry_over(said, &members, kept.as_ref(), Transport { connect_timeout, tls, lane });
        self.known.insert(key, (Arc::clone(said), Arc::clone(&cluster)));
        cluster
    }

    /// The TLS of a cluster; or why it refuses.
    fn tls(
        &mut self,
        said: &model::Cluster,
        sources: &[Resolved],
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Arc<TlsClient>>, String> {
        let Some(tls) = said.tls.as_ref().filter(|_| said.refused.is_none()) else { return Ok(None) };
        // That a secret is not to be had is a finding of its own.
        if let Some(lacking) = said.sources().find_map(|source| sources[source].lacking()) {
            return Err(format!("TLS to its endpoints: {lacking}"));
        }
        let trust: Vec<Arc<TrustMaterial>> =
            tls.trust.iter().filter_map(|source| sources[*source].trust()).cloned().collect();
        let credential = tls.credential.and_then(|source| sources[source].credential()).map(|material| &**material);
        // An authority that is none would leave everybody trusted.
        if trust.len() != tls.trust.len() || credential.is_some() != tls.credential.is_some() {
            return Err("TLS to its endpoints: a source is not what it is used as".to_owned());
        }
        let spec = ClientSpec { sni: tls.sni.as_deref(), trust: &trust, identity: &tls.identity, credential };
        let origin = &said.origin;
        match self.clients.client(&spec) {
            Ok(client) => {
                // Of the system's own, nobody here can change one.
                if trust.iter().all(|trust| trust.source.kind != SYSTEM_ROOTS) {
                    let told = client.lints().into_iter().filter(|lint| {
                        !matches!(lint, TrustLint::AcceptsVersion1 { .. } | TrustLint::RefusesVersion1 { .. })
                    });
                    findings.extend(told.map(|told| lint::trust(&told, origin)));
                }
                Ok(Some(client))
            }
            Err(why) => {
                let message = format!("cluster {}: {why}; its requests are answered with 503", said.name);
                findings.push(
                    Finding::on(Severity::Error, &origin.object, &origin.field, "cluster-without-tls", message)
                        .remedy("correct the names and secrets of its TLS settings"),
                );
                Err(format!("TLS to its endpoints: {why}"))
            }
        }
    }

    fn lane(&mut self, plugin: usize, said: &model::Cluster, tls: Option<&Arc<TlsClient>>) -> u64 {
        let limits = &said.limits;
        let own =
            limits.connections.is_some() || limits.requests_per_connection.is_some() || said.idle_timeout.is_some();
        let lane = (tls.map(|tls| tls.id), said.proxy_protocol, own.then(|| (plugin, said.name.clone())));
        if lane == (None, None, None) {
            return 0;
        }
        if let Some(known) = self.lanes.get(&lane) {
            return *known;
        }
        let number = self.lanes_before.remove(&lane).unwrap_or_else(|| {
            self.last_lane += 1;
            self.last_lane
        });
        self.lanes.insert(lane, number);
        number
    }
}

/// The kind of the key that stands for the system's authorities.
const SYSTEM_ROOTS: &str = "SystemRoots";

fn without_endpoints(said: &model::Cluster, why: &str) -> Finding {
    let message = format!("cluster {} has no endpoints: {why}; its requests are answered with 503", said.name);
    let remedy = match &said.endpoints {
        Endpoints::Service { labels, .. } if !labels.is_empty() => {
            "label the pods of its endpoints so, or correct the labels of the subset"
        }
        _ => "give it an EndpointSlice with a ready endpoint for that port: ports are matched by name",
    };
    Finding::on(Severity::Warning, &said.origin.object, &said.origin.field, "no-endpoints", message).remedy(remedy)
}

/// The addresses of a cluster, with their weights.
///
/// # Errors
/// Why there is none.
pub(super) fn members(
    endpoints: &Endpoints,
    index: &EndpointIndex<'_>,
    resolver: Option<&mut Resolver>,
    now: Instant,
) -> Result<Vec<Member>, String> {
    match endpoints {
        Endpoints::Service { namespace, name, port, labels } => index
            .service(namespace, name, *port, labels)
            .map(|found| found.into_iter().map(|address| (address, 1)).collect()),
        Endpoints::Fixed(fixed) => fixed.iter().map(fixed_member).collect(),
        Endpoints::Dns(named) => named_members(named, resolver, now),
    }
}

fn fixed_member(endpoint: &FixedEndpoint) -> Result<Member, String> {
    let ip = endpoint.address.parse().map_err(|_| format!("`{}` is not an IP address", endpoint.address))?;
    Ok((SocketAddr::new(ip, endpoint.port), endpoint.weight))
}

fn named_members(
    named: &[FixedEndpoint],
    mut resolver: Option<&mut Resolver>,
    now: Instant,
) -> Result<Vec<Member>, String> {
    let mut members = Vec::new();
    let mut why = None;
    for endpoint in named {
        if let Ok(member) = fixed_member(endpoint) {
            members.push(member);
            continue;
        }
        let Some(resolver) = resolver.as_deref_mut() else { continue };
        match resolver.addresses(&endpoint.address, now) {
            Ok(addresses) => {
                members.extend(addresses.iter().map(|ip| (SocketAddr::new(*ip, endpoint.port), endpoint.weight)));
            }
            Err(reason) => why = Some(reason),
        }
    }
    match why {
        Some(why) if members.is_empty() => Err(why),
        _ => Ok(members),
    }
}

/// The same cluster if nothing about it changed; otherwise a new one with the endpoints that it still has.
fn carry_over(
    said: &Arc<model::Cluster>,
    members: &[Member],
    before: Option<&Known>,
    transport: Transport,
) -> Arc<Cluster> {
    let known = before.map(|(_, cluster)| cluster.endpoints.as_slice()).unwrap_or_default();
    let same_members = known.len() == members.len()
        && known
            .iter()
            .zip(members)
            .all(|(endpoint, (address, weight))| endpoint.address == *address && endpoint.weight == (*weight).max(1));
    if let Some((model, cluster)) = before
        && same_members
        && (Arc::ptr_eq(model, said) || model == said)
        && transport.is_of(cluster)
    {
        return Arc::clone(cluster);
    }
    let by_address: HashMap<SocketAddr, &Arc<Endpoint>> =
        known.iter().map(|endpoint| (endpoint.address, endpoint)).collect();
    let endpoints = members
        .iter()
        .map(|(address, weight)| match by_address.get(address) {
            Some(endpoint) if endpoint.weight == (*weight).max(1) => Arc::clone(endpoint),
            _ => Arc::new(Endpoint::new(*address, *weight)),
        })
        .collect();
    let cluster = Cluster::new(said, endpoints, transport);
    Arc::new(match before {
        Some((_, before)) => cluster.after(before),
        None => cluster,
    })
}
