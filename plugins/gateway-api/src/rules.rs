//! The rules of an HTTPRoute or GRPCRoute: what each does with the requests it matches.
//!
//! A rule with something wrong in it is dropped from service, but not from the table: those of its matches that can be
//! read keep their place and answer 500 (gRPC: `UNAVAILABLE`). Their requests never fall to a wider rule that was not meant
//! for them.

mod answer;
mod session;

use std::rc::Rc;

use sekisho_sdk::model::{Action, Cors, Destination, Forward, HeaderOps, RedirectPort, Route};
use sekisho_sdk::{Origin, push, table};

use self::answer::Answer;
use crate::attachment::Hosts;
use crate::backends::{Backends, User};
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
    matches: Vec<Match>,
    headers: HeaderOps,
    cors: Option<Cors>,
    answer: Answer,
    emitted: Vec<(Variant, u32)>,
    pub(crate) state: RuleState,
}

/// What a rule leaves behind for the status.
#[derive(Debug, Default)]
pub(crate) struct RuleState {
    /// Its name, or its place in the list.
    pub(crate) label: String,
    /// Why it is dropped.
    pub(crate) invalid: Vec<Problem>,
    /// References that lead nowhere; their share of the requests answers 500.
    pub(crate) unresolved: Vec<Problem>,
    /// Where it is in the translation.
    pub(crate) routes: Vec<u32>,
    pub(crate) clusters: Vec<u32>,
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
    pub(crate) routes: &'l mut Vec<Route>,
    pub(crate) backends: &'l mut Backends<'s>,
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
    ) -> Self {
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
            clusters: Vec::new(),
        };
        let mut answer = reader.read(spec, filters);
        if let Answer::Forward(forward, _) = &mut answer {
            forward.session = session;
        }
        let clusters = std::mem::take(&mut reader.clusters);
        faults.extend(answer.check_matches(&matches, field));
        let answer = if refused || !faults.is_empty() { Answer::Refuse } else { answer };
        for fault in answer.remarks(spec, &matches, field) {
            findings.warn(fault);
        }
        let state = RuleState {
            label,
            invalid: faults.into_iter().map(|fault| findings.refuse(fault)).collect(),
            unresolved: unresolved.into_iter().map(|fault| findings.refuse(fault)).collect(),
            routes: Vec::new(),
            clusters,
        };
        Self { kind: M::KIND, index, name, matches, headers, cors, answer, emitted: Vec::new(), state }
    }

    /// Puts the rule into a listener's table, and its routes into the translation as far as they are not there yet.
    pub(crate) fn put(
        &mut self,
        rows: &mut Rows,
        entrance: Entrance,
        hosts: &Hosts,
        route: &Rc<Seniority>,
        led: &mut Led<'_, '_>,
        findings: &mut Findings<'_>,
    ) {
        for nth in 0..self.matches.len() {
            let Some(conditions) = rows.conditions(&self.matches[nth]) else {
                let message = "the routes of one listener look at too many different headers";
                let fault = Fault::new(
                    "too-many-inputs",
                    format!("spec.rules[{}].matches[{nth}]", self.index),
                    message,
                    "match fewer headers",
                );
                self.state.invalid.push(findings.refuse(fault));
                continue;
            };
            let index = self.route(nth, entrance, findings, led);
            let one = &self.matches[nth];
            for (host, specificity) in hosts {
                let precedence = one.precedence(*specificity, route, self.index, nth);
                let rule = table::Rule { route: index, path: one.path.rule(), conditions: conditions.clone() };
                rows.add(host, precedence, rule);
            }
        }
    }

    /// The index of the route for match `nth` at a listener.
    fn route(&mut self, nth: usize, entrance: Entrance, findings: &Findings<'_>, led: &mut Led<'_, '_>) -> u32 {
        let Led { routes, backends } = led;
        let prefix = match &self.matches[nth].path {
            Path::Prefix(prefix) if self.answer.needs_prefix() => Some(prefix.clone()),
            _ => None,
        };
        let shown = backends.showing(entrance.gateway, &self.state.clusters);
        let variant = Variant { prefix, port: self.answer.redirect_port(entrance), shown };
        if let Some((_, index)) = self.emitted.iter().find(|(known, _)| *known == variant) {
            return *index;
        }
        let origin =
            Origin { object: findings.object().clone(), field: SPEC.below("rules").at(self.index).to_string() };
        let mut action = self.answer.action(variant.prefix.as_deref().unwrap_or("/"), variant.port, self.kind);
        if let (Some(gateway), Action::Forward(forward)) = (shown, &mut action) {
            self.show(forward, gateway, backends);
        }
        let mut route = Route::new(&self.name, origin, action);
        if !matches!(self.answer, Answer::Refuse) {
            route.headers = self.headers.clone();
            route.cors = self.cors.clone();
        }
        let index = push(routes, route);
        self.emitted.push((variant, index));
        self.state.routes.push(index);
        index
    }
}

impl Rule {
    /// Leads to the clusters that are shown the Gateway's certificate.
    fn show(&mut self, forward: &mut Forward, gateway: usize, backends: &mut Backends<'_>) {
        let targets = forward.targets.iter_mut().filter_map(|target| match &mut target.to {
            Destination::Cluster(cluster) => Some(cluster),
            Destination::Respond(_) => None,
        });
        for cluster in targets.chain(forward.mirrors.iter_mut().map(|mirror| &mut mirror.cluster)) {
            *cluster = backends.through(*cluster, gateway);
            if !self.state.clusters.contains(cluster) {
                self.state.clusters.push(*cluster);
            }
        }
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
