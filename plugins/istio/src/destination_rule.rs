//! DestinationRules: the subsets of a destination, and how it is to be treated.
//!
//! Which of them counts for a host is decided as Istio does: it is looked for in the gateway's own namespace, then in
//! the host's, then in the root namespace; in each, the most specific host wins. Several for one host are joined, the
//! oldest first: its policy counts, and the others add subsets.

mod balance;
mod outlier;
mod policy;
mod pool;
mod refusal;
mod tls;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use sekisho_sdk::model::Label;
use sekisho_sdk::objects::read as read_object;
use sekisho_sdk::{Environment, Object, ObjectKey};

use crate::duration::{self, milliseconds};
use crate::findings::{Findings, Place};
use crate::names::{Hiding, check_exports, full_host, is_dns_label};
use crate::objects::destination_rule as objects;

pub(crate) use policy::Settings;
use policy::{Owner, Policy};
pub(crate) use tls::Transport;

/// The rules that may concern the gateway.
#[derive(Debug, Default)]
pub(crate) struct DestinationRules {
    gateway_namespace: String,
    root_namespace: String,
    gateway_labels: HashMap<String, String>,
    /// Of the gateway's own namespace.
    local: ByHost,
    /// Of every namespace, those that others see.
    exported: HashMap<String, ByHost>,
    /// As they were written, each for itself.
    written: Vec<Written>,
}

/// One DestinationRule, for what is said of it alone.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) key: ObjectKey,
    pub(crate) host: String,
    pub(crate) subsets: Vec<Rc<Subset>>,
}

#[derive(Debug, Default)]
struct ByHost {
    exact: HashMap<String, Vec<Rule>>,
    /// By what follows the `*`.
    wildcard: HashMap<String, Vec<Rule>>,
}

/// What the DestinationRules of a host come to.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    namespace: String,
    /// As in `exportTo`; empty for everybody.
    exports: BTreeSet<String>,
    selector: Option<BTreeMap<String, String>>,
    policy: Option<Rc<Policy>>,
    subsets: Vec<Rc<Subset>>,
    /// An older one has it in itself, and this is for namespaces that do not see that.
    absorbed: bool,
}

/// Some of a destination's endpoints.
#[derive(Debug)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) labels: Vec<Label>,
    /// Its place in `spec.subsets`.
    pub(crate) index: usize,
    policy: Option<Policy>,
}

/// A rule as read: those with a selector first, then the older ones.
type Order = (bool, Option<String>, String, String);

impl DestinationRules {
    pub(crate) fn read(
        objects: &[Object],
        environment: &Environment,
        domain: &str,
        root_namespace: &str,
        findings: &mut Findings,
    ) -> Self {
        let mut all = Self {
            gateway_namespace: environment.namespace.clone(),
            root_namespace: root_namespace.to_owned(),
            gateway_labels: environment.labels.iter().cloned().collect(),
            ..Self::default()
        };
        let gateway_namespace = &environment.namespace;
        let read = objects.iter().filter_map(|object| read(object, gateway_namespace, domain, findings));
        let mut read: Vec<(Order, String, Rule)> = read
            .map(|(order, written, rule)| {
                let host = written.host.clone();
                all.written.push(written);
                (order, host, rule)
            })
            .collect();
        read.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, host, rule) in read {
            all.add(&host, rule);
        }
        all
    }

    fn add(&mut self, host: &str, rule: Rule) {
        let namespace = rule.namespace.clone();
        let has = |word: &str| rule.exports.contains(word);
        let own = rule.exports.is_empty() || has("*") || has(".") || has(&namespace);
        let private = rule.exports.len() == 1 && (has(".") || has(&namespace));
        let in_root = self.gateway_namespace == self.root_namespace;
        // In the root namespace rules are for everybody, so that those of the hosts' own namespaces go before them.
        if namespace == self.gateway_namespace && own && (!in_root || private) {
            self.local.add(host, rule.clone());
        }
        if !private {
            self.exported.entry(namespace).or_default().add(host, rule);
        }
    }

    /// The rule that counts for a host of an object in `namespace`.
    pub(crate) fn of(&self, host: &str, namespace: &str) -> Option<&Rule> {
        let local = self.local.find(host).iter().collect::<Vec<_>>();
        if !local.is_empty() {
            return self.choose(local);
        }
        let exported = |namespace: &str| {
            let rules = self.exported.get(namespace).map_or(&[][..], |rules| rules.find(host));
            let seen = |rule: &&Rule| {
                let has = |word: &str| rule.exports.contains(word);
                rule.exports.is_empty() || has("*") || has(&self.gateway_namespace)
            };
            rules.iter().filter(seen).collect::<Vec<_>>()
        };
        let near = exported(namespace);
        let rules = if near.is_empty() { exported(&self.root_namespace) } else { near };
        self.choose(rules)
    }

    /// Of several for one host that could not be joined, one that selects this gateway, else the last that selects none.
    fn choose<'r>(&self, rules: Vec<&'r Rule>) -> Option<&'r Rule> {
        let mut for_all = None;
        for rule in rules {
            let Some(selector) = &rule.selector else {
                if for_all.is_none() || !rule.absorbed {
                    for_all = Some(rule);
                }
                continue;
            };
            let selects = selector.iter().all(|(name, value)| self.gateway_labels.get(name) == Some(value));
            if rule.namespace == self.gateway_namespace && selects {
                return Some(rule);
            }
        }
        for_all
    }

    pub(crate) fn written(&self) -> &[Written] {
        &self.written
    }
}

impl ByHost {
    fn add(&mut self, host: &str, mut rule: Rule) {
        let rules = match host.strip_prefix('*') {
            Some(suffix) => self.wildcard.entry(suffix.to_owned()).or_default(),
            None => self.exact.entry(host.to_owned()).or_default(),
        };
        let mut joined = false;
        for known in rules.iter_mut() {
            let same = known.exports == rule.exports;
            let wider = !known.exports.is_empty() && rule.exports.is_superset(&known.exports);
            let selectors = (&known.selector, &rule.selector);
            let differ = matches!(selectors, (Some(one), Some(other)) if one != other);
            if !(same || wider) || differ {
                continue;
            }
            // One with a selector takes from one without, which then still stands for itself.
            let alike = known.selector == rule.selector;
            joined |= same && alike;
            known.join(&rule);
            rule.absorbed |= wider && alike;
        }
        if !joined {
            rules.push(rule);
        }
    }

    /// Those of the most specific host that covers this one.
    fn find(&self, host: &str) -> &[Rule] {
        let exact = self.exact.get(host);
        let found = exact.or_else(|| {
            let suffixes = host.char_indices().map(|(start, _)| &host[start..]);
            suffixes.chain([""]).find_map(|suffix| self.wildcard.get(suffix))
        });
        found.map_or(&[], Vec::as_slice)
    }
}

impl Rule {
    fn join(&mut self, younger: &Self) {
        for subset in &younger.subsets {
            if self.subset(&subset.name).is_none() {
                self.subsets.push(Rc::clone(subset));
            }
        }
        if self.policy.is_none() {
            self.policy.clone_from(&younger.policy);
        }
    }

    pub(crate) fn subset(&self, name: &str) -> Option<&Rc<Subset>> {
        self.subsets.iter().find(|subset| subset.name == name)
    }

    /// How a port is treated, of the whole destination or of a subset.
    pub(crate) fn settings(&self, subset: Option<&Subset>, port: u16) -> Settings {
        policy::settings(self.policy.as_deref(), subset.and_then(|subset| subset.policy.as_ref()), port)
    }

    /// The names of its subsets.
    pub(crate) fn subsets(&self) -> impl Iterator<Item = &str> {
        self.subsets.iter().map(|subset| subset.name.as_str())
    }
}

fn read(
    object: &Object,
    gateway_namespace: &str,
    domain: &str,
    findings: &mut Findings,
) -> Option<(Order, Written, Rule)> {
    let read = read_object(object, findings.list())?;
    let objects::DestinationRule { metadata, spec } = &*read;
    let key = &object.key;
    let at = Place::root(key, "spec");
    let owner = Owner { key, gateway_namespace };
    let policy =
        spec.traffic_policy.as_ref().map(|said| policy::read(said, owner, &at.field("trafficPolicy"), findings));
    let subsets = subsets(&spec.subsets, owner, &at, findings);
    let selector = spec.workload_selector.as_ref().map(|said| {
        check_selector(&said.match_labels, &at.field("workloadSelector"), findings);
        said.match_labels.clone()
    });
    check_exports(&spec.export_to, &key.namespace, Hiding::Refused, &at, findings);
    let mut exports: BTreeSet<String> = spec.export_to.iter().cloned().collect();
    if selector.is_some() {
        let own = exports.iter().all(|word| word == "." || *word == key.namespace);
        if !own {
            let message = "a rule that selects workloads counts in its own namespace alone";
            findings.error(&at.field("exportTo"), "conflicting-fields", message, "write `.`, or remove the field");
        }
        exports = BTreeSet::from([".".to_owned()]);
    }
    let host = host(&spec.host, key, domain, &at, findings)?;
    let order = (selector.is_none(), metadata.creation_timestamp.clone(), key.name.clone(), key.namespace.clone());
    let written = Written { key: key.clone(), host, subsets: subsets.clone() };
    let namespace = key.namespace.clone();
    let rule = Rule { namespace, exports, selector, policy: policy.map(Rc::new), subsets, absorbed: false };
    Some((order, written, rule))
}

fn host(said: &str, key: &ObjectKey, domain: &str, at: &Place<'_>, findings: &mut Findings) -> Option<String> {
    let at = at.field("host");
    if said.is_empty() {
        let message = "the DestinationRule is for no host";
        findings.error(&at, "missing-field", message, "name a Service or a ServiceEntry's host");
        return None;
    }
    let host = full_host(said, &key.namespace, domain);
    let labels = host.strip_prefix('*').map_or(host.as_str(), |suffix| suffix.trim_start_matches(['.', '-']));
    if host == "*" || (host.len() <= 253 && labels.split('.').all(is_dns_label)) {
        return Some(host);
    }
    let message = format!("`{said}` is not a host");
    findings.error(&at, "invalid-host", message, "write a DNS name, `*.` and a suffix, or `*`");
    None
}

fn subsets(said: &[objects::Subset], owner: Owner<'_>, at: &Place<'_>, findings: &mut Findings) -> Vec<Rc<Subset>> {
    let mut known = HashSet::new();
    let mut subsets = Vec::with_capacity(said.len());
    for (index, said) in said.iter().enumerate() {
        let at = at.item("subsets", index);
        let policy =
            said.traffic_policy.as_ref().map(|said| policy::read(said, owner, &at.field("trafficPolicy"), findings));
        if said.name.is_empty() {
            findings.error(&at.field("name"), "missing-field", "the subset has no name", "name it");
            continue;
        }
        if !is_dns_label(&said.name) {
            let message = format!("`{}` is not a subset's name", said.name);
            findings.error(&at.field("name"), "invalid-value", message, "write lower-case letters, digits and dashes");
            continue;
        }
        if !known.insert(said.name.as_str()) {
            let message = format!("the subset `{}` stands twice; this one has no effect", said.name);
            findings.error(&at.field("name"), "duplicate-subset", message, "rename or remove one");
            continue;
        }
        let labels = said.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        subsets.push(Rc::new(Subset { name: said.name.clone(), labels, index, policy }));
    }
    subsets
}

fn check_selector(labels: &BTreeMap<String, String>, at: &Place<'_>, findings: &mut Findings) {
    if labels.is_empty() {
        let message = "the selector has no labels, so that it selects every workload of the namespace";
        findings.warning(at, "missing-field", message, "add labels, or remove it");
    }
    for (name, value) in labels {
        if name.is_empty() || name.contains('*') || value.contains('*') {
            let message = format!("`{name}: {value}` is not a label");
            findings.error(&at.field("matchLabels"), "invalid-value", message, "write names and values as they are");
        }
    }
}

/// A time that must be one: in milliseconds, at least one.
fn time(text: Option<&str>, at: &Place<'_>, findings: &mut Findings) -> Option<u64> {
    let time = milliseconds(duration::read(text?, at, findings)?);
    if time == 0 {
        findings.error(at, "invalid-value", "it is no time at all", "write at least `1ms`, or remove the field");
    }
    (time > 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, namespace: &str, spec: &str) -> Object {
        let json = format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}"}},"spec":{spec}}}"#);
        let key = ObjectKey::new("networking.istio.io", "DestinationRule", namespace, name);
        Object::new(key, "v1", json.into_bytes())
    }

    fn rules(gateway_namespace: &str, objects: &[Object]) -> DestinationRules {
        let environment = Environment {
            namespace: gateway_namespace.to_owned(),
            labels: vec![("istio".to_owned(), "ingressgateway".to_owned())],
            class_name: String::new(),
            controller_name: String::new(),
            capabilities: Vec::new(),
            config: "null".to_owned(),
        };
        let mut findings = Findings::default();
        let rules = DestinationRules::read(objects, &environment, "cluster.local", "istio-system", &mut findings);
        assert!(findings.into_list().is_empty());
        rules
    }

    /// A rule that is known by its one subset.
    fn rule(name: &str, namespace: &str, host: &str, more: &str) -> Object {
        object(name, namespace, &format!(r#"{{"host":"{host}","subsets":[{{"name":"{name}"}}]{more}}}"#))
    }

    fn found(rules: &DestinationRules, host: &str, namespace: &str) -> Vec<String> {
        rules.of(host, namespace).map_or_else(Vec::new, |rule| rule.subsets().map(str::to_owned).collect())
    }

    #[test]
    fn the_most_specific_host_of_the_nearest_namespace_counts() {
        let objects = [
            rule("root", "istio-system", "*", ""),
            rule("near", "apps", "*.apps.svc.cluster.local", ""),
            rule("exact", "apps", "web", ""),
            rule("gateway", "infra", "*.infra.com", ""),
            rule("private", "apps", "hidden.com", r#","exportTo":["."]"#),
            rule("given", "apps", "given.com", r#","exportTo":["infra"]"#),
            rule("kept", "apps", "kept.com", r#","exportTo":["other"]"#),
        ];
        let rules = rules("infra", &objects);
        for (host, namespace, expected) in [
            ("web.apps.svc.cluster.local", "apps", "exact"),
            ("other.apps.svc.cluster.local", "apps", "near"),
            ("web.apps.svc.cluster.local", "elsewhere", "root"),
            ("a.infra.com", "apps", "gateway"),
            ("hidden.com", "apps", "root"),
            ("given.com", "apps", "given"),
            ("kept.com", "apps", "root"),
        ] {
            assert_eq!(found(&rules, host, namespace), [expected], "{host} of {namespace}");
        }
    }

    #[test]
    fn in_the_root_namespace_only_private_rules_go_before_those_of_hosts() {
        let objects = [
            rule("public", "istio-system", "web.com", ""),
            rule("mine", "istio-system", "mine.com", r#","exportTo":["."]"#),
            rule("theirs", "apps", "web.com", ""),
            rule("also", "apps", "mine.com", ""),
        ];
        let rules = rules("istio-system", &objects);
        assert_eq!(found(&rules, "web.com", "apps"), ["theirs"]);
        assert_eq!(found(&rules, "web.com", "elsewhere"), ["public"]);
        assert_eq!(found(&rules, "mine.com", "apps"), ["mine"]);
    }

    #[test]
    fn rules_of_one_host_are_joined() {
        let objects = [rule("b", "apps", "web.com", ""), rule("a", "apps", "web.com", "")];
        assert_eq!(found(&rules("infra", &objects), "web.com", "apps"), ["a", "b"]);
        let selecting = r#","workloadSelector":{"matchLabels":{"istio":"ingressgateway"}}"#;
        let other = r#","workloadSelector":{"matchLabels":{"istio":"egressgateway"}}"#;
        let objects = [
            rule("all", "infra", "web.com", ""),
            rule("selecting", "infra", "web.com", selecting),
            rule("other", "infra", "web.com", other),
        ];
        // One that selects is its namespace's own, one that does not is everybody's: they are not joined.
        assert_eq!(found(&rules("infra", &objects), "web.com", "apps"), ["selecting"]);
        assert_eq!(found(&rules("infra", &objects[..1]), "web.com", "apps"), ["all"]);
        let objects = [rule("all", "infra", "web.com", ""), rule("other", "infra", "web.com", other)];
        assert_eq!(found(&rules("infra", &objects), "web.com", "apps"), ["all"]);
    }

    #[test]
    fn a_rule_for_more_namespaces_adds_to_one_for_fewer() {
        let objects = [
            rule("a", "apps", "web.com", r#","exportTo":["infra"]"#),
            rule("b", "apps", "web.com", r#","exportTo":["infra","other"]"#),
            rule("c", "apps", "web.com", r#","exportTo":["third"]"#),
        ];
        assert_eq!(found(&rules("infra", &objects), "web.com", "apps"), ["a", "b"]);
        assert_eq!(found(&rules("other", &objects), "web.com", "apps"), ["b"]);
        assert_eq!(found(&rules("third", &objects), "web.com", "apps"), ["c"]);
    }
}
