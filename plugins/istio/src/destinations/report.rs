//! What is said of destinations and of the rules about them: findings only.

use std::rc::Rc;

use sekisho_sdk::{Origin, Severity};

use super::{Backing, Destinations, Members, cluster};
use crate::destination_rule::Written;
use crate::findings::{Findings, Place};

impl Destinations {
    /// A ServiceEntry beside older ones of its hosts.
    pub(super) fn report_conflicts(&self, younger: &Backing, findings: &mut Findings) {
        let known = self.by_host.get(&younger.host).map_or(&[][..], Vec::as_slice);
        for index in known {
            let older = &self.backings[*index];
            if older.object.kind != younger.object.kind {
                continue;
            }
            let name = self.subject(*index);
            for port in &younger.ports {
                let other = older.ports.iter().find(|other| other.number == port.number);
                if other.is_some_and(|other| other.speaks != port.speaks) {
                    let message = format!("port {} of `{}` has another protocol in {name}", port.number, younger.host);
                    let at = younger.object.at(format!("{}.protocol", port.field));
                    findings.say(Severity::Warning, at, "protocol-conflict", message, "write the same in both");
                }
            }
            if older.object.namespace == younger.object.namespace && older.object != younger.object {
                let message = format!("{name} is older and has `{}` too, so that it counts alone", younger.host);
                let at = younger.object.at("spec.hosts");
                findings.say(Severity::Warning, at, "duplicate-host", message, "write one ServiceEntry for the host");
            }
        }
    }

    /// Rules for hosts that nobody has, and subsets that select nothing.
    pub(super) fn report_rules(&self, findings: &mut Findings) {
        for Written { key, host, subsets } in self.rules.written() {
            let at = Place::root(key, "spec");
            if let Some(suffix) = host.strip_prefix('*') {
                if !self.by_host.keys().any(|known| known.ends_with(suffix)) {
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
                    Members::Fixed(members) | Members::Dns(members) => {
                        !members.iter().any(|member| cluster::has(member, &subset.labels))
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
