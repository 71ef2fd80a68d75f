//! Bodies: whole, in both directions, and passed on as they come.

use std::io::{Read, Write};
use std::process::Stdio;

use rig::{Backend, Form, Gateway, Http, Match, Route, Server, Site, endpoints, httpbin, service};

use crate::task::*;

in_both_forms!(upload_to_httpbin, upload_and_download_at_once, large_download, nothing_is_held_back, piece_by_piece);

/// httpbin and a backend, each with every path routed.
fn open(form: Form) -> (Site, Gateway) {
    open_to(form, &Backend::start("v1"))
}

fn open_to(form: Form, backend: &Backend) -> (Site, Gateway) {
    let site = Site::new();
    for (name, port, address) in [("httpbin", 8000, httpbin()), ("helloworld", 5000, backend.address())] {
        site.apply(&service(name, port));
        site.apply(&endpoints(name, "local", Some(address)));
        site.apply(&form.route(&Route::new(name, port, &[Match::Prefix("/")])));
    }
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&form.gateway(&[Server::simple("httpbin"), Server::simple("helloworld")]));
    let gateway = site.run();
    (site, gateway)
}

fn upload_to_httpbin(form: Form) {
    let (_site, gateway) = open(form);
    let text: String = (0..400_000).map(|at| format!("{at:07}\n")).collect(); // 3.2 MB
    for http in Http::BOTH {
        let ask = gateway.curl(HTTPBIN, "/post").ca(ca()).http(http).post(text.as_bytes());
        assert!(ask.clone().answers(200).json()["data"] == text.as_str(), "with its length announced");
        assert!(ask.header("transfer-encoding: chunked").answers(200).json()["data"] == text.as_str(), "without");
    }
}

fn upload_and_download_at_once(form: Form) {
    let (_site, gateway) = open(form);
    let bytes: Vec<u8> = Backend::bytes(8 << 20).collect();
    for http in Http::BOTH {
        let answer = gateway.curl(HELLOWORLD, "/echo").ca(ca()).http(http).post(&bytes).answers(200);
        assert!(answer.body == bytes, "{} of {} bytes came back", answer.body.len(), bytes.len());
    }
}

fn large_download(form: Form) {
    let (_site, gateway) = open(form);
    let bytes: Vec<u8> = Backend::bytes(32 << 20).collect();
    for http in Http::BOTH {
        let place = gateway.log().here();
        let answer = gateway.curl(HELLOWORLD, "/bytes/33554432").ca(ca()).http(http).answers(200);
        assert!(answer.body == bytes, "{} of {} bytes came", answer.body.len(), bytes.len());
        let line = gateway.log().wait_since(place, rig::Line::is_access);
        assert_eq!(line.field("bytes_sent"), bytes.len(), "{}", line.text);
    }
}

/// A piece is passed on before the next one exists: up, and down.
fn nothing_is_held_back(form: Form) {
    for http in Http::BOTH {
        let backend = Backend::start("v1");
        let (_site, gateway) = open_to(form, &backend);
        let ask = gateway.curl(HELLOWORLD, "/held").ca(ca()).http(http).arg("-N").arg("-T").arg("-").arg("-XPOST");
        let mut command = ask.command();
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut curl = command.spawn().expect("curl can be started");
        let mut up = curl.stdin.take().expect("it is a pipe");
        let mut down = curl.stdout.take().expect("it is a pipe");

        up.write_all(b"piece").expect("curl reads");
        rig::eventually(|| match backend.received() {
            5 => Ok(()),
            received => Err(format!("{http:?}: {received} of 5 bytes")),
        });
        drop(up);

        let mut first = [0; 5];
        down.read_exact(&mut first).expect("the first piece comes before the second is sent");
        assert_eq!(&first, b"first");
        backend.release();
        let mut rest = String::new();
        down.read_to_string(&mut rest).expect("the rest comes");
        assert_eq!(rest, "second");
        assert!(curl.wait().expect("a child can be waited for").success());
    }
}

/// Neither direction waits for the other. (By hand: curl's `-T .` holds pieces back of its own accord.)
fn piece_by_piece(form: Form) {
    let (_site, gateway) = open(form);
    let mut command = gateway.s_client_http1(HELLOWORLD).arg("-quiet").command();
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut openssl = command.spawn().expect("openssl can be started");
    let mut up = openssl.stdin.take().expect("it is a pipe");
    let mut down = openssl.stdout.take().expect("it is a pipe");

    write!(up, "POST /echo HTTP/1.1\r\nhost: {HELLOWORLD}\r\ntransfer-encoding: chunked\r\n\r\n").expect("it reads");
    let mut seen = String::new();
    for piece in ["one", "two", "three"] {
        write!(up, "{:x}\r\n{piece}\r\n", piece.len()).expect("it reads");
        // A gateway that waits for the whole body lets this wait until it gives up, and hangs up.
        while !seen.contains(piece) {
            let mut back = [0; 512];
            let length = down.read(&mut back).expect("it writes");
            assert_ne!(length, 0, "`{piece}` does not come back before the next piece is sent: {seen}");
            seen.push_str(&String::from_utf8_lossy(&back[..length]));
        }
    }
    _ = openssl.kill();
    _ = openssl.wait();
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
}

#[test]
fn head_has_no_body() {
    let (_site, gateway) = open(Form::Istio);
    for http in Http::BOTH {
        let answer = gateway.curl(HTTPBIN, "/bytes/10").ca(ca()).http(http).arg("--head").answers(200);
        assert_eq!(answer.header("content-length").as_deref(), Some("10"), "{answer}");
        let answer = gateway.curl(HTTPBIN, "/status/204").ca(ca()).http(http).answers(204);
        assert_eq!(answer.text(), "");
    }
}
