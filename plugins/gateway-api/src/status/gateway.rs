//! `Gateway.status`.

use std::net::IpAddr;

use sekisho_sdk::model::Address;
use sekisho_sdk::{Outcome, Status};
use serde::Serialize;

use super::condition::{self, Condition, Rendered};
use super::listener::{ListenerStatus, RenderedListener};
use super::source::Look;
use super::status;
use crate::client_certificate::ClientCertificate;
use crate::gateways::Gateway;

#[derive(Serialize)]
struct GatewayStatus<'g> {
    addresses: Vec<StatusAddress<'g>>,
    conditions: Vec<Rendered<'g>>,
    listeners: Vec<RenderedListener<'g>>,
}

#[derive(Serialize)]
struct StatusAddress<'g> {
    #[serde(rename = "type")]
    kind: &'static str,
    value: &'g str,
}

/// The status, where `attached` counts the routes of a listener.
pub(super) fn render(gateway: &Gateway, outcome: &Outcome, attached: impl Fn(usize) -> u32) -> Status {
    let listeners = gateway
        .listed()
        .map(|(index, listener)| ListenerStatus::of(listener, gateway.refused.is_some(), attached(index), outcome));
    let listeners: Vec<_> = listeners.collect();
    let accepted = accepted(gateway, &listeners);
    let addresses = gateway.binding.and_then(|binding| outcome.bindings.get(binding as usize));
    let programmed = programmed(gateway, outcome, &accepted, addresses, &listeners);
    let others = [resolved_refs(gateway, outcome), insecure_validation(gateway)].into_iter().flatten();
    let conditions: Vec<_> = [accepted, programmed].into_iter().chain(others).collect();
    let addresses = addresses.and_then(|addresses| addresses.as_ref().ok()).into_iter().flatten();
    let rendered = GatewayStatus {
        addresses: addresses.map(|address| StatusAddress::of(address)).collect(),
        conditions: condition::render(&conditions, gateway.generation),
        listeners: listeners.iter().map(|listener| listener.render(gateway.generation)).collect(),
    };
    status(&gateway.key, &rendered)
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
        Some(Ok(addresses)) if !addresses.is_empty() => {}
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

fn names<'l>(listeners: impl Iterator<Item = &'l ListenerStatus<'l>>) -> String {
    listeners.map(|listener| listener.name()).collect::<Vec<_>>().join(", ")
}
