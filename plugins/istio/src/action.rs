//! What a rule of `http[]` does, checked once; [`Action::on`] then makes the model's action of it for a match and a
//! server.

mod forward;
mod redirect;
mod respond;

use sekisho_sdk::model::{self, PathRewrite, Response, Swap};
use sekisho_sdk::table::PathRule;

use crate::destinations::Destinations;
use crate::findings::{Findings, Place};
use crate::objects::virtual_service::HttpRoute;

pub(crate) use forward::Forward;
pub(crate) use redirect::Redirect;

/// What a rule does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Respond(Response),
    Redirect(Redirect),
    Forward(Forward),
}

/// A server, as far as actions differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OnServer {
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

/// How a path is changed.
#[derive(Clone, Debug)]
pub(crate) enum PathChange {
    None,
    Fixed(PathRewrite),
    /// The bytes that a prefix matched are replaced; after any other match, the whole path.
    Matched(String),
}

impl PathChange {
    fn on(&self, path: &PathRule) -> Option<PathRewrite> {
        match self {
            Self::None => None,
            Self::Fixed(rewrite) => Some(rewrite.clone()),
            Self::Matched(replacement) => Some(match path {
                PathRule::Exact { .. } | PathRule::Regex(_) => PathRewrite::Whole(replacement.clone()),
                PathRule::Prefix { value: matched, .. } | PathRule::Elements(matched) => bytes(matched, replacement),
                // No condition on the path is Envoy's prefix `/`.
                PathRule::Any => bytes("/", replacement),
            }),
        }
    }
}

fn bytes(matched: &str, replacement: &str) -> PathRewrite {
    PathRewrite::Bytes(Swap { matched: matched.to_owned(), replacement: replacement.to_owned() })
}

/// What a rule with a mistake answers: never more than was meant, and never silently less.
pub(crate) fn broken() -> Action {
    Action::Respond(Response::status(500))
}

/// Reads the action of a rule; none when it cannot be done as written.
pub(crate) fn read(
    said: &HttpRoute,
    namespace: &str,
    destinations: &mut Destinations,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Action> {
    let given = [
        (!said.route.is_empty(), "route"),
        (said.redirect.is_some(), "redirect"),
        (said.direct_response.is_some(), "directResponse"),
        (said.delegate.is_some(), "delegate"),
    ];
    let given: Vec<&str> = given.iter().filter(|(given, _)| *given).map(|(_, field)| *field).collect();
    match given[..] {
        ["route"] => forward::read(said, namespace, destinations, at, findings).map(Action::Forward),
        ["redirect"] => {
            let clear = alone(said, "redirect", at, findings);
            let redirect = redirect::read(said.redirect.as_ref()?, &said.r#match, &at.field("redirect"), findings)?;
            clear.then_some(Action::Redirect(redirect))
        }
        ["directResponse"] => {
            let clear = alone(said, "directResponse", at, findings);
            let response = respond::read(said.direct_response.as_ref()?, &at.field("directResponse"), findings)?;
            clear.then_some(Action::Respond(response))
        }
        ["delegate"] => {
            let message = "a VirtualService that is delegated to cannot delegate in turn; the rule answers 500";
            let remedy = "write the rules of the second delegate here";
            findings.error(&at.field("delegate"), "conflicting-fields", message, remedy);
            None
        }
        [] => {
            let message = "the rule does nothing; it answers 500";
            findings.error(at, "missing-field", message, "give `route`, `redirect`, `directResponse` or `delegate`");
            None
        }
        _ => {
            let message = format!("a rule does one thing, and here are {}; it answers 500", given.join(" and "));
            findings.error(at, "conflicting-fields", message, "keep one and remove the others");
            None
        }
    }
}

/// What only requests that are forwarded can have is an error beside an answer of the gateway's own.
fn alone(said: &HttpRoute, action: &str, at: &Place<'_>, findings: &mut Findings) -> bool {
    let fatal = [(said.rewrite.is_some(), "rewrite"), (said.fault.is_some(), "fault")];
    let mut clear = true;
    for (_, field) in fatal.iter().filter(|(given, _)| *given) {
        let message = format!("`{field}` cannot stand beside `{action}`; the rule answers 500");
        findings.error(&at.field(field), "conflicting-fields", message, "keep one and remove the other");
        clear = false;
    }
    let idle = [
        (said.timeout.is_some(), "timeout"),
        (said.retries.is_some(), "retries"),
        (said.mirror.is_some(), "mirror"),
        (!said.mirrors.is_empty(), "mirrors"),
    ];
    for (_, field) in idle.iter().filter(|(given, _)| *given) {
        let message = format!("nothing is forwarded beside `{action}`; the field has no effect");
        findings.warning(&at.field(field), "no-effect", message, "remove the field");
    }
    clear
}

impl Action {
    /// Whether it differs by what a match says of the path.
    pub(crate) fn depends_on_match(&self) -> bool {
        let path = match self {
            Self::Respond(_) => return false,
            Self::Redirect(redirect) => &redirect.path,
            Self::Forward(forward) => &forward.path,
        };
        matches!(path, PathChange::Matched(_))
    }

    /// Whether it differs by the server that the request came to.
    pub(crate) fn depends_on_server(&self) -> bool {
        match self {
            Self::Respond(_) => false,
            Self::Redirect(redirect) => redirect.depends_on_server(),
            Self::Forward(forward) => forward.depends_on_server(),
        }
    }

    /// As the model says it.
    pub(crate) fn on(
        &self,
        path: &PathRule,
        server: OnServer,
        destinations: &mut Destinations,
        findings: &mut Findings,
    ) -> model::Action {
        match self {
            Self::Respond(response) => model::Action::Respond(response.clone()),
            Self::Redirect(redirect) => model::Action::Redirect(redirect.on(path, server)),
            Self::Forward(forward) => model::Action::Forward(forward.on(path, server, destinations, findings)),
        }
    }
}
