//! Which addresses a cluster has, from Services and EndpointSlices. Endpoint churn ends here; no plugin sees it
//! (decision 7).

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::object::{Object, ObjectKey};
use crate::snapshot::Snapshot;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The EndpointSlices of a snapshot, by the Service that they belong to.
pub(super) struct EndpointIndex<'s> {
    snapshot: &'s Snapshot,
    slices: HashMap<(&'s str, &'s str), Vec<&'s Object>>,
}

#[derive(Deserialize)]
struct Service {
    #[serde(default)]
    spec: ServiceSpec,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ServiceSpec {
    ports: Vec<ServicePort>,
    #[serde(rename = "type")]
    type_name: Option<String>,
}

#[derive(Deserialize)]
struct ServicePort {
    #[serde(default)]
    name: Option<String>,
    port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointSlice {
    #[serde(default)]
    endpoints: Option<Vec<SliceEndpoint>>,
    #[serde(default)]
    ports: Option<Vec<SlicePort>>,
}

#[derive(Deserialize)]
struct SliceEndpoint {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Deserialize, Default)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Deserialize)]
struct SlicePort {
    #[serde(default)]
    name: Option<String>,
    port: Option<u16>,
}

impl<'s> EndpointIndex<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        let mut slices: HashMap<(&str, &str), Vec<&Object>> = HashMap::new();
        for slice in snapshot.of_kind("discovery.k8s.io", "EndpointSlice") {
            if let Some(service) = slice.label(SERVICE_NAME) {
                slices.entry((&slice.key.namespace, service)).or_default().push(slice);
            }
        }
        Self { snapshot, slices }
    }

    /// The ready endpoints of a Service's port, in order of their addresses.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    pub(super) fn service(&self, namespace: &str, name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        let object = self.snapshot.objects.get(&ObjectKey::core("Service", namespace, name));
        let object = object.ok_or_else(|| format!("there is no Service {namespace}/{name}"))?;
        let service = Service::deserialize(&*object.value()).map_err(|e| format!("Service {namespace}/{name}: {e}"))?;
        if service.spec.type_name.as_deref() == Some("ExternalName") {
            return Err(format!("Service {namespace}/{name} is of type ExternalName, which is not followed"));
        }
        let named = service.spec.ports.iter().find(|candidate| candidate.port == port);
        let port_name = named.ok_or_else(|| format!("Service {namespace}/{name} has no port {port}"))?.name.as_deref();
        let slices = self.slices.get(&(namespace, name)).map(Vec::as_slice).unwrap_or_default();
        if slices.is_empty() {
            return Err(format!("no EndpointSlice has the label {SERVICE_NAME}: {name} in namespace {namespace}"));
        }
        let mut addresses = BTreeSet::new();
        let mut wrong = None;
        for object in slices {
            match EndpointSlice::deserialize(&*object.value()) {
                Ok(slice) => collect(&slice, port_name.unwrap_or_default(), &mut addresses),
                Err(error) => wrong = Some(format!("{}: {error}", object.key)),
            }
        }
        match wrong {
            _ if !addresses.is_empty() => Ok(addresses.into_iter().collect()),
            Some(wrong) => Err(wrong),
            None => Err(why_none(slices, port, port_name)),
        }
    }
}

/// What each slice lacks.
fn why_none(slices: &[&Object], port: u16, port_name: Option<&str>) -> String {
    let named = |name: Option<&str>| match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("`{name}`"),
        None => "without a name".to_owned(),
    };
    let lacks = |object: &&Object| {
        let slice = EndpointSlice::deserialize(&*object.value()).ok()?;
        let ports: Vec<Option<&str>> = slice.ports.iter().flatten().map(|port| port.name.as_deref()).collect();
        let endpoints = slice.endpoints.iter().flatten().count();
        let fits = ports.iter().any(|name| name.unwrap_or_default() == port_name.unwrap_or_default());
        let why = match (endpoints, fits) {
            (0, _) => "has no endpoint".to_owned(),
            (_, true) => format!("has {endpoints} of them, none ready"),
            (_, false) if ports.is_empty() => "has no port".to_owned(),
            (_, false) => {
                let ports: Vec<String> = ports.into_iter().map(named).collect();
                format!(
                    "has its port {}, while port {port} of the Service is {}",
                    ports.join(" and "),
                    named(port_name)
                )
            }
        };
        Some(format!("{} {why}", object.key))
    };
    slices.iter().filter_map(lacks).collect::<Vec<_>>().join("; ")
}

/// Ports of a slice are matched by the name that the Service gives its port.
fn collect(slice: &EndpointSlice, port_name: &str, addresses: &mut BTreeSet<SocketAddr>) {
    let ports = slice.ports.iter().flatten().filter(|port| port.name.as_deref().unwrap_or_default() == port_name);
    for port in ports.filter_map(|port| port.port) {
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| endpoint.conditions.ready != Some(false)) {
            let parsed = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
            addresses.extend(parsed.map(|address| SocketAddr::new(address, port)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn snapshot(objects: &[(&str, Value)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (group, value) in objects {
            let key = ObjectKey {
                group: (*group).to_owned(),
                kind: value["kind"].as_str().unwrap().to_owned(),
                namespace: "default".to_owned(),
                name: value["metadata"]["name"].as_str().unwrap().to_owned(),
            };
            let object = Object::new(key.clone(), "v1".to_owned(), "test".into(), value.clone());
            snapshot.objects.insert(key, object);
        }
        snapshot
    }

    #[test]
    fn ports_are_matched_by_name_and_unready_endpoints_left_out() {
        let service = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [
            {"name": "http", "port": 80}, {"name": "admin", "port": 81}]}});
        let slice = json!({"kind": "EndpointSlice", "metadata": {"name": "a-1", "labels": {SERVICE_NAME: "a"}},
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                          {"addresses": ["::1"], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}]});
        let snapshot = snapshot(&[("", service), ("discovery.k8s.io", slice)]);
        let index = EndpointIndex::new(&snapshot);
        let expected: Vec<SocketAddr> = vec!["10.0.0.1:8080".parse().unwrap(), "[::1]:8080".parse().unwrap()];
        assert_eq!(index.service("default", "a", 80), Ok(expected));
        assert!(index.service("default", "a", 82).unwrap_err().contains("no port 82"));
        assert!(index.service("default", "b", 80).unwrap_err().contains("no Service default/b"));
    }

    #[test]
    fn what_a_slice_lacks_is_told() {
        let service = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [
            {"name": "http", "port": 80}]}});
        let of = |endpoints: Value, port: &str| {
            let slice = json!({"kind": "EndpointSlice", "metadata": {"name": "a-1", "labels": {SERVICE_NAME: "a"}},
                "endpoints": endpoints, "ports": [{"name": port, "port": 8080}]});
            let snapshot = snapshot(&[("", service.clone()), ("discovery.k8s.io", slice)]);
            EndpointIndex::new(&snapshot).service("default", "a", 80).unwrap_err()
        };
        let slice = "EndpointSlice/default/a-1";
        assert_eq!(of(json!([]), "http"), format!("{slice} has no endpoint"));
        let unready = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]);
        assert_eq!(of(unready, "http"), format!("{slice} has 1 of them, none ready"));
        let other = format!("{slice} has its port `web`, while port 80 of the Service is `http`");
        assert_eq!(of(json!([{"addresses": ["10.0.0.1"]}]), "web"), other);
    }

    #[test]
    fn a_service_without_slices_says_so() {
        let service = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
        let snapshot = snapshot(&[("", service)]);
        assert!(EndpointIndex::new(&snapshot).service("default", "a", 80).unwrap_err().contains(SERVICE_NAME));
    }
}
