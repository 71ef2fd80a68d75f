//! Who the client is, as backends and logs are told: certificates and addresses, by the gateway's word and by that of
//! proxies that it trusts.

use std::path::Path;
use std::process::Command;

use rig::{Answer, Backend, Certificates, Curl, Finished, Form, Gateway, Http, Match, Pair, Route, Server, Set, Site};
use rig::{endpoints, service};
use serde_json::{Value, json};

use crate::task::*;

const MUTUAL: &str = "generic helloworld-credential \
    --from-file=tls.key=example_certs1/helloworld.example.com.key \
    --from-file=tls.crt=example_certs1/helloworld.example.com.crt \
    --from-file=ca.crt=example_certs1/example.com.crt";

/// helloworld with every path routed to a backend that tells what it saw, over TLS and in the clear.
fn site(credential: &str, server: &Value) -> (Site, Backend) {
    let site = Site::new();
    let backend = Backend::start("v1");
    site.apply(&service("helloworld", 5000));
    site.apply(&endpoints("helloworld", "local", Some(backend.address())));
    site.apply(&Form::Istio.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")])));
    site.create_secret(credential);
    gateway(&site, server);
    (site, backend)
}

fn gateway(site: &Site, tls: &Value) {
    let secure =
        json!({ "port": { "number": 443, "name": "https", "protocol": "HTTPS" }, "hosts": [HELLOWORLD], "tls": tls });
    let open = json!({ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] });
    site.apply(&json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "mygateway" },
        "spec": { "servers": [secure, open] } }));
}

fn tls(mode: &str) -> Value {
    json!({ "mode": mode, "credentialName": "helloworld-credential" })
}

fn head(gateway: &Gateway) -> Curl {
    gateway.curl(HELLOWORLD, "/head").ca(ca())
}

/// A header of the request, as the backend saw it.
fn seen(told: &Answer, name: &str) -> Option<String> {
    let text = told.text();
    let mut lines = text.lines().filter_map(|line| line.split_once(": ").filter(|(given, _)| *given == name));
    let value = lines.next().map(|(_, value)| value.to_owned());
    assert!(lines.next().is_none(), "{name} is there twice: {text}");
    value
}

fn certificate_seen(told: &Answer) -> Option<String> {
    seen(told, "x-forwarded-client-cert")
}

fn openssl(certificate: &Path, arguments: &[&str]) -> String {
    let mut openssl = Command::new("openssl");
    let printed = Finished::of(openssl.arg("x509").arg("-noout").arg("-in").arg(certificate).args(arguments)).exits(0);
    printed.text().trim().rsplit_once('=').map_or_else(|| printed.text(), |(_, value)| value.to_owned())
}

/// What Envoy would say of a certificate of the task's authority.
fn said_of(pair: &Pair, subject: &str, names: &str) -> String {
    let hash = openssl(&pair.certificate, &["-fingerprint", "-sha256"]).replace(':', "").to_lowercase();
    let pem = std::fs::read_to_string(&pair.certificate).expect("it is there");
    let begin = pem.find("-----BEGIN").expect("it is PEM");
    let mut escaped = String::new();
    for character in pem[begin..].chars() {
        match character {
            '\n' => escaped.push_str("%0A"),
            ' ' => escaped.push_str("%20"),
            '+' => escaped.push_str("%2B"),
            '/' => escaped.push_str("%2F"),
            '=' => escaped.push_str("%3D"),
            other => escaped.push(other),
        }
    }
    format!("Hash={hash};Cert=\"{escaped}\";Subject=\"{subject}\";{names}")
}

#[test]
fn a_backend_is_told_of_the_verified_certificate() {
    let (site, _backend) = site(MUTUAL, &tls("MUTUAL"));
    let gateway = site.run();
    let version_3 = Certificates::shared().pair(Set::First, "client-v3");
    for (pair, subject, names) in [
        (client(), "O=client organization,CN=client.example.com", "URI="),
        (version_3, "CN=client", "URI=;DNS=client.example.com"),
    ] {
        let expected = said_of(&pair, subject, names);
        for http in Http::BOTH {
            let asked = head(&gateway).client(&pair).http(http);
            let told = asked.header("x-forwarded-client-cert: By=forged").header("x_forwarded_client_cert: forged");
            let told = told.answers(200);
            assert_eq!(certificate_seen(&told), Some(expected.clone()));
            assert!(!told.text().contains("forged"), "{}", told.text());
        }
    }
    let certificate = client().certificate.display().to_string();
    let explained = gateway.explain(&[&format!("https://{HELLOWORLD}/head"), "--client-cert", &certificate]).exits(0);
    _ = explained.says(&["x-forwarded-client-cert tells the endpoint"]);
    // In the clear nobody showed one.
    let told = gateway.curl_http(HELLOWORLD, "/head").header("x-forwarded-client-cert: By=forged").answers(200);
    assert_eq!(certificate_seen(&told), None);
}

#[test]
fn without_a_certificate_a_backend_is_told_of_none() {
    let (site, _backend) = site(MUTUAL, &tls("SIMPLE"));
    let gateway = site.run();
    let told = head(&gateway).client(&client()).header("x-forwarded-client-cert: By=forged").answers(200);
    assert_eq!(certificate_seen(&told), None, "nobody asked for it");
    self::gateway(&site, &tls("OPTIONAL_MUTUAL"));
    rig::eventually(|| {
        let told = head(&gateway).client(&client()).answers(200);
        certificate_seen(&told).map(drop).ok_or_else(|| "not yet".to_owned())
    });
    let told = head(&gateway).header("x-forwarded-client-cert: By=forged").answers(200);
    assert_eq!(certificate_seen(&told), None, "none was shown");
}

/// What is accepted although it does not verify says nothing of who the client is.
#[test]
fn an_unverified_certificate_is_not_vouched_for() {
    let (site, _backend) = site(MUTUAL, &tls("MUTUAL"));
    let certificates = Certificates::shared();
    certificates.sh(
        "mkdir -p stranger
openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj '/CN=stranger' -keyout stranger/key.pem -out stranger/crt.pem 2>/dev/null",
    );
    let file = |name: &str| certificates.directory().join("stranger").join(name);
    let stranger = Pair { certificate: file("crt.pem"), key: file("key.pem") };
    let mut accepting = tls("MUTUAL");
    accepting["insecureSkipVerify"] = json!(true);
    gateway(&site, &accepting);
    let gateway = site.run();
    assert_eq!(certificate_seen(&head(&gateway).client(&stranger).answers(200)), None);
    let told = certificate_seen(&head(&gateway).client(&client()).answers(200));
    assert!(told.is_some_and(|told| told.contains("CN=client.example.com")), "the others are known");
    site.configure(&json!({ "headers": { "untrustedClientCertificate": true } }));
    gateway.signal("HUP");
    rig::eventually(|| {
        let told = certificate_seen(&head(&gateway).client(&stranger).answers(200));
        told.filter(|told| told.contains("Subject=\"CN=stranger\"")).map(drop).ok_or_else(|| "not yet".to_owned())
    });
}

#[test]
fn the_gateways_own_identity_is_named() {
    Certificates::shared().sh(
        "mkdir -p spiffe && cd spiffe
openssl ecparam -name prime256v1 -genkey -noout -out key.pem
openssl req -new -key key.pem -subj '/CN=helloworld.example.com' -out csr.pem
printf 'subjectAltName=DNS:helloworld.example.com,URI:spiffe://example.com/ns/istio-system/sa/gateway\\n' > ext
openssl x509 -req -sha256 -days 365 -CA ../example_certs1/example.com.crt -CAkey ../example_certs1/example.com.key -set_serial 9 -extfile ext -in csr.pem -out crt.pem",
    );
    let secret = "generic helloworld-credential --from-file=tls.key=spiffe/key.pem --from-file=tls.crt=spiffe/crt.pem \
        --from-file=ca.crt=example_certs1/example.com.crt";
    let (site, _backend) = site(secret, &tls("MUTUAL"));
    let gateway = site.run();
    let told = certificate_seen(&head(&gateway).client(&client()).answers(200)).expect("it is there");
    assert!(told.starts_with("By=spiffe://example.com/ns/istio-system/sa/gateway;Hash="), "{told}");
}

/// A connection that serves another host's requests is of the same client.
#[test]
fn a_followed_listener_is_told_too() {
    let form = Form::Istio;
    let (site, _backend) = site(MUTUAL, &tls("MUTUAL"));
    site.apply(&form.route(&Route::new("httpbin", 8000, &[Match::Prefix("/")]).to("helloworld", 5000)));
    site.create_secret(
        "generic wildcard-credential --from-file=tls.key=example_certs1/wildcard.example.com.key \
         --from-file=tls.crt=example_certs1/wildcard.example.com.crt --from-file=ca.crt=example_certs1/example.com.crt",
    );
    let servers = ["httpbin", "helloworld"].map(|name| Server::mutual(name).credential("wildcard-credential"));
    site.apply(&form.gateway(&servers));
    let gateway = site.run();
    let told = head(&gateway).client(&client()).authority(HTTPBIN).answers(200);
    assert_eq!(seen(&told, "host").as_deref(), Some(HTTPBIN));
    assert!(certificate_seen(&told).is_some(), "{}", told.text());
}

#[test]
fn a_trusted_proxys_word_on_certificates_counts_where_it_shall() {
    let (site, _backend) = site(MUTUAL, &tls("OPTIONAL_MUTUAL"));
    let said = |mode: &str, proxies: Value| {
        site.configure(&json!({ "headers": { "clientCertificate": mode }, "trust": { "proxies": proxies } }));
    };
    let trusted = || json!(["127.0.0.0/8"]);
    said("append", trusted());
    let gateway = site.run();
    let soon = |client: Option<&Pair>, expected: &dyn Fn(Option<&str>) -> bool| {
        rig::eventually(|| {
            let asked = head(&gateway).header("x-forwarded-client-cert: Hash=proxys");
            let asked = client.map_or_else(|| asked.clone(), |pair| asked.clone().client(pair));
            let told = certificate_seen(&asked.answers(200));
            if expected(told.as_deref()) { Ok(()) } else { Err(format!("{told:?}")) }
        });
    };
    let own = client();
    soon(Some(&own), &|told| told.is_some_and(|told| told.starts_with("Hash=proxys,Hash=") && told.contains("Cert=")));
    soon(None, &|told| told.is_none());
    for (mode, proxies, client, expected) in [
        ("forward", trusted(), Some(&own), Some("Hash=proxys")),
        ("always-forward", trusted(), None, Some("Hash=proxys")),
        ("always-forward", json!([]), Some(&own), None),
        ("drop", trusted(), Some(&own), None),
    ] {
        said(mode, proxies);
        gateway.signal("HUP");
        soon(client, &|told| told == expected);
    }
}

/// Nobody but trusted proxies says where a request came from, and the last of them has the last word.
#[test]
fn the_client_behind_proxies() {
    let (site, _backend) = site(HELLOWORLD_CREDENTIAL, &tls("SIMPLE"));
    let mut route = Form::Istio.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")]));
    route["spec"]["http"][0]["headers"] =
        json!({ "request": { "set": { "x-client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%" } } });
    site.apply(&route);
    let gateway = site.run();
    let ask = |gateway: &Gateway, forwarded: &str| {
        let place = gateway.log().here();
        let asked = head(gateway).header(&format!("x-forwarded-for: {forwarded}")).header("x-request-id: theirs");
        let told = asked.answers(200);
        let line = gateway.log().wait_since(place, |line| line.is_access());
        (
            seen(&told, "x-client"),
            seen(&told, "x-forwarded-for"),
            line.field("client").clone(),
            seen(&told, "x-request-id"),
        )
    };
    let (client, forwarded, logged, id) = ask(&gateway, "6.6.6.6");
    assert_eq!(
        (client.as_deref(), forwarded.as_deref(), &logged),
        (Some("127.0.0.1"), Some("127.0.0.1"), &json!("127.0.0.1"))
    );
    assert_ne!(id.as_deref(), Some("theirs"));
    for (hops, sent, expected) in [
        (1, "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        (2, "6.6.6.6, 192.0.2.7, 127.0.0.9", "192.0.2.7"),
        // The second proxy was not on the way.
        (2, "6.6.6.6, 192.0.2.7", "192.0.2.7"),
        (0, "192.0.2.7", "127.0.0.1"),
    ] {
        site.configure(&json!({ "trust": { "proxies": ["127.0.0.0/8"], "hops": hops } }));
        gateway.signal("HUP");
        rig::eventually(|| {
            let (client, forwarded, logged, id) = ask(&gateway, sent);
            let all = forwarded == Some(format!("{sent},127.0.0.1")) && id.as_deref() == Some("theirs");
            let same = client.as_deref() == Some(expected) && logged == expected;
            if all && same { Ok(()) } else { Err(format!("{hops} {sent}: {client:?} {forwarded:?} {logged} {id:?}")) }
        });
    }
    let explained = gateway.explain(&[&format!("https://{HELLOWORLD}/head"), "-H", "x-forwarded-for: 192.0.2.7"]);
    assert!(!explained.text().contains("192.0.2.7"), "with no hops the peer is the client: {explained}");
}

/// Headers that are not there unless somebody wants them.
#[test]
fn more_is_said_where_it_is_wanted() {
    let (site, backend) = site(HELLOWORLD_CREDENTIAL, &tls("SIMPLE"));
    let mut route = Form::Istio.route(&Route::new("helloworld", 5000, &[Match::Prefix("/")]));
    let mut again = route["spec"]["http"][0].clone();
    again["retries"] = json!({ "attempts": 2, "retryOn": "503", "backoff": "1ms" });
    let mut rewritten = again.clone();
    rewritten["match"] = json!([{ "uri": { "prefix": "/before" } }]);
    rewritten["rewrite"] = json!({ "uri": "/head" });
    route["spec"]["http"] = json!([rewritten, again]);
    site.apply(&route);
    let gateway = site.run();
    let own = ["x-envoy-attempt-count", "x-envoy-external-address", "x-envoy-original-path"];
    let ask = |path: &str| {
        let mut asked = gateway.curl(HELLOWORLD, path).ca(ca());
        for name in own {
            asked = asked.header(&format!("{name}: forged"));
        }
        asked.answers(200)
    };
    let told = ask("/before?q=1");
    assert!(own.iter().all(|name| seen(&told, name).is_none()), "{}", told.text());
    let usual = ["x-forwarded-for", "x-forwarded-proto", "x-request-id"];
    assert!(usual.iter().all(|name| seen(&told, name).is_some()), "{}", told.text());
    assert_eq!((told.header("x-envoy-upstream-service-time"), told.header("server")), (None, None));
    let all =
        ["x-envoy-attempt-count", "x-envoy-external-address", "x-envoy-original-path", "x-envoy-upstream-service-time"];
    site.configure(
        &json!({ "headers": { "server": "overwrite", "serverName": "istio-envoy", "add": all, "leaveOut": usual } }),
    );
    gateway.signal("HUP");
    rig::eventually(|| {
        let server = ask("/hello").header("server");
        if server.as_deref() == Some("istio-envoy") { Ok(()) } else { Err(format!("server: {server:?}")) }
    });
    let told = ask("/before?q=1");
    assert_eq!(
        own.map(|name| seen(&told, name)),
        ["1", "127.0.0.1", "/before?q=1"].map(|value| Some(value.to_owned()))
    );
    assert!(usual.iter().all(|name| seen(&told, name).is_none()), "{}", told.text());
    assert!(told.header("x-envoy-upstream-service-time").is_some_and(|time| time.parse::<u64>().is_ok()), "{told}");
    ask("/unsteady/1");
    let tries: Vec<String> = backend.heads().into_iter().filter(|head| head.starts_with("GET /unsteady/1 ")).collect();
    let counts: Vec<bool> = tries
        .iter()
        .zip(1..)
        .map(|(head, number)| head.contains(&format!("x-envoy-attempt-count: {number}\r\n")))
        .collect();
    assert_eq!(counts, [true, true], "{tries:?}");
    // The gateway's own answers are its own.
    let told = gateway.curl(HELLOWORLD, "/head").ca(ca()).authority("nobody.example").answers(404);
    assert_eq!(told.header("server").as_deref(), Some("istio-envoy"));
    assert_eq!(told.header("x-envoy-upstream-service-time"), None);
}
