//! What a plugin said, checked and turned into the host's own model.
//!
//! An index out of range or a name twice is the plugin's fault and refuses the whole translation. A value that this
//! host cannot execute refuses the listener, route or cluster that carries it, which then says so.

mod action;
mod cluster;
mod policies;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use super::bindings::routes::exports::sekisho::gateway::translator;
use super::bindings::routes::sekisho::gateway::{model as wit, types};
use super::routes::{ListenerState, Outcome, SourceState};
use crate::finding::{Finding, Severity};
use crate::model::{
    Address, Binding, ClientPolicy, Cluster, HostPattern, Infrastructure, Input, Listener, Locator, Misdirected,
    Origin, Pin, Protocol, Role, Route, Source, StreamRoute, StreamTarget, Termination, TlsVersions, Translation,
    WhenDeleted,
};
use crate::object::ObjectKey;
use crate::printable::{self, printable};

/// Findings of one translation that are kept; a plugin that has more to say is cut short.
const MOST_FINDINGS: usize = 10_000;

/// The translation that a plugin's records stand for, given as data: how a plugin that was compiled natively is held
/// against the sandbox.
///
/// # Errors
/// When the data is not such a record, or cannot be executed.
pub fn translation_from(records: Value) -> Result<Translation, String> {
    translation(serde_json::from_value(records).map_err(|e| e.to_string())?, &Known::default()).map(|(said, _)| said)
}

/// An outcome as the plugin's records, given as data.
#[must_use]
pub fn outcome_as_data(said: &Outcome) -> Value {
    serde_json::to_value(outcome(said)).unwrap_or_default()
}

/// What an instance has said already, so that it need not say it again.
#[derive(Debug, Default)]
pub(super) struct Known {
    routes: Vec<KnownRoute>,
    clusters: Vec<Arc<Cluster>>,
}

/// A route, and what there is to say of it.
#[derive(Clone, Debug)]
struct KnownRoute {
    route: Arc<Route>,
    refused: Option<String>,
    idle_cors: bool,
}

/// A whole translation, and what is known from now on of the instance that gave it.
///
/// # Errors
/// A sentence that names what in it cannot be.
pub(super) fn translation(wit: wit::Translation, before: &Known) -> Result<(Translation, Known), String> {
    let (bindings, sources, clusters) = (wit.bindings.len(), wit.sources.len(), wit.clusters.len());
    let mut findings: Vec<Finding> = wit.findings.into_iter().take(MOST_FINDINGS).map(finding).collect();
    let listeners = wit.listeners.into_iter().map(|l| listener(l, bindings, sources)).collect::<Result<Vec<_>, _>>()?;
    let mut names = HashSet::new();
    for listener in &listeners {
        if !names.insert(&listener.name) {
            return Err(format!("two listeners are called `{}`", listener.name));
        }
    }
    let routes = wit.routes.into_iter().map(|said| match said {
        wit::ListedRoute::New(said) => KnownRoute::read(said, clusters),
        wit::ListedRoute::Same(at) => before.route(at, clusters),
    });
    let routes = routes.collect::<Result<Vec<_>, _>>()?;
    let mut refused_routes = Vec::new();
    for (index, KnownRoute { route, refused, idle_cors }) in (0_u32..).zip(&routes) {
        if *idle_cors {
            findings.push(idle_policy(&route.origin));
        }
        if let Some(reason) = refused {
            findings.push(refusal(&route.origin, "route-refused", reason, "its requests are answered with 500"));
            refused_routes.push((index, reason.clone()));
        }
    }
    let streams = wit.streams.into_iter().map(|said| stream(said, clusters).map(Arc::new));
    let streams = streams.collect::<Result<Vec<_>, _>>()?;
    let clusters = wit.clusters.into_iter().map(|said| match said {
        wit::ListedCluster::New(said) => cluster::cluster(said, sources).map(Arc::new),
        wit::ListedCluster::Same(at) => before.cluster(at, sources),
    });
    let clusters = clusters.collect::<Result<Vec<_>, _>>()?;
    let mut refused_clusters = Vec::new();
    for (index, cluster) in (0_u32..).zip(&clusters) {
        if let Some(reason) = &cluster.refused {
            findings.push(refusal(&cluster.origin, "cluster-refused", reason, "its requests are answered with 503"));
            refused_clusters.push((index, reason.clone()));
        }
    }
    for listener in &listeners {
        if let Some(reason) = &listener.refused {
            findings.push(refusal(&listener.origin, "listener-refused", reason, "it refuses its clients"));
        }
    }
    let translation = Translation {
        bindings: wit.bindings.into_iter().map(binding).collect::<Result<_, _>>()?,
        listeners,
        sources: wit.sources.into_iter().map(source).collect(),
        clusters: clusters.clone(),
        routes: routes.iter().map(|known| Arc::clone(&known.route)).collect(),
        streams,
        findings,
        table: wit.table.into(),
        refused_routes,
        refused_clusters,
    };
    Ok((translation, Known { routes, clusters }))
}

impl Known {
    /// Indices count into the lists of the translation that names it now.
    fn route(&self, at: u32, clusters: usize) -> Result<KnownRoute, String> {
        let known = self.routes.get(at as usize).ok_or_else(|| format!("there was no route {at} before"))?;
        let used = known.route.clusters().find(|cluster| *cluster >= clusters);
        match used {
            None => Ok(known.clone()),
            Some(cluster) => Err(format!("route `{}`: cluster {cluster} is not in its list", known.route.name)),
        }
    }

    fn cluster(&self, at: u32, sources: usize) -> Result<Arc<Cluster>, String> {
        let known = self.clusters.get(at as usize).ok_or_else(|| format!("there was no cluster {at} before"))?;
        match known.sources().find(|source| *source >= sources) {
            None => Ok(Arc::clone(known)),
            Some(source) => Err(format!("cluster `{}`: source {source} is not in its list", known.name)),
        }
    }
}

impl KnownRoute {
    fn read(said: wit::Route, clusters: usize) -> Result<Self, String> {
        let idle_cors = said.cors.is_some() && !matches!(said.action, wit::Action::Forward(_));
        let (route, refused) = action::route(said, clusters)?;
        Ok(Self { route: Arc::new(route), refused, idle_cors })
    }
}

/// As in Envoy, whose filter leaves such routes alone.
fn idle_policy(origin: &Origin) -> Finding {
    let message = "CORS concerns what backends serve; it has no effect on an answer or a redirect of the gateway's own";
    Finding::on(Severity::Warning, &origin.object, &origin.field, "no-effect", message)
        .remedy("take the CORS policy out of this rule, or forward its requests")
}

fn refusal(origin: &Origin, code: &str, reason: &str, effect: &str) -> Finding {
    Finding::on(Severity::Error, &origin.object, &origin.field, code, format!("{reason}; {effect}"))
        .remedy("take it out, or use a gateway version that serves it")
}

/// A name as logs and terminals can show it; all that plugins say for people goes through here or through a finding.
fn name(said: String) -> String {
    printable(said, printable::NAME)
}

/// The same for a name that tells things apart: where it is cut, the end says what of.
fn unique_name(said: String) -> String {
    if said.len() <= printable::NAME {
        return name(said);
    }
    let mut whole = DefaultHasher::new();
    said.hash(&mut whole);
    format!("{}#{:016x}", printable(said, printable::NAME - 17), whole.finish())
}

pub(super) fn key(key: types::ObjectKey) -> ObjectKey {
    ObjectKey { group: name(key.group), kind: name(key.kind), namespace: name(key.namespace), name: name(key.name) }
}

pub(super) fn key_out(key: &ObjectKey) -> types::ObjectKey {
    types::ObjectKey {
        group: key.group.clone(),
        kind: key.kind.clone(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

fn origin(origin: types::Origin) -> Origin {
    Origin { object: key(origin.object), field: name(origin.field) }
}

pub(super) fn finding(finding: types::Finding) -> Finding {
    let severity = match finding.severity {
        types::Severity::Error => Severity::Error,
        types::Severity::Warning => Severity::Warning,
        types::Severity::Info => Severity::Info,
    };
    let Origin { object, field } = origin(finding.origin);
    Finding::on(severity, &object, &field, &finding.code, finding.message).remedy(finding.remedy)
}

/// A status whose texts can be printed.
pub(super) fn status(said: Value) -> Value {
    match said {
        Value::String(text) => Value::String(printable(text, printable::SENTENCE)),
        Value::Array(values) => values.into_iter().map(status).collect(),
        Value::Object(fields) => fields.into_iter().map(|(field, value)| (name(field), status(value))).collect(),
        other => other,
    }
}

fn binding(binding: wit::Binding) -> Result<Binding, String> {
    let address = match binding.address {
        wit::Address::Shared => Address::Shared,
        wit::Address::Dedicated(wanted) => Address::Dedicated(wanted),
        wit::Address::Unix(path) => Address::Unix(path),
        wit::Address::Ip(text) => Address::Ip(text.parse().map_err(|_| format!("`{text}` is not an IP address"))?),
    };
    let infrastructure = binding.infrastructure.map(infrastructure).transpose()?;
    Ok(Binding { origin: origin(binding.origin), address, infrastructure })
}

/// The API server judges labels and annotations; the name is part of others' names.
fn infrastructure(said: wit::Infrastructure) -> Result<Infrastructure, String> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let name = said.name;
    let (first, last) = (name.bytes().next(), name.bytes().last());
    let ends = first.is_some_and(|b| b.is_ascii_lowercase()) && last != Some(b'-');
    if !ends || name.len() > 63 || !name.bytes().all(legal) {
        return Err(format!("`{}` is no label of DNS, as what is kept for a binding is called", self::name(name)));
    }
    Ok(Infrastructure {
        name,
        labels: said.labels.into_iter().collect(),
        annotations: said.annotations.into_iter().collect(),
    })
}

fn listener(listener: wit::Listener, bindings: usize, sources: usize) -> Result<Listener, String> {
    let name = unique_name(listener.name);
    let at = |what: String| format!("listener `{name}`: {what}");
    let binding = index(listener.binding, bindings).map_err(|e| at(format!("binding {e}")))?;
    let mut refused = None;
    let protocol = match listener.protocol {
        wit::Protocol::Http => Protocol::Http,
        wit::Protocol::Https(said) => Protocol::Https(termination(said, sources, &mut refused).map_err(at)?),
        wit::Protocol::Tls(said) => Protocol::Tls(termination(said, sources, &mut refused).map_err(at)?),
        wit::Protocol::Passthrough => Protocol::Passthrough,
        wit::Protocol::Tcp => Protocol::Tcp,
        wit::Protocol::Udp => Protocol::Udp,
    };
    if protocol == Protocol::Udp {
        refused = Some("UDP is not served by this version".to_owned());
    }
    let mut inputs = Vec::with_capacity(listener.inputs.len());
    for said in &listener.inputs {
        match input(said) {
            Some(input) => inputs.push(input),
            None => refused = Some(format!("the plugin reads `{said}`, which this host does not give")),
        }
    }
    if !listener.filters.is_empty() {
        refused = Some("filters are not served by this version".to_owned());
    }
    if let Some(extension) = listener.extensions.first() {
        refused = Some(format!("the extension `{}` is not known", extension.name));
    }
    Ok(Listener {
        name,
        origin: origin(listener.origin),
        binding,
        port: listener.port,
        protocol,
        hosts: listener.hosts.into_iter().map(host).collect(),
        misdirected: match listener.misdirected {
            wit::Misdirected::Refuse => Misdirected::Refuse,
            wit::Misdirected::Follow => Misdirected::Follow,
        },
        inputs,
        refused: refused.map(|reason| printable(reason, printable::SENTENCE)),
    })
}

fn index(index: u32, length: usize) -> Result<usize, String> {
    let index = index as usize;
    if index < length { Ok(index) } else { Err(format!("{index} is named, but there are {length}")) }
}

fn host(pattern: wit::HostPattern) -> HostPattern {
    match pattern {
        wit::HostPattern::Any => HostPattern::Any,
        wit::HostPattern::Exact(name) => HostPattern::Exact(name.to_ascii_lowercase()),
        wit::HostPattern::Subdomains(suffix) => HostPattern::Subdomains(suffix.to_ascii_lowercase()),
        wit::HostPattern::OneLabel(suffix) => HostPattern::OneLabel(suffix.to_ascii_lowercase()),
    }
}

fn input(name: &str) -> Option<Input> {
    Some(match name {
        ":method" => Input::Method,
        ":scheme" => Input::Scheme,
        ":authority" => Input::Authority,
        ":query" => Input::Query,
        ":source-ip" => Input::SourceIp,
        header => Input::Header(HeaderName::from_bytes(header.as_bytes()).ok()?),
    })
}

fn termination(said: wit::Termination, sources: usize, refused: &mut Option<String>) -> Result<Termination, String> {
    let indices = |list: Vec<u32>| {
        list.into_iter()
            .map(|source| index(source, sources))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| format!("source {e}"))
    };
    let versions = match (said.min_version, said.max_version) {
        (wit::TlsVersion::Tls12, wit::TlsVersion::Tls13) => TlsVersions::Both,
        (wit::TlsVersion::Tls12, wit::TlsVersion::Tls12) => TlsVersions::Only12,
        (wit::TlsVersion::Tls13, wit::TlsVersion::Tls13) => TlsVersions::Only13,
        (wit::TlsVersion::Tls13, wit::TlsVersion::Tls12) => {
            *refused = Some("the lowest TLS version is above the highest".to_owned());
            TlsVersions::Both
        }
    };
    let client = said.client.map(|client| client_policy(client, &indices, refused)).transpose()?;
    Ok(Termination {
        credentials: indices(said.credentials)?,
        client,
        versions,
        cipher_suites: said.cipher_suites,
        alpn: said.alpn.into_iter().map(String::into_bytes).collect(),
    })
}

fn client_policy(
    said: wit::ClientVerification,
    indices: &impl Fn(Vec<u32>) -> Result<Vec<usize>, String>,
    refused: &mut Option<String>,
) -> Result<ClientPolicy, String> {
    let accepts = |verdict| matches!(verdict, wit::Verdict::Accept);
    let mut pins = Vec::with_capacity(said.pins.len());
    for said in said.pins {
        let (bytes, pin): (_, fn([u8; 32]) -> Pin) = match said {
            wit::Pin::CertificateSha256(bytes) => (bytes, Pin::Certificate),
            wit::Pin::SpkiSha256(bytes) => (bytes, Pin::Spki),
        };
        match bytes.try_into() {
            Ok(digest) => pins.push(pin(digest)),
            Err(_) => *refused = Some("a pin of its client verification is not a SHA-256".to_owned()),
        }
    }
    Ok(ClientPolicy {
        trust: indices(said.trust)?,
        accept_missing: accepts(said.no_certificate),
        accept_untrusted: accepts(said.untrusted),
        names: said.names,
        pins,
        max_depth: said.max_depth,
    })
}

fn source(source: wit::Source) -> Source {
    Source {
        origin: origin(source.origin),
        role: match source.role {
            wit::Role::Credential => Role::Credential,
            wit::Role::Trust => Role::Trust,
        },
        candidates: source.candidates.into_iter().map(locator).collect(),
        when_deleted: match source.when_deleted {
            wit::WhenDeleted::KeepLast => WhenDeleted::KeepLast,
            wit::WhenDeleted::Refuse => WhenDeleted::Refuse,
        },
    }
}

fn locator(locator: wit::Locator) -> Locator {
    match locator {
        wit::Locator::Object(object) => Locator::Object(key(object)),
        wit::Locator::Files(files) => Locator::Files(files),
        wit::Locator::SystemRoots => Locator::SystemRoots,
    }
}

fn stream(said: wit::StreamRoute, clusters: usize) -> Result<StreamRoute, String> {
    let name = name(said.name);
    let target = |target: wit::StreamTarget| {
        let cluster = target.cluster.map(|cluster| index(cluster, clusters)).transpose();
        let cluster = cluster.map_err(|e| format!("stream route `{name}`: cluster {e}"))?;
        Ok(StreamTarget { weight: target.weight, cluster })
    };
    let targets = said.targets.into_iter().map(target).collect::<Result<Vec<_>, String>>()?;
    let total = targets.iter().map(|target| u64::from(target.weight)).sum();
    let idle_timeout = said.idle_timeout.map(Duration::from_millis);
    Ok(StreamRoute { name, origin: origin(said.origin), targets, total, idle_timeout })
}

pub(super) fn outcome(outcome: &Outcome) -> translator::Outcome {
    translator::Outcome {
        live: outcome.live,
        bindings: outcome.bindings.clone(),
        listeners: outcome
            .listeners
            .iter()
            .map(|state| match state {
                ListenerState::Serving => translator::ListenerState::Serving,
                ListenerState::Conflict(key) => translator::ListenerState::Conflict(key_out(key)),
                ListenerState::Unbound(reason) => translator::ListenerState::Unbound(reason.clone()),
                ListenerState::NoCredential => translator::ListenerState::NoCredential,
                ListenerState::Unsupported(reason) => translator::ListenerState::Unsupported(reason.clone()),
            })
            .collect(),
        sources: outcome
            .sources
            .iter()
            .map(|state| match state {
                SourceState::Ready => translator::SourceState::Ready,
                SourceState::Stale(reason) => translator::SourceState::Stale(reason.clone()),
                SourceState::Missing(keys) => translator::SourceState::Missing(keys.iter().map(key_out).collect()),
                SourceState::Unusable(reason) => translator::SourceState::Unusable(reason.clone()),
            })
            .collect(),
        refused_routes: outcome.refused_routes.clone(),
        refused_clusters: outcome.refused_clusters.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_cut_stay_apart() {
        let long = |end: char| format!("{}{end}", "a".repeat(600));
        assert_ne!(unique_name(long('x')), unique_name(long('y')));
        assert_eq!(unique_name(long('x')), unique_name(long('x')));
        assert!(unique_name(long('x')).len() <= printable::NAME + '…'.len_utf8());
        assert_eq!(unique_name("a/b".to_owned()), "a/b");
    }

    fn said_by() -> types::Origin {
        let key = ObjectKey { group: String::new(), kind: "K".into(), namespace: "n".into(), name: "a".into() };
        types::Origin { object: key_out(&key), field: String::new() }
    }

    fn no_headers() -> wit::HeaderOps {
        wit::HeaderOps { request: Vec::new(), response: Vec::new() }
    }

    /// One that leads to the first cluster, and asks for what no host does.
    fn refused_route() -> wit::Route {
        let target = wit::Target {
            weight: 1,
            to: wit::Destination::Cluster(0),
            host: None,
            headers: no_headers(),
            filters: Vec::new(),
        };
        wit::Route {
            name: "r".to_owned(),
            origin: said_by(),
            cors: None,
            fault: None,
            headers: no_headers(),
            filters: vec![wit::FilterUse { name: "f".to_owned(), config: String::new() }],
            max_request_body: None,
            action: wit::Action::Forward(forward_to(target)),
            extensions: Vec::new(),
        }
    }

    fn forward_to(target: wit::Target) -> wit::Forward {
        wit::Forward {
            targets: vec![target],
            host: None,
            path: None,
            timeout: None,
            idle_timeout: None,
            retry: None,
            mirrors: Vec::new(),
            session: None,
        }
    }

    fn served_route() -> wit::Route {
        wit::Route { filters: Vec::new(), ..refused_route() }
    }

    fn plain_cluster() -> wit::Cluster {
        wit::Cluster {
            name: "c".to_owned(),
            origin: said_by(),
            endpoints: wit::Endpoints::Fixed(Vec::new()),
            protocol: wit::UpstreamProtocol::Http1,
            tls: None,
            balance: wit::Balance::LeastRequest,
            connect_timeout: None,
            idle_timeout: None,
            limits: wit::Limits {
                connections: None,
                pending: None,
                requests: None,
                retries: None,
                requests_per_connection: None,
            },
            outlier: None,
            proxy_protocol: None,
            extensions: Vec::new(),
        }
    }

    fn saying(routes: Vec<wit::ListedRoute>, clusters: Vec<wit::ListedCluster>) -> wit::Translation {
        wit::Translation {
            bindings: Vec::new(),
            listeners: Vec::new(),
            sources: Vec::new(),
            clusters,
            routes,
            streams: Vec::new(),
            findings: Vec::new(),
            table: Vec::new(),
        }
    }

    #[test]
    fn what_was_said_before_is_the_same() {
        use wit::{ListedCluster, ListedRoute};
        let new = || vec![ListedRoute::New(served_route()), ListedRoute::New(refused_route())];
        let cluster = || vec![ListedCluster::New(plain_cluster())];
        let (first, known) = translation(saying(new(), cluster()), &Known::default()).unwrap();
        let again = vec![ListedRoute::Same(1), ListedRoute::Same(0)];
        let (second, known) = translation(saying(again, vec![ListedCluster::Same(0)]), &known).unwrap();
        assert!(
            Arc::ptr_eq(&first.routes[0], &second.routes[1]) && Arc::ptr_eq(&first.clusters[0], &second.clusters[0])
        );
        let refused =
            |translation: &Translation| translation.refused_routes.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!((refused(&first), refused(&second)), (vec![1], vec![0]), "and what there is to say of it, too");
        assert_eq!(first.findings, second.findings);
        let (third, _) = translation(saying(vec![ListedRoute::Same(1)], cluster()), &known).unwrap();
        assert!(Arc::ptr_eq(&first.routes[0], &third.routes[0]), "indices count into the last one");
    }

    #[test]
    fn what_was_not_said_before_is_nothing() {
        use wit::{ListedCluster, ListedRoute};
        let one = saying(vec![ListedRoute::New(served_route())], vec![ListedCluster::New(plain_cluster())]);
        let (_, known) = translation(one, &Known::default()).unwrap();
        let cluster = || vec![ListedCluster::Same(0)];
        let error = |said| translation(said, &known).unwrap_err();
        assert_eq!(error(saying(vec![ListedRoute::Same(1)], cluster())), "there was no route 1 before");
        assert_eq!(error(saying(Vec::new(), vec![ListedCluster::Same(1)])), "there was no cluster 1 before");
        let without_its_cluster = saying(vec![ListedRoute::Same(0)], Vec::new());
        assert_eq!(error(without_its_cluster), "route `r`: cluster 0 is not in its list");
    }
}
