//! What a policy is about: Services of its namespace, or single ports of them.

use std::collections::HashSet;
use std::slice;

use sekisho_sdk::{ObjectKey, Services};
use serde_json::Value;

use super::{INVALID, Port};
use crate::finding::{Fault, Findings, Problem};
use crate::objects::backend_tls_policy::TargetRef;

/// A Service of the policy's namespace, or one port of it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) service: String,
    pub(super) port: Option<String>,
    /// Its place in the list.
    pub(super) index: usize,
    /// There is no such port, so that nothing can meet it.
    pub(super) missing: Option<Problem>,
}

impl Target {
    pub(super) fn is_about(&self, port: Port<'_>) -> bool {
        let same_port = self.port.is_none() || self.port.as_deref() == port.name;
        self.service == port.service && same_port && self.missing.is_none()
    }
}

impl TargetRef {
    fn is_service(&self) -> bool {
        self.group.is_empty() && self.kind == "Service"
    }

    /// Whether a Service may be meant by what is written wrongly. Other kinds of other groups are for other
    /// implementations, and may well have the name of a Service.
    fn may_mean_service(&self) -> bool {
        let one_of = |text: &str, words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        one_of(&self.group, &["", "core", "v1"]) || one_of(&self.kind, &["Service", "Services"])
    }
}

/// The targets, and why the policy cannot be followed if they say so. Those that are written wrongly are held all the
/// same: their ports must not be spoken to in the clear.
pub(super) fn read(
    specs: &[TargetRef],
    policy: &ObjectKey,
    services: &Services,
    findings: &mut Findings<'_>,
) -> (Vec<Target>, Option<Problem>) {
    let (mut targets, mut invalid) = (Vec::new(), None);
    let (mut known, mut absent) = (HashSet::new(), HashSet::new());
    if specs.is_empty() {
        let message = "a policy without a target is about nothing";
        findings.refuse(Fault::new("missing-field", "spec.targetRefs", message, "name a Service"));
    }
    for (index, spec) in specs.iter().enumerate() {
        let field = format!("spec.targetRefs[{index}]");
        if !spec.is_service() {
            let message = format!("kind `{}` in group `{}` is no backend that is known here", spec.kind, spec.group);
            let fault = Fault::new("invalid-kind", &field, message, "refer to a Service").because(INVALID);
            let problem = findings.refuse(fault);
            if !spec.may_mean_service() {
                continue;
            }
            invalid.get_or_insert(problem);
        }
        if spec.name.is_empty() {
            let fault = Fault::new("missing-field", format!("{field}.name"), "a target needs a name", "name a Service");
            let problem = findings.refuse(fault.because(INVALID));
            invalid.get_or_insert(problem);
            continue;
        }
        let port = spec.section_name.as_deref().filter(|name| !name.is_empty());
        if !known.insert((&spec.name, port)) {
            continue;
        }
        let mut missing = None;
        match (services.find(&policy.namespace, &spec.name), port) {
            (None, _) if absent.insert(&spec.name) => {
                let message = format!("there is no Service `{}` in namespace `{}`", spec.name, policy.namespace);
                findings.warn(Fault::new("target-not-found", field, message, "create it, or correct the name"));
            }
            (Some(service), Some(port)) if service.ports.iter().all(|known| known.name.as_deref() != Some(port)) => {
                let message = format!("Service `{}` has no port called `{port}`", spec.name);
                let field = format!("{field}.sectionName");
                let fault = Fault::new("target-not-found", field, message, "name one of its ports");
                missing = Some(findings.refuse(fault.because("TargetNotFound")));
            }
            (None | Some(_), _) => {}
        }
        targets.push(Target { service: spec.name.clone(), port: port.map(str::to_owned), index, missing });
    }
    (targets, invalid)
}

/// The targets of a policy that cannot be read. Of one without a legible kind or port, the whole Service is meant.
pub(super) fn peek(policy: &Value) -> Vec<TargetRef> {
    let specs = match &policy["spec"]["targetRefs"] {
        Value::Null => &[],
        Value::Array(specs) => specs.as_slice(),
        one => slice::from_ref(one),
    };
    let text = |spec: &Value, field: &str| spec[field].as_str().map(str::to_owned);
    let target = |spec: &Value| TargetRef {
        group: text(spec, "group").unwrap_or_default(),
        kind: text(spec, "kind").unwrap_or_else(|| "Service".to_owned()),
        name: text(spec, "name").unwrap_or_default(),
        section_name: text(spec, "sectionName"),
    };
    specs.iter().map(target).collect()
}
