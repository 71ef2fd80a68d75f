//! `outlierDetection`: when an endpoint is left out for a while, with Envoy's defaults.

use sekisho_sdk::model::Outlier;

use super::time;
use crate::findings::{Findings, Place};
use crate::objects::destination_rule::OutlierDetection;

/// Failures in a row, when nothing is said of them.
const CONSECUTIVE_ERRORS: u32 = 5;
/// Between looks, in milliseconds.
const INTERVAL: u64 = 10_000;
/// Of the first time out, in milliseconds.
const EJECTION: u64 = 30_000;
/// Of a destination's endpoints.
const MAX_PERCENT: u8 = 10;

pub(super) fn read(said: &OutlierDetection, at: &Place<'_>, findings: &mut Findings) -> Outlier {
    remark(said, at, findings);
    let errors = match said.consecutive_5xx_errors {
        None => Some(CONSECUTIVE_ERRORS),
        Some(number) => count(number, &at.field("consecutive5xxErrors"), findings),
    };
    let gateway_errors = said
        .consecutive_gateway_errors
        .and_then(|number| count(number, &at.field("consecutiveGatewayErrors"), findings));
    let max_percent = percent(said.max_ejection_percent, &at.field("maxEjectionPercent"), findings);
    Outlier {
        consecutive_errors: errors,
        consecutive_gateway_errors: gateway_errors,
        interval: time(said.interval.as_deref(), &at.field("interval"), findings).unwrap_or(INTERVAL),
        ejection: time(said.base_ejection_time.as_deref(), &at.field("baseEjectionTime"), findings).unwrap_or(EJECTION),
        max_percent: max_percent.filter(|percent| *percent > 0).unwrap_or(MAX_PERCENT),
        min_health_percent: percent(said.min_health_percent, &at.field("minHealthPercent"), findings).unwrap_or(0),
    }
}

/// Zero switches it off.
fn count(number: i64, at: &Place<'_>, findings: &mut Findings) -> Option<u32> {
    let count = u32::try_from(number);
    if count.is_err() {
        let message = format!("{number} is not a count; it is not looked at");
        findings.error(at, "invalid-value", message, "write 1 or more, 0 to switch it off");
    }
    count.ok().filter(|count| *count > 0)
}

fn percent(number: i64, at: &Place<'_>, findings: &mut Findings) -> Option<u8> {
    let percent = u8::try_from(number).ok().filter(|percent| *percent <= 100);
    if percent.is_none() {
        let message = format!("{number} is not a percentage");
        findings.error(at, "invalid-value", message, "write a whole number from 0 to 100");
    }
    percent
}

fn remark(said: &OutlierDetection, at: &Place<'_>, findings: &mut Findings) {
    if said.consecutive_errors != 0 {
        let message = "`consecutiveErrors` is deprecated and has no effect, as in Istio";
        let remedy = "write `consecutive5xxErrors` or `consecutiveGatewayErrors`";
        findings.warning(&at.field("consecutiveErrors"), "deprecated-field", message, remedy);
    }
    let local = said.consecutive_local_origin_failures.unwrap_or_default();
    if said.split_external_local_origin_errors {
        let message = "failures to connect are not counted apart; they count as errors of the endpoint";
        findings.warning(&at.field("splitExternalLocalOriginErrors"), "unsupported", message, "remove the field");
    } else if local != 0 {
        let message = "failures to connect are counted apart only with `splitExternalLocalOriginErrors`";
        let remedy = "remove the field; they count as errors of the endpoint";
        findings.error(&at.field("consecutiveLocalOriginFailures"), "conflicting-fields", message, remedy);
    }
}
