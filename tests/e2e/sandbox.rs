//! A plugin that misbehaves costs the request that met it, and nothing else.

use std::time::{Duration, Instant};

use rig::{Curl, Form, Gateway, Http, Site, plugin};
use serde_json::json;

use crate::task::*;

const HOST: &str = "misbehaving.example.com";

/// The misbehaving plugin beside a good one.
fn beside_a_good_one() -> (Site, Gateway) {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let bad = plugin("misbehaving-in-route");
    std::fs::copy(bad, site.directory().join("bad.wasm")).expect("`make test` builds it");
    // One worker, so that every request meets the same instances.
    site.configure(&json!({ "workers": 1, "plugins": { "routes": [
        { "name": "bad", "path": "bad.wasm" },
        { "name": "istio", "path": "builtin:istio" },
    ] } }));
    let gateway = site.run();
    (site, gateway)
}

fn ask(gateway: &Gateway, path: &str) -> Curl {
    gateway.curl_http(HOST, path).http(Http::One)
}

/// The request fails, the next ones do not, and the log tells which plugin did what.
#[track_caller]
fn costs_one_request(path: &str, said: &[&str]) {
    let (_site, gateway) = beside_a_good_one();
    ask(&gateway, "/well").answers(200);
    let place = gateway.log().here();
    ask(&gateway, path).answers(503);
    ask(&gateway, "/well").answers(200);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    gateway.log().wait_since(place, |line| line.is_complaint() && line.has(&["bad", "route"]) && line.has(said));
}

#[test]
fn a_trap_is_answered_with_503() {
    costs_one_request("/trap", &["unreachable", "in_route"]);
}

#[test]
fn a_panic_says_where() {
    let (_site, gateway) = beside_a_good_one();
    let place = gateway.log().here();
    ask(&gateway, "/trap").answers(503);
    gateway.log().wait_since(place, |line| line.has(&["bad", "as the path says", "lib.rs"]));
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    costs_one_request("/loop", &["longer than its 2ms"]);
}

#[test]
fn a_memory_hog_meets_its_cap() {
    costs_one_request("/hog", &[]);
}

#[test]
fn deep_recursion_meets_its_stack() {
    costs_one_request("/recurse", &["stack"]);
}

#[test]
fn a_route_that_does_not_exist_is_no_route() {
    let (_site, gateway) = beside_a_good_one();
    ask(&gateway, "/wild").answers(503);
    ask(&gateway, "/well").answers(200);
}

#[test]
fn a_flood_of_log_lines_is_cut_and_harmless() {
    let (_site, gateway) = beside_a_good_one();
    let place = gateway.log().here();
    ask(&gateway, "/flood").answers(200);
    let cut = gateway.log().wait_since(place, |line| line.has(&["bad", "logs too much"]));
    assert!(!cut.text.contains('\u{1b}'), "{}", cut.text);
    let lines = gateway.log().since(place);
    let flood = lines.iter().filter(|line| line.has(&["[31mflood"])).count();
    assert!((1..=100).contains(&flood), "{flood} lines of the flood are in the log");
    assert!(lines.iter().all(|line| !line.text.contains(['\u{1b}', '\u{7}'])), "control characters are escaped");
}

/// Others wait at most the deadline, and after some failures not even that.
#[test]
fn who_keeps_failing_is_not_called_for_a_while() {
    let (_site, gateway) = beside_a_good_one();
    for _ in 0..5 {
        ask(&gateway, "/trap").soon().answers(503);
        std::thread::sleep(Duration::from_millis(50));
    }
    let place = gateway.log().here();
    ask(&gateway, "/well").answers(503);
    gateway.log().wait_since(place, |line| line.has(&["failed too often"]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    let start = Instant::now();
    ask(&gateway, "/well").soon().answers(200);
    assert!(start.elapsed() < Duration::from_secs(5), "it is tried again");
}
