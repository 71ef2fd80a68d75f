//! Kubernetes Ingress (`networking.k8s.io/v1`) as a dialect of the gateway, written as an example: docs/plugins.md walks
//! through it.
//!
//! From left to right, each part reading only what stands before it:
//! `objects` (as written) → `classes` (which Ingresses are ours) → `site` with `paths` (what they come to together). This
//! file is the plugin that the gateway sees.

mod classes;
mod objects;
mod paths;
mod site;

use std::collections::BTreeMap;

use sekisho_sdk::model::Translation;
use sekisho_sdk::table::Table;
use sekisho_sdk::{
    Description, Environment, Finding, Kind, Object, ObjectKey, Outcome, RoutePlugin, Services, Status, Typed,
};
use serde_json::json;

use classes::Classes;
use objects::{GROUP, IngressSpec};
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
        let mut findings = Vec::from_iter(environment.unknown_config("ingress"));
        let classes = Classes::read(&objects, &environment, &mut findings);
        let services = Services::read(&objects, &mut findings);
        // In this order, as the oldest has what is claimed twice.
        let mut ingresses = BTreeMap::new();
        for object in objects.iter().filter(|object| object.key.is(GROUP, "Ingress")) {
            if classes.own(object, &mut findings)
                && let Some(ingress) = Typed::<IngressSpec>::read(object, &mut findings)
            {
                ingresses.insert((ingress.age(), &object.key), ingress);
            }
        }
        let mut site = Site::new(services, findings);
        for ((_, key), ingress) in &ingresses {
            site.add(key, &ingress.spec);
        }
        let ours = ingresses.into_keys().map(|(_, key)| key.clone()).collect();
        Ok((site.finish(), Self { ours }))
    }

    fn report(&self, outcome: &Outcome) -> Vec<Status> {
        let addresses = outcome.bindings.iter().flatten().flatten();
        let points: Vec<_> = addresses.map(|address| json!({ "ip": address })).collect();
        let status = json!({ "loadBalancer": { "ingress": points } });
        self.ours.iter().map(|object| Status::new(object, &status)).collect()
    }
}

sekisho_sdk::export_routes!(Ingress);
