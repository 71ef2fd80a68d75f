//! What thousands of reloads leave behind: nothing.
//!
//! `make test` does some hundred; `make soak` ten thousand, by `SEKISHO_RELOADS`.

use std::fs::{self, DirEntry};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rig::{Form, Gateway, Route, Site, eventually, plugin};
use serde_json::json;

use crate::task::*;

const RELOADS: usize = 300;

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) kilobytes: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Held {
    pub(crate) fn by(gateway: &Gateway) -> Self {
        let process = Path::new("/proc").join(gateway.process().to_string());
        let status = fs::read_to_string(process.join("status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).expect("the kernel tells")
        };
        let list = |of: &str| fs::read_dir(process.join(of)).expect("it is ours").flatten();
        // While a generation is built there is a thread for each router but the first.
        let stays = |thread: &DirEntry| fs::read_to_string(thread.path().join("comm")).is_ok_and(|is| is != "router\n");
        let threads = list("task").filter(stays).count();
        Self { kilobytes: field("VmRSS:"), descriptors: list("fd").count(), threads }
    }
}

/// The generation in force, asked without a process for each time.
fn generation(gateway: &Gateway) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", gateway.admin())).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("it answers");
    let line = page.lines().find_map(|line| line.strip_prefix("sekisho_generation ")).expect("it is there");
    line.parse::<f64>().expect("a number") as u64
}

/// A plugin with another digest that does the same: a custom section more.
fn variant(number: u8) -> Vec<u8> {
    let mut code = fs::read(plugin("istio")).expect("`make test` builds it");
    code.extend([0, 5, 3, b'r', b'i', b'g', number]);
    code
}

#[test]
fn reloads_leave_nothing_behind() {
    let reloads = std::env::var("SEKISHO_RELOADS").map_or(RELOADS, |count| count.parse().expect("a number"));
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let file = site.directory().join("istio.wasm");
    let aside = site.directory().join("istio.new");
    let variants = [variant(0), variant(1)];
    let swap = |number: usize| {
        fs::write(&aside, &variants[number % 2]).and_then(|()| fs::rename(&aside, &file)).expect("it can be written");
    };
    swap(0);
    let plugins = json!({ "routes": [{ "name": "istio", "path": "istio.wasm" }] });
    site.configure(&json!({ "workers": 2, "plugins": plugins }));
    let secrets = [HTTPBIN_CREDENTIAL, HTTPBIN_CREDENTIAL_2].map(Site::secret);
    let gateway = site.run();
    let warm = reloads / 3;
    let mut before = None;
    for number in 0..reloads {
        match number % 3 {
            0 => {
                let mut route = Form::Istio.route(&Route::httpbin());
                route["spec"]["http"][0]["timeout"] = json!(format!("{}s", 1 + number % 20));
                site.apply(&route);
            }
            1 => site.apply(&secrets[number / 3 % 2]),
            _ => swap(number / 3),
        }
        let known = generation(&gateway);
        // It would look for itself within a fifth of a second; ten thousand times that is half an hour.
        gateway.signal("HUP");
        eventually(|| if generation(&gateway) > known { Ok(()) } else { Err("no new generation".to_owned()) });
        if number % 100 == 0 {
            let authority = if number / 3 % 2 == 0 { [ca(), ca_2()] } else { [ca_2(), ca()] };
            let served = |ca| gateway.curl(HTTPBIN, "/status/418").ca(ca).run().status == 418;
            assert!(authority.into_iter().any(served), "after {number} reloads");
        }
        if number == warm {
            before = Some(Held::by(&gateway));
        }
    }
    let before = before.expect("there were some");
    let after = Held::by(&gateway);
    eprintln!("{reloads} reloads: {before:?}, then {after:?}");
    assert_eq!(after.threads, before.threads, "{before:?}, then {after:?}");
    assert!(after.descriptors <= before.descriptors + 4, "{before:?}, then {after:?}");
    // What the allocator keeps varies; one leaked instance a reload would be hundreds of megabytes.
    assert!(after.kilobytes < before.kilobytes + before.kilobytes / 8 + 4096, "{before:?}, then {after:?}");
    // Spares are made after what they are for is served.
    eventually(|| {
        let plugins = &gateway.status()["plugins"];
        let two_for_each = plugins[0]["instances"] == json!(4);
        if two_for_each { Ok(()) } else { Err(format!("not two for each of two workers: {plugins:#}")) }
    });
}
