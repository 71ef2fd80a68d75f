//! Semantic cases (`tests/cases/`), each run natively and through the sandbox, and the property that the two agree with
//! a naive reading of the rules.

mod case;
mod cluster;
mod property;
mod run;
mod subject;

use subject::{InSandbox, Native, Subject};

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
    check("istio", InSandbox::new(&subject::engine(), "istio"));
}

#[test]
fn gateway_api_natively() {
    check("gateway-api", Native::<sekisho_gateway_api::GatewayApi>::new());
}

#[test]
fn gateway_api_in_the_sandbox() {
    check("gateway-api", InSandbox::new(&subject::engine(), "gateway-api"));
}
