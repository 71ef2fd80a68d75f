//! `GatewayClass.status`.

use sekisho_sdk::Status;
use serde::Serialize;

use super::condition::{self, Condition, Rendered};
use crate::classes::Class;
use crate::features;
use crate::host::Host;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClassStatus<'c> {
    conditions: Vec<Rendered<'c>>,
    supported_features: Vec<Feature>,
}

#[derive(Serialize)]
struct Feature {
    name: &'static str,
}

pub(super) fn render(class: &Class, host: Host) -> Status {
    let accepted = match &class.refused {
        Some(problem) => Condition::fails("Accepted", problem.reason, problem.message.as_str()),
        None => Condition::holds("Accepted", "Accepted", "Gateways of this class are served."),
    };
    // Which CRDs are installed a plugin cannot see; it reads every version that the API server serves as v1.
    let version = Condition::holds("SupportedVersion", "SupportedVersion", "v1 of the Gateway API is supported.");
    let supported_features = features::supported(host).map(|name| Feature { name }).collect();
    let conditions = [accepted, version];
    let conditions = condition::render(&conditions, class.generation);
    Status::new(&class.key, &ClassStatus { conditions, supported_features })
}
