//! The virtual hosts of one listener while VirtualServices fill them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::table::{Condition, PathRule, Rule, ValueRule, VirtualHost};

use super::shadows::Shadows;
use crate::findings::Findings;
use crate::virtual_service::VirtualService;

/// Where certificate authorities look for the answer to a challenge (RFC 8555, 8.3), in the clear.
const ACME: &str = "/.well-known/acme-challenge/";

/// The virtual hosts of one listener.
#[derive(Default)]
pub(super) struct Hosts {
    pub(super) inputs: Inputs,
    /// By VirtualService and Gateway.
    pub(super) lists: HashMap<(usize, usize), Rc<[Placed]>>,
    hosts: Vec<Host>,
    by_name: HashMap<HostName, usize>,
}

struct Host {
    name: HostName,
    redirect: Option<u32>,
    lists: Vec<Rc<[Placed]>>,
    from: HashSet<(usize, usize)>,
}

/// A rule, and where it comes from.
pub(super) struct Placed {
    pub(super) rule: Rule,
    pub(super) catch_all: bool,
    pub(super) service: usize,
    pub(super) index: usize,
}

impl Hosts {
    /// Gives a host the rules of a VirtualService, once.
    pub(super) fn claim(&mut self, name: &HostName, redirect: Option<u32>, from: (usize, usize), list: &Rc<[Placed]>) {
        let host = self.at(name);
        host.redirect = host.redirect.or(redirect);
        if host.from.insert(from) {
            host.lists.push(Rc::clone(list));
        }
    }

    /// Sends a host to https.
    pub(super) fn redirect(&mut self, name: &HostName, redirect: u32) {
        self.at(name).redirect.get_or_insert(redirect);
    }

    fn at(&mut self, name: &HostName) -> &mut Host {
        let next = self.hosts.len();
        let index = *self.by_name.entry(name.clone()).or_insert(next);
        if index == next {
            self.hosts.push(Host { name: name.clone(), redirect: None, lists: Vec::new(), from: HashSet::new() });
        }
        &mut self.hosts[index]
    }

    /// Their rules in Istio's order: those of each VirtualService after the other's, and what takes everything last.
    pub(super) fn finish(
        &mut self,
        port: u16,
        services: &[VirtualService],
        findings: &mut Findings,
    ) -> Vec<VirtualHost> {
        let hosts = std::mem::take(&mut self.hosts);
        let hosts = hosts.into_iter().map(|host| {
            let all = || host.lists.iter().flat_map(|list| list.iter());
            let ordered = || all().filter(|placed| !placed.catch_all).chain(all().filter(|placed| placed.catch_all));
            let mut rules = Vec::with_capacity(host.lists.iter().map(|list| list.len()).sum());
            if let Some(route) = host.redirect {
                let value = ValueRule::Exact("https".to_owned());
                let input = self.inputs.index(":scheme");
                let in_the_clear = Condition { input, parameter: None, value, negated: true };
                rules.extend(all().filter_map(|placed| challenge(&placed.rule, &in_the_clear)));
                rules.push(Rule { route, path: PathRule::Any, conditions: vec![in_the_clear] });
            }
            let mut takes_all = false;
            for placed in ordered() {
                if !(takes_all && placed.catch_all) {
                    rules.push(placed.rule.clone());
                }
                takes_all |= placed.catch_all;
            }
            // Within one VirtualService that has been looked at; behind a redirect hardly anything is reached.
            if host.lists.len() > 1 && host.redirect.is_none() {
                let mut shadows = Shadows::default();
                ordered().for_each(|placed| shadows.pass(placed, &host.name, services, findings));
            }
            VirtualHost { name: Some(format!("{}:{port}", host.name)), host: host.name, rules }
        });
        hosts.collect()
    }
}

/// The rule once more for requests in the clear, if it answers nothing but ACME challenges: a redirect to https must
/// not keep a certificate from being issued.
fn challenge(rule: &Rule, in_the_clear: &Condition) -> Option<Rule> {
    let below = |value: &str, ignore_case: bool| match value.get(..ACME.len()) {
        Some(beginning) if ignore_case => beginning.eq_ignore_ascii_case(ACME),
        Some(beginning) => beginning == ACME,
        None => false,
    };
    let path = match &rule.path {
        PathRule::Exact { value, ignore_case } | PathRule::Prefix { value, ignore_case }
            if below(value, *ignore_case) =>
        {
            rule.path.clone()
        }
        // Written without the slash, it would take more than challenges.
        PathRule::Prefix { value, ignore_case } if below(&format!("{value}/"), *ignore_case) => {
            PathRule::Prefix { value: format!("{value}/"), ignore_case: *ignore_case }
        }
        _ => return None,
    };
    let mut conditions = rule.conditions.clone();
    conditions.push(in_the_clear.clone());
    Some(Rule { route: rule.route, path, conditions })
}

/// What a listener's router reads of requests.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub(super) names: Vec<String>,
    by_name: HashMap<String, u16>,
}

impl Inputs {
    pub(super) fn index(&mut self, name: &str) -> u16 {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let index = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        index
    }
}
