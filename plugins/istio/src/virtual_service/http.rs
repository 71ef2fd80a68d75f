//! `http`: its rules in order, those of delegates in the place of what delegates to them, up to the first that takes
//! everything.

use std::collections::HashSet;

use sekisho_sdk::model::{Cors, Fault, HeaderOps};
use sekisho_sdk::{ObjectKey, Origin, Severity};

use super::Reader;
use super::delegates::{Delegate, Merged};
use crate::action::{self, Action};
use crate::findings::{Findings, Place};
use crate::matching::{self, Match};
use crate::objects::virtual_service::{HttpMatch, HttpRoute};
use crate::{headers, policies};

/// One entry of `http`.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `namespace/virtual-service/rule`.
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// With their place in `match`; any of them will do.
    pub(crate) matches: Vec<(usize, Match)>,
    pub(crate) action: Action,
    pub(crate) headers: HeaderOps,
    pub(crate) cors: Option<Cors>,
    pub(crate) fault: Option<Fault>,
}

/// Reads the rules of a VirtualService that has hosts.
pub(super) fn read(said: &[HttpRoute], key: &ObjectKey, reader: &mut Reader<'_>) -> Vec<Rule> {
    let spec = Place::root(key, "spec");
    let mut rules = Rules { key, reader, list: Vec::with_capacity(said.len()), matched: HashSet::new(), taker: None };
    for (index, rule) in said.iter().enumerate() {
        let at = spec.item("http", index);
        if rules.is_unreachable(&at) {
            break;
        }
        match &rule.delegate {
            // An answer beside it is what rules of the delegate have that give none.
            Some(to) if rule.route.is_empty() && rule.redirect.is_none() => {
                let to = (if to.namespace.is_empty() { &*key.namespace } else { &*to.namespace }, &*to.name);
                rules.delegate(rule, index, to, &at);
            }
            _ => {
                let matches = rules.matches(&rule.r#match, &key.namespace, &at);
                let place = |number| at.item("match", number).origin();
                rules.add(rule, &label(rule, index), (&key.namespace, &at), matches, &place);
            }
        }
    }
    rules.list
}

/// The rules of one VirtualService as they are found.
struct Rules<'r, 's> {
    key: &'r ObjectKey,
    reader: &'r mut Reader<'s>,
    list: Vec<Rule>,
    matched: HashSet<Match>,
    /// What takes every request.
    taker: Option<String>,
}

impl Rules<'_, '_> {
    fn matches(&mut self, said: &[HttpMatch], namespace: &str, at: &Place<'_>) -> Vec<(usize, Match)> {
        if said.is_empty() {
            return vec![(0, Match::everything())];
        }
        let Reader { scope, findings, .. } = &mut *self.reader;
        let matches = said.iter().enumerate().filter_map(|(index, one)| {
            let at = at.item("match", index);
            Some((index, matching::read(one, namespace, scope.environment, &at, findings)?))
        });
        matches.collect()
    }

    /// Istio drops what stands behind the first rule that takes everything.
    fn is_unreachable(&mut self, at: &Place<'_>) -> bool {
        if let Some(taker) = &self.taker {
            report_unreachable(at.origin(), taker, self.reader.findings);
        }
        self.taker.is_some()
    }

    /// Adds a rule; `place` says where a match was written.
    fn add(
        &mut self,
        said: &HttpRoute,
        label: &str,
        (namespace, at): (&str, &Place<'_>),
        mut matches: Vec<(usize, Match)>,
        place: &dyn Fn(usize) -> Origin,
    ) {
        let asked = matches.iter().filter(|(_, one)| one.servers.are_any());
        let repeated = asked.filter(|(_, one)| !self.matched.insert(one.clone())).map(|(number, _)| *number);
        let repeated: Vec<usize> = repeated.collect();
        let every = repeated.len() == matches.len();
        for at in repeated.into_iter().map(place) {
            let message = "the same match stands further up, so that this one is never reached".to_owned();
            let findings = &mut *self.reader.findings;
            if every {
                findings.say(Severity::Warning, at, "unreachable-rule", message, "remove it");
            } else {
                findings.say(Severity::Warning, at, "duplicate-match", message, "remove it");
            }
        }
        let end = matches.iter().position(|(_, one)| one.is_catch_all() && one.servers.are_all());
        if let Some(end) = end {
            let rest = matches.split_off(end + 1);
            if let Some((next, _)) = rest.first() {
                let taker = format!("match {}", matches[end].0);
                report_unreachable(place(*next), &taker, self.reader.findings);
            }
            self.taker = Some(format!("rule {label}"));
        }
        let rule = self.rule(said, label, (namespace, at), matches);
        self.list.push(rule);
    }

    fn rule(
        &mut self,
        said: &HttpRoute,
        label: &str,
        (namespace, at): (&str, &Place<'_>),
        matches: Vec<(usize, Match)>,
    ) -> Rule {
        let Reader { destinations, findings, .. } = &mut *self.reader;
        let action = action::read(said, namespace, destinations, at, findings);
        let headers = headers::read(said.headers.as_ref(), at, findings);
        let cors = policies::cors(said.cors_policy.as_ref(), at, findings);
        let fault = policies::fault(said.fault.as_ref(), at, findings);
        let mut rule = self.broken(label, at, matches);
        if let (Some(action), Some(headers), Some(cors), Some(fault)) = (action, headers, cors, fault) {
            rule.action = match action {
                Action::Forward(forward) => Action::Forward(forward.with_host(headers.host)),
                other => other,
            };
            rule.headers = headers.ops;
            rule.cors = cors;
            rule.fault = fault;
        }
        rule
    }

    fn broken(&self, label: &str, at: &Place<'_>, matches: Vec<(usize, Match)>) -> Rule {
        let ObjectKey { namespace, name, .. } = self.key;
        Rule {
            name: format!("{namespace}/{name}/{label}"),
            origin: at.origin(),
            matches,
            action: action::broken(),
            headers: HeaderOps::default(),
            cors: None,
            fault: None,
        }
    }

    /// Puts the rules of a delegate in the place of the rule that delegates to it. Where there is none, the rule
    /// answers 500: in Istio it is as if it were not there, and its requests go to whatever stands below.
    fn delegate(&mut self, root: &HttpRoute, index: usize, to: (&str, &str), at: &Place<'_>) {
        let own = self.matches(&root.r#match, &self.key.namespace, at);
        let Reader { delegates, objects, .. } = &mut *self.reader;
        let delegate = match delegates.follow(objects, to, &self.key.namespace) {
            Ok(delegate) => delegate,
            Err(problem) => {
                let (code, message, remedy) = problem;
                self.reader.findings.error(&at.field("delegate"), code, message, remedy);
                let rule = self.broken(&label(root, index), at, own);
                self.list.push(rule);
                return;
            }
        };
        let usable: HashSet<usize> = own.iter().map(|(number, _)| *number).collect();
        let spec = Place::root(&delegate.key, "spec");
        for (number, rule) in delegate.rules.iter().enumerate() {
            let place = spec.item("http", number);
            if self.is_unreachable(&place) {
                return;
            }
            self.delegated((root, index, at, &usable), (rule, number, &place), &delegate);
        }
    }

    /// One rule of a delegate.
    fn delegated(
        &mut self,
        (root, index, root_at, usable): (&HttpRoute, usize, &Place<'_>, &HashSet<usize>),
        (rule, number, place): (&HttpRoute, usize, &Place<'_>),
        delegate: &Delegate,
    ) {
        let namespace = &delegate.key.namespace;
        // Each half is checked where it was written; what they make together has nothing more to say.
        let leaves: HashSet<usize> =
            self.matches(&rule.r#match, namespace, place).iter().map(|(number, _)| *number).collect();
        let said = match delegate.merge((root, self.key), rule, self.reader.scope.domain) {
            Ok(said) => said,
            Err(leaf) => {
                let ObjectKey { namespace, name, .. } = self.key;
                let message = format!(
                    "this is not part of what rule {} of VirtualService {namespace}/{name} delegates, so that the \
                     whole rule is left out",
                    label(root, index)
                );
                let remedy = "narrow the match to one of the root's, or remove it";
                self.reader.findings.warning(&place.item("match", leaf), "delegate-conflict", message, remedy);
                return;
            }
        };
        let legal = |merged: &Merged| {
            merged.root.is_none_or(|root| usable.contains(&root))
                && merged.leaf.is_none_or(|leaf| leaves.contains(&leaf))
        };
        let environment = self.reader.scope.environment;
        let mut unsaid = Findings::default();
        let mut read = |merged: &Merged| matching::read(&merged.said, namespace, environment, place, &mut unsaid);
        let positions = said.matches.iter().enumerate().filter(|(_, merged)| legal(merged));
        let mut matches: Vec<_> = positions.filter_map(|(position, one)| Some((position, read(one)?))).collect();
        if said.matches.is_empty() {
            matches.push((0, Match::everything()));
        }
        let where_written = |position: usize| match said.matches.get(position) {
            Some(Merged { leaf: Some(leaf), .. }) => place.item("match", *leaf).origin(),
            Some(Merged { root: Some(root), .. }) => root_at.item("match", *root).origin(),
            _ => place.origin(),
        };
        let name = format!("{}-{}", label(root, index), label(rule, number));
        let at = place.borrowing(&said.inherited, root_at);
        self.add(&said.rule, &name, (namespace, &at), matches, &where_written);
    }
}

/// A rule's name, or its number.
fn label(rule: &HttpRoute, index: usize) -> String {
    if rule.name.is_empty() { index.to_string() } else { rule.name.clone() }
}

fn report_unreachable(at: Origin, taker: &str, findings: &mut Findings) {
    let message = format!("this and what follows is never reached, because {taker} takes every request");
    findings.say(Severity::Warning, at, "unreachable-rule", message, "move it up, or remove it");
}
