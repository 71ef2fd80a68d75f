//! Off the path of requests: `translate`, `load`, `report` and `decode`.

use rig::{Form, Match, Route, Site, misbehaving, plugin};
use serde_json::json;

use super::{Pair, leaves_the_last_good_part, leaves_the_last_good_part_of, names_the_failure};
use crate::task::*;

#[test]
fn a_trap_in_translate_leaves_the_last_translation() {
    let said = ["unreachable", "sekisho_sdk::RoutePlugin>::translate", "last good translation stays"];
    leaves_the_last_good_part(&misbehaving("trap-in-translate"), "translate", &said);
}

/// A translation is good only once its table has been loaded.
#[test]
fn a_trap_in_load_leaves_the_last_translation() {
    let said = ["unreachable", "TrapInLoad", "last good translation stays"];
    leaves_the_last_good_part(&misbehaving("trap-in-load"), "load", &said);
}

/// The statuses are lost; the translation that they are of is not.
#[test]
fn a_trap_in_report_costs_the_statuses_alone() {
    let pair = Pair::with(&misbehaving("trap-in-report"));
    pair.names_the_failure(0, "report", &["unreachable", "TrapInReport"]);
    pair.ask("/").answers(200);
    pair.the_good_one_serves();
    pair.gateway.log().wait(|line| line.has(&["VirtualService/default/httpbin", "Reconciled"]));
    // Its finding stands as long as nothing new is translated, and holds nothing up.
    pair.site.apply(&Form::Istio.route(&Route::new("httpbin", 8000, &[Match::Exact("/status/201")])));
    pair.gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);
    pair.gateway.log().wait(|line| line.is_complaint() && line.has(&["report-failed", "plugin bad"]));
    pair.ask("/").answers(200);
}

#[test]
fn a_huge_report_costs_the_statuses_alone() {
    let pair = Pair::configured(&misbehaving("huge-report"), &json!({ "limits": { "memory": 512 << 20 } }));
    pair.names_the_failure(0, "report", &["fuel"]);
    pair.ask("/").answers(200);
    pair.the_good_one_serves();
}

#[test]
fn a_huge_translation_leaves_the_last_one() {
    let bad = misbehaving("huge-translation");
    leaves_the_last_good_part_of(&bad, &json!({ "limits": { "memory": 512 << 20 } }), "translate", &["fuel"]);
}

#[test]
fn a_translation_that_names_what_is_not_in_it_leaves_the_last_one() {
    for (what, said) in [
        ("binding", "listener `http`: binding 7 is named, but there are 1"),
        ("credential", "listener `http`: source 7 is named, but there are 0"),
        ("trust", "listener `http`: source 7 is named, but there are 0"),
        ("target", "route `forward`: cluster 7 is named, but there are 0"),
        ("mirror", "route `forward`: cluster 7 is named, but there are 0"),
        ("name", "two listeners are called `http`"),
    ] {
        let keys = json!({ "config": { "host": super::HOST, "what": what } });
        leaves_the_last_good_part_of(&misbehaving("index-in-translation"), &keys, "translation-failed", &[said]);
    }
}

/// Each costs the route that carries it.
#[test]
fn a_value_that_cannot_be_executed_refuses_its_route() {
    let pair = Pair::with(&misbehaving("illegal-values"));
    let mut missed = Vec::new();
    for (route, said) in [
        ("header-name", "`two words` is not a header name"),
        ("header-name-of-two-lines", "is not a header name"),
        ("header-of-the-host", "`content-length` is the gateway's own"),
        ("header-value-of-two-lines", "cannot stand in a header"),
        ("header-value-with-nul", "cannot stand in a header"),
        ("header-variable", "no variable `private-key`"),
        ("response-status", "99 is not a status"),
        ("response-status-101", "101 is not a status"),
        ("response-header-name", "`a:b` is not a header name"),
        ("response-header-value", "cannot stand in a header"),
        ("response-header-of-the-host", "`transfer-encoding` is the gateway's own"),
        ("redirect-status", "200 is not the status of a redirect"),
        ("redirect-scheme", "`java script` is not a scheme"),
        ("redirect-host", "cannot be an authority"),
        ("redirect-user", "cannot be an authority"),
        ("redirect-path", "cannot stand in a path"),
        ("path-bytes", "cannot stand in a path"),
        ("path-elements", "cannot stand in a path"),
        ("regex-syntax", "unclosed group"),
        ("regex-substitution", "cannot stand in a path"),
        ("regex-bomb", "exceeds size limit"),
    ] {
        let place = pair.here();
        let answer = pair.ask(&format!("/{route}")).run();
        let why = pair.gateway.log().wait_since(place, |line| line.is_access() && line.has(&[route]));
        if answer.status != 500 || !why.has(&[said]) || answer.trace.contains("evil") {
            missed.push(format!("{route}: {} {}", answer.status, why.text));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    pair.ask("/").answers(200);
    pair.the_good_one_serves();
}

#[test]
fn a_trap_in_decode_leaves_the_last_credential() {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let file = site.directory().join("secrets.wasm");
    let good = std::fs::read(plugin("kubernetes-secrets")).expect("it is built");
    std::fs::write(&file, &good).expect("its own directory can be written");
    site.configure(&json!({ "plugins": { "secrets": [{ "name": "decoder", "path": "secrets.wasm" }] } }));
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    let place = gateway.log().here();
    std::fs::write(&file, misbehaving("trap-in-decode")).expect("its own directory can be written");
    let said = ["unreachable", "sekisho_sdk::bindings::secrets", "httpbin-credential"];
    names_the_failure(&gateway, place, "decoder", "decode-credential", &said);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    // Nor does it take what is new.
    site.create_secret(HTTPBIN_CREDENTIAL_2);
    std::thread::sleep(std::time::Duration::from_millis(500));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    std::fs::write(&file, &good).expect("its own directory can be written");
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
}
