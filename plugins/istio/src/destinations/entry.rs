//! ServiceEntries as destinations: endpoints as given, or names for the host's resolver.

use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use sekisho_sdk::objects::read as read_object;
use sekisho_sdk::{Object, ObjectKey};

use super::{Backing, Members, Port, Speaks};
use crate::findings::{Findings, Place};
use crate::names::{Exports, full_host, port_number};
use crate::objects::{EntryPort, ServiceEntry, ServiceEntrySpec, WorkloadEntry};

/// A ServiceEntry, once per host.
pub(super) struct Entry {
    /// Older ones first.
    pub(super) age: (Option<String>, String, String),
    pub(super) backings: Vec<(String, Backing)>,
}

pub(super) fn read(object: &Object, domain: &str, findings: &mut Findings) -> Option<Entry> {
    let ServiceEntry { metadata, spec } = read_object(object, findings.list())?;
    let key = &object.key;
    let at = Place::root(key, "spec");
    if spec.hosts.is_empty() {
        findings.error(&at.field("hosts"), "missing-field", "the ServiceEntry has no host", "name one");
    }
    if spec.ports.is_empty() {
        findings.error(&at.field("ports"), "missing-field", "the ServiceEntry has no port", "add one");
    }
    remark(&spec, &at, findings);
    let ports = spec.ports.iter().enumerate();
    let mut numbers = HashSet::new();
    let ports = ports.filter_map(|(index, said)| {
        let port = port(index, said, &at, findings)?;
        if numbers.insert(port.number) {
            return Some(port);
        }
        let message = format!("port {} stands twice; this one is left out", port.number);
        findings.error(&at.item("ports", index), "invalid-value", message, "remove one");
        None
    });
    let ports: Vec<_> = ports.collect();
    let members = members(&spec, &at, findings);
    let exports = Exports::read(spec.export_to.iter().map(String::as_str), &key.namespace);
    let backings = spec.hosts.iter().map(|host| {
        let host = full_host(host, &key.namespace, domain);
        let backing = Backing {
            object: key.clone(),
            name: host.clone(),
            exports: exports.clone(),
            ports: ports.clone(),
            members: by_host(&members, &host),
        };
        (host, backing)
    });
    let backings = backings.collect();
    let ObjectKey { namespace, name, .. } = key.clone();
    Some(Entry { age: (metadata.creation_timestamp, name, namespace), backings })
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
    }
    let speaks = if said.protocol.is_empty() { Some(Speaks::Http1) } else { Speaks::named(&said.protocol) };
    if speaks.is_none() {
        let message = format!("`{}` is not a protocol; HTTP/1.1 is taken", said.protocol);
        findings.error(&at.field("protocol"), "invalid-value", message, "write HTTP, HTTP2, GRPC, HTTPS, TLS or TCP");
    }
    let speaks = speaks.unwrap_or(Speaks::Http1);
    Some(Port { number, name: said.name.clone(), target, speaks, field: at.to_string() })
}

fn members(spec: &ServiceEntrySpec, at: &Place<'_>, findings: &mut Findings) -> Members {
    if spec.workload_selector.is_some() {
        return Members::Unsupported("workloads cannot be selected by labels here".to_owned());
    }
    match spec.resolution.as_str() {
        "STATIC" if spec.endpoints.is_empty() => {
            let message = "resolution STATIC without endpoints leads nowhere; its share answers 503";
            findings.warning(&at.field("endpoints"), "no-endpoints", message, "add endpoints, or write DNS");
            Members::Fixed(Rc::new(Vec::new()))
        }
        "STATIC" => Members::Fixed(Rc::new(checked(spec, at, is_address, "an IP address", findings))),
        "DNS" | "DNS_ROUND_ROBIN" => {
            if spec.resolution == "DNS_ROUND_ROBIN" && spec.endpoints.len() > 1 {
                let message = "resolution DNS_ROUND_ROBIN takes one endpoint at most; the first is used";
                findings.error(&at.field("endpoints"), "invalid-value", message, "remove the others, or write DNS");
                let first = checked(spec, at, is_name, "a DNS name or an IP address", findings).into_iter().take(1);
                return Members::Dns(Rc::new(first.collect()));
            }
            Members::Dns(Rc::new(checked(spec, at, is_name, "a DNS name or an IP address", findings)))
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
fn by_host(members: &Members, host: &str) -> Members {
    match members {
        Members::Dns(endpoints) if endpoints.is_empty() => {
            if !is_name(host) {
                return Members::Unsupported(format!("`{host}` cannot be looked up in DNS"));
            }
            Members::Dns(Rc::new(vec![WorkloadEntry { address: host.to_owned(), ..WorkloadEntry::default() }]))
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
        for (name, number) in &endpoint.ports {
            if port_number(*number).is_none() {
                let message = format!("{number} is not a port; the port's own number is taken");
                let ports = at.field("ports");
                findings.error(&ports.field(name), "invalid-value", message, "write a number from 1 to 65535");
            }
        }
        let good = legal(&endpoint.address);
        if !good {
            let message = format!("`{}` is not {kind}; the endpoint is left out", endpoint.address);
            findings.error(&at.field("address"), "invalid-value", message, &format!("write {kind}"));
        }
        good
    });
    endpoints.map(|(_, endpoint)| endpoint.clone()).collect()
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn is_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    is_address(text) || (!text.is_empty() && text.bytes().all(legal))
}

/// Fields that mean something to sidecars only, or not yet.
fn remark(spec: &ServiceEntrySpec, at: &Place<'_>, findings: &mut Findings) {
    if !matches!(spec.location.as_str(), "" | "MESH_EXTERNAL" | "MESH_INTERNAL") {
        let message = format!("`{}` is not a location", spec.location);
        findings.error(&at.field("location"), "invalid-value", message, "write MESH_EXTERNAL or MESH_INTERNAL");
    }
    if !spec.subject_alt_names.is_empty() {
        let message = "names in backends' certificates are not checked, because TLS to backends is not served yet";
        findings.warning(&at.field("subjectAltNames"), "unsupported", message, "remove the field");
    }
    let idle = |endpoint: &WorkloadEntry| {
        [&endpoint.network, &endpoint.locality, &endpoint.service_account].iter().any(|field| !field.is_empty())
    };
    if let Some(index) = spec.endpoints.iter().position(idle) {
        let message = "`network`, `locality` and `serviceAccount` have no effect; all endpoints are alike";
        findings.info(&at.item("endpoints", index), "no-effect", message, "use `weight` to prefer endpoints");
    }
}
