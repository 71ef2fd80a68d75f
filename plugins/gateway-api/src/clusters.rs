//! The clusters of the translation: one for each port of a Service and each way in which it is spoken to, and one more for
//! each Gateway that shows it a client certificate.

use std::rc::Rc;

use sekisho_sdk::Map;
use sekisho_sdk::model::{Cluster, Source, UpstreamTls};

use crate::backends::Backend;
use crate::gateways::Gateway;
use crate::policies::Policies;

/// The clusters that rules led to so far.
pub(crate) struct Clusters<'p> {
    gateways: &'p [Gateway],
    policies: &'p Policies,
    /// The translation's, which policies add to.
    pub(crate) sources: Vec<Source>,
    pub(crate) list: sekisho_sdk::Clusters,
    /// The policies that are about a cluster's port, by cluster.
    pub(crate) concerns: Map<u32, Vec<usize>>,
    /// Where the authorities of a policy are among the sources, by policy, once a cluster needs them.
    pub(crate) trust: Map<usize, Vec<u32>>,
}

impl<'p> Clusters<'p> {
    pub(crate) fn new(gateways: &'p [Gateway], policies: &'p Policies, sources: Vec<Source>) -> Self {
        let (list, concerns, trust) = Default::default();
        Self { gateways, policies, sources, list, concerns, trust }
    }

    /// The cluster of a backend.
    pub(crate) fn of(&mut self, backend: &Backend) -> u32 {
        if let Some(known) = self.list.find(&backend.cluster.name) {
            return known;
        }
        let index = match backend.followed {
            None => self.list.add(Rc::clone(&backend.cluster)),
            Some(policy) => {
                let (policies, sources) = (self.policies, &mut self.sources);
                let trust = self.trust.entry(policy).or_insert_with(|| policies.emit(policy, sources));
                let tls = Some(policies.tls(policy, trust.clone()));
                self.list.add(Cluster { tls, ..Cluster::clone(&backend.cluster) })
            }
        };
        if !backend.policies.is_empty() {
            self.concerns.insert(index, backend.policies.clone());
        }
        index
    }

    /// The Gateway of this index, if one of these clusters has to be reached in a way of its own from there.
    pub(crate) fn showing(&self, gateway: usize, clusters: &[u32]) -> Option<usize> {
        self.gateways[gateway].client_certificate.as_ref()?;
        clusters.iter().any(|cluster| self.list[*cluster].tls.is_some()).then_some(gateway)
    }

    /// The cluster as the Gateway reaches it that has a client certificate to show there.
    pub(crate) fn through(&mut self, cluster: u32, gateway: usize) -> u32 {
        let Gateway { key, client_certificate, .. } = &self.gateways[gateway];
        let Cluster { name, tls: Some(tls), .. } = &self.list[cluster] else { return cluster };
        let credential = client_certificate.as_ref().and_then(|certificate| certificate.emitted);
        let name = format!("{name} for {}/{}", key.namespace, key.name);
        if let Some(known) = self.list.find(&name) {
            return known;
        }
        let tls = UpstreamTls { credential, ..tls.clone() };
        let shown = Cluster { name, tls: Some(tls), ..self.list[cluster].clone() };
        let index = self.list.add(shown);
        if let Some(policies) = self.concerns.get(&cluster).cloned() {
            self.concerns.insert(index, policies);
        }
        index
    }
}
