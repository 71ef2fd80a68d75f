//! Several gateways on one cluster: all serve, one writes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rig::{Calls, Form};
use serde_json::json;

use super::*;

/// Who wrote statuses since a place.
fn writers(world: &World, place: usize) -> BTreeSet<String> {
    let routes = world.cluster.requests_since(place, &Calls::of("patch", "httproutes/status"));
    let written = routes.into_iter().filter(|request| request.status == 200);
    written.map(|request| request.user).collect()
}

/// Changes the route, and waits until its status is about that.
#[track_caller]
fn change(world: &World, path: &'static str) {
    let generation = world.cluster.apply(&only(Form::GatewayApi, path))["metadata"]["generation"].clone();
    world.cluster.wait_for("httproutes", "default", "httpbin", |route| {
        route["status"]["parents"][0]["conditions"][0]["observedGeneration"] == generation
    });
}

fn holder(world: &World) -> String {
    let lease = world.cluster.get("leases", "default", "sekisho").unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn one_writes_and_the_other_takes_over() {
    let world = World::with_httpbin(Form::GatewayApi);
    let other_site = site(&world.cluster, "sekisho-2");
    let mut gateway = world.run();
    change(&world, "/status/201");
    let first_holder = holder(&world);
    assert_ne!(first_holder, "");
    let other = other_site.run();
    for gateway in [&gateway, &other] {
        gateway.curl(HTTPBIN, "/status/201").ca(ca()).soon().answers(201);
    }
    let place = world.cluster.here();
    change(&world, "/status/202");
    other.curl(HTTPBIN, "/status/202").ca(ca()).soon().answers(202);
    assert_eq!(writers(&world, place), BTreeSet::from(["sekisho".to_owned()]));
    assert_eq!(holder(&world), first_holder);

    gateway.signal("TERM");
    let start = Instant::now();
    assert!(gateway.ended(Duration::from_secs(10)).is_some_and(|status| status.success()));
    let place = world.cluster.here();
    change(&world, "/status/203");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(writers(&world, place), BTreeSet::from(["sekisho-2".to_owned()]));
    assert_ne!(holder(&world), first_holder);
}

/// One that has no say writes nothing, whatever it sees.
#[test]
fn a_lease_that_another_holds() {
    let world = World::with_httpbin(Form::GatewayApi);
    // Somebody who goes on renewing it would be another gateway; this one renewed it a moment ago.
    let now =
        world.cluster.get("namespaces", "", "default").expect("it is there")["metadata"]["creationTimestamp"].clone();
    let now = now.as_str().expect("a time").replace('Z', ".000000Z");
    world.cluster.apply(&json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "sekisho" },
        "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": 3600, "leaseTransitions": 0,
            "acquireTime": now, "renewTime": now },
    }));
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(writers(&world, 0), BTreeSet::new());
    assert_eq!(holder(&world), "somebody");
    // It lets go.
    let mut lease = world.cluster.get("leases", "default", "sekisho").expect("it is there");
    lease["spec"]["holderIdentity"] = json!("");
    world.cluster.apply(&lease);
    world.cluster.wait_for("httproutes", "default", "httpbin", |route| {
        route["status"]["parents"][0]["controllerName"] == CONTROLLER
    });
}

/// One that was killed gives nothing back: after the time for which it took the lease, that is anybody's.
#[test]
fn a_lease_whose_holder_is_gone() {
    let world = World::with_httpbin(Form::GatewayApi);
    let long_ago = "2026-01-01T00:00:00.000000Z";
    world.cluster.apply(&json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "sekisho" },
        "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": 3, "leaseTransitions": 4,
            "acquireTime": long_ago, "renewTime": long_ago },
    }));
    let start = Instant::now();
    let _gateway = world.run();
    let lease = world.cluster.wait_for("leases", "default", "sekisho", |lease| {
        lease["spec"]["holderIdentity"] != "somebody" && !lease.is_null()
    });
    // By its own clock, whatever another's clock says.
    assert!(start.elapsed() >= Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(lease["spec"]["leaseTransitions"], 5, "{lease:#}");
}

/// Whoever does not reach the API server does not know whether it still holds the lease.
#[test]
fn both_come_back_after_an_outage() {
    let world = World::with_httpbin(Form::GatewayApi);
    let other_site = site(&world.cluster, "sekisho-2");
    let _gateway = world.run();
    change(&world, "/status/201");
    let _other = other_site.run();
    world.cluster.stop();
    std::thread::sleep(Duration::from_secs(3));
    let place = world.cluster.here();
    world.cluster.resume();
    change(&world, "/status/202");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(writers(&world, place).len(), 1);
}

/// One whose renewals get no answer must not go on for longer than it has the lease.
#[test]
fn one_that_cannot_renew_its_lease_writes_no_more() {
    let world = World::with_httpbin(Form::GatewayApi);
    let other_site = site(&world.cluster, "sekisho-2");
    let _gateway = world.run();
    change(&world, "/status/201");
    let first_holder = holder(&world);
    let _other = other_site.run();
    world.cluster.delay(Calls::of("*", "leases").by("sekisho"), usize::MAX, Duration::from_secs(60));
    let start = Instant::now();
    while holder(&world) == first_holder {
        assert!(start.elapsed() < Duration::from_secs(30), "nobody takes over");
        std::thread::sleep(Duration::from_millis(100));
    }
    let place = world.cluster.here();
    change(&world, "/status/202");
    change(&world, "/status/203");
    let late = world.cluster.requests_since(place, &Calls::of("patch", "*").by("sekisho"));
    assert!(late.is_empty(), "{}", late[0].line());
}
