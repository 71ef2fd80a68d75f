//! HTTPRoutes: read one at a time, attached, and put into the tables of the listeners that accept them.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use sekisho_sdk::model::Route;
use sekisho_sdk::{Finding, Object, ObjectKey};

use crate::attachment::{Directory, Hostnames, Hosts, Parent, Place};
use crate::backends::Backends;
use crate::field::{Field, SPEC};
use crate::finding::{Fault, Findings};
use crate::gateways::Gateway;
use crate::hostname;
use crate::objects::GROUP;
use crate::objects::http_route::{HttpRoute as Spec, ParentRef, Rule as RuleSpec};
use crate::precedence::Seniority;
use crate::rules::{Entrance, Led, Rule, RuleState};
use crate::snapshot::read_apart;
use crate::table::Rows;

/// What an HTTPRoute that is ours leaves behind for its status.
#[derive(Debug)]
pub(crate) struct HttpRoute {
    pub(crate) key: ObjectKey,
    pub(crate) generation: i64,
    /// Empty when it was ours before and is no longer.
    pub(crate) parents: Vec<Parent>,
    pub(crate) rules: Vec<RuleState>,
}

/// What routes are read against.
pub(crate) struct Surroundings<'t> {
    pub(crate) gateways: &'t [Gateway],
    pub(crate) directory: Directory<'t>,
    /// Every Gateway there is, also of other classes.
    pub(crate) known_gateways: HashSet<(String, String)>,
    pub(crate) controller: &'t str,
}

/// The translation's routes and tables, as they grow.
pub(crate) struct Growing<'t> {
    pub(crate) backends: Backends<'t>,
    pub(crate) routes: Vec<Route>,
    /// By index of the listener in the translation.
    pub(crate) tables: Vec<Rows>,
    pub(crate) findings: Vec<Finding>,
}

impl HttpRoute {
    /// Reads a route and puts it where it belongs. None when it is none of our business.
    pub(crate) fn read(object: &Object, around: &Surroundings<'_>, growing: &mut Growing<'_>) -> Option<Self> {
        let (Spec { metadata, spec, status }, apart) = read_apart::<Spec>(object, &mut growing.findings)?;
        let key = &object.key;
        if spec.parent_refs.is_empty() {
            // The field that would name one may be misspelt.
            growing.findings.extend(apart.iter().cloned());
        }
        let mut list = apart;
        let mut findings = Findings::about(key, &mut list);
        let hostnames = hostnames(&spec.hostnames, &mut findings);
        if spec.parent_refs.is_empty() {
            let fault = Fault::new("no-parent", "spec.parentRefs", "the route attaches to nothing", "name a Gateway");
            Findings::about(key, &mut growing.findings).warn(fault);
        }
        let mut parents: Vec<Parent> = Vec::new();
        let list_field = SPEC.below("parentRefs");
        for (index, reference) in spec.parent_refs.into_iter().enumerate() {
            let field = list_field.at(index);
            let Some(gateway) = around.directory.find(&reference, key) else {
                around.stray(&reference, key, field, &mut growing.findings);
                continue;
            };
            if parents.iter().any(|parent| parent.reference == reference) {
                findings.warn(Fault::new("duplicate-parent", field, "the same parent is named before", "remove it"));
                continue;
            }
            parents.push(around.directory.attach(reference, gateway, key, &hostnames, field, &mut findings));
        }
        if parents.is_empty() {
            // Somebody else's, unless we have left a status there.
            let mut seen = status.into_iter().flat_map(|status| status.parents);
            let was_ours = seen.any(|parent| parent.controller_name == around.controller);
            return was_ours.then(|| Self {
                key: key.clone(),
                generation: metadata.generation,
                parents,
                rules: Vec::new(),
            });
        }
        if spec.use_default_gateways.as_deref().is_some_and(|scope| !["", "None"].contains(&scope)) {
            let message = "routes attach by `parentRefs` only";
            findings.warn(Fault::new(
                "unsupported-field",
                "spec.useDefaultGateways",
                message,
                "name the Gateways in `parentRefs`",
            ));
        }
        let seniority = Rc::new(Seniority::new(metadata.creation_timestamp, &key.namespace, &key.name));
        let mut rules = rules(&spec.rules, &seniority, &key.namespace, &mut growing.backends, &mut findings);
        for (place, hosts) in places(&parents, around.gateways, &hostnames) {
            let listener = &around.gateways[place.0].listeners[place.1];
            let served = around.gateways[place.0].refused.is_none() && listener.is_accepted();
            let (true, Some(emitted), Some(port)) = (served, &listener.emitted, listener.port) else { continue };
            let entrance = Entrance { gateway: place.0, https: listener.is_https(), port };
            let rows = &mut growing.tables[emitted.listener as usize];
            for rule in &mut rules {
                let mut led = Led { routes: &mut growing.routes, backends: &mut growing.backends };
                rule.put(rows, entrance, &hosts, &seniority, &mut led, &mut findings);
            }
        }
        growing.findings.extend(list);
        let rules = rules.into_iter().map(|rule| rule.state).collect();
        Some(Self { key: key.clone(), generation: metadata.generation, parents, rules })
    }
}

impl Surroundings<'_> {
    /// A parent that is not ours: another controller's, or nobody's.
    fn stray(&self, reference: &ParentRef, route: &ObjectKey, field: Field<'_>, list: &mut Vec<Finding>) {
        if reference.group != GROUP {
            return;
        }
        let mut findings = Findings::about(route, list);
        let namespace = reference.namespace.as_ref().unwrap_or(&route.namespace);
        if reference.kind != "Gateway" {
            let message = format!("routes do not attach to kind `{}` here yet", reference.kind);
            findings.warn(Fault::new("unsupported-parent", field, message, "name a Gateway"));
        } else if !self.known_gateways.contains(&(namespace.clone(), reference.name.clone())) {
            let message = format!("there is no Gateway `{}` in namespace `{namespace}`", reference.name);
            findings.warn(Fault::new(
                "parent-not-found",
                field,
                message,
                "correct the name or the namespace, or create it",
            ));
        }
    }
}

/// The listeners that a route attaches to, each once whichever parents lead there.
fn places(parents: &[Parent], gateways: &[Gateway], hostnames: &Hostnames) -> BTreeMap<Place, Hosts> {
    let attached = parents.iter().filter_map(|parent| parent.attached.as_ref().ok()).flatten();
    let hosts = |place: &Place| gateways[place.0].listeners[place.1].host.as_ref().map(|host| hostnames.at(host));
    attached.map(|place| (*place, hosts(place).unwrap_or_default())).collect()
}

fn hostnames(specs: &[String], findings: &mut Findings<'_>) -> Hostnames {
    if specs.is_empty() {
        return Hostnames::Inherited;
    }
    let mut names = Vec::new();
    for (index, text) in specs.iter().enumerate() {
        match hostname::parse(text) {
            Ok(name) => names.push(name),
            Err(why) => {
                let remedy = "give a name such as `www.example.com` or `*.example.com`; until then it is left out";
                findings.refuse(Fault::new("invalid-hostname", format!("spec.hostnames[{index}]"), why, remedy));
            }
        }
    }
    Hostnames::Own(names)
}

/// A route without rules has one that matches everything and leads nowhere.
fn rules(
    specs: &[RuleSpec],
    route: &Seniority,
    namespace: &str,
    backends: &mut Backends<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Rule> {
    let implied = [RuleSpec::default()];
    let specs = if specs.is_empty() { &implied } else { specs };
    let mut names = HashSet::new();
    let mut rules = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        if let Some(name) = spec.name.as_deref().filter(|name| !name.is_empty())
            && !names.insert(name)
        {
            let message = format!("another rule is called `{name}` already");
            findings.warn(Fault::new(
                "duplicate-rule",
                format!("spec.rules[{index}].name"),
                message,
                "choose another name",
            ));
        }
        rules.push(Rule::read(spec, index, route, namespace, backends, findings));
    }
    rules
}
