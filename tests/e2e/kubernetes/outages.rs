//! Watches that end, revisions that are forgotten, a server that goes and comes back: nobody who is served notices, and what
//! changed meanwhile is in force after.

use std::time::Duration;

use rig::{Calls, Form, Line, eventually};
use serde_json::json;

use super::*;
use crate::endurance::Held;

in_both_forms!(watches_cut, watches_end_in_order, the_past_is_forgotten, the_server_killed_and_restarted);

const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";

/// Both hosts served.
fn served(form: Form) -> (World, Gateway) {
    let world = World::with_both(form);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    (world, gateway)
}

/// A change of the other host's route that is in force when `/status/203` is served.
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
    assert_eq!(complaints(&gateway, place), Vec::<String>::new());
}

/// What is complained of since a place, but for the task's certificates.
fn complaints(gateway: &Gateway, place: usize) -> Vec<String> {
    let lines = gateway.log().since(place).into_iter();
    let odd = lines.filter(|line| line.is_complaint() && !line.has(&["version-1-certificate"]));
    odd.map(|line| line.text).collect()
}

/// A proxy on the way that knows nothing of the API says 404 to everything: that is no cluster without objects.
#[test]
fn a_proxy_that_finds_nothing() {
    let world = World::with_httpbin(Form::GatewayApi);
    let gateway = world.run();
    nobody_notices(&gateway, || {
        world.cluster.fail(Calls::of("get list watch", "*"), usize::MAX, 404);
        world.cluster.cut_watches();
        std::thread::sleep(Duration::from_secs(4));
        world.cluster.calm();
    });
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
    let complaints = complaints(&gateway, place);
    // One for the watches, one for the lease.
    assert!(complaints.len() <= 2, "{complaints:#?}");
}

/// A load balancer that has nobody behind it answers all the same. However long that lasted, what is true then is known
/// soon after.
#[test]
fn a_server_that_answers_503_for_a_while() {
    let (world, gateway) = served(Form::GatewayApi);
    nobody_notices(&gateway, || {
        world.cluster.fail(Calls::of("*", "*"), usize::MAX, 503);
        world.cluster.cut_watches();
        change(&world, Form::GatewayApi);
        std::thread::sleep(Duration::from_secs(22));
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
        let place = world.cluster.here();
        world.cluster.calm();
        let start = std::time::Instant::now();
        for kind in [GATEWAYS, "gatewayclasses", "httproutes", "tlsroutes", "services", "endpointslices", "namespaces"]
        {
            world.cluster.wait_for_requests(place, &Calls::of("list watch", kind), 1);
        }
        assert!(start.elapsed() < rig::PATIENCE, "{:?}", start.elapsed());
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
    // Each changes how many routes the Gateway says that it has.
    let of_gateway = Calls::of("patch", "gateways.gateway.networking.k8s.io/status");
    let said = world.cluster.requests_since(0, &of_gateway).len();
    assert!(said < 20, "{said} statuses of the Gateway");
}

/// Connections, threads and tasks that break off are given back.
#[test]
fn outages_leave_nothing_behind() {
    let (world, gateway) = served(Form::GatewayApi);
    let quiet = || {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
        std::thread::sleep(Duration::from_secs(1));
        Held::by(&gateway)
    };
    let before = quiet();
    for number in 0..30 {
        match number % 3 {
            0 => world.cluster.cut_watches(),
            1 => world.cluster.end_watches(),
            _ => {
                world.cluster.stop();
                world.cluster.resume();
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    change(&world, Form::GatewayApi);
    changed(&gateway);
    eventually(|| {
        let after = quiet();
        let same = after.descriptors <= before.descriptors + 3 && after.threads == before.threads;
        if same { Ok(()) } else { Err(format!("{before:?}, then {after:?}")) }
    });
}

/// More than a page of them.
#[test]
fn a_start_with_many_objects() {
    let world = World::with_httpbin(Form::GatewayApi);
    for number in 0..1200 {
        let mut route = Form::GatewayApi.route(&Route::httpbin());
        route["metadata"]["name"] = json!(format!("route-{number:04}"));
        let path = json!({ "path": { "type": "Exact", "value": format!("/anything/{number}") } });
        route["spec"]["rules"][0]["matches"] = json!([path]);
        world.cluster.apply(&route);
    }
    let lists = Calls::of("list", "httproutes");
    world.cluster.delay(lists.clone(), 2, Duration::from_millis(300));
    let gateway = world.site.start();
    // The second page is of what is forgotten, so the list begins anew.
    world.cluster.wait_for_requests(0, &lists, 1);
    world.cluster.compact();
    let gateway = gateway.serving();
    for path in ["/status/418", "/anything/0", "/anything/1199"] {
        gateway.curl(HTTPBIN, path).ca(ca()).soon().answers(if path == "/status/418" { 418 } else { 200 });
    }
    let all = world.cluster.requests_since(0, &lists);
    let expired = all.iter().filter(|request| request.status == 410).count();
    assert_eq!((expired, all.len()), (1, 5), "{all:#?}");
}

/// Each is watched by its name.
#[test]
fn many_secrets() {
    const COUNT: usize = 100;
    let world = World::with_httpbin(Form::GatewayApi);
    let secret = Site::secret(HTTPBIN_CREDENTIAL);
    let names: Vec<String> = (0..COUNT).map(|number| format!("host-{number}")).collect();
    for (number, half) in names.chunks(COUNT / 2).enumerate() {
        let servers: Vec<Server> = half.iter().map(|name| Server::simple(name)).collect();
        let mut gateway = mygateway(Form::GatewayApi, &servers);
        gateway["metadata"]["name"] = json!(format!("gateway-{number}"));
        world.cluster.apply(&gateway);
        for name in half {
            let mut secret = secret.clone();
            secret["metadata"]["name"] = json!(format!("{name}-credential"));
            world.cluster.apply(&secret);
        }
    }
    let gateway = world.run();
    let shown = |name: &str, by: &str| {
        let host = format!("{name}.example.com");
        eventually(|| {
            let handshake = gateway.s_client(Some(&host)).run();
            let shown = handshake.subject.clone().unwrap_or_default();
            if shown.contains(by) { Ok(()) } else { Err(format!("{name}: {shown}\n{handshake}")) }
        });
    };
    for name in &names {
        shown(name, "httpbin");
    }
    world.cluster.stop();
    let mut changed = Site::secret(&HELLOWORLD_CREDENTIAL.replace("helloworld-credential", "host-77-credential"));
    changed["metadata"]["name"] = json!("host-77-credential");
    world.cluster.apply(&changed);
    std::thread::sleep(Duration::from_secs(1));
    world.cluster.resume();
    shown("host-77", "helloworld");
    shown("host-76", "httpbin");
}

/// One secret that is not to be had soon holds up neither what is served nor what else changes.
#[test]
fn a_slow_secret() {
    let (world, gateway) = served(Form::GatewayApi);
    let slow = Calls::of("list watch", "secrets").named(&["slow-credential"]);
    world.cluster.delay(slow, 10, Duration::from_secs(8));
    let servers = ["httpbin", "helloworld", "slow"].map(Server::simple);
    nobody_notices(&gateway, || {
        world.cluster.apply(&mygateway(Form::GatewayApi, &servers));
        change(&world, Form::GatewayApi);
        let start = std::time::Instant::now();
        changed(&gateway);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    });
    world.create_secret(&HTTPBIN_CREDENTIAL.replace("httpbin-credential", "slow-credential"));
    let start = std::time::Instant::now();
    while gateway.s_client(Some("slow.example.com")).run().subject.is_none() {
        assert!(start.elapsed() < Duration::from_secs(20), "the secret is never used");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whoever stops it need not wait for the API server.
#[test]
fn an_end_without_a_server() {
    for hangs in [false, true] {
        let world = World::with_httpbin(Form::GatewayApi);
        let mut gateway = world.run();
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
        if hangs {
            world.cluster.delay(Calls::of("*", "*"), usize::MAX, Duration::from_secs(60));
        } else {
            world.cluster.stop();
        }
        std::thread::sleep(Duration::from_millis(500));
        gateway.signal("TERM");
        assert!(gateway.ended(Duration::from_secs(8)).is_some_and(|status| status.success()), "hangs: {hangs}");
    }
}
