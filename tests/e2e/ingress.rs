//! A plugin that is not built in: `plugins/examples/ingress`, dropped beside `sekisho.json` as docs/plugins.md says.

use std::fs;

use rig::{Backend, Http, Site, endpoints, plugin, service};
use serde_json::{Value, json};

use crate::task::*;

/// `ingress.wasm` lies beside `sekisho.json`, which names it and no other.
fn site() -> Site {
    let site = Site::new();
    fs::copy(plugin("ingress"), site.directory().join("ingress.wasm")).expect("its own directory can be written");
    let routes = json!([{ "name": "ingress", "path": "ingress.wasm" }]);
    site.configure(&json!({ "plugins": { "routes": routes } }));
    for name in ["hello", "rest"] {
        site.apply(&service(name, 5000));
        site.apply(&endpoints(name, "local", Some(Backend::start(name).address())));
    }
    site
}

fn ingress(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["ingressClassName"] = json!("istio");
    json!({ "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": { "name": name }, "spec": spec })
}

/// Port by name for one, by number for the other.
fn hello() -> Value {
    let backend = json!({ "service": { "name": "hello", "port": { "name": "http" } } });
    let paths = json!([{ "path": "/hello", "pathType": "Prefix", "backend": backend }]);
    ingress(
        "hello",
        json!({
            "rules": [{ "host": HELLOWORLD, "http": { "paths": paths } }],
            "tls": [{ "hosts": [HELLOWORLD], "secretName": "helloworld-credential" }],
        }),
    )
}

fn rest() -> Value {
    ingress("rest", json!({ "defaultBackend": { "service": { "name": "rest", "port": { "number": 5000 } } } }))
}

/// In the Ingress's namespace, where the API looks for it.
fn secret() -> Value {
    let mut secret = Site::secret(HELLOWORLD_CREDENTIAL);
    secret["metadata"]["namespace"] = json!("default");
    secret
}

#[test]
fn an_ingress_is_served_by_a_plugin_in_a_file() {
    let site = site();
    site.apply(&secret());
    site.apply(&hello());
    let checked = site.check().exits(0).text();
    assert!(checked.ends_with("0 errors, 1 warning\n") && checked.contains("version-1-certificate"), "{checked}");

    let gateway = site.run();
    for http in Http::BOTH {
        let answer = gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(http).answers(200);
        assert!(answer.text().contains("instance: hello"), "{answer}");
        let answer = gateway.curl(HELLOWORLD, "/head").ca(ca()).http(http).answers(404);
        assert_eq!(answer.header("x-instance"), None, "the 404 is the gateway's own\n{answer}");
    }
    gateway.curl_http(HELLOWORLD, "/hello").answers(200);
    gateway.curl_http(HTTPBIN, "/hello").answers(404);
    gateway.curl(HTTPBIN, "/hello").ca(ca()).fails(35, "unrecognized name");
    let rule = "Ingress/default/hello spec.rules[0].http.paths[0]: the path is below `/hello/`";
    _ = gateway.explain(&[&format!("https://{HELLOWORLD}/hello")]).exits(0).says(&[rule]);

    site.apply(&rest());
    let answer = gateway.curl_http(HTTPBIN, "/hello").soon().answers(200);
    assert!(answer.text().contains("instance: rest"), "{answer}");
    let answer = gateway.curl(HELLOWORLD, "/head").ca(ca()).soon().answers(200);
    assert_eq!(answer.header("x-instance").as_deref(), Some("rest"), "{answer}");
}

#[test]
fn a_backend_that_is_not_there_answers_503_and_is_named() {
    let site = site();
    let nowhere = json!({ "service": { "name": "nowhere", "port": { "number": 80 } } });
    site.apply(&ingress("nowhere", json!({ "defaultBackend": nowhere })));
    _ = site.check().exits(1).says(&["backend-not-found", "spec.defaultBackend.service.name", "`nowhere`"]);
    site.run().curl_http(HTTPBIN, "/").answers(503);
}
