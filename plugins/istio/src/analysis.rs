//! Findings under the codes of `istioctl analyze`, where it has the same ones.

use sekisho_sdk::{Finding, Severity};
use serde_json::{Value, json};

/// The finding as people read it: Istio's code stands behind the message.
pub(crate) fn with_code(mut finding: Finding) -> Finding {
    let (code, _) = known(&finding);
    if code != finding.code {
        finding.message = format!("{} [{code}]", finding.message);
    }
    finding
}

/// `AnalysisMessageBase` of `validationMessages`. Istio's has no text; it stands in the condition.
pub(crate) fn message(finding: &Finding) -> Value {
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
        ("duplicate-match", _) => ("IST0131", "VirtualServiceIneffectiveMatch"),
        ("sidecar-routes", _) => ("IST0140", "IngressRouteRulesNotAffected"),
        ("protocol-conflict", _) => ("IST0177", "ConflictingServiceEntryProtocol"),
        ("unreachable-rule", _) => ("IST0130", "VirtualServiceUnreachableRule"),
        ("host-not-in-gateway", _) => ("IST0132", "VirtualServiceHostNotFoundInGateway"),
        ("system-authorities" | "unverified-backend", _) if finding.origin.field.contains("portLevelSettings") => {
            ("IST0129", "NoServerCertificateVerificationPortLevel")
        }
        ("system-authorities" | "unverified-backend", _) => {
            ("IST0128", "NoServerCertificateVerificationDestinationLevel")
        }
        ("conflict", _) => ("IST0145", "ConflictingGateways"),
        ("not-selected", _) => ("IST0127", "NoMatchingWorkloadsFound"),
        ("shared-certificate", _) => ("IST0138", "GatewayDuplicateCertificate"),
        ("jwt-claims", _) => ("IST0149", "JwtClaimBasedRoutingWithoutRequestAuthN"),
        ("delegate-not-found", _) => ("IST0101", "ReferencedResourceNotFound"),
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

#[cfg(test)]
mod tests {
    use sekisho_sdk::ObjectKey;

    use super::*;

    #[test]
    fn istios_code_stands_behind_the_message_and_ours_does_not() {
        let said = |code: &str| {
            let origin = ObjectKey::new("g", "Gateway", "default", "g").at("spec");
            let (code, message) = (code.to_owned(), "no".to_owned());
            with_code(Finding { severity: Severity::Error, code, origin, message, remedy: String::new() }).message
        };
        assert_eq!(said("conflict"), "no [IST0145]");
        assert_eq!(said("not-allowed"), "no");
    }
}
