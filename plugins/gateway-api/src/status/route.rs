//! The status of a route: one entry for each `parentRef` that means one of our Gateways or ListenerSets.

use std::collections::BTreeSet;

use sekisho_sdk::Status;
use serde::Serialize;

use super::Refused;
use super::condition::{self, Condition, Rendered, sentences};
use crate::attachment::{Parent, Place};
use crate::finding::Problem;
use crate::objects::route::ParentRef;
use crate::routes::{PlacedRoute, RouteState};
use crate::rules::{Placed, RuleState};

/// What became of one route.
pub(super) struct RouteStatus<'r> {
    route: &'r RouteState,
    rules: &'r [Placed],
    /// The rules that are dropped, and why: found by us, or by the host.
    dropped: Vec<(&'r str, Vec<Problem>)>,
    unresolved: Vec<Problem>,
}

#[derive(Serialize)]
struct RenderedRoute<'r> {
    parents: Vec<ParentStatus<'r>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ParentStatus<'r> {
    parent_ref: &'r ParentRef,
    controller_name: &'r str,
    conditions: Vec<Rendered<'r>>,
}

impl<'r> RouteStatus<'r> {
    pub(super) fn of(PlacedRoute { state, rules }: &'r PlacedRoute, refused: &Refused<'_>) -> Self {
        let dropped = state.rules.iter().zip(rules).filter_map(|(rule, placed)| {
            let problems = dropped(rule, placed, refused);
            (!problems.is_empty()).then_some((rule.label.as_str(), problems))
        });
        let unresolved = state.rules.iter().zip(rules).flat_map(|(rule, placed)| unresolved(rule, placed, refused));
        Self { route: state, rules, dropped: dropped.collect(), unresolved: unresolved.collect() }
    }

    /// The listeners that the route is attached to and accepted by.
    pub(super) fn places(&self) -> BTreeSet<Place> {
        let accepted = self.route.parents.iter().filter(|_| !self.is_invalid());
        accepted.filter_map(|parent| parent.attached.as_ref().ok()).flatten().copied().collect()
    }

    /// The clusters that its rules lead to.
    pub(super) fn clusters(&self) -> impl Iterator<Item = u32> {
        self.rules.iter().flat_map(|rule| rule.clusters.iter().copied())
    }

    pub(super) fn render(&self, controller: &str) -> Status {
        let conditions: Vec<_> = self.route.parents.iter().map(|parent| self.conditions(parent)).collect();
        let parents = self.route.parents.iter().zip(&conditions).map(|(parent, conditions)| ParentStatus {
            parent_ref: &parent.reference,
            controller_name: controller,
            conditions: condition::render(conditions, self.route.generation),
        });
        Status::new(&self.route.object.key, &RenderedRoute { parents: parents.collect() })
    }

    /// Whether not one rule is left.
    fn is_invalid(&self) -> bool {
        self.dropped.len() == self.route.rules.len() && !self.dropped.is_empty()
    }

    fn conditions<'s>(&'s self, parent: &'s Parent) -> Vec<Condition<'s>> {
        let accepted = match (&parent.attached, self.dropped.first()) {
            (Err(problem), _) => Condition::fails("Accepted", problem.reason, problem.message.as_str()),
            (Ok(_), Some((_, problems))) if self.is_invalid() => {
                let reason = problems.first().map_or("UnsupportedValue", |problem| problem.reason);
                Condition::fails("Accepted", reason, format!("no rule is left: {}", self.reasons()))
            }
            (Ok(_), _) => Condition::holds("Accepted", "Accepted", "The route is accepted."),
        };
        let partially = accepted.is_true() && !self.dropped.is_empty();
        let mut conditions = Vec::with_capacity(3);
        conditions.extend([accepted, Condition::resolved_refs(&self.unresolved.iter().collect::<Vec<_>>())]);
        if partially {
            let names = self.dropped.iter().map(|(label, _)| *label).collect::<Vec<_>>().join(", ");
            let message = format!("Dropped Rule {names}: {}", self.reasons());
            conditions.push(Condition::holds("PartiallyInvalid", "UnsupportedValue", message));
        }
        conditions
    }

    fn reasons(&self) -> String {
        sentences(&self.dropped.iter().flat_map(|(_, problems)| problems).collect::<Vec<_>>())
    }
}

fn dropped(rule: &RuleState, placed: &Placed, refused: &Refused<'_>) -> Vec<Problem> {
    let by_host = placed.routes().filter_map(|index| refused.routes.get(&index));
    let mut by_host: Vec<_> =
        by_host.map(|why| Problem::new("UnsupportedValue", format!("rule {}: {why}", rule.label))).collect();
    by_host.dedup();
    rule.invalid.iter().chain(&placed.invalid).cloned().chain(by_host).collect()
}

fn unresolved(rule: &RuleState, placed: &Placed, refused: &Refused<'_>) -> Vec<Problem> {
    let by_host = placed.clusters.iter().filter_map(|index| refused.clusters.get(index));
    let by_host = by_host.map(|why| Problem::new("UnsupportedProtocol", format!("rule {}: {why}", rule.label)));
    rule.unresolved.iter().cloned().chain(by_host).collect()
}
