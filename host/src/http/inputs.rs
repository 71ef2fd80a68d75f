//! What a router is told of a request besides host and path: the inputs that its listener declares.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::COOKIE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::forwarded::{self, Hop};
use super::head::Head;
use crate::model::Input;

/// Longest value that a route is chosen by, in bytes: a plugin's time is bounded, and what it looks at is too.
const MOST_INPUT: usize = 8 << 10;

/// The inputs, in the listener's order; absent and empty differ. `client` is [`Hop::client`]'s.
pub(crate) fn gather<'r>(
    inputs: &[Input],
    parts: &'r Parts,
    head: &'r Head,
    hop: &'r Hop,
    client: Option<IpAddr>,
) -> Vec<Option<Cow<'r, [u8]>>> {
    let value = |input: &Input| match input {
        Input::Method => Some(Cow::Borrowed(parts.method.as_str().as_bytes())),
        Input::Scheme => Some(Cow::Borrowed(scheme(&parts.headers, hop.secure).as_bytes())),
        Input::Authority => Some(Cow::Borrowed(head.authority.as_bytes())),
        Input::Query => head.query.as_ref().map(|query| Cow::Borrowed(query.as_bytes())),
        Input::SourceIp => Some(match client {
            Some(client) => Cow::Owned(client.to_string().into_bytes()),
            None => Cow::Borrowed(hop.peer.as_bytes()),
        }),
        Input::Header(name) => header_value(&parts.headers, name),
    };
    inputs.iter().map(value).collect()
}

/// The length of an input that is longer than a router is given.
pub(crate) fn too_long(inputs: &[Option<&[u8]>]) -> Option<usize> {
    inputs.iter().flatten().map(|input| input.len()).find(|length| *length > MOST_INPUT)
}

/// How the client reached us, or the proxy in front of us: what nobody trusted said is gone by now.
pub(crate) fn scheme(headers: &HeaderMap, secure: bool) -> &'static str {
    match headers.get(forwarded::FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ if secure => "https",
        _ => "http",
    }
}

/// Several lines of one header are one value (RFC 9110 §5.2; cookies: RFC 9113 §8.2.3).
pub(super) fn header_value<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    let mut value = Cow::Borrowed(first.as_bytes());
    let separator: &[u8] = if *name == COOKIE { b"; " } else { b"," };
    for line in lines {
        let joined = value.to_mut();
        joined.extend_from_slice(separator);
        joined.extend_from_slice(line.as_bytes());
    }
    Some(value)
}
