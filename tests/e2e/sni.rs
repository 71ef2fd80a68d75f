//! Which listener a name leads to, and who is sent away.

use rig::{Form, Gateway, Http, Server, Site};

use crate::task::*;

in_both_forms!(
    unknown_name_is_refused,
    missing_name_is_refused,
    names_have_no_case,
    most_specific_host_wins,
    authority_of_a_mutual_host_is_misdirected,
    authority_of_nobody_404,
    authority_of_a_host_with_the_same_certificate,
    authority_with_port_or_trailing_dot,
    tickets_do_not_cross_listeners,
);

/// `unrecognized_name`
const UNRECOGNIZED_NAME: u8 = 112;

/// httpbin with mutual TLS beside helloworld without.
fn mutual_beside_simple(form: Form) -> (Site, Gateway) {
    let site = Site::with_httpbin(form);
    site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    site.add_helloworld(form);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&form.gateway(&[Server::mutual("httpbin"), Server::simple("helloworld")]));
    let gateway = site.run();
    (site, gateway)
}

/// Both hosts with one certificate that covers both.
fn one_certificate(form: Form) -> (Site, Gateway) {
    let site = Site::with_httpbin(form);
    site.add_helloworld(form);
    site.create_secret(
        "tls wildcard-credential --key=example_certs1/wildcard.example.com.key \
         --cert=example_certs1/wildcard.example.com.crt",
    );
    let servers = ["httpbin", "helloworld"].map(|name| Server::simple(name).credential("wildcard-credential"));
    site.apply(&form.gateway(&servers));
    let gateway = site.run();
    (site, gateway)
}

fn unknown_name_is_refused(form: Form) {
    let (_site, gateway) = mutual_beside_simple(form);
    _ = gateway.s_client(Some("other.example.com")).run().is_refused_with(UNRECOGNIZED_NAME);
    _ = gateway.s_client(Some("other.example.com")).arg("-tls1_2").run().is_refused_with(UNRECOGNIZED_NAME);
    // A host is claimed whole, neither by its parent nor by its child.
    for name in ["example.com", "www.httpbin.example.com"] {
        gateway.curl(name, "/status/418").ca(ca()).fails(35, "unrecognized name");
    }
    gateway.log().wait(|line| line.has(&["other.example.com", HTTPBIN, HELLOWORLD]));
}

fn missing_name_is_refused(form: Form) {
    let (_site, gateway) = mutual_beside_simple(form);
    _ = gateway.s_client(None).run().is_refused_with(UNRECOGNIZED_NAME);
    // An address is no name: nothing is sent.
    gateway.curl("127.0.0.1", "/status/418").authority(HTTPBIN).ca(ca()).fails(35, "unrecognized name");
    gateway.log().wait(|line| line.has(&[HTTPBIN, HELLOWORLD]) && !line.is("serving"));
}

fn names_have_no_case(form: Form) {
    let (_site, gateway) = one_certificate(form);
    _ = gateway.s_client(Some("HTTPBIN.Example.COM")).run().shows("*.example.com");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).authority("HTTPBIN.Example.COM").answers(418);
}

fn most_specific_host_wins(form: Form) {
    let site = Site::with_httpbin(form);
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.create_secret(
        "tls wildcard-credential --key=example_certs1/wildcard.example.com.key \
         --cert=example_certs1/wildcard.example.com.crt",
    );
    site.apply(&form.gateway(&[Server::simple("wildcard").host("*.example.com"), Server::simple("httpbin")]));
    let gateway = site.run();
    _ = gateway.s_client(Some(HTTPBIN)).run().shows(HTTPBIN);
    _ = gateway.s_client(Some("anything.example.com")).run().shows("*.example.com");
    _ = gateway.s_client(Some("example.com")).run().is_refused_with(UNRECOGNIZED_NAME);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    gateway.curl("anything.example.com", "/status/418").ca(ca()).answers(404);
}

/// Nobody passes mutual TLS by entering next door.
fn authority_of_a_mutual_host_is_misdirected(form: Form) {
    let (_site, gateway) = mutual_beside_simple(form);
    for http in Http::BOTH {
        let enter_by = |host| gateway.curl(host, "/status/418").ca(ca()).http(http);
        for authority in [HTTPBIN, "httpbin.example.com:443", "HTTPBIN.example.com.", "httpbin.example.com:8443"] {
            let place = gateway.log().here();
            enter_by(HELLOWORLD).authority(authority).answers(421);
            // The line of the request before may come late.
            let line = gateway.log().wait_since(place, |line| line.is_access() && line.field("sni") == HELLOWORLD);
            assert_eq!(line.field("reason"), "misdirected", "{}", line.text);
        }
        enter_by(HTTPBIN).client(&client()).answers(418);
    }
}

fn authority_of_nobody_404(form: Form) {
    let (_site, gateway) = mutual_beside_simple(form);
    for http in Http::BOTH {
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(http).authority("other.example.com").answers(404);
    }
}

/// A browser that reuses a connection is served (Istio) or told to open another (Gateway API), never misled.
fn authority_of_a_host_with_the_same_certificate(form: Form) {
    let (_site, gateway) = one_certificate(form);
    for http in Http::BOTH {
        let ask = gateway.curl(HELLOWORLD, "/status/418").ca(ca()).http(http).authority(HTTPBIN);
        ask.answers(match form {
            Form::Istio => 418,
            Form::GatewayApi => 421,
        });
    }
}

fn authority_with_port_or_trailing_dot(form: Form) {
    let (_site, gateway) = one_certificate(form);
    for http in Http::BOTH {
        for authority in ["httpbin.example.com:443", "httpbin.example.com:8443", "httpbin.example.com."] {
            gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).authority(authority).answers(418);
        }
    }
}

/// A session of the host without client certificates opens no door to the one with.
fn tickets_do_not_cross_listeners(form: Form) {
    let (site, gateway) = mutual_beside_simple(form);
    for version in ["-tls1_2", "-tls1_3"] {
        let session = site.directory().join(format!("session{version}"));
        let first = gateway.s_client_http1(HELLOWORLD).arg(version).arg("-sess_out").arg(&session);
        let first = first.get(HELLOWORLD, "/hello").run();
        assert!(first.trace.contains("HTTP/1.1 200") && session.is_file(), "a session to take along\n{first}");

        // Whichever worker the connection comes to.
        for _ in 0..4 {
            let resumed = gateway.s_client_http1(HELLOWORLD).arg(version).arg("-sess_in").arg(&session);
            let resumed = resumed.get(HELLOWORLD, "/hello").run();
            let welcome = resumed.trace.contains("Reused, ") && resumed.trace.contains("HTTP/1.1 200");
            assert!(welcome, "at home it is welcome\n{resumed}");
        }

        let crossing = gateway.s_client_http1(HTTPBIN).arg(version).arg("-sess_in").arg(&session);
        let crossing = crossing.get(HTTPBIN, "/status/418").run();
        assert!(!crossing.trace.contains("HTTP/1.1 418"), "{crossing}");
        assert!(crossing.trace.contains("certificate required"), "{crossing}");
    }
}

/// Who is sent away without it meets it instead; the hosts behind other listeners stay closed to such a connection.
#[test]
fn default_credential() {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.configure(&serde_json::json!({ "tls": { "defaultCredential": "istio-system/helloworld-credential" } }));
    let gateway = site.run();
    for sni in [Some("other.example.com"), None] {
        gateway.s_client(sni).run().shows(HELLOWORLD);
    }
    gateway.s_client(Some(HTTPBIN)).run().shows(HTTPBIN);
    gateway.curl(HELLOWORLD, "/").ca(ca()).answers(404);
    gateway.curl(HELLOWORLD, "/status/418").ca(ca()).authority(HTTPBIN).answers(421);
}
