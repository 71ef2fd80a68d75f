//! HTTP/2 and gRPC through the gateway: trailers, streams in both directions, windows that are shut, drains.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use rig::http2::{Http2Backend, Http2Client, at_once, next, send};
use rig::{Backend, Form, Gateway, Http, Match, Route, Server, Site, endpoints, service};
use serde_json::json;

use crate::task::*;

in_both_forms!(
    trailers_pass_in_both_directions,
    an_answer_may_be_trailers_only,
    both_sides_may_talk_at_once_and_be_silent,
    a_client_that_reads_slowly_holds_the_backend_back,
    a_backend_that_reads_slowly_holds_the_client_back,
);

const HOST: &str = "grpc.example.com";

/// In the clear on port 80.
fn open_listener(form: Form) -> serde_json::Value {
    match form {
        Form::Istio => json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "mygateway" },
            "spec": { "servers": [{ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] }] } }),
        Form::GatewayApi => json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": { "name": "mygateway", "namespace": "istio-system" },
            "spec": { "gatewayClassName": "istio", "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": { "namespaces": { "from": "All" } } }] } }),
    }
}

fn to_grpc(form: Form) -> (Site, Gateway, Http2Backend) {
    let site = Site::new();
    let backend = Http2Backend::start();
    let mut speaks = service("grpc", 5000);
    // Where a GRPCRoute leads, nobody has to say so.
    if form == Form::Istio {
        speaks["spec"]["ports"][0]["appProtocol"] = json!("kubernetes.io/h2c");
    }
    site.apply(&speaks);
    site.apply(&endpoints("grpc", "local", Some(backend.address())));
    site.apply(&match form {
        Form::Istio => form.route(&Route::new("grpc", 5000, &[Match::Prefix("/")])),
        Form::GatewayApi => json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": { "name": "grpc" },
            "spec": { "parentRefs": [{ "name": "mygateway", "namespace": "istio-system" }], "hostnames": [HOST],
                      "rules": [{ "backendRefs": [{ "name": "grpc", "port": 5000 }] }] } }),
    });
    site.apply(&open_listener(form));
    site.configure(&json!({ "workers": 1, "limits": { "bodyTimeout": "300ms" } }));
    let gateway = site.run();
    (site, gateway, backend)
}

fn trailers_pass_in_both_directions(form: Form) {
    let (_site, gateway, backend) = to_grpc(form);
    at_once(async {
        let mut client = Http2Client::connect(gateway.http(), HOST).await;
        for _ in 0..2 {
            let (answer, mut body) = client.call("/echo").await.expect("a stream");
            body.send_data(Bytes::from_static(b"hello"), false).expect("it reads");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", HeaderValue::from_static("from the client"));
            trailers.insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4"));
            body.send_trailers(trailers).expect("it reads");
            let (head, mut body) = answer.await.expect("an answer").into_parts();
            assert_eq!(
                (head.status.as_u16(), head.headers["content-type"].as_bytes()),
                (200, &b"application/grpc"[..])
            );
            assert_eq!(next(&mut body).await.as_deref(), Some(&b"hello"[..]));
            assert_eq!(next(&mut body).await, None);
            let trailers = body.trailers().await.expect("an end").expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
            assert_eq!(trailers["x-trailer"], "from the client");
        }
    });
    assert_eq!(backend.connections(), 1, "streams share a connection");
}

fn an_answer_may_be_trailers_only(form: Form) {
    let (_site, gateway, _backend) = to_grpc(form);
    at_once(async {
        let mut client = Http2Client::connect(gateway.http(), HOST).await;
        let (answer, mut body) = client.call("/fail").await.expect("a stream");
        body.send_data(Bytes::new(), true).expect("it reads");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.headers()["grpc-status"], "7");
        assert!(answer.body().is_end_stream());
    });
}

/// The answer begins before the request ends, and once it has neither side need say anything for `bodyTimeout`.
fn both_sides_may_talk_at_once_and_be_silent(form: Form) {
    let (_site, gateway, _backend) = to_grpc(form);
    at_once(async {
        let mut client = Http2Client::connect(gateway.http(), HOST).await;
        let (answer, mut to) = client.call("/echo").await.expect("a stream");
        let mut from = answer.await.expect("an answer before the request has ended").into_body();
        for word in ["one", "two", "three"] {
            to.send_data(Bytes::from(word), false).expect("it reads");
            assert_eq!(next(&mut from).await, Some(Bytes::from(word)));
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        to.send_data(Bytes::new(), true).expect("it reads");
        assert_eq!(next(&mut from).await, None);
        assert_eq!(from.trailers().await.expect("an end").expect("trailers")["grpc-status"], "0");
    });
}

fn a_client_that_reads_slowly_holds_the_backend_back(form: Form) {
    let (_site, gateway, backend) = to_grpc(form);
    at_once(async {
        let mut client = Http2Client::connect(gateway.http(), HOST).await;
        let (answer, mut to) = client.call("/flood").await.expect("a stream");
        to.send_data(Bytes::new(), true).expect("it reads");
        let mut from = answer.await.expect("an answer").into_body();
        // Whatever windows and buffers hold is sent, and no more.
        let mut sent = backend.sent();
        let start = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if sent > 0 && backend.sent() == sent {
                break;
            }
            sent = backend.sent();
            assert!(start.elapsed() < Duration::from_secs(20), "{sent} bytes, and it goes on");
        }
        assert!(sent < 2 << 20, "{sent} bytes for a client that took none");
        // And the rest when it reads.
        let mut read = 0;
        while read < 8 << 20 {
            read += next(&mut from).await.expect("it goes on").len();
        }
    });
}

fn a_backend_that_reads_slowly_holds_the_client_back(form: Form) {
    let (_site, gateway, _backend) = to_grpc(form);
    at_once(async {
        let mut client = Http2Client::connect(gateway.http(), HOST).await;
        let (answer, mut to) = client.call("/hold").await.expect("a stream");
        let _from = answer.await.expect("an answer").into_body();
        let mut sent = 0;
        let piece = Bytes::from_static(&[b'x'; 16 << 10]);
        while let Ok(more) = tokio::time::timeout(Duration::from_secs(1), send(&mut to, piece.clone())).await {
            sent += more.expect("the stream lives");
            assert!(sent < 2 << 20, "{sent} bytes for a backend that took none");
        }
        assert!(sent > 0);
    });
}

/// A client in the clear that asks over one connection, again and again, until that is over; why it stopped.
pub(crate) fn keeps_asking(gateway: &Gateway, host: &str, answered: &AtomicUsize, over: &AtomicBool) -> String {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.http())).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut writer = stream;
    loop {
        if over.load(Ordering::Relaxed) {
            return "over".to_owned();
        }
        if let Err(error) = writer.write_all(format!("GET /hello HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()) {
            return format!("cannot ask: {error}");
        }
        let (mut length, mut close) = (0, false);
        let mut line = String::new();
        loop {
            line.clear();
            match reader.read_line(&mut line) {
                Ok(0) => return "closed before an answer".to_owned(),
                Err(error) => return format!("no answer: {error}"),
                Ok(_) if line == "\r\n" => break,
                Ok(_) => {}
            }
            let lower = line.to_ascii_lowercase();
            if lower.starts_with("http/1.1 ") && !lower.starts_with("http/1.1 200") {
                return line;
            }
            close |= lower.trim_end() == "connection: close";
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        if let Err(error) = reader.read_exact(&mut vec![0; length]) {
            return format!("half an answer: {error}");
        }
        answered.fetch_add(1, Ordering::Relaxed);
        if close {
            return "told to close".to_owned();
        }
    }
}

fn open_web(keys: &serde_json::Value) -> (Site, Gateway) {
    let site = Site::new();
    site.apply(&service("web", 80));
    site.apply(&endpoints("web", "local", Some(Backend::start("v1").address())));
    site.apply(&open_listener(Form::Istio));
    site.apply(&json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "web" },
        "spec": { "hosts": ["*"], "gateways": ["mygateway"], "http": [{ "route": [{ "destination": { "host": "web" } }] }] } }));
    site.configure(keys);
    let gateway = site.run();
    (site, gateway)
}

/// Every request that was sent is answered, and every client is told to go.
#[test]
fn a_drain_under_load_fails_no_request_of_http1() {
    let (_site, mut gateway) = open_web(&json!({ "workers": 2 }));
    let (answered, never) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..8).map(|_| scope.spawn(|| keeps_asking(&gateway, "web", &answered, &never))).collect();
        while answered.load(Ordering::Relaxed) < 200 {
            std::thread::sleep(Duration::from_millis(5));
        }
        gateway.signal("TERM");
        for client in clients {
            assert_eq!(client.join().expect("a client"), "told to close");
        }
    });
    assert!(gateway.ended(Duration::from_secs(10)).is_some_and(|status| status.success()));
}

#[test]
fn a_drain_under_load_fails_no_request_of_http2() {
    let (_site, mut gateway) = open_web(&json!({ "workers": 2 }));
    let port = gateway.http();
    let answered = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (known, stopped) = (Arc::clone(&answered), Arc::clone(&stop));
    let clients = std::thread::spawn(move || {
        at_once(async move {
            let asking = (0..4).map(|_| {
                let (answered, stopped) = (Arc::clone(&known), Arc::clone(&stopped));
                tokio::spawn(async move {
                    let mut client = Http2Client::connect(port, "web").await;
                    // Until the server says that it takes no more.
                    while let Ok((answer, mut to)) = client.call("/hello").await {
                        to.send_data(Bytes::new(), true).expect("it reads");
                        let answer = answer.await.expect("what was taken is answered");
                        assert_eq!(answer.status(), 200);
                        let mut body = answer.into_body();
                        while next(&mut body).await.is_some() {}
                        answered.fetch_add(1, Ordering::Relaxed);
                        assert!(!stopped.load(Ordering::Relaxed), "it was never told to go");
                    }
                })
            });
            for client in asking.collect::<Vec<_>>() {
                client.await.expect("no request failed");
            }
        });
    });
    while answered.load(Ordering::Relaxed) < 200 {
        std::thread::sleep(Duration::from_millis(5));
    }
    gateway.signal("TERM");
    assert!(gateway.ended(Duration::from_secs(10)).is_some_and(|status| status.success()));
    stop.store(true, Ordering::Relaxed);
    clients.join().expect("no request failed");
}

/// The client sends its body only when it is told to.
#[test]
fn a_body_may_wait_to_be_asked_for() {
    let (_site, gateway) = open_web(&json!({}));
    let body = vec![b'x'; 100_000];
    let answer = gateway.curl_http("web", "/echo").post(&body).header("Expect: 100-continue").arg("-v").answers(200);
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
}

/// A connection that is too old takes no further request.
#[test]
fn connections_to_endpoints_grow_old() {
    let (site, gateway) = open_web(&json!({ "workers": 1, "limits": { "upstreamAge": "300ms" } }));
    let backend = Backend::start("v1");
    site.apply(&endpoints("web", "local", Some(backend.address())));
    let asks = || gateway.curl_http("web", "/hello").answers(200);
    rig::eventually(|| {
        asks();
        if backend.connections() > 0 { Ok(()) } else { Err("the new endpoint was not asked".to_owned()) }
    });
    let before = backend.connections();
    asks();
    asks();
    assert!(backend.connections() <= before + 1, "a young one is used again");
    std::thread::sleep(Duration::from_millis(400));
    let young = backend.connections();
    asks();
    assert_eq!(backend.connections(), young + 1);
}

/// Those that have not finished their handshakes are bounded, and do not keep others from being served once they go.
#[test]
fn handshakes_are_bounded() {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.configure(&json!({ "workers": 1, "limits": { "handshakes": 3, "handshakeTimeout": "2s" } }));
    let gateway = site.run();
    let silent: Vec<_> =
        (0..3).map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.https())).expect("it listens")).collect();
    gateway.log().wait(|line| line.has(&["limits.handshakes"]) || !silent.is_empty());
    std::thread::sleep(Duration::from_millis(200));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(Http::One).fails(35, "");
    drop(silent);
    rig::eventually(|| match gateway.curl(HTTPBIN, "/status/418").ca(ca()).run().status {
        418 => Ok(()),
        other => Err(format!("{other}")),
    });
    assert!(gateway.page("/metrics").body.contains(r#"result="too-many""#));
}

/// The key exchange of whoever can is one that a quantum computer does not undo; a staple is shown to whoever asks.
#[test]
fn handshakes_are_of_today() {
    let site = Site::new();
    let mut stapled = Site::secret(HELLOWORLD_CREDENTIAL);
    // `staple` in base64; what it says is between issuer and client.
    stapled["data"]["tls.ocsp-staple"] = json!("c3RhcGxl");
    site.apply(&stapled);
    site.apply(&Form::Istio.gateway(&[Server::simple("helloworld")]));
    let gateway = site.run();
    let handshake = gateway.s_client(Some(HELLOWORLD)).arg("-status").arg("-trace").run();
    assert!(handshake.trace.contains("status_request"), "{handshake}");
    assert!(handshake.trace.contains("73 74 61 70 6c 65"), "{handshake}");
    assert_eq!(rig::tls::key_exchange(gateway.https(), HELLOWORLD), "X25519MLKEM768");
}
