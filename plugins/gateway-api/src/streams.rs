//! The rules of TLSRoute, TCPRoute and UDPRoute: where connections go that are forwarded as bytes.

use sekisho_sdk::Origin;
use sekisho_sdk::model::{StreamRoute, StreamTarget};

use crate::backends::{Backends, User};
use crate::field::SPEC;
use crate::finding::{Fault, Findings};
use crate::kinds::RouteKind;
use crate::objects::route::StreamRule;
use crate::precedence::Seniority;
use crate::rules::{MOST_WEIGHT, RuleState};

/// Reads the rule of a route that lives in `namespace` and is called `route` (`namespace/name`). The API knows one rule
/// only, as nothing tells rules apart. A backend that leads nowhere keeps its weight and closes what falls on it.
pub(crate) fn read(
    specs: &[StreamRule],
    kind: RouteKind,
    route: &Seniority,
    namespace: &str,
    backends: &mut Backends<'_>,
    findings: &mut Findings<'_>,
) -> (StreamRoute, RuleState) {
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
    let mut targets = Vec::new();
    for (index, spec) in spec.backend_refs.iter().enumerate() {
        let field = list.at(index);
        let weight = match u32::try_from(spec.weight.unwrap_or(1)) {
            Ok(weight) if weight <= MOST_WEIGHT => weight,
            _ => {
                let message = format!("{} is not a weight", spec.weight.unwrap_or_default());
                let field = format!("{field}.weight");
                let fault = Fault::new("invalid-weight", field, message, "give a number from 0 to 1000000");
                state.invalid.push(findings.refuse(fault));
                continue;
            }
        };
        let cluster = match backends.resolve(spec.into(), User { kind, namespace }, field) {
            Ok(cluster) => {
                state.clusters.push(cluster);
                Some(cluster)
            }
            Err(fault) => {
                state.unresolved.push(findings.refuse(fault));
                None
            }
        };
        if weight > 0 {
            targets.push(StreamTarget { weight, cluster });
        }
    }
    if !state.invalid.is_empty() {
        targets.clear();
    } else if targets.is_empty() {
        let message = "no weight is on any backend, so connections are closed";
        findings.warn(Fault::new("no-backend", list, message, "add a backend"));
    }
    let origin = Origin { object: findings.object().clone(), field: rule.to_string() };
    let name = format!("{}/{}", route.name, state.label);
    (StreamRoute { name, origin, targets, idle_timeout: None }, state)
}
