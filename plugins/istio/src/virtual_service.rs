//! VirtualServices: which are bound to our Gateways, and what each of their rules says, checked.
//!
//! How the rules of several VirtualServices come together on a host is decided in `routes`, for connections in
//! `streams`.

mod delegates;
mod http;
mod sidecars;
mod streams;

use std::collections::HashSet;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::objects::read;
use sekisho_sdk::{Environment, Finding, Object, ObjectKey};

use self::delegates::{Delegates, Objects};
pub(crate) use self::http::Rule;
use self::sidecars::Sidecars;
pub(crate) use self::streams::{StreamMatch, StreamRule};
use crate::destinations::Destinations;
use crate::findings::{Findings, Place};
use crate::hosts::ServerHosts;
use crate::names::{Exports, Hiding, MESH, check_exports, full_host, gateway_reference, is_short};
use crate::objects::virtual_service as objects;
use crate::tenancy::Tenants;

/// A VirtualService that is bound to one of our Gateways.
#[derive(Debug)]
pub(crate) struct VirtualService {
    pub(crate) key: ObjectKey,
    pub(crate) generation: i64,
    /// With their place in `spec.hosts`.
    pub(crate) hosts: Vec<(usize, HostName)>,
    /// `namespace/name`, ours and others.
    pub(crate) gateways: Vec<String>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tls: Vec<StreamRule>,
    pub(crate) tcp: Vec<StreamRule>,
    order: Order,
}

/// What VirtualServices there are for us.
#[derive(Debug)]
pub(crate) struct VirtualServices {
    /// In Istio's order of precedence.
    pub(crate) bound: Vec<VirtualService>,
    /// Those that a bound one delegates to, with their generation.
    pub(crate) delegates: Vec<(ObjectKey, i64)>,
}

/// Narrower exports first, then age, name and namespace.
type Order = (u8, Option<String>, String, String);

/// What VirtualServices are read against.
pub(crate) struct Scope<'s> {
    pub(crate) environment: &'s Environment,
    pub(crate) domain: &'s str,
    pub(crate) tenants: &'s Tenants,
    /// Every Gateway there is.
    pub(crate) gateways: &'s HashSet<String>,
    /// Those that select us.
    pub(crate) ours: &'s HashSet<String>,
}

/// Reads them all.
pub(crate) fn read_all(
    objects: &[Object],
    scope: &Scope<'_>,
    destinations: &mut Destinations,
    findings: &mut Findings,
) -> VirtualServices {
    let by_name: Objects<'_> =
        objects.iter().map(|object| ((&*object.key.namespace, &*object.key.name), object)).collect();
    let mut delegates = Delegates::default();
    let mut sidecars = Sidecars::default();
    let mut hostless = Vec::new();
    let mut bound = Vec::new();
    for object in objects {
        let mut said = Vec::new();
        let Some(service) = read::<objects::VirtualService>(object, &mut said) else {
            findings.list().append(&mut said);
            continue;
        };
        if service.spec.hosts.is_empty() {
            hostless.push((object, service.metadata.generation, !service.spec.gateways.is_empty(), said));
            continue;
        }
        sidecars.hear(&object.key, &service.spec, scope.domain);
        let (delegates, destinations) = (&mut delegates, &mut *destinations);
        let mut reader = Reader { scope, objects: &by_name, delegates, destinations, findings };
        let read = reader.check(&object.key, &service, said);
        if read.is_some() {
            sidecars.serve(&object.key, &service.spec, scope.domain);
        }
        bound.extend(read);
    }
    sidecars.report(findings);
    bound.sort_by(|a, b| a.order.cmp(&b.order));
    let mut followed = Vec::new();
    for (object, generation, has_gateways, mut said) in hostless {
        let spec = Place::root(&object.key, "spec");
        let is_followed = delegates.are_followed(&object.key);
        if has_gateways {
            let message = "a VirtualService with gateways needs hosts; without them, others can delegate to it at most";
            findings.error(&spec.field("hosts"), "missing-field", message, "name the hosts that its rules are for");
        } else if !is_followed {
            let message = "without hosts it is a delegate, and no VirtualService that is served here delegates to it";
            findings.info(&spec, "no-effect", message, "name it in `delegate` of a rule, or remove it");
        }
        findings.list().append(&mut said);
        if is_followed {
            followed.push((object.key.clone(), generation));
        }
    }
    VirtualServices { bound, delegates: followed }
}

/// Reads one that has hosts.
struct Reader<'r> {
    scope: &'r Scope<'r>,
    objects: &'r Objects<'r>,
    delegates: &'r mut Delegates,
    destinations: &'r mut Destinations,
    findings: &'r mut Findings,
}

impl Reader<'_> {
    fn check(
        &mut self,
        key: &ObjectKey,
        objects::VirtualService { metadata, spec }: &objects::VirtualService,
        mut said: Vec<Finding>,
    ) -> Option<VirtualService> {
        let at = Place::root(key, "spec");
        let bound = bindings(spec, key, self.scope, &at, self.findings);
        // One that names no Gateway at all may have misspelt the field that would; of one that is bound elsewhere
        // nothing is said.
        if bound.is_some() || spec.gateways.is_empty() {
            self.findings.list().append(&mut said);
        }
        let gateways = bound?;
        check_exports(&spec.export_to, &key.namespace, Hiding::Refused, &at, self.findings);
        let exports = Exports::read(spec.export_to.iter().map(String::as_str), &key.namespace);
        let own = &self.scope.environment.namespace;
        if !exports.reach(own, &key.namespace) {
            let message =
                format!("it is not exported to the gateway's namespace, {own}, so that it has no effect here");
            let remedy = "add the namespace, or remove the field";
            self.findings.warning(&at.field("exportTo"), "not-exported", message, remedy);
            return None;
        }
        if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
            let message = "the VirtualService has no rules";
            self.findings.error(&at, "missing-field", message, "give `http`, `tls` or `tcp` rules");
        }
        let hosts = hosts(&spec.hosts, key, self.scope, &at, self.findings);
        let claims = ServerHosts::of(hosts.iter().map(|(_, host)| host.clone()));
        let rules = http::read(&spec.http, key, self);
        let tls = streams::read_tls(&spec.tls, key, &claims, self);
        let tcp = streams::read_tcp(&spec.tcp, key, self);
        let rank = match exports {
            Exports::Own => 0,
            // To its own namespace among others, it is that one's private word.
            Exports::Listed(names)
                if key.namespace == self.scope.environment.namespace && names.contains(&key.namespace) =>
            {
                0
            }
            Exports::Listed(_) => 1,
            Exports::All => 2,
        };
        let order = (rank, metadata.creation_timestamp.clone(), key.name.clone(), key.namespace.clone());
        let generation = metadata.generation;
        Some(VirtualService { key: key.clone(), generation, hosts, gateways, rules, tls, tcp, order })
    }
}

/// The Gateways it is bound to, when one of them is ours.
fn bindings(
    spec: &objects::VirtualServiceSpec,
    key: &ObjectKey,
    scope: &Scope<'_>,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Vec<String>> {
    let mut gateways = Vec::new();
    for (index, text) in spec.gateways.iter().enumerate().filter(|(_, text)| *text != MESH) {
        let name = gateway_reference(text, &key.namespace);
        if !scope.gateways.contains(&name) {
            let message = format!("there is no Gateway {name}");
            let remedy = "correct the name; in another namespace it is written `namespace/name`";
            findings.error(&at.item("gateways", index), "gateway-not-found", message, remedy);
        }
        gateways.push(name);
    }
    if gateways.is_empty() {
        let message = "it names no Gateway, so that it concerns sidecars alone";
        findings.info(&at.field("gateways"), "no-gateways", message, "name a Gateway to have it served here");
    }
    gateways.iter().any(|name| scope.ours.contains(name)).then_some(gateways)
}

fn hosts(
    said: &[String],
    key: &ObjectKey,
    scope: &Scope<'_>,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Vec<(usize, HostName)> {
    let mut hosts = Vec::with_capacity(said.len());
    let mut known = HashSet::new();
    for (index, text) in said.iter().enumerate() {
        let at = at.item("hosts", index);
        let full = full_host(text, &key.namespace, scope.domain);
        if is_short(text) {
            let message = format!("a name without a dot is completed, so that requests for `{full}` are meant");
            findings.info(&at, "short-host", message, "write the name with its domain");
        }
        match HostName::parse(&full) {
            Ok(host) if !scope.tenants.allow(&key.namespace, &host, None) => {
                let message = format!("namespace {} may not claim `{full}`; it is left out", key.namespace);
                let remedy = "add it to a tenant of the namespace in the bootstrap file, or remove it here";
                findings.error(&at, "not-allowed", message, remedy);
            }
            Ok(host) if known.insert(host.clone()) => hosts.push((index, host)),
            Ok(_) => {
                let message = format!("`{full}` stands twice");
                findings.error(&at, "duplicate-host", message, "remove one");
            }
            Err(problem) => {
                let message = format!("`{text}` is not a host: {problem}; it is left out");
                findings.error(&at, "invalid-host", message, "write a DNS name, `*.` and a suffix, or `*`");
            }
        }
    }
    let all = ServerHosts::of(hosts.iter().map(|(_, host)| host.clone()));
    hosts.retain(|(index, host)| {
        let wider = all.cover_by_another(host).filter(|wider| *wider != host);
        if let Some(wider) = wider {
            let message = format!("`{wider}` covers `{host}` already; it is left out");
            findings.error(&at.item("hosts", *index), "duplicate-host", message, "remove one of the two");
        }
        wider.is_none()
    });
    hosts
}
