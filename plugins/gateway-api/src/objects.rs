//! The objects as the API writes them, with every field it knows, so that only unknown ones are warned of.
//!
//! What an API server would refuse by schema alone is still read where it can be (a port of 70000, a word that is no
//! `from`): the reader of the field then refuses that listener or rule, not the whole object. Fields that are refused
//! as a whole are kept as plain JSON.

pub(crate) mod backend_tls_policy;
pub(crate) mod gateway;
pub(crate) mod http_route;
pub(crate) mod listener_set;
pub(crate) mod route;

use std::collections::BTreeMap;

use sekisho_sdk::objects::Metadata;
use serde::Deserialize;
use serde_json::Value;

/// The API group of every kind but Service and Namespace.
pub(crate) const GROUP: &str = "gateway.networking.k8s.io";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GatewayClassSpec {
    pub(crate) controller_name: String,
    pub(crate) parameters_ref: Option<Value>,
    /// For people.
    pub(crate) description: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReferenceGrantSpec {
    pub(crate) from: Vec<GrantFrom>,
    pub(crate) to: Vec<GrantTo>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GrantFrom {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GrantTo {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
}

/// `metav1.LabelSelector`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LabelSelector {
    pub(crate) match_labels: BTreeMap<String, String>,
    pub(crate) match_expressions: Vec<LabelExpression>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LabelExpression {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) values: Vec<String>,
}

/// The part of a core Namespace that selectors need.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Namespace {
    pub(crate) metadata: Metadata,
}
