//! How endpoints are reached, as DestinationRules say: TLS, subsets, stickiness, limits, ejection, the PROXY protocol.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use rig::{Backend, Certificates, Form, Gateway, Http, Line, Match, Route, Server, Set, Site, Told};
use rig::{endpoints, eventually, service};
use serde_json::{Value, json};

use crate::task::*;

/// helloworld with every path routed, and a DestinationRule of this policy.
fn helloworld(addresses: &[SocketAddr], policy: &Value) -> Site {
    let site = Site::new();
    site.apply(&service("helloworld", 5000));
    for (at, address) in addresses.iter().enumerate() {
        site.apply(&endpoints("helloworld", &at.to_string(), Some(*address)));
    }
    site.apply(&Form::Istio.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")])));
    site.apply(&Form::Istio.gateway(&[Server::simple("helloworld")]));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&rule(json!({ "trafficPolicy": policy })));
    site
}

fn rule(mut spec: Value) -> Value {
    spec["host"] = json!("helloworld");
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": { "name": "helloworld" },
        "spec": spec,
    })
}

pub(crate) fn ask(gateway: &Gateway) -> rig::Curl {
    gateway.curl(HELLOWORLD, "/anything").ca(ca())
}

/// The endpoints of all clusters, as the gateway sees them.
fn endpoints_of(gateway: &Gateway) -> Vec<Value> {
    let status = gateway.status();
    let clusters = status["clusters"].as_array().into_iter().flatten();
    clusters.filter_map(|cluster| cluster["endpoints"].as_array()).flatten().cloned().collect()
}

/// Waits until the gateway's findings say all of this: they are told after they are in force.
#[track_caller]
fn finds(gateway: &Gateway, parts: &[&str]) {
    eventually(|| {
        let findings = gateway.status()["findings"].to_string();
        if parts.iter().all(|part| findings.contains(part)) { Ok(()) } else { Err(findings) }
    });
}

/// The line of the access log of a request that is answered with 503.
#[track_caller]
pub(crate) fn refused(gateway: &Gateway) -> Line {
    eventually(|| {
        let place = gateway.log().here();
        let answer = ask(gateway).run();
        // The line of a request before may come after `place`.
        let own = |line: &Line| line.is_access() && line.field("status") == answer.status;
        let line = gateway.log().wait_since(place, own);
        if answer.status == 503 { Ok(line) } else { Err(answer.to_string()) }
    })
}

/// A Secret with an authority, and a pair if there is one, in the namespace of the gateway.
fn authority(set: Set, client: Option<&str>) -> Value {
    let set = match set {
        Set::First => "example_certs1",
        Set::Second => "example_certs2",
    };
    let pair = client.map_or_else(String::new, |name| {
        format!(" --from-file=tls.key=example_certs1/{name}.key --from-file=tls.crt=example_certs1/{name}.crt")
    });
    Site::secret(&format!("generic backend-ca{pair} --from-file=ca.crt={set}/example.com.crt"))
}

/// TLS with these fields besides the usual, or instead.
fn tls(fields: &[(&str, Value)]) -> Value {
    let mut tls = json!({ "mode": "SIMPLE", "credentialName": "backend-ca", "sni": "backend.example.com" });
    for (field, value) in fields {
        tls[*field] = value.clone();
    }
    json!({ "tls": tls })
}

#[test]
fn endpoints_are_spoken_to_in_tls_and_verified() {
    let backend = Told::start_tls("one", &Certificates::shared().pair(Set::First, "wildcard"), None);
    let site = helloworld(&[backend.address()], &tls(&[]));
    site.apply(&authority(Set::First, None));
    let gateway = site.run();
    for http in Http::BOTH {
        let told = ask(&gateway).http(http).answers(200).text();
        assert!(told.contains("sni: backend.example.com") && told.contains("client-certificate: false"), "{told}");
    }
    // Another authority takes effect without a restart, and names the reason.
    site.apply(&authority(Set::Second, None));
    let line = refused(&gateway);
    assert_eq!(line.field("reason"), "upstream-tls", "{}", line.text);
    // The task's authorities have one name, so that only the keys tell them apart.
    assert!(line.field("detail").as_str().unwrap().contains("its signature is wrong"), "{}", line.text);
    site.apply(&authority(Set::First, None));
    ask(&gateway).soon().answers(200);
    // A name that is not in the certificate.
    site.apply(&rule(json!({ "trafficPolicy": tls(&[("subjectAltNames", json!(["other.example.com"]))]) })));
    let line = refused(&gateway);
    assert!(line.field("detail").as_str().unwrap().contains("not for other.example.com"), "{}", line.text);
    site.apply(&rule(json!({ "trafficPolicy": tls(&[("subjectAltNames", json!(["*.example.com"]))]) })));
    ask(&gateway).soon().answers(200);
}

#[test]
fn an_authority_that_is_not_there_is_told() {
    let backend = Told::start_tls("one", &Certificates::shared().pair(Set::First, "wildcard"), None);
    let site = helloworld(&[backend.address()], &tls(&[]));
    let gateway = site.run();
    let line = refused(&gateway);
    assert_eq!(line.field("reason"), "cluster-refused", "{}", line.text);
    assert!(line.field("detail").as_str().unwrap().contains("backend-ca"), "{}", line.text);
    finds(&gateway, &["secret-not-found", "answered with 503"]);
    assert_eq!(backend.requests(), 0);
    site.apply(&authority(Set::First, None));
    ask(&gateway).soon().answers(200);
    // The last good one serves on.
    site.delete("Secret", "backend-ca");
    finds(&gateway, &["deleted-secret"]);
    ask(&gateway).answers(200);
}

#[test]
fn a_client_certificate_is_shown_to_endpoints() {
    let certificates = Certificates::shared();
    let clients = certificates.ca(Set::First);
    let backend = Told::start_tls("one", &certificates.pair(Set::First, "wildcard"), Some(&clients));
    let site = helloworld(&[backend.address()], &tls(&[]));
    site.apply(&authority(Set::First, None));
    let gateway = site.run();
    refused(&gateway);
    assert_eq!(backend.requests(), 0);
    site.apply(&authority(Set::First, Some("client-v3.example.com")));
    site.apply(&rule(json!({ "trafficPolicy": tls(&[("mode", json!("MUTUAL"))]) })));
    let told = ask(&gateway).soon().answers(200).text();
    assert!(told.contains("client-certificate: true"), "{told}");
}

#[test]
fn a_subset_is_the_pods_with_its_labels() {
    let site = helloworld(&[], &json!({}));
    for version in ["v1", "v2"] {
        let mut slice = endpoints("helloworld", version, Some(Backend::start(version).address()));
        slice["endpoints"][0]["targetRef"] = json!({ "kind": "Pod", "namespace": "default", "name": version });
        site.apply(&slice);
        site.apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": version, "labels": { "app": "helloworld", "version": version } },
        }));
    }
    let subset = |version: &str| json!({ "name": "chosen", "labels": { "version": version } });
    site.apply(&rule(json!({ "subsets": [subset("v2")] })));
    let mut route = Form::Istio.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")]));
    route["spec"]["http"][0]["route"][0]["destination"]["subset"] = json!("chosen");
    site.apply(&route);
    let gateway = site.run();
    let instance = || gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200).header("x-instance");
    assert!((0..10).all(|_| instance().as_deref() == Some("v2")));
    site.apply(&rule(json!({ "subsets": [subset("v1")] })));
    eventually(|| if instance().as_deref() == Some("v1") { Ok(()) } else { Err("still v2".to_owned()) });
    site.apply(&rule(json!({ "subsets": [subset("v3")] })));
    let line = refused(&gateway);
    assert_eq!(line.field("reason"), "no-endpoint", "{}", line.text);
    finds(&gateway, &["version=v3", "default/v1"]);
}

#[test]
fn a_cookie_keeps_a_client_with_its_endpoint() {
    let backends = ["one", "two", "three"].map(Told::start);
    let addresses: Vec<SocketAddr> = backends.iter().map(Told::address).collect();
    let policy = json!({ "loadBalancer": { "consistentHash": { "httpCookie": { "name": "stuck", "ttl": "60s" } } } });
    let site = helloworld(&addresses, &policy);
    let gateway = site.run();
    let first = ask(&gateway).answers(200);
    let cookie = first.header("set-cookie").expect("a client without a cookie is given one");
    assert!(cookie.starts_with("stuck=") && cookie.contains("Max-Age=60"), "{cookie}");
    let sent = format!("cookie: {}", cookie.split(';').next().unwrap());
    for _ in 0..10 {
        let again = ask(&gateway).header(&sent).answers(200);
        assert_eq!(again.text(), first.text());
        assert_eq!(again.header("set-cookie"), None);
    }
    // Others are led elsewhere.
    let others: BTreeSet<String> = (0..30).map(|_| ask(&gateway).answers(200).text()).collect();
    assert!(others.len() > 1, "{others:?}");
}

#[test]
fn a_cluster_is_asked_for_no_more_than_it_may() {
    let backend = Backend::start("one");
    let policy = json!({ "connectionPool": {
        "tcp": { "maxConnections": 1 },
        "http": { "http1MaxPendingRequests": 1, "http2MaxRequests": 2 },
    } });
    let site = helloworld(&[backend.address()], &policy);
    let gateway = site.run();
    let mut held = gateway.curl(HELLOWORLD, "/held").ca(ca()).command();
    let mut held = held.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually(|| if backend.connections() == 1 { Ok(()) } else { Err("not there yet".to_owned()) });
    let mut waiting = gateway.curl(HELLOWORLD, "/hello").ca(ca()).command();
    let mut waiting = waiting.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    // One is under way, one waits.
    eventually(|| {
        let active: Vec<u64> = endpoints_of(&gateway).iter().filter_map(|e| e["activeRequests"].as_u64()).collect();
        if active == [2] { Ok(()) } else { Err(format!("{active:?} requests")) }
    });
    let line = refused(&gateway);
    assert_eq!(line.field("reason"), "upstream-overflow", "{}", line.text);
    assert!(gateway.page("/metrics").body.contains("sekisho_cluster_overflows_total"), "it is counted");
    backend.release();
    assert!(held.wait().unwrap().success() && waiting.wait().unwrap().success());
    // One after the other: whose worker has it matters not.
    assert!(backend.connections() <= 2);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
}

#[test]
fn an_endpoint_that_keeps_failing_is_left_out_and_comes_back() {
    let backends = ["bad", "good"].map(Told::start);
    backends[0].answer(503);
    let addresses: Vec<SocketAddr> = backends.iter().map(Told::address).collect();
    let policy = json!({
        "loadBalancer": { "simple": "ROUND_ROBIN" },
        "outlierDetection": { "consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "2s" },
    });
    let site = helloworld(&addresses, &policy);
    let gateway = site.run();
    let failed = (0..30).filter(|_| ask(&gateway).run().status == 503).count();
    assert!((3..12).contains(&failed), "{failed} of 30 failed");
    let left_out = endpoints_of(&gateway).iter().filter(|endpoint| endpoint["ejections"].as_u64() > Some(0)).count();
    assert_eq!(left_out, 1);
    backends[0].answer(200);
    let asked = backends[0].requests();
    eventually(|| {
        ask(&gateway).answers(200);
        if backends[0].requests() > asked { Ok(()) } else { Err("it is not asked again".to_owned()) }
    });
}

#[test]
fn endpoints_are_told_whose_connection_it_is() {
    let backend = Told::start("one");
    let site = helloworld(&[backend.address()], &json!({ "proxyProtocol": { "version": "V1" } }));
    let gateway = site.run();
    let told = |gateway: &Gateway| {
        let told = ask(gateway).answers(200).text();
        let line = told.lines().find_map(|line| line.strip_prefix("proxy: PROXY TCP4 127.0.0.1 127.0.0.1 "));
        line.unwrap_or_else(|| panic!("no header in {told}")).to_owned()
    };
    let (first, second) = (told(&gateway), told(&gateway));
    assert_ne!(first, second, "each client has a port of its own");
    assert!(first.ends_with(&format!(" {}", gateway.https())), "{first}");
}
