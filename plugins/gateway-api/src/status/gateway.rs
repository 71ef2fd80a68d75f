//! `Gateway.status`.

use std::net::IpAddr;

use sekisho_sdk::Outcome;
use sekisho_sdk::model::Address;
use serde_json::{Value, json};

use super::condition::{self, Condition};
use super::listener::ListenerStatus;
use crate::gateways::Gateway;

/// The status, where `attached` counts the routes of a listener.
pub(super) fn render(gateway: &Gateway, outcome: &Outcome, attached: impl Fn(usize) -> u32) -> Value {
    let listeners = gateway
        .listed()
        .map(|(index, listener)| ListenerStatus::of(listener, gateway.refused.is_some(), attached(index), outcome));
    let listeners: Vec<_> = listeners.collect();
    let accepted = accepted(gateway, &listeners);
    let addresses = gateway.binding.and_then(|binding| outcome.bindings.get(binding as usize));
    let programmed = programmed(gateway, outcome, &accepted, addresses, &listeners);
    let addresses = addresses.and_then(|addresses| addresses.as_ref().ok());
    json!({
        "addresses": addresses.into_iter().flatten().map(|address| render_address(address)).collect::<Vec<_>>(),
        "conditions": condition::render(&[accepted, programmed], gateway.generation),
        "listeners": listeners.iter().map(|listener| listener.render(gateway.generation)).collect::<Vec<_>>(),
    })
}

fn render_address(address: &str) -> Value {
    let kind = if address.parse::<IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
    json!({ "type": kind, "value": address })
}

fn accepted(gateway: &Gateway, listeners: &[ListenerStatus<'_>]) -> Condition {
    if let Some(problem) = &gateway.refused {
        return Condition::fails("Accepted", problem.reason, &problem.message);
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

fn programmed(
    gateway: &Gateway,
    outcome: &Outcome,
    accepted: &Condition,
    addresses: Option<&Result<Vec<String>, String>>,
    listeners: &[ListenerStatus<'_>],
) -> Condition {
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
            return Condition::fails("Programmed", reason, why);
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
