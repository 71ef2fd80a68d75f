//! The founding task again, with the objects in a cluster instead of files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rig::{Backend, Form, Gateway, Http, Route, Server, endpoints, eventually};
use serde_json::json;

use super::*;

in_both_forms!(
    a_host_by_sni,
    two_hosts_added_while_running,
    a_certificate_rotated,
    a_secret_deleted_and_created_again,
    mutual_tls,
    a_change_is_in_force_within_a_second,
    objects_deleted,
    endpoints_change,
);

fn a_host_by_sni(form: Form) {
    let world = World::with_httpbin(form);
    let gateway = world.run();
    for http in Http::BOTH {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).soon().answers(418);
        assert!(answer.text().contains("teapot"), "{answer}");
        gateway.curl(HTTPBIN, "/headers").ca(ca()).http(http).answers(404);
    }
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).fails(35, "unrecognized name");
    eventually(|| match gateway.page("/readyz").status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
}

fn two_hosts_added_while_running(form: Form) {
    let world = World::new();
    let gateway = world.site.start();
    world.cluster.apply(&mygateway(form, &[Server::simple("httpbin"), Server::simple("helloworld")]));
    world.cluster.apply(&form.route(&Route::httpbin()));
    world.add_helloworld(form);
    world.create_secret(HELLOWORLD_CREDENTIAL);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    world.create_secret(HTTPBIN_CREDENTIAL);
    world.cluster.apply(&service("httpbin", 8000));
    world.cluster.apply(&endpoints("httpbin", "local", Some(rig::httpbin())));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}

fn a_certificate_rotated(form: Form) {
    let world = World::with_httpbin(form);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    world.create_secret(HTTPBIN_CREDENTIAL_2);
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).refuses_the_certificate();
}

/// Istio keeps what it had; Gateway API refuses, after time enough to put another in its place.
fn a_secret_deleted_and_created_again(form: Form) {
    let world = World::with_both(form);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    let place = gateway.log().here();
    world.cluster.delete("secrets", "istio-system", "httpbin-credential");
    gateway.log().wait_since(place, |line| line.has(&["httpbin-credential"]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    match form {
        Form::Istio => {
            std::thread::sleep(Duration::from_secs(1));
            gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
        }
        Form::GatewayApi => _ = gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().fails(35, "alert"),
    }
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
    world.create_secret(HTTPBIN_CREDENTIAL_2);
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
}

fn mutual_tls(form: Form) {
    let world = World::without_credential(form);
    world.cluster.apply(&mygateway(form, &[Server::mutual("httpbin")]));
    world.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    let gateway = world.run();
    for http in Http::BOTH {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).client(&client()).http(http).soon().answers(418);
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).fails(56, "certificate required");
    }
}

fn a_change_is_in_force_within_a_second(form: Form) {
    let world = World::with_httpbin(form);
    let gateway = world.run();
    world.cluster.apply(&only(form, "/status/200"));
    gateway.curl(HTTPBIN, "/status/201").ca(ca()).soon().answers(404);
    let mut times: Vec<_> = ["/status/201", "/status/202", "/status/203", "/status/206", "/status/418"]
        .into_iter()
        .map(|path| {
            let start = Instant::now();
            world.cluster.apply(&only(form, path));
            serves(&gateway, path);
            start.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_secs(1), "the median of {times:?}");
    gateway.curl(HTTPBIN, "/status/201").ca(ca()).answers(404);
}

#[track_caller]
fn serves(gateway: &Gateway, path: &str) {
    let status = path.rsplit('/').next().and_then(|status| status.parse().ok()).expect("a path ends in its status");
    gateway.curl(HTTPBIN, path).ca(ca()).soon().answers(status);
}

/// In the order that leaves others hanging: first what is referenced.
fn objects_deleted(form: Form) {
    let world = World::with_both(form);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    world.cluster.delete("services", "default", "httpbin");
    eventually(|| {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
        if matches!(answer.status, 500 | 503) { Ok(()) } else { Err(format!("still served\n{answer}")) }
    });
    world.cluster.apply(&service("httpbin", 8000));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    world.cluster.delete(routes(form), "default", "httpbin");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
    let (resource, namespace) = match form {
        Form::Istio => ("gateways.networking.istio.io", "default"),
        Form::GatewayApi => ("gateways.gateway.networking.k8s.io", "istio-system"),
    };
    world.cluster.delete(resource, namespace, "mygateway");
    eventually(|| {
        let answer = gateway.curl(HELLOWORLD, "/hello").ca(ca()).run();
        if matches!(answer.exit, 7 | 35) { Ok(()) } else { Err(format!("still served\n{answer}")) }
    });
}

/// An endpoint is taken up, and one that goes is left, without a failed request.
fn endpoints_change(form: Form) {
    let world = World::with_both(form);
    let gateway = world.run();
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    let other = Backend::start("helloworld-v2");
    world.cluster.apply(&endpoints("helloworld", "more", Some(other.address())));
    let says = |instance: &str| {
        eventually(|| {
            let answer = gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
            if answer.text().contains(instance) { Ok(()) } else { Err(format!("not yet\n{answer}")) }
        });
    };
    says("helloworld-v2");
    world.cluster.apply(&endpoints("helloworld", "local", None));
    eventually(|| {
        let answers = (0..6).map(|_| gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200).text());
        if answers.into_iter().all(|text| text.contains("helloworld-v2")) { Ok(()) } else { Err("not yet".to_owned()) }
    });
}

/// Each Gateway has an address of the pool, which its status says, and ports of its own there.
#[test]
fn gateways_with_addresses_of_a_pool() {
    let world = World::with_httpbin(Form::GatewayApi);
    let pool = json!({ "className": "sekisho", "namespace": "istio-system", "pool": ["127.0.1.0/24"] });
    configure(&world.site, &world.cluster, "sekisho", &json!({ "gateway": pool }));
    let mut other = mygateway(Form::GatewayApi, &[Server::simple("httpbin")]);
    other["metadata"]["name"] = json!("other");
    world.cluster.apply(&other);
    let gateway = world.run();
    let address = |name: &str| {
        let programmed =
            world.cluster.wait_for("gateways.gateway.networking.k8s.io", "istio-system", name, |gateway| {
                !gateway["status"]["addresses"][0]["value"].is_null()
            });
        programmed["status"]["addresses"][0]["value"].as_str().expect("an address").to_owned()
    };
    let (first, second) = (address("mygateway"), address("other"));
    assert!(first.starts_with("127.0.1.") && second.starts_with("127.0.1.") && first != second, "{first} {second}");
    let at = |address: &str| {
        let to = format!("{HTTPBIN}:{}:{address}:{}", gateway.https(), gateway.https());
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).arg("--connect-to").arg(to).soon()
    };
    at(&first).answers(418);
    // The route is one of `mygateway` alone.
    at(&second).answers(404);
}

/// `kubectl get secret` is nobody's business: only the names are asked for that an object names, and nothing is listed.
#[test]
fn only_secrets_that_are_named_are_read() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.create_secret(HELLOWORLD_CREDENTIAL);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    let read = world.cluster.requests_since(0, &rig::Calls::of("*", "secrets"));
    assert!(!read.is_empty());
    for request in read {
        assert!(
            request.name.starts_with("httpbin-credential") && request.namespace == "istio-system",
            "{}",
            request.line()
        );
    }
}

/// Fewer watches, for those who may read all of a namespace; what no object names is not used all the same.
#[test]
fn secrets_by_namespace() {
    let world = World::with_both(Form::GatewayApi);
    let kubernetes = json!({ "kubeconfig": world.cluster.kubeconfig(), "secrets": "namespace" });
    configure(&world.site, &world.cluster, "sekisho", &json!({ "kubernetes": kubernetes }));
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    let lists = world.cluster.requests_since(0, &rig::Calls::of("list", "secrets"));
    assert!(lists.iter().all(|list| list.namespace == "istio-system" && list.name.is_empty()), "{}", lists[0].line());
    world.create_secret(HTTPBIN_CREDENTIAL_2);
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
}

/// Which namespaces may attach routes is a matter of their labels, which change.
#[test]
fn labels_of_a_namespace() {
    let world = World::with_httpbin(Form::GatewayApi);
    let mut gateway = mygateway(Form::GatewayApi, &[Server::simple("httpbin")]);
    let selector = json!({ "matchLabels": { "team": "a" } });
    gateway["spec"]["listeners"][0]["allowedRoutes"]["namespaces"]["selector"] = selector;
    world.cluster.apply(&gateway);
    let running = world.run();
    running.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);
    let namespace = |labels| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default", "labels": labels } });
    world.cluster.apply(&namespace(json!({ "team": "a" })));
    running.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    world.cluster.apply(&namespace(json!({ "team": "b" })));
    running.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);
}

/// A class of ours that becomes another controller's takes its Gateways with it.
#[test]
fn a_class_that_becomes_anothers() {
    let world = World::with_httpbin(Form::GatewayApi);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    let mut theirs = class("sekisho");
    theirs["spec"]["controllerName"] = json!("example.com/other");
    world.cluster.apply(&theirs);
    eventually(|| {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
        if matches!(answer.exit, 7 | 35) { Ok(()) } else { Err(format!("still served\n{answer}")) }
    });
    world.cluster.apply(&class("sekisho"));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}

/// Subsets go by the labels of pods, of which nothing but the metadata is read.
#[test]
fn labels_of_pods() {
    let world = World::with_both(Form::Istio);
    world.cluster.apply(&endpoints("helloworld", "local", None));
    for version in ["v1", "v2"] {
        let mut slice = endpoints("helloworld", version, Some(Backend::start(version).address()));
        slice["endpoints"][0]["targetRef"] = json!({ "kind": "Pod", "namespace": "default", "name": version });
        world.cluster.apply(&slice);
        world.cluster.apply(&pod(version, version));
    }
    world.cluster.apply(&json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": { "name": "helloworld" },
        "spec": { "host": "helloworld", "subsets": [{ "name": "chosen", "labels": { "version": "v2" } }] },
    }));
    let mut route = Form::Istio.route(&Route::helloworld());
    route["spec"]["http"][0]["route"][0]["destination"]["subset"] = json!("chosen");
    world.cluster.apply(&route);
    let gateway = world.run();
    let instance = || gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200).header("x-instance");
    assert!((0..6).all(|_| instance().as_deref() == Some("v2")));
    // Now the other is the one.
    world.cluster.apply(&pod("v1", "v2"));
    world.cluster.apply(&pod("v2", "v1"));
    eventually(|| {
        let all = (0..6).map(|_| instance().unwrap_or_default()).collect::<Vec<_>>();
        if all.iter().all(|instance| instance == "v1") { Ok(()) } else { Err(format!("{all:?}")) }
    });
}

fn pod(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "helloworld", "version": version } },
    })
}

/// What vouches for a backend is in a ConfigMap, which is read by its name as a secret is.
#[test]
fn an_authority_in_a_config_map() {
    let world = World::with_both(Form::GatewayApi);
    let shown = rig::Certificates::shared().pair(rig::Set::First, "wildcard");
    let backend = rig::Told::start_tls("one", &shown, None);
    world.cluster.apply(&endpoints("helloworld", "local", Some(backend.address())));
    world.cluster.apply(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
        "metadata": { "name": "helloworld" },
        "spec": {
            "targetRefs": [{ "group": "", "kind": "Service", "name": "helloworld" }],
            "validation": { "hostname": "backend.example.com",
                "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": "backend-ca" }] },
        },
    }));
    let authority = |file: PathBuf| {
        let content = std::fs::read_to_string(file).expect("a file of the rig");
        world.cluster.apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "backend-ca" },
            "data": { "ca.crt": content },
        }));
    };
    authority(ca());
    let gateway = world.run();
    let told = gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200).text();
    assert!(told.contains("sni: backend.example.com"), "{told}");
    authority(ca_2());
    eventually(|| match gateway.curl(HELLOWORLD, "/hello").ca(ca()).run().status {
        502 | 503 => Ok(()),
        other => Err(other.to_string()),
    });
    authority(ca());
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    let read = world.cluster.requests_since(0, &rig::Calls::of("*", "configmaps"));
    assert!(read.iter().all(|request| request.name == "backend-ca"), "{}", read[0].line());
}
