//! `ListenerSet` v1.

use serde::Deserialize;

use super::gateway::Listener;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ListenerSetSpec {
    pub(crate) parent_ref: ParentGatewayRef,
    pub(crate) listeners: Vec<Listener>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ParentGatewayRef {
    pub(crate) group: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}
