//! The matches of a rule, checked as the CRD's own rules would, since files have no API server.

mod grpc;

use std::cmp::Reverse;
use std::collections::HashSet;
use std::rc::Rc;

use sekisho_sdk::table::{PathRule, ValueRule, check_regex};
use serde::de::DeserializeOwned;

use self::grpc::Call;
use crate::field::Field;
use crate::finding::Fault;
use crate::kinds::RouteKind;
use crate::objects::http_route::{HttpMatch, PathMatch, ValueMatch};
use crate::precedence::{PathRank, Precedence, Seniority, Specificity};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// One match: all of it must hold.
#[derive(Debug)]
pub(crate) struct Match {
    pub(crate) path: Path,
    pub(crate) method: Option<String>,
    /// By lower-case name, each once.
    pub(crate) headers: Vec<(String, ValueRule)>,
    /// By name, each once.
    pub(crate) query_params: Vec<(String, ValueRule)>,
}

#[derive(Debug)]
pub(crate) enum Path {
    Exact(String),
    Prefix(String),
    Regex(String),
    /// What gRPC calls: a service, a method, or both.
    Call(Call),
}

/// A match as one kind of routes writes it.
pub(crate) trait Matching: 'static + Default + DeserializeOwned {
    const KIND: RouteKind;

    /// What a rule without matches matches: everything.
    fn any() -> Match;

    /// Reads the match at `field`; none when anything is wrong with it.
    fn read(&self, field: Field<'_>, faults: &mut Vec<Fault>) -> Option<Match>;
}

impl Matching for HttpMatch {
    const KIND: RouteKind = RouteKind::Http;

    fn any() -> Match {
        Match { path: Path::Prefix("/".to_owned()), method: None, headers: Vec::new(), query_params: Vec::new() }
    }

    fn read(&self, field: Field<'_>, faults: &mut Vec<Fault>) -> Option<Match> {
        let path = match &self.path {
            None => Ok(Self::any().path),
            Some(path) => Path::read(path, field),
        };
        let method = match self.method.as_deref() {
            Some(method) if !METHODS.contains(&method) => {
                let message = format!("`{method}` is not a method that can be matched");
                let remedy = format!("use one of {}", METHODS.join(", "));
                Err(Fault::new("unsupported-value", format!("{field}.method"), message, remedy))
            }
            method => Ok(method.map(str::to_owned)),
        };
        let headers = values(&self.headers, field.below("headers"), true);
        let query_params = values(&self.query_params, field.below("queryParams"), false);
        match (path, method, headers, query_params) {
            (Ok(path), Ok(method), Ok(headers), Ok(query_params)) => {
                Some(Match { path, method, headers, query_params })
            }
            (path, method, headers, query_params) => {
                faults.extend([path.err(), method.err(), headers.err(), query_params.err()].into_iter().flatten());
                None
            }
        }
    }
}

impl Match {
    /// Its rank, as match `nth` of rule `rule` of the route, under a host name of that specificity.
    pub(crate) fn precedence(
        &self,
        hostname: Specificity,
        route: &Rc<Seniority>,
        rule: usize,
        nth: usize,
    ) -> Precedence {
        Precedence {
            hostname,
            path: self.path.rank(),
            method: self.method.is_some(),
            headers: self.headers.len(),
            query_params: self.query_params.len(),
            route: Reverse(Rc::clone(route)),
            rule: Reverse(rule),
            nth_match: Reverse(nth),
        }
    }
}

impl Path {
    fn read(spec: &PathMatch, field: Field<'_>) -> Result<Self, Fault> {
        let value = spec.value.as_deref().unwrap_or("/");
        let fault =
            |why: String| Fault::new("invalid-path", format!("{field}.path.value"), why, "give a path such as `/shop`");
        match spec.kind.as_deref().unwrap_or("PathPrefix") {
            "Exact" => check_path(value).map(|()| Self::Exact(value.to_owned())).map_err(fault),
            "PathPrefix" => check_path(value).map(|()| Self::Prefix(value.to_owned())).map_err(fault),
            "RegularExpression" => match check_regex(value) {
                Ok(()) => Ok(Self::Regex(value.to_owned())),
                Err(why) => Err(regex_fault(format!("{field}.path.value"), why)),
            },
            other => {
                let message = format!("`{other}` is not a type of path match");
                let remedy = "use Exact, PathPrefix or RegularExpression";
                Err(Fault::new("unsupported-value", format!("{field}.path.type"), message, remedy))
            }
        }
    }

    pub(crate) fn rule(&self) -> PathRule {
        match self {
            Self::Exact(value) => PathRule::Exact { value: value.clone(), ignore_case: false },
            Self::Prefix(value) if value == "/" => PathRule::Any,
            Self::Prefix(value) => PathRule::Elements(value.clone()),
            Self::Regex(pattern) => PathRule::Regex(pattern.clone()),
            Self::Call(call) => call.rule(),
        }
    }

    fn rank(&self) -> PathRank {
        match self {
            Self::Exact(_) => PathRank::Exact,
            // `/shop/` and `/shop` are the same prefix.
            Self::Prefix(value) => PathRank::Prefix(value.trim_end_matches('/').chars().count()),
            Self::Regex(pattern) => PathRank::Regex(pattern.chars().count()),
            Self::Call(call) => call.rank(),
        }
    }
}

/// What the CRD demands of the value of an Exact or PathPrefix match.
fn check_path(value: &str) -> Result<(), String> {
    if !value.starts_with('/') {
        return Err(format!("`{value}` does not begin with `/`"));
    }
    for wrong in ["//", "/./", "/../", "%2f", "%2F", "#"] {
        if value.contains(wrong) {
            return Err(format!("`{value}` contains `{wrong}`"));
        }
    }
    for wrong in ["/..", "/."] {
        if value.ends_with(wrong) {
            return Err(format!("`{value}` ends with `{wrong}`"));
        }
    }
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let legal = match byte {
            b'%' => [rest.next(), rest.next()].iter().all(|digit| digit.is_some_and(|b| b.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !legal {
            return Err(format!("`{value}` contains characters that a path cannot have; write them as %XX"));
        }
    }
    Ok(())
}

fn values(specs: &[ValueMatch], field: Field<'_>, is_header: bool) -> Result<Vec<(String, ValueRule)>, Fault> {
    let mut seen = HashSet::new();
    let mut values = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let place = |below: &str| format!("{field}[{index}].{below}");
        if !is_token(&spec.name) {
            let message = format!("`{}` is not a name", spec.name);
            return Err(Fault::new("invalid-match", place("name"), message, "use letters, digits and -._~!#$%&'*+^`|"));
        }
        if spec.value.is_empty() {
            let message = "an empty value cannot be matched";
            return Err(Fault::new("invalid-match", place("value"), message, "give a value"));
        }
        let rule = match spec.kind.as_deref().unwrap_or("Exact") {
            "Exact" => ValueRule::Exact(spec.value.clone()),
            "RegularExpression" => match check_regex(&spec.value) {
                Ok(()) => ValueRule::Regex(spec.value.clone()),
                Err(why) => return Err(regex_fault(place("value"), why)),
            },
            other => {
                let message = format!("`{other}` is not a type of match");
                return Err(Fault::new("unsupported-value", place("type"), message, "use Exact or RegularExpression"));
            }
        };
        let name = if is_header { spec.name.to_ascii_lowercase() } else { spec.name.clone() };
        // The API: of several with one name only the first counts.
        if seen.insert(name.clone()) {
            values.push((name, rule));
        }
    }
    Ok(values)
}

fn regex_fault(field: String, why: String) -> Fault {
    Fault::new("invalid-regex", field, why, "use RE2's syntax, without look-around and back-references")
}

/// A header's name (RFC 9110), which the API takes for query parameters too.
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!#$%&'*+^`|".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::SPEC;

    fn read(json: &str) -> Result<Match, Vec<Fault>> {
        let mut faults = Vec::new();
        serde_json::from_str::<HttpMatch>(json).unwrap().read(SPEC, &mut faults).ok_or(faults)
    }

    #[test]
    fn paths_that_the_crd_refuses_are_refused() {
        for value in [
            "", "shop", "/a//b", "/a/./b", "/a/../b", "/a/..", "/a/.", "/a%2fb", "/a%2Fb", "/a#b", "/a b", "/a%zz",
            "/a%2", "/é", "/a?b",
        ] {
            assert!(check_path(value).is_err(), "{value}");
        }
        for value in ["/", "/a/", "/a/...", "/a%20b", "/~u/(x);v=1,2:@!$&'*+"] {
            assert_eq!(check_path(value), Ok(()), "{value}");
        }
    }

    #[test]
    fn defaults_are_the_apis() {
        let everything = read("{}").unwrap();
        assert_eq!(everything.path.rule(), PathRule::Any);
        let typed = read(r#"{"path":{"value":"/a"},"headers":[{"name":"X-A","value":"1"}]}"#).unwrap();
        assert_eq!(typed.path.rule(), PathRule::Elements("/a".to_owned()));
        assert_eq!(typed.headers, [("x-a".to_owned(), ValueRule::Exact("1".to_owned()))]);
    }

    #[test]
    fn of_one_name_the_first_counts() {
        let json = r#"{"headers":[{"name":"X-A","value":"1"},{"name":"x-a","value":"2"}],
                       "queryParams":[{"name":"q","value":"1"},{"name":"Q","value":"2"}]}"#;
        let both = read(json).unwrap();
        assert_eq!(both.headers.len(), 1);
        assert_eq!(both.query_params.len(), 2, "names of query parameters are case-sensitive");
    }

    #[test]
    fn every_fault_is_told() {
        let json = r#"{"path":{"type":"Glob","value":"/a"},"method":"get",
                       "headers":[{"name":"a b","value":"1"}],
                       "queryParams":[{"name":"q","type":"RegularExpression","value":"("}]}"#;
        assert_eq!(read(json).unwrap_err().len(), 4);
    }

    #[test]
    fn a_trailing_slash_does_not_lengthen_a_prefix() {
        let rank = |value: &str| Path::Prefix(value.to_owned()).rank();
        assert_eq!(rank("/match/"), rank("/match"));
        assert!(rank("/") < rank("/a"));
    }
}
