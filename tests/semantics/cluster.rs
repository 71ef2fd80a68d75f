//! A cluster in the words of cases.

use std::collections::BTreeMap;

use sekisho::model::{
    Balance, Cluster, Endpoints, FixedEndpoint, HashOn, Label, ProxyVersion, Translation, UpstreamIdentity,
    UpstreamProtocol, UpstreamTls,
};
use serde_json::{Value, json};

use crate::run::locator;

pub(crate) fn describe(cluster: &Cluster, translation: &Translation) -> Value {
    let limits = &cluster.limits;
    let (resolution, service, of_pods, members) = match &cluster.endpoints {
        Endpoints::Service { namespace, name, port, labels: of_pods } => {
            ("service", Some(format!("{namespace}/{name}:{port}")), labels(of_pods), None)
        }
        Endpoints::Fixed(members) => ("fixed", None, Value::Null, Some(members)),
        Endpoints::Dns(members) => ("dns", None, Value::Null, Some(members)),
    };
    json!({
        "resolution": resolution,
        "service": service,
        "labels": of_pods,
        "endpoints": members.map(|members| members.iter().map(endpoint).collect::<Vec<_>>()),
        "protocol": match cluster.protocol {
            UpstreamProtocol::Http1 => "http1",
            UpstreamProtocol::Http2 => "http2",
            UpstreamProtocol::Alpn => "alpn",
            UpstreamProtocol::AsClient => "as-client",
        },
        "balance": balance(&cluster.balance),
        "tls": cluster.tls.as_ref().map(|said| tls(said, translation)),
        "limits": {
            "connections": limits.connections,
            "pending": limits.pending,
            "requests": limits.requests,
            "retries": limits.retries,
            "requestsPerConnection": limits.requests_per_connection,
        },
        "outlier": cluster.outlier.map(|outlier| json!({
            "errors": outlier.consecutive_errors,
            "gatewayErrors": outlier.consecutive_gateway_errors,
            "interval": format!("{:?}", outlier.interval),
            "ejection": format!("{:?}", outlier.ejection),
            "maxPercent": outlier.max_percent,
            "minHealthPercent": outlier.min_health_percent,
        })),
        "connectTimeout": cluster.connect_timeout.map(|time| format!("{time:?}")),
        "idleTimeout": cluster.idle_timeout.map(|time| format!("{time:?}")),
        "proxyProtocol": cluster.proxy_protocol.map(|version| match version {
            ProxyVersion::V1 => 1,
            ProxyVersion::V2 => 2,
        }),
    })
}

fn endpoint(endpoint: &FixedEndpoint) -> Value {
    let FixedEndpoint { address, port, weight, labels: said } = endpoint;
    json!({ "address": format!("{address}:{port}"), "weight": weight, "labels": labels(said) })
}

fn labels(said: &[Label]) -> Value {
    json!(said.iter().map(|(name, value)| (name, value)).collect::<BTreeMap<_, _>>())
}

fn balance(said: &Balance) -> Value {
    match said {
        Balance::RoundRobin => json!("round-robin"),
        Balance::LeastRequest => json!("least-request"),
        Balance::Random => json!("random"),
        Balance::Hash(on) => on.iter().map(hash_on).collect(),
    }
}

fn hash_on(said: &HashOn) -> Value {
    match said {
        HashOn::Header(name) => json!({ "header": name.as_str() }),
        HashOn::Cookie(cookie) => json!({ "cookie": {
            "name": cookie.name,
            "path": cookie.path,
            "ttl": cookie.ttl.map(|ttl| format!("{ttl:?}")),
        } }),
        HashOn::SourceIp => json!("source-ip"),
        HashOn::Query(name) => json!({ "query": name }),
    }
}

fn tls(said: &UpstreamTls, translation: &Translation) -> Value {
    let candidates = |source: &usize| translation.sources[*source].candidates.iter().map(locator);
    json!({
        "sni": said.sni,
        "trust": said.trust.iter().flat_map(candidates).collect::<Vec<_>>(),
        "identity": match &said.identity {
            UpstreamIdentity::Unchecked => Value::Null,
            UpstreamIdentity::Name(name) => json!(name),
            UpstreamIdentity::AnyOf(names) => json!(names),
        },
        "credential": said.credential.as_ref().and_then(|source| candidates(source).next()),
    })
}
