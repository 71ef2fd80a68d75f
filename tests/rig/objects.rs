//! The task's objects, in both API forms.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// One of the two API forms in which the task is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `Gateway` and `VirtualService` of `networking.istio.io`.
    Istio,
    /// `Gateway` and `HTTPRoute` of `gateway.networking.k8s.io`.
    GatewayApi,
}

/// A section of the gateway: `servers[]` of the one form, `listeners[]` of the other.
#[derive(Clone, Debug)]
#[must_use]
pub struct Server {
    section: String,
    host: String,
    credential: String,
    mutual: bool,
    port: u16,
}

impl Server {
    /// HTTPS for `NAME.example.com` with `NAME-credential`, as in the task.
    pub fn simple(name: &str) -> Self {
        Self {
            section: format!("https-{name}"),
            host: format!("{name}.example.com"),
            credential: format!("{name}-credential"),
            mutual: false,
            port: 443,
        }
    }

    /// The same with mutual TLS.
    pub fn mutual(name: &str) -> Self {
        Self { mutual: true, ..Self::simple(name) }
    }

    /// The name of the section: `https` where the task has one only.
    pub fn section(mut self, section: &str) -> Self {
        section.clone_into(&mut self.section);
        self
    }

    /// Another host.
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// Another credential.
    pub fn credential(mut self, credential: &str) -> Self {
        credential.clone_into(&mut self.credential);
        self
    }
}

/// A path of a rule.
#[derive(Clone, Copy, Debug)]
pub enum Match {
    /// `prefix`, `PathPrefix`
    Prefix(&'static str),
    /// `exact`, `Exact`
    Exact(&'static str),
}

/// One host's route to one service: a `VirtualService` or an `HTTPRoute`.
#[derive(Clone, Debug)]
#[must_use]
pub struct Route {
    name: String,
    host: String,
    matches: Vec<Match>,
    service: String,
    port: u16,
}

impl Route {
    /// `NAME.example.com` to the service NAME.
    pub fn new(name: &str, port: u16, matches: &[Match]) -> Self {
        Self {
            name: name.to_owned(),
            host: format!("{name}.example.com"),
            matches: matches.to_vec(),
            service: name.to_owned(),
            port,
        }
    }

    /// The task's: `/status` and `/delay` to httpbin.
    pub fn httpbin() -> Self {
        Self::new("httpbin", 8000, &[Match::Prefix("/status"), Match::Prefix("/delay")])
    }

    /// The task's: `/hello` to helloworld.
    pub fn helloworld() -> Self {
        Self::new("helloworld", 5000, &[Match::Exact("/hello")])
    }

    /// To another service.
    pub fn to(mut self, service: &str, port: u16) -> Self {
        service.clone_into(&mut self.service);
        self.port = port;
        self
    }
}

impl Form {
    /// Both, for a loop.
    pub const BOTH: [Self; 2] = [Self::Istio, Self::GatewayApi];

    /// `mygateway` with these sections, in the namespace in which the task has it.
    #[must_use]
    pub fn gateway(self, servers: &[Server]) -> Value {
        match self {
            Self::Istio => json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                "metadata": { "name": "mygateway" },
                "spec": {
                    "selector": { "istio": "ingressgateway" },
                    "servers": servers.iter().map(Server::istio).collect::<Vec<_>>(),
                }
            }),
            Self::GatewayApi => json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "metadata": { "name": "mygateway", "namespace": "istio-system" },
                "spec": {
                    "gatewayClassName": "istio",
                    "listeners": servers.iter().map(Server::gateway_api).collect::<Vec<_>>(),
                }
            }),
        }
    }

    /// A route of `mygateway`.
    #[must_use]
    pub fn route(self, route: &Route) -> Value {
        match self {
            Self::Istio => route.istio(),
            Self::GatewayApi => route.gateway_api(),
        }
    }

    /// The kind of [`Self::route`].
    #[must_use]
    pub fn route_kind(self) -> &'static str {
        match self {
            Self::Istio => "VirtualService",
            Self::GatewayApi => "HTTPRoute",
        }
    }
}

impl Server {
    fn istio(&self) -> Value {
        json!({
            "port": { "number": self.port, "name": self.section, "protocol": "HTTPS" },
            "tls": { "mode": if self.mutual { "MUTUAL" } else { "SIMPLE" }, "credentialName": self.credential },
            "hosts": [self.host],
        })
    }

    fn gateway_api(&self) -> Value {
        let mut tls = json!({ "mode": "Terminate", "certificateRefs": [{ "name": self.credential }] });
        if self.mutual {
            tls["options"] = json!({ "gateway.istio.io/tls-terminate-mode": "MUTUAL" });
        }
        json!({
            "name": self.section,
            "hostname": self.host,
            "port": self.port,
            "protocol": "HTTPS",
            "tls": tls,
            "allowedRoutes": { "namespaces": {
                "from": "Selector",
                "selector": { "matchLabels": { "kubernetes.io/metadata.name": "default" } },
            } },
        })
    }
}

impl Route {
    fn istio(&self) -> Value {
        let matches = self.matches.iter().map(|rule| match rule {
            Match::Prefix(path) => json!({ "uri": { "prefix": path } }),
            Match::Exact(path) => json!({ "uri": { "exact": path } }),
        });
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": { "name": self.name },
            "spec": {
                "hosts": [self.host],
                "gateways": ["mygateway"],
                "http": [{
                    "match": matches.collect::<Vec<_>>(),
                    "route": [{ "destination": { "host": self.service, "port": { "number": self.port } } }],
                }],
            }
        })
    }

    fn gateway_api(&self) -> Value {
        let matches = self.matches.iter().map(|rule| match rule {
            Match::Prefix(path) => json!({ "path": { "type": "PathPrefix", "value": path } }),
            Match::Exact(path) => json!({ "path": { "type": "Exact", "value": path } }),
        });
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": { "name": self.name },
            "spec": {
                "parentRefs": [{ "name": "mygateway", "namespace": "istio-system" }],
                "hostnames": [self.host],
                "rules": [{
                    "matches": matches.collect::<Vec<_>>(),
                    "backendRefs": [{ "name": self.service, "port": self.port }],
                }],
            }
        })
    }
}

/// A Service of one named port.
#[must_use]
pub fn service(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": { "ports": [{ "name": "http", "port": port, "targetPort": port }], "selector": { "app": name } }
    })
}

/// An EndpointSlice of a [`service`] with one ready endpoint; none when there is no address.
#[must_use]
pub fn endpoints(service: &str, slice: &str, address: Option<SocketAddr>) -> Value {
    endpoints_in_state(service, slice, address, true)
}

/// An EndpointSlice of a [`service`] with one endpoint, ready or not.
#[must_use]
pub fn endpoints_in_state(service: &str, slice: &str, address: Option<SocketAddr>, ready: bool) -> Value {
    let endpoint = |address: SocketAddr| json!({ "addresses": [address.ip()], "conditions": { "ready": ready } });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": format!("{service}-{slice}"), "labels": { "kubernetes.io/service-name": service } },
        "addressType": if address.is_some_and(|address| address.is_ipv6()) { "IPv6" } else { "IPv4" },
        "ports": [{ "name": "http", "port": address.map_or(1, |address| address.port()), "protocol": "TCP" }],
        "endpoints": address.map(endpoint).into_iter().collect::<Vec<_>>(),
    })
}
