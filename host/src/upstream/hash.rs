//! What a request is hashed to, where that decides who gets it.

use std::net::IpAddr;

use http::header::{COOKIE, HeaderMap, HeaderValue};

use super::Caller;
use crate::model::{HashCookie, HashOn};

/// What a request is hashed to.
#[derive(Debug)]
pub(super) struct Hashed {
    pub(super) value: u64,
    /// What its client is to keep, so that its next request is hashed to the same.
    pub(super) cookie: Option<HeaderValue>,
}

/// The hash of the first of these that a request has; a cookie that the gateway gives is one that it has.
pub(super) fn of(on: &[HashOn], caller: &Caller, headers: &HeaderMap, query: Option<&str>) -> Option<Hashed> {
    on.iter().find_map(|on| {
        let value = match on {
            HashOn::Header(name) => {
                let mut values = headers.get_all(name).iter();
                let first = of_bytes(values.next()?.as_bytes());
                values.fold(first, |hash, value| mixed(hash ^ of_bytes(value.as_bytes())))
            }
            HashOn::SourceIp => of_ip(caller.client),
            HashOn::Query(name) => of_bytes(parameter(query?, name)?.as_bytes()),
            HashOn::Cookie(cookie) => match value_of(headers, &cookie.name) {
                Some(value) => of_bytes(value),
                None => return given(cookie),
            },
        };
        Some(Hashed { value, cookie: None })
    })
}

/// The same for a connection, of which only the address is known.
pub(super) fn of_connection(on: &[HashOn], caller: &Caller) -> Option<u64> {
    on.contains(&HashOn::SourceIp).then(|| of_ip(caller.client))
}

fn of_ip(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => of_bytes(&address.octets()),
        IpAddr::V6(address) => of_bytes(&address.octets()),
    }
}

/// A new cookie, if one is given to clients without.
fn given(cookie: &HashCookie) -> Option<Hashed> {
    cookie.ttl?;
    let value = format!("{:016x}", fastrand::u64(..));
    Some(Hashed { value: of_bytes(value.as_bytes()), cookie: line_of(cookie, &value) })
}

/// What gives a client a cookie.
pub(super) fn line_of(cookie: &HashCookie, value: &str) -> Option<HeaderValue> {
    let mut line = format!("{}={value}", cookie.name);
    if let Some(path) = &cookie.path {
        line.push_str("; Path=");
        line.push_str(path);
    }
    if let Some(ttl) = cookie.ttl.filter(|ttl| !ttl.is_zero()) {
        line.push_str(&format!("; Max-Age={}", ttl.as_secs().max(1)));
    }
    line.push_str("; HttpOnly");
    HeaderValue::try_from(line).ok()
}

/// A cookie's value (RFC 6265 §4.2.1), without the quotes around it.
pub(super) fn value_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}

/// FNV-1a, mixed: the same on every gateway and in every version of it, so that they agree.
pub(super) fn of_bytes(bytes: &[u8]) -> u64 {
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mixed(hash)
}

/// Every bit of the input counts for every bit of the result (the last step of MurmurHash3).
pub(super) fn mixed(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::*;

    fn caller() -> Caller {
        Caller::new(([192, 0, 2, 1], 5000).into(), ([10, 0, 0, 1], 443).into())
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(line).collect()
    }

    fn cookie(ttl: Option<u64>) -> HashOn {
        let ttl = ttl.map(Duration::from_secs);
        HashOn::Cookie(HashCookie { name: "stuck".to_owned(), path: Some("/a".to_owned()), ttl })
    }

    #[test]
    fn the_first_that_is_there_decides() {
        let on =
            [HashOn::Header(HeaderName::from_static("x-user")), HashOn::Query("user".to_owned()), HashOn::SourceIp];
        let value =
            |lines: &[(&'static str, &'static str)], query| of(&on, &caller(), &headers(lines), query).unwrap().value;
        let (header, query, ip) =
            (value(&[("x-user", "a")], Some("user=b")), value(&[], Some("user=b")), value(&[], None));
        assert_eq!(header, value(&[("x-user", "a")], None));
        assert_eq!(query, value(&[], Some("z=1&user=b&user=c")));
        assert_eq!(ip, value(&[], Some("users=b")));
        assert!(header != query && query != ip);
        assert_ne!(header, value(&[("x-user", "a"), ("x-user", "b")], None), "all lines count");
        assert!(of(&on[..2], &caller(), &headers(&[]), None).is_none());
    }

    #[test]
    fn a_client_without_the_cookie_is_given_one_that_leads_to_the_same() {
        let on = [cookie(Some(60))];
        let first = of(&on, &caller(), &headers(&[("cookie", "other=1")]), None).unwrap();
        let line = first.cookie.unwrap();
        let line = line.to_str().unwrap();
        assert!(line.starts_with("stuck=") && line.ends_with("; Path=/a; Max-Age=60; HttpOnly"), "{line}");
        let sent = HeaderValue::from_str(&format!("a=b; {}", line.split(';').next().unwrap())).unwrap();
        let again = of(&on, &caller(), &[(COOKIE, sent)].into_iter().collect(), None).unwrap();
        assert_eq!(again.value, first.value);
        assert!(again.cookie.is_none());
        let session = of(&[cookie(Some(0))], &caller(), &headers(&[]), None).unwrap().cookie.unwrap();
        assert!(!session.to_str().unwrap().contains("Max-Age"));
    }

    #[test]
    fn a_cookie_without_a_time_is_only_read() {
        let on = [cookie(None), HashOn::SourceIp];
        let hashed = of(&on, &caller(), &headers(&[]), None).unwrap();
        assert!(hashed.cookie.is_none());
        assert_eq!(Some(hashed.value), of_connection(&on, &caller()));
        let quoted = of(&on, &caller(), &headers(&[("cookie", "stuck=\"x\"")]), None).unwrap();
        assert_eq!(quoted.value, of(&on, &caller(), &headers(&[("cookie", "stuck=x")]), None).unwrap().value);
    }
}
