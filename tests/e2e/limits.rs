//! Time-outs, sizes and counts of `limits`, and what a client sees of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rig::{Backend, Gateway, Http, Site, endpoints, service};
use serde_json::json;

/// One host in clear text, with limits short enough to be met in a test.
fn short_of_patience() -> (Site, Gateway, Backend) {
    let site = Site::new();
    let backend = Backend::start("v1");
    site.apply(&service("web", 80));
    site.apply(&endpoints("web", "local", Some(backend.address())));
    site.apply(
        &json!({ "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "g" }, "spec": {
        "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] }] } }),
    );
    site.apply(
        &json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "web" },
        "spec": { "hosts": ["*"], "gateways": ["g"], "http": [{ "route": [{ "destination": { "host": "web" } }] }] } }),
    );
    site.configure(&json!({ "limits": {
        "handshakeTimeout": "500ms", "headerTimeout": "500ms", "bodyTimeout": "500ms", "idleTimeout": "1500ms",
        "headerBytes": 8192, "headerCount": 20, "pathBytes": 300,
    } }));
    let gateway = site.run();
    (site, gateway, backend)
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", gateway.http())).expect("the gateway listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    stream
}

/// What comes until the gateway closes, and how long that takes.
fn until_closed(mut stream: TcpStream) -> (String, Duration) {
    let start = Instant::now();
    let mut said = Vec::new();
    // A reset is an end as well.
    _ = stream.read_to_end(&mut said);
    (String::from_utf8_lossy(&said).into_owned(), start.elapsed())
}

#[track_caller]
fn about(waited: Duration, milliseconds: u64) {
    let expected = Duration::from_millis(milliseconds);
    assert!(waited > expected / 2 && waited < expected + Duration::from_secs(3), "{waited:?} instead of {expected:?}");
}

#[test]
fn a_client_that_says_nothing_is_cut_off() {
    let (_site, gateway, _backend) = short_of_patience();
    let (said, waited) = until_closed(connect(&gateway));
    assert_eq!(said, "");
    about(waited, 500);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let (_site, gateway, _backend) = short_of_patience();
    let mut stream = connect(&gateway);
    let start = Instant::now();
    let ended = "GET / HTTP/1.1\r\nhost: a\r\nx: ".bytes().chain(std::iter::repeat_n(b'y', 200)).any(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        stream.write_all(&[byte]).is_err()
    });
    assert!(ended, "the gateway takes bytes for {:?}", start.elapsed());
}

#[test]
fn an_idle_connection_is_closed() {
    let (_site, gateway, _backend) = short_of_patience();
    let mut stream = connect(&gateway);
    stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n").expect("the gateway listens");
    let (said, waited) = until_closed(stream);
    assert!(said.starts_with("HTTP/1.1 404"), "{said}");
    about(waited, 1500);
}

#[test]
fn a_body_that_stalls_is_answered_with_408() {
    let (_site, gateway, _backend) = short_of_patience();
    let mut stream = connect(&gateway);
    let place = gateway.log().here();
    stream
        .write_all(b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome")
        .expect("the gateway listens");
    let (said, waited) = until_closed(stream);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    about(waited, 500);
    gateway.log().wait_since(place, |line| line.is_access() && line.has(&["request-timeout"]));
}

#[test]
fn what_is_too_large_is_refused() {
    let (_site, gateway, _backend) = short_of_patience();
    for http in Http::BOTH {
        let http = if matches!(http, Http::Two) { "--http2-prior-knowledge" } else { "--http1.1" };
        let ask = |path: &str| gateway.curl_http("a.example.com", path).arg(http);
        let long = "p".repeat(400);
        assert_eq!(ask(&format!("/{long}")).run().status, 414, "{http}");
        let mut many = ask("/");
        for number in 0..30 {
            many = many.header(&format!("x-{number}: y"));
        }
        assert_eq!(many.run().status, 431, "{http}");
        // Just above the limit, where hyper's buffer still takes it, and well above.
        for length in [8192, 9000] {
            let large = ask("/head").header(&format!("x: {}", "y".repeat(length)));
            assert_eq!(large.run().status, 431, "{length} over {http}");
        }
        // HTTP/2 counts 32 bytes more a field (RFC 9113 §10.5.1).
        assert_eq!(ask("/head").header(&format!("x: {}", "y".repeat(7500))).run().status, 200, "{http}");
        assert_eq!(ask("/head").run().status, 200, "{http}");
    }
}

/// What a plugin looks at is bounded, whatever `headerBytes` says.
#[test]
fn a_header_that_routes_are_chosen_by_has_its_own_limit() {
    let (site, gateway, _backend) = short_of_patience();
    site.configure(&json!({ "limits": { "headerBytes": 65536 } }));
    gateway.signal("HUP");
    site.apply(
        &json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "web" },
        "spec": { "hosts": ["*"], "gateways": ["g"], "http": [
            { "match": [{ "headers": { "cookie": { "regex": "^(.*?;)?(user=jason)(;.*)?$" } } }],
              "directResponse": { "status": 204 } },
            { "route": [{ "destination": { "host": "web" } }] }] } }),
    );
    let ask = |cookie: String| {
        gateway.curl_http("a.example.com", "/head").http(Http::One).header(&format!("cookie: {cookie}"))
    };
    ask("a=b;user=jason;c=d".to_owned()).soon().answers(204);
    ask("user=jaso; ".repeat(700)).answers(200);
    ask("user=jaso; ".repeat(800)).answers(431);
    ask("a=b".to_owned()).answers(200);
}

#[test]
fn what_is_not_a_request_is_refused() {
    let (_site, gateway, backend) = short_of_patience();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", "400"),
        ("GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("GET /../x HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", "400"),
    ] {
        let mut stream = connect(&gateway);
        stream.write_all(request.as_bytes()).expect("the gateway listens");
        let (said, _) = until_closed(stream);
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{request:?} gives {said:?}");
    }
    drop(backend);
}
