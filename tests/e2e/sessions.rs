//! Clients that stay with the backend that answered them first.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use rig::{Answer, Curl, Gateway, Site, Told, endpoints, eventually, service};
use serde_json::{Value, json};

const HOST: &str = "shop.example.com";

/// Two services of two endpoints each, half of the requests to either, and this session persistence.
struct Shop {
    site: Site,
    backends: [[Told; 2]; 2],
}

impl Shop {
    fn with(session: &Value) -> Self {
        let site = Site::new();
        let backends = [["a1", "a2"], ["b1", "b2"]].map(|names| names.map(Told::start));
        let shop = Self { site, backends };
        for (name, of) in ["a", "b"].into_iter().zip(&shop.backends) {
            shop.site.apply(&service(name, 80));
            for (at, backend) in of.iter().enumerate() {
                shop.site.apply(&endpoints(name, &at.to_string(), Some(backend.address())));
            }
        }
        shop.site.apply(&json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": { "name": "mygateway" },
            "spec": { "gatewayClassName": "istio",
                      "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }] } }));
        shop.site.apply(&json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "shop" },
            "spec": { "parentRefs": [{ "name": "mygateway" }], "rules": [{
                "sessionPersistence": session,
                "backendRefs": [{ "name": "a", "port": 80 }, { "name": "b", "port": 80 }] }] } }));
        shop
    }

    /// Takes an endpoint away, by what it says of itself.
    fn remove(&self, instance: &str) {
        let (service, nth) = instance.split_at(1);
        let slice = (nth.parse::<usize>().expect("a number") - 1).to_string();
        self.site.apply(&endpoints(service, &slice, None::<SocketAddr>));
    }
}

fn ask(gateway: &Gateway) -> Curl {
    gateway.curl_http(HOST, "/cart")
}

/// Who answered.
fn instance(answer: &Answer) -> String {
    let text = answer.text();
    text.lines().find_map(|line| line.strip_prefix("instance: ")).expect("its name").to_owned()
}

/// What the client sends back of a cookie.
fn sent(cookie: &str) -> String {
    format!("cookie: other=1; {}", cookie.split(';').next().expect("a pair"))
}

#[test]
fn a_cookie_keeps_a_client_with_its_service_and_endpoint() {
    let shop = Shop::with(&json!({ "sessionName": "stay", "absoluteTimeout": "1h",
                                   "cookieConfig": { "lifetimeType": "Permanent" } }));
    let gateway = shop.site.run();
    let first = ask(&gateway).answers(200);
    let cookie = first.header("set-cookie").expect("a client without a cookie is given one");
    assert!(cookie.starts_with("stay=") && cookie.ends_with("; Path=/; Max-Age=3600; HttpOnly"), "{cookie}");
    assert!(!cookie.contains("127.0.0.1"), "{cookie}");
    for _ in 0..12 {
        let again = ask(&gateway).header(&sent(&cookie)).answers(200);
        assert_eq!(instance(&again), instance(&first));
        assert_eq!(again.header("set-cookie"), None);
    }
    let others: BTreeSet<String> = (0..40).map(|_| instance(&ask(&gateway).answers(200))).collect();
    assert_eq!(others.len(), 4, "{others:?}");
    // What somebody made up leads nowhere, and is replaced.
    for made_up in ["stay=127.0.0.1:1", "stay=0123456789abcdef-ffffffffff", "stay="] {
        let answer = ask(&gateway).header(&sent(made_up)).answers(200);
        assert!(answer.header("set-cookie").is_some(), "{made_up}");
    }
    // The endpoint is gone: another one, and a cookie for that.
    shop.remove(&instance(&first));
    let next = eventually(|| {
        let answer = ask(&gateway).header(&sent(&cookie)).answers(200);
        if instance(&answer) == instance(&first) { Err("still there".to_owned()) } else { Ok(answer) }
    });
    let cookie = next.header("set-cookie").expect("one for the new endpoint");
    for _ in 0..6 {
        assert_eq!(instance(&ask(&gateway).header(&sent(&cookie)).answers(200)), instance(&next));
    }
}

#[test]
fn a_header_keeps_a_client_too() {
    let shop = Shop::with(&json!({ "sessionName": "X-Stay", "type": "Header" }));
    let gateway = shop.site.run();
    let first = ask(&gateway).answers(200);
    let token = first.header("x-stay").expect("a client without a token is given one");
    for _ in 0..12 {
        let again = ask(&gateway).header(&format!("x-stay: {token}")).answers(200);
        assert_eq!(instance(&again), instance(&first));
        assert_eq!(again.header("x-stay"), None);
    }
    let others: BTreeSet<String> = (0..40).map(|_| instance(&ask(&gateway).answers(200))).collect();
    assert_eq!(others.len(), 4, "{others:?}");
}

#[test]
fn a_session_ends_with_its_time() {
    let shop = Shop::with(&json!({ "sessionName": "stay", "absoluteTimeout": "1s" }));
    let gateway = shop.site.run();
    let cookie = ask(&gateway).answers(200).header("set-cookie").expect("a cookie");
    assert!(!cookie.contains("Max-Age"), "{cookie}");
    eventually(|| match ask(&gateway).header(&sent(&cookie)).answers(200).header("set-cookie") {
        Some(_) => Ok(()),
        None => Err("it counts still".to_owned()),
    });
}
