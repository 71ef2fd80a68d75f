//! The dialect as a whole: from objects to a translation, in one direction.

use sekisho_sdk::model::Translation;
use sekisho_sdk::table::{Table, encode};
use sekisho_sdk::{Description, Environment, Finding, Kind, Object, ObjectKey, Outcome, RoutePlugin, Severity, Status};
use serde::Deserialize;

use crate::destination_rule::DestinationRules;
use crate::destinations::Destinations;
use crate::findings::Findings;
use crate::status::Reports;
use crate::virtual_service::Scope;
use crate::{gateway, listeners, meeting, routes, virtual_service};

const GROUP: &str = "networking.istio.io";

/// Istio's ingress gateway: Gateway, VirtualService, DestinationRule and ServiceEntry.
#[derive(Debug)]
pub struct Istio(Reports);

/// The plugin's `config` in the bootstrap file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Config {
    cluster_domain: String,
    root_namespace: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { cluster_domain: "cluster.local".to_owned(), root_namespace: "istio-system".to_owned() }
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
        let kind = |group: &str, kind: &str, versions: &[&str]| Kind {
            group: group.to_owned(),
            kind: kind.to_owned(),
            versions: versions.iter().map(|version| (*version).to_owned()).collect(),
        };
        let istio = |name| kind(GROUP, name, &["v1", "v1beta1", "v1alpha3"]);
        Description {
            dialect: "istio".to_owned(),
            reads: vec![
                istio("Gateway"),
                istio("VirtualService"),
                istio("DestinationRule"),
                istio("ServiceEntry"),
                kind("", "Service", &["v1"]),
            ],
            config_schema: Some(CONFIG_SCHEMA.to_owned()),
        }
    }

    fn translate(environment: Environment, objects: Vec<Object>) -> Result<(Translation, Self), Vec<Finding>> {
        let config = config(&environment.config)?;
        let objects = sort(objects);
        let mut findings = Findings::default();
        let gateways = gateway::read_all(&objects.gateways, &environment, &mut findings);
        let domain = &config.cluster_domain;
        let rules = DestinationRules::read(&objects.rules, &environment, domain, &config.root_namespace, &mut findings);
        let mut destinations =
            Destinations::read(&objects.services, &objects.entries, rules, &environment, domain, &mut findings);
        let scope = Scope {
            environment: &environment,
            domain,
            gateways: &objects.gateways.iter().map(|object| path(&object.key)).collect(),
            ours: &gateways.iter().map(|gateway| gateway.name.clone()).collect(),
        };
        let services = virtual_service::read_all(&objects.virtual_services, &scope, &mut destinations, &mut findings);
        meeting::report(&gateways, &services, &mut findings);
        let mut listeners = listeners::place(&gateways, &mut destinations.sources, &mut findings);
        let routes = routes::build(&gateways, &mut listeners, &services, &mut destinations, &mut findings);
        let findings = findings.into_list();
        let given = [&objects.gateways[..], &objects.virtual_services];
        let reports = Reports::new(&gateways, &services, &listeners, &routes, &destinations, &given, &findings);
        let translation = Translation {
            bindings: listeners.bindings,
            listeners: listeners.listeners,
            sources: destinations.sources.into_list(),
            clusters: destinations.clusters,
            routes: routes.routes,
            streams: Vec::new(),
            findings,
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
    config.map(Option::unwrap_or_default).map_err(|error| {
        let object = ObjectKey::new("", "Plugin", "", "istio");
        vec![Finding {
            severity: Severity::Error,
            code: "invalid-config".to_owned(),
            origin: object.at("config"),
            message: error.to_string(),
            remedy: "the plugin knows `clusterDomain` and `rootNamespace`".to_owned(),
        }]
    })
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
