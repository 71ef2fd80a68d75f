//! Two dialects at once, and the kinds of routes that only the Gateway API has.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

use rig::{Form, Http, Route, Server, Site, endpoints, eventually, service};
use serde_json::{Value, json};

use crate::streams::{before_another, echo};
use crate::task::*;

const GROUP: &str = "gateway.networking.k8s.io/v1";

fn object(kind: &str, name: &str, created: &str, spec: &Value) -> Value {
    json!({ "apiVersion": GROUP, "kind": kind, "metadata": { "name": name, "creationTimestamp": created }, "spec": spec })
}

fn gateway(listeners: &Value) -> Value {
    let spec = json!({ "gatewayClassName": "istio", "listeners": listeners });
    object("Gateway", "edge", "2024-01-01T00:00:00Z", &spec)
}

/// Its name is that of the listener that it attaches to.
fn route(kind: &str, name: &str, hostnames: &[&str], service: &str, port: u16) -> Value {
    let mut spec = json!({ "parentRefs": [{ "name": "edge", "sectionName": name }],
                           "rules": [{ "backendRefs": [{ "name": service, "port": port }] }] });
    if !hostnames.is_empty() {
        spec["hostnames"] = json!(hostnames);
    }
    object(kind, name, "2024-01-01T00:00:00Z", &spec)
}

/// A gateway whose TLS ends at an inner one, at itself, or is none, by three kinds of listeners.
#[test]
fn connections_of_the_gateway_api_are_passed_on() {
    let (_inner_site, _inner, site) = before_another();
    site.apply(&service("echo", 9000));
    site.apply(&endpoints("echo", "local", Some(echo("1"))));
    let secret = json!([{ "name": "helloworld-credential", "namespace": "istio-system" }]);
    site.apply(&gateway(&json!([
        { "name": "sealed", "port": 443, "protocol": "TLS", "hostname": "*.example.com", "tls": { "mode": "Passthrough" } },
        { "name": "ends", "port": 443, "protocol": "TLS", "hostname": HELLOWORLD,
          "tls": { "mode": "Terminate", "certificateRefs": secret } },
        { "name": "tcp", "port": 80, "protocol": "TCP" },
    ])));
    site.apply(&json!({ "apiVersion": GROUP, "kind": "ReferenceGrant",
        "metadata": { "name": "edge", "namespace": "istio-system" },
        "spec": { "from": [{ "group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "default" }],
                  "to": [{ "group": "", "kind": "Secret" }] } }));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&route("TLSRoute", "sealed", &[HTTPBIN], "inner", 9000));
    site.apply(&route("TLSRoute", "ends", &[HELLOWORLD], "echo", 9000));
    site.apply(&route("TCPRoute", "tcp", &[], "echo", 9000));
    let outer = site.run();

    // The certificates and the verification are the inner gateway's.
    for version in [Http::One, Http::Two] {
        outer.curl(HTTPBIN, "/status/418").ca(ca()).client(&client()).http(version).answers(418);
    }
    outer.curl(HTTPBIN, "/status/418").ca(ca()).fails(56, "certificate required");
    let nobody = outer.s_client(Some("nobody.example.com")).run();
    assert!(nobody.is_closed(), "{nobody}");
    let ended = outer.s_client_http1(HELLOWORLD).run();
    assert_eq!(ended.shows(HELLOWORLD).alert, None);

    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, outer.http())).expect("it listens");
    plain.write_all(b"hello").and_then(|()| plain.shutdown(Shutdown::Write)).expect("it reads");
    let mut echoed = Vec::new();
    plain.read_to_end(&mut echoed).expect("it ends");
    assert_eq!(echoed, b"1hellobye");

    let told = site.explain(&[&format!("tls://{HTTPBIN}:{}", outer.https())]).exits(0).text();
    assert!(told.contains("default/inner:9000"), "{told}");
    let status = outer.status();
    let edge = statuses(&status, "Gateway", "edge");
    let attached = edge["status"]["listeners"].as_array().expect("listeners");
    assert!(attached.iter().all(|listener| listener["attachedRoutes"] == 1), "{edge}");
}

fn statuses(status: &Value, kind: &str, name: &str) -> Value {
    let all = status["objects"].as_array().cloned().unwrap_or_default();
    let of = |one: &&Value| one["object"].as_str().is_some_and(|key| key.starts_with(kind) && key.ends_with(name));
    all.iter().find(of).unwrap_or_else(|| panic!("no status of {kind} {name} in {status}")).clone()
}

/// Of two addresses that a Gateway asks for, one is nobody's (RFC 5737): it serves on the other, and says so.
#[test]
fn addresses_that_cannot_be_had_are_told() {
    let site = Site::new();
    let listen_on = |addresses: &[&str]| {
        let mut gateway = gateway(&json!([{ "name": "http", "port": 80, "protocol": "HTTP" }]));
        gateway["spec"]["addresses"] = addresses.iter().map(|value| json!({ "value": value })).collect();
        site.apply(&gateway);
    };
    listen_on(&["127.0.0.1", "192.0.2.1"]);
    let gateway = site.run();
    let programmed = |status: &str, reason: &str| {
        eventually(|| {
            let edge = statuses(&gateway.status(), "Gateway", "edge");
            let said = &edge["status"]["conditions"][1];
            let as_expected = said["type"] == "Programmed" && said["status"] == status && said["reason"] == reason;
            if as_expected { Ok(edge["status"]["addresses"].clone()) } else { Err(edge.to_string()) }
        })
    };
    let used = json!([{ "type": "IPAddress", "value": "127.0.0.1" }]);
    assert_eq!(programmed("False", "AddressNotUsable"), used);
    gateway.curl_http(HTTPBIN, "/").answers(404);
    listen_on(&["127.0.0.1"]);
    assert_eq!(programmed("True", "Programmed"), used);
}

/// A Gateway of that name and age for helloworld, on port 443.
fn helloworld_of(name: &str, form: Form, created: &str) -> Value {
    let mut gateway = form.gateway(&[Server::simple("helloworld").section("https")]);
    gateway["metadata"]["name"] = json!(name);
    gateway["metadata"]["creationTimestamp"] = json!(created);
    gateway
}

/// An Istio Gateway for httpbin and one of the Gateway API for helloworld, on port 443.
#[test]
fn two_dialects_share_a_port_and_the_older_object_keeps_a_host() {
    let site = Site::with_httpbin(Form::Istio);
    site.apply(&Form::Istio.gateway(&[Server::simple("httpbin").section("https")]));
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.add_helloworld(Form::GatewayApi);
    let mut route = Form::GatewayApi.route(&Route::helloworld());
    route["spec"]["parentRefs"][0]["name"] = json!("edge");
    site.apply(&route);
    site.apply(&helloworld_of("edge", Form::GatewayApi, "2024-01-01T00:00:00Z"));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    let gateway = site.run();
    for version in Http::BOTH {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(version).answers(418);
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(version).answers(200);
    }
    // A connection of one dialect's host is none for the other's.
    gateway.curl(HELLOWORLD, "/status/418").ca(ca()).authority(HTTPBIN).answers(421);

    let place = gateway.log().here();
    site.apply(&helloworld_of("other", Form::Istio, "2025-01-01T00:00:00Z"));
    let line = gateway.log().wait_since(place, |line| line.has(&["listener-conflict"]));
    assert!(line.has(&["Gateway/istio-system/edge", "other"]), "{}", line.text);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);

    // The other way round it is the Gateway API that loses, and its status says so.
    site.apply(&helloworld_of("other", Form::Istio, "2023-01-01T00:00:00Z"));
    eventually(|| {
        let lost = statuses(&gateway.status(), "Gateway", "edge");
        let conditions = lost["status"]["listeners"][0]["conditions"].as_array().cloned().unwrap_or_default();
        let conflicted = conditions.iter().any(|one| one["type"] == "Conflicted" && one["status"] == "True");
        if conflicted { Ok(()) } else { Err(lost.to_string()) }
    });
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(404);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
}
