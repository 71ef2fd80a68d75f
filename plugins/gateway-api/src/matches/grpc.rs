//! The matches of a GRPCRoute. A call of `Method` in `package.Service` is a request for `/package.Service/Method`.

use sekisho_sdk::table::{PathRule, check_regex};

use super::{Match, Matching, Path, regex_fault, values};
use crate::field::Field;
use crate::finding::Fault;
use crate::kinds::RouteKind;
use crate::objects::http_route::{GrpcMatch, MethodMatch};
use crate::precedence::PathRank;

/// Which calls; what is not named may be any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Call {
    service: Option<String>,
    method: Option<String>,
    regex: bool,
}

impl Matching for GrpcMatch {
    const KIND: RouteKind = RouteKind::Grpc;

    fn any() -> Match {
        Match { path: Path::Call(Call::default()), method: None, headers: Vec::new(), query_params: Vec::new() }
    }

    fn read(&self, field: Field<'_>, faults: &mut Vec<Fault>) -> Option<Match> {
        let call = self.method.as_ref().map_or_else(|| Ok(Call::default()), |method| Call::read(method, field));
        match (call, values(&self.headers, field.below("headers"), true)) {
            (Ok(call), Ok(headers)) => Some(Match { path: Path::Call(call), headers, ..Self::any() }),
            (call, headers) => {
                faults.extend([call.err(), headers.err()].into_iter().flatten());
                None
            }
        }
    }
}

impl Call {
    fn read(spec: &MethodMatch, field: Field<'_>) -> Result<Self, Fault> {
        let field = field.below("method");
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        let (service, method) = (named(&spec.service), named(&spec.method));
        let parts = [("service", &service), ("method", &method)];
        let regex = match spec.kind.as_deref().unwrap_or("Exact") {
            "Exact" => false,
            "RegularExpression" => true,
            other => {
                let message = format!("`{other}` is not a type of method match");
                let remedy = "use Exact or RegularExpression";
                return Err(Fault::new("unsupported-value", format!("{field}.type"), message, remedy));
            }
        };
        if parts.iter().all(|(_, part)| part.is_none()) {
            let message = "a method match needs a service or a method";
            return Err(Fault::new("missing-field", field, message, "name one of them, or leave `method` out"));
        }
        for (below, part) in parts {
            let Some(part) = part else { continue };
            if regex {
                check_regex(part).map_err(|why| regex_fault(format!("{field}.{below}"), why))?;
            } else if !is_name(part, below == "service") {
                let message = format!("`{part}` is not the name of a gRPC {below}");
                let remedy = "use letters, digits and `_`, and in a service `.`";
                return Err(Fault::new("invalid-match", format!("{field}.{below}"), message, remedy));
            }
        }
        let call = Self { service, method, regex };
        // Each part may be good by itself, and the two together not: too large, or with one group's name twice.
        if let PathRule::Regex(pattern) = call.rule() {
            check_regex(&pattern).map_err(|why| regex_fault(field.to_string(), why))?;
        }
        Ok(call)
    }

    pub(super) fn rule(&self) -> PathRule {
        let any = "[^/]+";
        match (&self.service, &self.method) {
            (None, None) => PathRule::Any,
            (Some(service), Some(method)) if !self.regex => {
                PathRule::Exact { value: format!("/{service}/{method}"), ignore_case: false }
            }
            (Some(service), None) if !self.regex => {
                PathRule::Prefix { value: format!("/{service}/"), ignore_case: false }
            }
            (service, method) => {
                // Without a regular expression only the method is named, whose letters mean themselves.
                let part = |part: &Option<String>| {
                    part.as_deref().map_or_else(|| any.to_owned(), |part| format!("(?:{part})"))
                };
                PathRule::Regex(format!("/{}/{}", part(service), part(method)))
            }
        }
    }

    pub(super) fn rank(&self) -> PathRank {
        let length = |part: &Option<String>| part.as_deref().map_or(0, |part| part.chars().count());
        PathRank::Call { service: length(&self.service), method: length(&self.method) }
    }
}

/// What the CRD takes for the name of a service, with dots, or of a method.
fn is_name(name: &str, dots: bool) -> bool {
    let label = |label: &str| {
        label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if dots { name.split('.').all(label) } else { label(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::SPEC;

    fn read(json: &str) -> Result<Call, Vec<Fault>> {
        let mut faults = Vec::new();
        let read = serde_json::from_str::<GrpcMatch>(json).unwrap().read(SPEC, &mut faults);
        read.map(|one| match one.path {
            Path::Call(call) => call,
            _ => panic!("a GRPCRoute matches calls"),
        })
        .ok_or(faults)
    }

    #[test]
    fn a_call_is_a_path() {
        let rule = |json: &str| read(json).unwrap().rule();
        assert_eq!(rule("{}"), PathRule::Any);
        assert_eq!(
            rule(r#"{"method": {"service": "a.B", "method": "C"}}"#),
            PathRule::Exact { value: "/a.B/C".to_owned(), ignore_case: false }
        );
        assert_eq!(
            rule(r#"{"method": {"service": "a.B"}}"#),
            PathRule::Prefix { value: "/a.B/".to_owned(), ignore_case: false }
        );
        assert_eq!(rule(r#"{"method": {"method": "C"}}"#), PathRule::Regex("/[^/]+/(?:C)".to_owned()));
        assert_eq!(
            rule(r#"{"method": {"type": "RegularExpression", "service": "a|b", "method": "C.*"}}"#),
            PathRule::Regex("/(?:a|b)/(?:C.*)".to_owned())
        );
    }

    #[test]
    fn what_the_crd_refuses_is_refused() {
        for json in [
            r#"{"method": {}}"#,
            r#"{"method": {"service": "", "method": ""}}"#,
            r#"{"method": {"type": "Prefix", "service": "a"}}"#,
            r#"{"method": {"service": "a/b"}}"#,
            r#"{"method": {"service": "a..b"}}"#,
            r#"{"method": {"method": "a.b"}}"#,
            r#"{"method": {"type": "RegularExpression", "method": "("}}"#,
            r#"{"method": {"type": "RegularExpression", "service": "(?P<x>a)", "method": "(?P<x>b)"}}"#,
            r#"{"headers": [{"name": "a b", "value": "1"}]}"#,
        ] {
            assert_eq!(read(json).map_err(|faults| faults.len()), Err(1), "{json}");
        }
    }
}
