//! What is measured: real objects of both dialects, and requests of which it is known which rule takes them.

use sekisho::object::{Object, ObjectKey};
use serde_json::{Value, json};

/// Rules of one VirtualService or HTTPRoute.
pub(crate) const RULES: usize = 10;

/// Which plugin reads the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Istio,
    GatewayApi,
}

impl Dialect {
    pub(crate) const ALL: [Self; 2] = [Self::Istio, Self::GatewayApi];

    /// The name of the built-in plugin.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Istio => "istio",
            Self::GatewayApi => "gateway-api",
        }
    }
}

/// How the routes are spread over host names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Each object has a host of its own.
    ManyHosts,
    /// All objects are for one host.
    OneHost,
}

impl Shape {
    pub(crate) const ALL: [Self; 2] = [Self::ManyHosts, Self::OneHost];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ManyHosts => "many-hosts",
            Self::OneHost => "one-host",
        }
    }

    fn host(self, app: usize) -> String {
        match self {
            Self::ManyHosts => format!("app-{app:05}.example.com"),
            Self::OneHost => "shop.example.com".to_owned(),
        }
    }
}

/// A request, named for the rule that takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    /// The first rule of all.
    First,
    /// The rule that is looked at last.
    Last,
    /// None, on the host of the last.
    Miss,
}

impl Asked {
    pub(crate) const ALL: [Self; 3] = [Self::First, Self::Last, Self::Miss];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Miss => "miss",
        }
    }

    /// Host and path. The first path is an exact match of the oldest object; the last has the shortest prefix of the
    /// youngest, which both dialects put behind all others.
    pub(crate) fn of(self, shape: Shape, routes: usize) -> (String, String) {
        let last = routes / RULES - 1;
        match self {
            Self::First => (shape.host(0), "/apps/00000/health".to_owned()),
            Self::Last => (shape.host(last), format!("/apps/{last:05}/other/page")),
            Self::Miss => (shape.host(last), "/nowhere/at/all".to_owned()),
        }
    }
}

/// A gateway with so many routes, and the Services they lead to: two for each object.
pub(crate) fn objects(dialect: Dialect, shape: Shape, routes: usize) -> Vec<Object> {
    let apps = routes / RULES;
    let route = |app| match dialect {
        Dialect::Istio => virtual_service(shape, app),
        Dialect::GatewayApi => http_route(shape, app),
    };
    let entrance = match dialect {
        Dialect::Istio => vec![istio_gateway()],
        Dialect::GatewayApi => vec![gateway_class(), gateway(), namespace()],
    };
    let values = entrance
        .into_iter()
        .chain((0..apps).map(route))
        .chain((0..apps).flat_map(|app| ["", "-canary"].map(|suffix| service(&format!("app-{app:05}{suffix}")))));
    values.map(object).collect()
}

fn object(value: Value) -> Object {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api_version = text(&value["apiVersion"]);
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let metadata = &value["metadata"];
    let key = ObjectKey {
        group: group.to_owned(),
        kind: text(&value["kind"]),
        namespace: text(&metadata["namespace"]),
        name: text(&metadata["name"]),
    };
    Object::new(key, version.to_owned(), "benchmark".into(), value)
}

/// As an API server fills it in.
fn metadata(name: &str, age: usize) -> Value {
    let (hours, minutes, seconds) = (age / 3600, age / 60 % 60, age % 60);
    json!({
        "name": name,
        "namespace": "shop",
        "uid": format!("6f0cbb2e-5d0b-4d5e-9b0a-{age:012}"),
        "resourceVersion": (100_000 + age).to_string(),
        "generation": 3,
        "creationTimestamp": format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}Z"),
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop"},
    })
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, 0),
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
            "selector": {"app.kubernetes.io/name": name}, "sessionAffinity": "None",
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]},
        "status": {"loadBalancer": {}}})
}

fn istio_gateway() -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata("public", 0),
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [{
            "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
            "tls": {"mode": "SIMPLE", "credentialName": "public"},
            "hosts": ["*.example.com"]}]}})
}

fn virtual_service(shape: Shape, app: usize) -> Value {
    let name = format!("app-{app:05}");
    let path = |below: &str| format!("/apps/{app:05}{below}");
    let to = |service: &str| json!({"host": service, "port": {"number": 80}});
    let canary = format!("{name}-canary");
    let main = || json!([{"destination": to(&name)}]);
    let rules = json!([
        {"name": "health", "match": [{"uri": {"exact": path("/health")}}], "route": main()},
        {"name": "version", "match": [{"uri": {"exact": path("/version")}}], "route": main(), "timeout": "2s"},
        {"name": "canary", "match": [{"uri": {"prefix": path("/api/v1")}, "headers": {"x-canary": {"exact": "always"}}}],
            "route": [{"destination": to(&canary)}]},
        {"name": "api-v1", "match": [{"uri": {"prefix": path("/api/v1")}}], "route": main(), "timeout": "10s",
            "retries": {"attempts": 2, "retryOn": "connect-failure,refused-stream"}},
        {"name": "api-v2", "match": [{"uri": {"prefix": path("/api/v2")}}],
            "route": [{"destination": to(&name), "weight": 90}, {"destination": to(&canary), "weight": 10}]},
        {"name": "old", "match": [{"uri": {"prefix": path("/old")}}],
            "redirect": {"uri": path("/new"), "redirectCode": 301}},
        {"name": "static", "match": [{"uri": {"prefix": path("/static")}}], "route": main(),
            "rewrite": {"uri": "/public"},
            "headers": {"response": {"set": {"cache-control": "public, max-age=86400"}}}},
        {"name": "images", "match": [{"uri": {"prefix": path("/images")}}], "route": main(),
            "headers": {"request": {"set": {"x-app": name}, "remove": ["x-debug"]}}},
        {"name": "users", "match": [{"uri": {"prefix": path("/users")}}], "route": main()},
        {"name": "rest", "match": [{"uri": {"prefix": path("")}}], "route": main()},
    ]);
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata(&name, app),
        "spec": {"hosts": [shape.host(app)], "gateways": ["public"], "http": rules}})
}

fn gateway_class() -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "istio"},
        "spec": {"controllerName": "sekisho.dev/gateway-controller"}})
}

fn gateway() -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": metadata("public", 0),
        "spec": {"gatewayClassName": "istio", "listeners": [{
            "name": "https", "protocol": "HTTPS", "port": 443, "hostname": "*.example.com",
            "tls": {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": "public"}]},
            "allowedRoutes": {"namespaces": {"from": "Same"}}}]}})
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"kubernetes.io/metadata.name": "shop"}}})
}

fn http_route(shape: Shape, app: usize) -> Value {
    let name = format!("app-{app:05}");
    let path = |kind: &str, below: &str| json!({"type": kind, "value": format!("/apps/{app:05}{below}")});
    let prefix = |below: &str| json!([{"path": path("PathPrefix", below)}]);
    let to = |service: &str, weight: u32| json!({"group": "", "kind": "Service", "name": service, "port": 80, "weight": weight});
    let canary = format!("{name}-canary");
    let main = || json!([to(&name, 1)]);
    let rules = json!([
        {"matches": [{"path": path("Exact", "/health")}], "backendRefs": main()},
        {"matches": [{"path": path("Exact", "/version")}], "backendRefs": main(), "timeouts": {"request": "2s"}},
        {"matches": [{"path": path("PathPrefix", "/api/v1"),
                "headers": [{"type": "Exact", "name": "x-canary", "value": "always"}]}],
            "backendRefs": [to(&canary, 1)]},
        {"matches": prefix("/api/v1"), "backendRefs": main(), "timeouts": {"request": "10s"}},
        {"matches": prefix("/api/v2"), "backendRefs": [to(&name, 90), to(&canary, 10)]},
        {"matches": prefix("/old"), "filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 301,
            "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": format!("/apps/{app:05}/new")}}}]},
        {"matches": prefix("/static"), "backendRefs": main(), "filters": [
            {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/public"}}},
            {"type": "ResponseHeaderModifier",
                "responseHeaderModifier": {"set": [{"name": "cache-control", "value": "public, max-age=86400"}]}}]},
        {"matches": prefix("/images"), "backendRefs": main(), "filters": [{"type": "RequestHeaderModifier",
            "requestHeaderModifier": {"set": [{"name": "x-app", "value": name}], "remove": ["x-debug"]}}]},
        {"matches": prefix("/users"), "backendRefs": main()},
        {"matches": prefix(""), "backendRefs": main()},
    ]);
    let condition = |kind: &str| {
        json!({"type": kind, "status": "True", "reason": kind, "message": "The route is accepted.",
            "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let parent = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"});
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata(&name, app),
        "spec": {"parentRefs": [parent], "hostnames": [shape.host(app)], "rules": rules},
        "status": {"parents": [{"parentRef": parent, "controllerName": "sekisho.dev/gateway-controller",
            "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]}})
}
