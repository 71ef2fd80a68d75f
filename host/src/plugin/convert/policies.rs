//! CORS, faults and mirrors of a route, compiled.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use regex::{Regex, RegexBuilder};

use super::super::bindings::routes::sekisho::gateway::model as wit;
use super::action::{REGEX_BYTES, host, last_line};
use crate::model::{Abort, Allowed, Cors, Fault, Mirror, Share, TextMatch, Unmatched};

pub(super) fn cors(said: wit::Cors) -> Result<Cors, String> {
    let origins = said.origins.into_iter().map(text_match).collect::<Result<_, _>>()?;
    let methods = names(&said.methods, "CORS methods")?;
    let headers = names(&said.headers, "CORS headers")?;
    Ok(Cors {
        origins,
        methods: methods.map(allowed),
        headers: headers.map(allowed),
        expose: names(&said.expose, "exposed CORS headers")?,
        max_age: said.max_age_seconds.map(HeaderValue::from),
        credentials: said.credentials,
        unmatched_preflight: match said.unmatched_preflight {
            wit::Unmatched::Forward => Unmatched::Forward,
            wit::Unmatched::Refuse => Unmatched::Refuse,
        },
    })
}

/// Methods and header names are tokens alike (RFC 9110 §5.6.2). Several may stand in one text, as Envoy would join them.
fn names(list: &[String], what: &str) -> Result<Option<HeaderValue>, String> {
    let names: Vec<&str> = list.iter().flat_map(|text| text.split(',')).map(str::trim).collect();
    if let Some(bad) = names.iter().find(|name| HeaderName::from_bytes(name.as_bytes()).is_err()) {
        return Err(format!("{what}: {bad:?} is not a name"));
    }
    if names.is_empty() {
        return Ok(None);
    }
    HeaderValue::try_from(names.join(",")).map(Some).map_err(|e| format!("{what}: {e}"))
}

fn allowed(names: HeaderValue) -> Allowed {
    if names == "*" { Allowed::Asked } else { Allowed::These(names) }
}

fn text_match(said: wit::TextMatch) -> Result<TextMatch, String> {
    Ok(match said {
        wit::TextMatch::Any => TextMatch::Any,
        wit::TextMatch::Exact(text) => TextMatch::Exact(text),
        wit::TextMatch::Prefix(text) => TextMatch::Prefix(text),
        wit::TextMatch::Regex(pattern) => TextMatch::Regex(whole(&pattern)?),
    })
}

/// A regular expression that matches the whole text or not at all.
fn whole(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!(r"\A(?:{pattern})\z"))
        .size_limit(REGEX_BYTES)
        .build()
        .map_err(|e| format!("regular expression `{pattern}`: {}", last_line(&e)))
}

pub(super) fn fault(said: wit::Fault) -> Result<Fault, String> {
    let delay = said.delay.map(|said| Ok::<_, String>((Duration::from_millis(said.delay), share(said.share)?)));
    let abort = said.abort.map(|said| Ok::<_, String>((abort(said.abort)?, share(said.share)?)));
    Ok(Fault { delay: delay.transpose()?, abort: abort.transpose()? })
}

fn abort(said: wit::Abort) -> Result<Abort, String> {
    match said {
        wit::Abort::Http(status) => {
            let status = StatusCode::from_u16(status).ok().filter(|status| (200..600).contains(&status.as_u16()));
            status.map(Abort::Http).ok_or_else(|| "a fault's status is one from 200 to 599".to_owned())
        }
        wit::Abort::Grpc(status) => Ok(Abort::Grpc(status)),
    }
}

pub(super) fn share(said: wit::Fraction) -> Result<Share, String> {
    let wit::Fraction { numerator, denominator } = said;
    if denominator == 0 {
        return Err(format!("{numerator} of 0 is no share"));
    }
    Ok(Share { numerator, denominator })
}

pub(super) fn mirror(said: wit::Mirror) -> Result<Mirror, String> {
    host(&format!("host{}", said.host_suffix)).map_err(|e| format!("mirror: {e}"))?;
    Ok(Mirror { cluster: said.cluster as usize, share: share(said.share)?, host_suffix: said.host_suffix })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(origins: Vec<wit::TextMatch>, methods: &[&str]) -> wit::Cors {
        wit::Cors {
            origins,
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            headers: Vec::new(),
            expose: Vec::new(),
            max_age_seconds: Some(60),
            credentials: false,
            unmatched_preflight: wit::Unmatched::Forward,
        }
    }

    #[test]
    fn an_origin_matches_as_a_whole() {
        let regex = r"https://(a|b)\.example\.com".to_owned();
        let origins = vec![
            wit::TextMatch::Regex(regex),
            wit::TextMatch::Exact("https://exact.example".to_owned()),
            wit::TextMatch::Prefix("https://pre".to_owned()),
        ];
        let cors = cors(said(origins, &["GET", "PUT"])).unwrap();
        for allowed in ["https://a.example.com", "https://exact.example", "https://prefix.example"] {
            assert!(cors.allows(allowed), "{allowed}");
        }
        for refused in ["https://a.example.com.evil", "xhttps://a.example.com", "https://axexample.com", "null", ""] {
            assert!(!cors.allows(refused), "{refused}");
        }
        assert_eq!(cors.methods, Some(Allowed::These(HeaderValue::from_static("GET,PUT"))));
        assert_eq!(cors.max_age, Some(HeaderValue::from_static("60")));
    }

    #[test]
    fn an_alternative_at_the_top_is_whole_too() {
        let cors = cors(said(vec![wit::TextMatch::Regex("a|b".to_owned())], &["*"])).unwrap();
        assert!(cors.allows("a") && cors.allows("b"));
        assert!(!cors.allows("ax") && !cors.allows("xb"));
        assert_eq!(cors.methods, Some(Allowed::Asked));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(cors(said(vec![wit::TextMatch::Regex("(".to_owned())], &[])).unwrap_err().contains("`(`"));
        assert!(cors(said(Vec::new(), &["GET PUT"])).is_err());
        let several = cors(said(Vec::new(), &["GET, PUT", "POST"])).unwrap();
        assert_eq!(several.methods, Some(Allowed::These(HeaderValue::from_static("GET,PUT,POST"))));
        assert!(share(wit::Fraction { numerator: 1, denominator: 0 }).is_err());
        assert!(abort(wit::Abort::Http(99)).is_err());
        let mirror = |suffix: &str| {
            let share = wit::Fraction { numerator: 1, denominator: 1 };
            mirror(wit::Mirror { cluster: 0, share, host_suffix: suffix.to_owned() })
        };
        assert!(mirror("-shadow").is_ok() && mirror("\r\n").is_err() && mirror("@x").is_err());
    }
}
