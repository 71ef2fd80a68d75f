//! Where backend references lead: to a port of a Service, and how it is spoken to there. Which clusters of the translation
//! these become, `clusters` says.

use std::rc::Rc;

use sekisho_sdk::model::{Cluster, Endpoints, UpstreamProtocol};
use sekisho_sdk::{Map, ObjectKey, ServicePort, ServiceSpec, Services, Typed};

use crate::field::Field;
use crate::finding::Fault;
use crate::grants::{Grants, Referrer};
use crate::kinds::RouteKind;
use crate::objects::http_route::BackendRef;
use crate::objects::route::{BackendObjectRef, StreamBackendRef};
use crate::policies::{Policies, Port};

const NOT_FOUND: &str = "BackendNotFound";

/// The Services as references mean them.
pub(crate) struct Backends<'s> {
    services: &'s Services,
    grants: &'s Grants,
    policies: &'s Policies,
    /// By name of the cluster.
    known: Map<String, Rc<Backend>>,
    looked_up: Vec<LookedUp>,
}

/// What a reference leads to.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The name tells how it is spoken to. TLS is still to be added.
    pub(crate) cluster: Rc<Cluster>,
    /// The policy that says how TLS is spoken.
    pub(crate) followed: Option<usize>,
    /// The policies that are about it.
    pub(crate) policies: Vec<usize>,
}

/// A Service that was looked for, and what there was.
#[derive(Debug)]
pub(crate) struct LookedUp {
    namespace: String,
    name: String,
    found: Option<Rc<Typed<ServiceSpec>>>,
}

impl LookedUp {
    /// Whether there is the very same.
    pub(crate) fn holds(&self, services: &Services) -> bool {
        match (&self.found, services.get(&self.namespace, &self.name)) {
            (Some(before), Some(now)) => Rc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        }
    }
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
    /// What is sent is as the client sent it, TLS included: no policy adds to it.
    pub(crate) sealed: bool,
}

impl<'s> Backends<'s> {
    pub(crate) fn new(services: &'s Services, grants: &'s Grants, policies: &'s Policies) -> Self {
        Self { services, grants, policies, known: Map::default(), looked_up: Vec::new() }
    }

    /// The Services that were looked up since this was asked last.
    pub(crate) fn looked_up(&mut self) -> Vec<LookedUp> {
        std::mem::take(&mut self.looked_up)
    }

    fn look_up(&mut self, namespace: &str, name: &str) -> Option<&'s ServiceSpec> {
        let (services, before) = (self.services, &mut self.looked_up);
        let found = services.get(namespace, name);
        if !before.iter().any(|before| before.namespace == namespace && before.name == name) {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            before.push(LookedUp { namespace, name, found: found.cloned() });
        }
        found.map(|service| &service.spec)
    }

    /// The backend that a route means by the reference at `field`.
    ///
    /// # Errors
    /// A fault with the reason for `ResolvedRefs`.
    pub(crate) fn resolve(
        &mut self,
        reference: Reference<'_>,
        user: User<'_>,
        field: Field<'_>,
    ) -> Result<Rc<Backend>, Fault> {
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
        let key = service();
        let (index, spec) = self.port(&key, port, field)?;
        let target = Port::of(&key.namespace, &key.name, spec);
        let there = self.policies.about(target);
        let policies: &[usize] = if user.sealed { &[] } else { &there };
        let followed = policies.first().copied().filter(|policy| self.policies.follows(*policy, target));
        let protocol = if user.sealed {
            UpstreamProtocol::Http1
        } else {
            protocol(spec, user.kind, followed.is_some(), &key, field)?
        };
        let way = way(spec, user, protocol, !there.is_empty());
        let name = format!("{home}/{}:{port}{way}", reference.name);
        if let Some(known) = self.known.get(&name) {
            return Ok(Rc::clone(known));
        }
        let origin = key.at(format!("spec.ports[{index}]"));
        let cluster = Cluster::new(name.clone(), origin, Endpoints::of_service(&key, port));
        let cluster = Rc::new(Cluster { protocol, ..cluster });
        let backend = Rc::new(Backend { cluster, followed, policies: policies.to_vec() });
        self.known.insert(name, Rc::clone(&backend));
        Ok(backend)
    }

    /// Whether a policy is about the port that a reference means.
    pub(crate) fn is_policed(&mut self, reference: Reference<'_>, namespace: &str) -> bool {
        let home = reference.namespace.unwrap_or(namespace);
        let service = self.look_up(home, reference.name);
        let ports = service.into_iter().flat_map(|service| &service.ports);
        let mut named = ports.filter(|spec| Some(i64::from(spec.port)) == reference.port);
        named.any(|spec| !self.policies.about(Port::of(home, reference.name, spec)).is_empty())
    }

    /// A port of a Service, and its place in the list.
    fn port(&mut self, key: &ObjectKey, port: u16, field: Field<'_>) -> Result<(usize, &'s ServicePort), Fault> {
        let fault = |code, message: String, remedy: &str| Fault::new(code, field, message, remedy).because(NOT_FOUND);
        let Some(service) = self.look_up(&key.namespace, &key.name) else {
            let message = format!("there is no Service `{}` in namespace `{}`", key.name, key.namespace);
            return Err(fault("backend-not-found", message, "create it, or correct the name"));
        };
        if service.r#type.as_deref() == Some("ExternalName") {
            let message = format!("Service `{}` is of type ExternalName, which is not followed", key.name);
            return Err(fault("backend-not-found", message, "use a Service with endpoints"));
        }
        let mut ports = service.ports.iter().enumerate();
        ports.find(|(_, spec)| spec.port == port && spec.is_tcp()).ok_or_else(|| {
            let message = format!("Service `{}` in namespace `{}` has no TCP port {port}", key.name, key.namespace);
            fault("backend-not-found", message, "use one of its ports")
        })
    }
}

/// How a port is spoken to, for logs and metrics, where that is not what the port itself says.
fn way(spec: &ServicePort, user: User<'_>, protocol: UpstreamProtocol, policed: bool) -> &'static str {
    let http2 = spec.app_protocol.as_deref() == Some("kubernetes.io/h2c");
    match (user.sealed && policed, protocol == UpstreamProtocol::Http2) {
        (true, _) => " as sent",
        (false, true) if !http2 => " over HTTP/2",
        (false, false) if http2 => " as bytes",
        _ => "",
    }
}

/// What is spoken on a port (GEP-1911). Where its `appProtocol` is one over TLS, a policy has to say who is trusted.
fn protocol(
    spec: &ServicePort,
    kind: RouteKind,
    tls: bool,
    service: &ObjectKey,
    field: Field<'_>,
) -> Result<UpstreamProtocol, Fault> {
    match spec.app_protocol.as_deref() {
        Some(over_tls) if !tls && (over_tls == "kubernetes.io/wss" || over_tls.eq_ignore_ascii_case("https")) => {
            let ObjectKey { namespace, name: service, .. } = service;
            let message = format!(
                "port {} of Service `{service}` speaks TLS (appProtocol `{over_tls}`), and no BackendTLSPolicy says who \
                 is trusted there",
                spec.port
            );
            let remedy = format!("add a BackendTLSPolicy for it in namespace `{namespace}`");
            Err(Fault::new("unsupported-protocol", field, message, remedy).because("UnsupportedProtocol"))
        }
        _ if kind == RouteKind::Tls => Ok(UpstreamProtocol::Http1),
        _ if kind == RouteKind::Grpc => Ok(UpstreamProtocol::Http2),
        Some("kubernetes.io/h2c") => Ok(UpstreamProtocol::Http2),
        _ => Ok(UpstreamProtocol::Http1),
    }
}
