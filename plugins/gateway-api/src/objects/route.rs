//! What routes of every kind have: parents, host names, and rules of the kind's own.

use std::borrow::Cow;

use sekisho_sdk::objects::Metadata;
use serde::{Deserialize, Serialize};

use super::GROUP;

/// A route whose rules are `R`.
#[derive(Debug, Deserialize)]
pub(crate) struct Route<R> {
    #[serde(default)]
    pub(crate) metadata: Metadata,
    pub(crate) spec: RouteSpec<R>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RouteSpec<R> {
    #[serde(default)]
    pub(crate) parent_refs: Vec<ParentRef>,
    /// Not of TCPRoute and UDPRoute.
    #[serde(default)]
    pub(crate) hostnames: Vec<String>,
    #[serde(default = "Vec::new")]
    pub(crate) rules: Vec<R>,
    pub(crate) use_default_gateways: Option<String>,
}

/// Written back into the status as it was declared, with the group and kind that an API server fills in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ParentRef {
    #[serde(default = "gateway_group")]
    pub(crate) group: Cow<'static, str>,
    #[serde(default = "gateway_kind")]
    pub(crate) kind: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) section_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<i64>,
}

fn gateway_group() -> Cow<'static, str> {
    Cow::Borrowed(GROUP)
}

fn gateway_kind() -> Cow<'static, str> {
    Cow::Borrowed("Gateway")
}

/// A reference to a backend, without a weight.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BackendObjectRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) port: Option<i64>,
}

/// A rule of TLSRoute, TCPRoute and UDPRoute.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StreamRule {
    pub(crate) name: Option<String>,
    pub(crate) backend_refs: Vec<StreamBackendRef>,
}

/// One of its backends. The reference is spelled out because `flatten` would hide unknown fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamBackendRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) port: Option<i64>,
    pub(crate) weight: Option<i64>,
}
