//! What VirtualServices say to sidecars alone, where a reader may think that it counts here too: a finding only.

use std::collections::HashMap;

use sekisho_sdk::ObjectKey;

use crate::findings::{Findings, Place};
use crate::names::{MESH, full_host};
use crate::objects::virtual_service::VirtualServiceSpec;

/// Hosts whose sidecars choose a subset, and rules of ours that lead to hosts without naming one.
#[derive(Default)]
pub(super) struct Sidecars {
    /// The first VirtualService that chooses, by the host that it is for.
    choosers: HashMap<String, ObjectKey>,
    plain: Vec<Plain>,
}

/// A destination of a rule that is served here.
struct Plain {
    object: ObjectKey,
    rule: usize,
    share: usize,
    host: String,
}

impl Sidecars {
    /// Takes what a VirtualService says to sidecars.
    pub(super) fn hear(&mut self, key: &ObjectKey, spec: &VirtualServiceSpec, domain: &str) {
        let to_sidecars = spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == MESH);
        let mut destinations = spec.http.iter().flat_map(|rule| &rule.route).filter_map(|to| to.destination.as_ref());
        if !to_sidecars || !destinations.any(|destination| !destination.subset.is_empty()) {
            return;
        }
        for host in &spec.hosts {
            self.choosers.entry(full_host(host, &key.namespace, domain)).or_insert_with(|| key.clone());
        }
    }

    /// Takes where the rules of one that is served here lead.
    pub(super) fn serve(&mut self, key: &ObjectKey, spec: &VirtualServiceSpec, domain: &str) {
        for (rule, said) in spec.http.iter().enumerate() {
            for (share, to) in said.route.iter().enumerate() {
                let plain = to.destination.as_ref().filter(|destination| destination.subset.is_empty());
                self.plain.extend(plain.map(|destination| {
                    let host = full_host(&destination.host, &key.namespace, domain);
                    Plain { object: key.clone(), rule, share, host }
                }));
            }
        }
    }

    /// Says whose choice of a subset does not count for requests that come through the gateway.
    pub(super) fn report(&self, findings: &mut Findings) {
        for Plain { object, rule, share, host } in &self.plain {
            let Some(chooser) = self.choosers.get(host).filter(|chooser| *chooser != object) else { continue };
            let spec = Place::root(object, "spec");
            let rule = spec.item("http", *rule);
            let share = rule.item("route", *share);
            let ObjectKey { namespace, name, .. } = chooser;
            let message = format!(
                "VirtualService {namespace}/{name} chooses a subset of `{host}` for sidecars alone; requests from here \
                 go to all of it"
            );
            let remedy = "name the subset here too, or write one VirtualService and delegate to it";
            findings.warning(&share.field("destination"), "sidecar-routes", message, remedy);
        }
    }
}
