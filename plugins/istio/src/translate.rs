//! The dialect as a whole: from objects to a translation, in one direction.

use sekisho_sdk::model::Translation;
use sekisho_sdk::table::{Table, encode};
use sekisho_sdk::{Description, Environment, Finding, Kind, Object, ObjectKey, Outcome, RoutePlugin, Status};
use serde::Deserialize;

use crate::bound::Bound;
use crate::destination_rule::DestinationRules;
use crate::destinations::Destinations;
use crate::findings::Findings;
use crate::routes::Places;
use crate::status::{Reports, Served};
use crate::tenancy::{Tenant, Tenants};
use crate::virtual_service::Scope;
use crate::{analysis, gateway, listeners, meeting, routes, streams, virtual_service};

const GROUP: &str = "networking.istio.io";

/// Istio's ingress gateway: Gateway, VirtualService, DestinationRule and ServiceEntry.
#[derive(Debug)]
pub struct Istio(Reports);

/// The plugin's `config` in the bootstrap file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Config {
    cluster_domain: String,
    tenants: Option<Vec<Tenant>>,
    root_namespace: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { cluster_domain: "cluster.local".to_owned(), root_namespace: "istio-system".to_owned(), tenants: None }
    }
}

const CONFIG_SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "clusterDomain": {
      "type": "string",
      "default": "cluster.local",
      "description": "What short names of Services end in, after `.svc.`."
    },
    "rootNamespace": {
      "type": "string",
      "default": "istio-system",
      "description": "Whose DestinationRules count for hosts that have none in their own namespace."
    },
    "tenants": {
      "type": "array",
      "description": "Which namespaces may claim which hosts and ports. Without it, every one may claim all of them.",
      "items": {
        "type": "object",
        "additionalProperties": false,
        "required": ["namespaces", "hosts"],
        "properties": {
          "namespaces": {
            "type": "array", "items": { "type": "string" }, "description": "`*` is every namespace."
          },
          "hosts": {
            "type": "array", "items": { "type": "string" }, "description": "Names, `*.` and a suffix, or `*`."
          },
          "ports": {
            "type": "array",
            "items": { "type": "integer", "minimum": 0, "maximum": 65535 },
            "description": "Every port when there is none here."
          }
        }
      }
    }
  }
}"#;

/// The objects of one translation by what they are.
#[derive(Default)]
struct Sorted {
    gateways: Vec<Object>,
    virtual_services: Vec<Object>,
    entries: Vec<Object>,
    rules: Vec<Object>,
    services: Vec<Object>,
}

impl RoutePlugin for Istio {
    type Router = Table;

    fn describe() -> Description {
        let istio = |name| Kind::new(GROUP, name, &["v1", "v1beta1", "v1alpha3"]);
        Description {
            dialect: "istio".to_owned(),
            reads: vec![
                istio("Gateway"),
                istio("VirtualService"),
                istio("DestinationRule"),
                istio("ServiceEntry"),
                Kind::new("", "Service", &["v1"]),
            ],
            config_schema: Some(CONFIG_SCHEMA.to_owned()),
        }
    }

    fn translate(environment: Environment, objects: Vec<Object>) -> Result<(Translation, Self), Vec<Finding>> {
        let Config { cluster_domain: domain, root_namespace, tenants } = config(&environment.config)?;
        let tenants = Tenants::read(tenants).map_err(invalid_config)?;
        let objects = sort(objects);
        let mut findings = Findings::default();
        let gateways = gateway::read_all(&objects.gateways, &environment, &tenants, &mut findings);
        let rules = DestinationRules::read(&objects.rules, &environment, &domain, &root_namespace, &mut findings);
        let mut destinations =
            Destinations::read(&objects.services, &objects.entries, rules, &environment, &domain, &mut findings);
        let scope = Scope {
            environment: &environment,
            domain: &domain,
            tenants: &tenants,
            gateways: &objects.gateways.iter().map(|object| path(&object.key)).collect(),
            ours: &gateways.iter().map(|gateway| gateway.name.clone()).collect(),
        };
        let services = virtual_service::read_all(&objects.virtual_services, &scope, &mut destinations, &mut findings);
        let mut listeners = listeners::place(&gateways, &mut destinations.sources, &mut findings);
        let bound = Bound::of(&services.bound);
        let mut places =
            Places { gateways: &gateways, bound: &bound, tenants: &tenants, destinations: &mut destinations };
        let mut routes = routes::build(&mut places, &mut listeners, &services.bound, &mut findings);
        let streams = streams::build(&mut places, &listeners, &services.bound, &mut routes.tables, &mut findings);
        meeting::report(&gateways, &services.bound, &mut findings);
        let findings = findings.into_list();
        let given = [&objects.gateways[..], &objects.virtual_services];
        let served = Served { listeners: &listeners, routes: &routes, streams: &streams, destinations: &destinations };
        let reports = Reports::new(&gateways, &services, &served, &given, &findings);
        let translation = Translation {
            bindings: listeners.bindings,
            listeners: listeners.listeners,
            sources: destinations.sources.into_list(),
            clusters: destinations.clusters,
            routes: routes.routes,
            streams: streams.routes,
            findings: findings.into_iter().map(analysis::with_code).collect(),
            table: encode(&routes.tables),
        };
        Ok((translation, Self(reports)))
    }

    fn report(&self, outcome: &Outcome) -> Vec<Status> {
        self.0.render(outcome)
    }
}

/// The plugin's own configuration; a mistake in it stops the translation, because nothing could be trusted.
fn config(json: &str) -> Result<Config, Vec<Finding>> {
    let config: Result<Option<Config>, _> = serde_json::from_str(json);
    config.map(Option::unwrap_or_default).map_err(|error| invalid_config(error.to_string()))
}

fn invalid_config(message: String) -> Vec<Finding> {
    let config = ObjectKey::new("", "Plugin", "", "istio").at("config");
    vec![config.error("invalid-config", message, "the plugin knows `clusterDomain`, `rootNamespace` and `tenants`")]
}

fn sort(objects: Vec<Object>) -> Sorted {
    let mut sorted = Sorted::default();
    for object in objects {
        match (object.key.group.as_str(), object.key.kind.as_str()) {
            (GROUP, "Gateway") => sorted.gateways.push(object),
            (GROUP, "VirtualService") => sorted.virtual_services.push(object),
            (GROUP, "ServiceEntry") => sorted.entries.push(object),
            (GROUP, "DestinationRule") => sorted.rules.push(object),
            ("", "Service") => sorted.services.push(object),
            _ => {}
        }
    }
    sorted
}

fn path(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}
