//! `/status`: everything that the gateway knows of itself, as data. `docs/operating.md` describes it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{Board, PluginCard, PluginKind, Published, SecretCard, SecretState};
use crate::generation::Listener as Served;
use crate::plugin::{Failure, ListenerState};
use crate::tally::Counts;
use crate::tls::utc;
use crate::worker::{PluginReport, Report};

/// The whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Of the gateway.
    pub version: String,
    /// What is served, counting up.
    pub generation: u64,
    /// Since when; RFC 3339.
    pub since: String,
    /// From a change seen to every worker serving it.
    pub took_ms: u64,
    /// Whether clients should be sent here.
    pub ready: bool,
    /// Why not.
    pub not_ready_because: Option<String>,
    /// Its threads.
    pub workers: Vec<Worker>,
    /// What is served where.
    pub listeners: Vec<Listener>,
    /// Objects with the status that their API defines.
    pub objects: Vec<Object>,
    /// Certificates and authorities.
    pub credentials: Vec<Credential>,
    /// Where requests go.
    pub clusters: Vec<Cluster>,
    /// Dialects and formats.
    pub plugins: Vec<Plugin>,
    /// The last handshakes that came to nothing, oldest first.
    pub refused_handshakes: Vec<RefusedHandshake>,
    /// As `docs/check.md` describes them.
    pub findings: Vec<Value>,
}

/// A thread that serves requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// What it serves.
    pub generation: u64,
    /// Clients connected to it.
    pub connections: usize,
    /// Its connections to endpoints.
    pub upstream_connections: usize,
}

/// What is served somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Plugin and name.
    pub name: String,
    /// Kind, namespace and name of the object that says so.
    pub object: String,
    /// The place in it.
    pub field: String,
    /// As the object says it.
    pub port: u16,
    /// Bound addresses that lead to it.
    pub addresses: Vec<String>,
    /// The names it claims.
    pub hosts: Vec<String>,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// `serving`, `conflict`, `unbound`, `no-credential` or `unsupported`.
    pub state: String,
    /// A sentence when it is not serving.
    pub why: Option<String>,
    /// Handshakes by result.
    pub handshakes: BTreeMap<String, u64>,
    /// Requests by status.
    pub requests: BTreeMap<u16, u64>,
}

/// An object and its status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// Kind, namespace and name.
    pub object: String,
    /// The plugin that gave it.
    pub plugin: String,
    /// Its `.status`.
    pub status: Value,
}

/// A certificate chain, or authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// The object that it is in.
    pub source: String,
    /// The object and field that ask for it.
    pub wanted_by: String,
    /// `ready`, `stale`, `missing` or `unusable`.
    pub state: String,
    /// A sentence when it is not ready.
    pub why: Option<String>,
    /// Of a certificate.
    pub subject: Option<String>,
    /// Hexadecimal.
    pub serial: Option<String>,
    /// The names that a certificate holds.
    pub names: Vec<String>,
    /// RFC 3339.
    pub not_before: Option<String>,
    /// RFC 3339.
    pub not_after: Option<String>,
    /// How many authorities.
    pub authorities: Option<usize>,
    /// How many revocation lists.
    pub revocation_lists: Option<usize>,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// The plugin that wants it.
    pub plugin: String,
    /// The object and field that ask for it.
    pub wanted_by: String,
    /// Those that are ready.
    pub endpoints: Vec<Endpoint>,
    /// Why its requests are answered with 503.
    pub refused: Option<String>,
}

/// One address of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its address.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Requests on their way.
    pub active_requests: usize,
    /// Connections in a row that could not be made; 0 while it is well.
    pub failed_connections: usize,
    /// Why the last of them could not.
    pub last_failure: Option<String>,
    /// How long it is still left out because it kept failing.
    pub left_out_ms: Option<u64>,
    /// How often it was left out.
    pub ejections: u64,
}

/// A plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// Its bootstrap name.
    pub name: String,
    /// `routes` or `secrets`.
    pub kind: String,
    /// `builtin:…` or its file.
    pub path: String,
    /// SHA-256 of what is loaded.
    pub sha256: Option<String>,
    /// Version of the WIT package that it was built against.
    pub interface: Option<String>,
    /// Its own word for what it speaks.
    pub dialect: Option<String>,
    /// What is wrong with its file or its last translation.
    pub problem: Option<String>,
    /// By name of the call.
    pub calls: BTreeMap<String, Calls>,
    /// Instances that workers hold.
    pub instances: usize,
    /// Their linear memory.
    pub memory_bytes: usize,
    /// How many workers do not ask it for a while, because it kept failing.
    pub breakers_open: usize,
    /// How often that happened.
    pub breakers_opened: u64,
    /// Requests for which it was not asked, because it had failed.
    pub unavailable: u64,
    /// Requests whose route was known from one before.
    pub known: u64,
    /// The last call that failed.
    pub last_failure: Option<LastFailure>,
}

/// One kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// How many.
    pub count: u64,
    /// How many trapped.
    pub traps: u64,
    /// How many ran too long.
    pub overruns: u64,
    /// How long all took together.
    pub seconds: f64,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// RFC 3339.
    pub at: String,
    /// Which call.
    pub call: String,
    /// What happened.
    pub cause: String,
    /// Innermost first.
    pub backtrace: Vec<String>,
}

/// A handshake that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedHandshake {
    /// RFC 3339.
    pub at: String,
    /// A word for the reason.
    pub result: String,
    /// The whole of it.
    pub text: String,
}

/// What there is to know now.
pub(super) async fn of(board: &Board) -> Status {
    let reports = board.reports().await;
    let (published, _) = board.published();
    let pulses: Vec<_> = reports.iter().map(|report| report.pulse).collect();
    let ready = board.ready(&published, &pulses);
    let counts = Counts::of(reports.iter().map(|report| report.counts.clone()));
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: published.generation.number,
        since: published.since.map(rfc3339).unwrap_or_default(),
        took_ms: u64::try_from(published.took.as_millis()).unwrap_or(u64::MAX),
        ready: ready.is_ok(),
        not_ready_because: ready.err(),
        workers: reports.iter().map(worker).collect(),
        listeners: published
            .listeners
            .iter()
            .map(|(served, state)| listener(served, state, &published, &counts))
            .collect(),
        objects: published
            .statuses
            .iter()
            .map(|(plugin, status)| Object {
                object: status.object.to_string(),
                plugin: plugin.to_string(),
                status: Value::clone(&status.status),
            })
            .collect(),
        credentials: published.secrets.iter().map(credential).collect(),
        clusters: clusters(&published),
        plugins: published.plugins.iter().map(|card| plugin(card, &reports)).collect(),
        refused_handshakes: counts
            .refused
            .iter()
            .map(|refused| RefusedHandshake {
                at: rfc3339(refused.at),
                result: refused.result.to_owned(),
                text: refused.text.clone(),
            })
            .collect(),
        findings: published.findings.iter().map(|finding| finding.to_json(&published.places)).collect(),
    }
}

fn worker(report: &Report) -> Worker {
    Worker {
        index: report.pulse.worker,
        generation: report.pulse.generation,
        connections: report.connections,
        upstream_connections: report.upstream_connections,
    }
}

fn listener(served: &Served, state: &ListenerState, published: &Published, counts: &Counts) -> Listener {
    let leads = |socket: &crate::generation::Socket| socket.named(&served.name).is_some();
    let sockets = published.generation.sockets.iter().filter(|(_, socket)| leads(socket));
    let (state, why) = match state {
        ListenerState::Serving => ("serving", None),
        ListenerState::Conflict(winner) => ("conflict", Some(format!("{winner} has its place"))),
        ListenerState::Unbound(why) => ("unbound", Some(why.clone())),
        ListenerState::NoCredential => ("no-credential", served.tls_config().err()),
        ListenerState::Unsupported(why) => ("unsupported", Some(why.clone())),
    };
    let mut requests = BTreeMap::new();
    for (series, count) in counts.requests.iter().filter(|(series, _)| series.listener == served.name) {
        *requests.entry(series.code).or_default() += count;
    }
    let handshakes = counts.handshakes.iter().filter(|((listener, _), _)| *listener == served.name);
    Listener {
        name: served.name.to_string(),
        object: served.origin.object.to_string(),
        field: served.origin.field.clone(),
        port: served.port,
        addresses: sockets.map(|(address, _)| address.to_string()).collect(),
        hosts: served.hosts.iter().map(ToString::to_string).collect(),
        tls: served.tls.is_some(),
        state: state.to_owned(),
        why,
        handshakes: handshakes.map(|((_, result), count)| ((*result).to_owned(), *count)).collect(),
        requests,
    }
}

fn credential(card: &SecretCard) -> Credential {
    let state = match card.state {
        SecretState::Ready => "ready",
        SecretState::Stale => "stale",
        SecretState::Missing => "missing",
        SecretState::Unusable => "unusable",
    };
    let summary = card.summary.as_ref();
    Credential {
        source: card.source.to_string(),
        wanted_by: card.origin.clone(),
        state: state.to_owned(),
        why: card.why.clone(),
        subject: summary.map(|summary| summary.subject.clone()),
        serial: summary.map(|summary| summary.serial.clone()),
        names: summary.map(|summary| summary.names.clone()).unwrap_or_default(),
        not_before: summary.map(|summary| utc(summary.not_before)),
        not_after: summary.map(|summary| utc(summary.not_after)),
        authorities: card.authorities.map(|(authorities, _)| authorities),
        revocation_lists: card.authorities.map(|(_, lists)| lists),
    }
}

fn clusters(published: &Published) -> Vec<Cluster> {
    let of_part = |part: &std::sync::Arc<crate::generation::Part>| {
        let plugin = part.plugin.to_string();
        part.clusters
            .iter()
            .map(move |cluster| Cluster {
                name: cluster.name.to_string(),
                plugin: plugin.clone(),
                wanted_by: format!("{} {}", cluster.origin.object, cluster.origin.field),
                endpoints: cluster
                    .endpoints
                    .iter()
                    .map(|endpoint| Endpoint {
                        address: endpoint.address.to_string(),
                        weight: endpoint.weight,
                        active_requests: endpoint.active(),
                        failed_connections: endpoint.unreached(),
                        last_failure: Some(endpoint.last_failure()).filter(|why| !why.is_empty()),
                        left_out_ms: endpoint
                            .left_out()
                            .map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
                        ejections: endpoint.ejections(),
                    })
                    .collect(),
                refused: cluster.refused.clone(),
            })
            .collect::<Vec<_>>()
    };
    published.generation.parts.iter().flat_map(of_part).collect()
}

pub(super) fn plugin(card: &PluginCard, reports: &[Report]) -> Plugin {
    let on_workers: Vec<&PluginReport> =
        reports.iter().flat_map(|report| &report.plugins).filter(|report| *report.plugin == *card.name).collect();
    let counted = card.loaded.as_ref().map(|loaded| loaded.calls.counted());
    let counted = counted.as_ref();
    let mut calls: BTreeMap<String, Calls> = counted
        .iter()
        .flat_map(|counted| &counted.calls)
        .map(|(name, call)| {
            let seconds = call.total.as_secs_f64();
            ((*name).to_owned(), Calls { count: call.count, traps: call.traps, overruns: call.overruns, seconds })
        })
        .collect();
    let mut route = Calls::default();
    for report in &on_workers {
        route.count += report.calls.count();
        route.seconds += report.calls.sum().as_secs_f64();
        route.traps += report.traps;
        route.overruns += report.overruns;
    }
    if card.kind == PluginKind::Routes {
        calls.insert("route".to_owned(), route);
    }
    let failures = on_workers.iter().filter_map(|report| report.last_failure.as_ref());
    let last = failures.chain(counted.and_then(|counted| counted.last_failure.as_ref())).max_by_key(|(at, _)| *at);
    Plugin {
        name: card.name.clone(),
        kind: match card.kind {
            PluginKind::Routes => "routes".to_owned(),
            PluginKind::Secrets => "secrets".to_owned(),
        },
        path: card.path.clone(),
        sha256: card.loaded.as_ref().map(|loaded| loaded.sha256.clone()),
        interface: card.loaded.as_ref().map(|loaded| loaded.interface.clone()),
        dialect: card.loaded.as_ref().and_then(|loaded| loaded.dialect.clone()),
        problem: card.problem.clone(),
        calls,
        instances: on_workers.iter().map(|report| report.instances).sum(),
        memory_bytes: on_workers.iter().map(|report| report.memory).sum(),
        breakers_open: on_workers.iter().filter(|report| report.breaker_open.is_some()).count(),
        breakers_opened: on_workers.iter().map(|report| report.breaker_opened).sum(),
        unavailable: on_workers.iter().map(|report| report.unavailable).sum(),
        known: on_workers.iter().map(|report| report.known).sum(),
        last_failure: last.map(|(at, failure)| last_failure(*at, failure)),
    }
}

fn last_failure(at: SystemTime, failure: &Failure) -> LastFailure {
    LastFailure {
        at: rfc3339(at),
        call: failure.call.to_owned(),
        cause: failure.cause.clone(),
        backtrace: failure.backtrace.clone(),
    }
}

fn rfc3339(time: SystemTime) -> String {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
