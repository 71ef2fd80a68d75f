//! The objects sorted into what each room needs. Routes stay as they came and are read one at a time: what was read of ten
//! thousand of them is held only as far as the SDK remembers it for the next translation.

use std::collections::BTreeMap;
use std::rc::Rc;

use sekisho_sdk::objects::{read, read_part};
use sekisho_sdk::{Finding, Map, Object, Services, Severity, Typed};
use serde::de::DeserializeOwned;

use crate::grants::Grants;
use crate::kinds::RouteKind;
use crate::objects::{GROUP, Namespace, ReferenceGrantSpec};

/// All objects of one translation.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) classes: Vec<Object>,
    pub(crate) gateways: Vec<Object>,
    pub(crate) listener_sets: Vec<Object>,
    pub(crate) routes: Vec<(RouteKind, Object)>,
    pub(crate) policies: Vec<Object>,
    pub(crate) grants: Grants,
    pub(crate) services: Services,
    pub(crate) namespaces: Namespaces,
    /// All of them but routes and Services.
    pub(crate) besides: Vec<Object>,
}

/// Labels of Namespaces by name.
#[derive(Default)]
pub(crate) struct Namespaces(Map<String, Rc<Namespace>>);

impl Snapshot {
    pub(crate) fn read(objects: Vec<Object>, findings: &mut Vec<Finding>) -> Self {
        let mut snapshot = Self::default();
        for object in objects {
            if let Some(kind) = RouteKind::of(&object.key.group, &object.key.kind) {
                snapshot.routes.push((kind, object));
                continue;
            }
            if !object.key.is("", "Service") {
                snapshot.besides.push(object.clone());
            }
            match (object.key.group.as_str(), object.key.kind.as_str()) {
                (GROUP, "GatewayClass") => snapshot.classes.push(object),
                (GROUP, "Gateway") => snapshot.gateways.push(object),
                (GROUP, "ListenerSet") => snapshot.listener_sets.push(object),
                (GROUP, "BackendTLSPolicy") => snapshot.policies.push(object),
                (GROUP, "ReferenceGrant") => {
                    if let Some(grant) = read::<Typed<ReferenceGrantSpec>>(&object, findings) {
                        snapshot.grants.add(&object.key.namespace, &grant.spec);
                    }
                }
                ("", "Service") => {
                    if let Some(service) = read_part(&object, findings) {
                        snapshot.services.insert(&object.key, service);
                    }
                }
                ("", "Namespace") => {
                    if let Some(namespace) = read_part(&object, findings) {
                        snapshot.namespaces.0.insert(object.key.name.clone(), namespace);
                    }
                }
                _ => {}
            }
        }
        // The order of arrival must not show in names and indices.
        snapshot.classes.sort_by(|a, b| a.key.cmp(&b.key));
        snapshot.gateways.sort_by(|a, b| a.key.cmp(&b.key));
        snapshot.routes.sort_by(|(a_kind, a), (b_kind, b)| (a_kind, &a.key).cmp(&(b_kind, &b.key)));
        snapshot.policies.sort_by(|a, b| a.key.cmp(&b.key));
        snapshot
    }
}

impl Namespaces {
    /// None when there is no such Namespace.
    pub(crate) fn labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        Some(&self.0.get(name)?.metadata.labels)
    }
}

/// Reads an object of which it is not known yet whether it is ours: what only warns is kept apart until then.
pub(crate) fn read_apart<T: DeserializeOwned + 'static>(
    object: &Object,
    findings: &mut Vec<Finding>,
) -> Option<(Rc<T>, Vec<Finding>)> {
    let mut apart = Vec::new();
    let value = read(object, &mut apart);
    match value {
        Some(value) => Some((value, apart)),
        None => {
            findings.extend(apart.into_iter().filter(|finding| finding.severity == Severity::Error));
            None
        }
    }
}
