//! The objects as their authors write them: Gateway, ServiceEntry and Service here, the others below.
//!
//! Every field of the API is known, those that are refused too, so that only misspelt ones are reported as unknown.
//! Enumerations stay text and numbers stay wide: what is wrong with one costs the place it stands in, not the object.

pub(crate) mod destination_rule;
pub(crate) mod virtual_service;

use std::collections::BTreeMap;

use sekisho_sdk::objects::Metadata;
use serde::Deserialize;

/// `networking.istio.io` Gateway.
#[derive(Debug, Deserialize)]
pub(crate) struct Gateway {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: GatewaySpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GatewaySpec {
    pub(crate) servers: Vec<Server>,
    pub(crate) selector: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Server {
    pub(crate) port: Option<Port>,
    pub(crate) bind: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) default_endpoint: String,
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Port {
    pub(crate) number: i64,
    pub(crate) protocol: String,
    pub(crate) name: String,
    pub(crate) target_port: i64,
}

/// `ServerTLSSettings`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServerTls {
    pub(crate) https_redirect: bool,
    pub(crate) mode: Option<String>,
    pub(crate) server_certificate: String,
    pub(crate) private_key: String,
    pub(crate) ca_certificates: String,
    pub(crate) ca_crl: String,
    pub(crate) credential_name: String,
    pub(crate) credential_names: Vec<String>,
    pub(crate) tls_certificates: Vec<TlsCertificate>,
    pub(crate) ca_cert_credential_name: String,
    pub(crate) subject_alt_names: Vec<String>,
    pub(crate) verify_certificate_spki: Vec<String>,
    pub(crate) verify_certificate_hash: Vec<String>,
    pub(crate) min_protocol_version: String,
    pub(crate) max_protocol_version: String,
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) ecdh_curves: Vec<String>,
    pub(crate) insecure_skip_verify: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TlsCertificate {
    pub(crate) server_certificate: String,
    pub(crate) private_key: String,
    pub(crate) ca_certificates: String,
}

/// `networking.istio.io` ServiceEntry.
#[derive(Debug, Deserialize)]
pub(crate) struct ServiceEntry {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: ServiceEntrySpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceEntrySpec {
    pub(crate) hosts: Vec<String>,
    /// Virtual addresses, by which sidecars recognise captured traffic; a gateway captures none.
    pub(crate) addresses: Vec<String>,
    pub(crate) ports: Vec<EntryPort>,
    pub(crate) location: String,
    pub(crate) resolution: String,
    pub(crate) endpoints: Vec<WorkloadEntry>,
    pub(crate) workload_selector: Option<WorkloadSelector>,
    pub(crate) export_to: Vec<String>,
    pub(crate) subject_alt_names: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EntryPort {
    pub(crate) number: i64,
    pub(crate) protocol: String,
    pub(crate) name: String,
    pub(crate) target_port: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WorkloadEntry {
    pub(crate) address: String,
    pub(crate) ports: BTreeMap<String, i64>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) network: String,
    pub(crate) locality: String,
    pub(crate) weight: i64,
    pub(crate) service_account: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WorkloadSelector {
    pub(crate) labels: BTreeMap<String, String>,
}

/// The core Service: only what names a destination. It is not this dialect's object, so that its other fields are
/// nobody's mistake.
#[derive(Debug, Deserialize)]
pub(crate) struct Service {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: ServiceSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServiceSpec {
    pub(crate) r#type: String,
    pub(crate) external_name: String,
    pub(crate) ports: Vec<ServicePort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ServicePort {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) app_protocol: String,
}
