//! The `.status` of our objects, from the values that made the table and from what became of them in the host.

mod backend_tls_policy;
mod condition;
mod gateway;
mod gateway_class;
mod listener;
mod listener_set;
mod route;
mod source;

use std::collections::HashMap;

use sekisho_sdk::{Outcome, Status};

use self::gateway::GatewayStatus;
use self::route::RouteStatus;
use crate::attachment::Place;
use crate::translate::GatewayApi;

/// The statuses of all GatewayClasses, Gateways, ListenerSets and routes that are ours, and of policies for what they
/// lead to.
pub(crate) fn report(plugin: &GatewayApi, outcome: &Outcome) -> Vec<Status> {
    let refused = Refused::of(outcome);
    let routes: Vec<_> = plugin.routes.iter().map(|route| RouteStatus::of(route, &refused)).collect();
    let mut attached: HashMap<Place, u32> = HashMap::new();
    for place in routes.iter().flat_map(RouteStatus::places) {
        *attached.entry(place).or_default() += 1;
    }
    let classes = plugin.classes.iter().map(|class| gateway_class::render(class, plugin.host));
    let gateways = plugin.gateways.iter().enumerate().flat_map(|(index, gateway)| {
        let attached = |listener| attached.get(&(index, listener)).copied().unwrap_or(0);
        GatewayStatus::of(gateway, outcome, attached).render()
    });
    let used = backend_tls_policy::used(plugin, &routes);
    let policies =
        (0..plugin.policies.len()).filter_map(|index| backend_tls_policy::render(plugin, index, &used, outcome));
    let routes = routes.iter().map(|route| route.render(&plugin.controller));
    classes.chain(gateways).chain(routes).chain(policies).collect()
}

/// What the host refused, by index in the translation.
struct Refused<'o> {
    routes: HashMap<u32, &'o str>,
    clusters: HashMap<u32, &'o str>,
}

impl<'o> Refused<'o> {
    fn of(outcome: &'o Outcome) -> Self {
        let by_index = |list: &'o [(u32, String)]| list.iter().map(|(index, why)| (*index, why.as_str())).collect();
        Self { routes: by_index(&outcome.refused_routes), clusters: by_index(&outcome.refused_clusters) }
    }
}
