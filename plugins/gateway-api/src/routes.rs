//! Routes: read one at a time, attached, and put into the tables of the listeners that accept them.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{Route as ModelRoute, StreamRoute};
use sekisho_sdk::{Finding, Object, ObjectKey};
use serde::de::DeserializeOwned;

use crate::attachment::{Applicant, Directory, Hostnames, Hosts, Parent, Place};
use crate::backends::Backends;
use crate::field::{Field, SPEC};
use crate::finding::{Fault, Findings};
use crate::gateways::Gateway;
use crate::hostname;
use crate::kinds::RouteKind;
use crate::listeners::Protocol;
use crate::matches::Matching;
use crate::objects::GROUP;
use crate::objects::http_route::{GrpcMatch, HttpMatch, Rule as RuleSpec};
use crate::objects::route::{ParentRef, Route as Spec, StreamRule};
use crate::precedence::Seniority;
use crate::rules::{Entrance, Led, Rule, RuleState};
use crate::snapshot::read_apart;
use crate::streams::{self, Way};
use crate::table::{Rows, Shadowed};

/// What a route that is ours leaves behind for its status.
#[derive(Debug)]
pub(crate) struct Route {
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
    /// Every Gateway and ListenerSet there is, also of other classes.
    pub(crate) known: HashSet<ObjectKey>,
}

/// The translation's routes and tables, as they grow.
pub(crate) struct Growing<'t> {
    pub(crate) backends: Backends<'t>,
    pub(crate) routes: Vec<ModelRoute>,
    pub(crate) streams: Vec<StreamRoute>,
    /// By index of the listener in the translation.
    pub(crate) tables: Vec<Rows>,
    pub(crate) findings: Vec<Finding>,
}

/// A route whose parents are known, with its rules as written.
struct Attached<R> {
    generation: i64,
    seniority: Rc<Seniority>,
    parents: Vec<Parent>,
    hostnames: Hostnames,
    written: Rc<Spec<R>>,
    /// About the route, not told yet.
    findings: Vec<Finding>,
}

impl Route {
    /// Reads a route and puts it where it belongs. None when it is none of our business.
    pub(crate) fn read(
        kind: RouteKind,
        object: &Object,
        around: &Surroundings<'_>,
        growing: &mut Growing<'_>,
    ) -> Option<Self> {
        match kind {
            RouteKind::Http => Self::of_requests::<HttpMatch>(object, around, growing),
            RouteKind::Grpc => Self::of_requests::<GrpcMatch>(object, around, growing),
            RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => Self::of_streams(kind, object, around, growing),
        }
    }

    fn of_requests<M: Matching>(object: &Object, around: &Surroundings<'_>, growing: &mut Growing<'_>) -> Option<Self> {
        let key = &object.key;
        let attached = Attached::<RuleSpec<M>>::read(M::KIND, object, around, growing)?;
        let Attached { generation, seniority, parents, hostnames, written, mut findings } = attached;
        let mut about = Findings::about(key, &mut findings);
        let mut rules = if parents.is_empty() {
            Vec::new()
        } else {
            rules(&written.spec.rules, &seniority, &key.namespace, &mut growing.backends, &mut about)
        };
        for (place, hosts) in places(&parents, around.gateways, Some(&hostnames)) {
            let listener = &around.gateways[place.0].listeners[place.1];
            let (Some(emitted), Some(port)) = (around.served(place), listener.port) else { continue };
            let entrance = Entrance { gateway: place.0, https: matches!(listener.protocol, Protocol::Https(_)), port };
            let rows = &mut growing.tables[emitted as usize];
            for rule in &mut rules {
                let mut led = Led { routes: &mut growing.routes, backends: &mut growing.backends };
                rule.put(rows, entrance, &hosts, &seniority, &mut led, &mut about);
            }
        }
        growing.findings.extend(findings);
        let rules = rules.into_iter().map(|rule| rule.state).collect();
        Some(Self { key: key.clone(), generation, parents, rules })
    }

    fn of_streams(
        kind: RouteKind,
        object: &Object,
        around: &Surroundings<'_>,
        growing: &mut Growing<'_>,
    ) -> Option<Self> {
        let key = &object.key;
        let attached = Attached::<StreamRule>::read(kind, object, around, growing)?;
        let Attached { generation, seniority, parents, hostnames, written, mut findings } = attached;
        let mut about = Findings::about(key, &mut findings);
        let mut rule = None;
        if !parents.is_empty() {
            let places = places(&parents, around.gateways, (kind == RouteKind::Tls).then_some(&hostnames));
            let way = |(gateway, listener): Place| match around.gateways[gateway].listeners[listener].protocol {
                Protocol::Tls(_) => Way::Open(gateway),
                _ => Way::Sealed,
            };
            let ways: Vec<_> = places.keys().map(|place| way(*place)).collect();
            let (namespace, backends) = (&key.namespace, &mut growing.backends);
            let rules = &written.spec.rules;
            let rule =
                rule.insert(streams::Rule::read(rules, kind, &ways, &seniority, namespace, backends, &mut about));
            for (place, hosts) in places {
                let Some(emitted) = around.served(place) else { continue };
                let stream = rule.stream(way(place), &mut growing.backends, &mut growing.streams);
                for (host, specificity) in hosts {
                    let rows = &mut growing.tables[emitted as usize];
                    if let Some(shadowed) = rows.add_stream(&host, specificity, &seniority, stream) {
                        let listener = &around.gateways[place.0].listeners[place.1].name;
                        report_shadowed(kind, &shadowed, &host, listener, &mut growing.findings);
                    }
                }
            }
        }
        growing.findings.extend(findings);
        Some(Self { key: key.clone(), generation, parents, rules: rule.into_iter().map(|rule| rule.state).collect() })
    }
}

impl<R: DeserializeOwned + 'static> Attached<R> {
    /// Reads what routes of all kinds have. None when it is none of our business.
    fn read(kind: RouteKind, object: &Object, around: &Surroundings<'_>, growing: &mut Growing<'_>) -> Option<Self> {
        let (written, apart) = read_apart::<Spec<R>>(object, &mut growing.findings)?;
        let Spec { metadata, spec } = &*written;
        let key = &object.key;
        if spec.parent_refs.is_empty() {
            // The field that would name one may be misspelt.
            growing.findings.extend(apart.iter().cloned());
            let fault = Fault::new("no-parent", "spec.parentRefs", "the route attaches to nothing", "name a Gateway");
            Findings::about(key, &mut growing.findings).warn(fault);
        }
        let mut list = apart;
        let mut findings = Findings::about(key, &mut list);
        let hostnames = hostnames(kind, &spec.hostnames, &mut findings);
        let named = !matches!(kind, RouteKind::Tcp | RouteKind::Udp);
        let applicant = Applicant { kind, key, hostnames: named.then_some(&hostnames) };
        let mut parents: Vec<Parent> = Vec::new();
        let list_field = SPEC.below("parentRefs");
        for (index, reference) in spec.parent_refs.iter().enumerate() {
            let field = list_field.at(index);
            let Some(target) = around.directory.find(reference, key) else {
                around.stray(reference, key, field, &mut growing.findings);
                continue;
            };
            if parents.iter().any(|parent| parent.reference == *reference) {
                findings.warn(Fault::new("duplicate-parent", field, "the same parent is named before", "remove it"));
                continue;
            }
            parents.push(around.directory.attach(reference.clone(), target, applicant, field, &mut findings));
        }
        if parents.is_empty() {
            return None;
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
        let seniority = Rc::new(Seniority::new(metadata.creation_timestamp.clone(), &key.namespace, &key.name));
        let generation = metadata.generation;
        Some(Self { generation, seniority, parents, hostnames, written, findings: list })
    }
}

impl Surroundings<'_> {
    /// The index in the translation of a listener that serves.
    fn served(&self, (gateway, listener): Place) -> Option<u32> {
        let gateway = &self.gateways[gateway];
        let listener = &gateway.listeners[listener];
        let served = gateway.refused.is_none() && listener.is_accepted();
        listener.emitted.as_ref().filter(|_| served).map(|emitted| emitted.listener)
    }

    /// A parent that is not ours: another controller's, or nobody's.
    fn stray(&self, reference: &ParentRef, route: &ObjectKey, field: Field<'_>, list: &mut Vec<Finding>) {
        if reference.group != GROUP {
            return;
        }
        let mut findings = Findings::about(route, list);
        let namespace = reference.namespace.as_ref().unwrap_or(&route.namespace);
        let kind = &*reference.kind;
        if !["Gateway", "ListenerSet"].contains(&kind) {
            let message = format!("routes do not attach to kind `{kind}`");
            findings.warn(Fault::new("unsupported-parent", field, message, "name a Gateway or a ListenerSet"));
        } else if !self.known.contains(&ObjectKey::new(GROUP, kind, namespace, &reference.name)) {
            let message = format!("there is no {kind} `{}` in namespace `{namespace}`", reference.name);
            findings.warn(Fault::new(
                "parent-not-found",
                field,
                message,
                "correct the name or the namespace, or create it",
            ));
        }
    }
}

/// Tells of a route whose connections another has.
fn report_shadowed(kind: RouteKind, shadowed: &Shadowed, host: &HostName, listener: &str, list: &mut Vec<Finding>) {
    let (namespace, name) = shadowed.route.name.split_once('/').unwrap_or_default();
    let which = if *host == HostName::Any { "all connections".to_owned() } else { format!("connections for `{host}`") };
    let message =
        format!("{which} at listener `{listener}` go to {} {}, which goes first", kind.name(), shadowed.by.name);
    let fault = Fault::new("shadowed-route", "spec.rules", message, "use another listener or host name");
    Findings::about(&ObjectKey::new(GROUP, kind.name(), namespace, name), list).warn(fault);
}

/// The listeners that a route attaches to, each once whichever parents lead there.
fn places(parents: &[Parent], gateways: &[Gateway], hostnames: Option<&Hostnames>) -> BTreeMap<Place, Hosts> {
    let hostnames = hostnames.unwrap_or(&Hostnames::Inherited);
    let attached = parents.iter().filter_map(|parent| parent.attached.as_ref().ok()).flatten();
    let hosts = |place: &Place| gateways[place.0].listeners[place.1].host.as_ref().map(|host| hostnames.at(host));
    attached.map(|place| (*place, hosts(place).unwrap_or_default())).collect()
}

fn hostnames(kind: RouteKind, specs: &[String], findings: &mut Findings<'_>) -> Hostnames {
    match kind {
        RouteKind::Tls if specs.is_empty() => {
            let remedy = "name the hosts, such as `www.example.com` or `*.example.com`";
            findings.refuse(Fault::new("missing-field", "spec.hostnames", "a TLSRoute needs host names", remedy));
            return Hostnames::Own(Vec::new());
        }
        RouteKind::Tcp | RouteKind::Udp if !specs.is_empty() => {
            let message = format!("a {} has no host names", kind.name());
            findings.warn(Fault::new("unused-field", "spec.hostnames", message, "remove them"));
            return Hostnames::Inherited;
        }
        _ if specs.is_empty() => return Hostnames::Inherited,
        _ => {}
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
fn rules<M: Matching>(
    specs: &[RuleSpec<M>],
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
