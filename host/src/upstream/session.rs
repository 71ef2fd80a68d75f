//! Sessions: a client stays with the endpoint that served it first, by a token that it keeps.
//!
//! A token is a hash of a cluster's name and an endpoint's address. It leads to an endpoint that the route has at that
//! moment, or nowhere, whoever made it up; and every gateway of one configuration understands it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderValue, SET_COOKIE};

use super::hash::{line_of, mixed, value_of};
use super::{Cluster, Endpoint};
use crate::model::{Session, SessionBy};

/// What a client keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    mark: u64,
    /// Seconds since 1970 until which it counts.
    until: Option<u64>,
}

impl Token {
    /// The one that a request came with, unless its time is over.
    #[must_use]
    pub fn of(session: &Session, headers: &HeaderMap) -> Option<Self> {
        let text = match &session.by {
            SessionBy::Cookie(cookie) => value_of(headers, &cookie.name)?,
            SessionBy::Header(name) => headers.get(name)?.as_bytes(),
        };
        let token = Self::read(text)?;
        match (session.lasts, token.until) {
            (None, _) => Some(token),
            (Some(lasts), Some(until)) => {
                let left = until.checked_sub(now())?;
                (left > 0 && left <= seconds(lasts)).then_some(token)
            }
            (Some(_), None) => None,
        }
    }

    /// The endpoint that it leads to, if the cluster has it and does not leave it out.
    #[must_use]
    pub fn endpoint(self, cluster: &Cluster) -> Option<SocketAddr> {
        let endpoint = cluster.endpoints.iter().find(|endpoint| mark(cluster, endpoint) == self.mark)?;
        cluster.keeps(endpoint).then_some(endpoint.address)
    }

    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (mark, until) = match text.split_once('-') {
            Some((mark, until)) => (mark, Some(u64::from_str_radix(until, 16).ok()?)),
            None => (text, None),
        };
        Some(Self { mark: u64::from_str_radix(mark, 16).ok()?, until })
    }
}

/// Gives a client the token of the endpoint that has answered.
pub fn give_token(session: &Session, cluster: &Cluster, endpoint: SocketAddr, headers: &mut HeaderMap) {
    let Some(endpoint) = cluster.at(endpoint) else { return };
    let mut token = format!("{:016x}", mark(cluster, endpoint));
    if let Some(lasts) = session.lasts {
        token.push_str(&format!("-{:x}", now().saturating_add(seconds(lasts))));
    }
    match &session.by {
        SessionBy::Cookie(cookie) => {
            let line = line_of(cookie, &token);
            headers.extend(line.map(|line| (SET_COOKIE, line)));
        }
        SessionBy::Header(name) => {
            let value = HeaderValue::try_from(token);
            headers.extend(value.ok().map(|value| (name.clone(), value)));
        }
    }
}

fn mark(cluster: &Cluster, endpoint: &Endpoint) -> u64 {
    mixed(cluster.mark ^ endpoint.mark)
}

fn seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::{COOKIE, HeaderName};

    use super::super::{ConnectError, Transport};
    use super::*;
    use crate::model::{self, HashCookie};

    fn cluster(name: &str, ports: &[u16]) -> Cluster {
        let endpoint = |port: &u16| Arc::new(Endpoint::new(SocketAddr::from(([127, 0, 0, 1], *port)), 1));
        let endpoints = ports.iter().map(endpoint).collect();
        Cluster::new(&model::Cluster::plain(name), endpoints, Transport::plain(Duration::from_secs(1)))
    }

    fn header(lasts: Option<u64>) -> Session {
        Session { by: SessionBy::Header(HeaderName::from_static("x-stay")), lasts: lasts.map(Duration::from_secs) }
    }

    /// What a client is given for an endpoint, and sends back.
    fn given(session: &Session, cluster: &Cluster, port: u16) -> HeaderMap {
        let mut headers = HeaderMap::new();
        give_token(session, cluster, ([127, 0, 0, 1], port).into(), &mut headers);
        headers
    }

    fn port(session: &Session, headers: &HeaderMap, cluster: &Cluster) -> Option<u16> {
        Token::of(session, headers)?.endpoint(cluster).map(|address| address.port())
    }

    #[test]
    fn a_token_leads_to_its_endpoint_alone() {
        let (one, other) = (cluster("one", &[1, 2, 3]), cluster("other", &[1, 2, 3]));
        let session = header(None);
        for at in 1..=3 {
            let headers = given(&session, &one, at);
            assert_eq!(port(&session, &headers, &one), Some(at));
            assert_eq!(port(&session, &headers, &other), None, "another cluster's");
            assert_eq!(port(&session, &headers, &cluster("one", &[4, 5])), None, "it is gone");
        }
        assert!(given(&session, &one, 4).is_empty(), "nobody stays with who is not there");
        for text in ["", "127.0.0.1:1", "0000000000000001", "-", "zz"] {
            let headers = [(HeaderName::from_static("x-stay"), HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(port(&session, &headers, &one), None, "{text}");
        }
    }

    #[test]
    fn a_token_has_its_time() {
        let cluster = cluster("one", &[1]);
        let hour = header(Some(3600));
        let headers = given(&hour, &cluster, 1);
        assert_eq!(port(&hour, &headers, &cluster), Some(1));
        // One that was given for longer than sessions last now, one that is over, and one that never ends.
        assert_eq!(port(&header(Some(60)), &headers, &cluster), None);
        let token = headers["x-stay"].to_str().unwrap().split_once('-').unwrap().0.to_owned();
        for text in [format!("{token}-{:x}", now() - 1), token] {
            let headers = [(HeaderName::from_static("x-stay"), text.parse().unwrap())].into_iter().collect();
            assert_eq!(port(&hour, &headers, &cluster), None, "{headers:?}");
        }
    }

    #[test]
    fn a_cookie_carries_it_too() {
        let cluster = cluster("one", &[1, 2]);
        let cookie = HashCookie { name: "stay".to_owned(), path: Some("/a".to_owned()), ttl: None };
        let session = Session { by: SessionBy::Cookie(cookie), lasts: None };
        let line = given(&session, &cluster, 2)[SET_COOKIE].to_str().unwrap().to_owned();
        assert!(line.ends_with("; Path=/a; HttpOnly"), "{line}");
        let sent = HeaderValue::from_str(&format!("a=b; {}", line.split(';').next().unwrap())).unwrap();
        assert_eq!(port(&session, &[(COOKIE, sent)].into_iter().collect(), &cluster), Some(2));
    }

    #[test]
    fn nobody_stays_with_an_endpoint_that_cannot_be_reached() {
        let cluster = cluster("one", &[1]);
        let session = header(None);
        let headers = given(&session, &cluster, 1);
        for expected in [Some(1), Some(1), None] {
            assert_eq!(port(&session, &headers, &cluster), expected);
            cluster.endpoints[0].note::<()>(&Err(ConnectError::Timeout(Duration::ZERO)));
        }
        cluster.endpoints[0].note(&Ok(()));
        assert_eq!(port(&session, &headers, &cluster), Some(1));
    }
}
