//! `connectionPool`: how much a destination is asked for at a time, for how long, and in which protocol.

use sekisho_sdk::model::{Limits, UpstreamProtocol};

use super::time;
use crate::duration::{self, milliseconds};
use crate::findings::{Findings, Place};
use crate::objects::destination_rule::{ConnectionPool, HttpSettings, TcpSettings};

/// What stands for no end at all, in milliseconds: a year.
const NEVER: u64 = 365 * 24 * 60 * 60 * 1000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    pub(crate) limits: Limits,
    pub(crate) connect_timeout: Option<u64>,
    pub(crate) idle_timeout: Option<u64>,
    /// None for what the port is said to speak.
    pub(crate) protocol: Option<UpstreamProtocol>,
}

pub(super) fn read(said: &ConnectionPool, at: &Place<'_>, findings: &mut Findings) -> Pool {
    let mut pool = Pool::default();
    if said.tcp.is_none() && said.http.is_none() {
        let message = "the connection pool says nothing";
        findings.error(at, "missing-field", message, "write `tcp` or `http`, or remove it");
    }
    if let Some(tcp) = &said.tcp {
        read_tcp(tcp, &mut pool, &at.field("tcp"), findings);
    }
    if let Some(http) = &said.http {
        read_http(http, &mut pool, &at.field("http"), findings);
    }
    pool
}

fn read_tcp(said: &TcpSettings, pool: &mut Pool, at: &Place<'_>, findings: &mut Findings) {
    pool.limits.connections = limit(said.max_connections, &at.field("maxConnections"), findings);
    pool.connect_timeout = time(said.connect_timeout.as_deref(), &at.field("connectTimeout"), findings);
    if let Some(text) = &said.idle_timeout {
        // Zero is for ever, here alone.
        let idle = duration::read(text, &at.field("idleTimeout"), findings).map(milliseconds);
        pool.idle_timeout = idle.map(|idle| if idle == 0 { NEVER } else { idle });
    }
    if said.max_connection_duration.is_some() {
        let at = at.field("maxConnectionDuration");
        time(said.max_connection_duration.as_deref(), &at, findings);
        let message = "the age of connections is limited for all destinations together";
        findings.warning(&at, "unsupported", message, "set `limits.upstreamAge` in the bootstrap file");
    }
    if let Some(keepalive) = &said.tcp_keepalive {
        let at = at.field("tcpKeepalive");
        time(keepalive.time.as_deref(), &at.field("time"), findings);
        time(keepalive.interval.as_deref(), &at.field("interval"), findings);
        if keepalive.probes < 0 {
            findings.error(&at.field("probes"), "invalid-value", "it is below 0", "write 0 or more");
        }
        let message = "TCP's own keep-alive is not used towards backends; idle connections are closed";
        findings.warning(&at, "unsupported", message, "remove the field, or write `idleTimeout`");
    }
}

fn read_http(said: &HttpSettings, pool: &mut Pool, at: &Place<'_>, findings: &mut Findings) {
    let limits = &mut pool.limits;
    limits.pending = limit(said.http1_max_pending_requests, &at.field("http1MaxPendingRequests"), findings);
    limits.requests = limit(said.http2_max_requests, &at.field("http2MaxRequests"), findings);
    limits.retries = limit(said.max_retries, &at.field("maxRetries"), findings);
    let per_connection = &at.field("maxRequestsPerConnection");
    limits.requests_per_connection = limit(said.max_requests_per_connection, per_connection, findings);
    if let Some(idle) = time(said.idle_timeout.as_deref(), &at.field("idleTimeout"), findings) {
        pool.idle_timeout = Some(idle);
    }
    if limit(said.max_concurrent_streams, &at.field("maxConcurrentStreams"), findings).is_some() {
        let message = "a connection has as many streams as its endpoint allows";
        findings.warning(&at.field("maxConcurrentStreams"), "unsupported", message, "remove the field");
    }
    if said.http2_protocol_options.is_some() {
        let message = "HTTP/2 connections are not asked whether they live; idle ones are closed";
        findings.warning(&at.field("http2ProtocolOptions"), "unsupported", message, "remove the field");
    }
    pool.protocol = protocol(said, at, findings);
}

fn protocol(said: &HttpSettings, at: &Place<'_>, findings: &mut Findings) -> Option<UpstreamProtocol> {
    let upgrade = match said.h2_upgrade_policy.as_str() {
        "UPGRADE" => true,
        "" | "DEFAULT" | "DO_NOT_UPGRADE" => false,
        other => {
            let message = format!("`{other}` is not a policy; DEFAULT is taken");
            let remedy = "write UPGRADE, DO_NOT_UPGRADE or DEFAULT";
            findings.error(&at.field("h2UpgradePolicy"), "invalid-value", message, remedy);
            false
        }
    };
    if upgrade && said.use_client_protocol {
        let message = "`useClientProtocol` and the policy UPGRADE exclude each other; HTTP/2 is taken";
        findings.error(&at.field("useClientProtocol"), "conflicting-fields", message, "keep one");
    }
    if upgrade { Some(UpstreamProtocol::Http2) } else { said.use_client_protocol.then_some(UpstreamProtocol::AsClient) }
}

/// Zero is no limit.
fn limit(number: i64, at: &Place<'_>, findings: &mut Findings) -> Option<u32> {
    let limit = u32::try_from(number);
    if limit.is_err() {
        let message = format!("{number} is not a limit; there is none");
        findings.error(at, "invalid-value", message, "write 0 or more, 0 for no limit");
    }
    limit.ok().filter(|limit| *limit > 0)
}
