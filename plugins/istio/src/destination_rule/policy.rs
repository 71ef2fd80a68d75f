//! `trafficPolicy`: that of a host, of its subsets, and of single ports of either.

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::{Balance, Outlier};

use super::pool::Pool;
use super::refusal::Refusal;
use super::tls::Transport;
use super::{balance, outlier, pool, tls};
use crate::findings::{Findings, Place};
use crate::names::port_number;
use crate::objects::destination_rule::{
    ClientTls, ConnectionPool, LoadBalancer, OutlierDetection, PortTrafficPolicy, ProxyProtocol, TrafficPolicy, Tunnel,
};

/// A policy, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    all: Settings,
    ports: Vec<(u16, Settings)>,
}

/// How a destination is treated; what nobody speaks of is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) balance: Option<Result<Balance, Box<Refusal>>>,
    pub(crate) pool: Option<Pool>,
    pub(crate) outlier: Option<Outlier>,
    pub(crate) transport: Option<Result<Transport, Box<Refusal>>>,
    pub(crate) proxy_protocol: Option<u8>,
    pub(crate) tunnel: Option<Box<Refusal>>,
}

/// Whose policies are read: the rule, and the namespace that secrets are in.
#[derive(Clone, Copy)]
pub(super) struct Owner<'o> {
    pub(super) key: &'o ObjectKey,
    pub(super) gateway_namespace: &'o str,
}

pub(super) fn read(said: &TrafficPolicy, owner: Owner<'_>, at: &Place<'_>, findings: &mut Findings) -> Policy {
    let sections = [
        said.load_balancer.is_some(),
        said.connection_pool.is_some(),
        said.outlier_detection.is_some(),
        said.tls.is_some(),
        !said.port_level_settings.is_empty(),
        said.tunnel.is_some(),
        said.proxy_protocol.is_some(),
        said.retry_budget.is_some(),
    ];
    if !sections.contains(&true) {
        findings.error(at, "missing-field", "the policy says nothing", "write one of its fields, or remove it");
    }
    if said.retry_budget.is_some() {
        let message = "how many retries there may be at a time is the gateway's own decision";
        let remedy = "write `connectionPool.http.maxRetries`";
        findings.warning(&at.field("retryBudget"), "unsupported", message, remedy);
    }
    if said.tunnel.is_some() && said.proxy_protocol.is_some() {
        let message = "`tunnel` and `proxyProtocol` exclude each other";
        findings.error(at, "conflicting-fields", message, "keep one and remove the other");
    }
    let anywhere = Anywhere {
        load_balancer: said.load_balancer.as_ref(),
        connection_pool: said.connection_pool.as_ref(),
        outlier_detection: said.outlier_detection.as_ref(),
        tls: said.tls.as_ref(),
    };
    let all = Settings {
        proxy_protocol: said.proxy_protocol.as_ref().and_then(|said| proxy_protocol(said, at, findings)),
        tunnel: said.tunnel.as_ref().map(|said| tunnel(said, &at.field("tunnel"), findings)),
        ..anywhere.read(owner, at, findings)
    };
    let mut ports: Vec<(u16, Settings)> = Vec::with_capacity(said.port_level_settings.len());
    for (index, said) in said.port_level_settings.iter().enumerate() {
        let at = at.item("portLevelSettings", index);
        let Some(port) = port(said, &at, findings) else { continue };
        if ports.iter().any(|(known, _)| *known == port) {
            let message = format!("port {port} stands further up, so that this has no effect");
            findings.warning(&at, "no-effect", message, "remove one");
            continue;
        }
        ports.push((port, of_port(said, owner, &at, findings)));
    }
    report_lost(&all, !ports.is_empty(), at, findings);
    Policy { all, ports }
}

/// What may be said of all ports or of one.
struct Anywhere<'s> {
    load_balancer: Option<&'s LoadBalancer>,
    connection_pool: Option<&'s ConnectionPool>,
    outlier_detection: Option<&'s OutlierDetection>,
    tls: Option<&'s ClientTls>,
}

impl Anywhere<'_> {
    fn read(self, owner: Owner<'_>, at: &Place<'_>, findings: &mut Findings) -> Settings {
        let (namespace, gateway) = (&owner.key.namespace, owner.gateway_namespace);
        Settings {
            balance: self.load_balancer.map(|said| balance::read(said, &at.field("loadBalancer"), findings)),
            pool: self.connection_pool.map(|said| pool::read(said, &at.field("connectionPool"), findings)),
            outlier: self.outlier_detection.map(|said| outlier::read(said, &at.field("outlierDetection"), findings)),
            transport: self.tls.map(|said| tls::read(said, namespace, gateway, &at.field("tls"), findings)),
            ..Settings::default()
        }
    }
}

fn port(said: &PortTrafficPolicy, at: &Place<'_>, findings: &mut Findings) -> Option<u16> {
    let Some(port) = &said.port else {
        findings.error(at, "missing-field", "the settings are for no port", "write `port: { number: … }`");
        return None;
    };
    let number = port_number(port.number);
    if number.is_none() {
        let message = format!("{} is not a port", port.number);
        findings.error(&at.field("port"), "invalid-value", message, "write a number from 1 to 65535");
    }
    number
}

fn of_port(said: &PortTrafficPolicy, owner: Owner<'_>, at: &Place<'_>, findings: &mut Findings) -> Settings {
    let anywhere = Anywhere {
        load_balancer: said.load_balancer.as_ref(),
        connection_pool: said.connection_pool.as_ref(),
        outlier_detection: said.outlier_detection.as_ref(),
        tls: said.tls.as_ref(),
    };
    let settings = anywhere.read(owner, at, findings);
    let Settings { balance, pool, outlier, transport, .. } = &settings;
    if balance.is_none() && pool.is_none() && outlier.is_none() && transport.is_none() {
        findings.error(at, "missing-field", "the settings of the port say nothing", "write one of their fields");
    }
    settings
}

fn proxy_protocol(said: &ProxyProtocol, at: &Place<'_>, findings: &mut Findings) -> Option<u8> {
    match said.version.as_str() {
        "" | "V1" => Some(1),
        "V2" => Some(2),
        other => {
            let message = format!("`{other}` is not a version of the PROXY protocol; it is not spoken");
            let at = at.field("proxyProtocol");
            findings.error(&at.field("version"), "invalid-value", message, "write V1 or V2");
            None
        }
    }
}

fn tunnel(said: &Tunnel, at: &Place<'_>, findings: &mut Findings) -> Box<Refusal> {
    if !matches!(said.protocol.as_str(), "" | "CONNECT" | "POST") {
        let message = format!("`{}` is not a tunnel's protocol", said.protocol);
        findings.error(&at.field("protocol"), "invalid-value", message, "write CONNECT or POST");
    }
    if said.target_host.is_empty() {
        findings.error(&at.field("targetHost"), "missing-field", "the tunnel leads to no host", "name one");
    }
    if port_number(said.target_port).is_none() {
        let message = format!("{} is not a port", said.target_port);
        findings.error(&at.field("targetPort"), "invalid-value", message, "write a number from 1 to 65535");
    }
    Refusal::unsupported(at, "tunnels through another proxy are not served", "remove the field")
}

/// Settings of a port replace all others, these too, which a port cannot have.
fn report_lost(all: &Settings, ports: bool, at: &Place<'_>, findings: &mut Findings) {
    let lost = [(all.proxy_protocol.is_some(), "proxyProtocol"), (all.tunnel.is_some(), "tunnel")];
    for (_, field) in lost.iter().filter(|(given, _)| ports && *given) {
        let message = "ports with settings of their own do without it, as in Istio";
        findings.warning(&at.field(field), "no-effect", message, "remove `portLevelSettings`");
    }
}

impl Policy {
    /// The settings for a port, and whether they are its own: these replace the others, also where they say nothing.
    fn at(&self, port: u16) -> (&Settings, bool) {
        match self.ports.iter().find(|(known, _)| *known == port) {
            Some((_, settings)) => (settings, true),
            None => (&self.all, false),
        }
    }
}

/// How a port of a host is treated, or of a subset of it, whose own policy goes before the host's.
pub(super) fn settings(of_host: Option<&Policy>, of_subset: Option<&Policy>, port: u16) -> Settings {
    let host = of_host.map(|policy| policy.at(port).0);
    let Some((subset, own)) = of_subset.map(|policy| policy.at(port)) else {
        return host.cloned().unwrap_or_default();
    };
    let Some(host) = host else { return subset.clone() };
    let mut settings = host.clone();
    if own || subset.balance.is_some() {
        settings.balance.clone_from(&subset.balance);
    }
    if own || subset.pool.is_some() {
        settings.pool.clone_from(&subset.pool);
    }
    if own || subset.outlier.is_some() {
        settings.outlier = subset.outlier;
    }
    if own || subset.transport.is_some() {
        settings.transport.clone_from(&subset.transport);
    }
    if subset.proxy_protocol.is_some() {
        settings.proxy_protocol = subset.proxy_protocol;
    }
    if subset.tunnel.is_some() {
        settings.tunnel.clone_from(&subset.tunnel);
    }
    settings
}
