//! Endpoints: which one is asked, and what the client is told when there is none.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use rig::{Backend, Form, Gateway, Http, Line, Match, Route, Server, Site, endpoints, endpoints_in_state, eventually};
use rig::{free_port, service};
use serde_json::json;

use crate::task::*;

in_both_forms!(no_endpoints_503, connect_failure_503, endpoints_over_ipv6);

/// helloworld with every path routed, and no endpoint yet.
fn helloworld(form: Form) -> Site {
    let site = Site::new();
    site.apply(&service("helloworld", 5000));
    site.apply(&form.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")])));
    site.apply(&form.gateway(&[Server::simple("helloworld")]));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site
}

/// Asks, and gives the line of the access log.
#[track_caller]
fn refused(gateway: &Gateway, http: Http) -> Line {
    let place = gateway.log().here();
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(http).answers(503);
    gateway.log().wait_since(place, Line::is_access)
}

/// Which instances answer so many requests.
#[track_caller]
fn instances(gateway: &Gateway, requests: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for at in 0..requests {
        let hello = gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(Http::BOTH[at % 2]).answers(200);
        *counts.entry(hello.header("x-instance").expect("the backend names itself")).or_default() += 1;
    }
    counts
}

fn no_endpoints_503(form: Form) {
    let site = helloworld(form);
    let gateway = site.run();
    for http in Http::BOTH {
        let line = refused(&gateway, http);
        assert_eq!(line.field("reason"), "no-endpoint", "{}", line.text);
        assert!(line.field("endpoint").is_null(), "{}", line.text);
    }
    // A slice without endpoints says the same as no slice.
    site.apply(&endpoints("helloworld", "local", None));
    assert_eq!(refused(&gateway, Http::Two).field("reason"), "no-endpoint");
    site.apply(&endpoints("helloworld", "local", Some(Backend::start("v1").address())));
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
}

fn connect_failure_503(form: Form) {
    let site = helloworld(form);
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    site.apply(&endpoints("helloworld", "local", Some(nobody)));
    let gateway = site.run();
    for http in Http::BOTH {
        let line = refused(&gateway, http);
        assert_eq!(line.field("reason"), "connect-failed", "{}", line.text);
        assert_eq!(line.field("endpoint"), &nobody.to_string(), "{}", line.text);
    }
}

fn endpoints_over_ipv6(form: Form) {
    let Ok(backend) = Backend::start_on(Ipv6Addr::LOCALHOST.into(), "six") else {
        eprintln!("this machine has no ::1; nothing was tested");
        return;
    };
    let site = helloworld(form);
    site.apply(&endpoints("helloworld", "six", Some(backend.address())));
    let gateway = site.run();
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
    let line = gateway.log().wait(Line::is_access);
    assert_eq!(line.field("endpoint"), &backend.address().to_string(), "{}", line.text);
}

#[test]
fn every_ready_endpoint_has_its_share() {
    let site = helloworld(Form::Istio);
    for instance in ["one", "two", "three"] {
        site.apply(&endpoints("helloworld", instance, Some(Backend::start(instance).address())));
    }
    let resting = Backend::start("resting").address();
    site.apply(&endpoints_in_state("helloworld", "resting", Some(resting), false));
    let gateway = site.run();
    let counts = instances(&gateway, 45);
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["one", "three", "two"]);
    assert!(counts.values().all(|count| (7..=25).contains(count)), "{counts:?}");
}

#[test]
fn endpoints_come_and_go() {
    let site = helloworld(Form::Istio);
    let slice = |instance| endpoints("helloworld", instance, Some(Backend::start(instance).address()));
    site.apply(&slice("one"));
    let gateway = site.run();
    assert!(instances(&gateway, 4).contains_key("one"));
    site.apply(&slice("two"));
    eventually(|| match instances(&gateway, 8) {
        both if both.len() == 2 => Ok(()),
        one => Err(format!("only {one:?}")),
    });
    site.delete("EndpointSlice", "helloworld-one");
    eventually(|| match instances(&gateway, 8) {
        one if one.len() == 1 && one.contains_key("two") => Ok(()),
        both => Err(format!("still {both:?}")),
    });
}

/// A backend that hangs up after each answer without having said so.
#[test]
fn a_stale_connection_costs_no_request() {
    let site = helloworld(Form::Istio);
    site.apply(&endpoints("helloworld", "local", Some(Backend::start("v1").address())));
    let gateway = site.run();
    for http in Http::BOTH {
        let ask = gateway.curl(HELLOWORLD, "/once?[1-30]").ca(ca()).http(http);
        assert_eq!(ask.statuses(), (0, vec![200; 30]));
    }
}

/// Names are looked up in the background, addresses are taken as they are.
#[test]
fn service_entries() {
    let (fixed, named) = (Backend::start("fixed"), Backend::start("named"));
    let site = Site::new();
    let entry = |name: &str, resolution: &str, address: &str, port: u16| {
        json!({ "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": { "name": name }, "spec": {
            "hosts": [format!("{name}.internal")], "resolution": resolution, "location": "MESH_EXTERNAL",
            "ports": [{ "number": 80, "name": "http", "protocol": "HTTP" }],
            "endpoints": [{ "address": address, "ports": { "http": port } }] } })
    };
    site.apply(&entry("fixed", "STATIC", "127.0.0.1", fixed.address().port()));
    site.apply(&entry("named", "DNS", "localhost", named.address().port()));
    let route = |name: &str| {
        json!({ "match": [{ "uri": { "prefix": format!("/{name}/") } }], "rewrite": { "uri": "/" },
                "route": [{ "destination": { "host": format!("{name}.internal") } }] })
    };
    site.apply(
        &json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "both" },
        "spec": { "hosts": [HELLOWORLD], "gateways": ["mygateway"], "http": [route("fixed"), route("named")] } }),
    );
    site.apply(&Form::Istio.gateway(&[Server::simple("helloworld")]));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    let gateway = site.run();
    for name in ["fixed", "named"] {
        let hello = gateway.curl(HELLOWORLD, &format!("/{name}/hello")).ca(ca()).soon().answers(200);
        assert_eq!(hello.header("x-instance").as_deref(), Some(name), "{hello}");
    }
}
