//! VirtualService as its authors write it.

use std::collections::BTreeMap;

use sekisho_sdk::objects::Metadata;
use serde::Deserialize;

/// `networking.istio.io` VirtualService.
#[derive(Debug, Deserialize)]
pub(crate) struct VirtualService {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: VirtualServiceSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VirtualServiceSpec {
    pub(crate) hosts: Vec<String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) http: Vec<HttpRoute>,
    pub(crate) tls: Vec<TlsRoute>,
    pub(crate) tcp: Vec<TcpRoute>,
    pub(crate) export_to: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpRoute {
    pub(crate) name: String,
    pub(crate) r#match: Vec<HttpMatch>,
    pub(crate) route: Vec<HttpRouteDestination>,
    pub(crate) redirect: Option<HttpRedirect>,
    pub(crate) direct_response: Option<HttpDirectResponse>,
    pub(crate) delegate: Option<Delegate>,
    pub(crate) rewrite: Option<HttpRewrite>,
    pub(crate) timeout: Option<String>,
    pub(crate) retries: Option<HttpRetry>,
    pub(crate) fault: Option<HttpFault>,
    pub(crate) mirror: Option<Destination>,
    pub(crate) mirrors: Vec<HttpMirror>,
    pub(crate) mirror_percent: Option<i64>,
    pub(crate) mirror_percentage: Option<Percent>,
    pub(crate) cors_policy: Option<CorsPolicy>,
    pub(crate) headers: Option<Headers>,
}

/// `HTTPMatchRequest`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpMatch {
    pub(crate) name: String,
    pub(crate) uri: Option<StringMatch>,
    pub(crate) scheme: Option<StringMatch>,
    pub(crate) method: Option<StringMatch>,
    pub(crate) authority: Option<StringMatch>,
    pub(crate) headers: BTreeMap<String, StringMatch>,
    pub(crate) port: i64,
    pub(crate) source_labels: BTreeMap<String, String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) query_params: BTreeMap<String, StringMatch>,
    pub(crate) ignore_uri_case: bool,
    pub(crate) without_headers: BTreeMap<String, StringMatch>,
    pub(crate) source_namespace: String,
    pub(crate) stat_prefix: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StringMatch {
    pub(crate) exact: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) regex: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) subset: String,
    pub(crate) port: Option<PortSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PortSelector {
    pub(crate) number: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HttpRouteDestination {
    pub(crate) destination: Option<Destination>,
    pub(crate) weight: i64,
    pub(crate) headers: Option<Headers>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Headers {
    pub(crate) request: HeaderOperations,
    pub(crate) response: HeaderOperations,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HeaderOperations {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) add: BTreeMap<String, String>,
    pub(crate) remove: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpRedirect {
    pub(crate) uri: String,
    pub(crate) prefix_rewrite: Option<String>,
    pub(crate) authority: String,
    pub(crate) port: Option<i64>,
    pub(crate) derive_port: Option<String>,
    pub(crate) scheme: String,
    pub(crate) redirect_code: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HttpDirectResponse {
    pub(crate) status: i64,
    pub(crate) body: Option<HttpBody>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HttpBody {
    pub(crate) string: Option<String>,
    pub(crate) bytes: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delegate {
    pub(crate) name: String,
    pub(crate) namespace: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpRewrite {
    pub(crate) uri: String,
    pub(crate) authority: String,
    pub(crate) uri_regex_rewrite: Option<RegexRewrite>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RegexRewrite {
    pub(crate) r#match: String,
    pub(crate) rewrite: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpRetry {
    pub(crate) attempts: i64,
    pub(crate) per_try_timeout: Option<String>,
    pub(crate) retry_on: String,
    pub(crate) retry_remote_localities: Option<bool>,
    pub(crate) retry_ignore_previous_hosts: Option<bool>,
    pub(crate) backoff: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CorsPolicy {
    pub(crate) allow_origin: Vec<String>,
    pub(crate) allow_origins: Vec<StringMatch>,
    pub(crate) allow_methods: Vec<String>,
    pub(crate) allow_headers: Vec<String>,
    pub(crate) expose_headers: Vec<String>,
    pub(crate) max_age: Option<String>,
    pub(crate) allow_credentials: Option<bool>,
    pub(crate) unmatched_preflights: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HttpFault {
    pub(crate) delay: Option<FaultDelay>,
    pub(crate) abort: Option<FaultAbort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FaultDelay {
    pub(crate) percent: i64,
    pub(crate) percentage: Option<Percent>,
    pub(crate) fixed_delay: Option<String>,
    pub(crate) exponential_delay: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FaultAbort {
    pub(crate) percentage: Option<Percent>,
    pub(crate) http_status: Option<i64>,
    pub(crate) grpc_status: Option<String>,
    pub(crate) http2_error: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Percent {
    pub(crate) value: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HttpMirror {
    pub(crate) destination: Option<Destination>,
    pub(crate) percentage: Option<Percent>,
}

/// Routing by the name that clients ask for, where nothing is decrypted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TlsRoute {
    pub(crate) r#match: Vec<StreamMatch>,
    pub(crate) route: Vec<StreamDestination>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TcpRoute {
    pub(crate) r#match: Vec<StreamMatch>,
    pub(crate) route: Vec<StreamDestination>,
}

/// `TLSMatchAttributes` and `L4MatchAttributes`: only the former has `sniHosts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct StreamMatch {
    pub(crate) sni_hosts: Vec<String>,
    pub(crate) destination_subnets: Vec<String>,
    pub(crate) source_subnet: String,
    pub(crate) port: i64,
    pub(crate) source_labels: BTreeMap<String, String>,
    pub(crate) gateways: Vec<String>,
    pub(crate) source_namespace: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamDestination {
    pub(crate) destination: Option<Destination>,
    pub(crate) weight: i64,
}
