//! Kubernetes Ingress (`networking.k8s.io/v1`) as a dialect of the gateway, written as an example: docs/plugins.md walks
//! through it.
//!
//! From left to right, each part reading only what stands before it:
//! `objects` (as written) → `classes` (which Ingresses are ours) → `site` with `paths` and `backends` (what they come to
//! together). This file is the plugin that the gateway sees.

mod backends;
mod classes;
mod objects;
mod paths;
mod site;

use sekisho_sdk::model::Translation;
use sekisho_sdk::objects::{finding, read};
use sekisho_sdk::table::Table;
use sekisho_sdk::{Description, Environment, Finding, Kind, Object, ObjectKey, Outcome, RoutePlugin, Severity, Status};
use serde_json::json;

use backends::Backends;
use classes::Classes;
use objects::{GROUP, IngressSpec, Typed};
use site::Site;

/// The dialect, and what one translation leaves behind for its reports: the Ingresses that are ours.
#[derive(Debug)]
pub struct Ingress {
    ours: Vec<ObjectKey>,
}

impl RoutePlugin for Ingress {
    // Hosts and paths, in the order that we say: the SDK's table answers requests.
    type Router = Table;

    fn describe() -> Description {
        let kind = |group, kind| Kind::new(group, kind, &["v1"]);
        let reads = vec![kind(GROUP, "Ingress"), kind(GROUP, "IngressClass"), kind("", "Service")];
        Description { dialect: "ingress".to_owned(), reads, config_schema: None }
    }

    fn translate(environment: Environment, objects: Vec<Object>) -> Result<(Translation, Self), Vec<Finding>> {
        let mut findings = Vec::new();
        if !["null", "{}"].contains(&environment.config.as_str()) {
            let plugin = ObjectKey::new("", "Plugin", "", "ingress");
            let message = "this plugin has no configuration";
            findings.push(finding(Severity::Warning, "unknown-config", &plugin, "config", message).remedy("remove it"));
        }
        let classes = Classes::read(&objects, &environment, &mut findings);
        let backends = Backends::read(&objects, &mut findings);
        let mut ingresses = Vec::new();
        for object in objects.iter().filter(|object| is(object, GROUP, "Ingress")) {
            if classes.own(object, &mut findings)
                && let Some(ingress) = read::<Typed<IngressSpec>>(object, &mut findings)
            {
                ingresses.push((&object.key, ingress));
            }
        }
        ingresses.sort_by_key(|(key, ingress)| age(key, ingress));
        // The oldest first: it has what is claimed twice.
        let mut site = Site::new(backends, findings);
        for (key, ingress) in &ingresses {
            site.add(key, &ingress.spec);
        }
        let ours = ingresses.into_iter().map(|(key, _)| key.clone()).collect();
        Ok((site.finish(), Self { ours }))
    }

    fn report(&self, outcome: &Outcome) -> Vec<Status> {
        let addresses = outcome.bindings.iter().flatten().flatten();
        let points: Vec<_> = addresses.map(|address| json!({ "ip": address })).collect();
        let json = json!({ "loadBalancer": { "ingress": points } }).to_string();
        self.ours.iter().map(|object| Status { object: object.clone(), json: json.clone() }).collect()
    }
}

fn is(object: &Object, group: &str, kind: &str) -> bool {
    object.key.group == group && object.key.kind == kind
}

/// What the oldest has the least of. One that was never in a cluster has no time, and is younger than all that were.
fn age(key: &ObjectKey, ingress: &Typed<IngressSpec>) -> (bool, Option<String>, String, String) {
    let created = ingress.metadata.creation_timestamp.clone();
    (created.is_none(), created, key.namespace.clone(), key.name.clone())
}

/// The index of what is pushed next.
fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("fewer entries than bytes of memory")
}

sekisho_sdk::export_routes!(Ingress);
