//! `GatewayClass.status`.

use serde_json::{Value, json};

use super::condition::{self, Condition};
use crate::classes::Class;
use crate::features;

pub(super) fn render(class: &Class) -> Value {
    let accepted = match &class.refused {
        Some(problem) => Condition::fails("Accepted", problem.reason, &problem.message),
        None => Condition::holds("Accepted", "Accepted", "Gateways of this class are served."),
    };
    // Which CRDs are installed a plugin cannot see; it reads every version that the API server serves as v1.
    let version = Condition::holds("SupportedVersion", "SupportedVersion", "v1 of the Gateway API is supported.");
    let features: Vec<_> = features::SUPPORTED.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "conditions": condition::render(&[accepted, version], class.generation),
        "supportedFeatures": features,
    })
}
