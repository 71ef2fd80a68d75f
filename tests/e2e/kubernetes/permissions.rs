//! What the gateway may not do: it says which permission is missing, and does the rest.

use rig::{Calls, Form, eventually};

use super::*;

#[test]
fn a_secret_that_may_not_be_read() {
    let world = World::with_both(Form::GatewayApi);
    let reading = Calls::of("get list watch", "secrets").named(&["httpbin-credential"]);
    world.cluster.forbid("sekisho", reading.clone());
    let gateway = world.run();
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    let refused = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
    assert_eq!(refused.exit, 35, "{refused}");
    gateway.log().wait(|line| line.is_complaint() && line.has(&["secrets", "httpbin-credential", "istio-system"]));
    world.cluster.permit("sekisho", reading);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}

/// A role that names the secrets is enough.
#[test]
fn secrets_by_name_only() {
    let world = World::with_both(Form::GatewayApi);
    world.cluster.forbid("sekisho", Calls::of("*", "secrets"));
    let named = ["httpbin-credential", "helloworld-credential"];
    let narrow = Calls::of("get list watch", "secrets").named(&named).in_namespace("istio-system");
    world.cluster.permit("sekisho", narrow);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    world.create_secret(HTTPBIN_CREDENTIAL_2);
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
}

#[test]
fn a_kind_that_may_not_be_read() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.forbid("sekisho", Calls::of("*", "tlsroutes"));
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.log().wait(|line| line.is_complaint() && line.has(&["tlsroutes", "gateway.networking.k8s.io"]));
}

#[test]
fn statuses_that_may_not_be_written() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.forbid("sekisho", Calls::of("*", "httproutes/status"));
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.log().wait(|line| line.is_complaint() && line.has(&["httproutes/status"]));
    // The others are written.
    world.cluster.wait_for("gateways.gateway.networking.k8s.io", "istio-system", "mygateway", |gateway| {
        let conditions = gateway["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Programmed" && condition["status"] == "True")
    });
}

/// Without the lease nobody may write, and everybody serves.
#[test]
fn a_lease_that_may_not_be_held() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.forbid("sekisho", Calls::of("*", "leases"));
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.log().wait(|line| line.is_complaint() && line.has(&["leases"]));
    assert!(world.cluster.requests_since(0, &Calls::of("patch", "httproutes/status")).is_empty());
}

/// A token that is valid no longer changes nothing for those who are served.
#[test]
fn a_token_that_is_replaced() {
    let world = World::with_httpbin(Form::GatewayApi);
    let gateway = world.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    world.cluster.renew_token("sekisho");
    world.cluster.cut_watches();
    let place = world.cluster.here();
    eventually(|| {
        let refused = world.cluster.requests_since(place, &Calls::of("*", "*"));
        if refused.iter().any(|request| request.status == 401) { Ok(()) } else { Err("nobody asks".to_owned()) }
    });
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
}

/// Whoever is nobody to the API server is told so.
#[test]
fn a_token_that_is_not_valid() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.renew_token("sekisho");
    let gateway = world.site.start();
    gateway.log().wait(|line| line.is_complaint() && line.has(&["Unauthorized"]));
    assert_eq!(gateway.page("/readyz").status, 503);
}
