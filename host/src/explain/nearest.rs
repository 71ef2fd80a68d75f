//! Listeners that might have been meant.

use std::sync::Arc;

use super::Other;
use crate::generation::{Generation, Listener, Socket};

/// How many are named.
const MOST: usize = 5;

/// The listeners that did not get `host` on `socket`, nearest first, and why.
pub(super) fn listeners(
    generation: &Generation,
    socket: &Socket,
    host: Option<&str>,
    chosen: Option<&Arc<Listener>>,
) -> Vec<Other> {
    let mut others: Vec<(usize, Other)> = Vec::new();
    for (address, elsewhere) in &generation.sockets {
        let here = elsewhere.address == socket.address;
        // One listener is often on several addresses of one port.
        if !here && elsewhere.address.port() == socket.address.port() {
            continue;
        }
        for listener in &elsewhere.listeners {
            if chosen.is_some_and(|chosen| chosen.name == listener.name) {
                continue;
            }
            let claims = host.is_some_and(|host| listener.hosts.iter().any(|pattern| pattern.matches(host)));
            let nearness = nearness(listener, host);
            let hosts = names(listener);
            let because = match (here, claims) {
                (true, true) if chosen.is_some() => format!("it claims {hosts}, which is wider"),
                (true, _) => format!("it claims {hosts}"),
                (false, true) => format!("it is on {address}, and claims {hosts} there"),
                (false, false) => continue,
            };
            others.push((nearness, Other { what: what(listener), because }));
        }
    }
    others.sort_by_key(|(nearness, _)| std::cmp::Reverse(*nearness));
    others.dedup_by(|(_, a), (_, b)| a == b);
    others.truncate(MOST);
    others.into_iter().map(|(_, other)| other).collect()
}

/// A claim that matches is nearest; else the more labels two names share from the right, the nearer.
fn nearness(listener: &Listener, host: Option<&str>) -> usize {
    let Some(host) = host else { return 0 };
    let shared = |pattern: &str| pattern.rsplit('.').zip(host.rsplit('.')).take_while(|(a, b)| a == b).count();
    let of = |pattern: &crate::model::HostPattern| {
        if pattern.matches(host) { usize::MAX } else { shared(&pattern.to_string()) }
    };
    listener.hosts.iter().map(of).max().unwrap_or(0)
}

/// The names that a listener claims.
pub(super) fn names(listener: &Listener) -> String {
    listener.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A listener by name and place.
pub(super) fn what(listener: &Listener) -> String {
    format!("{} ({} {})", listener.name, listener.origin.object, listener.origin.field)
}
