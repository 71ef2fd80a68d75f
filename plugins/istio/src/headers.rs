//! Header operations, and the `%VARIABLES%` that Envoy fills into their values.

use std::collections::BTreeMap;

use sekisho_sdk::model::{HeaderOp, HeaderOps, Text};

use crate::findings::{Findings, Place};
use crate::names::is_header_name;
use crate::objects::virtual_service::{HeaderOperations, Headers};

/// `headers` of a route or of a destination.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operations {
    pub(crate) ops: HeaderOps,
    /// Setting `host` or `:authority` is a rewrite of the authority.
    pub(crate) host: Option<String>,
}

/// Reads `headers`; none when something in them cannot be done as written.
pub(crate) fn read(headers: Option<&Headers>, at: &Place<'_>, findings: &mut Findings) -> Option<Operations> {
    let Some(headers @ Headers { request, response }) = headers else { return Some(Operations::default()) };
    let at = at.field("headers");
    let request_at = at.field("request");
    let request_ops = operations(request, &request_at, true, findings);
    let response_ops = operations(response, &at.field("response"), false, findings);
    if authorities(headers) > 1 {
        // Istio's translation goes by the same order where its validation is not asked.
        let message = "the authority is set more than once; what is set goes before what is added";
        findings.error(&request_at, "conflicting-fields", message, "keep one of `host` and `:authority`");
    }
    let host = authority(&request.set).or_else(|| authority(&request.add)).cloned();
    Some(Operations { ops: HeaderOps { request: request_ops?, response: response_ops? }, host })
}

/// How often the authority of requests is set.
pub(crate) fn authorities(Headers { request, .. }: &Headers) -> usize {
    request.set.keys().chain(request.add.keys()).filter(|name| is_authority(name)).count()
}

fn authority(headers: &BTreeMap<String, String>) -> Option<&String> {
    headers.iter().find(|(name, _)| is_authority(name)).map(|(_, value)| value)
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// Removals come first, then what is set, then what is added, as Envoy evaluates them.
fn operations(
    said: &HeaderOperations,
    at: &Place<'_>,
    is_request: bool,
    findings: &mut Findings,
) -> Option<Vec<HeaderOp>> {
    let mut ops = Vec::with_capacity(said.remove.len() + said.set.len() + said.add.len());
    let mut legal = true;
    for (index, name) in said.remove.iter().enumerate() {
        match name_of(name, &at.item("remove", index), false, findings) {
            Name::Header(name) => ops.push(HeaderOp::Remove(name)),
            Name::PassedOver => {}
            Name::Illegal => legal = false,
        }
    }
    let sets = said.set.iter().map(|entry| ("set", entry));
    let adds = said.add.iter().map(|entry| ("add", entry));
    for (verb, (name, value)) in sets.chain(adds) {
        let at = at.field(verb);
        let at = at.field(name);
        let header = match name_of(name, &at, is_request, findings) {
            Name::Header(header) => header,
            Name::PassedOver => continue,
            Name::Illegal => {
                legal = false;
                continue;
            }
        };
        match template(value) {
            Ok(value) if verb == "set" => ops.push(HeaderOp::Set((header, value))),
            Ok(value) => ops.push(HeaderOp::Add((header, value))),
            Err(problem) => {
                let remedy = "write `%%` for a percent sign, or one of the variables of docs/variables.md";
                findings.error(&at, "invalid-header-value", problem, remedy);
                legal = false;
            }
        }
    }
    legal.then_some(ops)
}

enum Name {
    Header(String),
    /// Istio passes it over; so do we, and say so.
    PassedOver,
    Illegal,
}

fn name_of(name: &str, at: &Place<'_>, may_be_authority: bool, findings: &mut Findings) -> Name {
    if is_authority(name) || name.starts_with(':') {
        if !(may_be_authority && is_authority(name)) {
            let message = format!("Istio does not change `{name}` here; the operation has no effect");
            findings.warning(at, "no-effect", message, "remove it; `rewrite` changes path and authority");
        }
        return Name::PassedOver;
    }
    if !is_header_name(name) {
        findings.error(at, "invalid-header-name", format!("`{name}` is not a header name"), "correct it");
        return Name::Illegal;
    }
    Name::Header(name.to_ascii_lowercase())
}

/// Envoy's words, and the gateway's for the same.
const VARIABLES: [(&str, &str); 5] = [
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "client-ip"),
    ("REQ(X-REQUEST-ID)", "request-id"),
    ("REQUESTED_SERVER_NAME", "sni"),
    ("REQ(:AUTHORITY)", "authority"),
    ("REQ(:METHOD)", "method"),
];

/// A value with `%VARIABLES%`; `%%` is a percent sign.
fn template(value: &str) -> Result<Vec<Text>, String> {
    if value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
        return Err("a header's value cannot have control characters".to_owned());
    }
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('%') else {
            return Err("a percent sign begins a variable that does not end".to_owned());
        };
        let known = VARIABLES.iter().find(|(envoys, _)| name.eq_ignore_ascii_case(envoys));
        let (_, ours) = known.ok_or_else(|| format!("the variable `%{name}%` is not known"))?;
        if !literal.is_empty() {
            pieces.push(Text::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Text::Variable((*ours).to_owned()));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() || pieces.is_empty() {
        pieces.push(Text::Literal(literal));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_translated() {
        let literal = |text: &str| Text::Literal(text.to_owned());
        let variable = |name: &str| Text::Variable(name.to_owned());
        assert_eq!(template("plain"), Ok(vec![literal("plain")]));
        assert_eq!(template(""), Ok(vec![literal("")]));
        assert_eq!(template("100%%"), Ok(vec![literal("100%")]));
        assert_eq!(
            template("ip=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%;id=%REQ(x-request-id)%"),
            Ok(vec![literal("ip="), variable("client-ip"), literal(";id="), variable("request-id")])
        );
        assert_eq!(template("%REQUESTED_SERVER_NAME%"), Ok(vec![variable("sni")]));
        for wrong in ["100%", "%START_TIME%", "%REQ(x)%", "a\nb", "%%%"] {
            assert!(template(wrong).is_err(), "{wrong:?}");
        }
    }
}
