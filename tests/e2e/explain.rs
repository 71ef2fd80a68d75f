//! Why did my request go there? Each trouble that operators have is told by `explain`, of the files and of the running
//! gateway alike, and by `status` and `check`.

use rig::{Certificates, Form, Gateway, Match, Route, Server, Set, Site, endpoints, sekisho};
use serde_json::{Value, json};

use crate::task::*;

in_both_forms!(
    a_good_request,
    wrong_sni,
    missing_secret,
    key_of_another_certificate,
    shadowed_route,
    backend_without_endpoints,
    client_certificate_refused,
    another_listeners_authority,
);

const STATUS: &str = "https://httpbin.example.com/status/418";

/// The task's httpbin beside helloworld.
fn site(form: Form) -> Site {
    let site = Site::with_httpbin(form);
    site.add_helloworld(form);
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&form.gateway(&[Server::simple("httpbin"), Server::simple("helloworld")]));
    site
}

/// Asks the files and the running gateway, which say the same, all of `said`.
#[track_caller]
fn explains(site: &Site, gateway: &Gateway, arguments: &[&str], said: &[&str]) {
    site.explain(arguments).exits(0).says(said);
    gateway.explain(arguments).exits(0).says(said);
}

/// A part of `sekisho status` in which something is called so.
#[track_caller]
fn find<'s>(status: &'s Value, part: &str, key: &str, wanted: &str) -> &'s Value {
    let entries = status[part].as_array().unwrap_or_else(|| panic!("no {part} in {status:#}"));
    let found = entries.iter().find(|entry| entry[key].as_str().is_some_and(|value| value.contains(wanted)));
    found.unwrap_or_else(|| panic!("no {key} with {wanted} in {part} of {status:#}"))
}

fn a_good_request(form: Form) {
    let site = site(form);
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    let said = [
        "forwarded",
        "httpbin-credential",
        "serial 00",
        "not ",
        "claims helloworld.example.com",
        form.route_kind(),
        "default/httpbin",
        &rig::httpbin().to_string(),
    ];
    explains(&site, &gateway, &[STATUS], &said);
    // The port that curl is given leads there too.
    let port = format!("https://httpbin.example.com:{}/status/418", gateway.https());
    explains(&site, &gateway, &[&port], &said);
    explains(&site, &gateway, &["https://httpbin.example.com/elsewhere"], &["refused with 404", "the path "]);
    gateway.curl(HTTPBIN, "/elsewhere").ca(ca()).answers(404);
}

fn wrong_sni(form: Form) {
    let site = site(form);
    let gateway = site.run();
    let handshake = gateway.s_client(Some("htpbin.example.com")).run();
    handshake.is_refused_with(112);
    let said = ["unrecognized_name", "htpbin.example.com", "claims httpbin.example.com"];
    explains(&site, &gateway, &["https://htpbin.example.com/status/418"], &said);
    explains(&site, &gateway, &[STATUS, "--sni", "htpbin.example.com"], &said);
    let status = gateway.status();
    let refused = find(&status, "refusedHandshakes", "text", "htpbin.example.com");
    assert_eq!(refused["result"], "unknown-name");
}

fn missing_secret(form: Form) {
    let site = site(form);
    site.delete("Secret", "httpbin-credential");
    let gateway = site.run();
    gateway.s_client(Some(HTTPBIN)).run().is_refused_with(80);
    let said = ["internal_error", "istio-system/httpbin-credential", "not found", "create it"];
    explains(&site, &gateway, &[STATUS], &said);
    site.check().exits(1).says(&said[1..]);
    let status = gateway.status();
    assert_eq!(find(&status, "credentials", "source", "httpbin-credential")["state"], "missing");
    assert_eq!(find(&status, "listeners", "name", "httpbin")["state"], "no-credential");
    assert_eq!(find(&status, "listeners", "name", "helloworld")["state"], "serving");
}

fn key_of_another_certificate(form: Form) {
    let site = site(form);
    site.create_secret(
        "generic httpbin-credential --from-file=tls.key=example_certs2/httpbin.example.com.key \
         --from-file=tls.crt=example_certs1/httpbin.example.com.crt",
    );
    let gateway = site.run();
    let said = ["httpbin-credential", "the private key does not belong to the certificate"];
    explains(&site, &gateway, &[STATUS], &said);
    site.check().exits(1).says(&said);
    let status = gateway.status();
    let credential = find(&status, "credentials", "source", "httpbin-credential");
    assert_eq!(credential["state"], "unusable");
    assert!(credential["why"].as_str().is_some_and(|why| why.contains("does not belong")), "{credential}");
}

fn shadowed_route(form: Form) {
    let site = site(form);
    let mut late = form.route(&Route::new("httpbin", 8000, &[Match::Exact("/status/418")]).to("helloworld", 5000));
    late["metadata"]["name"] = json!("late");
    site.apply(&late);
    let gateway = site.run();
    // Istio asks httpbin's rule first, the Gateway API the more specific one.
    let (chosen, shadowed) = match form {
        Form::Istio => ("httpbin", "late"),
        Form::GatewayApi => ("late", "httpbin"),
    };
    let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    assert_eq!(answer.header("x-instance").is_some(), chosen == "late", "helloworld names its instance\n{answer}");
    let kind = form.route_kind();
    let (rule, other) =
        (format!("rule         {kind}/default/{chosen}"), format!("not        {kind}/default/{shadowed}"));
    explains(&site, &gateway, &[STATUS], &[&rule, &other, "it matches too, but comes after the one chosen"]);
}

fn backend_without_endpoints(form: Form) {
    let site = site(form);
    site.apply(&endpoints("httpbin", "local", None));
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(503);
    let said = ["refused with 503", "no-endpoint", "httpbin", "EndpointSlice/default/httpbin-local has no endpoint"];
    explains(&site, &gateway, &[STATUS], &said);
    let status = gateway.status();
    assert_eq!(find(&status, "clusters", "name", "httpbin")["endpoints"], json!([]));
    site.check().says(&["no-endpoints", "httpbin"]);
}

fn client_certificate_refused(form: Form) {
    let site = site(form);
    site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    site.apply(&form.gateway(&[Server::mutual("httpbin"), Server::simple("helloworld")]));
    let gateway = site.run();
    let good = client();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).client(&good).answers(418);
    let refused = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
    assert_ne!(refused.exit, 0, "{refused}");
    explains(&site, &gateway, &[STATUS], &["no connection", "the client gives none"]);
    let path = |path: &std::path::Path| path.to_str().expect("it is text").to_owned();
    explains(
        &site,
        &gateway,
        &[STATUS, "--client-cert", &path(&good.certificate)],
        &["forwarded", "which is accepted"],
    );
    let foreign = Certificates::shared().pair(Set::Second, "httpbin");
    let said = ["no connection", "client certificate refused", "its issuer is none of the authorities accepted here"];
    explains(&site, &gateway, &[STATUS, "--client-cert", &path(&foreign.certificate)], &said);
    let status = gateway.status();
    let listener = find(&status, "listeners", "name", "httpbin");
    assert_eq!(listener["handshakes"]["client-certificate-missing"], 1, "{listener}");
    assert_eq!(listener["handshakes"]["ok"], 1, "{listener}");
}

/// HTTP/2 clients reuse connections for names that the certificate holds.
fn another_listeners_authority(form: Form) {
    let site = site(form);
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/hello").ca(ca()).authority(HELLOWORLD).answers(421);
    let said = ["refused with 421", "helloworld.example.com belongs to"];
    explains(&site, &gateway, &[STATUS, "-H", "host: helloworld.example.com"], &said);
}

#[test]
fn an_answer_is_data_too() {
    let site = site(Form::Istio);
    let answer = site.explain(&[STATUS, "--format=json"]).exits(0);
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap_or_else(|e| panic!("{e}\n{answer}"));
    assert_eq!(answer["outcome"], "forwarded");
    assert_eq!(answer["route"]["object"], "VirtualService/default/httpbin");
    assert_eq!(answer["backends"][0]["endpoints"], json!([rig::httpbin().to_string()]));
}

#[test]
fn wrong_questions_are_named() {
    let site = site(Form::Istio);
    for (arguments, said) in [
        (&["httpbin.example.com/status"][..], "http://"),
        (&["ftp://httpbin.example.com/"], "http://"),
        (&["https://httpbin.example.com:99999/"], "port"),
        (&["https://me:secret@httpbin.example.com/"], "password"),
        (&[STATUS, "--sni", "no name"], "no name"),
        (&[STATUS, "-H", "x-user"], "name: value"),
        (&[STATUS, "-X", "GE T"], "method"),
        (&[STATUS, "--client-cert", "nowhere.pem"], "nowhere.pem"),
    ] {
        site.explain(arguments).exits(1).says(&[said]);
    }
    let nobody = format!("127.0.0.1:{}", rig::free_port());
    sekisho(["explain", "--admin", &nobody, STATUS]).exits(1).says(&["no gateway answers", &nobody]);
    sekisho(["status", "--admin", &nobody]).exits(1).says(&["no gateway answers", &nobody]);
    sekisho(["status", "--config", "nowhere.json"]).exits(1).says(&["nowhere.json"]);
}
