//! VirtualServices: which are bound to our Gateways, and what each of their HTTP rules says, checked.
//!
//! How the rules of several VirtualServices come together on a host is decided in `routes`.

use std::collections::HashSet;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{Cors, Fault, HeaderOps};
use sekisho_sdk::objects::read;
use sekisho_sdk::{Environment, Finding, Object, ObjectKey, Origin};

use crate::action::{self, Action};
use crate::destinations::Destinations;
use crate::findings::{Findings, Place};
use crate::hosts::ServerHosts;
use crate::matching::{self, Match};
use crate::names::{Exports, MESH, full_host, gateway_reference, is_short};
use crate::objects::virtual_service as objects;
use crate::{headers, policies};

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
    pub(crate) has_tls: bool,
    pub(crate) has_tcp: bool,
    order: Order,
}

/// Narrower exports first, then age, name and namespace.
type Order = (u8, Option<String>, String, String);

/// One entry of `http`.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `namespace/virtual-service/rule`.
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// With their place in `match`; any of them will do.
    pub(crate) matches: Vec<(usize, Match)>,
    pub(crate) action: Action,
    pub(crate) headers: HeaderOps,
    pub(crate) cors: Option<Cors>,
    pub(crate) fault: Option<Fault>,
}

/// What VirtualServices are read against.
pub(crate) struct Scope<'s> {
    pub(crate) environment: &'s Environment,
    pub(crate) domain: &'s str,
    /// Every Gateway there is.
    pub(crate) gateways: &'s HashSet<String>,
    /// Those that select us.
    pub(crate) ours: &'s HashSet<String>,
}

/// The VirtualServices that are bound to us, in Istio's order of precedence.
pub(crate) fn read_all(
    objects: &[Object],
    scope: &Scope<'_>,
    destinations: &mut Destinations,
    findings: &mut Findings,
) -> Vec<VirtualService> {
    let mut bound: Vec<VirtualService> = objects
        .iter()
        .filter_map(|object| {
            let mut said = Vec::new();
            match read(object, &mut said) {
                Some(service) => check(&object.key, service, said, scope, destinations, findings),
                None => {
                    findings.list().append(&mut said);
                    None
                }
            }
        })
        .collect();
    bound.sort_by(|a, b| a.order.cmp(&b.order));
    bound
}

fn check(
    key: &ObjectKey,
    service: objects::VirtualService,
    mut said: Vec<Finding>,
    scope: &Scope<'_>,
    destinations: &mut Destinations,
    findings: &mut Findings,
) -> Option<VirtualService> {
    let objects::VirtualService { metadata, spec } = service;
    let at = Place::root(key, "spec");
    let bound = bindings(&spec, key, scope, &at, findings);
    // One that names no Gateway at all may have misspelt the field that would; of one that is bound elsewhere nothing is
    // said.
    if bound.is_some() || spec.gateways.is_empty() {
        findings.list().append(&mut said);
    }
    let gateways = bound?;
    let exports = Exports::read(spec.export_to.iter().map(String::as_str), &key.namespace);
    let own = &scope.environment.namespace;
    if !exports.reach(own, &key.namespace) {
        let message = format!("it is not exported to the gateway's namespace, {own}, so that it has no effect here");
        findings.warning(&at.field("exportTo"), "not-exported", message, "add the namespace, or remove the field");
        return None;
    }
    if spec.http.is_empty() && spec.tls.is_empty() && spec.tcp.is_empty() {
        findings.error(&at, "missing-field", "the VirtualService has no rules", "give `http` rules");
    }
    let hosts = hosts(&spec.hosts, key, scope.domain, &at, findings);
    let rules = rules(&spec.http, key, scope, destinations, findings);
    let rank = match exports {
        Exports::Own => 0,
        Exports::Listed(_) => 1,
        Exports::All => 2,
    };
    Some(VirtualService {
        key: key.clone(),
        generation: metadata.generation,
        hosts,
        gateways,
        rules,
        has_tls: !spec.tls.is_empty(),
        has_tcp: !spec.tcp.is_empty(),
        order: (rank, metadata.creation_timestamp, key.name.clone(), key.namespace.clone()),
    })
}

/// The Gateways it is bound to, when one of them is ours.
fn bindings(
    spec: &objects::VirtualServiceSpec,
    key: &ObjectKey,
    scope: &Scope<'_>,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Vec<String>> {
    if spec.hosts.is_empty() {
        if spec.gateways.is_empty() {
            let message = "without hosts it is a delegate, and delegation is not served yet; it has no effect";
            findings.info(at, "unsupported", message, "write its rules into the VirtualService that delegates to it");
        } else {
            let message = "a VirtualService with gateways needs hosts";
            findings.error(&at.field("hosts"), "missing-field", message, "name the hosts that its rules are for");
        }
        return None;
    }
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
    domain: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Vec<(usize, HostName)> {
    let mut hosts = Vec::with_capacity(said.len());
    let mut known = HashSet::new();
    for (index, text) in said.iter().enumerate() {
        let at = at.item("hosts", index);
        let full = full_host(text, &key.namespace, domain);
        if is_short(text) {
            let message = format!("a name without a dot is completed, so that requests for `{full}` are meant");
            findings.info(&at, "short-host", message, "write the name with its domain");
        }
        match HostName::parse(&full) {
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

fn rules(
    said: &[objects::HttpRoute],
    key: &ObjectKey,
    scope: &Scope<'_>,
    destinations: &mut Destinations,
    findings: &mut Findings,
) -> Vec<Rule> {
    let spec = Place::root(key, "spec");
    let mut rules = Vec::with_capacity(said.len());
    let mut matched = HashSet::new();
    for (index, rule) in said.iter().enumerate() {
        let at = spec.item("http", index);
        let mut matches = matches(rule, key, scope, &at, findings);
        report_repeated(&matches, &mut matched, &at, findings);
        let end = matches.iter().position(|(_, one)| one.is_catch_all() && one.is_everywhere());
        if let Some(end) = end {
            let rest = matches.split_off(end + 1);
            if let Some((next, _)) = rest.first() {
                report_unreachable(&at.item("match", *next), &format!("match {}", matches[end].0), findings);
            }
        }
        rules.push(read_rule(rule, index, matches, key, destinations, &at, findings));
        if end.is_some() {
            if index + 1 < said.len() {
                report_unreachable(&spec.item("http", index + 1), &format!("rule {index}"), findings);
            }
            break;
        }
    }
    rules
}

/// Istio drops what stands behind the first rule that takes everything.
fn report_unreachable(at: &Place<'_>, taker: &str, findings: &mut Findings) {
    let message = format!("this and what follows is never reached, because {taker} takes every request");
    findings.warning(at, "unreachable-rule", message, "move it up, or remove it");
}

fn report_repeated(
    matches: &[(usize, Match)],
    matched: &mut HashSet<Match>,
    rule: &Place<'_>,
    findings: &mut Findings,
) {
    for (index, one) in matches.iter().filter(|(_, one)| one.here || !one.gateways.is_empty()) {
        if !matched.insert(one.clone()) {
            let message = "the same match stands further up, so that this one is never reached";
            findings.warning(&rule.item("match", *index), "unreachable-rule", message, "remove it");
        }
    }
}

fn matches(
    rule: &objects::HttpRoute,
    key: &ObjectKey,
    scope: &Scope<'_>,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Vec<(usize, Match)> {
    if rule.r#match.is_empty() {
        return vec![(0, Match::everything())];
    }
    let matches = rule.r#match.iter().enumerate().filter_map(|(index, one)| {
        let at = at.item("match", index);
        Some((index, matching::read(one, &key.namespace, scope.environment, &at, findings)?))
    });
    matches.collect()
}

fn read_rule(
    said: &objects::HttpRoute,
    index: usize,
    matches: Vec<(usize, Match)>,
    key: &ObjectKey,
    destinations: &mut Destinations,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Rule {
    let action = action::read(said, &key.namespace, destinations, at, findings);
    let headers = headers::read(said.headers.as_ref(), at, findings);
    let cors = policies::cors(said.cors_policy.as_ref(), at, findings);
    let fault = policies::fault(said.fault.as_ref(), at, findings);
    let label = if said.name.is_empty() { index.to_string() } else { said.name.clone() };
    let mut rule = Rule {
        name: format!("{}/{}/{label}", key.namespace, key.name),
        origin: at.origin(),
        matches,
        action: action::broken(),
        headers: HeaderOps::default(),
        cors: None,
        fault: None,
    };
    if let (Some(action), Some(headers), Some(cors), Some(fault)) = (action, headers, cors, fault) {
        rule.action = match action {
            Action::Forward(forward) => Action::Forward(forward.with_host(headers.host)),
            other => other,
        };
        rule.headers = headers.ops;
        rule.cors = cors;
        rule.fault = fault;
    }
    rule
}
