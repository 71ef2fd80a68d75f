//! `Gateway.status`.

use std::net::IpAddr;

use sekisho_sdk::model::Address;
use sekisho_sdk::{Outcome, Status};
use serde::Serialize;

use super::condition::{self, Condition, Rendered};
use super::listener::{ListenerStatus, RenderedListener};
use super::listener_set::ListenerSetStatus;
use super::source::Look;
use crate::client_certificate::ClientCertificate;
use crate::gateways::Gateway;

/// What became of a Gateway and of the ListenerSets that name it.
pub(super) struct GatewayStatus<'g> {
    gateway: &'g Gateway,
    addresses: &'g [String],
    conditions: Vec<Condition<'g>>,
    listeners: Vec<ListenerStatus<'g>>,
    sets: Vec<ListenerSetStatus<'g>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RenderedGateway<'g> {
    addresses: Vec<StatusAddress<'g>>,
    conditions: Vec<Rendered<'g>>,
    listeners: Vec<RenderedListener<'g>>,
    attached_listener_sets: usize,
}

#[derive(Serialize)]
struct StatusAddress<'g> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'g str,
}

impl<'g> GatewayStatus<'g> {
    /// The status, where `attached` counts the routes of a listener.
    pub(super) fn of(gateway: &'g Gateway, outcome: &'g Outcome, attached: impl Fn(usize) -> u32) -> Self {
        let listeners = |set| {
            let listed = gateway.listed(set);
            let refused = gateway.refused.is_some();
            listed.map(|(index, one)| ListenerStatus::of(one, refused, attached(index), outcome)).collect::<Vec<_>>()
        };
        let own = listeners(None);
        let accepted = accepted(gateway, &own);
        let addresses = gateway.binding.and_then(|binding| outcome.bindings.get(binding as usize));
        let programmed = programmed(gateway, outcome, &accepted, addresses, &own);
        let sets = gateway.sets.iter().enumerate().map(|(index, set)| {
            ListenerSetStatus::of(
                set,
                listeners(Some(index)),
                gateway.refused.is_some(),
                programmed.is_true(),
                outcome.live,
            )
        });
        let sets = sets.collect();
        let others = [resolved_refs(gateway, outcome), insecure_validation(gateway)].into_iter().flatten();
        let conditions = [accepted, programmed].into_iter().chain(others).collect();
        let addresses = addresses.and_then(|addresses| addresses.as_ref().ok()).map_or(&[][..], Vec::as_slice);
        Self { gateway, addresses, conditions, listeners: own, sets }
    }

    /// It, and its ListenerSets.
    pub(super) fn render(&self) -> Vec<Status> {
        let generation = self.gateway.generation;
        let rendered = RenderedGateway {
            addresses: self.addresses.iter().map(|address| StatusAddress::of(address)).collect(),
            conditions: condition::render(&self.conditions, generation),
            listeners: self.listeners.iter().map(|listener| listener.render(generation)).collect(),
            attached_listener_sets: self.sets.iter().filter(|set| set.is_accepted()).count(),
        };
        let own = Status::new(&self.gateway.key, &rendered);
        [own].into_iter().chain(self.sets.iter().map(ListenerSetStatus::render)).collect()
    }
}

/// Whether the certificate for backends is to be had, where there is to be one.
fn resolved_refs<'g>(gateway: &'g Gateway, outcome: &Outcome) -> Option<Condition<'g>> {
    let ClientCertificate { source, unresolved, emitted } = gateway.client_certificate.as_ref()?;
    let look = emitted.map(|index| Look::at(source, index, "InvalidClientCertificateRef", outcome));
    let problem = look.and_then(|look| look.problem);
    Some(Condition::resolved_refs(&unresolved.iter().chain(&problem).collect::<Vec<_>>()))
}

fn insecure_validation(gateway: &Gateway) -> Option<Condition<'_>> {
    gateway.serves_anybody.then(|| {
        let message = "Clients are served whatever certificate they show, and without one.";
        Condition::holds("InsecureFrontendValidationMode", "ConfigurationChanged", message)
    })
}

impl<'g> StatusAddress<'g> {
    fn of(value: &'g str) -> Self {
        let kind = if value.parse::<IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
        Self { kind, value }
    }
}

fn accepted<'g>(gateway: &'g Gateway, listeners: &[ListenerStatus<'_>]) -> Condition<'g> {
    if let Some(problem) = &gateway.refused {
        return Condition::fails("Accepted", problem.reason, problem.message.as_str());
    }
    let bad = names(listeners.iter().filter(|listener| !listener.is_accepted()));
    if listeners.iter().all(|listener| !listener.is_accepted()) {
        let message = if listeners.is_empty() {
            "there is no listener".to_owned()
        } else {
            format!("no listener is accepted: {bad}")
        };
        return Condition::fails("Accepted", "ListenersNotValid", message);
    }
    match bad.as_str() {
        "" => Condition::holds("Accepted", "Accepted", "All listeners are accepted."),
        bad => Condition::holds("Accepted", "ListenersNotValid", format!("these listeners are not accepted: {bad}")),
    }
}

fn programmed<'o>(
    gateway: &Gateway,
    outcome: &Outcome,
    accepted: &Condition<'_>,
    addresses: Option<&'o Result<Vec<String>, String>>,
    listeners: &[ListenerStatus<'_>],
) -> Condition<'o> {
    if !accepted.is_true() {
        return Condition::fails("Programmed", "Invalid", "the Gateway is not accepted");
    }
    match addresses {
        Some(Ok(addresses)) if !addresses.is_empty() => {
            if let Some(lacking) = lacking(gateway, addresses) {
                return Condition::fails("Programmed", "AddressNotUsable", format!("{lacking} cannot be listened on"));
            }
        }
        Some(Err(why)) => {
            let reason = match &gateway.address {
                Some(Address::Dedicated(wanted)) if !wanted.is_empty() => "AddressNotUsable",
                _ => "AddressNotAssigned",
            };
            return Condition::fails("Programmed", reason, why.as_str());
        }
        _ => return Condition::fails("Programmed", "AddressNotAssigned", "there is no address yet"),
    }
    if !outcome.live {
        return Condition::fails("Programmed", "Pending", "not every worker serves this generation yet");
    }
    let idle = names(listeners.iter().filter(|listener| !listener.is_programmed()));
    if listeners.iter().all(|listener| !listener.is_programmed()) {
        return Condition::fails("Programmed", "Invalid", format!("no listener serves: {idle}"));
    }
    match idle.as_str() {
        "" => Condition::holds("Programmed", "Programmed", "All listeners serve."),
        idle => Condition::holds("Programmed", "Programmed", format!("all listeners serve but these: {idle}")),
    }
}

/// One of the addresses asked for that is not among those in use. An unspecified one stands for whatever the machine has.
fn lacking<'g>(gateway: &'g Gateway, used: &[String]) -> Option<&'g String> {
    let Some(Address::Dedicated(wanted)) = &gateway.address else { return None };
    let is_own = |text: &str| text.parse::<IpAddr>().is_ok_and(|ip| !ip.is_unspecified());
    wanted.iter().find(|wanted| is_own(wanted) && !used.contains(wanted))
}

/// The names of listeners, for a sentence.
pub(super) fn names<'l>(listeners: impl Iterator<Item = &'l ListenerStatus<'l>>) -> String {
    listeners.map(|listener| listener.name()).collect::<Vec<_>>().join(", ")
}
