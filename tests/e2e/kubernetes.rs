//! Objects that come from the Kubernetes API, statuses that go back to it, and everything that may go wrong with it on the
//! way. The cluster is the tests' own ([`rig::Cluster`]); the gateway is the real one.

mod api_server;
mod commands;
mod gateway_services;
mod kinds;
mod outages;
mod permissions;
mod replicas;
mod serving;
mod snapshot;
mod statuses;

use std::sync::atomic::{AtomicBool, Ordering};

use rig::{Backend, Cluster, Form, Gateway, Http, Match, Route, Server, Site, endpoints, service};
use serde_json::{Value, json};

use crate::task::*;

const CONTROLLER: &str = "sekisho.dev/gateway-controller";

/// A cluster and a directory with nothing but the `sekisho.json` of a gateway that reads it.
struct World {
    cluster: Cluster,
    site: Site,
}

impl World {
    /// Nothing but the class.
    fn new() -> Self {
        let cluster = Cluster::start();
        cluster.apply(&class("sekisho"));
        let site = site(&cluster, "sekisho");
        Self { cluster, site }
    }

    /// The task's httpbin, ready to be asked.
    fn with_httpbin(form: Form) -> Self {
        let world = Self::without_credential(form);
        world.create_secret(HTTPBIN_CREDENTIAL);
        world
    }

    /// The same without a secret.
    fn without_credential(form: Form) -> Self {
        let world = Self::new();
        world.cluster.apply(&service("httpbin", 8000));
        world.cluster.apply(&endpoints("httpbin", "local", Some(rig::httpbin())));
        world.cluster.apply(&form.route(&Route::httpbin()));
        world.cluster.apply(&mygateway(form, &[Server::simple("httpbin")]));
        world
    }

    /// Both of the task's hosts.
    fn with_both(form: Form) -> Self {
        let world = Self::with_httpbin(form);
        world.add_helloworld(form);
        world.create_secret(HELLOWORLD_CREDENTIAL);
        world.cluster.apply(&mygateway(form, &[Server::simple("httpbin"), Server::simple("helloworld")]));
        world
    }

    /// The task's helloworld: backend and route.
    fn add_helloworld(&self, form: Form) {
        self.cluster.apply(&service("helloworld", 5000));
        self.cluster.apply(&endpoints("helloworld", "local", Some(Backend::start("helloworld-v1").address())));
        self.cluster.apply(&form.route(&Route::helloworld()));
    }

    /// `kubectl create -n istio-system secret …`
    fn create_secret(&self, line: &str) {
        self.cluster.apply(&Site::secret(line));
    }

    fn run(&self) -> Gateway {
        self.site.run()
    }
}

/// A directory with the `sekisho.json` of a gateway that is this user of the cluster.
fn site(cluster: &Cluster, user: &str) -> Site {
    let site = Site::new();
    configure(&site, cluster, user, &json!({}));
    site
}

/// The same, and these keys.
fn configure(site: &Site, cluster: &Cluster, user: &str, keys: &Value) {
    let mut all = json!({
        "resources": ["kubernetes:"],
        "kubernetes": { "kubeconfig": cluster.kubeconfig_of(user) },
        "gateway": { "namespace": "istio-system" },
    });
    for (key, value) in keys.as_object().expect("keys of sekisho.json") {
        all[key] = value.clone();
    }
    site.configure(&all);
}

/// A class of this gateway.
fn class(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": name },
        "spec": { "controllerName": CONTROLLER },
    })
}

/// `mygateway`, of the class that is the default in a cluster.
fn mygateway(form: Form, servers: &[Server]) -> Value {
    let mut gateway = form.gateway(servers);
    if form == Form::GatewayApi {
        gateway["spec"]["gatewayClassName"] = json!("sekisho");
    }
    gateway
}

/// The route's resource, as the cluster calls it.
fn routes(form: Form) -> &'static str {
    match form {
        Form::Istio => "virtualservices",
        Form::GatewayApi => "httproutes",
    }
}

/// A route of httpbin's host that serves one path only.
fn only(form: Form, path: &'static str) -> Value {
    form.route(&Route::new("httpbin", 8000, &[Match::Exact(path)]))
}

/// Asks for httpbin's teapot in a loop, over both versions of HTTP, on connections that stay and on fresh ones, while
/// something is done; every request must be answered as ever.
#[track_caller]
fn nobody_notices(gateway: &Gateway, act: impl FnOnce()) {
    let over = AtomicBool::new(false);
    let end = Over(&over);
    let rounds: Vec<(i32, Vec<u16>)> = std::thread::scope(|scope| {
        let asking: Vec<_> = Http::BOTH
            .into_iter()
            .flat_map(|http| ["[1-3]", "[1-40]"].map(|range| (http, range)))
            .map(|(http, range)| {
                let ask = gateway.curl(HTTPBIN, &format!("/status/418?{range}")).ca(ca()).http(http);
                let ask = ask.arg("--rate").arg("20/s");
                let over = &over;
                scope.spawn(move || {
                    let mut rounds = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        rounds.push(ask.statuses());
                    }
                    rounds
                })
            })
            .collect();
        // Whatever comes of it.
        let end = end;
        // Some before it, some after.
        std::thread::sleep(std::time::Duration::from_millis(300));
        act();
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(end);
        asking.into_iter().flat_map(|asking| asking.join().expect("curl runs")).collect()
    });
    for (code, statuses) in rounds {
        assert!(code == 0 && statuses.iter().all(|status| *status == 418), "exit code {code}, {statuses:?}");
    }
}

/// Says that it is over when it is dropped, so that nobody waits for ever where something panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
