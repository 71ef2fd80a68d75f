//! `sample-configs/secure-gateway`, as it is: both forms answer alike.

use std::fs;
use std::path::{Path, PathBuf};

use rig::{Backend, Form, Http, Site, httpbin, repository};
use serde_json::{Value, json};

use crate::task::*;

in_both_forms!(simple, mutual);

fn samples() -> PathBuf {
    repository().join("sample-configs/secure-gateway")
}

fn directory(form: Form) -> &'static str {
    match form {
        Form::Istio => "istio",
        Form::GatewayApi => "gateway-api",
    }
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The sample's objects; only the ports on which its backends listen are this test's.
fn site(form: Form) -> Site {
    let site = Site::new();
    for (name, address) in [("httpbin", httpbin()), ("helloworld", Backend::start("v1").address())] {
        let list = read(&samples().join("services").join(name).with_extension("json"));
        for mut object in list["items"].as_array().expect("a List").clone() {
            if object["kind"] == "EndpointSlice" {
                object["ports"][0]["port"] = json!(address.port());
            }
            site.apply(&object);
        }
    }
    for file in fs::read_dir(samples().join(directory(form))).expect("it is there") {
        site.apply(&read(&file.expect("it can be read").path()));
    }
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site
}

fn simple(form: Form) {
    let site = site(form);
    let checked = site.check().exits(0);
    only_the_tasks_certificates(&checked.text());
    let gateway = site.run();
    for http in Http::BOTH {
        for (host, path, status) in [
            (HTTPBIN, "/status/418", 418),
            (HTTPBIN, "/delay/0", 200),
            (HTTPBIN, "/headers", 404),
            (HELLOWORLD, "/hello", 200),
            (HELLOWORLD, "/", 404),
        ] {
            gateway.curl(host, path).ca(ca()).http(http).answers(status);
        }
    }
}

fn mutual(form: Form) {
    let site = site(form);
    site.apply(&read(&samples().join("mutual").join(directory(form)).with_extension("json")));
    site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    let gateway = site.run();
    for http in Http::BOTH {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).fails(56, "certificate required");
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).http(http).client(&client()).answers(418);
        gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(http).answers(200);
    }
}

/// What `make run` reads names only what is there.
#[test]
fn the_bootstrap_file_names_what_is_there() {
    let bootstrap = read(&samples().join("sekisho.json"));
    for resource in bootstrap["resources"].as_array().expect("a list") {
        let path = samples().join(resource.as_str().expect("a path"));
        assert!(path.is_dir(), "{}", path.display());
    }
}
