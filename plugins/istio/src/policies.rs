//! `fault`, `corsPolicy` and shares in percent.

use sekisho_sdk::model::{Abort, AbortFault, Cors, DelayFault, Fault, Fraction, TextMatch, Unmatched};
use sekisho_sdk::table::check_regex;

use crate::duration::{self, milliseconds};
use crate::findings::{Findings, Place};
use crate::names::is_header_name;
use crate::objects::virtual_service::{CorsPolicy, FaultAbort, FaultDelay, HttpFault, Percent, StringMatch};

/// A percentage as a fraction, to four decimals like Envoy's; an error outside 0 to 100.
pub(crate) fn fraction(percent: f64, at: &Place<'_>, findings: &mut Findings) -> Option<Fraction> {
    if !(0.0..=100.0).contains(&percent) {
        let message = format!("{percent} is not a percentage");
        findings.error(at, "invalid-value", message, "write a number from 0 to 100");
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a million, not negative")]
    let numerator = (percent * 10_000.0).round() as u32;
    Some(Fraction { numerator, denominator: 1_000_000 })
}

/// Reads `fault`. The outer none is an error, the inner one injects nothing.
pub(crate) fn fault(said: Option<&HttpFault>, at: &Place<'_>, findings: &mut Findings) -> Option<Option<Fault>> {
    let Some(said) = said else { return Some(None) };
    let at = at.field("fault");
    if said.delay.is_none() && said.abort.is_none() {
        findings.error(&at, "missing-field", "the fault is none", "give `delay`, `abort` or both");
        return None;
    }
    let delay = said.delay.as_ref().map(|delay| read_delay(delay, &at.field("delay"), findings));
    let abort = said.abort.as_ref().map(|abort| read_abort(abort, &at.field("abort"), findings));
    let fault = Fault { delay: delay.unwrap_or(Some(None))?, abort: abort.unwrap_or(Some(None))? };
    Some((fault.delay.is_some() || fault.abort.is_some()).then_some(fault))
}

/// Without a percentage, nothing is ever delayed.
fn read_delay(said: &FaultDelay, at: &Place<'_>, findings: &mut Findings) -> Option<Option<DelayFault>> {
    if said.exponential_delay.is_some() {
        let message = "`exponentialDelay` is not served, as in Istio";
        findings.error(&at.field("exponentialDelay"), "unsupported", message, "write `fixedDelay`");
        return None;
    }
    let Some(text) = &said.fixed_delay else {
        findings.error(at, "missing-field", "the delay has no length", "write `fixedDelay`");
        return None;
    };
    let delay = milliseconds(duration::read_some(text, &at.field("fixedDelay"), findings)?);
    let share = share(said.percentage.as_ref(), said.percent, at, findings)?;
    Some(share.map(|share| DelayFault { delay, share }))
}

fn read_abort(said: &FaultAbort, at: &Place<'_>, findings: &mut Findings) -> Option<Option<AbortFault>> {
    let abort = match (said.http_status, said.grpc_status.as_deref(), said.http2_error.as_deref()) {
        (Some(status), None, None) => http_status(status, at, findings)?,
        (None, Some(status), None) => grpc_status(status, at, findings)?,
        (None, None, Some(_)) => {
            let message = "`http2Error` is not served, as in Istio";
            findings.error(&at.field("http2Error"), "unsupported", message, "write `httpStatus` or `grpcStatus`");
            return None;
        }
        (None, None, None) => {
            findings.error(at, "missing-field", "the abort has no status", "write `httpStatus` or `grpcStatus`");
            return None;
        }
        _ => {
            findings.error(at, "conflicting-fields", "the abort has several statuses", "keep one of them");
            return None;
        }
    };
    let share = share(said.percentage.as_ref(), 0, at, findings)?;
    Some(share.map(|share| AbortFault { abort, share }))
}

fn http_status(status: i64, at: &Place<'_>, findings: &mut Findings) -> Option<Abort> {
    let legal = u16::try_from(status).ok().filter(|status| (200..600).contains(status));
    if legal.is_none() {
        let message = format!("{status} cannot be answered");
        findings.error(&at.field("httpStatus"), "invalid-value", message, "write a status from 200 to 599");
    }
    legal.map(Abort::Http)
}

fn grpc_status(status: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Abort> {
    let by_name = GRPC_STATUSES.iter().position(|name| *name == status);
    let code = by_name.or_else(|| status.parse().ok().filter(|code| *code < GRPC_STATUSES.len()));
    if code.is_none() {
        let message = format!("`{status}` is not a status of gRPC");
        findings.error(&at.field("grpcStatus"), "invalid-value", message, "write its name, such as `UNAVAILABLE`");
    }
    code.and_then(|code| u8::try_from(code).ok()).map(Abort::Grpc)
}

const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The inner none is a share of nothing.
fn share(
    percentage: Option<&Percent>,
    deprecated: i64,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Option<Fraction>> {
    let share = match percentage {
        Some(percentage) => fraction(percentage.value, &at.field("percentage"), findings)?,
        None => match u32::try_from(deprecated).ok().filter(|percent| *percent <= 100) {
            Some(percent) => {
                if percent > 0 {
                    let message = "`percent` is an old form of `percentage`";
                    let remedy = "write `percentage: { value: … }`";
                    findings.info(&at.field("percent"), "deprecated-field", message, remedy);
                }
                Fraction { numerator: percent * 10_000, denominator: 1_000_000 }
            }
            None => {
                let message = format!("{deprecated} is not a percentage");
                findings.error(&at.field("percent"), "invalid-value", message, "write a number from 0 to 100");
                return None;
            }
        },
    };
    if share.numerator == 0 {
        let message = "without a percentage above 0 this never happens";
        findings.warning(
            &at.field("percentage"),
            "no-effect",
            message,
            "write `percentage: { value: 100 }` for always",
        );
        return Some(None);
    }
    Some(Some(share))
}

/// Reads `corsPolicy`. The outer none is an error.
pub(crate) fn cors(said: Option<&CorsPolicy>, at: &Place<'_>, findings: &mut Findings) -> Option<Option<Cors>> {
    let Some(said) = said else { return Some(None) };
    let at = at.field("corsPolicy");
    let origins = if said.allow_origins.is_empty() {
        if !said.allow_origin.is_empty() {
            let message = "`allowOrigin` is an old form of `allowOrigins`";
            let remedy = "write `allowOrigins: [{ exact: … }]`";
            findings.info(&at.field("allowOrigin"), "deprecated-field", message, remedy);
        }
        Some(said.allow_origin.iter().map(|origin| exact(origin)).collect())
    } else {
        let origins = said.allow_origins.iter().enumerate();
        let origins: Vec<_> =
            origins.map(|(i, origin)| text_match(origin, &at.item("allowOrigins", i), findings)).collect();
        origins.into_iter().collect()
    };
    let max_age = match &said.max_age {
        Some(text) => whole_seconds(text, &at.field("maxAge"), findings).map(Some),
        None => Some(None),
    };
    let methods = methods(&said.allow_methods, &at, findings);
    let allowed = header_names(&said.allow_headers, "allowHeaders", &at, findings);
    let exposed = header_names(&said.expose_headers, "exposeHeaders", &at, findings);
    let unmatched_preflight = match said.unmatched_preflights.as_str() {
        "" | "UNSPECIFIED" | "FORWARD" => Some(Unmatched::Forward),
        "IGNORE" => Some(Unmatched::Refuse),
        other => {
            let message = format!("`{other}` is not known");
            findings.error(&at.field("unmatchedPreflights"), "invalid-value", message, "write FORWARD or IGNORE");
            None
        }
    };
    Some(Some(Cors {
        origins: origins?,
        methods: methods?,
        headers: allowed?,
        expose: exposed?,
        max_age_seconds: max_age?,
        credentials: said.allow_credentials.unwrap_or(false),
        unmatched_preflight: unmatched_preflight?,
    }))
}

/// What `access-control-max-age` can say.
fn whole_seconds(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<u32> {
    let age = duration::read(text, at, findings)?;
    if age.subsec_nanos() != 0 {
        let message = format!("`{text}` is not in whole seconds");
        findings.error(at, "invalid-value", message, "write whole seconds");
        return None;
    }
    Some(u32::try_from(age.as_secs()).unwrap_or(u32::MAX))
}

const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

fn methods(said: &[String], at: &Place<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    let mut legal = true;
    for (index, method) in said.iter().enumerate().filter(|(_, method)| !METHODS.contains(&method.as_str())) {
        let message = format!("`{method}` is not a method of HTTP");
        let remedy = "write methods in capitals, or `*`";
        findings.error(&at.item("allowMethods", index), "invalid-value", message, remedy);
        legal = false;
    }
    legal.then(|| said.to_vec())
}

fn header_names(said: &[String], list: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    let mut legal = true;
    for (index, name) in said.iter().enumerate().filter(|(_, name)| !is_header_name(name)) {
        let message = format!("`{name}` is not a header name");
        findings.error(&at.item(list, index), "invalid-header-name", message, "correct it, or write `*`");
        legal = false;
    }
    legal.then(|| said.to_vec())
}

/// Envoy takes `*` for any origin.
fn exact(origin: &str) -> TextMatch {
    if origin == "*" { TextMatch::Any } else { TextMatch::Exact(origin.to_owned()) }
}

fn text_match(said: &StringMatch, at: &Place<'_>, findings: &mut Findings) -> Option<TextMatch> {
    if [&said.exact, &said.prefix, &said.regex].into_iter().flatten().any(String::is_empty) {
        findings.error(at, "invalid-value", "no origin is empty", "write an origin, or `exact: \"*\"` for any");
        return None;
    }
    match (&said.exact, &said.prefix, &said.regex) {
        (Some(origin), None, None) => Some(exact(origin)),
        (None, Some(prefix), None) => Some(TextMatch::Prefix(prefix.clone())),
        (None, None, Some(pattern)) => {
            let remedy = "correct it; it must match the whole origin, in linear time";
            let checked = check_regex(pattern);
            checked.map_err(|e| findings.error(&at.field("regex"), "invalid-regex", e, remedy)).ok()?;
            Some(TextMatch::Regex(pattern.clone()))
        }
        _ => {
            let message = "an origin is one of `exact`, `prefix` and `regex`";
            findings.error(at, "conflicting-fields", message, "give exactly one");
            None
        }
    }
}
