//! Servers that are bound to Unix sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use rig::{Backend, Form, Http, Site, endpoints, eventually, service};
use serde_json::{Value, json};

use crate::task::*;

/// A server on a socket; it has no port.
fn server(name: &str, protocol: &str, bind: &str) -> Value {
    json!({ "port": { "number": 0, "name": name, "protocol": protocol }, "bind": bind, "hosts": ["*"] })
}

fn gateway(servers: &[Value]) -> Value {
    json!({ "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "mygateway" },
            "spec": { "selector": { "istio": "ingressgateway" }, "servers": servers } })
}

/// Where the rig has a socket, and how an object writes it.
fn socket(site: &Site, name: &str) -> (PathBuf, String) {
    let path = site.directory().join(name);
    let bind = format!("unix://{}", path.display());
    (path, bind)
}

#[test]
fn requests_of_both_versions_come_by_a_file_and_by_a_name() {
    let site = Site::with_httpbin(Form::Istio);
    let backend = Backend::start("own");
    site.apply(&endpoints("httpbin", "local", Some(backend.address())));
    let (path, bind) = socket(&site, "http.sock");
    let name = format!("@sekisho-e2e-{}", std::process::id());
    site.apply(&gateway(&[server("file", "HTTP", &bind), server("name", "HTTP", &format!("unix://{name}"))]));
    let mut gateway = site.run();
    assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, 0o660);
    let curl = || gateway.curl_http(HTTPBIN, "/status/418").header("x-forwarded-for: 6.6.6.6");
    let place = gateway.log().here();
    curl().arg("--unix-socket").arg(&path).answers(418);
    curl().http(Http::Two).arg("--http2-prior-knowledge").arg("--unix-socket").arg(&path).answers(418);
    curl().arg("--abstract-unix-socket").arg(&name[1..]).answers(418);
    let heads = backend.heads();
    assert_eq!(heads.len(), 3);
    for head in heads {
        assert!(head.to_lowercase().contains("x-forwarded-for: 127.0.0.1\r\n"), "{head}");
    }
    let line = gateway.log().wait_since(place, |line| line.is_access() && line.has(&["HTTP/2"]));
    assert_eq!(
        (line.field("client"), line.field("listener")),
        (&"127.0.0.1".into(), &format!("istio/http.{}", path.display()).into())
    );

    let status = gateway.status();
    let listeners = status["listeners"].as_array().expect("a list");
    let addresses: Vec<_> = listeners.iter().map(|listener| listener["addresses"][0].as_str().expect("one")).collect();
    assert!(addresses.contains(&&*bind) && addresses.contains(&&*format!("unix://{name}")), "{status:#}");
    let url = format!("http://{HTTPBIN}/status/418");
    let said = ["forwarded", &bind, "default/httpbin:8000"];
    let unix_socket = format!("--unix-socket={}", path.display());
    site.explain(&[&url, &unix_socket]).exits(0).says(&said);
    gateway.explain(&[&url, &unix_socket]).exits(0).says(&said);
    gateway.explain(&[&url, "--unix-socket=/none"]).exits(0).says(&["no listener is on unix:///none", &bind]);

    gateway.signal("TERM");
    assert!(gateway.ended(Duration::from_secs(10)).expect("it ends").success());
    assert!(!path.exists(), "the file goes with the gateway");
}

#[test]
fn tls_and_bytes_come_by_a_file() {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.apply(&service("bytes", 9000));
    site.apply(&endpoints("bytes", "local", Some(Backend::start("bytes").address())));
    let ((secure, of_secure), (plain, of_plain)) = (socket(&site, "https.sock"), socket(&site, "tcp.sock"));
    let mut https = server("https", "HTTPS", &of_secure);
    https["tls"] = json!({ "mode": "SIMPLE", "credentialName": "httpbin-credential" });
    site.apply(&gateway(&[https, server("tcp", "TCP", &of_plain)]));
    site.apply(&json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "bytes" },
        "spec": { "hosts": ["*"], "gateways": ["mygateway"], "tcp": [{
            "match": [{ "sourceSubnet": "127.0.0.0/8" }],
            "route": [{ "destination": { "host": "bytes", "port": { "number": 9000 } } }] }] }
    }));
    let gateway = site.run();
    for version in [Http::One, Http::Two] {
        let curl = gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(version);
        curl.arg("--unix-socket").arg(&secure).answers(418);
    }
    let place = gateway.log().here();
    let mut client = UnixStream::connect(&plain).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").expect("it reads");
    client.shutdown(Shutdown::Write).expect("it is open");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers and ends");
    assert!(answer.contains("x-instance: bytes"), "{answer}");
    let line = gateway.log().wait_since(place, |line| line.is_access() && line.has(&["TCP"]));
    assert_eq!(line.field("client"), "127.0.0.1");
}

#[test]
fn a_file_that_was_left_over_is_replaced_and_one_in_use_is_waited_for() {
    let site = Site::with_httpbin(Form::Istio);
    let ((dead, of_dead), (living, of_living)) = (socket(&site, "dead.sock"), socket(&site, "living.sock"));
    drop(UnixListener::bind(&dead).expect("a free path"));
    let owner = UnixListener::bind(&living).expect("a free path");
    site.apply(&gateway(&[server("dead", "HTTP", &of_dead), server("living", "HTTP", &of_living)]));
    site.check().exits(0).says(&["address-in-use", &of_living]);
    assert!(dead.exists(), "check changes nothing");
    let gateway = site.run();
    let line = gateway.log().wait(|line| line.is_complaint() && line.has(&[&of_living]));
    assert!(line.text.contains("the address is in use"), "{}", line.text);
    let ask = |path: &PathBuf| gateway.curl_http(HTTPBIN, "/status/418").arg("--unix-socket").arg(path);
    ask(&dead).answers(418);
    drop(owner);
    ask(&living).soon().answers(418);
    // What nobody wants any more goes.
    site.apply(&self::gateway(&[server("living", "HTTP", &of_living)]));
    eventually(|| if dead.exists() { Err("it is still there".to_owned()) } else { Ok(()) });
    ask(&living).answers(418);
}
