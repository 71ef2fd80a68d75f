//! Each route but the first carries one value that cannot be executed, and is named after it.

use std::rc::Rc;

use sekisho_ordinary::{Ordinary, origin};
use sekisho_sdk::model::{
    Action, Destination, Forward, HeaderOp, HeaderOps, PathRewrite, Redirect, RegexSwap, Response, Route, Swap, Target,
    Text, Translation,
};

/// The plugin.
#[derive(Debug)]
pub struct IllegalValues;

impl Ordinary for IllegalValues {
    fn translate(mut ordinary: Translation, _what: &str) -> Translation {
        let all = headers().chain(responses()).chain(redirects()).chain(rewrites());
        ordinary.routes.extend(all.map(Rc::new));
        ordinary
    }
}

fn headers() -> impl Iterator<Item = Route> {
    let literal = |text: &str| Text::literal(text);
    [
        ("header-name", HeaderOp::Set(("two words".to_owned(), literal("x")))),
        ("header-name-of-two-lines", HeaderOp::Remove("x\r\nevil: 1".to_owned())),
        ("header-of-the-host", HeaderOp::Add(("Content-Length".to_owned(), literal("0")))),
        ("header-value-of-two-lines", HeaderOp::Add(("x-a".to_owned(), literal("1\r\nevil: 1")))),
        ("header-value-with-nul", HeaderOp::Set(("x-a".to_owned(), literal("\0")))),
        ("header-variable", HeaderOp::Set(("x-a".to_owned(), vec![Text::Variable("private-key".to_owned())]))),
    ]
    .into_iter()
    .map(|(name, op)| {
        let headers = HeaderOps { request: Vec::new(), response: vec![op] };
        Route { headers, ..route(name, Action::Respond(Response::status(200))) }
    })
}

fn responses() -> impl Iterator<Item = Route> {
    let header = |name: &str, value: &str| vec![(name.to_owned(), Text::literal(value))];
    [
        ("response-status", Response::status(99)),
        ("response-status-101", Response::status(101)),
        ("response-header-name", Response { headers: header("a:b", "x"), ..Response::status(200) }),
        ("response-header-value", Response { headers: header("x-a", "1\n2"), ..Response::status(200) }),
        (
            "response-header-of-the-host",
            Response { headers: header("Transfer-Encoding", "x"), ..Response::status(200) },
        ),
    ]
    .into_iter()
    .map(|(name, response)| route(name, Action::Respond(response)))
}

fn redirects() -> impl Iterator<Item = Route> {
    let to = Redirect::with_status;
    [
        ("redirect-status", to(200)),
        ("redirect-scheme", Redirect { scheme: Some("java script".to_owned()), ..to(302) }),
        ("redirect-host", Redirect { host: Some("a\r\nevil: 1".to_owned()), ..to(302) }),
        ("redirect-user", Redirect { host: Some("user@example.com".to_owned()), ..to(302) }),
        ("redirect-path", Redirect { path: Some(PathRewrite::Whole("/a\r\nevil: 1".to_owned())), ..to(302) }),
    ]
    .into_iter()
    .map(|(name, redirect)| route(name, Action::Redirect(redirect)))
}

fn rewrites() -> impl Iterator<Item = Route> {
    let regex = |pattern: &str, substitution: &str| {
        PathRewrite::Regex(RegexSwap { pattern: pattern.to_owned(), substitution: substitution.to_owned() })
    };
    let swap = |replacement: &str| Swap { matched: "/".to_owned(), replacement: replacement.to_owned() };
    [
        ("path-bytes", PathRewrite::Bytes(swap("/a b"))),
        ("path-elements", PathRewrite::Elements(swap("/a?b"))),
        ("regex-syntax", regex("(", "/")),
        ("regex-substitution", regex("a", "/ HTTP/1.1\r\n")),
        ("regex-bomb", regex("(((a{100}){100}){100}){100}", "/")),
    ]
    .into_iter()
    .map(|(name, path)| {
        let target = Target::new(1, Destination::Respond(Response::status(200)));
        route(name, Action::Forward(Forward { path: Some(path), ..Forward::to(vec![target]) }))
    })
}

fn route(name: &str, action: Action) -> Route {
    Route::new(name, origin(), action)
}

sekisho_ordinary::export!(IllegalValues);
