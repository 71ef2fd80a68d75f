//! The cluster of a port: its endpoints, or those of a subset, and how they are treated.

use std::collections::HashSet;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::{Cluster, Endpoint, Endpoints, Label, ServicePort, UpstreamProtocol};

use super::{Backing, Group, Members, Port, Speaks};
use crate::destination_rule::{Settings, Transport};
use crate::findings::Findings;
use crate::names::port_number;
use crate::objects::WorkloadEntry;
use crate::sources::Sources;

/// Which endpoints of a destination.
pub(super) struct Wanted<'w> {
    pub(super) port: u16,
    /// Empty for all.
    pub(super) subset: &'w str,
    pub(super) labels: &'w [Label],
}

impl Backing {
    /// None where the settings ask for what cannot be done; the finding about that stands where they are written.
    pub(super) fn cluster(
        &self,
        wanted: &Wanted<'_>,
        settings: Settings,
        sources: &mut Sources,
        findings: &mut Findings,
    ) -> Option<Cluster> {
        let Settings { balance, pool, outlier, transport, proxy_protocol, tunnel } = settings;
        if let Some(refusal) = tunnel {
            refusal.say(findings);
            return None;
        }
        let balance = balance.transpose().map_err(|refusal| refusal.say(findings)).ok()?;
        let transport = transport.transpose().map_err(|refusal| refusal.say(findings)).ok()?;
        let Wanted { port: number, subset, .. } = wanted;
        let port = self.ports.iter().find(|port| port.number == *number);
        let speaks = port.map_or(Speaks::Http1, |port| port.speaks);
        let name = if subset.is_empty() {
            format!("{}:{number}", self.name)
        } else {
            format!("{}:{number}/{subset}", self.name)
        };
        let origin = port.map_or_else(|| self.object.at(""), |port| port.origin.clone());
        let mut cluster = Cluster::new(name, origin, self.endpoints(wanted, port));
        if let Some(Transport::Tls(tls)) = transport {
            cluster.tls = Some(tls.towards(&self.host, &self.names, sources, findings));
        }
        if speaks == Speaks::Http2 {
            cluster.protocol = UpstreamProtocol::Http2;
        }
        if let Some(pool) = pool {
            cluster.protocol = pool.protocol.unwrap_or(cluster.protocol);
            cluster.limits = pool.limits;
            cluster.connect_timeout = pool.connect_timeout;
            cluster.idle_timeout = pool.idle_timeout;
        }
        if let Some(balance) = balance {
            cluster.balance = balance;
        }
        cluster.outlier = outlier;
        cluster.proxy_protocol = proxy_protocol;
        Some(cluster)
    }

    fn endpoints(&self, wanted: &Wanted<'_>, port: Option<&Port>) -> Endpoints {
        match &self.members {
            Members::Fixed(groups) => Endpoints::Fixed(endpoints(groups, wanted, port)),
            Members::Dns(groups) => Endpoints::Dns(endpoints(groups, wanted, port)),
            _ => {
                let ObjectKey { namespace, name, .. } = self.object.clone();
                Endpoints::Service(ServicePort { namespace, name, port: wanted.port, labels: wanted.labels.to_vec() })
            }
        }
    }
}

/// Those of every ServiceEntry that has a port of that name, each once.
fn endpoints(groups: &[Group], wanted: &Wanted<'_>, port: Option<&Port>) -> Vec<Endpoint> {
    let own = |group| Some((group, own_port(group, port?)?));
    let all = groups.iter().filter_map(own).flat_map(|(group, port)| {
        let members = group.endpoints.iter().filter(|member| has(member, wanted.labels));
        members.map(|member| endpoint(member, port))
    });
    let mut known = HashSet::new();
    all.filter(|endpoint| known.insert((endpoint.address.clone(), endpoint.port))).collect()
}

/// What stands for a port of the host in one of its ServiceEntries.
fn own_port<'g>(group: &'g Group, port: &Port) -> Option<&'g Port> {
    let mut named = group.ports.iter().filter(|own| own.name == port.name);
    named.clone().find(|own| own.number == port.number).or_else(|| named.next())
}

fn endpoint(member: &WorkloadEntry, port: &Port) -> Endpoint {
    Endpoint {
        address: member.address.clone(),
        port: member.ports.get(&port.name).and_then(|number| port_number(*number)).unwrap_or(port.target),
        weight: u32::try_from(member.weight).ok().filter(|weight| *weight > 0).unwrap_or(1),
        labels: member.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
    }
}

/// Whether an endpoint has all these labels.
pub(super) fn has(member: &WorkloadEntry, labels: &[Label]) -> bool {
    labels.iter().all(|(name, value)| member.labels.get(name) == Some(value))
}
