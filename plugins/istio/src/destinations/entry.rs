//! ServiceEntries as destinations: endpoints as given, or names for the host's resolver.

use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::objects::read as read_object;
use sekisho_sdk::{Object, ObjectKey};

use super::{Backing, Group, Members, Port, Speaks};
use crate::findings::{Findings, Place};
use crate::names::{Exports, Hiding, check_exports, full_host, is_dns_label, port_number};
use crate::objects::{EntryPort, ServiceEntry, ServiceEntrySpec, WorkloadEntry};

/// A ServiceEntry, once per host.
pub(super) struct Entry {
    /// Older ones first.
    pub(super) age: (Option<String>, String, String),
    pub(super) backings: Vec<Backing>,
}

pub(super) fn read(object: &Object, domain: &str, findings: &mut Findings) -> Option<Entry> {
    let written = read_object(object, findings.list())?;
    let ServiceEntry { metadata, spec } = &*written;
    let key = &object.key;
    let at = Place::root(key, "spec");
    remark(spec, &at, findings);
    check_addresses(spec, &at, findings);
    check_exports(&spec.export_to, &key.namespace, Hiding::Allowed, &at, findings);
    let ports: Rc<[Port]> = ports(spec, &at, findings).into();
    let members = members(spec, &ports, &at, findings);
    let exports = Exports::read(spec.export_to.iter().map(String::as_str), &key.namespace);
    let names: Rc<[String]> = spec.subject_alt_names.clone().into();
    let backings = hosts(spec, key, domain, &at, findings).into_iter().map(|host| Backing {
        object: key.clone(),
        name: host.clone(),
        exports: exports.clone(),
        ports: ports.to_vec(),
        members: by_host(&members, &ports, &host),
        names: Rc::clone(&names),
        host,
    });
    let backings = backings.collect();
    let ObjectKey { namespace, name, .. } = key.clone();
    Some(Entry { age: (metadata.creation_timestamp.clone(), name, namespace), backings })
}

/// Each once, whole.
fn hosts(
    spec: &ServiceEntrySpec,
    key: &ObjectKey,
    domain: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Vec<String> {
    if spec.hosts.is_empty() {
        findings.error(&at.field("hosts"), "missing-field", "the ServiceEntry has no host", "name one");
    }
    let mut hosts: Vec<String> = Vec::with_capacity(spec.hosts.len());
    for (index, said) in spec.hosts.iter().enumerate() {
        let at = at.item("hosts", index);
        let host = full_host(said, &key.namespace, domain);
        let legal = host != "*"
            && HostName::parse(
                host.strip_prefix('*').map_or(host.as_str(), |rest| rest.trim_start_matches(['.', '-'])),
            )
            .is_ok();
        if !legal {
            let message = format!("`{said}` is not a host of a ServiceEntry; it is left out");
            findings.error(&at, "invalid-host", message, "write a DNS name, or `*.` and a suffix");
        } else if hosts.contains(&host) {
            findings.error(&at, "duplicate-host", format!("`{host}` stands twice"), "remove one");
        } else {
            hosts.push(host);
        }
    }
    hosts
}

fn ports(spec: &ServiceEntrySpec, at: &Place<'_>, findings: &mut Findings) -> Vec<Port> {
    if spec.ports.is_empty() {
        findings.error(&at.field("ports"), "missing-field", "the ServiceEntry has no port", "add one");
    }
    let mut names = HashSet::new();
    let mut ports: Vec<Port> = Vec::with_capacity(spec.ports.len());
    for (index, said) in spec.ports.iter().enumerate() {
        let Some(port) = port(index, said, at, findings) else { continue };
        let at = at.item("ports", index);
        if !said.name.is_empty() && !names.insert(said.name.as_str()) {
            let message = format!("two ports are called `{}`", said.name);
            findings.error(&at.field("name"), "duplicate-port-name", message, "rename one");
        }
        if ports.iter().any(|known| known.number == port.number) {
            let message = format!("port {} stands twice; this one is left out", port.number);
            findings.error(&at, "invalid-value", message, "remove one");
            continue;
        }
        if spec.hosts.len() > 1 && port.speaks == Speaks::Bytes && spec.resolution != "NONE" {
            let message = "where the protocol is plain TCP, hosts cannot be told apart in Istio";
            findings.warning(
                &at.field("protocol"),
                "conflicting-fields",
                message,
                "write a ServiceEntry for each host",
            );
        }
        ports.push(port);
    }
    ports
}

fn port(index: usize, said: &EntryPort, at: &Place<'_>, findings: &mut Findings) -> Option<Port> {
    let at = at.item("ports", index);
    let target = if said.target_port == 0 { said.number } else { said.target_port };
    let (Some(number), Some(target)) = (port_number(said.number), port_number(target)) else {
        let message =
            format!("{} is not a port", if port_number(said.number).is_none() { said.number } else { target });
        findings.error(&at, "invalid-value", message, "write numbers from 1 to 65535");
        return None;
    };
    if said.name.is_empty() {
        findings.error(&at.field("name"), "missing-field", "the port has no name", "name it");
    } else if !is_dns_label(&said.name) {
        let message = format!("`{}` is not a port's name", said.name);
        findings.error(&at.field("name"), "invalid-value", message, "write lower-case letters, digits and dashes");
    }
    let speaks = if said.protocol.is_empty() { Some(Speaks::Http1) } else { Speaks::named(&said.protocol) };
    if speaks.is_none() {
        let message = format!("`{}` is not a protocol; HTTP/1.1 is taken", said.protocol);
        findings.error(&at.field("protocol"), "invalid-value", message, "write HTTP, HTTP2, GRPC, HTTPS, TLS or TCP");
    }
    let speaks = speaks.unwrap_or(Speaks::Http1);
    Some(Port { number, name: said.name.clone(), target, speaks, origin: at.origin() })
}

fn members(spec: &ServiceEntrySpec, ports: &Rc<[Port]>, at: &Place<'_>, findings: &mut Findings) -> Members {
    let group = |endpoints: Vec<WorkloadEntry>| vec![Group { ports: Rc::clone(ports), endpoints: endpoints.into() }];
    if let Some(selector) = &spec.workload_selector {
        let at = at.field("workloadSelector");
        if !spec.endpoints.is_empty() {
            let message = "`workloadSelector` and `endpoints` exclude each other";
            findings.error(&at, "conflicting-fields", message, "keep `endpoints`");
        }
        for (name, value) in &selector.labels {
            if name.is_empty() || name.contains('*') || value.contains('*') {
                let message = format!("`{name}: {value}` is not a label");
                findings.error(&at.field("labels"), "invalid-value", message, "write names and values as they are");
            }
        }
        return Members::Unsupported("workloads cannot be selected by labels here".to_owned());
    }
    match spec.resolution.as_str() {
        "STATIC" if spec.endpoints.is_empty() => {
            let message = "resolution STATIC without endpoints leads nowhere; its share answers 503";
            findings.warning(&at.field("endpoints"), "no-endpoints", message, "add endpoints, or write DNS");
            Members::Fixed(group(Vec::new()))
        }
        "STATIC" => Members::Fixed(group(checked(spec, at, is_address, "an IP address", findings))),
        "DNS" | "DNS_ROUND_ROBIN" => {
            if spec.resolution == "DNS_ROUND_ROBIN" && spec.endpoints.len() > 1 {
                let message = "resolution DNS_ROUND_ROBIN takes one endpoint at most; the first is used";
                findings.error(&at.field("endpoints"), "invalid-value", message, "remove the others, or write DNS");
                let first = checked(spec, at, is_name, "a DNS name or an IP address", findings).into_iter().take(1);
                return Members::Dns(group(first.collect()));
            }
            Members::Dns(group(checked(spec, at, is_name, "a DNS name or an IP address", findings)))
        }
        "" | "NONE" if !spec.endpoints.is_empty() => {
            let message = "resolution NONE has no endpoints";
            findings.error(&at.field("endpoints"), "conflicting-fields", message, "write resolution STATIC or DNS");
            Members::Unsupported("resolution NONE has no endpoints".to_owned())
        }
        "" | "NONE" => Members::Unsupported(
            "resolution NONE forwards to wherever the client was going, and a gateway's client goes to the gateway"
                .to_owned(),
        ),
        "DYNAMIC_DNS" => Members::Unsupported("resolution DYNAMIC_DNS is not served".to_owned()),
        other => {
            let message = format!("`{other}` is not a resolution");
            findings.error(&at.field("resolution"), "invalid-value", message, "write STATIC, DNS or DNS_ROUND_ROBIN");
            Members::Unsupported(format!("`{other}` is not a resolution"))
        }
    }
}

/// Without endpoints, DNS looks up the host itself.
fn by_host(members: &Members, ports: &Rc<[Port]>, host: &str) -> Members {
    match members {
        Members::Dns(groups) if groups.iter().all(|group| group.endpoints.is_empty()) => {
            if !is_name(host) {
                return Members::Unsupported(format!("`{host}` cannot be looked up in DNS"));
            }
            let itself = WorkloadEntry { address: host.to_owned(), ..WorkloadEntry::default() };
            Members::Dns(vec![Group { ports: Rc::clone(ports), endpoints: Rc::new([itself]) }])
        }
        other => other.clone(),
    }
}

/// The endpoints whose address is of the right kind; the others are error findings.
fn checked(
    spec: &ServiceEntrySpec,
    at: &Place<'_>,
    legal: fn(&str) -> bool,
    kind: &str,
    findings: &mut Findings,
) -> Vec<WorkloadEntry> {
    let endpoints = spec.endpoints.iter().enumerate().filter(|(index, endpoint)| {
        let at = at.item("endpoints", *index);
        check_endpoint(endpoint, spec, &at, findings);
        let address = at.field("address");
        if endpoint.address.starts_with("unix://") {
            let message = "sockets in the file system are not forwarded to; the endpoint is left out";
            findings.error(&address, "unsupported", message, &format!("write {kind}"));
            return false;
        }
        let good = legal(&endpoint.address);
        if !good {
            let message = format!("`{}` is not {kind}; the endpoint is left out", endpoint.address);
            let code = if endpoint.address.is_empty() { "missing-field" } else { "invalid-value" };
            findings.error(&address, code, message, &format!("write {kind}"));
        }
        good
    });
    endpoints.map(|(_, endpoint)| endpoint.clone()).collect()
}

fn check_endpoint(endpoint: &WorkloadEntry, spec: &ServiceEntrySpec, at: &Place<'_>, findings: &mut Findings) {
    let ports = at.field("ports");
    for (name, number) in &endpoint.ports {
        let at = ports.field(name);
        if port_number(*number).is_none() {
            let message = format!("{number} is not a port; the port's own number is taken");
            findings.error(&at, "invalid-value", message, "write a number from 1 to 65535");
        }
        if !spec.ports.iter().any(|port| port.name == *name) {
            let message = format!("no port of the ServiceEntry is called `{name}`");
            findings.error(&at, "unknown-port", message, "write the name of one of `spec.ports`");
        }
    }
    if u32::try_from(endpoint.weight).is_err() {
        let message = format!("{} is not a weight; 1 is taken", endpoint.weight);
        findings.error(&at.field("weight"), "invalid-value", message, "write 0 or more");
    }
}

/// `addresses` are for sidecars, but may be mistaken all the same.
fn check_addresses(spec: &ServiceEntrySpec, at: &Place<'_>, findings: &mut Findings) {
    let by_name = matches!(spec.resolution.as_str(), "DNS" | "DNS_ROUND_ROBIN" | "DYNAMIC_DNS");
    for (index, text) in spec.addresses.iter().enumerate() {
        let at = at.item("addresses", index);
        let (address, width) = text.split_once('/').map_or((text.as_str(), None), |(a, width)| (a, Some(width)));
        let most = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
        let address = address.parse::<IpAddr>().ok();
        let legal = address
            .is_some_and(|ip| width.is_none_or(|width| width.parse::<u8>().is_ok_and(|width| width <= most(ip))));
        if !legal {
            let message = format!("`{text}` is not an IP address or network");
            findings.error(
                &at,
                "invalid-value",
                message,
                "write an address, or remove it: a gateway has no use for it",
            );
        } else if width.is_some() && by_name {
            let message = "a network goes with resolution NONE or STATIC alone";
            findings.error(&at, "conflicting-fields", message, "remove it: a gateway has no use for it");
        }
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    is_address(text) || (!text.is_empty() && text.bytes().all(legal))
}

/// Fields that mean something to sidecars only.
fn remark(spec: &ServiceEntrySpec, at: &Place<'_>, findings: &mut Findings) {
    if !matches!(spec.location.as_str(), "" | "MESH_EXTERNAL" | "MESH_INTERNAL") {
        let message = format!("`{}` is not a location", spec.location);
        findings.error(&at.field("location"), "invalid-value", message, "write MESH_EXTERNAL or MESH_INTERNAL");
    }
    let idle = |endpoint: &WorkloadEntry| {
        [&endpoint.network, &endpoint.locality, &endpoint.service_account].iter().any(|field| !field.is_empty())
    };
    if let Some(index) = spec.endpoints.iter().position(idle) {
        let message = "`network`, `locality` and `serviceAccount` have no effect; all endpoints are alike";
        findings.info(&at.item("endpoints", index), "no-effect", message, "use `weight` to prefer endpoints");
    }
}
