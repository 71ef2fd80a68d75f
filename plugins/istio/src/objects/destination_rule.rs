//! DestinationRule as its authors write it.

use std::collections::BTreeMap;

use sekisho_sdk::objects::Metadata;
use serde::Deserialize;

/// `networking.istio.io` DestinationRule.
#[derive(Debug, Deserialize)]
pub(crate) struct DestinationRule {
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) spec: DestinationRuleSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DestinationRuleSpec {
    pub(crate) host: String,
    pub(crate) traffic_policy: Option<TrafficPolicy>,
    pub(crate) subsets: Vec<Subset>,
    pub(crate) export_to: Vec<String>,
    pub(crate) workload_selector: Option<WorkloadSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct WorkloadSelector {
    pub(crate) match_labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Subset {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) traffic_policy: Option<TrafficPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TrafficPolicy {
    pub(crate) load_balancer: Option<LoadBalancer>,
    pub(crate) connection_pool: Option<ConnectionPool>,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) port_level_settings: Vec<PortTrafficPolicy>,
    pub(crate) tunnel: Option<Tunnel>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    pub(crate) retry_budget: Option<RetryBudget>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PortTrafficPolicy {
    pub(crate) port: Option<PortNumber>,
    pub(crate) load_balancer: Option<LoadBalancer>,
    pub(crate) connection_pool: Option<ConnectionPool>,
    pub(crate) outlier_detection: Option<OutlierDetection>,
    pub(crate) tls: Option<ClientTls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PortNumber {
    pub(crate) number: i64,
}

/// `LoadBalancerSettings`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct LoadBalancer {
    pub(crate) simple: Option<String>,
    pub(crate) consistent_hash: Option<ConsistentHash>,
    pub(crate) locality_lb_setting: Option<LocalitySetting>,
    pub(crate) warmup_duration_secs: Option<String>,
    pub(crate) warmup: Option<Warmup>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConsistentHash {
    pub(crate) http_header_name: Option<String>,
    pub(crate) http_cookie: Option<HttpCookie>,
    pub(crate) use_source_ip: Option<bool>,
    pub(crate) http_query_parameter_name: Option<String>,
    pub(crate) ring_hash: Option<RingHash>,
    pub(crate) maglev: Option<Maglev>,
    pub(crate) minimum_ring_size: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HttpCookie {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) ttl: Option<String>,
    pub(crate) attributes: Vec<CookieAttribute>,
}

/// Known, but never served.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(dead_code, reason = "read only to have its fields known")]
pub(crate) struct CookieAttribute {
    name: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(dead_code, reason = "read only to have its field known")]
pub(crate) struct RingHash {
    minimum_ring_size: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Maglev {
    pub(crate) table_size: i64,
}

/// Known, but without effect.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(dead_code, reason = "read only to have its fields known")]
pub(crate) struct LocalitySetting {
    distribute: Vec<Distribute>,
    failover: Vec<Failover>,
    failover_priority: Vec<String>,
    enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(dead_code, reason = "read only to have its fields known")]
struct Distribute {
    from: String,
    to: BTreeMap<String, i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(dead_code, reason = "read only to have its fields known")]
struct Failover {
    from: String,
    to: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Warmup {
    pub(crate) duration: Option<String>,
    pub(crate) minimum_percent: Option<f64>,
    pub(crate) aggression: Option<f64>,
}

/// `ConnectionPoolSettings`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConnectionPool {
    pub(crate) tcp: Option<TcpSettings>,
    pub(crate) http: Option<HttpSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TcpSettings {
    pub(crate) max_connections: i64,
    pub(crate) connect_timeout: Option<String>,
    pub(crate) tcp_keepalive: Option<TcpKeepalive>,
    pub(crate) max_connection_duration: Option<String>,
    pub(crate) idle_timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TcpKeepalive {
    pub(crate) probes: i64,
    pub(crate) time: Option<String>,
    pub(crate) interval: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpSettings {
    pub(crate) http1_max_pending_requests: i64,
    pub(crate) http2_max_requests: i64,
    pub(crate) max_requests_per_connection: i64,
    pub(crate) max_retries: i64,
    pub(crate) idle_timeout: Option<String>,
    pub(crate) h2_upgrade_policy: String,
    pub(crate) use_client_protocol: bool,
    pub(crate) max_concurrent_streams: i64,
    pub(crate) http2_protocol_options: Option<Http2Options>,
}

/// Known, but without effect.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(dead_code, reason = "read only to have its fields known")]
pub(crate) struct Http2Options {
    connection_keepalive: Option<Http2Keepalive>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(dead_code, reason = "read only to have its fields known")]
struct Http2Keepalive {
    interval: Option<String>,
    timeout: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OutlierDetection {
    pub(crate) consecutive_errors: i64,
    pub(crate) split_external_local_origin_errors: bool,
    pub(crate) consecutive_local_origin_failures: Option<i64>,
    pub(crate) consecutive_gateway_errors: Option<i64>,
    #[serde(rename = "consecutive5xxErrors")]
    pub(crate) consecutive_5xx_errors: Option<i64>,
    pub(crate) interval: Option<String>,
    pub(crate) base_ejection_time: Option<String>,
    pub(crate) max_ejection_percent: i64,
    pub(crate) min_health_percent: i64,
}

/// `ClientTLSSettings`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClientTls {
    pub(crate) mode: Option<String>,
    pub(crate) client_certificate: String,
    pub(crate) private_key: String,
    pub(crate) ca_certificates: String,
    pub(crate) credential_name: String,
    pub(crate) subject_alt_names: Vec<String>,
    pub(crate) sni: String,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) ca_crl: String,
}

/// Known, but refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Tunnel {
    pub(crate) protocol: String,
    pub(crate) target_host: String,
    pub(crate) target_port: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProxyProtocol {
    pub(crate) version: String,
}

/// Known, but without effect.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(dead_code, reason = "read only to have its fields known")]
pub(crate) struct RetryBudget {
    percent: Option<f64>,
    min_retry_concurrency: Option<i64>,
}
