//! The objects as the API writes them, with every field that it knows: `read` warns of all others.

use sekisho_sdk::BackendPort;
use serde::Deserialize;
use serde_json::Value;

/// The API group of Ingress and IngressClass.
pub(crate) const GROUP: &str = "networking.k8s.io";

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct IngressClassSpec {
    pub(crate) controller: String,
    pub(crate) parameters: Option<Value>,
}

/// Only what tells the class of an Ingress: another controller's may have a pathType that is none here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Class {
    pub(crate) ingress_class_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct IngressSpec {
    pub(crate) ingress_class_name: Option<String>,
    pub(crate) default_backend: Option<Backend>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tls: Vec<Tls>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Rule {
    /// Empty for every host.
    pub(crate) host: String,
    pub(crate) http: Http,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Http {
    pub(crate) paths: Vec<HttpPath>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HttpPath {
    #[serde(default)]
    pub(crate) path: String,
    pub(crate) path_type: PathType,
    pub(crate) backend: Backend,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
pub(crate) enum PathType {
    Exact,
    Prefix,
    ImplementationSpecific,
}

#[derive(Deserialize)]
pub(crate) struct Backend {
    pub(crate) service: Option<ServiceBackend>,
    pub(crate) resource: Option<Value>,
}

#[derive(Deserialize)]
pub(crate) struct ServiceBackend {
    pub(crate) name: String,
    pub(crate) port: BackendPort,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tls {
    /// Empty for every host.
    pub(crate) hosts: Vec<String>,
    pub(crate) secret_name: String,
}
