//! While a request is routed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rig::{Form, Match, Route, misbehaving};
use serde_json::json;

use super::{HOST, Pair};
use crate::task::*;

const MISBEHAVE: &str = "/misbehave";

/// The request fails, the next ones do not, and neither do those of the other plugin.
#[track_caller]
fn costs_one_request(plugin: &str, said: &[&str]) {
    let pair = Pair::with(&misbehaving(plugin));
    pair.ask("/").answers(200);
    let place = pair.here();
    pair.ask(MISBEHAVE).answers(503);
    pair.ask("/").answers(200);
    pair.the_good_one_serves();
    pair.names_the_failure(place, "route", said);
}

#[test]
fn a_trap_costs_one_request_and_says_where_it_was() {
    costs_one_request(
        "trap-in-route",
        &["unreachable", "executed at <sekisho_ordinary::Names<P> as sekisho_sdk::Router>::route < "],
    );
}

#[test]
fn a_panic_says_why() {
    let pair = Pair::with(&misbehaving("trap-in-route"));
    let place = pair.here();
    pair.ask(MISBEHAVE).answers(503);
    let said = ["bad", "as it was asked to", "lib.rs"];
    pair.gateway.log().wait_since(place, |line| line.is_complaint() && line.has(&said));
}

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    costs_one_request(
        "endless-loop",
        &["longer than its 2ms at <sekisho_ordinary::Names<P> as sekisho_sdk::Router>::route < "],
    );
}

#[test]
fn a_slow_loop_ends_at_its_deadline() {
    costs_one_request("slow-loop", &["longer than its 2ms"]);
}

#[test]
fn the_deadline_is_the_one_in_the_bootstrap_file() {
    let pair = Pair::configured(&misbehaving("slow-loop"), &json!({ "limits": { "route": "10s" } }));
    pair.ask(MISBEHAVE).answers(200);
}

#[test]
fn others_are_served_while_one_plugin_loops() {
    let pair = Pair::with(&misbehaving("endless-loop"));
    std::thread::scope(|scope| {
        let looping = pair.ask(&format!("{MISBEHAVE}?[1-200]")).arg("--rate").arg("200/s");
        let looping = scope.spawn(move || looping.statuses());
        let mut asked = 0;
        while !looping.is_finished() {
            pair.the_good_one_serves();
            asked += 1;
        }
        assert_eq!(looping.join().expect("curl runs"), (0, vec![503; 200]));
        assert!(asked > 5, "{asked} requests were served beside it");
    });
    // Time is up to whoever asks, and does not open the breaker. The last replacement is ready by now.
    std::thread::sleep(Duration::from_millis(200));
    pair.ask("/").answers(200);
}

/// Each loop makes control work: a new spare. It looks at files all the same.
#[test]
fn changes_take_effect_while_one_plugin_loops() {
    let pair = Pair::with(&misbehaving("endless-loop"));
    let (enough, loops) = (AtomicBool::new(false), AtomicUsize::new(0));
    let patience = |start: Instant| start.elapsed() < Duration::from_secs(5);
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| {
            let mut client = TcpStream::connect(("127.0.0.1", pair.gateway.http())).expect("it serves");
            let request = format!("GET {MISBEHAVE} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
            while !enough.load(Ordering::Relaxed) {
                client.write_all(request.as_bytes()).expect("it reads");
                let length = client.read(&mut [0; 4096]).expect("it answers");
                assert!(length > 0, "it keeps the connection");
                loops.fetch_add(1, Ordering::Relaxed);
            }
        });
        // From here on there is always a loop or the next one on its way.
        let start = Instant::now();
        while loops.load(Ordering::Relaxed) < 10 && patience(start) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let before = loops.load(Ordering::Relaxed);
        pair.site.apply(&Form::Istio.route(&Route::new("httpbin", 8000, &[Match::Exact("/status/201")])));
        let start = Instant::now();
        let mut changed = false;
        while !changed && patience(start) {
            changed = pair.gateway.curl(HTTPBIN, "/status/418").ca(ca()).run().status == 404;
        }
        let meanwhile = loops.load(Ordering::Relaxed);
        while loops.load(Ordering::Relaxed) == meanwhile && patience(start) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let after = loops.load(Ordering::Relaxed);
        enough.store(true, Ordering::Relaxed);
        looping.join().expect("it is answered");
        assert!(before >= 10, "{before} loops in 5 s");
        assert!(changed, "the change was not seen in 5 s");
        assert!(after > meanwhile, "the loops ended at {meanwhile}");
    });
}

#[test]
fn a_memory_hog_meets_its_cap() {
    let pair = Pair::configured(&misbehaving("memory-hog"), &json!({ "limits": { "route": "5s" } }));
    let place = pair.here();
    pair.ask(MISBEHAVE).answers(503);
    pair.ask("/").answers(200);
    pair.the_good_one_serves();
    pair.names_the_failure(place, "route", &["unreachable"]);
    let said = pair.gateway.log().wait_since(place, |line| line.has(&["no more than"])).text;
    let amount = said.split("no more than ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    let amount = amount.unwrap_or_else(|| panic!("{said}"));
    assert!((32..64).contains(&amount), "{said}");
}

#[test]
fn deep_recursion_meets_the_end_of_its_stack() {
    costs_one_request("deep-recursion", &["stack"]);
}

#[test]
fn a_route_that_does_not_exist_is_no_route() {
    let pair = Pair::with(&misbehaving("index-in-route"));
    let place = pair.here();
    pair.ask(MISBEHAVE).answers(503);
    pair.ask("/").answers(200);
    pair.the_good_one_serves();
    pair.gateway
        .log()
        .wait_since(place, |line| line.is_access() && line.has(&["the plugin chose route 4294967295 of 1"]));
}

/// Each trap costs the request that met it: there is a spare for the next.
#[test]
fn a_trap_on_every_tenth_request_costs_every_tenth() {
    let pair = Pair::with(&misbehaving("trap-on-tenth"));
    let (exit, statuses) = pair.ask("/[1-40]").arg("--rate").arg("100/s").statuses();
    let failed: Vec<_> = (1..).zip(&statuses).filter(|(_, status)| **status != 200).collect();
    // Whoever makes an instance has asked it once.
    assert_eq!((exit, failed), (0, vec![(9, &503), (18, &503), (27, &503), (36, &503)]));
}

/// `route` is pure: what was asked once need not be asked again.
#[test]
fn the_same_question_is_asked_once() {
    let pair = Pair::with(&misbehaving("trap-on-tenth"));
    let (exit, statuses) = pair.ask("/same?[1-40]").statuses();
    assert_eq!((exit, statuses), (0, vec![200; 40]));
}

#[test]
fn who_keeps_trapping_is_not_called_for_a_while() {
    let pair = Pair::with(&misbehaving("trap-in-route"));
    for _ in 0..5 {
        pair.ask(MISBEHAVE).answers(503);
        std::thread::sleep(Duration::from_millis(50));
    }
    let opened = Instant::now();
    let place = pair.here();
    pair.ask("/").answers(503);
    pair.gateway.log().wait_since(place, |line| line.has(&["failed too often"]));
    pair.the_good_one_serves();
    pair.ask("/").soon().answers(200);
    assert!(opened.elapsed() < Duration::from_secs(5), "it is tried again");
}
