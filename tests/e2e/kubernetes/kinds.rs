//! Kinds that the cluster does not have, or not yet.

use std::time::Duration;

use rig::Form;

use super::*;

/// How often the log says that the cluster has no such kind.
fn said(gateway: &Gateway, kind: &str) -> usize {
    gateway.log().since(0).into_iter().filter(|line| line.has(&["kind-not-served", kind])).count()
}

#[test]
fn a_kind_that_is_not_installed_is_said_once_and_read_when_it_appears() {
    let world = World::new();
    world.create_secret(HTTPBIN_CREDENTIAL);
    world.cluster.apply(&service("httpbin", 8000));
    world.cluster.apply(&endpoints("httpbin", "local", Some(rig::httpbin())));
    world.cluster.apply(&mygateway(Form::GatewayApi, &[Server::simple("httpbin")]));
    world.cluster.withhold("httproutes");
    world.cluster.withhold("listenersets");
    let gateway = world.run();
    // The rest is served.
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((said(&gateway, "HTTPRoute"), said(&gateway, "ListenerSet")), (1, 1), "{}", gateway.log().tail());
    world.cluster.install("httproutes");
    world.cluster.apply(&Form::GatewayApi.route(&Route::httpbin()));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}

/// A cluster of one dialect only is in order.
#[test]
fn a_cluster_without_the_gateway_api() {
    let world = World::with_httpbin(Form::Istio);
    for kind in [
        "gatewayclasses",
        "gateways.gateway.networking.k8s.io",
        "listenersets",
        "httproutes",
        "grpcroutes",
        "tlsroutes",
        "tcproutes",
        "udproutes",
        "referencegrants",
        "backendtlspolicies",
    ] {
        world.cluster.withhold(kind);
    }
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    assert_eq!(gateway.page("/readyz").status, 200);
}

/// Its objects are gone with it.
#[test]
fn a_kind_that_is_taken_away() {
    let world = World::with_httpbin(Form::GatewayApi);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    world.cluster.withhold("httproutes");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);
    world.cluster.install("httproutes");
    world.cluster.apply(&Form::GatewayApi.route(&Route::httpbin()));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}
