//! Connections that become something else, as WebSocket's do: byte for byte, both ways, over TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use rig::{Backend, Form, Gateway, Match, Route, Server, Site, endpoints, service};

use crate::task::*;

in_both_forms!(bytes_go_both_ways, what_is_not_wanted_or_not_granted_stays_http, http2_in_disguise_does_not_pass);

fn site(form: Form) -> Site {
    let site = Site::new();
    site.apply(&service("helloworld", 5000));
    site.apply(&endpoints("helloworld", "local", Some(Backend::start("v1").address())));
    site.apply(&form.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")])));
    site.apply(&form.gateway(&[Server::simple("helloworld")]));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site
}

/// An HTTP/1.1 client that is typed into.
struct Typist {
    openssl: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Typist {
    fn connect(gateway: &Gateway) -> Self {
        let mut command = gateway.s_client_http1(HELLOWORLD).arg("-quiet").command();
        let mut openssl =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl runs");
        let to = openssl.stdin.take().expect("it is a pipe");
        let from = BufReader::new(openssl.stdout.take().expect("it is a pipe"));
        Self { openssl, to, from }
    }

    /// Asks, and gives the head of the answer.
    fn ask(&mut self, request: &str) -> String {
        self.to.write_all(request.as_bytes()).and_then(|()| self.to.flush()).expect("openssl reads");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.from.read_line(&mut head).expect("openssl writes"), 0, "it ended after {head:?}");
        }
        head
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        _ = self.openssl.kill();
        _ = self.openssl.wait();
    }
}

fn upgrade(protocol: &str) -> String {
    format!(
        "GET /upgrade HTTP/1.1\r\nhost: {HELLOWORLD}\r\nconnection: keep-alive, Upgrade\r\nupgrade: {protocol}\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    )
}

fn bytes_go_both_ways(form: Form) {
    let site = site(form);
    let gateway = site.run();
    let place = gateway.log().here();
    let mut client = Typist::connect(&gateway);
    let head = client.ask(&upgrade("websocket"));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("\r\nupgrade: websocket\r\n") && lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
    for length in [1, 5, 100_000] {
        let sent: Vec<u8> = Backend::bytes(length).collect();
        let mut echoed = vec![0; length];
        std::thread::scope(|scope| {
            scope.spawn(|| client.to.write_all(&sent).and_then(|()| client.to.flush()).expect("openssl reads"));
            client.from.read_exact(&mut echoed).expect("everything comes back");
        });
        assert_eq!(sent, echoed, "{length} bytes");
    }
    // A change of the configuration does not touch it.
    site.apply(&form.route(&Route::new("helloworld", 5000, &[Match::Exact("/elsewhere")])));
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(404);
    client.to.write_all(b"still here").and_then(|()| client.to.flush()).expect("openssl reads");
    let mut echoed = [0; 10];
    client.from.read_exact(&mut echoed).expect("it comes back");
    assert_eq!(&echoed, b"still here");
    drop(client);
    let line = gateway.log().wait_since(place, |line| line.is_access() && line.field("status") == 101);
    assert_eq!(line.field("bytes_sent"), 100_016, "{}", line.text);
    assert_eq!(line.field("bytes_received"), 100_016, "{}", line.text);
}

fn what_is_not_wanted_or_not_granted_stays_http(form: Form) {
    let gateway = site(form).run();
    // Not wanted: the endpoint says so, and the connection goes on.
    gateway.curl(HELLOWORLD, "/upgrade").ca(ca()).answers(426);
    let mut client = Typist::connect(&gateway);
    let head = client.ask(&upgrade("websocket").replace("/upgrade", "/hello"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // A name in `Upgrade` that `Connection` does not nominate means nothing.
    let plain = upgrade("websocket").replace("keep-alive, Upgrade", "keep-alive");
    let mut client = Typist::connect(&gateway);
    let head = client.ask(&plain);
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
}

/// Requests inside would meet no route and no log.
fn http2_in_disguise_does_not_pass(form: Form) {
    let gateway = site(form).run();
    let mut client = Typist::connect(&gateway);
    let head = client.ask(&upgrade("h2c"));
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
}

/// SIGTERM leaves it its time, and ends all the same.
#[test]
fn a_drain_cuts_it_in_time() {
    let site = site(Form::Istio);
    site.configure(&serde_json::json!({ "limits": { "drainTimeout": "1s" } }));
    let mut gateway = site.run();
    let mut client = Typist::connect(&gateway);
    assert!(client.ask(&upgrade("websocket")).starts_with("HTTP/1.1 101 "));
    client.to.write_all(b"hello").and_then(|()| client.to.flush()).expect("openssl reads");
    let mut echoed = [0; 5];
    client.from.read_exact(&mut echoed).expect("it comes back");
    gateway.signal("TERM");
    let status = gateway.ended(Duration::from_secs(5)).expect("it ends");
    assert_eq!(status.code(), Some(0));
    let line = gateway.log().wait(|line| line.is_access() && line.field("status") == 101);
    assert!(line.has(&["response-broken", "cut before both sides had ended"]), "{}", line.text);
    assert_eq!((line.field("bytes_sent"), line.field("bytes_received")), (&5.into(), &5.into()), "{}", line.text);
}
