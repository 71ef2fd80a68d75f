//! What a request tells a backend about where it comes from. Such headers are taken from trusted proxies only; from
//! everybody else they are dropped, in every spelling that a backend might take for them, and in trailers too.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, EXPECT, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

use super::inputs::header_value;
use crate::bootstrap::{ClientCertificate, Extra, Headers, Trust, Usual};
use crate::tls::Told;

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

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
    /// Who else's word counts, when the other end's does and clients are looked for behind it.
    behind: Option<Arc<Trust>>,
    /// What is said of clients.
    said: Arc<Headers>,
    /// What the gateway itself says of the other end's certificate.
    certificate: Option<HeaderValue>,
}

impl Hop {
    pub(crate) fn new(peer: IpAddr, secure: bool, trust: &Arc<Trust>, said: &Arc<Headers>, told: Option<Told>) -> Self {
        let trusted = trust.has(peer);
        let text = HeaderValue::try_from(peer.to_string());
        let told = told.filter(|told| told.verified || said.untrusted_client_certificate);
        Self {
            peer: text.unwrap_or_else(|_| HeaderValue::from_static("")),
            secure,
            trusted,
            behind: (trusted && trust.hops > 0).then(|| Arc::clone(trust)),
            said: Arc::clone(said),
            certificate: told.and_then(|told| HeaderValue::try_from(told.text).ok()),
        }
    }

    /// The client's address, when that is not the peer's: the last one in `x-forwarded-for` that is not itself one of a
    /// trusted proxy, as far as these may stand one behind another. What stands further left, anybody may have written.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let trust = self.behind.as_ref()?;
        let mut client = None;
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let addresses = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for address in addresses.take(trust.hops) {
            let address = std::str::from_utf8(address).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
            // Whoever wrote that did not say where the request came from.
            let Some(address) = address else { break };
            let address = address.to_canonical();
            client = Some(address);
            if !trust.has(address) {
                break;
            }
        }
        client
    }

    fn leaves_out(&self, usual: Usual) -> bool {
        self.said.leave_out.contains(&usual)
    }

    /// `x-forwarded-client-cert` as backends get it.
    fn certificate(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        use ClientCertificate::{AlwaysForward, Append, Drop, Forward, Set};
        let given = || header_value(headers, &CLIENT_CERTIFICATE).filter(|_| self.trusted);
        let forwarded = || given().and_then(|given| HeaderValue::from_bytes(&given).ok());
        match (self.said.client_certificate, &self.certificate) {
            (Drop, _) | (Set | Forward | Append, None) => None,
            (Set, Some(own)) => Some(own.clone()),
            (Forward, Some(_)) | (AlwaysForward, _) => forwarded(),
            (Append, Some(own)) => match given() {
                Some(given) => HeaderValue::from_bytes(&[&given[..], b",", own.as_bytes()].concat()).ok(),
                None => Some(own.clone()),
            },
        }
    }
}

/// What the peer may not say goes before anybody reads it: router and endpoint see the same headers (decision 13).
/// `client` is [`Hop::client`]'s.
pub(crate) fn clean(headers: &mut HeaderMap, hop: &Hop, client: Option<IpAddr>, request_id: &HeaderValue) {
    let certificate = hop.certificate(headers);
    // Of the ordinary request's headers none needs looking up.
    if headers.keys().any(|name| is_hop_by_hop(name.as_str()) || is_claim(name.as_str(), hop.trusted)) {
        // The gateway answers `100-continue` itself, as soon as it reads the body.
        headers.remove(EXPECT);
        remove_hop_by_hop(headers, true);
        remove_claims(headers, hop.trusted);
    }
    add_claims(headers, hop, request_id);
    if let Some(certificate) = certificate {
        headers.insert(CLIENT_CERTIFICATE, certificate);
    }
    if hop.said.add.contains(&Extra::ExternalAddress) {
        let address = client.and_then(|client| HeaderValue::try_from(client.to_string()).ok());
        headers.insert(EXTERNAL_ADDRESS, address.unwrap_or_else(|| hop.peer.clone()));
    }
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
    if !hop.leaves_out(Usual::ForwardedFor) {
        add_hop(headers, hop);
    }
    if !hop.leaves_out(Usual::ForwardedProto) {
        let scheme = HeaderValue::from_static(if hop.secure { "https" } else { "http" });
        headers.entry(FORWARDED_PROTO).or_insert(scheme);
    }
    if !hop.leaves_out(Usual::RequestId) && !headers.contains_key(REQUEST_ID) {
        headers.insert(REQUEST_ID, request_id.clone());
    }
}

/// Puts the peer behind those whom it names, if it may.
fn add_hop(headers: &mut HeaderMap, hop: &Hop) {
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

    fn trust(proxies: &[&str], hops: usize) -> Arc<Trust> {
        Arc::new(Trust { proxies: proxies.iter().map(|network| network.parse().unwrap()).collect(), hops })
    }

    fn hop() -> Hop {
        Hop::new([10, 0, 0, 1].into(), true, &trust(&[], 0), &Arc::default(), None)
    }

    fn told(verified: bool) -> Told {
        Told { text: "Hash=own".to_owned(), verified }
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
            clean(&mut cleaned, &hop, None, &HeaderValue::from_static("id"));
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

    #[test]
    fn the_client_is_the_last_one_that_no_trusted_proxy_is() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        let client = |peer: &str, hops, lines: &[&'static str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            let hop = Hop::new(peer.parse().unwrap(), false, &trust(&proxies, hops), &Arc::default(), None);
            hop.client(&headers(&lines)).map(|client| client.to_string())
        };
        for (peer, hops, lines, expected) in [
            ("10.0.0.1", 1, &["6.6.6.6, 1.2.3.4"][..], Some("1.2.3.4")),
            ("10.0.0.1", 2, &["6.6.6.6, 1.2.3.4"], Some("1.2.3.4")),
            ("10.0.0.1", 2, &["6.6.6.6,1.2.3.4,10.0.0.2"], Some("1.2.3.4")),
            ("10.0.0.1", 2, &["6.6.6.6,1.2.3.4", "10.0.0.2"], Some("1.2.3.4")),
            ("10.0.0.1", 1, &["1.2.3.4,10.0.0.2"], Some("10.0.0.2")),
            ("10.0.0.1", 3, &["10.0.0.2"], Some("10.0.0.2")),
            ("fd00::1", 1, &["2001:db8::1"], Some("2001:db8::1")),
            ("10.0.0.1", 0, &["1.2.3.4"], None),
            ("10.0.0.1", 1, &[], None),
            ("10.0.0.1", 2, &["1.2.3.4,unknown"], None),
            ("10.0.0.1", 2, &["1.2.3.4,10.0.0.2:4711"], None),
            ("9.9.9.9", 1, &["1.2.3.4"], None),
        ] {
            assert_eq!(client(peer, hops, lines).as_deref(), expected, "{peer} {hops} {lines:?}");
        }
    }

    proptest::proptest! {
        /// Whatever a client writes into the header, the proxies behind it write its address to the right.
        #[test]
        fn nobody_chooses_his_own_address(
            forged in proptest::collection::vec("[ -~]{0,40}", 0..4),
            between in 0_usize..3,
            hops in 0_usize..4,
            through in proptest::bool::ANY,
        ) {
            let own: IpAddr = [203, 0, 113, 7].into();
            let proxy = |number: usize| IpAddr::from([10, 0, 0, u8::try_from(number).unwrap()]);
            let mut headers = HeaderMap::new();
            for line in &forged {
                headers.append(FORWARDED_FOR, HeaderValue::from_str(line).unwrap());
            }
            // The proxy that it reaches first writes its address, and the next ones those of the proxies before them.
            let mut peer = own;
            if through {
                for number in 0..=between {
                    headers.append(FORWARDED_FOR, HeaderValue::from_str(&peer.to_string()).unwrap());
                    peer = proxy(number);
                }
            }
            let hop = Hop::new(peer, false, &trust(&["10.0.0.0/8"], hops), &Arc::default(), None);
            let client = hop.client(&headers).unwrap_or(peer);
            let is_proxy = (0..=between).any(|number| client == proxy(number));
            proptest::prop_assert!(client == own || (through && hops <= between && is_proxy), "{client}");
        }
    }

    #[test]
    fn only_the_gateway_and_trusted_proxies_speak_of_certificates() {
        use ClientCertificate::{AlwaysForward, Append, Drop, Forward, Set};
        let sent = |mode, trusted: bool, told: Option<Told>| {
            let proxies: &[&str] = if trusted { &["10.0.0.0/8"] } else { &[] };
            let said = Headers { client_certificate: mode, ..Headers::default() };
            let hop = Hop::new([10, 0, 0, 1].into(), told.is_some(), &trust(proxies, 0), &Arc::new(said), told);
            let forged = [("x-forwarded-client-cert", "Hash=a"), ("x_forwarded_client_cert", "Hash=b")];
            let mut headers = headers(&forged);
            clean(&mut headers, &hop, None, &HeaderValue::from_static("id"));
            assert!(!headers.contains_key("x_forwarded_client_cert"));
            headers.get("x-forwarded-client-cert").map(|value| value.to_str().unwrap().to_owned())
        };
        for (mode, trusted, certificate, expected) in [
            (Set, false, true, Some("Hash=own")),
            (Set, true, true, Some("Hash=own")),
            (Set, true, false, None),
            (Drop, true, true, None),
            (Forward, false, true, None),
            (Forward, true, true, Some("Hash=a")),
            (Forward, true, false, None),
            (Append, false, true, Some("Hash=own")),
            (Append, true, true, Some("Hash=a,Hash=own")),
            (Append, true, false, None),
            (AlwaysForward, false, true, None),
            (AlwaysForward, false, false, None),
            (AlwaysForward, true, false, Some("Hash=a")),
        ] {
            let sent = sent(mode, trusted, certificate.then(|| told(true)));
            assert_eq!(sent.as_deref(), expected, "{mode:?} {trusted} {certificate}");
        }
        assert_eq!(sent(Set, true, Some(told(false))), None, "accepted is not verified");
        let said = Headers { untrusted_client_certificate: true, ..Headers::default() };
        let hop = Hop::new([10, 0, 0, 1].into(), true, &trust(&[], 0), &Arc::new(said), Some(told(false)));
        assert_eq!(hop.certificate(&HeaderMap::new()), Some(HeaderValue::from_static("Hash=own")));
    }

    #[test]
    fn the_clients_address_is_said_when_it_is_asked_for() {
        let said = Headers { add: [Extra::ExternalAddress].into_iter().collect(), ..Headers::default() };
        let hop = Hop::new([10, 0, 0, 1].into(), false, &trust(&[], 0), &Arc::new(said), None);
        for (client, expected) in [(None, "10.0.0.1"), (Some([1, 2, 3, 4].into()), "1.2.3.4")] {
            let mut headers = headers(&[("x-envoy-external-address", "6.6.6.6")]);
            clean(&mut headers, &hop, client, &HeaderValue::from_static("id"));
            assert_eq!(headers["x-envoy-external-address"], expected);
        }
    }
}
