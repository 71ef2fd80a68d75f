//! HTTP/1.1 connections that become something else, such as WebSocket (RFC 9110 §7.8, RFC 6455): bytes both ways until
//! one side ends or both are silent.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::access_log::Entry;
use crate::pump::{pump, silence};
use crate::upstream::UpstreamBody;

/// What is not passed on, by how it begins.
const HIDDEN: [&str; 4] = ["h2", "http", "tls", "ssl"];

/// What a request asks its connection to become. Other forms of HTTP and TLS are left out: what is said in them would
/// pass the gateway unseen.
pub(super) fn wanted(headers: &HeaderMap, version: Version) -> Option<HeaderValue> {
    let nominated = |line: &HeaderValue| {
        line.to_str().is_ok_and(|line| line.split(',').any(|name| name.trim().eq_ignore_ascii_case("upgrade")))
    };
    if version != Version::HTTP_11 || !headers.get_all(CONNECTION).iter().any(nominated) {
        return None;
    }
    let lines = headers.get_all(UPGRADE).iter().filter_map(|line| line.to_str().ok());
    let mut protocols = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty());
    let passes = |name: &&str| {
        let lower = name.to_ascii_lowercase();
        let is_word = lower.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'/'));
        is_word && !HIDDEN.iter().any(|hidden| lower.starts_with(hidden))
    };
    protocols.find(passes).and_then(|name| HeaderValue::from_str(name).ok())
}

/// Asks an endpoint for the same.
pub(super) fn ask(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The client's answer to an endpoint's; what it says of its own connection was removed already.
pub(super) fn accepted(headers: HeaderMap, protocol: Option<HeaderValue>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(UPGRADE, protocol);
    }
    response
}

/// A connection to an endpoint that waits for its client's.
pub struct Tunnel {
    pub(super) upstream: OnUpgrade,
    /// Its place among the endpoint's requests.
    pub(super) _place: UpstreamBody,
    /// How long both sides may be silent.
    pub(super) idle: Duration,
    pub(super) entry: Entry,
}

impl Tunnel {
    /// Moves bytes. `early` is what the client sent before it was told.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, client: S, early: Bytes) {
        let Self { upstream, _place, idle, mut entry } = self;
        // Should this be dropped, as a drain does at its end, the line of the log is right.
        entry.broke(&io::Error::other("cut before both sides had ended"));
        let both = async {
            let upstream = TokioIo::new(upstream.await.map_err(io::Error::other)?);
            let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
            let (mut from_client, mut to_client) = tokio::io::split(client);
            let up = async {
                to_upstream.write_all(&early).await?;
                entry.received(early.len());
                pump(&mut from_client, &mut to_upstream, |bytes| entry.received(bytes)).await
            };
            let down = pump(&mut from_upstream, &mut to_client, |bytes| entry.sent(bytes));
            tokio::try_join!(up, down).map(drop)
        };
        let ended = tokio::select! {
            ended = both => ended,
            () = silence(|| entry.in_flight.progress.last(), idle) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("both sides were silent for {idle:?}")))
            }
        };
        match ended {
            Ok(()) => entry.ended_well(),
            Err(error) => entry.broke(&error),
        }
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("idle", &self.idle).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_properly_and_is_not_http_or_tls_passes() {
        let wanted = |connection: &str, upgrade: &str, version| {
            let mut headers = HeaderMap::new();
            headers.insert(CONNECTION, HeaderValue::from_str(connection).unwrap());
            headers.insert(UPGRADE, HeaderValue::from_str(upgrade).unwrap());
            wanted(&headers, version).map(|protocol| protocol.to_str().unwrap().to_owned())
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(wanted("keep-alive, Upgrade", "websocket", Version::HTTP_11), some("websocket"));
        assert_eq!(wanted("Upgrade", "h2c, websocket", Version::HTTP_11), some("websocket"));
        assert_eq!(wanted("Upgrade, HTTP2-Settings", "h2c", Version::HTTP_11), None);
        assert_eq!(wanted("Upgrade", "TLS/1.0, HTTP/2.0", Version::HTTP_11), None);
        for disguise in ["h2c/1", "H2C;a=b", "\"h2c\"", "h2-16", "websocket h2c", "ssl/3.0"] {
            assert_eq!(wanted("Upgrade", disguise, Version::HTTP_11), None, "{disguise}");
        }
        assert_eq!(wanted("keep-alive", "websocket", Version::HTTP_11), None);
        assert_eq!(wanted("Upgrade", "websocket", Version::HTTP_10), None);
    }
}
