//! The rules of an HTTPRoute or GRPCRoute: what each does with the requests it matches.
//!
//! A rule with something wrong in it is dropped from service, but not from the table: those of its matches that can be
//! read keep their place and answer 500 (gRPC: `UNAVAILABLE`). Their requests never fall to a wider rule that was not meant
//! for them.

mod answer;
mod session;

use std::cell::RefCell;
use std::rc::Rc;

use sekisho_sdk::model::{Cors, HeaderOps, RedirectPort, Route};
use sekisho_sdk::{Origin, push, table};

use self::answer::Answer;
use crate::attachment::Hosts;
use crate::backends::{Backend, Backends, User};
use crate::clusters::Clusters;
use crate::field::{Field, SPEC};
use crate::filters::Filters;
use crate::finding::{Fault, Findings, Problem};
use crate::kinds::RouteKind;
use crate::matches::{Match, Matching, Path};
use crate::objects::http_route::Rule as Spec;
use crate::precedence::Seniority;
use crate::table::Rows;

/// The greatest weight that the API knows.
const MOST_WEIGHT: u32 = 1_000_000;

/// The weight of the backend at `field`, which is 1 where none is written.
pub(crate) fn weight(written: Option<i64>, field: Field<'_>) -> Result<u32, Fault> {
    let written = written.unwrap_or(1);
    u32::try_from(written).ok().filter(|weight| *weight <= MOST_WEIGHT).ok_or_else(|| {
        let message = format!("{written} is not a weight");
        Fault::new("invalid-weight", format!("{field}.weight"), message, "give a number from 0 to 1000000")
    })
}

/// A rule, ready to be put into tables.
pub(crate) struct Rule {
    kind: RouteKind,
    index: usize,
    /// For logs and metrics: `namespace/route/rule`.
    name: String,
    matches: Box<[Match]>,
    headers: HeaderOps,
    cors: Option<Cors>,
    answer: Answer,
    /// In the answer, these are called by their places here.
    backends: Box<[Rc<Backend>]>,
    /// The routes that it was in the translation before.
    made: RefCell<Vec<Made>>,
}

/// What is to be said of a rule wherever it is put.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    /// Its name, or its place in the list.
    pub(crate) label: String,
    /// Why it is dropped.
    pub(crate) invalid: Vec<Problem>,
    /// References that lead nowhere; their share of the requests answers 500.
    pub(crate) unresolved: Vec<Problem>,
}

/// Where a rule is in the translation.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// Why there are matches of it that are not.
    pub(crate) invalid: Vec<Problem>,
    /// Its backends in their order, and those that are shown a certificate.
    pub(crate) clusters: Vec<u32>,
    routes: Vec<(Variant, u32)>,
}

/// A route as it was, for a rule that became it again.
struct Made {
    variant: Variant,
    /// Where it leads, in the order of [`Answer::leads`].
    clusters: Vec<u32>,
    route: Rc<Route>,
}

/// What makes one rule several routes: the prefix that matched, the port that redirects name, and the Gateway that shows
/// its backends a certificate.
#[derive(Clone, Debug, PartialEq)]
struct Variant {
    prefix: Option<String>,
    port: Option<RedirectPort>,
    shown: Option<usize>,
}

/// The listener that a rule is put into the table of.
#[derive(Clone, Copy)]
pub(crate) struct Entrance {
    /// The index of its Gateway.
    pub(crate) gateway: usize,
    pub(crate) https: bool,
    pub(crate) port: u16,
}

/// What of the translation rules lead to.
pub(crate) struct Led<'l, 's> {
    pub(crate) routes: &'l mut Vec<Rc<Route>>,
    pub(crate) clusters: &'l mut Clusters<'s>,
}

impl Placed {
    /// Where the backends of a rule are.
    pub(crate) fn leading_to(backends: &[Rc<Backend>], clusters: &mut Clusters<'_>) -> Self {
        Self { clusters: backends.iter().map(|backend| clusters.of(backend)).collect(), ..Self::default() }
    }

    /// Its routes.
    pub(crate) fn routes(&self) -> impl Iterator<Item = u32> {
        self.routes.iter().map(|(_, index)| *index)
    }

    /// The cluster of the backend at this place; the one that the Gateway reaches it by, if one is shown a certificate.
    pub(crate) fn cluster(&mut self, backend: usize, shown: Option<usize>, clusters: &mut Clusters<'_>) -> u32 {
        let cluster = self.clusters[backend];
        let Some(gateway) = shown else { return cluster };
        let cluster = clusters.through(cluster, gateway);
        if !self.clusters.contains(&cluster) {
            self.clusters.push(cluster);
        }
        cluster
    }
}

impl Rule {
    /// Reads rule `index` of a route that lives in `namespace` and is called `route` (`namespace/name`).
    pub(crate) fn read<M: Matching>(
        spec: &Spec<M>,
        index: usize,
        route: &Seniority,
        namespace: &str,
        backends: &mut Backends<'_>,
        findings: &mut Findings<'_>,
    ) -> (Self, RuleState) {
        let list = SPEC.below("rules");
        let field = list.at(index);
        let label = spec.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| index.to_string());
        let name = format!("{}/{label}", route.name);
        let mut faults = Vec::new();
        let matches = matches(spec, field, &mut faults);
        let mut filters = Filters::read(&spec.filters, M::KIND, field.below("filters"), &mut faults);
        let mut unresolved = std::mem::take(&mut filters.unresolved);
        let session = spec.session_persistence.as_ref();
        let session = session.and_then(|session| session::read(session, &name, &matches, field, &mut faults));
        let headers = std::mem::take(&mut filters.headers);
        let cors = filters.cors.take();
        let refused = !unresolved.is_empty();
        if M::KIND == RouteKind::Grpc && (spec.timeouts.is_some() || spec.retry.is_some()) {
            let message = "a GRPCRoute has neither `timeouts` nor `retry`";
            faults.push(Fault::new("unsupported-field", field, message, "remove them"));
        }
        let mut reader = answer::Reader {
            field,
            user: User { kind: M::KIND, namespace, sealed: false },
            backends,
            faults: &mut faults,
            unresolved: &mut unresolved,
            led: Vec::new(),
        };
        let mut answer = reader.read(spec, filters);
        if let Answer::Forward(forward, _) = &mut answer {
            forward.session = session;
        }
        let backends = std::mem::take(&mut reader.led);
        faults.extend(answer.check_matches(&matches, field));
        let answer = if refused || !faults.is_empty() { Answer::Refuse } else { answer };
        for fault in answer.remarks(spec, &matches, field) {
            findings.warn(fault);
        }
        let state = RuleState {
            label,
            invalid: faults.into_iter().map(|fault| findings.refuse(fault)).collect(),
            unresolved: unresolved.into_iter().map(|fault| findings.refuse(fault)).collect(),
        };
        let made = RefCell::default();
        let (matches, backends) = (matches.into(), backends.into());
        (Self { kind: M::KIND, index, name, matches, headers, cors, answer, backends, made }, state)
    }

    /// Where it leads in the translation; it is still to be put somewhere.
    pub(crate) fn lead(&self, clusters: &mut Clusters<'_>) -> Placed {
        Placed::leading_to(&self.backends, clusters)
    }

    /// Puts the rule into a listener's table, and its routes into the translation as far as they are not there yet.
    pub(crate) fn put(
        &self,
        placed: &mut Placed,
        rows: &mut Rows,
        (entrance, hosts): (Entrance, &Hosts),
        route: &Rc<Seniority>,
        led: &mut Led<'_, '_>,
        findings: &mut Findings<'_>,
    ) {
        for (nth, one) in self.matches.iter().enumerate() {
            let Some(conditions) = rows.conditions(one) else {
                let message = "the routes of one listener look at too many different headers";
                let fault = Fault::new(
                    "too-many-inputs",
                    format!("spec.rules[{}].matches[{nth}]", self.index),
                    message,
                    "match fewer headers",
                );
                placed.invalid.push(findings.refuse(fault));
                continue;
            };
            let index = self.route(one, entrance, placed, findings, led);
            for (host, specificity) in hosts {
                let precedence = one.precedence(*specificity, route, self.index, nth);
                let rule = table::Rule { route: index, path: one.path.rule(), conditions: conditions.clone() };
                rows.add(host, precedence, rule);
            }
        }
    }

    /// The index of the route for a match at a listener.
    fn route(
        &self,
        one: &Match,
        entrance: Entrance,
        placed: &mut Placed,
        findings: &Findings<'_>,
        led: &mut Led<'_, '_>,
    ) -> u32 {
        let prefix = match &one.path {
            Path::Prefix(prefix) if self.answer.needs_prefix() => Some(prefix.clone()),
            _ => None,
        };
        let shown = led.clusters.showing(entrance.gateway, &placed.clusters);
        let variant = Variant { prefix, port: self.answer.redirect_port(entrance), shown };
        if let Some((_, index)) = placed.routes.iter().find(|(known, _)| *known == variant) {
            return *index;
        }
        let clusters = self.answer.leads().map(|backend| placed.cluster(backend, shown, led.clusters)).collect();
        let index = push(led.routes, self.make(variant.clone(), clusters, findings));
        placed.routes.push((variant, index));
        index
    }

    /// The route that leads to these clusters; the one that was made before, if it is the same.
    fn make(&self, variant: Variant, clusters: Vec<u32>, findings: &Findings<'_>) -> Rc<Route> {
        let mut made = self.made.borrow_mut();
        let before = made.iter().position(|made| made.variant == variant);
        if let Some(before) = before.map(|index| &made[index]).filter(|before| before.clusters == clusters) {
            return Rc::clone(&before.route);
        }
        let origin =
            Origin { object: findings.object().clone(), field: SPEC.below("rules").at(self.index).to_string() };
        let matched = variant.prefix.as_deref().unwrap_or("/");
        let action = self.answer.action(matched, variant.port, &clusters, self.kind);
        let mut route = Route::new(&self.name, origin, action);
        if !matches!(self.answer, Answer::Refuse) {
            route.headers = self.headers.clone();
            route.cors = self.cors.clone();
        }
        let new = Made { variant, clusters, route: Rc::new(route) };
        let route = Rc::clone(&new.route);
        match before {
            Some(index) => made[index] = new,
            None => {
                made.reserve_exact(1);
                made.push(new);
            }
        }
        route
    }
}

/// The matches that can be read. Without any written, everything matches.
fn matches<M: Matching>(spec: &Spec<M>, field: Field<'_>, faults: &mut Vec<Fault>) -> Vec<Match> {
    if spec.matches.is_empty() {
        return vec![M::any()];
    }
    let read = spec.matches.iter().enumerate();
    read.filter_map(|(nth, one)| one.read(field.below("matches").at(nth), faults)).collect()
}
