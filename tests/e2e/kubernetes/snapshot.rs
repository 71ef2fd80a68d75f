//! What was last read, kept on disk: for a start while there is no API server.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rig::{Form, Line, eventually};
use serde_json::json;

use super::*;

/// How long a start waits for the API server, and then some.
const PATIENCE: Duration = Duration::from_secs(25);

/// A world whose gateway keeps a snapshot, and has kept the present one.
fn kept(form: Form, key: Option<&str>) -> (World, PathBuf) {
    let world = World::with_httpbin(form);
    let file = world.site.directory().join("snapshot");
    let mut snapshot = json!({ "path": file });
    if let Some(key) = key {
        fs::write(world.site.directory().join("key"), key).expect("its own directory can be written");
        snapshot["key"] = json!("key");
    }
    let kubernetes = json!({ "kubeconfig": world.cluster.kubeconfig(), "snapshot": snapshot });
    configure(&world.site, &world.cluster, "sekisho", &json!({ "kubernetes": kubernetes }));
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    let start = std::time::Instant::now();
    while !file.is_file() {
        assert!(start.elapsed() < PATIENCE, "nothing is kept");
        std::thread::sleep(Duration::from_millis(100));
    }
    (world, file)
}

#[test]
fn a_start_while_the_server_is_away() {
    let (world, file) = kept(Form::GatewayApi, Some("0123456789abcdef0123456789abcdef"));
    let text = fs::read(&file).expect("it can be read");
    assert!(!String::from_utf8_lossy(&text).contains("httpbin"), "it is encrypted");
    world.cluster.stop();
    let gateway = world.site.start();
    gateway.log().wait_within(0, PATIENCE, |line| line.is("serving"));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.log().wait(|line: &Line| line.is_complaint() && line.has(&["from-snapshot"]));
    world.cluster.apply(&only(Form::GatewayApi, "/status/201"));
    nobody_is_refused_while(&gateway, || world.cluster.resume());
    gateway.log().wait_within(0, PATIENCE, |line| line.has(&["from-snapshot", "resolved"]));
    gateway.curl(HTTPBIN, "/status/201").ca(ca()).soon().answers(201);
}

/// From what is kept to what is true there is no moment without.
#[track_caller]
fn nobody_is_refused_while(gateway: &Gateway, act: impl FnOnce()) {
    act();
    for _ in 0..50 {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
        // Served as it was, or no longer routed.
        assert!(answer.exit == 0 && matches!(answer.status, 418 | 404), "{answer}");
    }
}

#[test]
fn without_a_key_no_secret_is_kept() {
    let (world, file) = kept(Form::GatewayApi, None);
    let text = fs::read_to_string(&file).expect("it is text");
    assert!(text.contains("HTTPRoute") && !text.contains("\"Secret\"") && !text.contains("LS0tLS1"), "{text}");
    world.cluster.stop();
    let gateway = world.site.start();
    gateway.log().wait_within(0, PATIENCE, |line| line.is("serving"));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).fails(35, "alert");
    world.cluster.resume();
    let served = || {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
        if answer.status == 418 { Ok(()) } else { Err(format!("{answer}")) }
    };
    // The pause between two tries has grown.
    gateway.log().wait_within(0, PATIENCE, |line| line.has(&["from-snapshot", "resolved"]));
    eventually(served);
}
