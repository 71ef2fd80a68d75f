//! What `deploy/` grants is what the dialects read, and no more; and the bootstrap file that it installs is one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sekisho::bootstrap::{Bootstrap, Published, Resources};
use sekisho_sdk::{Description, RoutePlugin};
use serde::Deserialize;
use serde_json::Value;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

fn text(path: &str) -> String {
    let path = Path::new(DEPLOY).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rules of the ClusterRole that a file begins with.
fn rules(file: &str) -> Vec<Rule> {
    let text = text(&format!("manifests/{file}"));
    let role: Value = serde_saphyr::from_str(text.split("\n---\n").next().unwrap_or_default()).expect("YAML");
    serde_json::from_value(role["rules"].clone()).expect("rules")
}

/// Verbs by resource, of one group.
fn granted(rules: &[Rule], group: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut granted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.api_groups == [group]) {
        for resource in &rule.resources {
            granted.entry(resource.clone()).or_default().extend(rule.verbs.iter().cloned());
        }
    }
    granted
}

/// As the API server names the resources of these kinds.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) if !kind.ends_with("ay") => format!("{stem}ies"),
        _ if kind.ends_with('s') => format!("{kind}es"),
        _ => format!("{kind}s"),
    }
}

fn check(file: &str, group: &str, description: &Description) {
    let granted = granted(&rules(file), group);
    let reads =
        |of: &str| description.reads.iter().filter(|kind| kind.group == of).map(|kind| plural(&kind.kind)).collect();
    let wanted: BTreeSet<String> = reads(group);
    let verbs = |verbs: &[&str]| verbs.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let whole: BTreeSet<String> = granted.keys().filter(|resource| !resource.contains('/')).cloned().collect();
    assert_eq!(whole, wanted, "{file}");
    for (resource, may) in &granted {
        match resource.split_once('/') {
            None => assert_eq!(*may, verbs(&["get", "list", "watch"]), "{resource}"),
            Some((of, part)) => {
                assert!(part == "status" && wanted.contains(of), "{resource}");
                assert_eq!(*may, verbs(&["patch"]), "{resource}");
            }
        }
    }
    let core: BTreeSet<String> = reads("");
    let in_core = self::granted(&rules("rbac-core.yaml"), "");
    assert!(core.iter().all(|resource| in_core.contains_key(resource)), "{core:?}");
}

#[test]
fn the_roles_are_what_the_dialects_read() {
    check("rbac-gateway-api.yaml", "gateway.networking.k8s.io", &sekisho_gateway_api::GatewayApi::describe());
    check("rbac-istio.yaml", "networking.istio.io", &sekisho_istio::Istio::describe());
}

/// The chart has the rules of the manifests, each in its own indentation and with its conditions around them.
#[test]
fn the_chart_grants_what_the_manifests_grant() {
    let plain = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.contains("{{"));
        lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    let chart = plain(&text("helm/sekisho/templates/clusterrole.yaml"));
    for file in [
        "rbac-core.yaml",
        "rbac-gateway-api.yaml",
        "rbac-gateway-services.yaml",
        "rbac-istio.yaml",
        "rbac-secrets.yaml",
    ] {
        let manifest = text(&format!("manifests/{file}"));
        let role = manifest.split("\n---\n").next().unwrap();
        let (_, rules) = role.split_once("\nrules:\n").unwrap();
        for rule in plain(rules).split("\n- ").map(|rule| rule.trim_start_matches("- ")) {
            assert!(chart.contains(rule), "{file} grants this, the chart does not:\n{rule}");
        }
    }
}

/// Rights that reach further than what is read are nobody's who did not ask for them.
#[test]
fn services_are_written_only_where_that_is_asked_for() {
    let rules = rules("rbac-gateway-services.yaml");
    let verbs: BTreeSet<String> = ["create", "delete", "patch"].map(str::to_owned).into();
    for (group, resource) in [("", "services"), ("discovery.k8s.io", "endpointslices")] {
        assert_eq!(granted(&rules, group), BTreeMap::from([(resource.to_owned(), verbs.clone())]));
    }
    assert_eq!(rules.len(), 2);
    let kustomization: Value = serde_saphyr::from_str(&text("manifests/kustomization.yaml")).unwrap();
    let installed = kustomization["resources"].as_array().unwrap();
    assert!(!installed.iter().any(|file| file == "rbac-gateway-services.yaml"), "{installed:?}");
    let bootstrap = Bootstrap::read(&Path::new(DEPLOY).join("manifests/sekisho.json")).unwrap();
    assert!(!bootstrap.gateway.services);
    let values: Value = serde_saphyr::from_str(&text("helm/sekisho/values.yaml")).unwrap();
    assert_eq!(values["gatewayServices"], false);
}

#[test]
fn the_bootstrap_file_is_one_and_fits_the_deployment() {
    let bootstrap = Bootstrap::read(&Path::new(DEPLOY).join("manifests/sekisho.json")).unwrap();
    assert!(matches!(bootstrap.resources, Resources::Kubernetes(_)));
    let service = Published::Service { namespace: "sekisho-system".to_owned(), name: "sekisho".to_owned() };
    assert_eq!(bootstrap.gateway.published, service);
    let deployment: Value = serde_saphyr::from_str(&text("manifests/deployment.yaml")).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let ports: BTreeSet<u64> = pod["containers"][0]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|port| port["containerPort"].as_u64())
        .collect();
    let probes = bootstrap.probes.map(|probes| u64::from(probes.port()));
    let bound = bootstrap.ports.values().map(|port| u64::from(*port)).chain(probes).collect();
    assert_eq!(ports, bound);
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let sleeps = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(grace > sleeps + bootstrap.limits.drain_timeout.as_secs());
}
