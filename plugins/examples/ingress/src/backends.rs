//! Where rules lead: one cluster for each port of a Service that is used. Its endpoints are the host's to follow.

use std::collections::HashMap;
use std::rc::Rc;

use sekisho_sdk::model::{Action, Cluster, Destination, Endpoints, Forward, Response, Target};
use sekisho_sdk::objects::{finding, read_part};
use sekisho_sdk::{Finding, Object, ObjectKey, Origin, Severity, model};

use crate::objects::{Backend, BackendPort, ServicePort, ServiceSpec, Typed};
use crate::{count, is};

/// The Services, and the clusters made of them so far.
pub(crate) struct Backends {
    services: HashMap<ServiceName, Rc<Typed<ServiceSpec>>>,
    known: HashMap<String, u32>,
    pub(crate) clusters: Vec<Cluster>,
}

/// Namespace and name.
type ServiceName = (String, String);

impl Backends {
    pub(crate) fn read(objects: &[Object], findings: &mut Vec<Finding>) -> Self {
        let services = objects.iter().filter(|object| is(object, "", "Service"));
        let services = services.filter_map(|object| {
            let service = read_part::<Typed<ServiceSpec>>(object, findings)?;
            Some(((object.key.namespace.clone(), object.key.name.clone()), service))
        });
        Self { services: services.collect(), known: HashMap::new(), clusters: Vec::new() }
    }

    /// Forwards to the backend that stands at `origin`. Where there is none to be had, it answers 503 by itself.
    pub(crate) fn action(&mut self, backend: &Backend, origin: &Origin, findings: &mut Vec<Finding>) -> Action {
        match self.cluster(backend, origin, findings) {
            Some(cluster) => Action::Forward(Forward::to(vec![Target::new(1, Destination::Cluster(cluster))])),
            None => Action::Respond(Response::status(503)),
        }
    }

    fn cluster(&mut self, backend: &Backend, origin: &Origin, findings: &mut Vec<Finding>) -> Option<u32> {
        let mut refuse = |code, field: &str, message: String, remedy: &str| {
            let (field, message) = (format!("{}.{field}", origin.field), format!("{message}: it answers 503"));
            findings.push(finding(Severity::Error, code, &origin.object, field, message).remedy(remedy));
            None
        };
        let (Some(backend), None) = (&backend.service, &backend.resource) else {
            return refuse(
                "invalid-backend",
                "resource",
                "only Services are backends here".to_owned(),
                "name a Service",
            );
        };
        let namespace = &origin.object.namespace;
        let Some(service) = self.services.get(&(namespace.clone(), backend.name.clone())) else {
            let message = format!("there is no Service `{}` in namespace `{namespace}`", backend.name);
            return refuse("backend-not-found", "service.name", message, "create it, or correct the name");
        };
        let Some(port) = service.spec.ports.iter().find(|port| port.is_meant_by(&backend.port)) else {
            let message = format!("Service `{}` has no such TCP port", backend.name);
            return refuse("backend-not-found", "service.port", message, "give the name or number of one that it has");
        };
        let name = format!("{namespace}/{}:{}", backend.name, port.port);
        if let Some(index) = self.known.get(&name) {
            return Some(*index);
        }
        let key = ObjectKey::new("", "Service", namespace, &backend.name);
        let endpoints = Endpoints::Service(model::ServicePort {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port: port.port,
            labels: Vec::new(),
        });
        let index = count(&self.clusters);
        self.known.insert(name.clone(), index);
        self.clusters.push(Cluster::new(name, key.at("spec.ports"), endpoints));
        Some(index)
    }
}

impl ServicePort {
    fn is_meant_by(&self, wanted: &BackendPort) -> bool {
        let named = match wanted {
            BackendPort { name: Some(name), number: None } => self.name.as_ref() == Some(name),
            BackendPort { name: None, number } => Some(self.port) == *number,
            BackendPort { name: Some(_), number: Some(_) } => false,
        };
        named && self.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
    }
}
