//! Where backend references lead: one cluster for each port of a Service that is used.

use std::collections::HashMap;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::{Cluster, Endpoints, ServicePort, UpstreamProtocol};

use crate::field::Field;
use crate::finding::Fault;
use crate::grants::{Grants, Referrer};
use crate::kinds::RouteKind;
use crate::objects::http_route::BackendRef;
use crate::objects::route::{BackendObjectRef, StreamBackendRef};
use crate::snapshot::Services;

const NOT_FOUND: &str = "BackendNotFound";

/// The Services, and the clusters made of them so far.
pub(crate) struct Backends<'s> {
    services: &'s Services,
    grants: &'s Grants,
    pub(crate) clusters: Vec<Cluster>,
    /// By `namespace/name:port`, and whether HTTP/2 is spoken: a gRPC route may ask for it where others do not.
    names: HashMap<(String, bool), u32>,
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

macro_rules! reference {
    ($($spec:ty),*) => {$(
        impl<'r> From<&'r $spec> for Reference<'r> {
            fn from(spec: &'r $spec) -> Self {
                Self {
                    group: spec.group.as_deref(),
                    kind: spec.kind.as_deref(),
                    namespace: spec.namespace.as_deref(),
                    name: &spec.name,
                    port: spec.port,
                }
            }
        }
    )*};
}
reference!(BackendRef, BackendObjectRef, StreamBackendRef);

/// Who refers to a backend: a route of that kind, in that namespace.
#[derive(Clone, Copy)]
pub(crate) struct User<'r> {
    pub(crate) kind: RouteKind,
    pub(crate) namespace: &'r str,
}

impl<'s> Backends<'s> {
    pub(crate) fn new(services: &'s Services, grants: &'s Grants) -> Self {
        Self { services, grants, clusters: Vec::new(), names: HashMap::new() }
    }

    /// The cluster that a route means by the reference at `field`.
    ///
    /// # Errors
    /// A fault with the reason for `ResolvedRefs`.
    pub(crate) fn resolve(&mut self, reference: Reference<'_>, user: User<'_>, field: Field<'_>) -> Result<u32, Fault> {
        let namespace = user.namespace;
        let group = reference.group.unwrap_or("");
        let kind = reference.kind.unwrap_or("Service");
        if !group.is_empty() || kind != "Service" {
            let message = format!("kind `{kind}` in group `{group}` is no backend that is known here");
            return Err(Fault::new("invalid-kind", field, message, "refer to a Service").because("InvalidKind"));
        }
        let home = reference.namespace.unwrap_or(namespace);
        let service = || ObjectKey::new("", "Service", home, reference.name);
        if home != namespace && !self.grants.permit(Referrer::Route(user.kind), namespace, &service()) {
            let message = format!(
                "no ReferenceGrant in namespace `{home}` lets {}s of `{namespace}` use Service `{}`",
                user.kind.name(),
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
        let (spec, protocol) = self.port(&service(), port, user.kind, field)?;
        let known = (name, protocol == UpstreamProtocol::Http2);
        if let Some(index) = self.names.get(&known) {
            return Ok(*index);
        }
        let other = self.names.contains_key(&(known.0.clone(), !known.1));
        let label = if other { &format!("{} for {}s", known.0, user.kind.name()) } else { &known.0 };
        let labels = Vec::new();
        let endpoints = Endpoints::Service(ServicePort {
            namespace: home.to_owned(),
            name: reference.name.to_owned(),
            port,
            labels,
        });
        let origin = service().at(format!("spec.ports[{spec}]"));
        let index = u32::try_from(self.clusters.len()).expect("fewer clusters than bytes of memory");
        self.clusters.push(Cluster { protocol, ..Cluster::new(label, origin, endpoints) });
        self.names.insert(known, index);
        Ok(index)
    }

    /// The place of a port in its Service, and what is spoken there with a route of that kind.
    fn port(
        &self,
        key: &ObjectKey,
        port: u16,
        kind: RouteKind,
        field: Field<'_>,
    ) -> Result<(usize, UpstreamProtocol), Fault> {
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
        let protocol = match (kind, spec.app_protocol.as_deref()) {
            (RouteKind::Grpc, _) | (RouteKind::Http, Some("kubernetes.io/h2c")) => UpstreamProtocol::Http2,
            (RouteKind::Http, Some("kubernetes.io/wss")) => {
                let message =
                    format!("Service `{}` wants TLS on port {port} (appProtocol), which is not served yet", key.name);
                let remedy = "use a port that speaks cleartext";
                return Err(Fault::new("unsupported-protocol", field, message, remedy).because("UnsupportedProtocol"));
            }
            _ => UpstreamProtocol::Http1,
        };
        Ok((index, protocol))
    }
}
