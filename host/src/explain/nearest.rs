//! Listeners that might have been meant.

use super::Other;
use crate::generation::{Generation, Listener, Socket};

/// How many are named.
const MOST: usize = 5;

/// The listeners that did not get `host` on `socket`, nearest first, and why.
pub(super) fn listeners(
    generation: &Generation,
    socket: &Socket,
    host: Option<&str>,
    chosen: Option<&str>,
) -> Vec<Other> {
    let mut others: Vec<(u64, Other)> = Vec::new();
    for (address, elsewhere) in &generation.sockets {
        let here = elsewhere.address == socket.address;
        // One listener is often on several addresses of one port.
        if !here && elsewhere.address.port().is_some_and(|port| socket.address.port() == Some(port)) {
            continue;
        }
        for listener in &elsewhere.listeners {
            if chosen == Some(&*listener.name) {
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

/// A claim that matches is nearest; else the one that is written most alike.
fn nearness(listener: &Listener, host: Option<&str>) -> u64 {
    const ALIKE: f64 = 1e6;
    let Some(host) = host else { return 0 };
    let of = |pattern: &crate::model::HostPattern| {
        let alike = strsim::normalized_damerau_levenshtein(&pattern.to_string(), host);
        if pattern.matches(host) { u64::MAX } else { (alike * ALIKE) as u64 }
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
