//! The routing table of one listener: rows by host name, each with its precedence.

use std::collections::HashMap;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::table::{Condition, ListenerRules, OnMiss, Rule, ValueRule, VirtualHost};

use crate::matches::Match;
use crate::precedence::Precedence;

/// How many different headers the rules of one listener may look at. Each is handed over with every request, so that
/// one route cannot make all requests slow.
const MOST_INPUTS: usize = 256;

/// Rows as they come; in order only when finished.
#[derive(Default)]
pub(crate) struct Rows {
    inputs: Vec<String>,
    hosts: HashMap<HostName, Vec<(Precedence, Rule)>>,
}

impl Rows {
    /// The conditions of a match, in this listener's inputs; none when they would need too many.
    pub(crate) fn conditions(&mut self, of: &Match) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
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
            Some(rows) => rows.push((precedence, rule)),
            None => drop(self.hosts.insert(host.clone(), vec![(precedence, rule)])),
        }
    }

    /// The inputs, and the rules in order.
    pub(crate) fn finish(self) -> (Vec<String>, ListenerRules) {
        let hosts = self.hosts.into_iter().map(|(host, mut rows)| {
            rows.sort_by(|(a, _), (b, _)| b.cmp(a));
            VirtualHost { name: host.to_string(), host, rules: rows.into_iter().map(|(_, rule)| rule).collect() }
        });
        let mut virtual_hosts: Vec<_> = hosts.collect();
        virtual_hosts.sort_by(|a, b| b.host.specificity(&a.host).then_with(|| a.name.cmp(&b.name)));
        let inputs = self.inputs.clone();
        let server_names = Vec::new();
        (inputs, ListenerRules { on_miss: OnMiss::Widen, inputs: self.inputs, virtual_hosts, server_names })
    }
}
