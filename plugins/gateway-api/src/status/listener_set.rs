//! `ListenerSet.status`.

use sekisho_sdk::Status;
use serde::Serialize;

use super::condition::{self, Condition, Rendered};
use super::gateway::names;
use super::listener::{ListenerStatus, RenderedListener};
use crate::listener_sets::ListenerSet;

/// What became of a ListenerSet.
pub(super) struct ListenerSetStatus<'s> {
    set: &'s ListenerSet,
    listeners: Vec<ListenerStatus<'s>>,
    accepted: Condition<'s>,
    programmed: Condition<'s>,
}

#[derive(Serialize)]
struct RenderedListenerSet<'s> {
    conditions: Vec<Rendered<'s>>,
    listeners: Vec<RenderedListener<'s>>,
}

impl<'s> ListenerSetStatus<'s> {
    /// The status, with its listeners and what became of its Gateway.
    pub(super) fn of(
        set: &'s ListenerSet,
        listeners: Vec<ListenerStatus<'s>>,
        gateway_refused: bool,
        gateway_programmed: bool,
        live: bool,
    ) -> Self {
        let accepted = accepted(set, &listeners, gateway_refused);
        let programmed = if !accepted.is_true() {
            Condition::fails("Programmed", accepted.reason(), "the ListenerSet is not accepted")
        } else if listeners.iter().any(ListenerStatus::is_programmed) {
            match names(listeners.iter().filter(|listener| !listener.is_programmed())).as_str() {
                "" => Condition::holds("Programmed", "Programmed", "All listeners serve."),
                idle => Condition::holds("Programmed", "Programmed", format!("all listeners serve but these: {idle}")),
            }
        } else if !live {
            Condition::fails("Programmed", "Pending", "not every worker serves this generation yet")
        } else if !gateway_programmed {
            Condition::fails("Programmed", "ParentNotProgrammed", "the Gateway is not programmed")
        } else {
            let idle = names(listeners.iter());
            Condition::fails("Programmed", "ListenersNotValid", format!("no listener serves: {idle}"))
        };
        Self { set, listeners, accepted, programmed }
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.accepted.is_true()
    }

    pub(super) fn render(&self) -> Status {
        let generation = self.set.generation;
        let rendered = RenderedListenerSet {
            conditions: condition::render([&self.accepted, &self.programmed], generation),
            listeners: self.listeners.iter().map(|listener| listener.render(generation)).collect(),
        };
        Status::new(&self.set.key, &rendered)
    }
}

fn accepted<'s>(set: &'s ListenerSet, listeners: &[ListenerStatus<'_>], gateway_refused: bool) -> Condition<'s> {
    if let Some(problem) = &set.refused {
        return Condition::fails("Accepted", problem.reason, problem.message.as_str());
    }
    let bad = names(listeners.iter().filter(|listener| !listener.is_accepted()));
    // Unlike a Gateway, a set is not accepted either where certificates are all that its listeners lack.
    if listeners.iter().all(|listener| !listener.is_valid()) {
        let message = match listeners {
            [] => "there is no listener".to_owned(),
            _ => format!("no listener can serve: {}", names(listeners.iter())),
        };
        return Condition::fails("Accepted", "ListenersNotValid", message);
    }
    if gateway_refused {
        return Condition::fails("Accepted", "ParentNotAccepted", "the Gateway is not accepted");
    }
    match bad.as_str() {
        "" => Condition::holds("Accepted", "Accepted", "All listeners are accepted."),
        bad => Condition::holds("Accepted", "ListenersNotValid", format!("these listeners are not accepted: {bad}")),
    }
}
