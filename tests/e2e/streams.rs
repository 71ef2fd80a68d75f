//! Connections that are not read as requests: TLS that ends elsewhere, TLS that ends here, and plain TCP.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rig::{Backend, Form, Gateway, Http, Server, Site, endpoints, service};
use serde_json::{Value, json};

use crate::task::*;

const SEALED: &str = "httpbin.example.com";

fn gateway(servers: &Value) -> Value {
    json!({ "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "mygateway" },
            "spec": { "selector": { "istio": "ingressgateway" }, "servers": servers } })
}

fn virtual_service(name: &str, hosts: &[&str], rules: &Value) -> Value {
    let mut spec = json!({ "hosts": hosts, "gateways": ["mygateway"] });
    for (kind, rules) in rules.as_object().expect("rules by kind") {
        spec[kind] = rules.clone();
    }
    json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": name }, "spec": spec })
}

fn to(service: &str) -> Value {
    json!([{ "destination": { "host": service, "port": { "number": 9000 } } }])
}

fn sealed_server() -> Value {
    json!({ "port": { "number": 443, "name": "sealed", "protocol": "TLS" }, "tls": { "mode": "PASSTHROUGH" },
            "hosts": ["*.example.com"] })
}

fn to_sealed() -> Value {
    virtual_service(
        "sealed",
        &[SEALED],
        &json!({ "tls": [{
        "match": [{ "sniHosts": [SEALED] }], "route": to("inner") }] }),
    )
}

/// A gateway that ends httpbin's TLS and asks for client certificates, and a site before it that has it as a backend.
pub(crate) fn before_another() -> (Site, Gateway, Site) {
    let inner_site = Site::with_httpbin(Form::Istio);
    inner_site.apply(&Form::Istio.gateway(&[Server::mutual("httpbin").section("https")]));
    inner_site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    let inner = inner_site.run();
    let site = Site::new();
    site.apply(&service("inner", 9000));
    site.apply(&endpoints("inner", "local", Some((Ipv4Addr::LOCALHOST, inner.https()).into())));
    (inner_site, inner, site)
}

/// The same with a gateway before it that does not open its TLS.
fn two_gateways() -> (Site, Gateway, Site, Gateway) {
    let (inner_site, inner, site) = before_another();
    site.apply(&gateway(&json!([sealed_server()])));
    site.apply(&to_sealed());
    let outer = site.run();
    (inner_site, inner, site, outer)
}

#[test]
fn sealed_tls_ends_at_the_backend_and_so_does_its_verification() {
    let (_inner_site, _inner, site, outer) = two_gateways();
    let place = outer.log().here();
    for version in [Http::One, Http::Two] {
        outer.curl(SEALED, "/status/418").ca(ca()).client(&client()).http(version).answers(418);
    }
    outer.curl(SEALED, "/status/418").ca(ca()).fails(56, "certificate required");
    let line = outer.log().wait_since(place, |line| line.is_access() && line.has(&["TLS passthrough"]));
    assert_eq!(line.field("protocol"), "TLS passthrough");
    assert_eq!(line.field("sni"), SEALED);
    // Who hangs up before it has read the end of TLS breaks the connection, as curl may.
    assert!(line.field("reason") == "ok" || line.field("reason") == "broken", "{}", line.text);
    assert_eq!(line.field("listener"), "istio/default/mygateway/sealed");
    assert_eq!(line.field("cluster"), "default/inner:9000");
    assert!(line.field("bytes_received").as_u64() > Some(500) && line.field("bytes_sent").as_u64() > Some(500));
    let metrics = outer.page("/metrics").body;
    assert!(
        metrics.lines().any(|line| line.starts_with("sekisho_streams_total{") && line.contains("default/inner:9000"))
    );
    let url = format!("https://{SEALED}:{}/", outer.https());
    let told = site.explain(&[&url]).exits(0).text();
    assert!(told.contains("the client's TLS is not opened here") && told.contains("default/inner:9000"), "{told}");
}

#[test]
fn what_cannot_be_passed_on_is_closed_without_a_word() {
    let (_inner_site, inner, site, outer) = two_gateways();
    let closed = |sni| {
        let refused = outer.s_client(sni).run();
        assert!(refused.is_closed(), "{refused}");
    };
    closed(Some("other.example.com"));
    closed(None);
    drop(inner);
    let place = outer.log().here();
    closed(Some(SEALED));
    let line = outer.log().wait_since(place, |line| line.is_access());
    assert_eq!(line.field("reason"), "connect-failed");
    // What is no handshake is not passed on either.
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, outer.https())).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nhost: httpbin.example.com\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("an alert and an end");
    assert_eq!(answer.first(), Some(&21), "a TLS alert: {answer:?}");
    site.delete("VirtualService", "sealed");
    rig::eventually(|| {
        let refused = outer.s_client(Some(SEALED)).run();
        if refused.is_closed() { Ok(()) } else { Err(format!("{refused}")) }
    });
}

#[test]
fn sealed_and_open_hosts_share_a_port_and_never_a_connection() {
    let (_inner_site, _inner, site, outer) = two_gateways();
    site.add_helloworld(Form::Istio);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    let open = json!({ "port": { "number": 443, "name": "open", "protocol": "HTTPS" },
        "tls": { "mode": "SIMPLE", "credentialName": "helloworld-credential" }, "hosts": [HELLOWORLD] });
    site.apply(&gateway(&json!([open, sealed_server()])));
    outer.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    outer.curl(SEALED, "/status/418").ca(ca()).client(&client()).answers(418);
    outer.curl(HELLOWORLD, "/status/418").ca(ca()).authority(SEALED).answers(421);
}

/// Gives every byte back, says `NAME` first, and ends when its client has ended.
pub(crate) fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("127.0.0.1 is everywhere");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut from = client.try_clone()?;
                client.write_all(name.as_bytes())?;
                std::io::copy(&mut from, &mut client)?;
                client.write_all(b"bye")?;
                client.shutdown(Shutdown::Write)
            });
        }
    });
    address
}

fn tcp_site(keys: &Value) -> Site {
    let site = Site::new();
    for name in ["one", "two"] {
        site.apply(&service(name, 9000));
        site.apply(&endpoints(name, "local", Some(echo(if name == "one" { "1" } else { "2" }))));
    }
    site.apply(&gateway(&json!([{ "port": { "number": 80, "name": "tcp", "protocol": "TCP" }, "hosts": ["*"] }])));
    site.apply(&virtual_service(
        "tcp",
        &["*"],
        &json!({ "tcp": [{ "match": [{ "port": 80 }], "route": [
        { "destination": { "host": "one", "port": { "number": 9000 } }, "weight": 75 },
        { "destination": { "host": "two", "port": { "number": 9000 } }, "weight": 25 } ] }] }),
    ));
    site.configure(keys);
    site
}

fn connect(gateway: &Gateway) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.http())).expect("it listens")
}

#[test]
fn tcp_goes_both_ways_by_weight_and_one_side_may_end_first() {
    let site = tcp_site(&json!({}));
    let gateway = site.run();
    let bytes: Vec<u8> = Backend::bytes(3 << 20).collect();
    let mut ones = 0;
    for length in [0, 1, 3 << 20] {
        let mut client = connect(&gateway);
        let mut reader = client.try_clone().expect("a second handle");
        let sent = &bytes[..length];
        let echoed = std::thread::scope(|scope| {
            scope.spawn(move || {
                client.write_all(sent).and_then(|()| client.shutdown(Shutdown::Write)).expect("it reads")
            });
            let mut echoed = Vec::new();
            reader.read_to_end(&mut echoed).expect("it ends");
            echoed
        });
        assert!(matches!(echoed[0], b'1' | b'2'));
        assert!(echoed[1..] == [sent, b"bye"].concat(), "{length} bytes came back as {}", echoed.len());
    }
    for _ in 0..80 {
        let mut client = connect(&gateway);
        let mut name = [0];
        client.read_exact(&mut name).expect("the backend speaks first");
        ones += u32::from(name == *b"1");
    }
    assert!((40..=76).contains(&ones), "{ones} of 80 at a weight of 75 in 100");
    let told = site.explain(&[&format!("tcp://127.0.0.1:{}", gateway.http())]).exits(0).text();
    assert!(told.contains("default/one:9000") && told.contains("default/two:9000"), "{told}");
}

#[test]
fn silent_connections_end_and_a_drain_waits_for_those_that_talk() {
    let site = tcp_site(&json!({ "limits": { "streamIdleTimeout": "700ms" } }));
    let mut gateway = site.run();
    let place = gateway.log().here();
    let mut client = connect(&gateway);
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(start.elapsed() >= Duration::from_millis(600), "{:?}", start.elapsed());
    let line = gateway.log().wait_since(place, |line| line.is_access());
    assert_eq!((line.field("protocol"), line.field("reason")), (&json!("TCP"), &json!("idle")));
    let mut talking = connect(&gateway);
    let mut byte = [0];
    talking.read_exact(&mut byte).expect("the backend speaks first");
    gateway.signal("TERM");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(300));
        talking.write_all(b"x").and_then(|()| talking.read_exact(&mut byte)).expect("it is still served");
        assert_eq!(&byte, b"x");
    }
    drop(talking);
    assert!(gateway.ended(Duration::from_secs(10)).expect("it ends").success());
}

fn openssl(mut command: std::process::Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl runs")
}

#[test]
fn tls_ends_here_and_bytes_go_on_with_the_client_verified() {
    let site = Site::new();
    site.apply(&service("one", 9000));
    site.apply(&endpoints("one", "local", Some(echo("1"))));
    site.apply(&gateway(&json!([{ "port": { "number": 443, "name": "tls", "protocol": "TLS" },
        "tls": { "mode": "MUTUAL", "credentialName": "httpbin-credential" }, "hosts": [HTTPBIN] }])));
    site.apply(&virtual_service("tls", &[HTTPBIN], &json!({ "tcp": [{ "route": to("one") }] })));
    site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    let gateway = site.run();
    let pair = client();
    let place = gateway.log().here();
    let command =
        gateway.s_client_http1(HTTPBIN).arg("-quiet").arg("-cert").arg(pair.certificate).arg("-key").arg(pair.key);
    let mut openssl = openssl(command.command());
    let (mut stdin, mut stdout) = (openssl.stdin.take().expect("a pipe"), openssl.stdout.take().expect("a pipe"));
    stdin.write_all(b"hello").and_then(|()| stdin.flush()).expect("openssl reads");
    let mut echoed = [0; 6];
    stdout.read_exact(&mut echoed).expect("everything comes back");
    assert_eq!(&echoed, b"1hello");
    drop((stdin, stdout));
    let _ = openssl.kill();
    let _ = openssl.wait();
    let line = gateway.log().wait_since(place, |line| line.is_access());
    assert_eq!((line.field("protocol"), line.field("sni")), (&json!("TLS"), &json!(HTTPBIN)));
    gateway.s_client_http1(HTTPBIN).get(HTTPBIN, "/").run().is_refused_with(116);
    // What the bytes are is between the client and the backend.
    let pair = client();
    let other = gateway.s_client_http1(HTTPBIN).arg("-alpn").arg("mqtt");
    let shown = other.arg("-cert").arg(pair.certificate).arg("-key").arg(pair.key).run();
    assert_eq!(shown.shows(HTTPBIN).alert, None);
}
