//! A plugin that is not built in: `sample-configs/ingress` with `plugins/examples/ingress` dropped beside its
//! `sekisho.json`, as docs/plugins.md says.

use std::fs;

use rig::{Backend, Http, Site, endpoints, plugin, repository, service};
use serde_json::{Value, json};

use crate::task::*;

const SHOP: &str = "shop.example.com";
const SHOP_CREDENTIAL: &str = "tls shop \
    --key=example_certs1/wildcard.example.com.key \
    --cert=example_certs1/wildcard.example.com.crt";

/// The sample; only the ports are this test's.
fn site(backend: &Backend) -> Site {
    let read = |name| fs::read_to_string(repository().join("sample-configs/ingress").join(name)).expect("it is there");
    let site = Site::new();
    fs::copy(plugin("ingress"), site.directory().join("ingress.wasm")).expect("its own directory can be written");
    let sample: Value = serde_json::from_str(&read("sekisho.json")).expect("it is JSON");
    site.configure(&json!({ "plugins": sample["plugins"], "gateway": sample["gateway"] }));
    let objects = read("resources/shop.yaml").replace("9000", &backend.address().port().to_string());
    site.replace(&site.resource("shop.yaml"), objects);
    let mut secret = Site::secret(SHOP_CREDENTIAL);
    secret["metadata"]["namespace"] = json!("default");
    site.apply(&secret);
    site
}

/// Everything that no rule takes, to port 80 of a Service.
fn default_backend(service: &str) -> Value {
    let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": { "name": service },
        "spec": { "ingressClassName": "mine", "defaultBackend": backend },
    })
}

#[test]
fn an_ingress_is_served_by_a_plugin_in_a_file() {
    let site = site(&Backend::start("shop"));
    let checked = site.check().exits(0).text();
    assert!(checked.ends_with("0 errors, 0 warnings\n"), "{checked}");

    let gateway = site.run();
    for http in Http::BOTH {
        let answer = gateway.curl(SHOP, "/hello").ca(ca()).http(http).answers(200);
        assert!(answer.text().contains("instance: shop"), "{answer}");
    }
    gateway.curl_http(SHOP, "/hello").answers(200);
    gateway.curl_http(HTTPBIN, "/hello").answers(404);
    gateway.curl(HTTPBIN, "/hello").ca(ca()).fails(35, "unrecognized name");
    let rule = "Ingress/default/shop spec.rules[0].http.paths[0]: every path";
    _ = gateway.explain(&[&format!("https://{SHOP}/hello")]).exits(0).says(&[rule]);
}

#[test]
fn an_ingress_comes_and_goes_while_it_serves() {
    let site = site(&Backend::start("shop"));
    let gateway = site.run();
    gateway.curl_http(HTTPBIN, "/hello").answers(404);

    site.apply(&service("rest", 80));
    site.apply(&endpoints("rest", "local", Some(Backend::start("rest").address())));
    site.apply(&default_backend("rest"));
    let answer = gateway.curl_http(HTTPBIN, "/hello").soon().answers(200);
    assert!(answer.text().contains("instance: rest"), "{answer}");

    site.delete("Ingress", "rest");
    gateway.curl_http(HTTPBIN, "/hello").soon().answers(404);
    gateway.curl(SHOP, "/hello").ca(ca()).answers(200);
}

#[test]
fn a_backend_that_is_not_there_answers_503_and_is_named() {
    let site = site(&Backend::start("shop"));
    site.apply(&default_backend("nowhere"));
    _ = site.check().exits(1).says(&["backend-not-found", "spec.defaultBackend.service.name", "`nowhere`"]);
    let gateway = site.run();
    gateway.curl_http(HTTPBIN, "/").answers(503);
    gateway.curl_http(SHOP, "/hello").answers(200);
}
