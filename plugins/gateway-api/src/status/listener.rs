//! `status.listeners[]` of Gateways and ListenerSets: where the spec, the secrets and the sockets meet.

use sekisho_sdk::model::Source;
use sekisho_sdk::{ListenerState, Outcome};
use serde::Serialize;

use super::condition::{self, Condition, Rendered};
use super::source::Look;
use crate::finding::Problem;
use crate::listeners::Listener;
use crate::listeners::frontend::NO_AUTHORITY;
use crate::objects::GROUP;

/// What became of one listener.
pub(super) struct ListenerStatus<'l> {
    listener: &'l Listener,
    attached: u32,
    accepted: Condition<'l>,
    resolved: Condition<'l>,
    programmed: Condition<'l>,
    /// It has no certificate to serve with, where it needs one.
    bare: bool,
    /// Conditions that are there only when they hold.
    others: Vec<Condition<'l>>,
}

/// It as it stands in the status.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RenderedListener<'l> {
    name: &'l str,
    supported_kinds: Vec<RouteGroupKind>,
    attached_routes: u32,
    conditions: Vec<Rendered<'l>>,
}

#[derive(Serialize)]
struct RouteGroupKind {
    group: &'static str,
    kind: &'static str,
}

impl<'l> ListenerStatus<'l> {
    pub(super) fn of(listener: &'l Listener, gateway_refused: bool, attached: u32, outcome: &'l Outcome) -> Self {
        let emitted = listener.emitted.as_ref();
        let state = emitted.and_then(|emitted| outcome.listeners.get(emitted.listener as usize));
        let conflict = match state {
            Some(ListenerState::Conflict(other)) => {
                let message =
                    format!("{} {}/{} has this name on this port already", other.kind, other.namespace, other.name);
                Some(Problem::new("HostnameConflict", message))
            }
            _ => listener.conflict.clone(),
        };
        let secrets = Secrets::of(listener, outcome);
        let accepted = accepted(listener, conflict.clone(), secrets.untrusting, state);
        let unresolved: Vec<_> = listener.unresolved.iter().chain(&secrets.problems).collect();
        let resolved = Condition::resolved_refs(&unresolved);
        let bare = secrets.bare || matches!(state, Some(ListenerState::NoCredential));
        let programmed = if let Some(problem) = &conflict {
            Condition::fails("Programmed", problem.reason, "the listener is not accepted")
        } else if gateway_refused {
            Condition::fails("Programmed", "Invalid", "the Gateway is not accepted")
        } else if !accepted.is_true() {
            Condition::fails("Programmed", "Invalid", "the listener is not accepted")
        } else if bare {
            Condition::fails("Programmed", "Invalid", "there is no certificate to serve with")
        } else if !outcome.live || state.is_none() {
            Condition::fails("Programmed", "Pending", "not every worker serves this generation yet")
        } else {
            Condition::holds("Programmed", "Programmed", "The listener serves.")
        };
        let conflicted = conflict.map(|problem| Condition::holds("Conflicted", problem.reason, problem.message));
        let overlap = listener.overlap.as_ref();
        let overlap =
            overlap.map(|problem| Condition::holds("OverlappingTLSConfig", problem.reason, problem.message.as_str()));
        let others = conflicted.into_iter().chain(overlap).collect();
        Self { listener, attached, accepted, resolved, programmed, bare, others }
    }

    pub(super) fn name(&self) -> &'l str {
        &self.listener.name
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.accepted.is_true()
    }

    /// Whether it can serve as soon as every worker does.
    pub(super) fn is_valid(&self) -> bool {
        self.is_accepted() && !self.bare
    }

    pub(super) fn is_programmed(&self) -> bool {
        self.programmed.is_true()
    }

    pub(super) fn render(&self, generation: i64) -> RenderedListener<'_> {
        let conditions = [&self.accepted, &self.programmed, &self.resolved].into_iter().chain(&self.others);
        let kinds = self.listener.allowed.kinds.iter();
        RenderedListener {
            name: &self.listener.name,
            supported_kinds: kinds.map(|kind| RouteGroupKind { group: GROUP, kind: kind.name() }).collect(),
            attached_routes: self.attached,
            conditions: condition::render(conditions, generation),
        }
    }
}

fn accepted<'l>(
    listener: &'l Listener,
    conflict: Option<Problem>,
    untrusting: bool,
    state: Option<&'l ListenerState>,
) -> Condition<'l> {
    if let Some(problem) = &listener.refused {
        return Condition::fails("Accepted", problem.reason, problem.message.as_str());
    }
    if untrusting {
        return Condition::fails("Accepted", NO_AUTHORITY, "there is no authority to verify clients with");
    }
    if let Some(problem) = conflict {
        return Condition::fails("Accepted", problem.reason, problem.message);
    }
    match state {
        Some(ListenerState::Unbound(why)) => Condition::fails("Accepted", "PortUnavailable", why.as_str()),
        Some(ListenerState::Unsupported(why)) => Condition::fails("Accepted", "UnsupportedValue", why.as_str()),
        _ => Condition::holds("Accepted", "Accepted", "The listener is accepted."),
    }
}

/// What became of a listener's secrets.
struct Secrets {
    problems: Vec<Problem>,
    /// It has no certificate to serve with.
    bare: bool,
    /// It has no authority to verify clients with.
    untrusting: bool,
}

impl Secrets {
    fn of(listener: &Listener, outcome: &Outcome) -> Self {
        let mut secrets = Self { problems: Vec::new(), bare: false, untrusting: false };
        let (Some(tls), Some(emitted)) = (listener.protocol.tls(), &listener.emitted) else { return secrets };
        let credentials = tls.credentials.iter().zip(&emitted.credentials);
        let served =
            credentials.filter(|(source, index)| secrets.look(source, **index, "InvalidCertificateRef", outcome));
        secrets.bare = served.count() == 0;
        let trust = tls.trust.iter().zip(&emitted.trust);
        let trusted = trust.filter(|(source, index)| secrets.look(source, **index, "InvalidCACertificateRef", outcome));
        secrets.untrusting = trusted.count() == 0 && !tls.trust.is_empty();
        secrets
    }

    /// Whether a source has something to serve with.
    fn look(&mut self, source: &Source, index: u32, reason: &'static str, outcome: &Outcome) -> bool {
        let Look { serves, problem } = Look::at(source, index, reason, outcome);
        self.problems.extend(problem);
        serves
    }
}
