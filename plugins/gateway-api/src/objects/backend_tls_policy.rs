//! `BackendTLSPolicy` v1.

use std::collections::BTreeMap;

use sekisho_sdk::objects::Metadata;
use serde::Deserialize;

use super::gateway::AuthorityRef;

#[derive(Debug, Deserialize)]
pub(crate) struct BackendTlsPolicy {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: BackendTlsPolicySpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BackendTlsPolicySpec {
    pub(crate) target_refs: Vec<TargetRef>,
    pub(crate) validation: Validation,
    pub(crate) options: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TargetRef {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    /// The name of a Service's port.
    pub(crate) section_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Validation {
    pub(crate) ca_certificate_refs: Vec<AuthorityRef>,
    #[serde(rename = "wellKnownCACertificates")]
    pub(crate) well_known_ca_certificates: Option<String>,
    pub(crate) hostname: String,
    pub(crate) subject_alt_names: Vec<SubjectAltName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct SubjectAltName {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) hostname: Option<String>,
    pub(crate) uri: Option<String>,
}
