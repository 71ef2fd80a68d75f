//! The founding task, step by step, in both API forms.

use rig::{Form, Gateway, Http, Route, Server, Site, eventually};

use crate::task::*;

in_both_forms!(
    simple_418,
    unmatched_path_404,
    credential_replaced,
    two_hosts_by_sni,
    two_hosts_added_while_running,
    mutual_without_certificate_is_refused,
    mutual_with_certificate_418,
    simple_to_mutual_while_running,
    clean_up,
);

/// 「単一ホストのTLSイングレスゲートウェイを構成する」
fn single_host(form: Form) -> (Site, Gateway) {
    let site = Site::with_httpbin(form);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    (site, gateway)
}

/// 「複数ホストのTLSイングレスゲートウェイを構成する」
fn two_hosts(form: Form) -> (Site, Gateway) {
    let site = Site::with_httpbin(form);
    site.create_secret(HTTPBIN_CREDENTIAL);
    add_helloworld(&site, form);
    let gateway = site.run();
    (site, gateway)
}

fn add_helloworld(site: &Site, form: Form) {
    site.add_helloworld(form);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&form.gateway(&[Server::simple("httpbin"), Server::simple("helloworld")]));
}

/// 「相互TLSイングレスゲートウェイを構成する」
fn mutual(form: Form) -> (Site, Gateway) {
    let site = Site::with_httpbin(form);
    make_mutual(&site, form);
    let gateway = site.run();
    (site, gateway)
}

fn make_mutual(site: &Site, form: Form) {
    site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    site.apply(&form.gateway(&[Server::mutual("httpbin").section("https")]));
}

fn simple_418(form: Form) {
    let (_site, gateway) = single_host(form);
    for http in Http::BOTH {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).answers(418);
        assert!(answer.text().contains("teapot"), "the real httpbin draws one\n{answer}");
    }
}

fn unmatched_path_404(form: Form) {
    let (_site, gateway) = single_host(form);
    for http in Http::BOTH {
        for path in ["/headers", "/", "/STATUS/418"] {
            let place = gateway.log().here();
            gateway.curl(HTTPBIN, path).ca(ca()).http(http).answers(404);
            let line = gateway.log().wait_since(place, rig::Line::is_access);
            assert!(line.field("endpoint").is_null(), "the 404 is the gateway's own: {}", line.text);
        }
    }
}

fn credential_replaced(form: Form) {
    let (site, gateway) = single_host(form);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);

    site.delete("Secret", "httpbin-credential");
    site.create_secret(HTTPBIN_CREDENTIAL_2);
    for http in Http::BOTH {
        gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).http(http).soon().answers(418);
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).refuses_the_certificate();
    }

    site.delete("Secret", "httpbin-credential");
    site.create_secret(HTTPBIN_CREDENTIAL);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).refuses_the_certificate();
}

fn two_hosts_by_sni(form: Form) {
    let (_site, gateway) = two_hosts(form);
    for host in [HTTPBIN, HELLOWORLD] {
        let handshake = gateway.s_client(Some(host)).run().shows(host);
        assert_eq!(handshake.alpn.as_deref(), Some("h2"), "{handshake}");
    }
    for http in Http::BOTH {
        let hello = gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(http).answers(200);
        assert_eq!(hello.text(), "Hello version: v1, instance: helloworld-v1\n");
        gateway.curl(HELLOWORLD, "/hello/again").ca(ca()).http(http).answers(404);
        gateway.curl(HELLOWORLD, "/status/418").ca(ca()).http(http).answers(404);
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).answers(418);
        gateway.curl(HTTPBIN, "/hello").ca(ca()).http(http).answers(404);
    }
}

fn two_hosts_added_while_running(form: Form) {
    let (site, gateway) = single_host(form);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).fails(35, "unrecognized name");
    add_helloworld(&site, form);
    gateway.curl(HELLOWORLD, "/hello").ca(ca()).soon().answers(200);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
}

fn mutual_without_certificate_is_refused(form: Form) {
    let (_site, gateway) = mutual(form);
    for http in Http::BOTH {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).fails(56, "certificate required");
    }
    // TLS 1.2 tells it within the handshake, for which curl has a code of its own.
    let refused = gateway.curl(HTTPBIN, "/status/418").ca(ca()).tls12().run();
    assert!(matches!(refused.exit, 35 | 56 | 98) && refused.trace.contains("certificate required"), "{refused}");
}

fn mutual_with_certificate_418(form: Form) {
    let (_site, gateway) = mutual(form);
    for http in Http::BOTH {
        let ask = gateway.curl(HTTPBIN, "/status/418").ca(ca()).client(&client()).http(http);
        let answer = ask.clone().answers(418);
        assert!(answer.trace.contains("TLSv1.3"), "{answer}");
        let answer = ask.tls12().answers(418);
        assert!(answer.trace.contains("SSL connection using TLSv1.2"), "{answer}");
    }
}

fn simple_to_mutual_while_running(form: Form) {
    let (site, gateway) = single_host(form);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);

    site.delete("Secret", "httpbin-credential");
    make_mutual(&site, form);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().fails(56, "certificate required");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).client(&client()).answers(418);

    site.apply(&form.gateway(&[Server::simple("httpbin").section("https")]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}

fn clean_up(form: Form) {
    let (site, gateway) = two_hosts(form);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);

    site.delete("Gateway", "mygateway");
    for route in [Route::httpbin(), Route::helloworld()] {
        let name = form.route(&route)["metadata"]["name"].as_str().expect("a name").to_owned();
        site.delete(form.route_kind(), &name);
    }
    for secret in ["httpbin-credential", "helloworld-credential"] {
        site.delete("Secret", secret);
    }
    for host in [HTTPBIN, HELLOWORLD] {
        eventually(|| {
            // Nobody listens (7), or the listener that is left refuses the name (35).
            let answer = gateway.curl(host, "/status/418").ca(ca()).run();
            if matches!(answer.exit, 7 | 35) { Ok(()) } else { Err(format!("still served\n{answer}")) }
        });
    }
}
