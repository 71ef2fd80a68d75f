//! The commands that look at a configuration without serving it, where that is in a cluster.

use std::process::Command;
use std::time::Instant;

use rig::{Calls, Finished, Form};
use serde_json::json;

use super::*;

#[test]
fn check_reads_the_cluster_and_writes_nothing() {
    let world = World::with_httpbin(Form::GatewayApi);
    let checked = world.site.check().exits(0);
    assert!(checked.text().contains("0 errors"), "{checked}");
    world.cluster.delete("secrets", "istio-system", "httpbin-credential");
    world.site.check().exits(1).says(&["istio-system/mygateway", "httpbin-credential"]);
    let mut route = Form::GatewayApi.route(&Route::httpbin());
    route["spec"]["rules"][0]["backendRefs"][0]["name"] = json!("nowhere");
    world.cluster.apply(&route);
    world.site.check().exits(1).says(&["default/httpbin", "nowhere"]);
    let written = world.cluster.requests_since(0, &Calls::of("create update patch delete", "*"));
    assert!(written.is_empty(), "{}", written[0].line());
}

#[test]
fn explain_reads_the_cluster() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.site.explain(&["https://httpbin.example.com/status/418"]).exits(0).says(&["default/httpbin"]);
}

/// Without a bootstrap file, as in a pod; here KUBECONFIG says where the cluster is.
#[test]
fn no_file_is_needed() {
    let world = World::with_httpbin(Form::GatewayApi);
    let empty = tempfile::tempdir().expect("a temporary directory");
    let check = |arguments: &[&str]| {
        let mut command = Command::new(rig::program());
        command.current_dir(empty.path()).env("KUBECONFIG", world.cluster.kubeconfig_of("sekisho"));
        Finished::of(command.arg("check").args(arguments))
    };
    // Not every user may bind port 443.
    assert!(!check(&["--kubernetes"]).text().contains("secret-not-found"));
    world.cluster.delete("secrets", "istio-system", "httpbin-credential");
    check(&["--kubernetes"]).exits(1).says(&["istio-system/mygateway", "httpbin-credential"]);
    check(&[]).exits(1).says(&["sekisho.json"]);
}

#[test]
fn check_says_that_there_is_no_server() {
    let world = World::with_httpbin(Form::GatewayApi);
    world.cluster.stop();
    let start = Instant::now();
    let checked = world.site.check();
    assert_ne!(checked.code, 0, "{checked}");
    checked.says(&["Kubernetes API"]);
    assert!(start.elapsed() < std::time::Duration::from_secs(45), "{:?}", start.elapsed());
}

#[test]
fn a_kubeconfig_that_is_not_there() {
    let world = World::new();
    let kubernetes = json!({ "kubeconfig": "nowhere.yaml" });
    configure(&world.site, &world.cluster, "sekisho", &json!({ "kubernetes": kubernetes }));
    let checked = world.site.check();
    assert_ne!(checked.code, 0, "{checked}");
    checked.says(&["nowhere.yaml", "kubernetes.kubeconfig"]);
}
