//! What the gateway writes: statuses, and nothing else; when there is something new to say, and then until it is said.

use std::time::{Duration, Instant};

use rig::{Calls, Form, Request, Server, eventually};
use serde_json::{Value, json};

use super::*;

const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";

fn writes() -> Calls {
    Calls::of("create update patch delete deletecollection", "*")
}

/// What was written since a place, but for the lease.
fn written(world: &World, place: usize) -> Vec<Request> {
    let all = world.cluster.requests_since(place, &writes());
    all.into_iter().filter(|request| request.resource != "leases.coordination.k8s.io").collect()
}

fn condition<'a>(conditions: &'a Value, kind: &str) -> &'a Value {
    let list = conditions["conditions"].as_array();
    list.and_then(|list| list.iter().find(|condition| condition["type"] == kind)).unwrap_or(&Value::Null)
}

/// Our word on a route.
fn ours(route: &Value) -> &Value {
    let parents = route["status"]["parents"].as_array();
    let own = parents.and_then(|parents| parents.iter().find(|parent| parent["controllerName"] == CONTROLLER));
    own.unwrap_or(&Value::Null)
}

/// Whether our word on a route is that it is accepted, in its present form.
fn is_accepted(route: &Value) -> bool {
    let accepted = condition(ours(route), "Accepted");
    accepted["status"] == "True" && accepted["observedGeneration"] == route["metadata"]["generation"]
}

fn is_programmed(gateway: &Value) -> bool {
    let programmed = condition(&gateway["status"], "Programmed");
    programmed["status"] == "True" && programmed["observedGeneration"] == gateway["metadata"]["generation"]
}

/// Waits until nothing is written any more.
#[track_caller]
fn settled(world: &World) {
    world.cluster.wait_for(GATEWAYS, "istio-system", "mygateway", is_programmed);
    world.cluster.wait_for("httproutes", "default", "httpbin", is_accepted);
    eventually(|| {
        let place = world.cluster.here();
        std::thread::sleep(Duration::from_millis(700));
        let more = written(world, place);
        if more.is_empty() { Ok(()) } else { Err(format!("still writing {}", more[0].line())) }
    });
}

#[test]
fn statuses_are_written_once() {
    let world = World::with_httpbin(Form::GatewayApi);
    let gateway = world.run();
    settled(&world);
    let of = |resource, namespace, name| world.cluster.status(resource, namespace, name);
    let class = of("gatewayclasses", "", "sekisho");
    assert_eq!(condition(&class, "Accepted")["status"], "True", "{class:#}");
    let own = of(GATEWAYS, "istio-system", "mygateway");
    assert_eq!(condition(&own, "Accepted")["status"], "True", "{own:#}");
    assert_eq!(own["listeners"][0]["attachedRoutes"], 1, "{own:#}");
    assert_eq!(condition(&own["listeners"][0], "ResolvedRefs")["status"], "True", "{own:#}");
    let route = world.cluster.get("httproutes", "default", "httpbin").expect("it is there");
    assert_eq!(condition(ours(&route), "ResolvedRefs")["status"], "True", "{route:#}");
    assert_eq!(ours(&route)["parentRef"]["name"], "mygateway");
    // Only statuses, and each with the version that it is about.
    for request in written(&world, 0) {
        assert!(request.verb == "patch" && request.resource.ends_with("/status"), "{}", request.line());
        assert!(request.body["metadata"]["resourceVersion"].is_string(), "{:#}", request.body);
    }

    // What the gateway wrote itself is no change.
    let generations = gateway.log().since(0).into_iter().filter(|line| line.is("serving")).count();
    assert!(generations <= 2, "{}", gateway.log().tail());

    // Nothing new, nothing to say: not after a while, nor when other things change, nor when everything is read again.
    let place = world.cluster.here();
    std::thread::sleep(Duration::from_secs(2));
    world.create_secret(HTTPBIN_CREDENTIAL_2);
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
    let mut labelled = Form::GatewayApi.route(&Route::httpbin());
    labelled["metadata"]["labels"] = json!({ "a": "b" });
    world.cluster.apply(&labelled);
    world.cluster.cut_watches();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(written(&world, place).iter().map(Request::line).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_change_is_said_and_what_is_as_before_keeps_its_time() {
    let world = World::with_httpbin(Form::GatewayApi);
    let _gateway = world.run();
    settled(&world);
    let before = world.cluster.get("httproutes", "default", "httpbin").expect("it is there");
    // Transitions have seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let place = world.cluster.here();
    let mut changed = Form::GatewayApi.route(&Route::httpbin());
    changed["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("nowhere");
    world.cluster.apply(&changed);
    let after = world.cluster.wait_for("httproutes", "default", "httpbin", |route| {
        condition(ours(route), "ResolvedRefs")["status"] == "False"
    });
    let time = |route, kind| condition(ours(route), kind)["lastTransitionTime"].clone();
    assert_ne!(time(&before, "ResolvedRefs"), time(&after, "ResolvedRefs"));
    assert_eq!(time(&before, "Accepted"), time(&after, "Accepted"));
    assert_eq!(condition(ours(&after), "Accepted")["observedGeneration"], 2);
    assert_eq!(condition(ours(&after), "ResolvedRefs")["reason"], "BackendNotFound");
    std::thread::sleep(Duration::from_millis(500));
    let lines: Vec<String> = written(&world, place).iter().map(Request::line).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

fn other_parent() -> Value {
    json!({
        "controllerName": "example.com/other",
        "parentRef": { "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "theirs" },
        "conditions": [{ "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    })
}

#[test]
fn what_other_controllers_say_stays() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.set_status("httproutes", "default", "httpbin", &json!({ "parents": [other_parent()] }));
    let _gateway = world.run();
    settled(&world);
    let has_theirs = |route: &Value| {
        let parents = route["status"]["parents"].as_array();
        parents.is_some_and(|parents| parents.contains(&other_parent()))
    };
    let route = world.cluster.get("httproutes", "default", "httpbin").expect("it is there");
    assert!(has_theirs(&route) && is_accepted(&route), "{route:#}");

    // Another's word comes while ours is there, and is not ours to take away.
    let mut status = route["status"].clone();
    let mut third = other_parent();
    third["controllerName"] = json!("example.com/third");
    status["parents"].as_array_mut().expect("a list").push(third.clone());
    world.cluster.set_status("httproutes", "default", "httpbin", &status);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(world.cluster.status("httproutes", "default", "httpbin"), status);

    // A route that is no longer ours.
    let mut moved = Form::GatewayApi.route(&Route::httpbin());
    moved["spec"]["parentRefs"] = json!([{ "name": "theirs" }]);
    world.cluster.apply(&moved);
    let left = world.cluster.wait_for("httproutes", "default", "httpbin", |route| ours(route).is_null());
    assert_eq!(left["status"]["parents"], json!([other_parent(), third]));
}

#[test]
fn a_gateway_of_another_class_is_none_of_ours() {
    let world = World::with_httpbin(Form::GatewayApi);
    let mut theirs = mygateway(Form::GatewayApi, &[Server::simple("httpbin")]);
    theirs["metadata"]["name"] = json!("theirs");
    theirs["spec"]["gatewayClassName"] = json!("theirs");
    world.cluster.apply(&theirs);
    let mut class = class("theirs");
    class["spec"]["controllerName"] = json!("example.com/other");
    world.cluster.apply(&class);
    let before = world.cluster.status(GATEWAYS, "istio-system", "theirs");
    let _gateway = world.run();
    settled(&world);
    assert_eq!(world.cluster.status(GATEWAYS, "istio-system", "theirs"), before);
    assert_eq!(condition(&world.cluster.status("gatewayclasses", "", "theirs"), "Accepted")["status"], "Unknown");
}

#[test]
fn a_conflict_is_tried_again() {
    let world = World::with_httpbin(Form::GatewayApi);
    let status = Calls::of("patch", "httproutes/status");
    world.cluster.interfere(status.clone(), 2);
    let _gateway = world.run();
    settled(&world);
    let all = world.cluster.requests_since(0, &status);
    assert_eq!(all.iter().filter(|request| request.status == 409).count(), 2);
    assert_eq!(all.last().map(|request| request.status), Some(200));
    // What the other wrote is still there.
    let route = world.cluster.get("httproutes", "default", "httpbin").expect("it is there");
    assert!(route["metadata"]["annotations"]["example.com/interfered"].is_string(), "{route:#}");
}

#[test]
fn a_busy_server_is_given_the_time_that_it_asks_for() {
    let world = World::with_httpbin(Form::GatewayApi);
    let status = Calls::of("patch", "httproutes/status");
    world.cluster.throttle(status.clone(), 1, 2);
    let _gateway = world.run();
    settled(&world);
    let all = world.cluster.requests_since(0, &status);
    assert_eq!(all[0].status, 429);
    assert!(all[1].at - all[0].at >= Duration::from_secs(2), "after {:?}", all[1].at - all[0].at);
}

#[test]
fn a_server_in_trouble_is_tried_again() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.fail(Calls::of("patch", "httproutes/status"), 1, 500);
    world.cluster.fail(Calls::of("patch", "gateways.gateway.networking.k8s.io/status"), 1, 503);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    settled(&world);
}

/// Slow writing holds up nobody who is served.
#[test]
fn traffic_does_not_wait_for_statuses() {
    let world = World::with_httpbin(Form::GatewayApi);
    let gateway = world.run();
    settled(&world);
    let status = Calls::of("patch", "httproutes/status");
    world.cluster.delay(status, 20, Duration::from_secs(5));
    let start = Instant::now();
    for path in ["/status/201", "/status/202", "/status/203"] {
        world.cluster.apply(&only(Form::GatewayApi, path));
        let code = path.rsplit('/').next().and_then(|code| code.parse().ok()).expect("it ends in a status");
        gateway.curl(HTTPBIN, path).ca(ca()).soon().answers(code);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Istio's objects have one condition of ours.
#[test]
fn istios_objects_have_a_status() {
    let world = World::with_httpbin(Form::Istio);
    let _gateway = world.run();
    let reconciled = |object: &Value| {
        let status = &object["status"];
        condition(status, "Reconciled")["status"] == "True"
            && status["observedGeneration"] == object["metadata"]["generation"]
    };
    world.cluster.wait_for("gateways.networking.istio.io", "default", "mygateway", reconciled);
    world.cluster.wait_for("virtualservices", "default", "httpbin", reconciled);
    std::thread::sleep(Duration::from_millis(500));
    let place = world.cluster.here();
    world.cluster.apply(&only(Form::Istio, "/status/201"));
    world.cluster.wait_for("virtualservices", "default", "httpbin", reconciled);
    std::thread::sleep(Duration::from_millis(500));
    let lines: Vec<String> = written(&world, place).iter().map(Request::line).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

/// One status that cannot be written holds up no other.
#[test]
fn one_that_fails_does_not_hold_up_the_rest() {
    let world = World::with_both(Form::GatewayApi);
    let theirs = Calls::of("patch", "httproutes/status").named(&["helloworld"]);
    world.cluster.fail(theirs, usize::MAX, 503);
    let _gateway = world.run();
    world.cluster.wait_for("httproutes", "default", "httpbin", is_accepted);
    std::thread::sleep(Duration::from_secs(3));
    world.cluster.apply(&only(Form::GatewayApi, "/status/201"));
    world.cluster.wait_for("httproutes", "default", "httpbin", is_accepted);
    world.cluster.calm();
}

/// A write that came too late for an object is nothing to the one that is made anew under its name.
#[test]
fn one_that_is_gone_and_made_anew_is_another() {
    let world = World::with_httpbin(Form::GatewayApi);
    let patches = Calls::of("patch", "httproutes/status");
    world.cluster.fail(patches.clone(), usize::MAX, 404);
    let _gateway = world.run();
    world.cluster.wait_for_requests(0, &patches, 1);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(world.cluster.requests_since(0, &patches).len(), 1, "it is not tried again and again");
    world.cluster.calm();
    world.cluster.delete("httproutes", "default", "httpbin");
    world.cluster.apply(&Form::GatewayApi.route(&Route::httpbin()));
    world.cluster.wait_for("httproutes", "default", "httpbin", is_accepted);
}

/// What is said of an object that was written late is what is true then.
#[test]
fn a_late_write_is_of_now() {
    let world = World::with_httpbin(Form::GatewayApi);
    let _gateway = world.run();
    settled(&world);
    world.cluster.delay(Calls::of("patch", "httproutes/status"), 1, Duration::from_secs(2));
    let mut changed = Form::GatewayApi.route(&Route::httpbin());
    changed["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("nowhere");
    let place = world.cluster.here();
    world.cluster.apply(&changed);
    std::thread::sleep(Duration::from_secs(1));
    world.cluster.apply(&Form::GatewayApi.route(&Route::httpbin()));
    settled(&world);
    let route = world.cluster.get("httproutes", "default", "httpbin").expect("it is there");
    assert_eq!(condition(ours(&route), "ResolvedRefs")["status"], "True", "{route:#}");
    let codes: Vec<u16> = written(&world, place).iter().map(|request| request.status).collect();
    assert_eq!(codes, [409, 200], "the first was of what is no more");
}

/// Definitions of an older release leave out what they do not know: that is no reason to write it for ever, nor to write
/// nothing more.
#[test]
fn fields_that_the_cluster_does_not_know() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.know_nothing_of(GATEWAYS, "/status/attachedListenerSets");
    let _gateway = world.run();
    settled(&world);
    let place = world.cluster.here();
    std::thread::sleep(Duration::from_secs(3));
    let again = written(&world, place).len();
    assert!(again <= 1, "{again} more writes");
    // The Gateway's status changes without the Gateway.
    world.add_helloworld(Form::GatewayApi);
    let mut second = Form::GatewayApi.route(&Route::httpbin());
    second["metadata"]["name"] = json!("second");
    world.cluster.apply(&second);
    world.cluster.wait_for(GATEWAYS, "istio-system", "mygateway", |gateway| {
        gateway["status"]["listeners"][0]["attachedRoutes"] == 2
    });
}

fn addresses(gateway: &Value) -> Vec<&str> {
    let list = gateway["status"]["addresses"].as_array();
    list.into_iter().flatten().filter_map(|address| address["value"].as_str()).collect()
}

/// What clients use is not always what the gateway listens on.
#[test]
fn addresses_that_are_published() {
    let world = World::with_httpbin(Form::GatewayApi);
    let own = |keys: Value| {
        let mut gateway = json!({ "namespace": "istio-system" });
        gateway.as_object_mut().expect("a map").extend(keys.as_object().expect("a map").clone());
        json!({ "gateway": gateway })
    };
    configure(
        &world.site,
        &world.cluster,
        "sekisho",
        &own(json!({ "published": ["192.0.2.7", "gateway.example.com"] })),
    );
    let gateway = world.run();
    let wait = |wanted: &[&str]| {
        world.cluster.wait_for(GATEWAYS, "istio-system", "mygateway", |gateway| addresses(gateway) == wanted);
    };
    wait(&["192.0.2.7", "gateway.example.com"]);

    let mut front = service("front", 443);
    front["metadata"]["namespace"] = json!("istio-system");
    world.cluster.apply(&front);
    let at = |ip: &str| json!({ "loadBalancer": { "ingress": [{ "ip": ip }] } });
    world.cluster.set_status("services", "istio-system", "front", &at("192.0.2.8"));
    configure(&world.site, &world.cluster, "sekisho", &own(json!({ "service": "istio-system/front" })));
    gateway.signal("HUP");
    wait(&["192.0.2.8"]);
    world.cluster.set_status("services", "istio-system", "front", &at("192.0.2.9"));
    wait(&["192.0.2.9"]);
}
