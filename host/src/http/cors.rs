//! Executing a CORS policy, as Envoy's filter does: preflights are answered here, and what pages of allowed origins get
//! says so, whoever answers. What other origins get is passed on as it is, and their browsers keep it from them.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response};

use crate::model::{Allowed, Cors, Unmatched};

/// What a request is to a policy.
#[derive(Debug)]
pub enum Asked {
    /// A preflight, which the gateway answers.
    Preflight(Response<Bytes>),
    /// Of an allowed origin: what it gets shall say so.
    Allowed(HeaderValue),
    /// Of no page, or of one that nothing is allowed.
    Nothing,
}

/// What a request is to the policy.
pub fn asked(cors: &Cors, method: &Method, headers: &HeaderMap) -> Asked {
    let mut lines = headers.get_all(ORIGIN).iter();
    // Nobody means several; RFC 6454 §7.3 forbids it.
    let (Some(origin), None) = (lines.next(), lines.next()) else { return Asked::Nothing };
    if origin.is_empty() {
        return Asked::Nothing;
    }
    let allowed = origin.to_str().is_ok_and(|origin| cors.allows(origin));
    let preflight = *method == Method::OPTIONS
        && headers.get(ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| !method.is_empty());
    match (preflight, allowed) {
        (true, true) => Asked::Preflight(allowing(cors, origin, headers)),
        (true, false) if cors.unmatched_preflight == Unmatched::Refuse => Asked::Preflight(Response::new(Bytes::new())),
        (false, true) => Asked::Allowed(origin.clone()),
        _ => Asked::Nothing,
    }
}

fn allowing(cors: &Cors, origin: &HeaderValue, asked: &HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    allow(headers, cors, origin);
    let mut tell = |name: HeaderName, allowed: Option<&Allowed>, wanted: &HeaderName| {
        let value = match allowed {
            Some(Allowed::These(names)) => Some(names),
            Some(Allowed::Asked) => asked.get(wanted),
            None => None,
        };
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    };
    tell(ACCESS_CONTROL_ALLOW_METHODS, cors.methods.as_ref(), &ACCESS_CONTROL_REQUEST_METHOD);
    tell(ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.as_ref(), &ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(age) = &cors.max_age {
        headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
    }
    response
}

/// Never `*`, which nobody may combine with credentials.
fn allow(headers: &mut HeaderMap, cors: &Cors, origin: &HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if cors.credentials {
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    // Browsers do not look for it in the answer to a preflight, but the Gateway API's conformance test does.
    if let Some(expose) = &cors.expose {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
    }
}

/// What every answer of the route says, to the page of an allowed origin or to others. The backend's own word on an
/// allowed origin gives way to the policy's.
pub fn tell(headers: &mut HeaderMap, cors: &Cors, allowed: Option<&HeaderValue>) {
    if let Some(origin) = allowed {
        if !cors.credentials {
            headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
        }
        allow(headers, cors, origin);
    }
    // Caches must not give one origin what another was given, nor what was given to none.
    let names_it = |name: &str| name == "*" || name.eq_ignore_ascii_case("origin");
    let varies = |line: &HeaderValue| line.to_str().is_ok_and(|line| line.split(',').map(str::trim).any(names_it));
    if !headers.get_all(VARY).iter().any(varies) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TextMatch;

    fn policy(credentials: bool, unmatched_preflight: Unmatched) -> Cors {
        Cors {
            origins: vec![TextMatch::Exact("https://a.example".to_owned())],
            methods: Some(Allowed::These(HeaderValue::from_static("GET,POST"))),
            headers: Some(Allowed::Asked),
            expose: Some(HeaderValue::from_static("x-exposed")),
            max_age: Some(HeaderValue::from_static("60")),
            credentials,
            unmatched_preflight,
        }
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            headers.append(name, value);
        }
        headers
    }

    fn preflight(origin: &'static str) -> HeaderMap {
        let asks = [
            ("origin", origin),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-a,x-b"),
        ];
        headers(&asks)
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_told_what_is_allowed() {
        let cors = policy(true, Unmatched::Forward);
        let Asked::Preflight(answer) = asked(&cors, &Method::OPTIONS, &preflight("https://a.example")) else {
            panic!("it is answered")
        };
        assert_eq!(answer.status(), 200);
        for (name, value) in [
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET,POST"),
            ("access-control-allow-headers", "x-a,x-b"),
            ("access-control-max-age", "60"),
            ("access-control-expose-headers", "x-exposed"),
        ] {
            assert_eq!(answer.headers()[name], value, "{name}");
        }
    }

    #[test]
    fn other_origins_are_allowed_nothing() {
        let of = |unmatched, origin, method: Method| asked(&policy(true, unmatched), &method, &preflight(origin));
        for origin in ["https://b.example", "https://a.example.evil", "null"] {
            assert!(matches!(of(Unmatched::Forward, origin, Method::OPTIONS), Asked::Nothing));
            assert!(matches!(of(Unmatched::Forward, origin, Method::GET), Asked::Nothing));
            let Asked::Preflight(answer) = of(Unmatched::Refuse, origin, Method::OPTIONS) else {
                panic!("it is answered")
            };
            assert!(answer.headers().is_empty(), "{answer:?}");
        }
        let twice = headers(&[("origin", "https://a.example"), ("origin", "https://b.example")]);
        assert!(matches!(asked(&policy(true, Unmatched::Forward), &Method::GET, &twice), Asked::Nothing));
        let no_preflight = headers(&[("origin", "https://a.example")]);
        let asked = asked(&policy(true, Unmatched::Refuse), &Method::OPTIONS, &no_preflight);
        assert!(matches!(asked, Asked::Allowed(_)), "an OPTIONS that asks for no method is an ordinary request");
    }

    #[test]
    fn the_policy_replaces_what_the_backend_allows() {
        let cors = policy(false, Unmatched::Forward);
        let backends = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("vary", "accept-encoding"),
        ];
        let mut answer = headers(&backends);
        tell(&mut answer, &cors, Some(&HeaderValue::from_static("https://a.example")));
        let origins: Vec<_> = answer.get_all("access-control-allow-origin").iter().collect();
        assert_eq!(origins, ["https://a.example"]);
        assert!(!answer.contains_key("access-control-allow-credentials"));
        assert_eq!(answer["access-control-expose-headers"], "x-exposed");
        let varies: Vec<_> = answer.get_all("vary").iter().collect();
        assert_eq!(varies, ["accept-encoding", "Origin"]);
        let mut passed_on = headers(&backends);
        tell(&mut passed_on, &cors, None);
        assert_eq!(passed_on["access-control-allow-origin"], "*");
        let varied = |given: &'static str| {
            let mut answer = headers(&[("vary", given)]);
            tell(&mut answer, &cors, None);
            answer.get_all("vary").iter().count()
        };
        assert_eq!((varied("accept, Origin"), varied("*"), varied("accept")), (1, 1, 2));
    }
}
