//! What is said of destinations and of the rules about them: findings only.

use std::rc::Rc;

use sekisho_sdk::{ObjectKey, Origin, Severity};

use super::{Backing, Destinations, Members, Port, cluster};
use crate::destination_rule::Written;
use crate::findings::{Findings, Place};

impl Destinations {
    /// A ServiceEntry beside the oldest of its host. What it shares with all the others is not told: that would be a
    /// finding for every two of them.
    pub(super) fn report_conflicts(&self, younger: &Backing, findings: &mut Findings) {
        let known = self.by_host.get(&younger.host).map_or(&[][..], Vec::as_slice);
        if let Some(oldest) = known.iter().find(|index| self.backings[**index].object.kind == younger.object.kind) {
            for port in &younger.ports {
                report_port(&self.backings[*oldest], younger, port, findings);
            }
        }
        if !known.iter().any(|index| self.backings[*index].is_joined_by(younger)) {
            self.report_duplicate(known, younger, findings);
        }
    }

    /// One that counts for nothing, because another one has its host.
    fn report_duplicate(&self, known: &[usize], younger: &Backing, findings: &mut Findings) {
        let near = known.iter().find(|index| {
            let ObjectKey { kind, namespace, .. } = &self.backings[**index].object;
            *kind == younger.object.kind && *namespace == younger.object.namespace
        });
        let seen = || known.iter().find(|index| self.is_seen(**index));
        let Some(other) = near.or_else(seen) else { return };
        let owner = &self.backings[*other].object;
        if *owner == younger.object {
            return;
        }
        let at = younger.object.at("spec.hosts");
        let (severity, message) = if near.is_some() {
            let message = format!(
                "{} is older and has `{}` too, with another resolution or `exportTo`, so that the two are not joined",
                self.subject(*other),
                younger.host
            );
            (Severity::Warning, message)
        } else {
            (Severity::Info, format!("{} has `{}` too; one of them counts alone", self.subject(*other), younger.host))
        };
        findings.say(severity, at, "duplicate-host", message, "write one object for the host");
    }

    /// Rules for hosts that nobody has, and subsets that select nothing.
    pub(super) fn report_rules(&self, findings: &mut Findings) {
        let reversed = self.reversed_hosts();
        for Written { key, host, subsets } in self.rules.written() {
            let at = Place::root(key, "spec");
            if let Some(suffix) = host.strip_prefix('*') {
                if !any_ends_with(&reversed, suffix) {
                    let message = format!("no Service or ServiceEntry has a host like `{host}`");
                    findings.info(&at.field("host"), "unknown-host", message, "correct it, or remove the object");
                }
                continue;
            }
            let Some(known) = self.by_host.get(host) else {
                let message = format!("no Service or ServiceEntry is called `{host}`");
                findings.warning(&at.field("host"), "unknown-host", message, &self.hint(host));
                continue;
            };
            for subset in subsets {
                let empty = |index: &usize| match &self.backings[*index].members {
                    Members::Fixed(groups) | Members::Dns(groups) => {
                        let mut members = groups.iter().flat_map(|group| group.endpoints.iter());
                        !members.any(|member| cluster::has(member, &subset.labels))
                    }
                    _ => false,
                };
                if known.iter().all(empty) {
                    let message = format!("no endpoint of `{host}` has the labels of `{}`", subset.name);
                    let at = at.item("subsets", subset.index);
                    findings.error(&at.field("labels"), "empty-subset", message, "correct the labels of either");
                }
            }
        }
    }

    /// All hosts from their ends, sorted, so that those with one suffix stand together; none when no rule asks.
    fn reversed_hosts(&self) -> Vec<String> {
        if !self.rules.written().iter().any(|rule| rule.host.starts_with('*')) {
            return Vec::new();
        }
        let mut hosts: Vec<_> = self.by_host.keys().map(|host| reversed(host)).collect();
        hosts.sort_unstable();
        hosts
    }

    pub(super) fn report_unknown_subset(
        &mut self,
        backing: usize,
        subset: &str,
        at: &Place<'_>,
        findings: &mut Findings,
    ) {
        let subject = self.subject(backing);
        let rule = self.rule(backing);
        let names: Vec<String> = rule.iter().flat_map(|rule| rule.subsets()).map(|name| format!("`{name}`")).collect();
        let message = format!("no DestinationRule gives {subject} a subset `{subset}`; its share answers 503");
        let remedy = match (names.is_empty(), rule.is_some()) {
            (false, _) => format!("add it, or name one of {}", names.join(", ")),
            (true, true) => "add it to the DestinationRule".to_owned(),
            (true, false) => "write a DestinationRule with it, or remove `subset`".to_owned(),
        };
        findings.error(&at.field("subset"), "unknown-subset", message, &remedy);
    }

    /// A destination whose rule asks for what cannot be done.
    pub(super) fn report_refused(
        &mut self,
        backing: usize,
        port: u16,
        subset: &str,
        said: &Origin,
        findings: &mut Findings,
    ) {
        let Some(rule) = self.rule(backing) else { return };
        let settings = rule.settings(rule.subset(subset).map(Rc::as_ref), port);
        let transport = settings.transport.and_then(Result::err);
        let refusal = settings.tunnel.or_else(|| settings.balance.and_then(Result::err)).or(transport);
        if let Some(refusal) = refusal {
            let message = format!("{} cannot be done; its share answers 503", refusal.place());
            let remedy = "see what is said of the DestinationRule";
            findings.say(Severity::Error, said.clone(), "refused-destination", message, remedy);
        }
    }
}

/// A port of a ServiceEntry that the oldest of the host has otherwise.
fn report_port(oldest: &Backing, younger: &Backing, port: &Port, findings: &mut Findings) {
    let Some(other) = oldest.ports.iter().find(|other| other.number == port.number) else { return };
    let ObjectKey { kind, namespace, name, .. } = &other.origin.object;
    let owner = format!("{kind} {namespace}/{name}");
    let at = |field: &str| younger.object.at(format!("{}.{field}", port.origin.field));
    if other.speaks != port.speaks {
        let message = format!("port {} of `{}` has another protocol in {owner}", port.number, younger.host);
        findings.say(Severity::Warning, at("protocol"), "protocol-conflict", message, "write the same in both");
    }
    if other.name != port.name && oldest.is_joined_by(younger) {
        let message = format!(
            "port {} of `{}` is called `{}` in {owner}, so that the endpoints here are none of its",
            port.number, younger.host, other.name
        );
        findings.say(Severity::Warning, at("name"), "duplicate-host", message, "write the same in both");
    }
}

fn reversed(host: &str) -> String {
    host.chars().rev().collect()
}

/// Whether one of the hosts, sorted from their ends, has that suffix.
fn any_ends_with(reversed_hosts: &[String], suffix: &str) -> bool {
    let wanted = reversed(suffix);
    let first = reversed_hosts.partition_point(|host| *host < wanted);
    reversed_hosts.get(first).is_some_and(|host| host.starts_with(&wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_looked_up_in_reversed_hosts() {
        let mut hosts: Vec<_> = ["a.test", "b.a.test", "z.example", "a.best"].map(reversed).to_vec();
        hosts.sort_unstable();
        for (suffix, known) in
            [("", true), (".test", true), (".a.test", true), (".c.test", false), ("e", true), (".zz", false)]
        {
            assert_eq!(any_ends_with(&hosts, suffix), known, "{suffix}");
        }
        assert!(!any_ends_with(&[], ""));
    }
}
