//! Whether VirtualServices and the Gateways they name meet: findings only, in the spirit of `istioctl analyze`.

use std::collections::HashMap;

use crate::findings::{Findings, Place};
use crate::gateway::{Gateway, Kind};
use crate::hosts::ServerHosts;
use crate::virtual_service::VirtualService;

/// The hosts of a Gateway: all of them, and those of each kind of server.
#[derive(Default)]
struct Served {
    all: ServerHosts,
    http: ServerHosts,
    passthrough: ServerHosts,
    /// Bytes without a look at names: TCP, and TLS that ends here.
    tcp: ServerHosts,
    /// Those of `http` and `tcp` whose TLS ends here.
    terminated: ServerHosts,
}

/// Says which hosts no server has, and which routes no server asks.
pub(crate) fn report(gateways: &[Gateway], services: &[VirtualService], findings: &mut Findings) {
    let mut served: HashMap<&str, Served> = HashMap::new();
    for gateway in gateways {
        let hosts = served.entry(&gateway.name).or_default();
        for server in &gateway.servers {
            hosts.all.extend(&server.hosts);
            let of_kind = match server.kind {
                Kind::Http { .. } | Kind::Https(_) => &mut hosts.http,
                Kind::Passthrough => &mut hosts.passthrough,
                Kind::Tls(_) | Kind::Tcp => &mut hosts.tcp,
            };
            of_kind.extend(&server.hosts);
            if matches!(server.kind, Kind::Https(_) | Kind::Tls(_)) {
                hosts.terminated.extend(&server.hosts);
            }
        }
    }
    for service in services {
        let gateways: Vec<&Served> = service.gateways.iter().filter_map(|name| served.get(name.as_str())).collect();
        report_hosts(service, &gateways, findings);
        report_unasked(service, &gateways, findings);
    }
}

fn report_hosts(service: &VirtualService, gateways: &[&Served], findings: &mut Findings) {
    let spec = Place::root(&service.key, "spec");
    let namespace = &service.key.namespace;
    for (index, host) in &service.hosts {
        if !gateways.iter().any(|served| served.all.meet(host, namespace)) {
            let message =
                format!("no server of its Gateways has `{host}` for VirtualServices of namespace {namespace}");
            let remedy = "add the host to a server, or correct it here";
            findings.warning(&spec.item("hosts", *index), "host-not-in-gateway", message, remedy);
        }
    }
}

/// Rules of a kind that the servers of these hosts never ask.
fn report_unasked(service: &VirtualService, gateways: &[&Served], findings: &mut Findings) {
    let namespace = &service.key.namespace;
    let met = |of: fn(&Served) -> &ServerHosts| {
        let served = |host| gateways.iter().any(|served| of(served).meet(host, namespace));
        service.hosts.iter().any(|(_, host)| served(host))
    };
    if !met(|served| &served.all) {
        return;
    }
    let spec = Place::root(&service.key, "spec");
    if !service.rules.is_empty() && !met(|served| &served.http) {
        let message = "the servers of these hosts see no requests, so that `http` routes are never asked";
        let remedy = "let the server decrypt (protocol HTTPS, mode SIMPLE or MUTUAL), or write `tls` or `tcp` routes";
        findings.warning(&spec.field("http"), "http-routes-without-http-server", message, remedy);
    }
    if !service.tls.is_empty() && !met(|served| &served.passthrough) {
        let at = spec.field("tls");
        if met(|served| &served.terminated) {
            let message = if service.rules.is_empty() && service.tcp.is_empty() {
                "the servers of these hosts decrypt, so that `tls` routes are never asked and nothing is served"
            } else {
                "the servers of these hosts decrypt, so that `tls` routes are never asked"
            };
            let remedy = "write `http` routes (`tcp` where the protocol is TLS), or set the mode to PASSTHROUGH";
            findings.warning(&at, "tls-routes-on-terminating-server", message, remedy);
        } else {
            let message = "no server of these hosts speaks TLS, so that `tls` routes are never asked";
            let remedy = "write routes of the server's kind, or add a TLS server of mode PASSTHROUGH";
            findings.warning(&at, "tls-routes-without-tls-server", message, remedy);
        }
    }
    if !service.tcp.is_empty() && !met(|served| &served.tcp) {
        let message = "the servers of these hosts do not forward plain bytes, so that `tcp` routes are never asked";
        let remedy = "write `http` or `tls` routes, or set the server's protocol to TCP, or to TLS with a certificate";
        findings.warning(&spec.field("tcp"), "tcp-routes-without-tcp-server", message, remedy);
    }
}
