//! The rules of TLSRoute, TCPRoute and UDPRoute: where connections go that are forwarded as bytes.

use sekisho_sdk::model::{StreamRoute, StreamTarget};
use sekisho_sdk::{Origin, push};

use crate::backends::{Backends, User};
use crate::field::SPEC;
use crate::finding::{Fault, Findings};
use crate::kinds::RouteKind;
use crate::objects::route::StreamRule;
use crate::precedence::Seniority;
use crate::rules::{RuleState, weight};

/// The rule of a route. The API knows one only, as nothing tells rules apart.
pub(crate) struct Rule {
    name: String,
    origin: Origin,
    targets: Vec<Target>,
    emitted: Vec<(Variant, u32)>,
    pub(crate) state: RuleState,
}

/// A backend with a weight. One that leads nowhere keeps its weight and closes what falls on it.
struct Target {
    weight: u32,
    /// For bytes as the client sent them.
    sealed: Option<u32>,
    /// For bytes that were decrypted here.
    open: Option<u32>,
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
    ) -> Self {
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
        let mut targets = Vec::new();
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
            let target = match (sealed, opened) {
                (Ok(sealed), Ok(open)) => Target { weight, sealed, open },
                (Err(fault), _) | (_, Err(fault)) => {
                    state.unresolved.push(findings.refuse(fault));
                    Target { weight, sealed: None, open: None }
                }
            };
            state.clusters.extend([target.sealed, target.open].into_iter().flatten());
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
        Self { name: format!("{}/{}", route.name, state.label), origin, targets, emitted: Vec::new(), state }
    }

    /// The index of the stream for connections that come in one of the ways, which is put into the translation if it is
    /// not there yet.
    pub(crate) fn stream(&mut self, way: Way, backends: &mut Backends<'_>, streams: &mut Vec<StreamRoute>) -> u32 {
        let variant = match way {
            Way::Sealed => Variant { sealed: true, shown: None },
            Way::Open(gateway) => {
                let open: Vec<_> = self.targets.iter().filter_map(|target| target.open).collect();
                Variant { sealed: false, shown: backends.showing(gateway, &open) }
            }
        };
        if let Some((_, index)) = self.emitted.iter().find(|(known, _)| *known == variant) {
            return *index;
        }
        let targets = self.targets.iter().map(|target| {
            let cluster = if variant.sealed { target.sealed } else { target.open };
            let cluster = match (cluster, variant.shown) {
                (Some(cluster), Some(gateway)) => Some(backends.through(cluster, gateway)),
                (cluster, _) => cluster,
            };
            StreamTarget { weight: target.weight, cluster }
        });
        let targets: Vec<_> = targets.collect();
        let led = targets.iter().filter_map(|target| target.cluster);
        self.state.clusters.extend(led.filter(|cluster| !self.state.clusters.contains(cluster)).collect::<Vec<_>>());
        let (name, origin) = (self.name.clone(), self.origin.clone());
        let index = push(streams, StreamRoute { name, origin, targets, idle_timeout: None });
        self.emitted.push((variant, index));
        index
    }
}
