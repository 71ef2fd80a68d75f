//! `retries`: Envoy's policies by the model's words.

use sekisho_sdk::model::{Retry, RetryOn};

use crate::duration::{self, milliseconds};
use crate::findings::{Findings, Place};
use crate::objects::virtual_service::HttpRetry;

/// Envoy's base interval between tries, in milliseconds; the longest is ten times that.
const BACKOFF: u64 = 25;

/// Istio's tries besides the first, when a VirtualService says nothing.
const ATTEMPTS: u32 = 2;

/// What Istio retries by default: only requests that no endpoint has begun to answer.
fn by_default() -> Vec<RetryOn> {
    vec![RetryOn::ConnectFailure, RetryOn::RefusedStream, RetryOn::GrpcUnavailable, RetryOn::GrpcCancelled]
}

/// Reads `retries`. The outer none is an error, the inner one switches retries off.
pub(crate) fn read(said: Option<&HttpRetry>, at: &Place<'_>, findings: &mut Findings) -> Option<Option<Retry>> {
    let mut retry = Retry {
        attempts: ATTEMPTS,
        on: by_default(),
        statuses: Vec::new(),
        per_try: None,
        backoff: Some(BACKOFF),
        max_backoff: Some(BACKOFF * 10),
        avoid_tried: true,
    };
    let Some(said) = said else { return Some(Some(retry)) };
    let at = at.field("retries");
    let Ok(attempts) = u32::try_from(said.attempts) else {
        let message = format!("{} attempts cannot be made", said.attempts);
        findings.error(&at.field("attempts"), "invalid-value", message, "write 0 to switch retries off");
        return None;
    };
    if attempts == 0 {
        let others = said.per_try_timeout.is_some() || !said.retry_on.is_empty() || said.backoff.is_some();
        if others || said.retry_remote_localities.is_some() {
            let message = "retries are switched off by `attempts: 0`, so that nothing else can stand here";
            findings.error(&at, "conflicting-fields", message, "write the number of attempts, or remove the others");
            return None;
        }
        return Some(None);
    }
    retry.attempts = attempts;
    if !said.retry_on.is_empty() {
        (retry.on, retry.statuses) = conditions(&said.retry_on, &at.field("retryOn"), findings)?;
    }
    if let Some(text) = &said.per_try_timeout {
        let timeout = duration::read_some(text, &at.field("perTryTimeout"), findings)?;
        retry.per_try = Some(milliseconds(timeout));
    }
    if let Some(text) = &said.backoff {
        let backoff = milliseconds(duration::read_some(text, &at.field("backoff"), findings)?);
        retry.backoff = Some(backoff);
        retry.max_backoff = Some(backoff.saturating_mul(10));
    }
    if said.retry_remote_localities == Some(true) {
        let message = "endpoints have no localities here, so that all of them are tried anyway";
        findings.info(&at.field("retryRemoteLocalities"), "no-effect", message, "remove the field");
    }
    retry.avoid_tried = said.retry_ignore_previous_hosts.unwrap_or(true);
    Some(Some(retry))
}

/// Whether nothing is said of endpoints that were tried before.
pub(crate) fn leaves_hosts_open(said: Option<&HttpRetry>) -> bool {
    said.is_none_or(|said| said.retry_ignore_previous_hosts.is_none())
}

/// `retryOn`: policies and status codes, separated by commas.
fn conditions(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<(Vec<RetryOn>, Vec<u16>)> {
    let mut on = Vec::new();
    let mut statuses = Vec::new();
    let mut legal = true;
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        if let Ok(status) = word.parse::<u16>() {
            if (100..600).contains(&status) {
                statuses.push(status);
                continue;
            }
        } else if let Some(policy) = policy(word) {
            for one in policy {
                if !on.contains(one) {
                    on.push(*one);
                }
            }
            continue;
        } else if word == "retriable-4xx" {
            statuses.push(409);
            continue;
        } else if word == "retriable-status-codes" {
            continue;
        } else if NEVER_MET.contains(&word) {
            let message = format!("nothing is retried because of `{word}` here; the other conditions count");
            findings.warning(at, "unsupported", message, "remove it");
            continue;
        }
        let message = format!("`{word}` is not a condition of retries");
        findings.error(at, "invalid-value", message, "take status codes and Envoy's policies");
        legal = false;
    }
    legal.then_some((on, statuses))
}

/// Envoy's conditions on headers that Istio cannot name, and on HTTP/3.
const NEVER_MET: [&str; 3] = ["retriable-headers", "envoy-ratelimited", "http3-post-connect-failure"];

/// Envoy's wide policies take in the narrow ones, and any reset counts the time-out of a single try.
fn policy(word: &str) -> Option<&'static [RetryOn]> {
    use RetryOn::{
        ConnectFailure, GatewayError, GrpcCancelled, GrpcDeadlineExceeded, GrpcInternal, GrpcResourceExhausted,
        GrpcUnavailable, RefusedStream, Reset, ResetBeforeRequest, ServerError, Timeout,
    };
    Some(match word {
        "5xx" => &[ServerError, Reset, Timeout, ConnectFailure, RefusedStream],
        "gateway-error" => &[GatewayError, Reset, Timeout, ConnectFailure, RefusedStream],
        "reset" => &[Reset, Timeout, ConnectFailure, RefusedStream],
        "reset-before-request" => &[ResetBeforeRequest],
        "connect-failure" => &[ConnectFailure],
        "refused-stream" => &[RefusedStream],
        "cancelled" => &[GrpcCancelled],
        "deadline-exceeded" => &[GrpcDeadlineExceeded],
        "internal" => &[GrpcInternal],
        "resource-exhausted" => &[GrpcResourceExhausted],
        "unavailable" => &[GrpcUnavailable],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use sekisho_sdk::ObjectKey;

    use super::*;

    fn conditions_of(text: &str) -> Option<(Vec<RetryOn>, Vec<u16>)> {
        let object = ObjectKey::new("", "VirtualService", "default", "v");
        conditions(text, &Place::root(&object, "spec"), &mut Findings::default())
    }

    #[test]
    fn policies_and_statuses_mix() {
        let (on, statuses) = conditions_of("connect-failure, 503,reset,retriable-4xx").expect("legal conditions");
        assert_eq!(on, [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::Timeout, RetryOn::RefusedStream]);
        assert_eq!(statuses, [503, 409]);
        assert_eq!(conditions_of("retriable-headers,503"), Some((vec![], vec![503])));
        assert!(conditions_of("retriable-head").is_none() && conditions_of("99").is_none());
    }

    #[test]
    fn nothing_said_is_two_careful_retries() {
        let object = ObjectKey::new("", "VirtualService", "default", "v");
        let retry = read(None, &Place::root(&object, "spec"), &mut Findings::default());
        let retry = retry.flatten().expect("retries by default");
        assert_eq!((retry.attempts, retry.backoff, retry.avoid_tried), (2, Some(25), true));
        assert!(retry.statuses.is_empty() && retry.on.contains(&RetryOn::ConnectFailure));
    }
}
