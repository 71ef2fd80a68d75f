//! Clusters: where requests go, and what is asked of the host on the way there.

use std::time::Duration;

use http::HeaderName;

use super::super::bindings::routes::sekisho::gateway::model as wit;
use super::{index, name, origin};
use crate::model::{
    Balance, Cluster, ClusterLimits, Endpoints, FixedEndpoint, HashCookie, HashOn, Outlier, ProxyVersion,
    UpstreamIdentity, UpstreamProtocol, UpstreamTls,
};
use crate::printable::{self, printable};

/// What requests can have in common; further ways of one cluster are refused.
const MOST_HASHES: usize = 16;

/// A cluster; one that this host cannot execute says why in `refused`.
pub(super) fn cluster(said: wit::Cluster, sources: usize) -> Result<Cluster, String> {
    let name = name(said.name);
    let mut refused = None;
    let tls = said.tls.map(|tls| upstream_tls(tls, sources, &mut refused)).transpose();
    let tls = tls.map_err(|e| format!("cluster `{name}`: source {e}"))?;
    let protocol = match said.protocol {
        wit::UpstreamProtocol::Http1 => UpstreamProtocol::Http1,
        wit::UpstreamProtocol::Http2 => UpstreamProtocol::Http2,
        // Without TLS there is nothing to negotiate with.
        wit::UpstreamProtocol::Alpn if tls.is_none() => UpstreamProtocol::Http1,
        wit::UpstreamProtocol::Alpn => UpstreamProtocol::Alpn,
        wit::UpstreamProtocol::AsClient => UpstreamProtocol::AsClient,
    };
    let limits = limits(&said.limits);
    let outlier = said.outlier.map(|said| outlier(&said));
    let proxy_protocol = said.proxy_protocol.and_then(|version| match version {
        1 => Some(ProxyVersion::V1),
        2 => Some(ProxyVersion::V2),
        other => {
            refused = Some(format!("there is no version {other} of the PROXY protocol"));
            None
        }
    });
    let balance = balance(said.balance).unwrap_or_else(|why| {
        refused = Some(why);
        Balance::LeastRequest
    });
    let endpoints = endpoints(said.endpoints);
    if !said.extensions.is_empty() {
        refused = Some("the cluster carries an extension that is not known".to_owned());
    }
    Ok(Cluster {
        name,
        origin: origin(said.origin),
        endpoints,
        protocol,
        tls,
        balance,
        connect_timeout: said.connect_timeout.map(Duration::from_millis),
        idle_timeout: said.idle_timeout.map(Duration::from_millis),
        limits,
        outlier,
        proxy_protocol,
        refused: refused.map(|why| printable(why, printable::SENTENCE)),
    })
}

fn endpoints(said: wit::Endpoints) -> Endpoints {
    let fixed = |list: Vec<wit::Endpoint>| {
        let one = |said: wit::Endpoint| FixedEndpoint {
            address: said.address,
            port: said.port,
            weight: said.weight,
            labels: said.labels,
        };
        list.into_iter().map(one).collect()
    };
    match said {
        wit::Endpoints::Fixed(list) => Endpoints::Fixed(fixed(list)),
        wit::Endpoints::Dns(list) => Endpoints::Dns(fixed(list)),
        wit::Endpoints::Service(service) => Endpoints::Service {
            namespace: service.namespace,
            name: service.name,
            port: service.port,
            labels: service.labels,
        },
    }
}

fn upstream_tls(said: wit::UpstreamTls, sources: usize, refused: &mut Option<String>) -> Result<UpstreamTls, String> {
    let trust = said.trust.iter().map(|source| index(*source, sources)).collect::<Result<Vec<_>, _>>()?;
    let credential = said.credential.map(|source| index(source, sources)).transpose()?;
    let identity = match said.identity {
        wit::UpstreamIdentity::Unchecked => UpstreamIdentity::Unchecked,
        wit::UpstreamIdentity::Name(name) => UpstreamIdentity::Name(name),
        wit::UpstreamIdentity::AnyOf(names) => UpstreamIdentity::AnyOf(names),
    };
    match &identity {
        UpstreamIdentity::AnyOf(names) if names.is_empty() => {
            *refused = Some("none of no names can be in an endpoint's certificate".to_owned());
        }
        UpstreamIdentity::Name(_) | UpstreamIdentity::AnyOf(_) if trust.is_empty() => {
            *refused = Some("names of endpoints prove nothing without an authority that vouches for them".to_owned());
        }
        _ => {}
    }
    Ok(UpstreamTls { sni: said.sni, trust, identity, credential })
}

fn limits(said: &wit::Limits) -> ClusterLimits {
    ClusterLimits {
        connections: said.connections,
        pending: said.pending,
        requests: said.requests,
        retries: said.retries,
        requests_per_connection: said.requests_per_connection.filter(|most| *most > 0),
    }
}

fn outlier(said: &wit::Outlier) -> Outlier {
    Outlier {
        consecutive_errors: said.consecutive_errors.filter(|most| *most > 0),
        consecutive_gateway_errors: said.consecutive_gateway_errors.filter(|most| *most > 0),
        interval: Duration::from_millis(said.interval),
        ejection: Duration::from_millis(said.ejection),
        max_percent: said.max_percent.min(100),
        min_health_percent: said.min_health_percent.min(100),
    }
}

fn balance(said: wit::Balance) -> Result<Balance, String> {
    Ok(match said {
        wit::Balance::RoundRobin => Balance::RoundRobin,
        wit::Balance::LeastRequest => Balance::LeastRequest,
        wit::Balance::Random => Balance::Random,
        wit::Balance::Hash(on) if on.is_empty() => return Err("requests are hashed on nothing".to_owned()),
        wit::Balance::Hash(on) if on.len() > MOST_HASHES => {
            return Err(format!("requests are hashed on {} things; at most {MOST_HASHES} are served", on.len()));
        }
        wit::Balance::Hash(on) => Balance::Hash(on.into_iter().map(hash_on).collect::<Result<_, _>>()?),
    })
}

fn hash_on(said: wit::HashOn) -> Result<HashOn, String> {
    Ok(match said {
        wit::HashOn::Header(name) => HashOn::Header(
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not the name of a header"))?,
        ),
        wit::HashOn::Cookie(said) => HashOn::Cookie(hash_cookie(said)?),
        wit::HashOn::SourceIp => HashOn::SourceIp,
        wit::HashOn::Query(name) => HashOn::Query(name),
    })
}

/// RFC 6265 §4.1.1: what a name and a path may be made of.
pub(super) fn hash_cookie(said: wit::Cookie) -> Result<HashCookie, String> {
    if HeaderName::from_bytes(said.name.as_bytes()).is_err() {
        return Err(format!("`{}` is not the name of a cookie", said.name));
    }
    if let Some(path) = &said.path
        && !path.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b';')
    {
        return Err(format!("`{path}` is not the path of a cookie"));
    }
    Ok(HashCookie { name: said.name, path: said.path, ttl: said.ttl.map(Duration::from_millis) })
}
