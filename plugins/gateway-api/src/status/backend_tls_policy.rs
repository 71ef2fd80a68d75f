//! `BackendTLSPolicy.status`: one entry for each Gateway of ours whose routes lead to what the policy is about.

use std::collections::{BTreeMap, BTreeSet};

use sekisho_sdk::{ObjectKey, Outcome, Status};
use serde::Serialize;

use super::condition::{self, Condition, Rendered};
use super::route::RouteStatus;
use super::source::Look;
use crate::finding::Problem;
use crate::gateways::Gateway;
use crate::listeners::frontend::NO_AUTHORITY;
use crate::policies::Policy;
use crate::translate::GatewayApi;

/// The API takes no more of them.
const MOST_ANCESTORS: usize = 16;

#[derive(Serialize)]
struct PolicyStatus<'p> {
    ancestors: Vec<Ancestor<'p>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ancestor<'p> {
    ancestor_ref: AncestorRef<'p>,
    controller_name: &'p str,
    conditions: Vec<Rendered<'p>>,
}

#[derive(Serialize)]
struct AncestorRef<'p> {
    group: &'p str,
    kind: &'p str,
    namespace: &'p str,
    name: &'p str,
}

/// Which Gateways use which policy, both by index.
pub(super) type Used = BTreeMap<usize, BTreeSet<usize>>;

/// What the routes that are attached lead to.
pub(super) fn used(plugin: &GatewayApi, routes: &[RouteStatus<'_>]) -> Used {
    let mut used = Used::new();
    if plugin.concerns.is_empty() {
        return used;
    }
    for route in routes {
        let clusters = route.clusters().filter_map(|cluster| plugin.concerns.get(&cluster));
        let policies: BTreeSet<_> = clusters.flatten().copied().collect();
        for policy in policies {
            used.entry(policy).or_default().extend(route.places().into_iter().map(|(gateway, _)| gateway));
        }
    }
    used
}

/// The status of policy `index`; none where neither a Gateway of ours uses it nor did one before.
pub(super) fn render(plugin: &GatewayApi, index: usize, used: &Used, outcome: &Outcome) -> Option<Status> {
    let policy = &plugin.policies[index];
    let gateways: Vec<&Gateway> =
        used.get(&index).into_iter().flatten().map(|gateway| &plugin.gateways[*gateway]).collect();
    if gateways.is_empty() {
        return None;
    }
    let emitted = plugin.trust.get(&index).map_or(&[][..], Vec::as_slice);
    let conditions = conditions(policy, emitted, outcome);
    let ancestors = gateways.iter().take(MOST_ANCESTORS).map(|gateway| Ancestor {
        ancestor_ref: AncestorRef::of(&gateway.key),
        controller_name: &plugin.controller,
        conditions: condition::render(&conditions, policy.generation),
    });
    Some(Status::new(&policy.key, &PolicyStatus { ancestors: ancestors.collect() }))
}

impl<'p> AncestorRef<'p> {
    fn of(ObjectKey { group, kind, namespace, name }: &'p ObjectKey) -> Self {
        Self { group, kind, namespace, name }
    }
}

fn conditions<'p>(policy: &'p Policy, emitted: &[u32], outcome: &Outcome) -> Vec<Condition<'p>> {
    let refused = |problem: &'p Problem| Condition::fails("Accepted", problem.reason, problem.message.as_str());
    if let Some(problem) = policy.conflict.as_ref().or(policy.invalid.as_ref()) {
        // What it refers to is not looked at.
        return vec![refused(problem)];
    }
    let looks = policy.trust.iter().zip(emitted);
    let looks: Vec<_> =
        looks.map(|(source, index)| Look::at(source, *index, "InvalidCACertificateRef", outcome)).collect();
    let missing: Vec<_> = looks.iter().filter_map(|look| look.problem.as_ref()).collect();
    let unresolved: Vec<_> = policy.unresolved.iter().chain(missing).collect();
    // The last good content of one that was good before vouches on, but the policy is not what it should be.
    let sound = looks.iter().any(|look| look.serves && look.problem.is_none());
    let accepted = if let Some(problem) = policy.missing() {
        refused(problem)
    } else if sound || (emitted.is_empty() && policy.unresolved.is_empty()) {
        Condition::holds("Accepted", "Accepted", "The policy is accepted.")
    } else {
        Condition::fails("Accepted", NO_AUTHORITY, condition::sentences(&unresolved))
    };
    vec![accepted, Condition::resolved_refs(&unresolved)]
}
