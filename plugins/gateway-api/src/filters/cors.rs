//! The CORS filter.

use sekisho_sdk::model::{Cors, TextMatch, Unmatched};

use crate::field::Field;
use crate::finding::Fault;
use crate::objects::http_route::CorsFilter;

/// What the API says when `maxAge` is left out, in seconds.
const MAX_AGE: i64 = 5;

/// `*` among methods and headers stands for all of them.
pub(super) fn read(spec: &CorsFilter, field: Field<'_>) -> Result<Cors, Fault> {
    for (name, list) in [
        ("allowOrigins", &spec.allow_origins),
        ("allowMethods", &spec.allow_methods),
        ("allowHeaders", &spec.allow_headers),
    ] {
        if list.len() > 1 && list.iter().any(|value| value == "*") {
            let message = "`*` stands for all, so nothing can stand beside it";
            return Err(Fault::new("invalid-filter", format!("{field}.{name}"), message, "keep `*`, or the others"));
        }
    }
    let max_age = match u32::try_from(spec.max_age.unwrap_or(MAX_AGE)) {
        Ok(seconds) if seconds > 0 => seconds,
        _ => {
            let message = "it must be at least one second";
            return Err(Fault::new("invalid-filter", format!("{field}.maxAge"), message, "give a number of seconds"));
        }
    };
    let origins = spec.allow_origins.iter().enumerate().map(|(index, text)| {
        origin(text).ok_or_else(|| {
            let message = format!("`{text}` is not an origin");
            Fault::new(
                "invalid-filter",
                format!("{field}.allowOrigins[{index}]"),
                message,
                "give `https://host`, with a port if need be",
            )
        })
    });
    Ok(Cors {
        origins: origins.collect::<Result<_, _>>()?,
        methods: spec.allow_methods.clone(),
        headers: spec.allow_headers.clone(),
        expose: spec.expose_headers.clone(),
        max_age_seconds: Some(max_age),
        credentials: spec.allow_credentials.unwrap_or(false),
        // A preflight is the gateway's to answer; the backend never sees one.
        unmatched_preflight: Unmatched::Refuse,
    })
}

/// An origin as browsers send it: the scheme's own port left out. `*` in the host stands for any labels.
fn origin(text: &str) -> Option<TextMatch> {
    if text == "*" {
        return Some(TextMatch::Any);
    }
    let text = text.to_ascii_lowercase();
    let (scheme, default_port, authority) = match text.split_once("://")? {
        ("http", authority) => ("http", ":80", authority),
        ("https", authority) => ("https", ":443", authority),
        _ => return None,
    };
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._:*[]".contains(&b);
    if authority.is_empty() || !authority.bytes().all(legal) {
        return None;
    }
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    if !authority.contains('*') {
        return Some(TextMatch::Exact(format!("{scheme}://{authority}")));
    }
    let mut pattern = format!("{scheme}://");
    for c in authority.chars() {
        match c {
            '*' => pattern.push_str("[^/:]+"),
            '.' | '[' | ']' => pattern.extend(['\\', c]),
            _ => pattern.push(c),
        }
    }
    Some(TextMatch::Regex(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        let exact = |text: &str| Some(TextMatch::Exact(text.to_owned()));
        assert_eq!(origin("https://A.example.com"), exact("https://a.example.com"));
        assert_eq!(origin("https://a.example.com:443"), exact("https://a.example.com"));
        assert_eq!(origin("https://a.example.com:8443"), exact("https://a.example.com:8443"));
        assert_eq!(origin("*"), Some(TextMatch::Any));
        assert_eq!(origin("https://*.example.com"), Some(TextMatch::Regex(r"https://[^/:]+\.example\.com".to_owned())));
        for text in ["", "example.com", "ftp://a", "https://", "https://a/b"] {
            assert_eq!(origin(text), None, "{text}");
        }
    }
}
