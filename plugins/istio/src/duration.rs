//! Durations as Istio writes them: Go's `1h30m`, `1.5s`, `25ms`.

use std::time::Duration;

use crate::findings::{Findings, Place};

/// Reads a duration field; what is wrong with it becomes an error finding.
pub(crate) fn read(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Duration> {
    let Some(duration) = parse(text) else {
        let message = format!("`{text}` is not a duration");
        findings.error(at, "invalid-value", message, "write numbers with units, such as `3s`, `250ms` or `1m30s`");
        return None;
    };
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        let message = format!("`{text}` is finer than a millisecond");
        findings.error(at, "invalid-value", message, "write whole milliseconds");
        return None;
    }
    Some(duration)
}

/// Reads a duration that cannot be zero.
pub(crate) fn read_some(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Duration> {
    let duration = read(text, at, findings)?;
    if duration.is_zero() {
        findings.error(at, "invalid-value", "it is at least one millisecond", "write a longer time");
        return None;
    }
    Some(duration)
}

/// In the milliseconds of the model; what is shorter than one counts as one.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0_u128;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (digits, tail) = rest.split_at(number);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        total = total.checked_add(nanoseconds(digits, unit)?)?;
        rest = tail;
    }
    if text.is_empty() { None } else { Some(Duration::from_nanos(u64::try_from(total).ok()?)) }
}

fn nanoseconds(digits: &str, unit: &str) -> Option<u128> {
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 18 || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? };
    let fraction = &fraction[..fraction.len().min(15)];
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    Some(whole * unit + part * unit / 10_u128.pow(u32::try_from(fraction.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, milliseconds) in [
            ("3s", Some(3_000)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("1.5s", Some(1_500)),
            (".5s", Some(500)),
            ("25ms", Some(25)),
            ("1h30m", Some(5_400_000)),
            ("100us", Some(1)),
            ("", None),
            ("3", None),
            ("-1s", None),
            ("s", None),
            ("1.2.3s", None),
            ("1 s", None),
            (".s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(parse(text).map(super::milliseconds), milliseconds, "{text}");
        }
    }
}
