//! Where `destination.host` leads: to a Service, whose endpoints the host follows, or to a ServiceEntry's endpoints.
//!
//! A host that neither knows answers 503 and is never looked up in DNS.

mod entry;
mod service;

use std::collections::HashMap;
use std::rc::Rc;

use sekisho_sdk::model::{Cluster, Endpoint, Endpoints, UpstreamProtocol};
use sekisho_sdk::{Environment, Object, ObjectKey, Origin, Severity};

use crate::findings::{Findings, Place};
use crate::names::{Exports, full_host, port_number};
use crate::objects::WorkloadEntry;
use crate::objects::virtual_service::Destination;

/// Every host that a destination can name, and the clusters made of those that were.
#[derive(Debug)]
pub(crate) struct Destinations {
    domain: String,
    gateway_namespace: String,
    backings: Vec<Backing>,
    by_host: HashMap<String, Vec<usize>>,
    pub(crate) clusters: Vec<Cluster>,
    by_port: HashMap<(usize, u16), u32>,
}

/// One host of one object.
#[derive(Debug)]
struct Backing {
    object: ObjectKey,
    /// The first half of its clusters' names.
    name: String,
    exports: Exports,
    ports: Vec<Port>,
    members: Members,
}

#[derive(Clone, Debug)]
struct Port {
    number: u16,
    name: String,
    /// Of the endpoints.
    target: u16,
    speaks: Speaks,
    field: String,
}

/// What a port is said to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
    Tls,
}

#[derive(Clone, Debug)]
enum Members {
    Service,
    Fixed(Rc<Vec<WorkloadEntry>>),
    Dns(Rc<Vec<WorkloadEntry>>),
    /// Another host that stands for this one.
    Alias(String),
    /// Why there are none.
    Unsupported(String),
}

/// What a destination leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Backend {
    Cluster(u32),
    /// A port of several was meant: the one that the server has, in Istio.
    ServerPort {
        backing: usize,
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
        environment: &Environment,
        domain: &str,
        findings: &mut Findings,
    ) -> Self {
        let mut all = Self {
            domain: domain.to_owned(),
            gateway_namespace: environment.namespace.clone(),
            backings: Vec::with_capacity(services.len()),
            by_host: HashMap::with_capacity(services.len()),
            clusters: Vec::new(),
            by_port: HashMap::new(),
        };
        for object in services {
            if let Some(backing) = service::read(object, findings) {
                let ObjectKey { namespace, name, .. } = &object.key;
                all.add(format!("{name}.{namespace}.svc.{domain}"), backing);
            }
        }
        let mut read: Vec<_> = entries.iter().filter_map(|object| entry::read(object, domain, findings)).collect();
        read.sort_by(|a, b| a.age.cmp(&b.age));
        for (host, backing) in read.into_iter().flat_map(|entry| entry.backings) {
            all.add(host, backing);
        }
        all
    }

    fn add(&mut self, host: String, backing: Backing) {
        self.by_host.entry(host).or_default().push(self.backings.len());
        self.backings.push(backing);
    }

    /// What `destination`, written in a VirtualService of `namespace`, leads to.
    pub(crate) fn resolve(
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
        if !destination.subset.is_empty() {
            let message = format!(
                "the subset `{}` is not known, because DestinationRules are not read yet; its share answers 503",
                destination.subset
            );
            findings.error(&at.field("subset"), "unknown-subset", message, "remove `subset`");
            return Backend::Unknown;
        }
        let Some(backing) = self.find(&destination.host, namespace, at, findings) else { return Backend::Unknown };
        match port.and_then(port_number) {
            Some(port) => self.at_port(backing, port, at, findings),
            None => match self.backings[backing].ports[..] {
                [ref only] => {
                    let port = only.number;
                    self.at_port(backing, port, at, findings)
                }
                [] => {
                    let message = format!("{} has no port; its share answers 503", self.subject(backing));
                    findings.error(&at.field("host"), "unknown-port", message, "add a port to it");
                    Backend::Unknown
                }
                _ => Backend::ServerPort { backing, said: at.origin() },
            },
        }
    }

    /// The cluster for a destination without a port, on a server of `port`.
    pub(crate) fn on_server(&mut self, backend: &Backend, port: u16, findings: &mut Findings) -> Option<u32> {
        match backend {
            Backend::Unknown => None,
            Backend::Cluster(cluster) => Some(*cluster),
            Backend::ServerPort { backing, said } => {
                if self.backings[*backing].ports.iter().any(|known| known.number == port) {
                    return Some(self.cluster(*backing, port));
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

    fn find(&self, host: &str, namespace: &str, at: &Place<'_>, findings: &mut Findings) -> Option<usize> {
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
        // An ExternalName may stand for another host, once.
        for _ in 0..2 {
            let Some(backing) = self.visible(&wanted, namespace, &at, findings)? else {
                let message = format!("no Service or ServiceEntry is called `{wanted}`; its share answers 503");
                findings.error(&at, "unknown-destination", message, &self.hint(&wanted));
                return None;
            };
            match &self.backings[backing].members {
                Members::Alias(other) => wanted = full_host(other, namespace, &self.domain),
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
                _ => return Some(backing),
            }
        }
        let message = format!("`{host}` stands for another external name; its share answers 503");
        findings.error(&at, "unsupported", message, "name the Service or ServiceEntry itself");
        None
    }

    /// The object of that host that the gateway may see, its own namespace's first. None when there are only others.
    fn visible(&self, host: &str, namespace: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Option<usize>> {
        let Some(known) = self.by_host.get(host) else { return Some(None) };
        let seen = |index: &&usize| {
            let backing = &self.backings[**index];
            backing.exports.reach(&self.gateway_namespace, &backing.object.namespace)
        };
        let near = known.iter().filter(seen).find(|index| self.backings[**index].object.namespace == namespace);
        let found = near.or_else(|| known.iter().find(seen));
        if found.is_none() {
            let owner = self.subject(*known.first()?);
            let message = format!("{owner} is not exported to the gateway's namespace; its share answers 503");
            let remedy = format!("add `{}` to its `exportTo`", self.gateway_namespace);
            findings.error(at, "unknown-destination", message, &remedy);
            return None;
        }
        Some(found.copied())
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

    fn at_port(&mut self, backing: usize, port: u16, at: &Place<'_>, findings: &mut Findings) -> Backend {
        let Some(known) = self.backings[backing].ports.iter().find(|known| known.number == port) else {
            let numbers = self.port_list(backing);
            let message = format!("{} has no port {port}; its share answers 503", self.subject(backing));
            findings.error(&at.field("port"), "unknown-port", message, &format!("it has {numbers}"));
            return Backend::Unknown;
        };
        if known.speaks == Speaks::Tls {
            let message =
                format!("port {port} of {} speaks TLS, but is forwarded to in the clear", self.subject(backing));
            let remedy = "name a port that speaks plain HTTP; TLS to backends is not served yet";
            findings.warning(&at.field("port"), "plain-http-to-tls-port", message, remedy);
        }
        Backend::Cluster(self.cluster(backing, port))
    }

    /// The cluster of a known port.
    fn cluster(&mut self, backing: usize, port: u16) -> u32 {
        let next = u32::try_from(self.clusters.len()).unwrap_or(u32::MAX);
        let Self { clusters, by_port, backings, .. } = self;
        *by_port.entry((backing, port)).or_insert_with(|| {
            clusters.push(backings[backing].cluster(port));
            next
        })
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
    fn cluster(&self, number: u16) -> Cluster {
        let port = self.ports.iter().find(|port| port.number == number);
        let endpoints = match &self.members {
            Members::Fixed(members) => Endpoints::Fixed(endpoints(members, port, number)),
            Members::Dns(members) => Endpoints::Dns(endpoints(members, port, number)),
            _ => Endpoints::Service(sekisho_sdk::model::ServicePort {
                namespace: self.object.namespace.clone(),
                name: self.object.name.clone(),
                port: number,
                labels: Vec::new(),
            }),
        };
        let field = port.map_or_else(String::new, |port| port.field.clone());
        let mut cluster = Cluster::new(format!("{}:{number}", self.name), self.object.at(field), endpoints);
        if port.is_some_and(|port| port.speaks == Speaks::Http2) {
            cluster.protocol = UpstreamProtocol::Http2;
        }
        cluster
    }
}

fn endpoints(members: &[WorkloadEntry], port: Option<&Port>, number: u16) -> Vec<Endpoint> {
    members
        .iter()
        .map(|member| {
            let named = port.and_then(|port| member.ports.get(&port.name)).and_then(|number| port_number(*number));
            Endpoint {
                address: member.address.clone(),
                port: named.or_else(|| port.map(|port| port.target)).unwrap_or(number),
                weight: u32::try_from(member.weight).ok().filter(|weight| *weight > 0).unwrap_or(1),
                labels: member.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            }
        })
        .collect()
}

impl Speaks {
    /// Of Istio's word for a protocol, whichever field it stands in.
    fn named(protocol: &str) -> Option<Self> {
        Some(match protocol.to_ascii_lowercase().as_str() {
            "http2" | "h2c" | "kubernetes.io/h2c" | "grpc" | "grpc-web" => Self::Http2,
            "https" | "tls" => Self::Tls,
            "http" | "tcp" | "kubernetes.io/ws" | "mongo" | "redis" | "mysql" | "http_proxy" => Self::Http1,
            _ => return None,
        })
    }
}
