//! What is kept in the cluster for addresses of this gateway: a Service without a selector, and EndpointSlices with what
//! stands behind it. Here is what they should be, and what has to be written so that they are; `keeper` writes it.
//!
//! Ours is what carries our label, and nothing else is touched. Of what is ours, others may add labels and annotations of
//! their own: an annotation says which are ours to take back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::status::patch;
use crate::object::{Object, ObjectKey};

/// Who keeps an object. Of all labels it is the one that people look at.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The same for controllers that look after EndpointSlices, so that each leaves the others' alone.
const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Whose endpoints an EndpointSlice has.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The names of labels and annotations that came from the owner.
const PROPAGATED: &str = "sekisho.dev/propagated";
/// The most that the value of a label may have, in bytes.
const MOST_LABEL: usize = 63;

/// All that is to be kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fronts {
    /// Each.
    pub list: Vec<Front>,
    /// These are all: others of ours are to be deleted.
    pub all: bool,
}

/// A Service in front of addresses of this gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// For whom it is kept, in whose namespace.
    pub owner: Owner,
    /// Its name: a label of DNS.
    pub name: String,
    /// Labels that the owner asks for.
    pub labels: BTreeMap<String, String>,
    /// Annotations that the owner asks for.
    pub annotations: BTreeMap<String, String>,
    /// By the port that clients name.
    pub ports: BTreeMap<u16, Port>,
    /// Where clients are led, each with the ports that are bound there, as clients name them; there may be none for the
    /// moment. Only such as [`may_be_endpoint`].
    pub addresses: BTreeMap<IpAddr, BTreeSet<u16>>,
}

/// The object that something is kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub key: ObjectKey,
    /// The version of its API that it was read in.
    pub version: String,
    /// What tells it from others that were called so.
    pub uid: String,
}

/// A port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The one that is bound.
    pub bound: u16,
    /// What is spoken there, where it is one of what the API has names for.
    pub speaks: Option<&'static str>,
}

/// The label that tells what a controller keeps from what others do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark(String);

/// An object as it should be.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) key: ObjectKey,
    wanted: Value,
}

/// Whether the API lets an EndpointSlice have an address: pods of other nodes could not reach the rest.
#[must_use]
pub fn may_be_endpoint(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
}

/// The Service that is kept under a name.
#[must_use]
pub fn service_key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::core("Service", namespace, name)
}

/// The first EndpointSlice of each family that is kept for a Service.
#[must_use]
pub fn slice_keys(service: &ObjectKey) -> [ObjectKey; 2] {
    [Family::V4, Family::V6].map(|family| slice_key(service, family, 1))
}

impl Mark {
    /// That of the controller of this name, made what the value of a label may be.
    #[must_use]
    pub fn of(controller: &str) -> Self {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let ends = |end: Option<char>| end.is_some_and(|c| c.is_ascii_alphanumeric());
        // Such a name has one slash, and before it is a host name.
        let label = controller.replacen('/', "_", 1);
        let (first, last) = (label.chars().next(), label.chars().last());
        if label.len() <= MOST_LABEL && label.chars().all(legal) && ends(first) && ends(last) {
            return Self(label);
        }
        let hash: String = Sha256::digest(controller).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("sekisho-{hash}"))
    }

    /// Whether it is on an object.
    #[must_use]
    pub fn is_on(&self, object: &Object) -> bool {
        object.label(MANAGED_BY) == Some(self.0.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As the API calls it.
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

fn slice_key(service: &ObjectKey, family: Family, nth: usize) -> ObjectKey {
    let end = if nth == 1 { String::new() } else { format!("-{nth}") };
    ObjectKey {
        group: "discovery.k8s.io".to_owned(),
        kind: "EndpointSlice".to_owned(),
        namespace: service.namespace.clone(),
        name: format!("{}-{}{end}", service.name, family.name().to_lowercase()),
    }
}

/// So that a change of what is spoken there does not part the Service from its endpoints for a moment.
fn port_name(port: u16) -> String {
    format!("port-{port}")
}

impl Front {
    /// The Service, and behind it its EndpointSlices: one for each family, and more where addresses have not all of the
    /// ports.
    pub(super) fn kept(&self, mark: &Mark) -> (Kept, Vec<Kept>) {
        let key = service_key(&self.owner.key.namespace, &self.name);
        let mut labels = self.labels.clone();
        labels.insert(MANAGED_BY.to_owned(), mark.0.clone());
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(&key, &labels),
            "spec": self.spec(),
        });
        labels.insert(SLICE_MANAGED_BY.to_owned(), mark.0.clone());
        labels.insert(SERVICE_NAME.to_owned(), self.name.clone());
        let mut slices = Vec::new();
        let mut of_family: BTreeMap<Family, usize> = BTreeMap::new();
        for ((family, ports), addresses) in self.alike() {
            let nth = of_family.entry(family).or_default();
            *nth += 1;
            let key = slice_key(&key, family, *nth);
            let endpoints: Vec<Value> = addresses
                .iter()
                .map(|ip| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}}))
                .collect();
            let wanted = json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": self.metadata(&key, &labels),
                "addressType": family.name(),
                "endpoints": endpoints,
                "ports": ports.iter().filter_map(|port| self.endpoint_port(*port)).collect::<Vec<_>>(),
            });
            slices.push(Kept { key, wanted });
        }
        (Kept { key, wanted: service }, slices)
    }

    /// Addresses of one family that have the same ports.
    fn alike(&self) -> BTreeMap<(Family, &BTreeSet<u16>), Vec<IpAddr>> {
        let mut alike: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
        for (ip, ports) in self.addresses.iter().filter(|(_, ports)| !ports.is_empty()) {
            alike.entry((Family::of(*ip), ports)).or_default().push(*ip);
        }
        alike
    }

    fn metadata(&self, key: &ObjectKey, labels: &BTreeMap<String, String>) -> Value {
        let Owner { key: owner, version, uid } = &self.owner;
        let api_version = if owner.group.is_empty() { version.clone() } else { format!("{}/{version}", owner.group) };
        let mut annotations = self.annotations.clone();
        let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<Vec<_>>();
        let propagated = json!({"labels": names(&self.labels), "annotations": names(&self.annotations)});
        annotations.insert(PROPAGATED.to_owned(), propagated.to_string());
        json!({
            "name": key.name,
            "namespace": key.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [
                {"apiVersion": api_version, "kind": owner.kind, "name": owner.name, "uid": uid, "controller": true},
            ],
        })
    }

    /// The families are those of the addresses, bound or not, as another first one takes another Service. Where there are
    /// none, they are what they are.
    fn spec(&self) -> Value {
        let port = |(port, Port { bound, speaks }): (&u16, &Port)| {
            let mut said = json!({"name": port_name(*port), "port": port, "protocol": "TCP", "targetPort": bound});
            if let Some(speaks) = speaks {
                said["appProtocol"] = json!(speaks);
            }
            said
        };
        let ports: Vec<Value> = self.ports.iter().map(port).collect();
        let mut spec = json!({"type": "ClusterIP", "ports": ports, "selector": null});
        let families: BTreeSet<Family> = self.addresses.keys().map(|ip| Family::of(*ip)).collect();
        match families.iter().collect::<Vec<_>>().as_slice() {
            [] => {}
            [one] => {
                spec["ipFamilyPolicy"] = json!("SingleStack");
                spec["ipFamilies"] = json!([one.name()]);
            }
            // Where the cluster has but one of them, it is that one.
            _ => spec["ipFamilyPolicy"] = json!("PreferDualStack"),
        }
        spec
    }

    fn endpoint_port(&self, port: u16) -> Option<Value> {
        let Port { bound, speaks } = self.ports.get(&port)?;
        let mut said = json!({"name": port_name(port), "port": bound, "protocol": "TCP"});
        if let Some(speaks) = speaks {
            said["appProtocol"] = json!(speaks);
        }
        Some(said)
    }
}

impl Kept {
    /// The object where there was none.
    pub(super) fn anew(&self) -> Value {
        self.over(&json!({}))
    }

    /// As a merge patch: what has to be written so that an object of ours is this one; none if it is.
    pub(super) fn difference(&self, current: &Value) -> Option<Value> {
        patch(current, &self.over(current))
    }

    /// Whether no patch makes the one of the other: the first family of a Service stays what it is.
    pub(super) fn needs_another(&self, current: &Value) -> bool {
        let (Some(first), Some(wanted)) =
            (current["spec"]["ipFamilies"][0].as_str(), self.wanted["spec"]["ipFamilies"][0].as_str())
        else {
            return false;
        };
        first != wanted
    }

    /// Over what is there: others' labels, annotations and fields stay.
    fn over(&self, current: &Value) -> Value {
        let mut to = current.clone();
        let Some(wanted) = self.wanted.as_object() else { return to };
        let propagated = current["metadata"]["annotations"][PROPAGATED].as_str();
        let propagated: Value = propagated.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for (field, value) in wanted {
            match field.as_str() {
                "metadata" => {
                    for (field, value) in value.as_object().into_iter().flatten() {
                        if let "labels" | "annotations" = field.as_str() {
                            for name in propagated[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
                                take_out(&mut to["metadata"][field], name);
                            }
                            lay_over(&mut to["metadata"][field], value);
                        } else {
                            to["metadata"][field] = value.clone();
                        }
                    }
                }
                "spec" => lay_over(&mut to["spec"], value),
                _ => to[field] = value.clone(),
            }
        }
        to
    }
}

/// Field by field; null is none.
fn lay_over(to: &mut Value, fields: &Value) {
    if !to.is_object() {
        *to = Value::Object(Map::new());
    }
    for (field, value) in fields.as_object().into_iter().flatten() {
        if value.is_null() {
            take_out(to, field);
        } else {
            to[field] = value.clone();
        }
    }
}

fn take_out(from: &mut Value, field: &str) {
    if let Some(fields) = from.as_object_mut() {
        fields.remove(field);
    }
}

#[cfg(test)]
mod tests;
