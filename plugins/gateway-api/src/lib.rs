//! The Kubernetes Gateway API as a dialect of the gateway: Gateways, ListenerSets and routes (v1), in the shape of v1.6.
//!
//! ```text
//!  objects ─ snapshot ─ classes ─ gateways ─ listeners ───────────────┐
//!                             (listener_sets)     (tls, conflicts)    ├─ translate ─ Translation + table
//!                         attachment ─ routes ─ rules, streams ─ table┤
//!              (precedence, matches, filters, backends ← policies)    │
//!                                             clusters ← policies ────┴─ status (from the same values)
//! ```
//!
//! This file is the export only. What a condition says and what a request meets come from the same values: where a
//! listener does not accept a route, its table has no row of it. What is not served is refused by name.

mod attachment;
mod backends;
mod classes;
mod client_certificate;
mod clusters;
mod duration;
mod features;
mod field;
mod filters;
mod finding;
mod gateways;
mod grants;
mod host;
mod hostname;
mod infrastructure;
mod kinds;
mod listener_sets;
mod listeners;
mod matches;
mod objects;
mod policies;
mod precedence;
mod routes;
mod rules;
mod selector;
mod snapshot;
mod status;
mod streams;
mod table;
mod translate;

#[cfg(test)]
mod tests;

use sekisho_sdk::{Description, Environment, Finding, Kind, Object, Outcome, RoutePlugin, Status, model::Translation};

pub use translate::GatewayApi;

impl RoutePlugin for GatewayApi {
    type Router = sekisho_sdk::table::Table;

    fn describe() -> Description {
        let served = ["v1", "v1beta1"];
        Description {
            dialect: "gateway-api".to_owned(),
            reads: vec![
                Kind::new(objects::GROUP, "GatewayClass", &served),
                Kind::new(objects::GROUP, "Gateway", &served),
                Kind::new(objects::GROUP, "ListenerSet", &["v1"]),
                Kind::new(objects::GROUP, "HTTPRoute", &served),
                Kind::new(objects::GROUP, "GRPCRoute", &["v1"]),
                Kind::new(objects::GROUP, "TLSRoute", &["v1"]),
                Kind::new(objects::GROUP, "TCPRoute", &["v1"]),
                Kind::new(objects::GROUP, "UDPRoute", &["v1"]),
                Kind::new(objects::GROUP, "ReferenceGrant", &served),
                Kind::new(objects::GROUP, "BackendTLSPolicy", &["v1"]),
                Kind::new("", "Service", &["v1"]),
                Kind::new("", "Namespace", &["v1"]),
            ],
            config_schema: None,
        }
    }

    fn translate(environment: Environment, objects: Vec<Object>) -> Result<(Translation, Self), Vec<Finding>> {
        Ok(translate::translate(&environment, objects))
    }

    fn report(&self, outcome: &Outcome) -> Vec<Status> {
        status::report(self, outcome)
    }
}

sekisho_sdk::export_routes!(GatewayApi);
