//! Whether VirtualServices and the Gateways they name meet: findings only, in the spirit of `istioctl analyze`.

use std::collections::HashMap;

use crate::findings::{Findings, Place};
use crate::gateway::{Gateway, Kind};
use crate::hosts::ServerHosts;
use crate::virtual_service::VirtualService;

/// The hosts of a Gateway: all of them, those that speak HTTP, and those of them that decrypt first.
#[derive(Default)]
struct Served {
    all: ServerHosts,
    http: ServerHosts,
    terminated: ServerHosts,
}

/// Says which hosts no server has, and which routes no server asks.
pub(crate) fn report(gateways: &[Gateway], services: &[VirtualService], findings: &mut Findings) {
    let mut served: HashMap<&str, Served> = HashMap::new();
    for gateway in gateways {
        let hosts = served.entry(&gateway.name).or_default();
        for server in &gateway.servers {
            hosts.all.extend(&server.hosts);
            if matches!(server.kind, Kind::Http { .. } | Kind::Https(_)) {
                hosts.http.extend(&server.hosts);
            }
            if matches!(server.kind, Kind::Https(_)) {
                hosts.terminated.extend(&server.hosts);
            }
        }
    }
    for service in services {
        let gateways: Vec<&Served> = service.gateways.iter().filter_map(|name| served.get(name.as_str())).collect();
        report_hosts(service, &gateways, findings);
        report_requests(service, &gateways, findings);
        report_streams(service, &gateways, findings);
    }
}

fn report_hosts(service: &VirtualService, gateways: &[&Served], findings: &mut Findings) {
    let spec = Place::root(&service.key, "spec");
    let namespace = &service.key.namespace;
    for (index, host) in &service.hosts {
        if gateways.iter().all(|served| served.all.intersect(host, namespace).is_empty()) {
            let message =
                format!("no server of its Gateways has `{host}` for VirtualServices of namespace {namespace}");
            let remedy = "add the host to a server, or correct it here";
            findings.warning(&spec.item("hosts", *index), "host-not-in-gateway", message, remedy);
        }
    }
}

fn report_requests(service: &VirtualService, gateways: &[&Served], findings: &mut Findings) {
    let namespace = &service.key.namespace;
    let met = |of: fn(&Served) -> &ServerHosts| {
        let served = |host| gateways.iter().any(|served| !of(served).intersect(host, namespace).is_empty());
        service.hosts.iter().any(|(_, host)| served(host))
    };
    if !service.rules.is_empty() && !met(|served| &served.http) && met(|served| &served.all) {
        let spec = Place::root(&service.key, "spec");
        let message = "the servers of these hosts see no requests, so that `http` routes are never asked";
        let remedy = "let the server decrypt (SIMPLE or MUTUAL), or write `tls` or `tcp` routes";
        findings.warning(&spec.field("http"), "http-routes-without-http-server", message, remedy);
    }
}

fn report_streams(service: &VirtualService, gateways: &[&Served], findings: &mut Findings) {
    let spec = Place::root(&service.key, "spec");
    let namespace = &service.key.namespace;
    if service.has_tls {
        let terminated = |host| gateways.iter().any(|served| !served.terminated.intersect(host, namespace).is_empty());
        if service.rules.is_empty() && service.hosts.iter().any(|(_, host)| terminated(host)) {
            let message =
                "the server of these hosts decrypts, so that `tls` routes are never asked and requests get 404";
            let remedy = "write `http` routes, or set the server's TLS mode to PASSTHROUGH";
            findings.warning(&spec.field("tls"), "tls-routes-on-terminating-server", message, remedy);
        } else {
            let message = "`tls` routes are not served yet; they have no effect";
            findings.warning(
                &spec.field("tls"),
                "unsupported",
                message,
                "write `http` routes and let the server decrypt",
            );
        }
    }
    if service.has_tcp {
        let message = "`tcp` routes are not served yet; they have no effect";
        findings.warning(&spec.field("tcp"), "unsupported", message, "write `http` routes where the traffic is HTTP");
    }
}
