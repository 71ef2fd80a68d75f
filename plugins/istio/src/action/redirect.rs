//! `redirect`.

use sekisho_sdk::model::{self, PathRewrite, RedirectPort};
use sekisho_sdk::table::PathRule;

use super::{OnServer, PathChange};
use crate::findings::{Findings, Place};
use crate::names::port_number;
use crate::objects::virtual_service::{HttpMatch, HttpRedirect};

/// Where clients are sent.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    status: u16,
    scheme: Option<String>,
    /// As it is written, with its port.
    authority: Option<String>,
    /// That of the authority.
    host: Option<String>,
    port: Port,
    pub(super) path: PathChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// Nothing is said: the client's stays with the client's host.
    Unsaid,
    Number(u16),
    OfServer,
}

/// Reads `redirect`; none when it cannot be done as written.
pub(super) fn read(
    said: &HttpRedirect,
    matches: &[HttpMatch],
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Redirect> {
    let unsaid = said.uri.is_empty() && said.authority.is_empty() && said.scheme.is_empty();
    if unsaid && said.prefix_rewrite.is_none() && said.port.is_none() && said.derive_port.is_none() {
        let message = "the redirect leads nowhere else; the rule answers 500";
        findings.error(at, "missing-field", message, "give `uri`, `authority`, `scheme` or `port`");
        return None;
    }
    if !matches!(said.scheme.as_str(), "" | "http" | "https") {
        let message = format!("`{}` is not a scheme that is redirected to; the rule answers 500", said.scheme);
        findings.error(&at.field("scheme"), "invalid-value", message, "write `http` or `https`");
        return None;
    }
    let status = status(said.redirect_code, &at.field("redirectCode"), findings);
    let port = port(said, at, findings);
    let path = path(said, matches, at, findings);
    let host = authority(&said.authority, &at.field("authority"), findings)?;
    let authority = host.is_some().then(|| said.authority.clone());
    let scheme = (!said.scheme.is_empty()).then(|| said.scheme.clone());
    Some(Redirect { status: status?, scheme, authority, host, port: port?, path: path? })
}

fn status(code: i64, at: &Place<'_>, findings: &mut Findings) -> Option<u16> {
    match code {
        0 => Some(301),
        301 | 302 | 303 | 307 | 308 => u16::try_from(code).ok(),
        other => {
            let message = format!("{other} is not a status that redirects here; the rule answers 500");
            findings.error(at, "invalid-value", message, "write 301, 302, 303, 307 or 308");
            None
        }
    }
}

fn port(said: &HttpRedirect, at: &Place<'_>, findings: &mut Findings) -> Option<Port> {
    match (said.port, said.derive_port.as_deref()) {
        (None, None | Some("FROM_PROTOCOL_DEFAULT")) => Some(Port::Unsaid),
        (None, Some("FROM_REQUEST_PORT")) => Some(Port::OfServer),
        (Some(number), None) => {
            let port = port_number(number);
            if port.is_none() {
                let message = format!("{number} is not a port; the rule answers 500");
                findings.error(&at.field("port"), "invalid-value", message, "write a number from 1 to 65535");
            }
            port.map(Port::Number)
        }
        (None, Some(other)) => {
            let message = format!("`{other}` is not known; the rule answers 500");
            let remedy = "write FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT";
            findings.error(&at.field("derivePort"), "invalid-value", message, remedy);
            None
        }
        (Some(_), Some(_)) => {
            let message = "the port is given and derived at once; the rule answers 500";
            findings.error(at, "conflicting-fields", message, "keep `port` or `derivePort`");
            None
        }
    }
}

fn path(said: &HttpRedirect, matches: &[HttpMatch], at: &Place<'_>, findings: &mut Findings) -> Option<PathChange> {
    let Some(prefix) = &said.prefix_rewrite else {
        return Some(match said.uri.as_str() {
            "" => PathChange::None,
            uri => PathChange::Fixed(PathRewrite::Whole(uri.to_owned())),
        });
    };
    let at = at.field("prefixRewrite");
    if !said.uri.is_empty() {
        let message = "`uri` and `prefixRewrite` exclude each other; the rule answers 500";
        findings.error(&at, "conflicting-fields", message, "keep one and remove the other");
        return None;
    }
    let by_prefix = |m: &HttpMatch| m.uri.as_ref().is_some_and(|uri| uri.prefix.is_some());
    if matches.is_empty() || !matches.iter().all(by_prefix) {
        let message = "a prefix can be replaced only where a prefix was matched; the rule answers 500";
        findings.error(&at, "conflicting-fields", message, "match by `uri.prefix`, or write `uri`");
        return None;
    }
    Some(PathChange::Matched(prefix.clone()))
}

/// The host of an authority.
fn authority(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Option<String>> {
    if text.is_empty() {
        return Some(None);
    }
    let parted = text.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    match parted.map(|(host, port)| (host, port.parse::<u16>().is_ok_and(|port| port != 0))) {
        None => Some(Some(text.to_owned())),
        Some((host, true)) => Some(Some(host.to_owned())),
        Some(_) => {
            let message = format!("`{text}` is not an authority; the rule answers 500");
            findings.error(at, "invalid-value", message, "write a host, or a host and a port");
            None
        }
    }
}

impl Redirect {
    pub(super) fn depends_on_server(&self) -> bool {
        match self.port {
            Port::Unsaid => false,
            Port::OfServer => true,
            // Without a scheme, whether the port is the scheme's own depends on the server's.
            Port::Number(_) => self.scheme.is_none(),
        }
    }

    pub(super) fn on(&self, path: &PathRule, server: OnServer) -> model::Redirect {
        let number = match self.port {
            Port::Unsaid => None,
            Port::Number(number) => Some(number),
            // One on a Unix socket has none.
            Port::OfServer => (server.port != 0).then_some(server.port),
        };
        // Envoy sends an authority as it is written, and puts a port that is given besides in its place.
        let host = if number.is_none() { &self.authority } else { &self.host };
        let scheme = self.scheme.as_deref().unwrap_or(if server.tls { "https" } else { "http" });
        // Istio leaves a scheme's own port out.
        let number = number.filter(|number| !matches!((*number, scheme), (80, "http") | (443, "https")));
        let port = match (number, host) {
            (Some(number), _) => RedirectPort::Number(number),
            (None, Some(_)) => RedirectPort::None,
            (None, None) => RedirectPort::AsSent,
        };
        model::Redirect {
            status: self.status,
            scheme: self.scheme.clone(),
            host: host.clone(),
            port,
            path: self.path.on(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use sekisho_sdk::ObjectKey;

    use super::*;

    fn port_of(said: &HttpRedirect, server: OnServer) -> (Option<String>, RedirectPort) {
        let object = ObjectKey::new("", "VirtualService", "default", "v");
        let redirect =
            read(said, &[], &Place::root(&object, "spec"), &mut Findings::default()).expect("a legal redirect");
        let redirect = redirect.on(&PathRule::Any, server);
        (redirect.host, redirect.port)
    }

    #[test]
    fn ports_follow_istio() {
        let plain = OnServer { port: 85, tls: false };
        let tls = OnServer { port: 443, tls: true };
        let unix = OnServer { port: 0, tls: false };
        let base = || HttpRedirect { uri: "/".to_owned(), ..HttpRedirect::default() };
        let derived = |how: &str| HttpRedirect { derive_port: Some(how.to_owned()), ..base() };
        let numbered = |port, scheme: &str| HttpRedirect { port: Some(port), scheme: scheme.to_owned(), ..base() };
        let to = |authority: &str| HttpRedirect { authority: authority.to_owned(), ..base() };
        let derived_to =
            |authority: &str| HttpRedirect { derive_port: Some("FROM_REQUEST_PORT".to_owned()), ..to(authority) };
        for (said, server, host, port) in [
            (base(), plain, None, RedirectPort::AsSent),
            (derived("FROM_PROTOCOL_DEFAULT"), plain, None, RedirectPort::AsSent),
            (derived("FROM_REQUEST_PORT"), plain, None, RedirectPort::Number(85)),
            (derived("FROM_REQUEST_PORT"), tls, None, RedirectPort::AsSent),
            (numbered(80, "https"), plain, None, RedirectPort::Number(80)),
            (numbered(80, ""), plain, None, RedirectPort::AsSent),
            (numbered(80, ""), tls, None, RedirectPort::Number(80)),
            (derived("FROM_REQUEST_PORT"), unix, None, RedirectPort::AsSent),
            (numbered(80, "https"), unix, None, RedirectPort::Number(80)),
            (derived_to("a.b:8443"), unix, Some("a.b:8443"), RedirectPort::None),
            (derived_to("a.b:8443"), plain, Some("a.b"), RedirectPort::Number(85)),
            (to("a.b"), plain, Some("a.b"), RedirectPort::None),
            (to("a.b:8443"), plain, Some("a.b:8443"), RedirectPort::None),
            (to("a.b:80"), plain, Some("a.b:80"), RedirectPort::None),
            (to("[::1]:8443"), plain, Some("[::1]:8443"), RedirectPort::None),
            (to("[::1]"), plain, Some("[::1]"), RedirectPort::None),
        ] {
            assert_eq!(port_of(&said, server), (host.map(str::to_owned), port), "{said:?}");
        }
    }
}
