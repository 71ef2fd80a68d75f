//! Watches that end, revisions that are forgotten, a server that goes and comes back: nobody who is served notices, and what
//! changed meanwhile is in force after.

use std::time::Duration;

use rig::{Calls, Form, Line, eventually};
use serde_json::json;

use super::*;

in_both_forms!(watches_cut, watches_end_in_order, the_past_is_forgotten, the_server_killed_and_restarted);

/// Both hosts served.
fn served(form: Form) -> (World, Gateway) {
    let world = World::with_both(form);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    (world, gateway)
}

/// A change of the other host's route that is in force when `/again` is served.
fn change(world: &World, form: Form) {
    world.cluster.apply(&form.route(&Route::new("helloworld", 5000, &[Match::Exact("/status/203")])));
}

#[track_caller]
fn changed(gateway: &Gateway) {
    gateway.curl(HELLOWORLD, "/status/203").ca(ca()).soon().answers(203);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(404);
}

fn watches_cut(form: Form) {
    let (world, gateway) = served(form);
    nobody_notices(&gateway, || {
        for _ in 0..3 {
            world.cluster.cut_watches();
            std::thread::sleep(Duration::from_millis(100));
        }
        change(&world, form);
        changed(&gateway);
    });
}

/// As all do after some minutes: nothing is read anew, as what happened since is known.
fn watches_end_in_order(form: Form) {
    let (world, gateway) = served(form);
    let place = world.cluster.here();
    nobody_notices(&gateway, || {
        world.cluster.end_watches();
        change(&world, form);
        changed(&gateway);
    });
    let lists = world.cluster.requests_since(place, &Calls::of("list", "*"));
    assert!(lists.is_empty(), "{}", lists[0].line());
    world.cluster.wait_for_requests(place, &Calls::of("watch", routes(form)), 1);
}

/// What was deleted is known by not being there any more.
fn the_past_is_forgotten(form: Form) {
    let (world, gateway) = served(form);
    nobody_notices(&gateway, || {
        world.cluster.stop();
        world.cluster.delete(routes(form), "default", "helloworld");
        world.cluster.compact();
        world.cluster.resume();
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(404);
        let place = world.cluster.here();
        world.cluster.expire(Calls::of("watch", "*"), 30);
        world.cluster.cut_watches();
        change(&world, form);
        changed(&gateway);
        world.cluster.wait_for_requests(place, &Calls::of("list", routes(form)), 1);
    });
}

/// For as long as it takes to update one: nobody need hear of it.
fn the_server_killed_and_restarted(form: Form) {
    let (world, gateway) = served(form);
    let place = gateway.log().here();
    nobody_notices(&gateway, || {
        world.cluster.stop();
        change(&world, form);
        world.create_secret(&HELLOWORLD_CREDENTIAL.replace("helloworld.example", "wildcard.example"));
        std::thread::sleep(Duration::from_secs(1));
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
        assert_eq!(gateway.page("/readyz").status, 200, "it serves what it knows");
        world.cluster.resume();
        changed(&gateway);
        eventually(|| {
            let handshake = gateway.s_client(Some(HELLOWORLD)).run();
            let subject = handshake.subject.clone().unwrap_or_default();
            if subject.contains('*') { Ok(()) } else { Err(format!("the old certificate\n{handshake}")) }
        });
    });
    assert!(!is_missed(&gateway.log().since(place)), "{}", gateway.log().tail());
}

fn is_missed(lines: &[Line]) -> bool {
    lines.iter().any(|line| line.has(&["api-server-not-heard"]))
}

/// It is said once that the API server is not heard, and once that it is again; meanwhile what it last said is served.
#[test]
fn an_outage_that_lasts() {
    let (world, gateway) = served(Form::GatewayApi);
    let place = gateway.log().here();
    nobody_notices(&gateway, || {
        world.cluster.stop();
        let missed = |line: &Line| line.is_complaint() && line.has(&["api-server-not-heard"]);
        gateway.log().wait_within(place, Duration::from_secs(20), missed);
        change(&world, Form::GatewayApi);
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
        assert_eq!(gateway.page("/readyz").status, 200, "it serves what it knows");
        world.cluster.resume();
        gateway
            .log()
            .wait_within(place, Duration::from_secs(20), |line| line.has(&["api-server-not-heard", "resolved"]));
        changed(&gateway);
    });
    let complaints: Vec<Line> = gateway.log().since(place).into_iter().filter(Line::is_complaint).collect();
    assert!(complaints.len() <= 3, "{complaints:#?}");
}

/// A load balancer that has nobody behind it answers all the same. It must not take longer to come back from that than it
/// lasted.
#[test]
fn a_server_that_answers_503_for_a_while() {
    let (world, gateway) = served(Form::GatewayApi);
    nobody_notices(&gateway, || {
        world.cluster.fail(Calls::of("*", "*"), usize::MAX, 503);
        world.cluster.cut_watches();
        change(&world, Form::GatewayApi);
        std::thread::sleep(Duration::from_secs(4));
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
        world.cluster.calm();
        changed(&gateway);
    });
}

/// Nothing is served before it is known what to serve; then it is.
#[test]
fn a_start_without_a_server() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.stop();
    let gateway = world.site.start();
    gateway.log().wait(|line| line.is_complaint());
    eventually(|| match std::net::TcpStream::connect(("127.0.0.1", gateway.admin())) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    assert_eq!(gateway.page("/readyz").status, 503);
    assert_eq!(gateway.page("/livez").status, 200);
    world.cluster.resume();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    assert_eq!(gateway.page("/readyz").status, 200);
}

/// Lists that come late or in trouble: nothing is served from half of what there is.
#[test]
fn a_start_with_a_slow_server() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.delay(Calls::of("list", "httproutes"), 1, Duration::from_secs(2));
    world.cluster.fail(Calls::of("list", "services"), 1, 500);
    world.cluster.throttle(Calls::of("list", "endpointslices"), 1, 1);
    let gateway = world.site.start();
    // Refused until it is known whether the host has routes, rather than 404.
    eventually(|| {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
        assert!(answer.exit != 0 || answer.status == 418, "half a configuration is served\n{answer}");
        if answer.status == 418 { Ok(()) } else { Err(format!("not yet\n{answer}")) }
    });
}

/// As an installer does it, or a namespace that comes back: not a generation for every object.
#[test]
fn a_burst_of_objects_is_few_generations() {
    const COUNT: usize = 2000;
    let world = World::with_httpbin(Form::GatewayApi);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    let place = gateway.log().here();
    nobody_notices(&gateway, || {
        for number in 0..COUNT {
            let mut route = Form::GatewayApi.route(&Route::httpbin());
            route["metadata"]["name"] = json!(format!("route-{number}"));
            let path = json!({ "path": { "type": "Exact", "value": format!("/anything/{number}") } });
            route["spec"]["rules"][0]["matches"] = json!([path]);
            world.cluster.apply(&route);
        }
        let last = format!("/anything/{}", COUNT - 1);
        gateway.curl(HTTPBIN, &last).ca(ca()).soon().answers(200);
        gateway.curl(HTTPBIN, "/anything/0").ca(ca()).answers(200);
    });
    let generations = gateway.log().since(place).into_iter().filter(|line| line.is("serving")).count();
    assert!(generations < 20, "{generations} generations");
}
