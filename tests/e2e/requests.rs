//! What a request tells the backend, and what is written down of it.

use rig::{Backend, Form, Gateway, Http, Match, Route, Server, Site, endpoints, service};

use crate::task::*;

in_both_forms!(dot_segments_are_resolved_before_routing, one_line_a_request);

/// helloworld with the paths routed that show what the backend was told.
fn helloworld(form: Form) -> (Site, Gateway, Backend) {
    let site = Site::new();
    let backend = Backend::start("v1");
    site.apply(&service("helloworld", 5000));
    site.apply(&endpoints("helloworld", "local", Some(backend.address())));
    site.apply(&form.route(&Route::new("helloworld", 5000, &[Match::Prefix("/head"), Match::Prefix("/status")])));
    site.apply(&form.gateway(&[Server::simple("helloworld")]));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    let gateway = site.run();
    (site, gateway, backend)
}

/// Plugin and backend see the same path.
fn dot_segments_are_resolved_before_routing(form: Form) {
    let (_site, gateway, _backend) = helloworld(form);
    for http in Http::BOTH {
        let ask = |path| gateway.curl(HELLOWORLD, path).ca(ca()).http(http).arg("--path-as-is");
        let told = ask("/elsewhere/../status/./seen/../../%68ead").answers(200).text();
        assert!(told.starts_with("GET /head HTTP/1.1\r\n"), "{told}");
        ask("/head/../elsewhere").answers(404);
        ask("/head/%2e%2e/elsewhere").answers(404);
    }
}

fn one_line_a_request(form: Form) {
    let (_site, gateway, backend) = helloworld(form);
    for http in Http::BOTH {
        let place = gateway.log().here();
        gateway.curl(HELLOWORLD, "/head?q=1").ca(ca()).http(http).header("x-a: b").answers(200);
        gateway.curl(HELLOWORLD, "/nothing").ca(ca()).http(http).answers(404);
        let lines = rig::eventually(|| {
            let lines = gateway.log().requests_since(place);
            if lines.len() >= 2 { Ok(lines) } else { Err(format!("{} lines", lines.len())) }
        });
        let [served, refused] = &lines[..] else { panic!("{} lines for two requests", lines.len()) };
        for (name, value) in [("method", "GET"), ("authority", HELLOWORLD), ("sni", HELLOWORLD)] {
            assert_eq!(served.field(name), value, "{}", served.text);
            assert_eq!(refused.field(name), value, "{}", refused.text);
        }
        // What follows `?` may be a secret.
        assert_eq!(served.field("path"), "/head", "{}", served.text);
        assert_eq!(served.field("status"), 200, "{}", served.text);
        assert_eq!(served.field("endpoint"), &backend.address().to_string(), "{}", served.text);
        assert!(served.field("cluster").as_str().is_some_and(|name| name.contains("helloworld")), "{}", served.text);
        assert!(served.field("duration_ms").is_number(), "{}", served.text);
        assert!(served.field("bytes_sent").as_u64() > Some(0), "{}", served.text);
        assert_eq!(refused.field("path"), "/nothing", "{}", refused.text);
        assert_eq!(refused.field("status"), 404, "{}", refused.text);
        assert_eq!(refused.field("reason"), "no-route", "{}", refused.text);
    }
}

/// Nobody vouches for himself.
#[test]
fn forwarded_headers_of_a_stranger_are_dropped() {
    let (_site, gateway, _backend) = helloworld(Form::Istio);
    for http in Http::BOTH {
        let mut ask = gateway.curl(HELLOWORLD, "/head").ca(ca()).http(http).header("x-mine: kept");
        for header in ["x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip"] {
            ask = ask.header(&format!("{header}: forged"));
        }
        let told = ask.header("X-Forwarded-Proto: forged").answers(200).text();
        assert!(!told.contains("forged"), "{told}");
        assert!(told.contains("\r\nx-mine: kept\r\n"), "{told}");
        assert!(told.contains("\r\nx-forwarded-proto: https\r\n"), "{told}");
        assert!(told.contains("\r\nx-forwarded-for: 127.0.0.1\r\n"), "{told}");
        assert!(told.contains("\r\nhost: helloworld.example.com\r\n"), "the authority as the client sent it: {told}");
    }
}

/// What concerns one connection is not passed on to another.
#[test]
fn hop_by_hop_headers_are_removed() {
    let (_site, gateway, _backend) = helloworld(Form::Istio);
    let ask = gateway.curl(HELLOWORLD, "/head").ca(ca()).http(Http::One);
    let told = ask
        .header("Connection: close, x-named")
        .header("x-named: of this hop")
        .header("Keep-Alive: timeout=5")
        .header("Proxy-Connection: keep-alive")
        .header("TE: gzip")
        .answers(200)
        .text()
        .to_lowercase();
    for gone in ["x-named", "of this hop", "\r\nkeep-alive:", "proxy-connection", "\r\nte:"] {
        assert!(!told.contains(gone), "{gone} was passed on: {told}");
    }
}

/// A cookie cut into pieces by HTTP/2 is whole again for HTTP/1.1.
#[test]
fn cookies_arrive_in_one_piece() {
    let (_site, gateway, _backend) = helloworld(Form::Istio);
    for http in Http::BOTH {
        let told = gateway.curl(HELLOWORLD, "/head").ca(ca()).http(http).header("cookie: a=1; b=2").answers(200).text();
        assert!(told.contains("\r\ncookie: a=1; b=2\r\n"), "{told}");
    }
}
