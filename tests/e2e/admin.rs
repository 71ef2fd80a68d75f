//! The admin endpoint: probes, metrics and status.

use std::process::Command;

use rig::{Finished, Form, Gateway, Http, Server, Site, eventually, sekisho};
use serde_json::json;

use crate::task::*;

fn site() -> Site {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    site
}

/// The value of a series.
#[track_caller]
fn metric(gateway: &Gateway, name: &str, labels: &[&str]) -> f64 {
    let page = gateway.page("/metrics");
    assert_eq!(page.status, 200);
    let of = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    };
    let lines: Vec<&str> = page.body.lines().filter(of).collect();
    assert_eq!(lines.len(), 1, "{name} {labels:?} in\n{}", page.body);
    lines[0].rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a series ends with its value")
}

#[test]
fn requests_and_handshakes_are_counted() {
    let gateway = site().run();
    for http in Http::BOTH {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).answers(418);
    }
    gateway.curl(HTTPBIN, "/nowhere").ca(ca()).answers(404);
    gateway.s_client(Some("nobody.example.com")).run().is_refused_with(112);
    let listener = r#"listener="istio/default/mygateway/https""#;
    let forwarded = [listener, r#"route="default/httpbin/0""#, r#"cluster="default/httpbin:8000""#, r#"code="418""#];
    // A response is counted when it is over, which the client may know first.
    eventually(|| match metric(&gateway, "sekisho_requests_total", &forwarded) {
        2.0 => Ok(()),
        other => Err(format!("{other}")),
    });
    assert_eq!(metric(&gateway, "sekisho_requests_total", &[listener, r#"reason="no-route""#]), 1.0);
    assert_eq!(metric(&gateway, "sekisho_handshakes_total", &[listener, r#"result="ok""#]), 3.0);
    assert_eq!(metric(&gateway, "sekisho_handshakes_total", &[r#"result="unknown-name""#]), 1.0);
    assert_eq!(metric(&gateway, "sekisho_request_duration_seconds_count", &[listener]), 3.0);
    let calls = [r#"plugin="istio""#, r#"call="route""#, r#"result="ok""#];
    // One that asks the same as another on the same worker is not asked about.
    let known = metric(&gateway, "sekisho_plugin_routes_known_total", &[r#"plugin="istio""#]);
    assert_eq!(metric(&gateway, "sekisho_plugin_calls_total", &calls) + known, 3.0);
    assert!(metric(&gateway, "sekisho_certificate_not_after_seconds", &["httpbin-credential"]) > 1e9);
    // The gateway's own share is a part of the whole.
    let whole = metric(&gateway, "sekisho_request_duration_seconds_sum", &[listener]);
    let own = metric(&gateway, "sekisho_gateway_duration_seconds_sum", &[listener]);
    assert!(0.0 < own && own < whole, "{own} of {whole}");
}

#[test]
fn counts_survive_reloads_and_generations_count_up() {
    let site = site();
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    let before = metric(&gateway, "sekisho_generation", &[]);
    site.apply(&Form::Istio.gateway(&[Server::simple("httpbin").section("https").host("httpbin.example.com")]));
    let mut route = Form::Istio.route(&rig::Route::httpbin());
    route["spec"]["http"][0]["timeout"] = json!("9s");
    site.apply(&route);
    eventually(|| {
        let now = metric(&gateway, "sekisho_generation", &[]);
        if now > before { Ok(()) } else { Err("no new generation".to_owned()) }
    });
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    eventually(|| match metric(&gateway, "sekisho_requests_total", &[r#"code="418""#]) {
        2.0 => Ok(()),
        other => Err(format!("{other}")),
    });
}

#[test]
fn readiness_follows_what_is_served() {
    let site = Site::new();
    let gateway = site.run();
    assert_eq!(gateway.page("/livez").status, 200);
    let ready = gateway.page("/readyz");
    assert_eq!((ready.status, ready.body.trim()), (503, "no listener is served; see `sekisho status`"));
    let admin = format!("127.0.0.1:{}", gateway.admin());
    sekisho(["status", "--admin", &admin]).exits(1).says(&["not ready", "nothing-served"]);
    site.apply(&Form::Istio.gateway(&[Server::simple("httpbin")]));
    eventually(|| match gateway.page("/readyz").status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    sekisho(["status", "--admin", &admin]).exits(0).says(&["ready", "generation", "LISTENERS", "mygateway"]);
}

/// A load balancer sends nobody new while requests in flight end.
#[test]
fn a_drain_is_not_ready() {
    let site = site();
    let mut gateway = site.run();
    assert_eq!(gateway.page("/readyz").status, 200);
    let slow = gateway.curl(HTTPBIN, "/delay/2").ca(ca());
    let answer = std::thread::spawn(move || slow.run());
    std::thread::sleep(std::time::Duration::from_millis(700));
    gateway.signal("TERM");
    eventually(|| match gateway.page("/readyz") {
        page if page.status == 503 && page.body.contains("draining") => Ok(()),
        page => Err(format!("{page:?}")),
    });
    // It lives, and says what it counted, to the end.
    assert_eq!(gateway.page("/livez").status, 200);
    assert!(gateway.page("/metrics").body.contains("sekisho_handshakes_total"));
    assert_eq!(answer.join().expect("curl runs").status, 200);
    // A second signal would cut it short, as the rig's own does.
    let status = gateway.ended(std::time::Duration::from_secs(10)).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn conditions_are_those_of_the_api() {
    let site = Site::with_httpbin(Form::GatewayApi);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    let status = gateway.status();
    let objects = status["objects"].as_array().expect("a list");
    let of = |wanted: &str| {
        let found = objects.iter().find(|object| object["object"] == wanted);
        &found.unwrap_or_else(|| panic!("no {wanted} in {status:#}"))["status"]
    };
    let holds = |conditions: &serde_json::Value, kind: &str| {
        let conditions = conditions.as_array().expect("a list of conditions");
        conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let gateway_status = of("Gateway/istio-system/mygateway");
    assert!(holds(&gateway_status["conditions"], "Programmed"), "{gateway_status:#}");
    assert!(holds(&gateway_status["listeners"][0]["conditions"], "ResolvedRefs"), "{gateway_status:#}");
    assert!(holds(&of("HTTPRoute/default/httpbin")["parents"][0]["conditions"], "Accepted"));
}

/// A page in a browser that resolves a name of its own to 127.0.0.1 is not the operator.
#[test]
fn only_localhost_is_answered() {
    let gateway = site().run();
    let url = format!("http://127.0.0.1:{}/status", gateway.admin());
    let asked =
        Finished::of(Command::new("curl").args(["-sS", "-H", "host: rebound.example.com", "-w", "%{http_code}", &url]));
    asked.exits(0).says(&["403"]);
    let posted = Finished::of(Command::new("curl").args(["-sS", "-d", "{}", "-w", "%{http_code}", &url]));
    posted.exits(0).says(&["405"]);
    let elsewhere = Site::new();
    elsewhere.configure(&json!({ "admin": { "address": "0.0.0.0:15000" } }));
    elsewhere.check().exits(1).says(&["admin.address", "loopback"]);
}

/// The kubelet and Prometheus come from elsewhere, under any name; what the gateway is configured to is not for them.
#[test]
fn probes_may_come_from_elsewhere_and_learn_little() {
    let site = site();
    let address = format!("127.0.0.2:{}", rig::free_port());
    let admin = json!({ "address": format!("127.0.0.1:{}", site.admin()), "probes": address });
    site.configure(&json!({ "admin": admin }));
    let gateway = site.run();
    let ask = |page: &str| {
        let url = format!("http://{address}{page}");
        let arguments = ["-sS", "-H", "host: 10.0.0.7:15020", "-w", "\n%{http_code}", &url];
        Finished::of(Command::new("curl").args(arguments)).exits(0).text()
    };
    for (page, said) in [("/livez", "ok"), ("/readyz", "ok"), ("/metrics", "sekisho_")] {
        let answer = ask(page);
        assert!(answer.ends_with("200") && answer.contains(said), "{page}: {answer}");
    }
    for page in ["/", "/status", "/explain"] {
        assert!(ask(page).ends_with("404"), "{page}");
    }
    drop(gateway);
}

#[test]
fn shells_and_manuals_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        sekisho(["completions", shell]).exits(0).says(&["explain", "status", "check"]);
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_str().expect("it is text");
    sekisho(["man", path]).exits(0);
    let page = std::fs::read_to_string(directory.path().join("sekisho-explain.1")).expect("a page for each command");
    assert!(page.contains("client\\-cert"), "{page}");
}
