//! Credentials: every format that is promised, and what happens when one is not as it should be.

use std::time::Duration;

use rig::{Certificates, Form, Gateway, Http, Server, Set, Site};
use serde_json::json;

use crate::task::*;

in_both_forms!(
    key_of_another_certificate,
    bad_pem,
    entries_missing,
    secret_missing,
    a_bad_update_keeps_the_last_good,
    deleted,
    other_names_of_entries,
    ca_in_a_secret_of_its_own,
    ca_bundle,
    untrusted_client_certificate,
    version_3_certificates,
);

const KEY_OF_ANOTHER: &str = "generic httpbin-credential \
    --from-file=tls.key=example_certs2/httpbin.example.com.key \
    --from-file=tls.crt=example_certs1/httpbin.example.com.crt";

/// httpbin as given beside a helloworld that is all right.
fn beside_helloworld(form: Form, httpbin: Server) -> Site {
    let site = Site::with_httpbin(form);
    site.add_helloworld(form);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&form.gateway(&[httpbin, Server::simple("helloworld")]));
    site
}

/// That httpbin is refused by an alert, the log names its secret and what is wrong, and helloworld is served.
#[track_caller]
fn is_refused_alone(site: &Site, said: &str) {
    let gateway = site.run();
    let refused = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
    assert_eq!(refused.exit, 35, "{refused}");
    assert!(refused.trace.contains("alert"), "an alert, not a hang-up\n{refused}");
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).answers(200);
    gateway.log().wait(|line| line.is_complaint() && line.has(&["httpbin-credential", said]));

    // Once it is put right the host serves, without a restart.
    site.create_secret(HTTPBIN_CREDENTIAL);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}

fn key_of_another_certificate(form: Form) {
    let site = beside_helloworld(form, Server::simple("httpbin"));
    site.create_secret(KEY_OF_ANOTHER);
    is_refused_alone(&site, "key");
}

fn bad_pem(form: Form) {
    let site = beside_helloworld(form, Server::simple("httpbin"));
    site.create_secret("generic httpbin-credential --from-literal=tls.key=nonsense --from-literal=tls.crt=nonsense");
    is_refused_alone(&site, "tls.");
}

fn entries_missing(form: Form) {
    let site = beside_helloworld(form, Server::simple("httpbin"));
    site.create_secret("generic httpbin-credential --from-literal=password=hunter2");
    is_refused_alone(&site, "(cert and key) or (tls.crt and tls.key)");
}

fn secret_missing(form: Form) {
    let site = beside_helloworld(form, Server::simple("httpbin"));
    is_refused_alone(&site, "istio-system/httpbin-credential");
}

fn a_bad_update_keeps_the_last_good(form: Form) {
    let site = Site::with_httpbin(form);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    let place = gateway.log().here();
    site.create_secret(KEY_OF_ANOTHER);
    gateway.log().wait_since(place, |line| line.is_complaint() && line.has(&["httpbin-credential"]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
}

/// Istio keeps what it had; Gateway API refuses, after time enough to put another in its place.
fn deleted(form: Form) {
    let site = beside_helloworld(form, Server::simple("httpbin"));
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    let place = gateway.log().here();
    site.delete("Secret", "httpbin-credential");
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
}

fn mutual(form: Form) -> Site {
    let site = Site::with_httpbin(form);
    site.apply(&form.gateway(&[Server::mutual("httpbin")]));
    site
}

#[track_caller]
fn asks_for_certificates(gateway: &Gateway) {
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).fails(56, "certificate required");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).client(&client()).answers(418);
}

/// `key`, `cert` and `cacert`.
fn other_names_of_entries(form: Form) {
    let site = mutual(form);
    site.create_secret(
        "generic httpbin-credential --from-file=key=example_certs1/httpbin.example.com.key \
         --from-file=cert=example_certs1/httpbin.example.com.crt --from-file=cacert=example_certs1/example.com.crt",
    );
    asks_for_certificates(&site.run());
}

/// `httpbin-credential-cacert` is used where it is, alone.
fn ca_in_a_secret_of_its_own(form: Form) {
    let site = mutual(form);
    site.create_secret(
        "generic httpbin-credential --from-file=key=example_certs1/httpbin.example.com.key \
         --from-file=cert=example_certs1/httpbin.example.com.crt --from-file=cacert=example_certs2/example.com.crt",
    );
    site.create_secret("generic httpbin-credential-cacert --from-file=cacert=example_certs1/example.com.crt");
    asks_for_certificates(&site.run());
}

fn ca_bundle(form: Form) {
    let site = mutual(form);
    Certificates::shared().sh("cat example_certs2/example.com.crt example_certs1/example.com.crt > bundle.$$
        mv bundle.$$ bundle.crt");
    site.create_secret(
        "generic httpbin-credential --from-file=tls.key=example_certs1/httpbin.example.com.key \
         --from-file=tls.crt=example_certs1/httpbin.example.com.crt --from-file=ca.crt=bundle.crt",
    );
    let gateway = site.run();
    asks_for_certificates(&gateway);
    let of_the_other_ca = Certificates::shared().pair(Set::Second, "httpbin");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).client(&of_the_other_ca).answers(418);
}

fn untrusted_client_certificate(form: Form) {
    let site = mutual(form);
    site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    let gateway = site.run();
    // Its root has the same name as the trusted one, but another key.
    let of_the_other_ca = Certificates::shared().pair(Set::Second, "httpbin");
    for http in Http::BOTH {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).client(&of_the_other_ca).fails(56, "unknown ca");
    }
}

/// The task's commands make X.509 v1; a real authority makes v3, whose extensions are held to.
fn version_3_certificates(form: Form) {
    let site = mutual(form);
    site.create_secret(
        "generic httpbin-credential --from-file=tls.key=example_certs1/wildcard.example.com.key \
         --from-file=tls.crt=example_certs1/wildcard.example.com.crt --from-file=ca.crt=example_certs1/example.com.crt",
    );
    let gateway = site.run();
    let ask = |name| {
        let pair = Certificates::shared().pair(Set::First, name);
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).client(&pair)
    };
    ask("client-v3").answers(418);
    ask("client-v3").tls12().answers(418);
    ask("wildcard").fails(56, "unsupported certificate"); // it is for servers
}

/// Every kind of key that openssl writes, one after the other under one name.
#[test]
fn kinds_of_keys() {
    let certificates = Certificates::shared();
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    for (kind, make) in [
        ("pkcs1", "openssl genrsa -traditional -out $kind.key 2048"),
        ("sec1", "openssl ecparam -name secp384r1 -genkey -noout -out $kind.key"),
        ("sec1-with-parameters", "openssl ecparam -name prime256v1 -genkey -out $kind.key"),
        ("pkcs8-ec", "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $kind.key"),
        ("ed25519", "openssl genpkey -algorithm ed25519 -out $kind.key"),
    ] {
        certificates.sh(&format!(
            "kind={kind}
            {make}
            openssl req -new -key $kind.key -subj /CN=$kind -out $kind.csr
            openssl x509 -req -days 1 -CA example_certs1/example.com.crt -CAkey example_certs1/example.com.key \
                -set_serial 9 -in $kind.csr -out $kind.crt"
        ));
        site.create_secret(&format!(
            "generic httpbin-credential --from-file=tls.key={kind}.key --from-file=tls.crt={kind}.crt"
        ));
        rig::eventually(|| {
            let handshake = gateway.s_client(Some(HTTPBIN)).run();
            let shown = handshake.subject.as_deref() == Some(&format!("CN={kind}"));
            if shown { Ok(()) } else { Err(format!("{kind}\n{handshake}")) }
        });
    }
}

/// An intermediate's certificate comes with the leaf, in the order of a chain.
#[test]
fn a_chain() {
    let certificates = Certificates::shared();
    certificates.sh(
        "openssl req -new -newkey rsa:2048 -nodes -keyout intermediate.key -subj /CN=intermediate -out intermediate.csr
        echo 'basicConstraints=critical,CA:TRUE' > intermediate.ext
        openssl x509 -req -days 1 -CA example_certs1/example.com.crt -CAkey example_certs1/example.com.key \
            -set_serial 10 -extfile intermediate.ext -in intermediate.csr -out intermediate.crt
        openssl req -new -newkey rsa:2048 -nodes -keyout below.key -subj /CN=httpbin.example.com -out below.csr
        echo 'subjectAltName=DNS:httpbin.example.com' > below.ext
        openssl x509 -req -days 1 -CA intermediate.crt -CAkey intermediate.key -set_serial 11 -extfile below.ext \
            -in below.csr -out below.crt
        cat below.crt intermediate.crt > chain.crt",
    );
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret("tls httpbin-credential --key=below.key --cert=chain.crt");
    site.run().curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
}

/// Kubernetes keeps entries in base64; what is none is a mistake worth a name.
#[test]
fn data_that_is_not_base64() {
    let site = beside_helloworld(Form::Istio, Server::simple("httpbin"));
    let mut secret = Site::secret(HTTPBIN_CREDENTIAL);
    secret["data"]["tls.key"] = json!("-----BEGIN PRIVATE KEY-----");
    site.apply(&secret);
    is_refused_alone(&site, "base64");
}

#[test]
fn no_secret_reaches_the_log() {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    site.create_secret("generic httpbin-credential --from-literal=tls.key=hunter2 --from-literal=tls.crt=hunter3");
    gateway.log().wait(|line| line.is_complaint() && line.has(&["httpbin-credential"]));
    for line in gateway.log().since(0) {
        for secret in ["PRIVATE KEY", "hunter2", "aHVudGVyM", "LS0tLS1CRUdJTi"] {
            assert!(!line.has(&[secret]), "{}", line.text);
        }
    }
}
