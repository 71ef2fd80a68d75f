//! Where backend references lead: one cluster for each port of a Service that is used.

use std::collections::HashMap;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::{Cluster, Endpoints, ServicePort, UpstreamProtocol};

use crate::field::Field;
use crate::finding::Fault;
use crate::grants::{Grants, Referrer};
use crate::objects::http_route::{BackendObjectRef, BackendRef};
use crate::snapshot::Services;

const NOT_FOUND: &str = "BackendNotFound";

/// The Services, and the clusters made of them so far.
pub(crate) struct Backends<'s> {
    services: &'s Services,
    grants: &'s Grants,
    pub(crate) clusters: Vec<Cluster>,
    names: HashMap<String, u32>,
}

/// A reference, wherever it stands.
#[derive(Clone, Copy)]
pub(crate) struct Reference<'r> {
    group: Option<&'r str>,
    kind: Option<&'r str>,
    namespace: Option<&'r str>,
    name: &'r str,
    port: Option<i64>,
}

impl<'r> From<&'r BackendRef> for Reference<'r> {
    fn from(spec: &'r BackendRef) -> Self {
        Self {
            group: spec.group.as_deref(),
            kind: spec.kind.as_deref(),
            namespace: spec.namespace.as_deref(),
            name: &spec.name,
            port: spec.port,
        }
    }
}

impl<'r> From<&'r BackendObjectRef> for Reference<'r> {
    fn from(spec: &'r BackendObjectRef) -> Self {
        Self {
            group: spec.group.as_deref(),
            kind: spec.kind.as_deref(),
            namespace: spec.namespace.as_deref(),
            name: &spec.name,
            port: spec.port,
        }
    }
}

impl<'s> Backends<'s> {
    pub(crate) fn new(services: &'s Services, grants: &'s Grants) -> Self {
        Self { services, grants, clusters: Vec::new(), names: HashMap::new() }
    }

    /// The cluster that an HTTPRoute of `namespace` means by the reference at `field`.
    ///
    /// # Errors
    /// A fault with the reason for `ResolvedRefs`.
    pub(crate) fn resolve(
        &mut self,
        reference: Reference<'_>,
        namespace: &str,
        field: Field<'_>,
    ) -> Result<u32, Fault> {
        let group = reference.group.unwrap_or("");
        let kind = reference.kind.unwrap_or("Service");
        if !group.is_empty() || kind != "Service" {
            let message = format!("kind `{kind}` in group `{group}` is no backend that is known here");
            return Err(Fault::new("invalid-kind", field, message, "refer to a Service").because("InvalidKind"));
        }
        let home = reference.namespace.unwrap_or(namespace);
        let service = || ObjectKey::new("", "Service", home, reference.name);
        if home != namespace && !self.grants.permit(Referrer::HttpRoute, namespace, &service()) {
            let message = format!(
                "no ReferenceGrant in namespace `{home}` lets HTTPRoutes of `{namespace}` use Service `{}`",
                reference.name
            );
            let remedy = format!("add a ReferenceGrant in `{home}`");
            return Err(Fault::new("ref-not-permitted", field, message, remedy).because("RefNotPermitted"));
        }
        let Some(port) = reference.port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0) else {
            let message = "a reference to a Service needs a port from 1 to 65535";
            return Err(Fault::new("invalid-port", format!("{field}.port"), message, "give the Service's port")
                .because(NOT_FOUND));
        };
        let name = format!("{home}/{}:{port}", reference.name);
        if let Some(index) = self.names.get(&name) {
            return Ok(*index);
        }
        let cluster = self.cluster(&name, &service(), port, field)?;
        let index = u32::try_from(self.clusters.len()).expect("fewer clusters than bytes of memory");
        self.clusters.push(cluster);
        self.names.insert(name, index);
        Ok(index)
    }

    fn cluster(&self, name: &str, key: &ObjectKey, port: u16, field: Field<'_>) -> Result<Cluster, Fault> {
        let fault = |code, message: String, remedy: &str| Fault::new(code, field, message, remedy).because(NOT_FOUND);
        let Some(service) = self.services.find(&key.namespace, &key.name) else {
            let message = format!("there is no Service `{}` in namespace `{}`", key.name, key.namespace);
            return Err(fault("backend-not-found", message, "create it, or correct the name"));
        };
        if service.spec.kind == "ExternalName" {
            let message = format!("Service `{}` is of type ExternalName, which is not followed", key.name);
            return Err(fault("backend-not-found", message, "use a Service with endpoints"));
        }
        let tcp = |protocol: &Option<String>| protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
        let mut ports = service.spec.ports.iter().enumerate();
        let Some((index, spec)) = ports.find(|(_, spec)| spec.port == port && tcp(&spec.protocol)) else {
            let message = format!("Service `{}` in namespace `{}` has no TCP port {port}", key.name, key.namespace);
            return Err(fault("backend-not-found", message, "use one of its ports"));
        };
        let endpoints = Endpoints::Service(ServicePort {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            port,
            labels: Vec::new(),
        });
        let mut cluster = Cluster::new(name, key.at(format!("spec.ports[{index}]")), endpoints);
        cluster.protocol = match spec.app_protocol.as_deref() {
            Some("kubernetes.io/h2c") => UpstreamProtocol::Http2,
            Some("kubernetes.io/wss") => {
                let message =
                    format!("Service `{}` wants TLS on port {port} (appProtocol), which is not served yet", key.name);
                let remedy = "use a port that speaks cleartext";
                return Err(Fault::new("unsupported-protocol", field, message, remedy).because("UnsupportedProtocol"));
            }
            _ => UpstreamProtocol::Http1,
        };
        Ok(cluster)
    }
}
