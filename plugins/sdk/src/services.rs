//! Core Services, to which most dialects forward.

use std::rc::Rc;

use serde::Deserialize;

use crate::typed::Typed;
use crate::{Finding, Map, Object, ObjectKey};

/// The part of a Service's spec that dialects look at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceSpec {
    /// `ClusterIP` when it is not said; an `ExternalName` has no endpoints.
    pub r#type: Option<String>,
    /// In their order.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// May be left out where there is only one port.
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// TCP when it is not said.
    pub protocol: Option<String>,
    /// What is spoken on it, such as `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

/// A reference to a port of a Service: by its name or by its number, one of the two.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackendPort {
    /// Name.
    pub name: Option<String>,
    /// Number.
    pub number: Option<u16>,
}

impl ServiceSpec {
    /// The TCP port that is meant. A reference that says both a name and a number means none.
    #[must_use]
    pub fn tcp_port(&self, wanted: &BackendPort) -> Option<&ServicePort> {
        let is_meant = |port: &&ServicePort| match (&wanted.name, wanted.number) {
            (Some(name), None) => port.name.as_ref() == Some(name),
            (None, Some(number)) => port.port == number,
            _ => false,
        };
        self.ports.iter().filter(|port| port.is_tcp()).find(is_meant)
    }
}

impl ServicePort {
    /// Whether it is one of TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}

/// Services by namespace and name.
#[derive(Clone, Debug, Default)]
pub struct Services(Map<String, Map<String, Rc<Typed<ServiceSpec>>>>);

impl Services {
    /// Those among the objects. One that cannot be read is a finding and is left out.
    pub fn read(objects: &[Object], findings: &mut Vec<Finding>) -> Self {
        let mut services = Self::default();
        for object in objects.iter().filter(|object| object.key.is("", "Service")) {
            if let Some(service) = Typed::<ServiceSpec>::read_part(object, findings) {
                services.insert(&object.key, service);
            }
        }
        services
    }

    /// Adds one, or replaces it.
    pub fn insert(&mut self, key: &ObjectKey, service: Rc<Typed<ServiceSpec>>) {
        self.0.entry(key.namespace.clone()).or_default().insert(key.name.clone(), service);
    }

    /// The Service of this name, if there is one; the very same in the next translation if nothing about it changed and
    /// there is room to remember it.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Rc<Typed<ServiceSpec>>> {
        self.0.get(namespace)?.get(name)
    }

    /// The spec of the Service of this name, if there is one.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<&ServiceSpec> {
        self.get(namespace, name).map(|service| &service.spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, json: &str) -> Object {
        let key = ObjectKey::new("", kind, "default", name);
        Object::new(key, "v1", json.as_bytes().to_vec())
    }

    #[test]
    fn a_port_is_meant_by_name_or_by_number() {
        let port = |name: Option<&str>, port, protocol: &str| ServicePort {
            name: name.map(str::to_owned),
            port,
            protocol: Some(protocol.to_owned()),
            app_protocol: None,
        };
        let ports = vec![port(Some("dns"), 53, "UDP"), port(Some("dns-tcp"), 53, "TCP"), port(None, 80, "TCP")];
        let service = ServiceSpec { ports, ..ServiceSpec::default() };
        let found = |name: Option<&str>, number| {
            let found = service.tcp_port(&BackendPort { name: name.map(str::to_owned), number });
            found.map(|port| (port.name.as_deref(), port.port))
        };
        assert_eq!(found(None, Some(53)), Some((Some("dns-tcp"), 53)));
        assert_eq!(found(Some("dns-tcp"), None), Some((Some("dns-tcp"), 53)));
        assert_eq!(found(None, Some(80)), Some((None, 80)));
        for (name, number) in [(Some("dns"), None), (Some("dns-tcp"), Some(53)), (None, Some(81)), (None, None)] {
            assert_eq!(found(name, number), None, "{name:?} {number:?}");
        }
    }

    #[test]
    fn services_are_found_by_namespace_and_name() {
        let ports = r#"{"spec":{"clusterIP":"None","ports":[{"port":53,"protocol":"UDP"},{"name":"http","port":80}]}}"#;
        let objects = [
            object("Service", "web", ports),
            object("Pod", "pod", ports),
            object("Service", "broken", r#"{"spec":1}"#),
        ];
        let mut findings = Vec::new();
        let services = Services::read(&objects, &mut findings);
        let web = services.find("default", "web").expect("it is there");
        assert_eq!(
            web.ports.iter().map(|port| (port.port, port.is_tcp())).collect::<Vec<_>>(),
            [(53, false), (80, true)]
        );
        for (namespace, name) in [("other", "web"), ("default", "pod"), ("default", "broken")] {
            assert!(services.find(namespace, name).is_none(), "{namespace}/{name}");
        }
        assert_eq!(findings.iter().map(|found| found.origin.object.name.as_str()).collect::<Vec<_>>(), ["broken"]);
    }
}
