//! Rules that are never reached because a rule of another VirtualService, which comes first on the host, takes all that
//! they would: findings only.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use sekisho_sdk::Severity;
use sekisho_sdk::host_name::HostName;
use sekisho_sdk::table::{Condition, PathRule};

use super::hosts::Placed;
use crate::findings::Findings;
use crate::virtual_service::VirtualService;

/// The rules of one virtual host as far as they have been passed, so that each is compared with few of them.
#[derive(Default)]
pub(super) struct Shadows<'p> {
    equal: HashMap<(&'p PathRule, String), &'p Placed>,
    /// By beginnings without a condition; none of them is a beginning of another.
    beginnings: BTreeMap<String, &'p Placed>,
    /// The same for beginnings whose case does not count, in lower case.
    any_case: BTreeMap<String, &'p Placed>,
}

impl<'p> Shadows<'p> {
    /// Takes the next rule, and says so if it is never reached.
    pub(super) fn pass(
        &mut self,
        placed: &'p Placed,
        host: &HostName,
        services: &[VirtualService],
        findings: &mut Findings,
    ) {
        if let Some(taker) = self.taker(placed) {
            if taker.service != placed.service {
                report(taker, placed, host, services, findings);
            }
            return;
        }
        let rule = &placed.rule;
        if rule.conditions.is_empty() {
            match &rule.path {
                PathRule::Prefix { value, ignore_case: false } => insert(&mut self.beginnings, value.clone(), placed),
                PathRule::Prefix { value, ignore_case: true } => {
                    insert(&mut self.any_case, value.to_ascii_lowercase(), placed);
                }
                PathRule::Any => insert(&mut self.beginnings, String::new(), placed),
                PathRule::Exact { .. } | PathRule::Elements(_) | PathRule::Regex(_) => {}
            }
        }
        self.equal.insert((&rule.path, conditions(&rule.conditions)), placed);
    }

    fn taker(&self, placed: &Placed) -> Option<&'p Placed> {
        let rule = &placed.rule;
        if let Some(equal) = self.equal.get(&(&rule.path, conditions(&rule.conditions))).copied() {
            return Some(equal);
        }
        // Every path begins with a slash.
        let (beginning, any_case) = match &rule.path {
            PathRule::Exact { value, ignore_case } | PathRule::Prefix { value, ignore_case } => {
                (value.as_str(), *ignore_case)
            }
            PathRule::Any | PathRule::Regex(_) => ("/", false),
            PathRule::Elements(value) => (value.as_str(), false),
        };
        let exactly = (!any_case || beginning == "/").then(|| covering(&self.beginnings, beginning)).flatten();
        exactly.or_else(|| covering(&self.any_case, &beginning.to_ascii_lowercase()))
    }
}

/// Conditions are few, and a text of them is as good as they are.
fn conditions(of: &[Condition]) -> String {
    if of.is_empty() { String::new() } else { format!("{of:?}") }
}

/// The beginning that `text` has. As none is a beginning of another, it is the last that is not behind `text`.
fn covering<'p>(beginnings: &BTreeMap<String, &'p Placed>, text: &str) -> Option<&'p Placed> {
    let (beginning, placed) = beginnings.range::<str, _>((Bound::Unbounded, Bound::Included(text))).next_back()?;
    text.starts_with(beginning.as_str()).then_some(*placed)
}

/// Adds a beginning that is not covered yet, in the place of those that it covers.
fn insert<'p>(beginnings: &mut BTreeMap<String, &'p Placed>, beginning: String, placed: &'p Placed) {
    let longer = beginnings.range(beginning.clone()..).map(|(longer, _)| longer);
    let longer: Vec<String> = longer.take_while(|longer| longer.starts_with(&beginning)).cloned().collect();
    for longer in longer {
        beginnings.remove(&longer);
    }
    beginnings.insert(beginning, placed);
}

fn report(taker: &Placed, placed: &Placed, host: &HostName, services: &[VirtualService], findings: &mut Findings) {
    let key = &services[taker.service].key;
    let what = if taker.catch_all { "takes every request" } else { "has a rule further up that takes all of it" };
    let message = format!(
        "on `{host}` a match of this is never reached, because VirtualService {}/{} {what}",
        key.namespace, key.name
    );
    let origin = services[placed.service].rules[placed.index].origin.clone();
    let remedy = "narrow the rule further up, or write all rules of the host in one place";
    findings.say(Severity::Warning, origin, "unreachable-rule", message, remedy);
}

#[cfg(test)]
mod tests {
    use sekisho_sdk::table::{Rule, ValueRule};

    use super::*;

    fn placed(service: usize, path: PathRule, condition: bool) -> Placed {
        let value = ValueRule::Present;
        let conditions = condition.then_some(Condition { input: 0, parameter: None, value, negated: false });
        let rule = Rule { route: 0, path, conditions: conditions.into_iter().collect() };
        Placed { rule, catch_all: false, service, index: 0 }
    }

    fn prefix(value: &str, ignore_case: bool) -> PathRule {
        PathRule::Prefix { value: value.to_owned(), ignore_case }
    }

    fn exact(value: &str, ignore_case: bool) -> PathRule {
        PathRule::Exact { value: value.to_owned(), ignore_case }
    }

    /// Which of the rules are taken, and by which.
    fn takers(rules: &[(PathRule, bool)]) -> Vec<Option<usize>> {
        let rules: Vec<Placed> = rules
            .iter()
            .enumerate()
            .map(|(index, (path, condition))| placed(index, path.clone(), *condition))
            .collect();
        let mut shadows = Shadows::default();
        let mut takers = Vec::new();
        for placed in &rules {
            let taker = shadows.taker(placed);
            takers.push(taker.map(|taker| taker.service));
            if taker.is_none() {
                let mut findings = Findings::default();
                shadows.pass(placed, &HostName::Any, &[], &mut findings);
            }
        }
        takers
    }

    #[test]
    fn what_an_earlier_rule_takes_wholly_is_found() {
        assert_eq!(
            takers(&[
                (prefix("/a/b", false), false),
                (prefix("/c", false), true),
                (prefix("/a/bc", false), true),
                (exact("/a/b", false), false),
                (exact("/a/b", true), false),
                (prefix("/a", false), false),
                (exact("/ab", false), false),
                (exact("/c/d", false), false),
                (prefix("/c", false), true),
                (PathRule::Regex("/a.*".to_owned()), false),
                (PathRule::Regex("/a.*".to_owned()), false),
                (prefix("/X", true), false),
                (exact("/xy", false), true),
                (exact("/xY", true), false),
                (prefix("/", false), false),
                (PathRule::Any, true),
                (PathRule::Regex("/[a-z]+".to_owned()), false),
            ]),
            [
                None,
                None,
                Some(0),
                Some(0),
                None,
                None,
                Some(5),
                None,
                Some(1),
                None,
                Some(9),
                None,
                Some(11),
                Some(11),
                None,
                Some(14),
                Some(14)
            ]
        );
    }
}
