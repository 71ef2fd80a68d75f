//! Everything at once: load over both versions of HTTP, changing routes, secrets, plugins and endpoints, an endpoint that
//! is not there, clients that go in the middle. No request fails that nobody broke off, and nothing is left behind.
//!
//! `make test` does some hundred changes; `make soak` as many as it takes for some minutes, by `SEKISHO_CHANGES`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rig::http2::{Http2Client, at_once, next};
use rig::{Backend, Form, Gateway, Line, Match, Route, Server, Site, endpoints, free_port, plugin, service};
use serde_json::json;

use crate::endurance::Held;
use crate::protocols::keeps_asking;
use crate::task::*;

const CHANGES: usize = 200;
/// Between two changes.
const PACE: Duration = Duration::from_millis(30);

/// An HTTP/2 client that asks until it is told to stop; what went wrong.
fn keeps_calling(gateway: &Gateway, answered: &AtomicUsize, over: &AtomicBool) -> Vec<String> {
    let mut wrong = Vec::new();
    at_once(async {
        let mut client = Http2Client::connect(gateway.http(), HTTPBIN).await;
        while !over.load(Ordering::Relaxed) {
            let (answer, mut to) = match client.call("/bytes/20000").await {
                Ok(stream) => stream,
                Err(error) => return wrong.push(format!("no stream: {error}")),
            };
            to.send_data(Bytes::new(), true).expect("it reads");
            match answer.await {
                Ok(answer) if answer.status() == 200 => {
                    let mut body = answer.into_body();
                    let mut bytes = Vec::new();
                    while let Some(piece) = next(&mut body).await {
                        bytes.extend_from_slice(&piece);
                    }
                    if bytes.into_iter().ne(Backend::bytes(20_000)) {
                        wrong.push("another body".to_owned());
                    }
                }
                Ok(answer) => wrong.push(format!("{}", answer.status())),
                Err(error) => wrong.push(error.to_string()),
            }
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
    wrong
}

/// A client that goes: before its request is whole, before the answer, and in the middle of it.
fn keeps_leaving(gateway: &Gateway, over: &AtomicBool) {
    let requests = [
        format!("GET /bytes/1000000 HTTP/1.1\r\nhost: {HTTPBIN}\r\nx-half: "),
        format!("POST /echo HTTP/1.1\r\nhost: {HTTPBIN}\r\ncontent-length: 100000\r\n\r\nnot all of it"),
        format!("GET /bytes/1000000 HTTP/1.1\r\nhost: {HTTPBIN}\r\n\r\n"),
    ];
    for request in requests.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.http())).expect("it listens");
        _ = stream.write_all(request.as_bytes());
        stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
        _ = stream.read(&mut [0; 1000]);
    }
}

/// What an operator, a cluster and time do to a configuration.
fn change(site: &Site, number: usize, backends: &[Backend], nobody: u16) {
    match number % 5 {
        0 => {
            let mut route = route();
            route["spec"]["http"][0]["timeout"] = json!(format!("{}s", 20 + number % 20));
            site.apply(&route);
        }
        1 => site.create_secret([HTTPBIN_CREDENTIAL, HTTPBIN_CREDENTIAL_2][number / 5 % 2]),
        2 => site.apply(&endpoints("httpbin", "more", Some(backends[number / 5 % backends.len()].address()))),
        3 => {
            // One that nobody is behind: the next one is tried.
            let gone = (number / 5).is_multiple_of(2).then(|| (Ipv4Addr::LOCALHOST, nobody).into());
            site.apply(&endpoints("httpbin", "gone", gone));
        }
        _ => {
            let mut code = fs::read(plugin("istio")).expect("`make test` builds it");
            code.extend([0, 5, 3, b'r', b'i', b'g', u8::try_from(number / 5 % 2).expect("0 or 1")]);
            site.replace(&site.directory().join("istio.wasm"), &code);
        }
    }
}

fn route() -> serde_json::Value {
    Form::Istio.route(&Route::new("httpbin", 8000, &[Match::Prefix("/")]))
}

/// What it holds between two changes: while one is made it is more.
fn at_rest(gateway: &Gateway) -> Held {
    let moments = (0..10).map(|_| {
        std::thread::sleep(PACE);
        Held::by(gateway)
    });
    moments.min_by_key(|held| held.kilobytes).expect("there were some")
}

#[test]
fn nothing_fails_and_nothing_is_left_in_a_storm() {
    let changes = std::env::var("SEKISHO_CHANGES").map_or(CHANGES, |count| count.parse().expect("a number"));
    let backends = ["a", "b", "c"].map(Backend::start);
    // Nobody listens there for as long as this test holds on to it without listening.
    let nobody = free_port();
    let site = Site::new();
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.apply(&service("httpbin", 8000));
    site.apply(&endpoints("httpbin", "local", Some(backends[0].address())));
    site.apply(&route());
    let mut gateway = Form::Istio.gateway(&[Server::simple("httpbin")]);
    let clear = json!({ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": [HTTPBIN] });
    gateway["spec"]["servers"].as_array_mut().expect("a list").push(clear);
    site.apply(&gateway);
    fs::copy(plugin("istio"), site.directory().join("istio.wasm")).expect("`make test` builds it");
    let plugins = json!({ "routes": [{ "name": "istio", "path": "istio.wasm" }] });
    site.configure(&json!({ "workers": 2, "plugins": plugins }));
    let mut gateway = site.run();

    let (answered, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (before, after) = std::thread::scope(|scope| {
        let first: Vec<_> = (0..3).map(|_| scope.spawn(|| keeps_asking(&gateway, HTTPBIN, &answered, &over))).collect();
        let second: Vec<_> = (0..2).map(|_| scope.spawn(|| keeps_calling(&gateway, &answered, &over))).collect();
        let leaving = scope.spawn(|| keeps_leaving(&gateway, &over));
        let mut before = None;
        for number in 0..changes {
            change(&site, number, &backends, nobody);
            std::thread::sleep(PACE);
            if number % 20 == 0 {
                let served = |ca| gateway.curl(HTTPBIN, "/hello").ca(ca).run().status == 200;
                // The certificate may change between two of them, at most once, as nothing else is written here.
                assert!([ca(), ca_2(), ca()].into_iter().any(served), "after {number} changes");
            }
            if number == changes / 2 {
                before = Some(at_rest(&gateway));
            }
        }
        over.store(true, Ordering::Relaxed);
        for client in first {
            assert_eq!(client.join().expect("a client"), "over");
        }
        for client in second {
            assert_eq!(client.join().expect("a client"), Vec::<String>::new());
        }
        leaving.join().expect("a client");
        (before.expect("there were some"), at_rest(&gateway))
    });
    eprintln!("{changes} changes, {} answers: {before:?}, then {after:?}", answered.load(Ordering::Relaxed));
    assert!(after.kilobytes < before.kilobytes + before.kilobytes / 6 + 8192, "{before:?}, then {after:?}");
    let odd = |line: &Line| line.is_complaint() && !line.has(&["version-1-certificate"]);
    let odd: Vec<String> =
        gateway.log().since(0).iter().filter(|line| odd(line)).map(|line| line.text.clone()).collect();
    assert_eq!(odd, Vec::<String>::new());
    gateway.signal("TERM");
    assert!(gateway.ended(Duration::from_secs(20)).is_some_and(|status| status.success()));
}
