//! Findings as `validationMessages`: under the codes of `istioctl analyze` where it has the same ones.

use sekisho_sdk::{Finding, Severity};
use serde_json::{Value, json};

/// `AnalysisMessageBase`. Istio's has no text; it stands in the condition.
pub(super) fn message(finding: &Finding) -> Value {
    let (code, name) = known(finding);
    let level = match finding.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
        Severity::Info => "INFO",
    };
    json!({ "level": level, "type": { "code": code, "name": name } })
}

/// Istio's code and name, or ours twice.
fn known(finding: &Finding) -> (&str, &str) {
    match (finding.code.as_str(), finding.severity) {
        ("unknown-destination" | "gateway-not-found" | "unknown-subset", _) => {
            ("IST0101", "ReferencedResourceNotFound")
        }
        ("port-needed", _) => ("IST0112", "VirtualServiceDestinationPortSelectorRequired"),
        ("unreachable-rule", _) => ("IST0130", "VirtualServiceUnreachableRule"),
        ("host-not-in-gateway", _) => ("IST0132", "VirtualServiceHostNotFoundInGateway"),
        ("conflict", _) => ("IST0145", "ConflictingGateways"),
        ("empty-subset", _) => ("IST0173", "DestinationRuleSubsetNotSelectPods"),
        ("unknown-host", _) => ("IST0174", "UnknownDestinationRuleHost"),
        ("deprecated-field", _) => ("IST0002", "Deprecated"),
        (
            "conflicting-fields"
            | "duplicate-host"
            | "duplicate-port-name"
            | "duplicate-subset"
            | "invalid-credential-name"
            | "invalid-header-name"
            | "invalid-host"
            | "invalid-object"
            | "invalid-regex"
            | "invalid-value"
            | "missing-credential"
            | "missing-field"
            | "no-weight",
            Severity::Error,
        ) => ("IST0106", "SchemaValidationError"),
        ("no-effect" | "mode-omitted" | "unknown-field", Severity::Warning) => ("IST0133", "SchemaWarning"),
        (ours, _) => (ours, ours),
    }
}
