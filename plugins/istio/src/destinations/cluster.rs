//! The cluster of a port: its endpoints, or those of a subset, and how they are treated.

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::{Cluster, Endpoint, Endpoints, Label, ServicePort, UpstreamProtocol};

use super::{Backing, Members, Port, Speaks};
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
        let field = port.map_or_else(String::new, |port| port.field.clone());
        let mut cluster = Cluster::new(name, self.object.at(field), self.endpoints(wanted, port));
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
            Members::Fixed(members) => Endpoints::Fixed(endpoints(members, wanted, port)),
            Members::Dns(members) => Endpoints::Dns(endpoints(members, wanted, port)),
            _ => {
                let ObjectKey { namespace, name, .. } = self.object.clone();
                Endpoints::Service(ServicePort { namespace, name, port: wanted.port, labels: wanted.labels.to_vec() })
            }
        }
    }
}

fn endpoints(members: &[WorkloadEntry], wanted: &Wanted<'_>, port: Option<&Port>) -> Vec<Endpoint> {
    members
        .iter()
        .filter(|member| has(member, wanted.labels))
        .map(|member| {
            let named = port.and_then(|port| member.ports.get(&port.name)).and_then(|number| port_number(*number));
            Endpoint {
                address: member.address.clone(),
                port: named.or_else(|| port.map(|port| port.target)).unwrap_or(wanted.port),
                weight: u32::try_from(member.weight).ok().filter(|weight| *weight > 0).unwrap_or(1),
                labels: member.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            }
        })
        .collect()
}

/// Whether an endpoint has all these labels.
pub(super) fn has(member: &WorkloadEntry, labels: &[Label]) -> bool {
    labels.iter().all(|(name, value)| member.labels.get(name) == Some(value))
}
