//! `loadBalancer`: how an endpoint is chosen.

use sekisho_sdk::model::{Balance, Cookie, HashOn};

use super::refusal::Refusal;
use crate::duration::{self, milliseconds};
use crate::findings::{Findings, Place};
use crate::names::is_header_name;
use crate::objects::destination_rule::{ConsistentHash, HttpCookie, LoadBalancer, Warmup};

/// A Maglev table's size is below this, in Envoy.
const LARGEST_TABLE: i64 = 5_000_011;

pub(super) fn read(said: &LoadBalancer, at: &Place<'_>, findings: &mut Findings) -> Result<Balance, Box<Refusal>> {
    remark(said, at, findings);
    if said.simple.is_some() && said.consistent_hash.is_some() {
        let message = "`simple` and `consistentHash` exclude each other; the latter is taken";
        findings.error(at, "conflicting-fields", message, "keep one and remove the other");
    }
    match &said.consistent_hash {
        Some(hash) => Ok(consistent_hash(hash, &at.field("consistentHash"), findings)),
        None => simple(said.simple.as_deref().unwrap_or_default(), &at.field("simple"), findings),
    }
}

fn simple(word: &str, at: &Place<'_>, findings: &mut Findings) -> Result<Balance, Box<Refusal>> {
    Ok(match word {
        "" | "UNSPECIFIED" | "LEAST_REQUEST" => Balance::LeastRequest,
        "LEAST_CONN" => {
            let message = "LEAST_CONN is an old word for LEAST_REQUEST";
            findings.info(at, "deprecated-field", message, "write LEAST_REQUEST");
            Balance::LeastRequest
        }
        "ROUND_ROBIN" => Balance::RoundRobin,
        "RANDOM" => Balance::Random,
        "PASSTHROUGH" => {
            let message =
                "PASSTHROUGH forwards to wherever the client was going, and a gateway's client goes to the gateway";
            return Err(Refusal::unsupported(at, message, "write LEAST_REQUEST, ROUND_ROBIN or RANDOM"));
        }
        other => {
            let message = format!("`{other}` is not a way to choose; LEAST_REQUEST is taken");
            findings.error(at, "invalid-value", message, "write LEAST_REQUEST, ROUND_ROBIN or RANDOM");
            Balance::LeastRequest
        }
    })
}

fn consistent_hash(said: &ConsistentHash, at: &Place<'_>, findings: &mut Findings) -> Balance {
    remark_ring(said, at, findings);
    let given = [
        said.http_header_name.is_some(),
        said.http_cookie.is_some(),
        said.use_source_ip.is_some(),
        said.http_query_parameter_name.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        let message = "requests are hashed on one thing; the first of header, cookie, address and parameter is taken";
        findings.error(at, "conflicting-fields", message, "keep one and remove the others");
    }
    let on = if let Some(name) = &said.http_header_name {
        header(name, &at.field("httpHeaderName"), findings)
    } else if let Some(cookie) = &said.http_cookie {
        read_cookie(cookie, &at.field("httpCookie"), findings)
    } else if said.use_source_ip == Some(true) {
        Some(HashOn::SourceIp)
    } else if let Some(name) = said.http_query_parameter_name.as_ref().filter(|name| !name.is_empty()) {
        Some(HashOn::Query(name.clone()))
    } else {
        let message = "nothing is named that requests are hashed on, so that endpoints are chosen by chance";
        findings.error(at, "missing-field", message, "write `httpHeaderName`, `httpCookie` or `useSourceIp: true`");
        None
    };
    on.map_or(Balance::Random, |on| Balance::Hash(vec![on]))
}

fn header(name: &str, at: &Place<'_>, findings: &mut Findings) -> Option<HashOn> {
    if is_header_name(name) {
        return Some(HashOn::Header(name.to_ascii_lowercase()));
    }
    let message = format!("`{name}` is not a header's name, so that endpoints are chosen by chance");
    findings.error(at, "invalid-header-name", message, "write the name of a header");
    None
}

fn read_cookie(said: &HttpCookie, at: &Place<'_>, findings: &mut Findings) -> Option<HashOn> {
    if !said.attributes.is_empty() {
        let message = "further attributes of the cookie are not set";
        findings.warning(&at.field("attributes"), "unsupported", message, "remove them");
    }
    if !is_header_name(&said.name) {
        let message = format!("`{}` is not a cookie's name, so that endpoints are chosen by chance", said.name);
        let code = if said.name.is_empty() { "missing-field" } else { "invalid-value" };
        findings.error(&at.field("name"), code, message, "write the name of a cookie");
        return None;
    }
    if !said.path.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b';') {
        let message = format!("`{}` is not a cookie's path, so that endpoints are chosen by chance", said.path);
        findings.error(&at.field("path"), "invalid-value", message, "write a path such as `/`");
        return None;
    }
    let ttl = said.ttl.as_ref().and_then(|text| duration::read(text, &at.field("ttl"), findings)).map(milliseconds);
    let path = (!said.path.is_empty()).then(|| said.path.clone());
    Some(HashOn::Cookie(Cookie { name: said.name.clone(), path, ttl }))
}

/// The gateway has a way of its own to hash, which knows no sizes.
fn remark_ring(said: &ConsistentHash, at: &Place<'_>, findings: &mut Findings) {
    let shaped = said.ring_hash.is_some() || said.maglev.is_some();
    if said.minimum_ring_size != 0 {
        let message = "`minimumRingSize` is deprecated, and sizes have no effect";
        findings.warning(&at.field("minimumRingSize"), "deprecated-field", message, "remove the field");
        if shaped {
            let message = "`minimumRingSize` excludes `ringHash` and `maglev`";
            findings.error(at, "conflicting-fields", message, "remove `minimumRingSize`");
        }
    }
    if said.ring_hash.is_some() && said.maglev.is_some() {
        let message = "`ringHash` and `maglev` exclude each other";
        findings.error(at, "conflicting-fields", message, "keep one and remove the other");
    }
    if let Some(maglev) = &said.maglev
        && !(is_prime(maglev.table_size) && maglev.table_size < LARGEST_TABLE)
    {
        let message = format!("{} is not the size of a Maglev table", maglev.table_size);
        let remedy = "write a prime number below 5000011, such as 65537";
        findings.error(&at.field("maglev").field("tableSize"), "invalid-value", message, remedy);
    }
    if shaped {
        let message = "requests are hashed in the gateway's own way; its kind and size have no effect";
        findings.info(at, "no-effect", message, "remove `ringHash` and `maglev`");
    }
}

fn is_prime(number: i64) -> bool {
    let mut factors = (2..).take_while(|factor: &i64| factor.saturating_mul(*factor) <= number);
    (2..LARGEST_TABLE).contains(&number) && factors.all(|factor| number % factor != 0)
}

fn remark(said: &LoadBalancer, at: &Place<'_>, findings: &mut Findings) {
    if said.locality_lb_setting.is_some() {
        let message = "where endpoints and gateway are has no effect; all endpoints are alike";
        findings.warning(&at.field("localityLbSetting"), "no-effect", message, "remove the field");
    }
    if let Some(text) = &said.warmup_duration_secs {
        let at = at.field("warmupDurationSecs");
        duration::read(text, &at, findings);
        findings.warning(&at, "no-effect", "new endpoints get their whole share at once", "remove the field");
    }
    if let Some(warmup) = &said.warmup {
        let at = at.field("warmup");
        check_warmup(warmup, &at, findings);
        findings.warning(&at, "no-effect", "new endpoints get their whole share at once", "remove the field");
    }
}

fn check_warmup(said: &Warmup, at: &Place<'_>, findings: &mut Findings) {
    match &said.duration {
        Some(text) => drop(duration::read(text, &at.field("duration"), findings)),
        None => findings.error(at, "missing-field", "`warmup` has no `duration`", "write how long it takes"),
    }
    if said.minimum_percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
        let message = "it is not a percentage";
        findings.error(&at.field("minimumPercent"), "invalid-value", message, "write a number from 0 to 100");
    }
    if said.aggression.is_some_and(|aggression| aggression.is_nan() || aggression < 1.0) {
        findings.error(&at.field("aggression"), "invalid-value", "it is below 1", "write 1 or more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_told_from_others() {
        let primes: Vec<i64> = (-3..20).filter(|number| is_prime(*number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19]);
        assert!(is_prime(65_537) && !is_prime(65_536) && !is_prime(i64::MAX));
    }
}
