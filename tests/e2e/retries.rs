//! What is tried again, and what is not: an endpoint may have done what it was asked before it failed.

use rig::{Backend, Curl, Form, Gateway, Match, Route, Server, Site, endpoints, service};
use serde_json::{Value, json};

use crate::task::*;

in_both_forms!(an_answer_whose_status_is_named);

/// helloworld with every path routed, and this in its rule.
fn site(form: Form, key: &str, retries: &Value) -> Site {
    let site = Site::new();
    // The same instance is asked again: there is no other.
    site.apply(&service("helloworld", 5000));
    site.apply(&endpoints("helloworld", "local", Some(Backend::start("v1").address())));
    let mut route = form.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")]));
    let rules = if form == Form::Istio { "http" } else { "rules" };
    if !retries.is_null() {
        route["spec"][rules][0][key] = retries.clone();
    }
    site.apply(&route);
    site.apply(&form.gateway(&[Server::simple("helloworld")]));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site
}

fn istio(on: &str, attempts: u32) -> Site {
    site(Form::Istio, "retries", &json!({ "attempts": attempts, "retryOn": on, "backoff": "1ms" }))
}

fn ask(gateway: &Gateway, path: &str) -> Curl {
    gateway.curl(HELLOWORLD, path).ca(ca())
}

/// How many tries there were besides the first of each request.
fn retried(gateway: &Gateway) -> u64 {
    let page = gateway.page("/metrics").body;
    let line = page.lines().find(|line| line.starts_with("sekisho_cluster_retries_total")).expect("it is there");
    line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a number")
}

fn an_answer_whose_status_is_named(form: Form) {
    let (key, retries) = match form {
        Form::Istio => ("retries", json!({ "attempts": 3, "retryOn": "503", "backoff": "1ms" })),
        Form::GatewayApi => ("retry", json!({ "attempts": 3, "codes": [503], "backoff": "1ms" })),
    };
    let gateway = site(form, key, &retries).run();
    ask(&gateway, "/unsteady/3").answers(200);
    assert_eq!(retried(&gateway), 3);
    // There is an end.
    ask(&gateway, "/unsteady/9").answers(503);
    assert_eq!(retried(&gateway), 6);
    // What was sent of a body is gone.
    ask(&gateway, "/unsteady/1").post(b"something").answers(503);
    // Other answers are answers.
    ask(&gateway, "/status/500").answers(500);
    assert_eq!(retried(&gateway), 6);
}

#[test]
fn a_broken_connection_only_when_that_does_no_harm() {
    let gateway = istio("reset", 2).run();
    for method in ["GET", "PUT", "DELETE"] {
        ask(&gateway, "/drops/2").arg("-X").arg(method).answers(200);
    }
    let before = retried(&gateway);
    ask(&gateway, "/drops/1").arg("-X").arg("POST").answers(503);
    assert_eq!(retried(&gateway), before, "a POST may have been carried out");
}

#[test]
fn a_try_that_takes_too_long() {
    let retries = json!({ "attempts": 1, "retryOn": "5xx", "perTryTimeout": "200ms", "backoff": "1ms" });
    let gateway = site(Form::Istio, "retries", &retries).run();
    ask(&gateway, "/sleeps/1").answers(200);
    assert_eq!(retried(&gateway), 1);
}

/// Istio's own retries are for what no endpoint has begun to do.
#[test]
fn by_default_an_answer_is_passed_on() {
    let gateway = site(Form::Istio, "retries", &Value::Null).run();
    ask(&gateway, "/unsteady/1").answers(503);
    assert_eq!(retried(&gateway), 0);
}

#[test]
fn every_condition_is_taken() {
    istio("5xx,gateway-error,reset,connect-failure,refused-stream,cancelled,unavailable,retriable-4xx,504", 2)
        .check()
        .exits(0)
        .says(&["0 errors"]);
}
