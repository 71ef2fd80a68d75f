//! What is kept in the cluster for Gateways that have addresses of their own: a Service that leads to them, and no other
//! write than is needed for it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rig::{Calls, Form, Request, Server, eventually};
use serde_json::{Value, json};

use super::*;

const GATEWAYS: &str = "gateways.gateway.networking.k8s.io";
const NAMESPACE: &str = "istio-system";
/// Of `mygateway`, whose class is `sekisho`.
const SERVICE: &str = "mygateway-sekisho";
const SLICE: &str = "mygateway-sekisho-ipv4";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const OURS: &str = "sekisho.dev_gateway-controller";
const POOL: &str = "127.0.1.0/24";

/// httpbin's world, where Services are kept for Gateways of this pool.
fn world(pool: &str) -> World {
    let world = World::with_httpbin(Form::GatewayApi);
    keep_services(&world, &world.site, "sekisho", pool, true);
    world
}

fn keep_services(world: &World, site: &Site, user: &str, pool: &str, kept: bool) {
    let keys = json!({
        "kubernetes": { "kubeconfig": world.cluster.kubeconfig_of(user), "gatewayServices": kept },
        "gateway": { "namespace": "istio-system", "pool": [pool] },
    });
    configure(site, &world.cluster, user, &keys);
}

/// An address of this machine that other machines may know; none where it is alone.
fn outside_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// `mygateway` with these labels for what is made for it.
fn labelled(labels: &Value) -> Value {
    let mut gateway = mygateway(Form::GatewayApi, &[Server::simple("httpbin")]);
    gateway["spec"]["infrastructure"] = json!({ "labels": labels, "annotations": { "example.com/note": "n" } });
    gateway
}

fn writes(world: &World, place: usize) -> Vec<Request> {
    let of = |resource| Calls::of("create update patch delete deletecollection", resource);
    let mut all = world.cluster.requests_since(place, &of("services"));
    all.extend(world.cluster.requests_since(place, &of("endpointslices")));
    all
}

fn lines(requests: &[Request]) -> Vec<String> {
    requests.iter().map(Request::line).collect()
}

#[track_caller]
fn service(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    world.cluster.wait_for("services", NAMESPACE, SERVICE, wanted)
}

#[track_caller]
fn made(world: &World) -> Value {
    service(world, |service| service["metadata"]["labels"][MANAGED_BY] == OURS)
}

#[track_caller]
fn gone(world: &World) {
    service(world, Value::is_null);
}

/// Waits until nothing is written any more.
#[track_caller]
fn settled(world: &World) {
    eventually(|| {
        let place = world.cluster.here();
        std::thread::sleep(Duration::from_millis(700));
        let more = writes(world, place);
        if more.is_empty() { Ok(()) } else { Err(format!("still writing {}", more[0].line())) }
    });
}

/// A Service that somebody else made under the name.
fn theirs() -> Value {
    let mut service = rig::service(SERVICE, 443);
    service["metadata"]["namespace"] = json!(NAMESPACE);
    service["metadata"]["labels"] = json!({ MANAGED_BY: "Helm" });
    service
}

#[test]
fn a_service_leads_to_the_gateway() {
    let Some(address) = outside_address() else {
        return eprintln!("skipped: this machine has no address that an EndpointSlice may have");
    };
    let world = world(&address.to_string());
    world.cluster.apply(&labelled(&json!({ "team": "web" })));
    let gateway = world.run();
    let service = made(&world);
    assert_eq!(service["metadata"]["labels"]["team"], "web", "{service:#}");
    assert_eq!(service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-name"], "mygateway");
    assert_eq!(service["metadata"]["labels"]["gateway.networking.k8s.io/gateway-class-name"], "sekisho");
    assert_eq!(service["metadata"]["annotations"]["example.com/note"], "n");
    let owner = world.cluster.get(GATEWAYS, NAMESPACE, "mygateway").expect("it is there");
    assert_eq!(service["metadata"]["ownerReferences"][0]["uid"], owner["metadata"]["uid"], "{service:#}");
    let ports = [json!({
        "name": "port-443", "port": 443, "protocol": "TCP", "targetPort": gateway.https(), "appProtocol": "https",
    })];
    assert_eq!(service["spec"]["ports"], json!(ports));

    // Whoever goes by the EndpointSlice finds the gateway there.
    let slice = world.cluster.wait_for("endpointslices", NAMESPACE, SLICE, |slice| !slice.is_null());
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], SERVICE, "{slice:#}");
    assert_eq!(slice["metadata"]["labels"]["team"], "web", "{slice:#}");
    let ip: IpAddr = slice["endpoints"][0]["addresses"][0].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
    let port = slice["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    assert_eq!((ip, port), (address, gateway.https()));
    let to = format!("{HTTPBIN}:{}:{}", gateway.https(), SocketAddr::new(ip, port));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).arg("--connect-to").arg(to).soon().answers(418);

    // The class says so, and who reads that all is well with the Gateway finds its Service.
    let class = world.cluster.status("gatewayclasses", "", "sekisho");
    let features = class["supportedFeatures"].as_array().cloned().unwrap_or_default();
    assert!(features.contains(&json!({ "name": "GatewayInfrastructurePropagation" })), "{class:#}");
    let created = world.cluster.requests_since(0, &Calls::of("create", "services"));
    let said = world.cluster.requests_since(0, &Calls::of("patch", "gateways.gateway.networking.k8s.io/status"));
    assert!(created[0].at < said[0].at);

    // That is all there is to write, and no reason to build for ever.
    settled(&world);
    assert_eq!(writes(&world, 0).len(), 2, "{:#?}", lines(&writes(&world, 0)));
    let generations = gateway.log().since(0).into_iter().filter(|line| line.is("serving")).count();
    assert!(generations <= 4, "{}", gateway.log().tail());
}

/// What pods could not reach is not what they are led to.
#[test]
fn a_loopback_address_is_no_endpoint() {
    let world = world(POOL);
    let gateway = world.run();
    made(&world);
    settled(&world);
    assert_eq!(world.cluster.get("endpointslices", NAMESPACE, SLICE), None);
    gateway.log().wait(|line| line.is_complaint() && line.has(&["unreachable-address", "127.0.1.1"]));
}

#[test]
fn it_follows_the_gateway() {
    let world = world(POOL);
    world.cluster.apply(&labelled(&json!({ "team": "web", "tier": "front" })));
    let _gateway = world.run();
    let mut kept = made(&world);
    // Somebody else may have something to say of it.
    kept["metadata"]["labels"]["theirs"] = json!("1");
    kept["spec"]["clusterIP"] = json!("10.96.0.7");
    world.cluster.apply(&kept);
    let mut changed = labelled(&json!({ "team": "shop" }));
    let listener = json!({ "name": "http", "port": 80, "protocol": "HTTP" });
    changed["spec"]["listeners"].as_array_mut().expect("a list").push(listener);
    world.cluster.apply(&changed);
    let kept = service(&world, |service| service["spec"]["ports"].as_array().is_some_and(|ports| ports.len() == 2));
    let labels = &kept["metadata"]["labels"];
    assert_eq!((&labels["team"], &labels["tier"], &labels["theirs"]), (&json!("shop"), &Value::Null, &json!("1")));
    assert_eq!(kept["spec"]["clusterIP"], "10.96.0.7");
    assert_eq!(kept["spec"]["ports"][0]["name"], "port-80", "{kept:#}");
}

#[test]
fn what_others_made_is_left_alone() {
    let world = world(POOL);
    let before = world.cluster.apply(&theirs());
    let gateway = world.run();
    gateway.log().wait(|line| line.is_complaint() && line.has(&["service-taken", "mygateway", SERVICE]));
    settled(&world);
    assert_eq!(lines(&writes(&world, 0)), Vec::<String>::new());
    assert_eq!(world.cluster.get("services", NAMESPACE, SERVICE), Some(before));
    // They take it away.
    world.cluster.delete("services", NAMESPACE, SERVICE);
    made(&world);
}

/// Whoever was faster by a moment has it, and no client of his is led to the gateway.
#[test]
fn what_others_make_in_the_same_moment_is_left_alone() {
    let Some(address) = outside_address() else {
        return eprintln!("skipped: this machine has no address that an EndpointSlice may have");
    };
    let world = world(&address.to_string());
    let creating = Calls::of("create", "services");
    world.cluster.delay(creating.clone(), 1, Duration::from_secs(1));
    let _gateway = world.run();
    eventually(|| match world.cluster.status(GATEWAYS, NAMESPACE, "mygateway")["conditions"].as_array() {
        Some(_) => Ok(()),
        None => Err("not yet".to_owned()),
    });
    let before = world.cluster.apply(&theirs());
    let refused = world.cluster.wait_for_requests(0, &creating, 1);
    assert_eq!(refused[0].status, 409);
    settled(&world);
    assert_eq!(world.cluster.get("services", NAMESPACE, SERVICE), Some(before));
    // Not even for a moment.
    let slices = world.cluster.requests_since(0, &Calls::of("create", "endpointslices"));
    assert_eq!(lines(&slices), Vec::<String>::new());
}

#[test]
fn what_is_changed_by_others_is_changed_back() {
    let Some(address) = outside_address() else {
        return eprintln!("skipped: this machine has no address that an EndpointSlice may have");
    };
    let world = world(&address.to_string());
    let _gateway = world.run();
    let kept = made(&world);
    let slice = world.cluster.wait_for("endpointslices", NAMESPACE, SLICE, |slice| !slice.is_null());
    let mut edited = kept.clone();
    edited["spec"]["selector"] = json!({ "app": "theirs" });
    edited["spec"]["ports"][0]["port"] = json!(8443);
    world.cluster.apply(&edited);
    service(&world, |service| {
        service["spec"]["selector"].is_null() && service["spec"]["ports"] == kept["spec"]["ports"]
    });
    let mut edited = slice.clone();
    edited["endpoints"] = json!([{ "addresses": ["198.51.100.1"] }]);
    world.cluster.apply(&edited);
    world.cluster.wait_for("endpointslices", NAMESPACE, SLICE, |is| is["endpoints"] == slice["endpoints"]);
    world.cluster.delete("services", NAMESPACE, SERVICE);
    world.cluster.delete("endpointslices", NAMESPACE, SLICE);
    made(&world);
    world.cluster.wait_for("endpointslices", NAMESPACE, SLICE, |slice| !slice.is_null());
    // A family that no patch can change: another Service takes its place.
    let mut other = made(&world);
    let uid = other["metadata"]["uid"].clone();
    other["spec"]["ipFamilies"] = json!(["IPv6"]);
    world.cluster.apply(&other);
    service(&world, |service| service["spec"]["ipFamilies"] == json!(["IPv4"]) && service["metadata"]["uid"] != uid);
    settled(&world);
}

#[test]
fn it_goes_with_its_gateway() {
    let Some(address) = outside_address() else {
        return eprintln!("skipped: this machine has no address that an EndpointSlice may have");
    };
    let world = world(&address.to_string());
    // Left over from before, and another controller's.
    for (name, by) in [("left-sekisho", OURS), ("other-sekisho", "example.com_other")] {
        let mut left = theirs();
        left["metadata"]["name"] = json!(name);
        left["metadata"]["labels"][MANAGED_BY] = json!(by);
        world.cluster.apply(&left);
    }
    let _gateway = world.run();
    made(&world);
    world.cluster.wait_for("endpointslices", NAMESPACE, SLICE, |slice| !slice.is_null());
    world.cluster.wait_for("services", NAMESPACE, "left-sekisho", Value::is_null);
    world.cluster.delete(GATEWAYS, NAMESPACE, "mygateway");
    gone(&world);
    world.cluster.wait_for("endpointslices", NAMESPACE, SLICE, Value::is_null);
    assert!(world.cluster.get("services", NAMESPACE, "other-sekisho").is_some());
    // One that is another class's is no Gateway of ours.
    world.cluster.apply(&mygateway(Form::GatewayApi, &[Server::simple("httpbin")]));
    made(&world);
    let mut theirs = mygateway(Form::GatewayApi, &[Server::simple("httpbin")]);
    theirs["spec"]["gatewayClassName"] = json!("theirs");
    world.cluster.apply(&theirs);
    gone(&world);
}

/// As long as Gateways may not be read, nobody knows which of them are gone.
#[test]
fn nothing_is_deleted_for_want_of_rights() {
    let world = world(POOL);
    let gateway = world.run();
    made(&world);
    settled(&world);
    drop(gateway);
    let reading = Calls::of("*", GATEWAYS);
    world.cluster.forbid("sekisho", reading.clone());
    let place = world.cluster.here();
    let gateway = world.run();
    gateway.log().wait(|line| line.is_complaint() && line.has(&["access-forbidden"]));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(lines(&writes(&world, place)), Vec::<String>::new());
    world.cluster.permit("sekisho", reading);
    world.cluster.delete(GATEWAYS, NAMESPACE, "mygateway");
    gone(&world);
}

#[test]
fn one_writes_and_the_other_takes_over() {
    let world = world(POOL);
    let other_site = site(&world.cluster, "sekisho-2");
    keep_services(&world, &other_site, "sekisho-2", POOL, true);
    let mut gateway = world.run();
    made(&world);
    let other = other_site.run();
    settled(&world);
    let all_by = |user: &str, place| {
        let all = writes(&world, place);
        assert!(all.iter().all(|request| request.user == user), "{:?}", lines(&all));
        all
    };
    all_by("sekisho", 0);
    let place = world.cluster.here();
    gateway.signal("TERM");
    assert!(gateway.ended(Duration::from_secs(10)).is_some_and(|status| status.success()));
    world.cluster.delete(GATEWAYS, NAMESPACE, "mygateway");
    gone(&world);
    // Where it took over before the Gateway was gone, it first named the ports that it bound itself.
    let (deleted, changed): (Vec<_>, Vec<_>) =
        all_by("sekisho-2", place).into_iter().partition(|request| request.verb == "delete");
    assert_eq!((deleted.len(), changed.len() <= 1), (1, true), "{:?}", lines(&changed));
    drop(other);
}

#[test]
fn what_fails_is_tried_again() {
    let world = world(POOL);
    let creating = Calls::of("create", "services");
    world.cluster.throttle(creating.clone(), 1, 1);
    world.cluster.fail(creating.clone(), 2, 500);
    let _gateway = world.run();
    made(&world);
    let all = world.cluster.requests_since(0, &creating);
    assert_eq!(all.iter().map(|request| request.status).collect::<Vec<_>>(), [429, 500, 500, 201]);
    assert!(all[1].at - all[0].at >= Duration::from_secs(1) && all[3].at - all[2].at >= Duration::from_secs(2));
    // Somebody else writes in between, and loses nothing by it.
    world.cluster.interfere(Calls::of("patch", "services"), 2);
    world.cluster.apply(&labelled(&json!({ "team": "web" })));
    let kept = service(&world, |service| service["metadata"]["labels"]["team"] == "web");
    assert!(kept["metadata"]["annotations"]["example.com/interfered"].is_string(), "{kept:#}");
    // One that cannot be written holds up no status.
    world.cluster.fail(Calls::of("patch", "services"), usize::MAX, 503);
    let generation = world.cluster.apply(&labelled(&json!({ "team": "shop" })))["metadata"]["generation"].clone();
    world.cluster.wait_for(GATEWAYS, NAMESPACE, "mygateway", |gateway| {
        gateway["status"]["conditions"][0]["observedGeneration"] == generation
    });
    world.cluster.calm();
}

/// Who corrects it does not wait for the end of a pause.
#[test]
fn what_was_refused_is_not_what_is_wanted_now() {
    let world = world(POOL);
    let creating = Calls::of("create", "services");
    world.cluster.fail(creating.clone(), 3, 500);
    let _gateway = world.run();
    world.cluster.wait_for_requests(0, &creating, 3);
    world.cluster.apply(&labelled(&json!({ "team": "web" })));
    let corrected = Instant::now();
    made(&world);
    assert!(corrected.elapsed() < Duration::from_secs(2), "{:?}", corrected.elapsed());
}

/// A field that an older cluster leaves out is no reason to write it for ever.
#[test]
fn fields_that_the_cluster_does_not_know() {
    let world = world(POOL);
    world.cluster.know_nothing_of("services", "/spec/ports");
    let _gateway = world.run();
    made(&world);
    settled(&world);
    let lines = lines(&writes(&world, 0));
    assert_eq!(lines.len(), 2, "one to make it, and one that changes nothing: {lines:#?}");
}

#[test]
fn a_service_that_may_not_be_made() {
    let world = world(POOL);
    let making = Calls::of("create patch delete", "services");
    world.cluster.forbid("sekisho", making.clone());
    let gateway = world.run();
    gateway.log().wait(|line| line.is_complaint() && line.has(&["services", SERVICE, "cannot create"]));
    world.cluster.permit("sekisho", making);
    made(&world);
}

#[test]
fn nothing_is_kept_without_the_key() {
    let world = world(POOL);
    keep_services(&world, &world.site, "sekisho", POOL, false);
    let gateway = world.run();
    world
        .cluster
        .wait_for(GATEWAYS, NAMESPACE, "mygateway", |gateway| !gateway["status"]["addresses"][0]["value"].is_null());
    settled(&world);
    assert_eq!(lines(&writes(&world, 0)), Vec::<String>::new());
    let class = world.cluster.status("gatewayclasses", "", "sekisho");
    let features = class["supportedFeatures"].as_array().cloned().unwrap_or_default();
    assert!(!features.contains(&json!({ "name": "GatewayInfrastructurePropagation" })), "{class:#}");
    // Switched on, and off again, while it runs.
    keep_services(&world, &world.site, "sekisho", POOL, true);
    gateway.signal("HUP");
    made(&world);
    keep_services(&world, &world.site, "sekisho", POOL, false);
    gateway.signal("HUP");
    gone(&world);
}
