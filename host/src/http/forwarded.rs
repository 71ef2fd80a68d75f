//! What a request tells a backend about where it comes from. Such headers are taken from trusted proxies only; from
//! everybody else they are dropped, in every spelling that a backend might take for them, and in trailers too.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

use super::inputs::header_value;
use crate::bootstrap::Trust;

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHENTICATE: HeaderName = HeaderName::from_static("proxy-authenticate");
const PROXY_AUTHORIZATION: HeaderName = HeaderName::from_static("proxy-authorization");

/// What only a proxy may say: names, and with a `*` at the end beginnings of names.
const PROXY_SAYS: [&str; 11] = [
    "forwarded",
    "x-forwarded*",
    "x-original-*",
    "x-rewrite-url",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-request-id",
    "x-envoy-*",
];
/// What nobody but this gateway may say, trusted or not: it vouches for a handshake that happened here.
const GATEWAY_SAYS: [&str; 6] = [
    "x-forwarded-client-cert*",
    "x-forwarded-tls-client-cert*",
    "x-ssl-client*",
    "x-client-cert*",
    "ssl-client*",
    "client-cert*",
];

/// The connection that its requests came on.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// The address of its other end.
    pub(crate) peer: HeaderValue,
    /// Whether it speaks TLS.
    pub(crate) secure: bool,
    /// Whether the other end is a proxy whose word counts.
    pub(crate) trusted: bool,
}

impl Hop {
    pub(crate) fn new(peer: IpAddr, secure: bool, trust: &Trust) -> Self {
        let trusted = trust.proxies.iter().any(|network| network.contains(&peer));
        let text = HeaderValue::try_from(peer.to_string());
        Self { peer: text.unwrap_or_else(|_| HeaderValue::from_static("")), secure, trusted }
    }
}

/// What the peer may not say goes before anybody reads it: router and endpoint see the same headers (decision 13).
pub(crate) fn clean(headers: &mut HeaderMap, hop: &Hop, request_id: &HeaderValue) {
    // Of the ordinary request's headers none needs looking up.
    if headers.keys().any(|name| is_hop_by_hop(name.as_str()) || is_claim(name.as_str(), hop.trusted)) {
        // The gateway answers `100-continue` itself, as soon as it reads the body.
        headers.remove(EXPECT);
        remove_hop_by_hop(headers, true);
        remove_claims(headers, hop.trusted);
    }
    add_claims(headers, hop, request_id);
    join_cookies(headers);
}

/// RFC 9113 §8.2.3: crumbs of an HTTP/2 client are one line again for others.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some()
        && let Some(joined) = header_value(headers, &COOKIE).and_then(|value| HeaderValue::from_bytes(&value).ok())
    {
        headers.insert(COOKIE, joined);
    }
}

/// Whether a header concerns only the connection that it came on, or the one hop that its message makes.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "expect"
    )
}

/// Removes what concerns only the connection that a message came on (RFC 9110 §7.6.1), named or nominated.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap, keep_trailers: bool) {
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    let wants_trailers = keep_trailers
        && headers.get_all(TE).iter().any(|line| {
            line.to_str().is_ok_and(|line| line.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
        });
    for name in nominated {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Drops what the peer may not say.
pub(super) fn remove_claims(headers: &mut HeaderMap, trusted: bool) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str(), trusted)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Backends that turn headers into variables read `-` and `_` alike.
fn is_claim(name: &str, trusted: bool) -> bool {
    let may_be_claim = |byte: Option<&u8>| matches!(byte, Some(b'x' | b'f' | b't' | b's' | b'c'));
    if !may_be_claim(name.as_bytes().first()) {
        return false;
    }
    let same = |claim: &str| {
        let (claim, rest) = claim.strip_suffix('*').map_or((claim, false), |start| (start, true));
        let start = name.as_bytes().get(..claim.len());
        (rest || claim.len() == name.len())
            && start.is_some_and(|start| claim.bytes().zip(start).all(|(c, n)| c == *n || (c == b'-' && *n == b'_')))
    };
    GATEWAY_SAYS.iter().any(|claim| same(claim)) || (!trusted && PROXY_SAYS.iter().any(|claim| same(claim)))
}

/// Says where the request comes from; what a trusted proxy said stays in front.
pub(super) fn add_claims(headers: &mut HeaderMap, hop: &Hop, request_id: &HeaderValue) {
    let mut hops = Vec::new();
    for line in headers.get_all(FORWARDED_FOR) {
        hops.extend_from_slice(line.as_bytes());
        hops.push(b',');
    }
    let hops = if hops.is_empty() {
        hop.peer.clone()
    } else {
        hops.extend_from_slice(hop.peer.as_bytes());
        HeaderValue::from_bytes(&hops).unwrap_or_else(|_| hop.peer.clone())
    };
    headers.insert(FORWARDED_FOR, hops);
    let scheme = HeaderValue::from_static(if hop.secure { "https" } else { "http" });
    headers.entry(FORWARDED_PROTO).or_insert(scheme);
    if !headers.contains_key(REQUEST_ID) {
        headers.insert(REQUEST_ID, request_id.clone());
    }
}

/// A name for a request that no other has (a random UUID, RFC 9562 §5.4).
pub(super) fn new_request_id() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let random = (fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let mut id = String::with_capacity(36);
    for (at, byte) in random.to_be_bytes().into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        id.push(char::from(DIGITS[usize::from(byte >> 4)]));
        id.push(char::from(DIGITS[usize::from(byte & 0xf)]));
    }
    HeaderValue::from_maybe_shared(Bytes::from(id)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn hop() -> Hop {
        Hop::new([10, 0, 0, 1].into(), true, &Trust::default())
    }

    /// What passes, line by line and without a short cut.
    fn passes(name: &str, lines: &[(&str, &str)], trusted: bool) -> bool {
        let nominates = |(header, value): &(&str, &str)| {
            *header == "connection" && value.split(',').any(|nominated| nominated.trim().eq_ignore_ascii_case(name))
        };
        let own = ["x-forwarded-for", "x-forwarded-proto", "x-request-id"];
        !is_hop_by_hop(name) && !is_claim(name, trusted) && !lines.iter().any(nominates) && !own.contains(&name)
    }

    proptest! {
        #[test]
        fn what_does_not_pass_is_gone_and_the_rest_stays(
            lines in prop::collection::vec((
                prop::sample::select(vec![
                    "accept", "cookie2", "x-own", "user-agent", "expect", "connection", "te", "upgrade", "keep-alive",
                    "x-forwarded-host", "x_forwarded_host", "x-request-id", "x-real-ip", "x-forwarded-client-cert",
                    "ssl-client-verify", "transfer-encoding", "proxy-connection", "xylophone",
                ]),
                prop::sample::select(vec!["a", "close", "X-Own, accept", "trailers", "x-request-id", ""]),
            ), 0..8),
            trusted: bool,
        ) {
            let mut cleaned = headers(&lines);
            let hop = Hop { trusted, ..hop() };
            clean(&mut cleaned, &hop, &HeaderValue::from_static("id"));
            let own = ["x-forwarded-for", "x-forwarded-proto", "x-request-id", "te"];
            let mut left: Vec<(&str, &[u8])> = cleaned.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
            left.retain(|(name, _)| !own.contains(name));
            let mut right: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            right.retain(|(name, _)| passes(name, &lines, trusted));
            left.sort_unstable();
            right.sort_unstable();
            prop_assert_eq!(left, right);
            for name in ["x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
                prop_assert_eq!(cleaned.get_all(name).iter().count() >= 1, true, "{}", name);
            }
            prop_assert!(cleaned.get(TE).is_none_or(|te| te == "trailers"));
        }
    }

    #[test]
    fn untrusted_peers_cannot_speak_for_others() {
        let lines = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x-forwarded-client-cert", "By=me"),
            ("x_forwarded_client_cert", "By=me"),
            ("forwarded", "for=1.2.3.4"),
            ("x-custom", "stays"),
        ];
        let mut untrusted = headers(&lines);
        remove_claims(&mut untrusted, false);
        assert_eq!(untrusted.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-custom"]);
        let mut trusted = headers(&lines);
        remove_claims(&mut trusted, true);
        assert!(trusted.contains_key("x-forwarded-for") && !trusted.contains_key("x-forwarded-client-cert"));
        add_claims(&mut trusted, &hop(), &HeaderValue::from_static("id"));
        assert_eq!(trusted["x-forwarded-for"], "1.2.3.4,10.0.0.1");
        trusted.append("x-forwarded-for", HeaderValue::from_static("10.0.0.2"));
        add_claims(&mut trusted, &hop(), &HeaderValue::from_static("id"));
        assert_eq!(trusted["x-forwarded-for"], "1.2.3.4,10.0.0.1,10.0.0.2,10.0.0.1");
    }

    #[test]
    fn a_nominated_header_cannot_take_the_gateways_own_with_it() {
        let mut headers =
            headers(&[("connection", "x-forwarded-for, close, te"), ("te", "trailers"), ("upgrade", "h2c")]);
        remove_hop_by_hop(&mut headers, false);
        add_claims(&mut headers, &hop(), &HeaderValue::from_static("id"));
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1");
        assert!(!headers.contains_key("connection") && !headers.contains_key("upgrade") && !headers.contains_key("te"));
    }

    #[test]
    fn request_ids_are_uuids_of_version_4() {
        let id = new_request_id();
        let id = id.to_str().unwrap();
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_ne!(id, new_request_id());
    }
}
