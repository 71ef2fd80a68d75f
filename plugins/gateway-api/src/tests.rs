//! What the cases under `tests/cases/gateway-api` cannot say: outcomes of the host beyond secrets, parts of the
//! translation that no request shows, and size.

use std::time::{Duration, Instant};

use sekisho_sdk::model::{
    Action, Address, Destination, Protocol, RetryOn, TextMatch, Translation, UpstreamProtocol, Verdict, WhenDeleted,
};
use sekisho_sdk::{
    Environment, ListenerState, Object, ObjectKey, Outcome, RequestHead, RoutePlugin, Router, SourceState,
};
use serde_json::{Value, json};

use crate::GatewayApi;

const GROUP: &str = "gateway.networking.k8s.io";

fn object(group: &str, kind: &str, name: &str, rest: Value) -> Object {
    let mut json = json!({"metadata": {"name": name, "namespace": "default", "generation": 1}});
    json["spec"] = rest;
    let key = ObjectKey::new(group, kind, "default", name);
    Object::new(key, "v1", json.to_string().into_bytes())
}

fn gateway(name: &str, spec: Value) -> Object {
    let mut spec = spec;
    spec["gatewayClassName"] = json!("istio");
    object(GROUP, "Gateway", name, spec)
}

fn route(name: &str, rules: &Value) -> Object {
    object(GROUP, "HTTPRoute", name, json!({"parentRefs": [{"name": "edge"}], "rules": rules}))
}

fn service(name: &str, ports: &Value) -> Object {
    object("", "Service", name, json!({"ports": ports}))
}

fn environment(config: &str) -> Environment {
    Environment {
        namespace: "istio-system".to_owned(),
        labels: Vec::new(),
        class_name: "istio".to_owned(),
        controller_name: "sekisho.dev/gateway-controller".to_owned(),
        capabilities: Vec::new(),
        config: config.to_owned(),
    }
}

fn class() -> Object {
    object(GROUP, "GatewayClass", "istio", json!({"controllerName": "sekisho.dev/gateway-controller"}))
}

/// Of a class that is there.
fn translate(mut objects: Vec<Object>) -> (Translation, GatewayApi) {
    objects.push(class());
    GatewayApi::translate(environment("null"), objects).unwrap()
}

/// Everything went well.
fn outcome(translation: &Translation) -> Outcome {
    Outcome {
        live: true,
        bindings: translation.bindings.iter().map(|_| Ok(vec!["192.0.2.1".to_owned()])).collect(),
        listeners: translation.listeners.iter().map(|_| ListenerState::Serving).collect(),
        sources: translation.sources.iter().map(|_| SourceState::Ready).collect(),
        refused_routes: Vec::new(),
        refused_clusters: Vec::new(),
    }
}

fn status(plugin: &GatewayApi, outcome: &Outcome, kind: &str) -> Value {
    let report = plugin.report(outcome);
    let status = report.iter().find(|status| status.object.kind == kind).unwrap();
    serde_json::from_str(&status.json).unwrap()
}

/// `type=status/reason` of each condition.
fn conditions(of: &Value) -> Vec<String> {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    let all = of["conditions"].as_array().unwrap();
    all.iter().map(|c| format!("{}={}/{}", text(c, "type"), text(c, "status"), text(c, "reason"))).collect()
}

fn one_gateway(spec: Value) -> (Translation, GatewayApi) {
    translate(vec![gateway("edge", spec), service("web", &json!([{"port": 80}])), route("web", &json!([forward("/")]))])
}

fn forward(prefix: &str) -> Value {
    json!({"matches": [{"path": {"value": prefix}}], "backendRefs": [{"name": "web", "port": 80}]})
}

#[test]
fn what_the_host_says_of_a_listener_becomes_its_conditions() {
    let (translation, plugin) = one_gateway(json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}));
    let other = ObjectKey::new("networking.istio.io", "Gateway", "default", "old");
    for (state, expected) in [
        (ListenerState::Serving, vec!["Accepted=True/Accepted", "Programmed=True/Programmed"]),
        (
            ListenerState::Unbound("in use".to_owned()),
            vec!["Accepted=False/PortUnavailable", "Programmed=False/Invalid"],
        ),
        (
            ListenerState::Unsupported("no".to_owned()),
            vec!["Accepted=False/UnsupportedValue", "Programmed=False/Invalid"],
        ),
        (ListenerState::NoCredential, vec!["Accepted=True/Accepted", "Programmed=False/Invalid"]),
        (
            ListenerState::Conflict(other),
            vec![
                "Accepted=False/HostnameConflict",
                "Programmed=False/HostnameConflict",
                "Conflicted=True/HostnameConflict",
            ],
        ),
    ] {
        let mut outcome = outcome(&translation);
        outcome.listeners = vec![state];
        let status = status(&plugin, &outcome, "Gateway");
        let mut conditions = conditions(&status["listeners"][0]);
        conditions.retain(|condition| !condition.starts_with("ResolvedRefs"));
        assert_eq!(conditions, expected);
    }
}

#[test]
fn addresses_come_from_the_binding() {
    let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
    for (addresses, wanted, reason) in [
        (json!([]), Address::Shared, "AddressNotAssigned"),
        (json!([{"type": "IPAddress"}]), Address::Dedicated(Vec::new()), "AddressNotAssigned"),
        (json!([{"value": "192.0.2.9"}]), Address::Dedicated(vec!["192.0.2.9".to_owned()]), "AddressNotUsable"),
    ] {
        let (translation, plugin) = one_gateway(json!({"addresses": addresses, "listeners": listeners}));
        assert_eq!(translation.bindings[0].address, wanted);
        let mut outcome = outcome(&translation);
        outcome.bindings = vec![Ok(vec!["192.0.2.9".to_owned(), "edge.example.com".to_owned()])];
        let bound = status(&plugin, &outcome, "Gateway");
        let expected =
            json!([{"type": "IPAddress", "value": "192.0.2.9"}, {"type": "Hostname", "value": "edge.example.com"}]);
        assert_eq!(bound["addresses"], expected);
        outcome.bindings = vec![Err("none is left".to_owned())];
        let unbound = status(&plugin, &outcome, "Gateway");
        assert_eq!(unbound["addresses"], json!([]));
        assert_eq!(conditions(&unbound)[1], format!("Programmed=False/{reason}"));
    }
}

#[test]
fn routes_and_clusters_that_the_host_refuses_show_on_the_route() {
    let objects = vec![
        gateway("edge", json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]})),
        service("web", &json!([{"port": 80}])),
        route("web", &json!([forward("/a"), forward("/b")])),
    ];
    let (translation, plugin) = translate(objects);
    let mut outcome = outcome(&translation);
    let told = |outcome: &Outcome| conditions(&status(&plugin, outcome, "HTTPRoute")["parents"][0]);
    outcome.refused_routes = vec![(1, "no mirrors here".to_owned())];
    outcome.refused_clusters = vec![(0, "no".to_owned())];
    let expected =
        ["Accepted=True/Accepted", "ResolvedRefs=False/UnsupportedProtocol", "PartiallyInvalid=True/UnsupportedValue"];
    assert_eq!(told(&outcome), expected);
    let message = &status(&plugin, &outcome, "HTTPRoute")["parents"][0]["conditions"][2]["message"];
    assert_eq!(message, "Dropped Rule 1: rule 1: no mirrors here");
    outcome.refused_routes.push((0, "nor here".to_owned()));
    assert_eq!(told(&outcome)[0], "Accepted=False/UnsupportedValue");
    assert_eq!(status(&plugin, &outcome, "Gateway")["listeners"][0]["attachedRoutes"], 0);
}

#[test]
fn an_outcome_that_is_too_short_programs_nothing() {
    let (_, plugin) = one_gateway(json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}));
    let empty = Outcome {
        live: true,
        bindings: Vec::new(),
        listeners: Vec::new(),
        sources: Vec::new(),
        refused_routes: Vec::new(),
        refused_clusters: Vec::new(),
    };
    let status = status(&plugin, &empty, "Gateway");
    assert_eq!(conditions(&status)[1], "Programmed=False/AddressNotAssigned");
    assert_eq!(conditions(&status["listeners"][0])[1], "Programmed=False/Pending");
}

#[test]
fn terminated_tls_has_the_defaults_that_the_host_expects() {
    let options = json!({"gateway.istio.io/tls-terminate-mode": "OPTIONAL_MUTUAL"});
    let tls = json!({"certificateRefs": [{"name": "c"}], "options": options});
    let listener = json!({"name": "https", "port": 443, "protocol": "HTTPS", "tls": tls});
    let (translation, _) = one_gateway(json!({"listeners": [listener]}));
    let Protocol::Https(termination) = &translation.listeners[0].protocol else { panic!("it terminates TLS") };
    assert_eq!(termination.alpn, ["h2", "http/1.1"]);
    let client = termination.client.as_ref().unwrap();
    assert_eq!((client.no_certificate, client.untrusted), (Verdict::Accept, Verdict::Refuse));
    assert!(translation.sources.iter().all(|source| source.when_deleted == WhenDeleted::Refuse));
}

#[test]
fn retries_mirrors_and_cors_are_data_for_the_host() {
    let rule = json!({
        "filters": [
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "web", "port": 81}, "percent": 20}},
            {"type": "CORS", "cors": {
                "allowOrigins": ["https://*.example.com"], "allowMethods": ["*"], "allowCredentials": true,
            }},
        ],
        "backendRefs": [{"name": "web", "port": 80}],
        "retry": {"codes": [503], "attempts": 3, "backoff": "100ms"},
        "timeouts": {"request": "10s", "backendRequest": "2s"},
    });
    let (translation, _) = translate(vec![
        gateway("edge", json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]})),
        service("web", &json!([{"port": 80}, {"port": 81, "appProtocol": "kubernetes.io/h2c"}])),
        route("web", &json!([rule])),
    ]);
    let Action::Forward(forward) = &translation.routes[0].action else { panic!("it forwards") };
    assert_eq!(forward.timeout, Some(10_000));
    let retry = forward.retry.as_ref().unwrap();
    assert_eq!((retry.attempts, retry.per_try, retry.backoff), (3, Some(2_000), Some(100)));
    assert_eq!(retry.on, [RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::Timeout]);
    assert_eq!(retry.statuses, [503]);
    let mirror = &forward.mirrors[0];
    assert_eq!((mirror.share.numerator, mirror.share.denominator), (20, 100));
    assert_eq!(translation.clusters[mirror.cluster as usize].protocol, UpstreamProtocol::Http2);
    let cors = translation.routes[0].cors.as_ref().unwrap();
    assert_eq!(cors.origins, [TextMatch::Regex(r"https://[^/:]+\.example\.com".to_owned())]);
    assert_eq!((cors.max_age_seconds, cors.credentials), (Some(5), true));
}

#[test]
fn one_service_port_is_one_cluster_and_an_invalid_share_answers_500() {
    let backends = json!([
        {"name": "web", "port": 80},
        {"name": "web", "port": 80, "weight": 2},
        {"name": "missing", "port": 80, "weight": 3},
    ]);
    let (translation, _) = translate(vec![
        gateway("edge", json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]})),
        service("web", &json!([{"port": 80}])),
        route("web", &json!([{"backendRefs": backends}])),
    ]);
    assert_eq!(translation.clusters.len(), 1);
    let Action::Forward(forward) = &translation.routes[0].action else { panic!("it forwards") };
    let shares: Vec<_> =
        forward.targets.iter().map(|target| (target.weight, matches!(target.to, Destination::Cluster(0)))).collect();
    assert_eq!(shares, [(1, true), (2, true), (3, false)]);
}

#[test]
fn routes_that_look_at_too_many_headers_do_not_slow_the_others() {
    let look = |n: usize| {
        let headers = json!([{"name": format!("h-{n}"), "value": "1"}]);
        json!({"matches": [{"headers": headers}], "backendRefs": [{"name": "web", "port": 80}]})
    };
    let mut objects = vec![
        gateway("edge", json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]})),
        service("web", &json!([{"port": 80}])),
    ];
    objects.extend((0..300).map(|n| route(&format!("r-{n:03}"), &json!([look(n)]))));
    let (translation, plugin) = translate(objects);
    assert_eq!(translation.listeners[0].inputs.len(), 256);
    assert_eq!(translation.findings.iter().filter(|finding| finding.code == "too-many-inputs").count(), 44);
    assert_eq!(status(&plugin, &outcome(&translation), "Gateway")["listeners"][0]["attachedRoutes"], 256);
}

#[test]
fn a_configuration_of_the_plugin_is_told() {
    let (translation, _) = GatewayApi::translate(environment(r#"{"a":1}"#), Vec::new()).unwrap();
    assert_eq!(translation.findings[0].code, "unknown-config");
}

#[test]
fn the_order_of_objects_does_not_matter() {
    let mut objects = vec![
        gateway("edge", json!({"listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]})),
        service("web", &json!([{"port": 80}])),
    ];
    objects.extend((0..20).map(|n| route(&format!("r-{n:02}"), &json!([forward(&format!("/{n}"))]))));
    let (forwards, _) = translate(objects.clone());
    objects.reverse();
    let (backwards, _) = translate(objects);
    assert_eq!(forwards, backwards);
}

/// Ten thousand routes of two rules each, over a hundred host names. The bound is far off what it takes (tens of
/// milliseconds when optimised), and would be far exceeded by anything quadratic.
#[test]
fn ten_thousand_routes_translate_quickly() {
    let mut objects = vec![
        gateway(
            "edge",
            json!({"listeners": [
                {"name": "http", "port": 80, "protocol": "HTTP"},
                {"name": "https", "hostname": "*.example.com", "port": 443, "protocol": "HTTPS",
                 "tls": {"certificateRefs": [{"name": "c"}]}},
            ]}),
        ),
        service("web", &json!([{"port": 80}])),
    ];
    objects.extend((0..10_000).map(|n| {
        let spec = json!({
            "parentRefs": [{"name": "edge"}],
            "hostnames": [format!("h{}.example.com", n % 100)],
            "rules": [
                forward(&format!("/r/{n}")),
                {"matches": [{"path": {"type": "Exact", "value": format!("/e/{n}")}, "method": "GET"}],
                 "backendRefs": [{"name": "web", "port": 80}]},
            ],
        });
        object(GROUP, "HTTPRoute", &format!("r-{n:05}"), spec)
    }));
    let start = Instant::now();
    let (translation, plugin) = translate(objects);
    let translated = start.elapsed();
    let report = plugin.report(&outcome(&translation));
    let reported = start.elapsed().saturating_sub(translated);
    eprintln!("translated in {translated:?}, {} bytes of table, reported in {reported:?}", translation.table.len());
    assert_eq!(translation.routes.len(), 20_000);
    assert_eq!(report.len(), 10_002, "of routes, Gateway and class");
    assert!(translated + reported < Duration::from_secs(5), "{translated:?} and {reported:?}");

    let table = <GatewayApi as RoutePlugin>::Router::load(&translation.table).unwrap();
    let head = RequestHead {
        listener: 1,
        host: "h7.example.com".to_owned(),
        path: "/r/9907/x".to_owned(),
        inputs: vec![Some(b"GET".to_vec())],
    };
    let chosen = table.route(&head).unwrap();
    assert_eq!(translation.routes[chosen as usize].name, "default/r-09907/0");
}

#[test]
fn policies_that_share_targets_are_told_once_each() {
    const POLICIES: usize = 2000;
    let policy = |n| {
        let target = |port| json!({"group": "", "kind": "Service", "name": "gone", "sectionName": format!("p{port}")});
        let targets = (0..16).map(target).collect::<Vec<_>>();
        let validation = json!({"hostname": "h.example.com", "wellKnownCACertificates": "System"});
        object(
            GROUP,
            "BackendTLSPolicy",
            &format!("p-{n:04}"),
            json!({"targetRefs": targets, "validation": validation}),
        )
    };
    let (translation, _) = translate((0..POLICIES).map(policy).collect());
    let told = |code: &str| translation.findings.iter().filter(|finding| finding.code == code).count();
    assert_eq!((told("target-not-found"), told("conflicting-policy")), (POLICIES, POLICIES - 1));
}

fn translate_for(capabilities: &[&str], mut objects: Vec<Object>) -> (Translation, GatewayApi) {
    objects.push(class());
    let capabilities = capabilities.iter().map(ToString::to_string).collect();
    GatewayApi::translate(Environment { capabilities, ..environment("null") }, objects).unwrap()
}

/// The Gateway's own labels go before those that it asks for.
#[test]
fn what_is_kept_for_a_gateway() {
    let edge = || {
        let infrastructure = json!({
            "labels": {"team": "web", "gateway.networking.k8s.io/gateway-name": "other"}, "annotations": {"a/b": "c"},
        });
        let listeners = json!([{"name": "http", "port": 80, "protocol": "HTTP"}]);
        vec![gateway("edge", json!({"listeners": listeners, "infrastructure": infrastructure}))]
    };
    let (translation, _) = translate_for(&["address-pool", "infrastructure"], edge());
    let kept = translation.bindings[0].infrastructure.as_ref().unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(kept.name, "edge-istio");
    assert_eq!(
        kept.labels,
        [
            pair("gateway.networking.k8s.io/gateway-class-name", "istio"),
            pair("gateway.networking.k8s.io/gateway-name", "edge"),
            pair("team", "web"),
        ]
    );
    assert_eq!(kept.annotations, [pair("a/b", "c")]);
    for capabilities in [&["address-pool"][..], &["infrastructure"]] {
        let (translation, _) = translate_for(capabilities, edge());
        assert_eq!(translation.bindings[0].infrastructure, None, "{capabilities:?}");
        assert!(translation.findings.iter().any(|finding| finding.code == "no-infrastructure"), "{capabilities:?}");
    }
    let asked = gateway("edge", json!({"addresses": [{"value": "192.0.2.1"}]}));
    let (translation, _) = translate_for(&["infrastructure"], vec![asked]);
    assert!(translation.bindings[0].infrastructure.is_some());
}
