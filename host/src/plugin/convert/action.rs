//! Routes: headers, paths and answers, compiled so that a request finds nothing left to parse.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use regex::RegexBuilder;

use super::super::bindings::routes::sekisho::gateway::model as wit;
use super::cluster::hash_cookie;
use super::{index, name, origin, policies};
use crate::model::{
    Action, Cors, Destination, Fault, Forward, HeaderOp, HeaderOps, PathRewrite, Redirect, RedirectPort, Response,
    Retry, RetryOn, Route, Session, SessionBy, Target, Template, Variable,
};
use crate::printable::{self, printable};

/// What a compiled regular expression may take, in bytes.
pub(super) const REGEX_BYTES: usize = 1 << 20;

/// Headers that frame messages or name their way: the host's alone.
const HOST_OWNED: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A route, and why this host refuses it if it does.
pub(super) fn route(mut said: wit::Route, clusters: usize) -> Result<(Route, Option<String>), String> {
    let name = name(std::mem::take(&mut said.name));
    check_indices(&said.action, clusters).map_err(|e| format!("route `{name}`: {e}"))?;
    let unsupported = [(!said.filters.is_empty(), "filters"), (!said.extensions.is_empty(), "extensions")];
    let refusal =
        unsupported.iter().find(|(used, _)| *used).map(|(_, what)| format!("{what}: not served by this version"));
    let max_request_body = said.max_request_body;
    let origin = origin(said.origin.clone());
    let compiled = match refusal {
        Some(reason) => Err(reason),
        None => compile(said),
    };
    let (compiled, refused) = match compiled {
        Ok(compiled) => (compiled, None),
        Err(reason) => {
            let reason = printable(reason, printable::SENTENCE);
            let nothing = Compiled { cors: None, fault: None, headers: HeaderOps::default() };
            ((nothing, Action::Refused(reason.clone())), Some(reason))
        }
    };
    let (Compiled { cors, fault, headers }, action) = compiled;
    Ok((Route { name, origin, cors, fault, headers, max_request_body, action }, refused))
}

/// What a route says besides its action.
struct Compiled {
    cors: Option<Cors>,
    fault: Option<Fault>,
    headers: HeaderOps,
}

fn compile(said: wit::Route) -> Result<(Compiled, Action), String> {
    let forwards = matches!(said.action, wit::Action::Forward(_));
    let policies = Compiled {
        cors: said.cors.filter(|_| forwards).map(policies::cors).transpose()?,
        fault: said.fault.map(policies::fault).transpose()?,
        headers: header_ops(said.headers)?,
    };
    Ok((policies, action(said.action)?))
}

fn check_indices(action: &wit::Action, clusters: usize) -> Result<(), String> {
    let wit::Action::Forward(forward) = action else { return Ok(()) };
    let targets = forward.targets.iter().filter_map(|target| match target.to {
        wit::Destination::Cluster(cluster) => Some(cluster),
        wit::Destination::Respond(_) => None,
    });
    for cluster in targets.chain(forward.mirrors.iter().map(|mirror| mirror.cluster)) {
        index(cluster, clusters).map_err(|e| format!("cluster {e}"))?;
    }
    Ok(())
}

fn action(action: wit::Action) -> Result<Action, String> {
    Ok(match action {
        wit::Action::Forward(said) => Action::Forward(forward(said)?),
        wit::Action::Redirect(said) => Action::Redirect(redirect(said)?),
        wit::Action::Respond(said) => Action::Respond(response(said)?),
    })
}

fn forward(said: wit::Forward) -> Result<Forward, String> {
    let targets = said.targets.into_iter().map(target).collect::<Result<Vec<_>, _>>()?;
    let total = targets.iter().map(|target| u64::from(target.weight)).sum();
    if total == 0 {
        return Err("none of its targets has a weight".to_owned());
    }
    Ok(Forward {
        targets,
        total,
        host: said.host.as_deref().map(host).transpose()?,
        path: said.path.map(path_rewrite).transpose()?,
        timeout: said.timeout.map(Duration::from_millis),
        idle_timeout: said.idle_timeout.map(Duration::from_millis),
        retry: said.retry.map(retry).transpose()?,
        mirrors: said.mirrors.into_iter().map(policies::mirror).collect::<Result<_, _>>()?,
        session: said.session.map(session).transpose()?.map(Box::new),
    })
}

fn session(said: wit::Session) -> Result<Session, String> {
    let by = match said.by {
        wit::SessionBy::Cookie(cookie) => SessionBy::Cookie(hash_cookie(cookie)?),
        wit::SessionBy::Header(name) => SessionBy::Header(session_header(&name)?),
    };
    Ok(Session { by, lasts: said.lasts.map(Duration::from_millis) })
}

/// A header that can carry a token: neither the message nor the connection hangs on it, and it is no cookie.
fn session_header(name: &str) -> Result<HeaderName, String> {
    let parsed = header_name(name)?;
    let taken = matches!(
        parsed.as_str(),
        "cookie"
            | "expect"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "set-cookie"
    );
    if taken { Err(format!("the header `{parsed}` cannot carry a session")) } else { Ok(parsed) }
}

/// Where the dialect says nothing of pauses.
const BACKOFF: Duration = Duration::from_millis(25);

fn retry(said: wit::Retry) -> Result<Retry, String> {
    let on = |on| match on {
        wit::RetryOn::ConnectFailure => RetryOn::ConnectFailure,
        wit::RetryOn::RefusedStream => RetryOn::RefusedStream,
        wit::RetryOn::Reset => RetryOn::Reset,
        wit::RetryOn::ResetBeforeRequest => RetryOn::ResetBeforeRequest,
        wit::RetryOn::Timeout => RetryOn::Timeout,
        wit::RetryOn::GatewayError => RetryOn::GatewayError,
        wit::RetryOn::ServerError => RetryOn::ServerError,
        // The numbers are gRPC's own.
        wit::RetryOn::GrpcCancelled => RetryOn::Grpc(1),
        wit::RetryOn::GrpcDeadlineExceeded => RetryOn::Grpc(4),
        wit::RetryOn::GrpcResourceExhausted => RetryOn::Grpc(8),
        wit::RetryOn::GrpcInternal => RetryOn::Grpc(13),
        wit::RetryOn::GrpcUnavailable => RetryOn::Grpc(14),
    };
    let statuses = said.statuses.iter().map(|status| {
        StatusCode::from_u16(*status).map_err(|_| format!("{status} is no status that could be retried"))
    });
    let backoff = said.backoff.map_or(BACKOFF, Duration::from_millis);
    Ok(Retry {
        attempts: said.attempts,
        on: said.on.into_iter().map(on).collect(),
        statuses: statuses.collect::<Result<_, _>>()?,
        per_try: said.per_try.map(Duration::from_millis),
        backoff,
        max_backoff: said.max_backoff.map_or_else(|| backoff.saturating_mul(10), Duration::from_millis),
        avoid_tried: said.avoid_tried,
    })
}

fn target(said: wit::Target) -> Result<Target, String> {
    if !said.filters.is_empty() {
        return Err("filters: not served by this version".to_owned());
    }
    Ok(Target {
        weight: said.weight,
        to: match said.to {
            wit::Destination::Cluster(cluster) => Destination::Cluster(cluster as usize),
            wit::Destination::Respond(said) => Destination::Respond(response(said)?),
        },
        host: said.host.as_deref().map(host).transpose()?,
        headers: header_ops(said.headers)?,
    })
}

pub(super) fn host(text: &str) -> Result<HeaderValue, String> {
    let legal = text.parse::<http::uri::Authority>().is_ok_and(|authority| !authority.as_str().contains('@'));
    match HeaderValue::try_from(text) {
        Ok(value) if legal => Ok(value),
        _ => Err(format!("`{text}` cannot be an authority")),
    }
}

fn path_rewrite(said: wit::PathRewrite) -> Result<PathRewrite, String> {
    let legal = |text: &str| {
        let forbidden = |b: u8| b <= b' ' || b == 0x7f || b == b'?' || b == b'#' || b >= 0x80;
        if text.bytes().any(forbidden) { Err(format!("`{text}` cannot stand in a path")) } else { Ok(()) }
    };
    Ok(match said {
        wit::PathRewrite::Whole(whole) => {
            legal(&whole)?;
            PathRewrite::Whole(whole)
        }
        wit::PathRewrite::Bytes(swap) => {
            legal(&swap.replacement)?;
            PathRewrite::Bytes { matched: swap.matched.len(), replacement: swap.replacement }
        }
        wit::PathRewrite::Elements(swap) => {
            legal(&swap.replacement)?;
            PathRewrite::Elements { matched: swap.matched, replacement: swap.replacement }
        }
        wit::PathRewrite::Regex(swap) => {
            legal(&swap.substitution.replace(['$', '{', '}'], ""))?;
            let pattern = RegexBuilder::new(&swap.pattern)
                .size_limit(REGEX_BYTES)
                .build()
                .map_err(|e| format!("regular expression `{}`: {}", swap.pattern, last_line(&e)))?;
            PathRewrite::Regex { pattern, substitution: swap.substitution }
        }
    })
}

/// A syntax error is drawn over several lines; the last says what it is.
pub(super) fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().map(|line| line.trim_start_matches("error: ").to_owned()).unwrap_or_default()
}

fn redirect(said: wit::Redirect) -> Result<Redirect, String> {
    let status = match said.status {
        301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(said.status).map_err(|e| e.to_string())?,
        other => return Err(format!("{other} is not the status of a redirect: 301, 302, 303, 307 or 308")),
    };
    if let Some(scheme) = &said.scheme
        && (scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)))
    {
        return Err(format!("`{scheme}` is not a scheme"));
    }
    if let Some(name) = &said.host {
        host(name)?;
    }
    Ok(Redirect {
        status,
        scheme: said.scheme,
        host: said.host,
        port: match said.port {
            wit::RedirectPort::AsSent => RedirectPort::AsSent,
            wit::RedirectPort::None => RedirectPort::None,
            wit::RedirectPort::Number(port) => RedirectPort::Number(port),
        },
        path: said.path.map(path_rewrite).transpose()?,
    })
}

fn response(said: wit::Response) -> Result<Response, String> {
    let status = StatusCode::from_u16(said.status).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or_else(|| format!("{} is not a status of an answer: 200 to 599", said.status))?;
    let headers = said
        .headers
        .into_iter()
        .map(|(name, value)| Ok((header_name(&name)?, template(value)?)))
        .collect::<Result<_, String>>()?;
    Ok(Response { status, grpc_status: said.grpc_status, headers, body: Bytes::from(said.body) })
}

fn header_ops(said: wit::HeaderOps) -> Result<HeaderOps, String> {
    let all = |list: Vec<wit::HeaderOp>| list.into_iter().map(header_op).collect::<Result<Vec<_>, _>>();
    Ok(HeaderOps { request: all(said.request)?, response: all(said.response)? })
}

fn header_op(said: wit::HeaderOp) -> Result<HeaderOp, String> {
    Ok(match said {
        wit::HeaderOp::Set((name, value)) => HeaderOp::Set(header_name(&name)?, template(value)?),
        wit::HeaderOp::Add((name, value)) => HeaderOp::Add(header_name(&name)?, template(value)?),
        wit::HeaderOp::Remove(name) => HeaderOp::Remove(header_name(&name)?),
    })
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is not a header name"))?;
    if HOST_OWNED.contains(&parsed) {
        return Err(format!("the header `{parsed}` is the gateway's own to set"));
    }
    Ok(parsed)
}

fn template(pieces: Vec<wit::Text>) -> Result<Template, String> {
    use crate::model::Piece;
    let pieces = pieces
        .into_iter()
        .map(|piece| match piece {
            wit::Text::Literal(text) => match HeaderValue::try_from(&text) {
                Ok(_) => Ok(Piece::Literal(text)),
                Err(_) => Err(format!("{text:?} cannot stand in a header")),
            },
            wit::Text::Variable(name) => {
                Variable::named(&name).map(Piece::Variable).ok_or_else(|| format!("there is no variable `{name}`"))
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let literal: Option<String> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Literal(text) => Some(text.as_str()),
            Piece::Variable(_) => None,
        })
        .collect();
    match literal {
        Some(text) => HeaderValue::try_from(text).map(Template::Literal).map_err(|e| e.to_string()),
        None => Ok(Template::Pieces(pieces)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_header_of_its_own() {
        assert_eq!(session_header("X-Stay"), Ok(HeaderName::from_static("x-stay")));
        for taken in ["Content-Length", "transfer-encoding", "Host", "Keep-Alive", "Cookie", "Set-Cookie", ":path", ""]
        {
            assert!(session_header(taken).is_err(), "{taken}");
        }
    }
}
