//! The rules of TLSRoute, TCPRoute and UDPRoute: where connections go that are forwarded as bytes.

use std::rc::Rc;

use sekisho_sdk::model::{StreamRoute, StreamTarget};
use sekisho_sdk::{Origin, push};

use crate::backends::{Backend, Backends, User};
use crate::clusters::Clusters;
use crate::field::SPEC;
use crate::finding::{Fault, Findings};
use crate::kinds::RouteKind;
use crate::objects::route::StreamRule;
use crate::precedence::Seniority;
use crate::rules::{Placed, RuleState, weight};

/// The rule of a route. The API knows one only, as nothing tells rules apart.
pub(crate) struct Rule {
    name: String,
    origin: Origin,
    targets: Vec<Target>,
    /// Targets call them by their places here.
    backends: Vec<Rc<Backend>>,
}

/// A rule's streams in the translation.
#[derive(Default)]
pub(crate) struct Emitted(Vec<(Variant, u32)>);

/// A backend with a weight. One that leads nowhere keeps its weight and closes what falls on it.
struct Target {
    weight: u32,
    /// For bytes as the client sent them.
    sealed: Option<usize>,
    /// For bytes that were decrypted here.
    open: Option<usize>,
}

/// How connections come to the rule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the client sent them.
    Sealed,
    /// Decrypted, at a listener of the Gateway of this index.
    Open(usize),
}

/// What makes one rule several streams.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Variant {
    sealed: bool,
    /// The Gateway whose certificate backends are shown.
    shown: Option<usize>,
}

impl Rule {
    /// Reads the rule of a route that lives in `namespace` and is called `route` (`namespace/name`), for connections that
    /// come in these ways.
    pub(crate) fn read(
        specs: &[StreamRule],
        kind: RouteKind,
        ways: &[Way],
        route: &Seniority,
        namespace: &str,
        backends: &mut Backends<'_>,
        findings: &mut Findings<'_>,
    ) -> (Self, RuleState) {
        let list = SPEC.below("rules");
        if specs.len() > 1 {
            let message = format!("a {} has one rule; the others are never asked", kind.name());
            findings.warn(Fault::new("unused-rule", list.at(1), message, "use several routes"));
        }
        let none = StreamRule::default();
        let spec = specs.first().unwrap_or(&none);
        let label = spec.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "0".to_owned());
        let mut state = RuleState { label, ..RuleState::default() };
        let rule = list.at(0);
        let list = rule.below("backendRefs");
        let open = ways.iter().any(|way| matches!(way, Way::Open(_)));
        let (mut targets, mut led) = (Vec::new(), Vec::new());
        for (index, spec) in spec.backend_refs.iter().enumerate() {
            let field = list.at(index);
            let weight = match weight(spec.weight, field) {
                Ok(weight) => weight,
                Err(fault) => {
                    state.invalid.push(findings.refuse(fault));
                    continue;
                }
            };
            // No listener takes it, so where it leads is nobody's business.
            if kind == RouteKind::Udp {
                continue;
            }
            if kind == RouteKind::Tcp && backends.is_policed(spec.into(), namespace) {
                let message =
                    "what a TCPRoute carries goes on as it came; the BackendTLSPolicy for this port has no effect";
                let remedy = "use a TLSRoute at a listener where TLS ends, or let clients speak TLS to the backend";
                findings.warn(Fault::new("unused-policy", field, message, remedy));
            }
            let mut lead = |sealed| backends.resolve(spec.into(), User { kind, namespace, sealed }, field);
            // Both fail for the same reasons, so one of them is told.
            let sealed = (!open || ways.contains(&Way::Sealed)).then(|| lead(true)).transpose();
            let opened = open.then(|| lead(false)).transpose();
            let mut place = |backend: Rc<Backend>| {
                led.push(backend);
                led.len() - 1
            };
            let target = match (sealed, opened) {
                (Ok(sealed), Ok(open)) => Target { weight, sealed: sealed.map(&mut place), open: open.map(&mut place) },
                (Err(fault), _) | (_, Err(fault)) => {
                    state.unresolved.push(findings.refuse(fault));
                    Target { weight, sealed: None, open: None }
                }
            };
            if weight > 0 {
                targets.push(target);
            }
        }
        if !state.invalid.is_empty() {
            targets.clear();
        } else if targets.is_empty() && kind != RouteKind::Udp {
            let message = "no weight is on any backend, so connections are closed";
            findings.warn(Fault::new("no-backend", list, message, "add a backend"));
        }
        let origin = Origin { object: findings.object().clone(), field: rule.to_string() };
        let name = format!("{}/{}", route.name, state.label);
        (Self { name, origin, targets, backends: led }, state)
    }

    /// Where it leads in the translation; its streams are still to be put there.
    pub(crate) fn lead(&self, clusters: &mut Clusters<'_>) -> Placed {
        Placed::leading_to(&self.backends, clusters)
    }

    /// The index of the stream for connections that come in one of the ways, which is put into the translation if it is
    /// not there yet.
    pub(crate) fn stream(
        &self,
        way: Way,
        placed: &mut Placed,
        emitted: &mut Emitted,
        clusters: &mut Clusters<'_>,
        streams: &mut Vec<StreamRoute>,
    ) -> u32 {
        let variant = match way {
            Way::Sealed => Variant { sealed: true, shown: None },
            Way::Open(gateway) => {
                let open = self.targets.iter().filter_map(|target| target.open);
                let open: Vec<_> = open.map(|backend| placed.clusters[backend]).collect();
                Variant { sealed: false, shown: clusters.showing(gateway, &open) }
            }
        };
        if let Some((_, index)) = emitted.0.iter().find(|(known, _)| *known == variant) {
            return *index;
        }
        let targets = self.targets.iter().map(|target| {
            let backend = if variant.sealed { target.sealed } else { target.open };
            let cluster = backend.map(|backend| placed.cluster(backend, variant.shown, clusters));
            StreamTarget { weight: target.weight, cluster }
        });
        let targets = targets.collect();
        let (name, origin) = (self.name.clone(), self.origin.clone());
        let index = push(streams, StreamRoute { name, origin, targets, idle_timeout: None });
        emitted.0.push((variant, index));
        index
    }
}
