//! Which addresses a cluster has, from Services and EndpointSlices. Endpoint churn ends here; no plugin sees it
//! (decision 7).

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use serde::Deserialize;

use crate::model::Label;
use crate::object::{Object, ObjectKey, POD};
use crate::snapshot::Snapshot;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The EndpointSlices of a snapshot, by the Service that they belong to.
pub(super) struct EndpointIndex<'s> {
    snapshot: &'s Snapshot,
    slices: HashMap<(&'s str, &'s str), Vec<&'s Object>>,
    /// The labels of pods that were asked for; none where there is no such pod.
    pods: RefCell<HashMap<ObjectKey, Option<Rc<PodLabels>>>>,
}

/// A pod's labels by name.
type PodLabels = HashMap<String, String>;

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
#[serde(rename_all = "camelCase")]
struct SliceEndpoint {
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    #[serde(default)]
    target_ref: Option<TargetRef>,
}

#[derive(Deserialize)]
struct TargetRef {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

/// Ready endpoints that are left out for want of labels.
#[derive(Default)]
struct LeftOut {
    without_pod: usize,
    /// Of pods that are not there.
    unknown: BTreeSet<String>,
    /// Of pods that are labelled otherwise.
    others: BTreeSet<String>,
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
        Self { snapshot, slices, pods: RefCell::default() }
    }

    /// The ready endpoints of a Service's port whose pods have all of these labels, in order of their addresses.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    pub(super) fn service(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
        labels: &[Label],
    ) -> Result<Vec<SocketAddr>, String> {
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
        let mut left_out = LeftOut::default();
        let mut fits = |endpoint: &SliceEndpoint| self.has_labels(endpoint, namespace, labels, &mut left_out);
        for object in slices {
            match EndpointSlice::deserialize(&*object.value()) {
                Ok(slice) => collect(&slice, port_name.unwrap_or_default(), &mut fits, &mut addresses),
                Err(error) => wrong = Some(format!("{}: {error}", object.key)),
            }
        }
        match wrong {
            _ if !addresses.is_empty() => Ok(addresses.into_iter().collect()),
            Some(wrong) => Err(wrong),
            None => Err(left_out.why(labels).unwrap_or_else(|| why_none(slices, port, port_name))),
        }
    }

    /// Whether the pod of a ready endpoint has all of these labels.
    fn has_labels(&self, endpoint: &SliceEndpoint, namespace: &str, labels: &[Label], left_out: &mut LeftOut) -> bool {
        if labels.is_empty() {
            return true;
        }
        let Some(pod) = endpoint.target_ref.as_ref().filter(|target| target.kind == POD.1) else {
            left_out.without_pod += 1;
            return false;
        };
        let namespace = if pod.namespace.is_empty() { namespace } else { &pod.namespace };
        let key = ObjectKey::core(POD.1, namespace, &pod.name);
        match self.labels(&key) {
            None => drop(left_out.unknown.insert(format!("{}/{}", key.namespace, key.name))),
            Some(has) if labels.iter().all(|(name, value)| has.get(name) == Some(value)) => return true,
            Some(_) => drop(left_out.others.insert(format!("{}/{}", key.namespace, key.name))),
        }
        false
    }

    fn labels(&self, pod: &ObjectKey) -> Option<Rc<PodLabels>> {
        if let Some(known) = self.pods.borrow().get(pod) {
            return known.clone();
        }
        let read = self.snapshot.objects.get(pod).map(|object| {
            let value = object.value();
            let labels = value["metadata"]["labels"].as_object().into_iter().flatten();
            Rc::new(labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
        });
        self.pods.borrow_mut().insert(pod.clone(), read.clone());
        read
    }
}

impl LeftOut {
    /// Why nobody is left, if it is for the labels.
    fn why(&self, labels: &[Label]) -> Option<String> {
        const SHOWN: usize = 3;
        let listed = |pods: &BTreeSet<String>| {
            let more = if pods.len() > SHOWN { " and others" } else { "" };
            format!("{}{more}", pods.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "))
        };
        let mut reasons = Vec::new();
        if !self.others.is_empty() {
            reasons.push(format!("other labels have {}", listed(&self.others)));
        }
        if !self.unknown.is_empty() {
            reasons.push(format!("no such Pod is there as {}", listed(&self.unknown)));
        }
        if self.without_pod > 0 {
            reasons.push(format!("{} ready endpoints name no Pod in their targetRef", self.without_pod));
        }
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!reasons.is_empty())
            .then(|| format!("no ready endpoint has a Pod labelled {}: {}", wanted.join(","), reasons.join("; ")))
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
fn collect(
    slice: &EndpointSlice,
    port_name: &str,
    fits: &mut impl FnMut(&SliceEndpoint) -> bool,
    addresses: &mut BTreeSet<SocketAddr>,
) {
    let ports = slice.ports.iter().flatten().filter(|port| port.name.as_deref().unwrap_or_default() == port_name);
    for port in ports.filter_map(|port| port.port) {
        let ready = |endpoint: &&SliceEndpoint| endpoint.conditions.ready != Some(false);
        for endpoint in slice.endpoints.iter().flatten().filter(ready).filter(|endpoint| fits(endpoint)) {
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
            snapshot.objects.insert(Object::new(key, "v1".to_owned(), "test".into(), value.clone()));
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
        assert_eq!(index.service("default", "a", 80, &[]), Ok(expected));
        assert!(index.service("default", "a", 82, &[]).unwrap_err().contains("no port 82"));
        assert!(index.service("default", "b", 80, &[]).unwrap_err().contains("no Service default/b"));
    }

    #[test]
    fn what_a_slice_lacks_is_told() {
        let service = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [
            {"name": "http", "port": 80}]}});
        let of = |endpoints: Value, port: &str| {
            let slice = json!({"kind": "EndpointSlice", "metadata": {"name": "a-1", "labels": {SERVICE_NAME: "a"}},
                "endpoints": endpoints, "ports": [{"name": port, "port": 8080}]});
            let snapshot = snapshot(&[("", service.clone()), ("discovery.k8s.io", slice)]);
            EndpointIndex::new(&snapshot).service("default", "a", 80, &[]).unwrap_err()
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
        assert!(EndpointIndex::new(&snapshot).service("default", "a", 80, &[]).unwrap_err().contains(SERVICE_NAME));
    }

    #[test]
    fn a_subset_has_the_endpoints_whose_pods_are_labelled_so() {
        let service = json!({"kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}});
        let to = |kind: &str, name: &str| json!({"kind": kind, "namespace": "default", "name": name});
        let slice = json!({"kind": "EndpointSlice", "metadata": {"name": "a-1", "labels": {SERVICE_NAME: "a"}},
            "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": to("Pod", "one")},
                          {"addresses": ["10.0.0.2"], "targetRef": to("Pod", "two")},
                          {"addresses": ["10.0.0.3"], "targetRef": to("Pod", "gone")},
                          {"addresses": ["10.0.0.4"], "targetRef": to("Node", "one")},
                          {"addresses": ["10.0.0.5"]}],
            "ports": [{"port": 8080}]});
        let pod = |name: &str, version: &str| json!({"kind": "Pod", "metadata": {"name": name, "labels": {"version": version, "app": "a"}}});
        let snapshot =
            snapshot(&[("", service), ("discovery.k8s.io", slice), ("", pod("one", "v1")), ("", pod("two", "v2"))]);
        let index = EndpointIndex::new(&snapshot);
        let labelled = |labels: &[(&str, &str)]| {
            let labels: Vec<Label> =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            index.service("default", "a", 80, &labels)
        };
        assert_eq!(labelled(&[]).unwrap().len(), 5);
        assert_eq!(labelled(&[("version", "v2"), ("app", "a")]), Ok(vec!["10.0.0.2:8080".parse().unwrap()]));
        assert_eq!(
            labelled(&[("version", "v3")]).unwrap_err(),
            "no ready endpoint has a Pod labelled version=v3: other labels have default/one, default/two; no such Pod \
             is there as default/gone; 2 ready endpoints name no Pod in their targetRef"
        );
    }
}
