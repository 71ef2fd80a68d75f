//! `status.listeners[]` of Gateways and ListenerSets: where the spec, the secrets and the sockets meet.

use sekisho_sdk::model::{Locator, Source};
use sekisho_sdk::{ListenerState, Outcome, SourceState};
use serde::Serialize;

use super::condition::{self, Condition, Rendered};
use crate::finding::Problem;
use crate::listeners::Listener;
use crate::objects::GROUP;

/// What became of one listener.
pub(super) struct ListenerStatus<'l> {
    listener: &'l Listener,
    attached: u32,
    accepted: Condition<'l>,
    resolved: Condition<'l>,
    programmed: Condition<'l>,
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
        let accepted = accepted(listener, conflict.clone(), state);
        let secrets = Secrets::of(listener, outcome);
        let unresolved: Vec<_> = listener.unresolved.iter().chain(&secrets.problems).collect();
        let resolved = Condition::resolved_refs(&unresolved);
        let programmed = if let Some(problem) = &conflict {
            Condition::fails("Programmed", problem.reason, "the listener is not accepted")
        } else if gateway_refused {
            Condition::fails("Programmed", "Invalid", "the Gateway is not accepted")
        } else if !accepted.is_true() {
            Condition::fails("Programmed", "Invalid", "the listener is not accepted")
        } else if let Some(lack) = secrets.lack.or_else(|| {
            matches!(state, Some(ListenerState::NoCredential)).then_some("there is no certificate to serve with")
        }) {
            Condition::fails("Programmed", "Invalid", lack)
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
        Self { listener, attached, accepted, resolved, programmed, others }
    }

    pub(super) fn name(&self) -> &'l str {
        &self.listener.name
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.accepted.is_true()
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

fn accepted<'l>(listener: &'l Listener, conflict: Option<Problem>, state: Option<&'l ListenerState>) -> Condition<'l> {
    if let Some(problem) = &listener.refused {
        return Condition::fails("Accepted", problem.reason, problem.message.as_str());
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
    /// What it cannot serve without.
    lack: Option<&'static str>,
}

impl Secrets {
    fn of(listener: &Listener, outcome: &Outcome) -> Self {
        let mut secrets = Self { problems: Vec::new(), lack: None };
        let (Some(tls), Some(emitted)) = (listener.protocol.tls(), &listener.emitted) else { return secrets };
        let credentials = tls.credentials.iter().zip(&emitted.credentials);
        let served =
            credentials.filter(|(source, index)| secrets.look(source, **index, "InvalidCertificateRef", outcome));
        if served.count() == 0 {
            secrets.lack = Some("there is no certificate to serve with");
        }
        if let (Some(source), Some(index)) = (&tls.trust, emitted.trust)
            && !secrets.look(source, index, "InvalidCACertificateRef", outcome)
        {
            secrets.lack.get_or_insert("there is no authority to verify clients with");
        }
        secrets
    }

    /// Whether a source has something to serve with.
    fn look(&mut self, source: &Source, index: u32, reason: &'static str, outcome: &Outcome) -> bool {
        // One without candidates has its problem in the spec, where it is told.
        let Some(name) = names(source) else { return false };
        let (serves, message) = match outcome.sources.get(index as usize) {
            Some(SourceState::Ready) | None => return true,
            Some(SourceState::Stale(why)) => (true, format!("Secret {name}: {why}; the last good content serves")),
            Some(SourceState::Missing(_)) => (false, format!("there is no Secret {name}")),
            Some(SourceState::Unusable(why)) => (false, format!("Secret {name}: {why}")),
        };
        self.problems.push(Problem::new(reason, message));
        serves
    }
}

/// The candidates of a source, by namespace and name.
fn names(source: &Source) -> Option<String> {
    let name = |locator: &Locator| match locator {
        Locator::Object(key) => Some(format!("{}/{}", key.namespace, key.name)),
        Locator::Files(_) | Locator::SystemRoots => None,
    };
    let names: Vec<_> = source.candidates.iter().filter_map(name).collect();
    (!names.is_empty()).then(|| names.join(" or "))
}
