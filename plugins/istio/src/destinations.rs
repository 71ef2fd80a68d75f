//! Where `destination` leads: to a Service, whose endpoints the host follows, or to a ServiceEntry's endpoints; to all of
//! them or a subset, and treated as DestinationRules say.
//!
//! A host that neither knows answers 503 and is never looked up in DNS.

mod cluster;
mod entry;
mod report;
mod service;

use std::collections::HashMap;
use std::rc::Rc;

use sekisho_sdk::model::Cluster;
use sekisho_sdk::{Environment, Object, ObjectKey, Origin, Severity};

use crate::destination_rule::{DestinationRules, Rule, Subset};
use crate::findings::{Findings, Place};
use crate::names::{Exports, full_host, port_number};
use crate::objects::WorkloadEntry;
use crate::objects::virtual_service::Destination;
use crate::sources::Sources;

/// Every host that a destination can name, and the clusters made of those that were.
#[derive(Debug)]
pub(crate) struct Destinations {
    domain: String,
    gateway_namespace: String,
    backings: Vec<Backing>,
    by_host: HashMap<String, Vec<usize>>,
    rules: DestinationRules,
    /// The rule of each host that was asked for.
    rule_of: HashMap<usize, Option<Rc<Rule>>>,
    pub(crate) clusters: Vec<Rc<Cluster>>,
    pub(crate) sources: Sources,
    /// None where a rule asks for what cannot be done.
    known: HashMap<(usize, u16, String), Option<u32>>,
    /// Clusters that are said to speak TLS, and of whose host no rule says so.
    plain: HashMap<u32, (usize, u16)>,
}

/// One host of one object.
#[derive(Debug)]
struct Backing {
    object: ObjectKey,
    host: String,
    /// The first half of its clusters' names.
    name: String,
    exports: Exports,
    ports: Vec<Port>,
    members: Members,
    /// What must be in its endpoints' certificates, when no rule says so.
    names: Rc<[String]>,
}

#[derive(Clone, Debug)]
struct Port {
    number: u16,
    name: String,
    /// Of the endpoints.
    target: u16,
    speaks: Speaks,
    /// Of several ServiceEntries that are joined, the one that says it.
    origin: Origin,
}

/// What a port is said to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    Tls,
    /// Something without requests.
    Bytes,
}

#[derive(Clone, Debug)]
enum Members {
    Service,
    Fixed(Vec<Group>),
    Dns(Vec<Group>),
    /// Another host that stands for this one.
    Alias(String),
    /// Why there are none.
    Unsupported(String),
}

/// The endpoints of one ServiceEntry, and the ports that they have.
#[derive(Clone, Debug)]
struct Group {
    ports: Rc<[Port]>,
    endpoints: Rc<[WorkloadEntry]>,
}

/// What a host stands for, and the port where an alias has only one.
struct Found {
    backing: usize,
    port: Option<u16>,
}

/// What a destination leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Backend {
    Cluster(u32),
    /// A port of several was meant: the one that the server has, in Istio.
    ServerPort {
        backing: usize,
        subset: String,
        said: Origin,
    },
    /// The gateway answers 503.
    Unknown,
}

impl Destinations {
    /// Reads Services and ServiceEntries.
    pub(crate) fn read(
        services: &[Object],
        entries: &[Object],
        rules: DestinationRules,
        environment: &Environment,
        domain: &str,
        findings: &mut Findings,
    ) -> Self {
        let mut all = Self {
            domain: domain.to_owned(),
            gateway_namespace: environment.namespace.clone(),
            backings: Vec::with_capacity(services.len()),
            by_host: HashMap::with_capacity(services.len()),
            rules,
            rule_of: HashMap::new(),
            clusters: Vec::new(),
            sources: Sources::default(),
            known: HashMap::new(),
            plain: HashMap::new(),
        };
        for object in services {
            if let Some(backing) = service::read(object, domain, findings) {
                all.add(backing);
            }
        }
        let mut read: Vec<_> = entries.iter().filter_map(|object| entry::read(object, domain, findings)).collect();
        read.sort_by(|a, b| a.age.cmp(&b.age));
        for backing in read.into_iter().flat_map(|entry| entry.backings) {
            all.report_conflicts(&backing, findings);
            all.add(backing);
        }
        all.report_rules(findings);
        all
    }

    /// ServiceEntries of one host and namespace are one, as where each machine has its own.
    fn add(&mut self, backing: Backing) {
        let known = self.by_host.entry(backing.host.clone()).or_default();
        if let Some(older) = known.iter().find(|index| self.backings[**index].is_joined_by(&backing)) {
            self.backings[*older].join(backing);
            return;
        }
        known.push(self.backings.len());
        self.backings.push(backing);
    }

    /// What `destination`, written in a VirtualService of `namespace`, leads requests to.
    pub(crate) fn resolve(
        &mut self,
        destination: &Destination,
        namespace: &str,
        at: &Place<'_>,
        findings: &mut Findings,
    ) -> Backend {
        let backend = self.resolve_stream(destination, namespace, at, findings);
        if let Backend::Cluster(cluster) = backend
            && let Some((backing, port)) = self.plain.get(&cluster)
        {
            let message =
                format!("port {port} of {} speaks TLS, but is forwarded to in the clear", self.subject(*backing));
            let host = &self.backings[*backing].host;
            let remedy = format!("write a DestinationRule for `{host}` with `tls: {{ mode: SIMPLE }}`");
            findings.warning(&at.field("port"), "plain-http-to-tls-port", message, &remedy);
        }
        backend
    }

    /// The same for connections, whose bytes are nobody's concern.
    pub(crate) fn resolve_stream(
        &mut self,
        destination: &Destination,
        namespace: &str,
        at: &Place<'_>,
        findings: &mut Findings,
    ) -> Backend {
        let port = destination.port.as_ref().map(|port| port.number);
        if let Some(number) = port.filter(|number| port_number(*number).is_none()) {
            let message = format!("{number} is not a port");
            findings.error(&at.field("port"), "invalid-value", message, "write a number from 1 to 65535");
            return Backend::Unknown;
        }
        let Some(Found { backing, port: of_alias }) = self.find(&destination.host, namespace, at, findings) else {
            return Backend::Unknown;
        };
        let subset = destination.subset.as_str();
        if !subset.is_empty() && self.subset(backing, subset).is_none() {
            self.report_unknown_subset(backing, subset, at, findings);
            return Backend::Unknown;
        }
        match port.and_then(port_number).or(of_alias) {
            Some(port) => self.at_port(backing, port, subset, at, findings),
            None => match self.backings[backing].ports[..] {
                [ref only] => {
                    let port = only.number;
                    self.at_port(backing, port, subset, at, findings)
                }
                [] => {
                    let message = format!("{} has no port; its share answers 503", self.subject(backing));
                    findings.error(&at.field("host"), "unknown-port", message, "add a port to it");
                    Backend::Unknown
                }
                _ => Backend::ServerPort { backing, subset: subset.to_owned(), said: at.origin() },
            },
        }
    }

    /// The cluster for a destination without a port, on a server of `port`.
    pub(crate) fn on_server(&mut self, backend: &Backend, port: u16, findings: &mut Findings) -> Option<u32> {
        match backend {
            Backend::Unknown => None,
            Backend::Cluster(cluster) => Some(*cluster),
            Backend::ServerPort { backing, subset, said } => {
                if self.backings[*backing].ports.iter().any(|known| known.number == port) {
                    return self.cluster(*backing, port, subset, said, findings);
                }
                let numbers = self.port_list(*backing);
                let message =
                    format!("{} has several ports ({numbers}); its share answers 503", self.subject(*backing));
                let remedy = "write `port: { number: … }`";
                findings.say(Severity::Error, said.clone(), "port-needed", message, remedy);
                None
            }
        }
    }

    /// The rule that counts for a host.
    fn rule(&mut self, backing: usize) -> Option<Rc<Rule>> {
        let Self { rules, rule_of, backings, .. } = self;
        let Backing { host, object, .. } = &backings[backing];
        let rule = rule_of.entry(backing).or_insert_with(|| rules.of(host, &object.namespace).cloned().map(Rc::new));
        rule.clone()
    }

    fn subset(&mut self, backing: usize, name: &str) -> Option<Rc<Subset>> {
        self.rule(backing)?.subset(name).cloned()
    }

    fn find(&self, host: &str, namespace: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Found> {
        let at = at.field("host");
        if host.is_empty() {
            findings.error(
                &at,
                "missing-field",
                "the destination has no host",
                "name a Service or a ServiceEntry's host",
            );
            return None;
        }
        let mut wanted = full_host(host, namespace, &self.domain);
        let mut port = None;
        // An ExternalName may stand for another host, once.
        for _ in 0..2 {
            let Some(backing) = self.visible(&wanted, &at, findings)? else {
                let message = format!("no Service or ServiceEntry is called `{wanted}`; its share answers 503");
                findings.error(&at, "unknown-destination", message, &self.hint(&wanted));
                return None;
            };
            match &self.backings[backing].members {
                Members::Alias(other) => {
                    if let [only] = &self.backings[backing].ports[..] {
                        port = Some(only.number);
                    }
                    wanted = full_host(other, namespace, &self.domain);
                }
                Members::Unsupported(reason) => {
                    let message = format!("{}: {reason}; its share answers 503", self.subject(backing));
                    findings.error(
                        &at,
                        "unsupported",
                        message,
                        "write STATIC or DNS, with endpoints where they are needed",
                    );
                    return None;
                }
                _ => return Some(Found { backing, port }),
            }
        }
        let message = format!("`{host}` stands for another external name; its share answers 503");
        findings.error(&at, "unsupported", message, "name the Service or ServiceEntry itself");
        None
    }

    /// The object of that host that counts among those that the gateway may see. None when there are only others.
    fn visible(&self, host: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Option<usize>> {
        let Some(known) = self.by_host.get(host) else { return Some(None) };
        let seen = known.iter().copied().filter(|index| self.is_seen(*index));
        let found = seen.min_by_key(|index| self.rank(*index));
        if found.is_none() {
            let owner = self.subject(*known.first()?);
            let message = format!("{owner} is not exported to the gateway's namespace; its share answers 503");
            let remedy = format!("add `{}` to its `exportTo`", self.gateway_namespace);
            findings.error(at, "unknown-destination", message, &remedy);
            return None;
        }
        Some(found)
    }

    fn is_seen(&self, backing: usize) -> bool {
        let Backing { exports, object, .. } = &self.backings[backing];
        exports.reach(&self.gateway_namespace, &object.namespace)
    }

    /// Of several objects of one host the least counts, and of those that are equal the oldest. In Istio nobody takes
    /// the name of a Service, and what is meant for the gateway's namespace goes before what is for everybody; where
    /// the VirtualService stands is nothing to a gateway.
    fn rank(&self, backing: usize) -> (bool, u8) {
        let Backing { members, exports, object, .. } = &self.backings[backing];
        let reach = match exports {
            Exports::All => 2,
            _ if object.namespace == self.gateway_namespace => 0,
            _ => 1,
        };
        (!matches!(members, Members::Service | Members::Alias(_)), reach)
    }

    fn hint(&self, wanted: &str) -> String {
        let whole = format!("{wanted}.svc.{}", self.domain);
        if self.by_host.contains_key(&whole) {
            return format!("write `{whole}`");
        }
        match wanted.strip_suffix(&format!(".svc.{}", self.domain)).and_then(|name| name.split_once('.')) {
            Some((name, namespace)) => format!("create Service {namespace}/{name}, or correct the name"),
            None => "declare the host in a ServiceEntry, or correct the name".to_owned(),
        }
    }

    fn at_port(&mut self, backing: usize, port: u16, subset: &str, at: &Place<'_>, findings: &mut Findings) -> Backend {
        if !self.backings[backing].ports.iter().any(|known| known.number == port) {
            let numbers = self.port_list(backing);
            let message = format!("{} has no port {port}; its share answers 503", self.subject(backing));
            findings.error(&at.field("port"), "unknown-port", message, &format!("it has {numbers}"));
            return Backend::Unknown;
        }
        self.cluster(backing, port, subset, &at.origin(), findings).map_or(Backend::Unknown, Backend::Cluster)
    }

    /// The cluster of a known port; none where a rule asks for what cannot be done.
    fn cluster(
        &mut self,
        backing: usize,
        port: u16,
        subset: &str,
        said: &Origin,
        findings: &mut Findings,
    ) -> Option<u32> {
        let key = (backing, port, subset.to_owned());
        if let Some(known) = self.known.get(&key).copied() {
            if known.is_none() {
                self.report_refused(backing, port, subset, said, findings);
            }
            return known;
        }
        let rule = self.rule(backing);
        let subset_of = rule.as_ref().and_then(|rule| rule.subset(subset));
        let settings = rule.as_ref().map(|rule| rule.settings(subset_of.map(Rc::as_ref), port)).unwrap_or_default();
        let labels = subset_of.map_or(&[][..], |subset| &subset.labels);
        let wanted = cluster::Wanted { port, subset, labels };
        let unsaid = settings.transport.is_none();
        let made = self.backings[backing].cluster(&wanted, settings, &mut self.sources, findings);
        let index = made.map(|cluster| {
            let next = u32::try_from(self.clusters.len()).unwrap_or(u32::MAX);
            let ports = &self.backings[backing].ports;
            if unsaid && ports.iter().any(|known| known.number == port && known.speaks == Speaks::Tls) {
                self.plain.insert(next, (backing, port));
            }
            self.clusters.push(Rc::new(cluster));
            next
        });
        self.known.insert(key, index);
        if index.is_none() {
            self.report_refused(backing, port, subset, said, findings);
        }
        index
    }

    fn subject(&self, backing: usize) -> String {
        let ObjectKey { kind, namespace, name, .. } = &self.backings[backing].object;
        format!("{kind} {namespace}/{name}")
    }

    fn port_list(&self, backing: usize) -> String {
        let numbers: Vec<_> = self.backings[backing].ports.iter().map(|port| port.number.to_string()).collect();
        if numbers.is_empty() { "no port".to_owned() } else { numbers.join(", ") }
    }
}

impl Backing {
    /// Whether a younger one adds to it instead of standing beside it.
    fn is_joined_by(&self, younger: &Self) -> bool {
        let alike = matches!(
            (&self.members, &younger.members),
            (Members::Fixed(_), Members::Fixed(_)) | (Members::Dns(_), Members::Dns(_))
        );
        alike && self.object.namespace == younger.object.namespace && self.exports == younger.exports
    }

    /// Takes the ports that it lacks, and the endpoints.
    fn join(&mut self, younger: Self) {
        for port in younger.ports {
            if !self.ports.iter().any(|known| known.number == port.number) {
                self.ports.push(port);
            }
        }
        if let (Members::Fixed(own), Members::Fixed(more)) | (Members::Dns(own), Members::Dns(more)) =
            (&mut self.members, younger.members)
        {
            own.extend(more);
        }
    }
}

impl Speaks {
    /// Of Istio's word for a protocol, whichever field it stands in.
    fn named(protocol: &str) -> Option<Self> {
        Some(match protocol.to_ascii_lowercase().as_str() {
            "http2" | "h2c" | "kubernetes.io/h2c" | "grpc" | "grpc-web" => Self::Http2,
            "https" | "tls" => Self::Tls,
            "http" | "kubernetes.io/ws" | "http_proxy" => Self::Http1,
            "tcp" | "mongo" | "redis" | "mysql" => Self::Bytes,
            _ => return None,
        })
    }
}
