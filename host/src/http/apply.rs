//! Executing what a route says: header changes, paths, redirects.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderValue};
use http::uri::PathAndQuery;

use super::head::{Head, is_normal};
use super::respond::Reason;
use crate::model::{Forward, HeaderOp, PathRewrite, Piece, Redirect, RedirectPort, Target, Template, Variable};

/// What templates can name.
#[derive(Clone, Copy)]
pub(super) struct Facts<'r> {
    pub(super) client: IpAddr,
    pub(super) sni: Option<&'r str>,
    pub(super) request_id: &'r str,
    pub(super) method: &'r str,
    pub(super) head: &'r Head,
}

impl Facts<'_> {
    fn push(&self, variable: Variable, text: &mut String) {
        match variable {
            Variable::ClientIp => text.push_str(&self.client.to_string()),
            Variable::Sni => text.push_str(self.sni.unwrap_or_default()),
            Variable::RequestId => text.push_str(self.request_id),
            Variable::Authority => text.push_str(&self.head.authority),
            Variable::Method => text.push_str(self.method),
            Variable::Path => text.push_str(&self.head.path),
        }
    }

    /// The value of a template; none when a variable holds what no header can.
    pub(super) fn fill(&self, template: &Template) -> Option<HeaderValue> {
        match template {
            Template::Literal(value) => Some(value.clone()),
            Template::Pieces(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Literal(literal) => text.push_str(literal),
                        Piece::Variable(variable) => self.push(*variable, &mut text),
                    }
                }
                HeaderValue::try_from(text).ok()
            }
        }
    }

    /// Executes header changes in order.
    pub(super) fn change(&self, headers: &mut HeaderMap, changes: &[HeaderOp]) {
        for change in changes {
            match change {
                HeaderOp::Remove(name) => drop(headers.remove(name)),
                HeaderOp::Set(name, template) => match self.fill(template) {
                    Some(value) => drop(headers.insert(name, value)),
                    None => drop(headers.remove(name)),
                },
                HeaderOp::Add(name, template) => {
                    if let Some(value) = self.fill(template) {
                        headers.append(name, value);
                    }
                }
            }
        }
    }
}

/// The path that an endpoint sees.
#[must_use]
pub fn rewritten<'p>(path: &'p str, rewrite: Option<&PathRewrite>) -> std::borrow::Cow<'p, str> {
    rewrite.map_or(std::borrow::Cow::Borrowed(path), |rewrite| rewrite.apply(path).into())
}

/// Path and query as an endpoint sees them.
///
/// # Errors
/// Why the request cannot be sent so.
pub(crate) fn sent_path(forward: &Forward, head: &Head) -> Result<PathAndQuery, (Reason, &'static str)> {
    let path = rewritten(&head.path, forward.path.as_ref());
    // `/static../x` by `/static` to `/files/` would climb out of where the route leads.
    if forward.path.is_some() && !is_normal(&path) {
        return Err((Reason::BadRequest, "the rewritten path is not in its normal form"));
    }
    Head::path_and_query(&path, head.query.as_deref()).ok_or((Reason::RouteRefused, "the rewritten path is not valid"))
}

/// The host that an endpoint sees; none for the client's own.
pub(crate) fn sent_host<'f>(forward: &'f Forward, target: &'f Target) -> Option<&'f HeaderValue> {
    target.host.as_ref().or(forward.host.as_ref())
}

/// Where a redirect sends the client. The query is kept. A port that the redirect names is left out when it is the
/// scheme's own; one that the client sent is kept. `scheme` is how the client came.
#[must_use]
pub fn location(redirect: &Redirect, head: &Head, scheme: &str) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(scheme);
    let (sent_host, sent_port) = split_port(&head.authority);
    let host = redirect.host.as_deref().unwrap_or(sent_host);
    let port = match redirect.port {
        RedirectPort::None => None,
        RedirectPort::Number(port) => Some(port.to_string()).filter(|port| port != own_port(scheme)),
        RedirectPort::AsSent => sent_port.map(str::to_owned),
    };
    let mut location = format!("{scheme}://{host}");
    if let Some(port) = port {
        location.push(':');
        location.push_str(&port);
    }
    location.push_str(&rewritten(&head.path, redirect.path.as_ref()));
    if let Some(query) = &head.query {
        location.push('?');
        location.push_str(query);
    }
    location
}

fn own_port(scheme: &str) -> &'static str {
    match scheme {
        "http" => "80",
        "https" => "443",
        _ => "",
    }
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
        _ => (authority.trim_end_matches(':'), None),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn head(authority: &str) -> Head {
        Head {
            authority: authority.to_owned(),
            host: String::new(),
            path: "/foo".to_owned(),
            query: Some("q=1".to_owned()),
        }
    }

    #[test]
    fn redirects_keep_what_they_do_not_name() {
        let redirect = |scheme: Option<&str>, port| Redirect {
            status: StatusCode::FOUND,
            scheme: scheme.map(str::to_owned),
            host: None,
            port,
            path: None,
        };
        for (scheme, port, authority, expected) in [
            (Some("https"), RedirectPort::AsSent, "h:8080", "https://h:8080/foo?q=1"),
            (None, RedirectPort::AsSent, "h:80", "http://h:80/foo?q=1"),
            (Some("https"), RedirectPort::Number(443), "h:8080", "https://h/foo?q=1"),
            (Some("https"), RedirectPort::Number(80), "h", "https://h:80/foo?q=1"),
            (None, RedirectPort::None, "h:8080", "http://h/foo?q=1"),
            (None, RedirectPort::AsSent, "[::1]:81", "http://[::1]:81/foo?q=1"),
            (None, RedirectPort::AsSent, "[::1]", "http://[::1]/foo?q=1"),
        ] {
            assert_eq!(location(&redirect(scheme, port), &head(authority), "http"), expected);
        }
    }
}
