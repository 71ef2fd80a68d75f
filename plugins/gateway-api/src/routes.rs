//! Routes: read, attached, and put into the tables of the listeners that accept them.
//!
//! What a route says is remembered for the next translation, for as long as all that it was read against is the same; where
//! it is in the translation depends on all other routes and is found out each time.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{Route as ModelRoute, StreamRoute};
use sekisho_sdk::objects::{Basis, remember};
use sekisho_sdk::{Finding, Object, ObjectKey, Services};
use serde::de::DeserializeOwned;

use crate::attachment::{Applicant, Directory, Hostnames, Hosts, Parent, Place};
use crate::backends::{Backends, LookedUp};
use crate::clusters::Clusters;
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
use crate::rules::{Entrance, Led, Placed, Rule, RuleState};
use crate::snapshot::read_apart;
use crate::streams::{self, Emitted, Way};
use crate::table::{Rows, Shadowed};

/// What an object says that is a route. Of thousands that are remembered no list has room to spare.
pub(crate) struct Reading {
    basis: Basis,
    looked_up: Box<[LookedUp]>,
    findings: Box<[Finding]>,
    /// None when it is none of our business.
    route: Option<Route>,
}

/// A route that is ours, ready to be put into tables.
struct Route {
    seniority: Rc<Seniority>,
    /// The listeners that it attaches to, each once whichever parents lead there.
    places: Box<[(Place, Hosts)]>,
    rules: Rules,
    state: Rc<RouteState>,
}

enum Rules {
    OfRequests(Box<[Rule]>),
    OfStreams(RouteKind, streams::Rule),
}

/// What is to be said of a route wherever it is put.
#[derive(Debug)]
pub(crate) struct RouteState {
    pub(crate) object: Object,
    pub(crate) generation: i64,
    pub(crate) parents: Box<[Parent]>,
    pub(crate) rules: Box<[RuleState]>,
}

/// A route in the translation, for its status.
#[derive(Debug)]
pub(crate) struct PlacedRoute {
    pub(crate) state: Rc<RouteState>,
    /// As many as there are rules.
    pub(crate) rules: Vec<Placed>,
}

/// What routes are read against.
pub(crate) struct Surroundings<'t> {
    /// All of them but the Services.
    pub(crate) basis: Basis,
    pub(crate) services: &'t Services,
    pub(crate) gateways: &'t [Gateway],
    pub(crate) directory: Directory<'t>,
    /// Every Gateway and ListenerSet there is, also of other classes.
    pub(crate) known: HashSet<ObjectKey>,
}

/// The translation's routes and tables, as they grow.
pub(crate) struct Growing<'t> {
    pub(crate) clusters: Clusters<'t>,
    pub(crate) routes: Vec<Rc<ModelRoute>>,
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
}

impl Reading {
    /// Reads a route, or finds it read.
    pub(crate) fn of(
        kind: RouteKind,
        object: &Object,
        around: &Surroundings<'_>,
        backends: &mut Backends<'_>,
    ) -> Rc<Self> {
        let holds = |known: &Self| {
            known.basis == around.basis && known.looked_up.iter().all(|service| service.holds(around.services))
        };
        remember(object, holds, || {
            let mut findings = Vec::new();
            let route = Route::read(kind, object, around, backends, &mut findings);
            let (looked_up, findings) = (backends.looked_up().into(), findings.into());
            Self { basis: around.basis.clone(), looked_up, findings, route }
        })
    }

    /// Puts the route where it belongs, if it is ours.
    pub(crate) fn put(&self, around: &Surroundings<'_>, growing: &mut Growing<'_>) -> Option<PlacedRoute> {
        growing.findings.extend(self.findings.iter().cloned());
        self.route.as_ref().map(|route| route.put(around, growing))
    }
}

impl Route {
    fn read(
        kind: RouteKind,
        object: &Object,
        around: &Surroundings<'_>,
        backends: &mut Backends<'_>,
        list: &mut Vec<Finding>,
    ) -> Option<Self> {
        match kind {
            RouteKind::Http => Self::of_requests::<HttpMatch>(object, around, backends, list),
            RouteKind::Grpc => Self::of_requests::<GrpcMatch>(object, around, backends, list),
            RouteKind::Tls | RouteKind::Tcp | RouteKind::Udp => Self::of_streams(kind, object, around, backends, list),
        }
    }

    fn of_requests<M: Matching>(
        object: &Object,
        around: &Surroundings<'_>,
        backends: &mut Backends<'_>,
        list: &mut Vec<Finding>,
    ) -> Option<Self> {
        let attached = Attached::<RuleSpec<M>>::read(M::KIND, object, around, list)?;
        let places = attached.places(around, true);
        let (written, mut findings) = (&attached.written.spec.rules, Findings::about(&object.key, list));
        let rules = rules(written, &attached.seniority, &object.key.namespace, backends, &mut findings);
        let (rules, states): (Vec<_>, Vec<_>) = rules.into_iter().unzip();
        Some(attached.with(object, places, Rules::OfRequests(rules.into()), states))
    }

    fn of_streams(
        kind: RouteKind,
        object: &Object,
        around: &Surroundings<'_>,
        backends: &mut Backends<'_>,
        list: &mut Vec<Finding>,
    ) -> Option<Self> {
        let attached = Attached::<StreamRule>::read(kind, object, around, list)?;
        let places = attached.places(around, kind == RouteKind::Tls);
        let ways: Vec<_> = places.keys().map(|place| around.way(*place)).collect();
        let (written, mut findings) = (&attached.written.spec.rules, Findings::about(&object.key, list));
        let namespace = &object.key.namespace;
        let (rule, state) =
            streams::Rule::read(written, kind, &ways, &attached.seniority, namespace, backends, &mut findings);
        Some(attached.with(object, places, Rules::OfStreams(kind, rule), vec![state]))
    }

    fn put(&self, around: &Surroundings<'_>, growing: &mut Growing<'_>) -> PlacedRoute {
        let rules = match &self.rules {
            Rules::OfRequests(rules) => self.put_requests(rules, around, growing),
            Rules::OfStreams(kind, rule) => vec![self.put_streams(*kind, rule, around, growing)],
        };
        PlacedRoute { state: Rc::clone(&self.state), rules }
    }

    fn put_requests(&self, rules: &[Rule], around: &Surroundings<'_>, growing: &mut Growing<'_>) -> Vec<Placed> {
        let mut findings = Findings::about(&self.state.object.key, &mut growing.findings);
        let mut placed: Vec<_> = rules.iter().map(|rule| rule.lead(&mut growing.clusters)).collect();
        for (place, hosts) in &self.places {
            let listener = &around.gateways[place.0].listeners[place.1];
            let (Some(emitted), Some(port)) = (around.served(*place), listener.port) else { continue };
            let entrance = Entrance { gateway: place.0, https: matches!(listener.protocol, Protocol::Https(_)), port };
            let rows = &mut growing.tables[emitted as usize];
            for (rule, placed) in rules.iter().zip(&mut placed) {
                let mut led = Led { routes: &mut growing.routes, clusters: &mut growing.clusters };
                rule.put(placed, rows, (entrance, hosts), &self.seniority, &mut led, &mut findings);
            }
        }
        placed
    }

    fn put_streams(
        &self,
        kind: RouteKind,
        rule: &streams::Rule,
        around: &Surroundings<'_>,
        growing: &mut Growing<'_>,
    ) -> Placed {
        let (mut placed, mut emitted) = (rule.lead(&mut growing.clusters), Emitted::default());
        for (place, hosts) in &self.places {
            let Some(listener) = around.served(*place) else { continue };
            let way = around.way(*place);
            let stream = rule.stream(way, &mut placed, &mut emitted, &mut growing.clusters, &mut growing.streams);
            for (host, specificity) in hosts {
                let rows = &mut growing.tables[listener as usize];
                if let Some(shadowed) = rows.add_stream(host, *specificity, &self.seniority, stream) {
                    let listener = &around.gateways[place.0].listeners[place.1].name;
                    report_shadowed(kind, &shadowed, host, listener, &mut growing.findings);
                }
            }
        }
        placed
    }
}

impl<R: DeserializeOwned + 'static> Attached<R> {
    /// Reads what routes of all kinds have. None when it is none of our business.
    fn read(kind: RouteKind, object: &Object, around: &Surroundings<'_>, said: &mut Vec<Finding>) -> Option<Self> {
        let (written, apart) = read_apart::<Spec<R>>(object, said)?;
        let Spec { metadata, spec } = &*written;
        let key = &object.key;
        if spec.parent_refs.is_empty() {
            // The field that would name one may be misspelt.
            said.extend(apart.iter().cloned());
            let fault = Fault::new("no-parent", "spec.parentRefs", "the route attaches to nothing", "name a Gateway");
            Findings::about(key, said).warn(fault);
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
                around.stray(reference, key, field, said);
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
        said.extend(list);
        Some(Self { generation, seniority, parents, hostnames, written })
    }
}

impl<R> Attached<R> {
    /// The listeners that it attaches to, each once whichever parents lead there, and under which names; all of the
    /// listener's where those of the route do not count.
    fn places(&self, around: &Surroundings<'_>, named: bool) -> BTreeMap<Place, Hosts> {
        let hostnames = if named { &self.hostnames } else { &Hostnames::Inherited };
        let attached = self.parents.iter().filter_map(|parent| parent.attached.as_ref().ok()).flatten();
        let hosts = |place: &Place| around.gateways[place.0].listeners[place.1].host.as_ref();
        attached.map(|place| (*place, hosts(place).map(|host| hostnames.at(host)).unwrap_or_default())).collect()
    }

    fn with(self, object: &Object, places: BTreeMap<Place, Hosts>, rules: Rules, states: Vec<RuleState>) -> Route {
        let Self { generation, seniority, parents, .. } = self;
        let (object, parents) = (object.clone(), parents.into());
        let state = Rc::new(RouteState { object, generation, parents, rules: states.into() });
        Route { seniority, places: places.into_iter().collect(), rules, state }
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

    /// How connections come from a listener to the backends of a route.
    fn way(&self, (gateway, listener): Place) -> Way {
        match self.gateways[gateway].listeners[listener].protocol {
            Protocol::Tls(_) => Way::Open(gateway),
            _ => Way::Sealed,
        }
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
) -> Vec<(Rule, RuleState)> {
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
