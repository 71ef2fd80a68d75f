//! The routing table of one listener: rows by host name, each with its precedence.

use std::cmp::Reverse;
use std::rc::Rc;

use sekisho_sdk::Map;
use sekisho_sdk::host_name::HostName;
use sekisho_sdk::table::{Condition, ConnectionRule, ListenerRules, OnMiss, Rule, ServerName, ValueRule, VirtualHost};

use crate::matches::{Match, Path};
use crate::precedence::{Precedence, Seniority, Specificity};

/// How many different headers the rules of one listener may look at. Each is handed over with every request, so that
/// one route cannot make all requests slow.
const MOST_INPUTS: usize = 256;

/// What the content type of gRPC begins with.
const GRPC: &str = "application/grpc";

/// What gRPC for browsers begins with, which is another protocol.
const GRPC_WEB: &str = "application/grpc-web";

/// Rows as they come; in order only when finished.
#[derive(Default)]
pub(crate) struct Rows {
    inputs: Vec<String>,
    hosts: Map<HostName, Host>,
    /// For connections that are forwarded as bytes: those of one name go to one route.
    streams: Map<HostName, Stream>,
}

/// The rows of one host name.
struct Host {
    /// In which place it came.
    nth: usize,
    rows: Vec<(Precedence, Rule)>,
}

/// The route that has the connections of a name.
struct Stream {
    rank: (Specificity, Reverse<Rc<Seniority>>),
    index: u32,
}

/// A route that goes without the connections of a name, and the one that has them.
pub(crate) struct Shadowed {
    pub(crate) route: Rc<Seniority>,
    pub(crate) by: Rc<Seniority>,
}

impl Rows {
    /// The conditions of a match, in this listener's inputs; none when they would need too many.
    pub(crate) fn conditions(&mut self, of: &Match) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
        if let Path::Call(_) = of.path {
            let of_type = |prefix: &str| ValueRule::Prefix(prefix.to_owned());
            conditions.push(self.condition("content-type", None, of_type(GRPC))?);
            let web = self.condition("content-type", None, of_type(GRPC_WEB))?;
            conditions.push(Condition { negated: true, ..web });
        }
        if let Some(method) = &of.method {
            conditions.push(self.condition(":method", None, ValueRule::Exact(method.clone()))?);
        }
        for (name, value) in &of.headers {
            // HTTP/2 has no such header, and the host takes it out of HTTP/1.
            let input = if name == "host" { ":authority" } else { name };
            conditions.push(self.condition(input, None, value.clone())?);
        }
        for (name, value) in &of.query_params {
            conditions.push(self.condition(":query", Some(name.clone()), value.clone())?);
        }
        Some(conditions)
    }

    fn condition(&mut self, input: &str, parameter: Option<String>, value: ValueRule) -> Option<Condition> {
        let known = self.inputs.iter().position(|known| known == input);
        let index = match known {
            Some(index) => index,
            None if self.inputs.len() == MOST_INPUTS => return None,
            None => {
                self.inputs.push(input.to_owned());
                self.inputs.len() - 1
            }
        };
        Some(Condition { input: u16::try_from(index).ok()?, parameter, value, negated: false })
    }

    pub(crate) fn add(&mut self, host: &HostName, precedence: Precedence, rule: Rule) {
        match self.hosts.get_mut(host) {
            Some(host) => host.rows.push((precedence, rule)),
            None => {
                let new = Host { nth: self.hosts.len(), rows: vec![(precedence, rule)] };
                self.hosts.insert(host.clone(), new);
            }
        }
    }

    /// Gives the connections of a name to a route, unless one that ranks higher has them. Where there are two, says which
    /// goes without, and which has them.
    pub(crate) fn add_stream(
        &mut self,
        host: &HostName,
        specificity: Specificity,
        route: &Rc<Seniority>,
        index: u32,
    ) -> Option<Shadowed> {
        let stream = Stream { rank: (specificity, Reverse(Rc::clone(route))), index };
        match self.streams.get_mut(host) {
            None => drop(self.streams.insert(host.clone(), stream)),
            Some(known) if stream.rank > known.rank => {
                let before = std::mem::replace(known, stream);
                return Some(Shadowed { route: before.rank.1.0, by: Rc::clone(route) });
            }
            Some(known) => {
                return Some(Shadowed { route: Rc::clone(route), by: Rc::clone(&known.rank.1.0) });
            }
        }
        None
    }

    /// The inputs, and the rules in order.
    pub(crate) fn finish(self) -> (Vec<String>, ListenerRules) {
        // As they came, which is the routes' order.
        let mut hosts: Vec<_> = self.hosts.into_iter().collect();
        hosts.sort_unstable_by_key(|(_, host)| host.nth);
        let hosts = hosts.into_iter().map(|(name, Host { mut rows, .. })| {
            rows.sort_by(|(a, _), (b, _)| b.cmp(a));
            VirtualHost::new(name, rows.into_iter().map(|(_, rule)| rule).collect())
        });
        let virtual_hosts = hosts.collect();
        let inputs = self.inputs.clone();
        let rule =
            |stream: Stream| ConnectionRule { stream: stream.index, sources: Vec::new(), destinations: Vec::new() };
        let names = self.streams.into_iter().map(|(name, stream)| ServerName { name, rules: vec![rule(stream)] });
        let mut server_names: Vec<_> = names.collect();
        server_names.sort_by(|a, b| b.name.specificity(&a.name).then_with(|| a.name.cmp(&b.name)));
        (inputs, ListenerRules { on_miss: OnMiss::Widen, inputs: self.inputs, virtual_hosts, server_names })
    }
}
