//! Semantic cases (`tests/cases/`), each run natively and through the sandbox, and the property that the two agree with
//! a naive reading of the rules; and that what `deploy/` grants is what they read.

mod case;
mod cluster;
mod deploy;
mod property;
mod rows;
mod run;
mod secrets;
mod subject;

use subject::{InSandbox, Native, Subject, built_in, engine, in_a_file};

fn check(plugin: &str, mut subject: impl Subject) {
    let cases = case::read_all(plugin);
    let mut failed = Vec::new();
    for case in &cases {
        let differences = run::run(case, &mut subject);
        if !differences.is_empty() {
            failed.push(format!("{}:\n    {}", case.path.display(), differences.join("\n    ")));
        }
    }
    assert!(failed.is_empty(), "{} of {} cases differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn istio_natively() {
    check("istio", Native::<sekisho_istio::Istio>::new());
}

#[test]
fn istio_in_the_sandbox() {
    check("istio", InSandbox::new(&engine(), built_in("istio")));
}

#[test]
fn gateway_api_natively() {
    check("gateway-api", Native::<sekisho_gateway_api::GatewayApi>::new());
}

#[test]
fn gateway_api_in_the_sandbox() {
    check("gateway-api", InSandbox::new(&engine(), built_in("gateway-api")));
}

#[test]
fn ingress_natively() {
    check("ingress", Native::<sekisho_ingress::Ingress>::new());
}

#[test]
fn ingress_in_the_sandbox() {
    check("ingress", InSandbox::new(&engine(), in_a_file("ingress")));
}

#[test]
fn kubernetes_secrets_natively() {
    secrets::check("kubernetes-secrets", &secrets::Native::<sekisho_kubernetes_secrets::KubernetesSecrets>::new());
}

#[test]
fn kubernetes_secrets_in_the_sandbox() {
    secrets::check("kubernetes-secrets", &secrets::InSandbox::new(&engine(), "kubernetes-secrets"));
}
