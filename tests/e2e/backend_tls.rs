//! TLS towards backends and from clients, as the Gateway API says: BackendTLSPolicy, and `spec.tls` of a Gateway.

use std::path::Path;

use rig::{Certificates, Form, Match, Route, Server, Set, Site, Told};
use rig::{endpoints, eventually, service};
use serde_json::{Value, json};

use crate::destinations::{ask, refused};
use crate::task::*;

/// helloworld over HTTPS, with every path routed to this backend.
fn helloworld(backend: &Told) -> Site {
    let site = Site::new();
    site.apply(&service("helloworld", 5000));
    site.apply(&endpoints("helloworld", "local", Some(backend.address())));
    site.apply(&Form::GatewayApi.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")])));
    site.create_secret(HELLOWORLD_CREDENTIAL);
    gateway(&site, &json!({}));
    site
}

/// `mygateway` with this `spec.tls`.
fn gateway(site: &Site, tls: &Value) {
    let mut gateway = Form::GatewayApi.gateway(&[Server::simple("helloworld")]);
    gateway["spec"]["tls"] = tls.clone();
    site.apply(&gateway);
}

/// What vouches for backends and clients, as a ConfigMap.
fn authority(site: &Site, namespace: &str, name: &str, content: &str) {
    site.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": namespace },
        "data": { "ca.crt": content } }));
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a file of the rig")
}

/// A policy for helloworld with these fields of `validation` besides.
fn policy(site: &Site, fields: &Value) {
    let mut validation = json!({ "hostname": "backend.example.com",
        "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": "backend-ca" }] });
    validation.as_object_mut().expect("it is one").extend(fields.as_object().expect("fields").clone());
    site.apply(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "BackendTLSPolicy",
        "metadata": { "name": "helloworld" },
        "spec": { "targetRefs": [{ "group": "", "kind": "Service", "name": "helloworld", "sectionName": "http" }],
                  "validation": validation } }));
}

#[test]
fn a_policy_has_backends_spoken_to_in_tls_and_verified() {
    let certificates = Certificates::shared();
    let backend = Told::start_tls("one", &certificates.pair(Set::First, "wildcard"), None);
    let site = helloworld(&backend);
    policy(&site, &json!({}));
    let gateway = site.run();
    // Without its authority nothing is sent, least of all in the clear.
    assert_eq!(refused(&gateway).field("reason"), "cluster-refused");
    assert_eq!(backend.requests(), 0);
    authority(&site, "default", "backend-ca", &text(&ca()));
    let told = ask(&gateway).soon().answers(200).text();
    assert!(told.contains("sni: backend.example.com") && told.contains("client-certificate: false"), "{told}");
    // The hostname is the identity until other names are given, and nothing but SNI from then on.
    policy(&site, &json!({ "hostname": "backend.example.net" }));
    let line = refused(&gateway);
    assert!(line.field("detail").as_str().unwrap().contains("not for backend.example.net"), "{}", line.text);
    policy(
        &site,
        &json!({ "hostname": "backend.example.net",
        "subjectAltNames": [{ "type": "URI", "uri": "spiffe://example.com/web" },
                            { "type": "Hostname", "hostname": "*.example.com" }] }),
    );
    let told = ask(&gateway).soon().answers(200).text();
    assert!(told.contains("sni: backend.example.net"), "{told}");
    policy(&site, &json!({ "subjectAltNames": [{ "type": "URI", "uri": "spiffe://example.com/web" }] }));
    let line = refused(&gateway);
    assert!(line.field("detail").as_str().unwrap().contains("not for spiffe://example.com/web"), "{}", line.text);
    // An authority that did not issue the backend's certificate.
    policy(&site, &json!({}));
    ask(&gateway).soon().answers(200);
    authority(&site, "default", "backend-ca", &text(&ca_2()));
    assert_eq!(refused(&gateway).field("reason"), "upstream-tls");
}

#[test]
fn backends_may_be_known_by_a_uri() {
    let certificates = Certificates::shared();
    let backend = Told::start_tls("one", &certificates.pair(Set::First, "workload"), None);
    let site = helloworld(&backend);
    authority(&site, "default", "backend-ca", &text(&ca()));
    policy(&site, &json!({ "subjectAltNames": [{ "type": "URI", "uri": "spiffe://example.com/workload" }] }));
    let gateway = site.run();
    ask(&gateway).answers(200);
    policy(&site, &json!({ "subjectAltNames": [{ "type": "URI", "uri": "spiffe://example.com/other" }] }));
    refused(&gateway);
}

#[test]
fn a_gateway_shows_its_certificate_to_backends() {
    let certificates = Certificates::shared();
    let clients = certificates.ca(Set::First);
    let backend = Told::start_tls("one", &certificates.pair(Set::First, "wildcard"), Some(&clients));
    let site = helloworld(&backend);
    authority(&site, "default", "backend-ca", &text(&ca()));
    policy(&site, &json!({}));
    let running = site.run();
    refused(&running);
    gateway(&site, &json!({ "backend": { "clientCertificateRef": { "name": "client" } } }));
    refused(&running);
    assert_eq!(backend.requests(), 0);
    site.create_secret(
        "tls client --key=example_certs1/client-v3.example.com.key --cert=example_certs1/client-v3.example.com.crt",
    );
    let told = ask(&running).soon().answers(200).text();
    assert!(told.contains("client-certificate: true"), "{told}");
}

#[test]
fn clients_are_verified_by_port() {
    let backend = Told::start("one");
    let site = helloworld(&backend);
    let validation = |mode: &str| {
        json!({ "frontend": { "default": { "validation": { "mode": mode,
            "caCertificateRefs": [{ "group": "", "kind": "ConfigMap", "name": "clients" }] } } } })
    };
    gateway(&site, &validation("AllowValidOnly"));
    let running = site.run();
    // Without the authority nobody is served.
    assert_ne!(ask(&running).client(&client()).run().exit, 0);
    authority(&site, "istio-system", "clients", &text(&ca()));
    ask(&running).client(&client()).soon().answers(200);
    assert_ne!(ask(&running).run().exit, 0);
    assert_eq!(backend.requests(), 1);
    authority(&site, "istio-system", "clients", &text(&ca_2()));
    eventually(|| match ask(&running).client(&client()).run() {
        answer if answer.exit == 0 => Err(answer.to_string()),
        _ => Ok(()),
    });
    // Until the new authority was in force, the client may have been served a few times more.
    let served = backend.requests();
    gateway(&site, &validation("AllowInsecureFallback"));
    ask(&running).client(&client()).soon().answers(200);
    ask(&running).answers(200);
    assert_eq!(backend.requests(), served + 2);
}

#[test]
fn a_client_certificate_that_nothing_needs_yet_is_told() {
    let backend = Told::start("one");
    let site = helloworld(&backend);
    gateway(&site, &json!({ "backend": { "clientCertificateRef": { "name": "client" } } }));
    site.check().exits(1).says(&["secret-not-found", "istio-system/client not found", "nothing needs it so far"]);
    ask(&site.run()).answers(200);
}
