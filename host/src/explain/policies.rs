//! What becomes of a request by its route's CORS policy, faults and mirrors.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN};
use http::request::Parts;

use crate::generation::Part;
use crate::http::{Asked, asked};
use crate::model::{Abort, Action, Route, Share};

/// A sentence for each policy that has a say, in the order in which they have it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) sentences: Vec<String>,
    /// The status that the gateway answers for certain, and why.
    pub(super) answered: Option<(u16, String)>,
}

pub(super) fn told(route: &Route, parts: &Parts, part: &Part) -> Told {
    let mut told = Told::default();
    cors(route, parts, &mut told);
    if told.answered.is_none() {
        faults(route, &mut told);
    }
    if let (Action::Forward(forward), None) = (&route.action, &told.answered) {
        for mirror in &forward.mirrors {
            let cluster = part.clusters.get(mirror.cluster).map_or("", |cluster| &cluster.name);
            told.sentences.push(format!("{} of the requests are copied to {cluster}", percent(mirror.share)));
        }
    }
    told
}

fn cors(route: &Route, parts: &Parts, told: &mut Told) {
    let Some(policy) = &route.cors else { return };
    let origin = parts.headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned());
    match (asked(policy, &parts.method, &parts.headers), origin) {
        (Asked::Preflight(answer), Some(origin)) => {
            let because = if answer.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
                format!("the gateway answers the preflight: its CORS policy allows origin {origin}")
            } else {
                format!("the gateway answers the preflight, and allows nothing: its CORS policy does not name {origin}")
            };
            told.answered = Some((answer.status().as_u16(), because));
        }
        (Asked::Allowed(_), Some(origin)) => {
            told.sentences.push(format!("the answer allows origin {origin} to read it (CORS)"));
        }
        (Asked::Nothing, Some(origin)) => {
            told.sentences
                .push(format!("the CORS policy does not name origin {origin}: the answer is passed on as it is"));
        }
        (_, None) => {}
    }
}

fn faults(route: &Route, told: &mut Told) {
    let Some(fault) = &route.fault else { return };
    if let Some((delay, share)) = fault.delay {
        told.sentences.push(format!("{} of the requests wait {delay:?} on purpose", percent(share)));
    }
    if let Some((abort, share)) = fault.abort {
        let (status, what) = match abort {
            Abort::Http(status) => (status.as_u16(), status.as_str().to_owned()),
            Abort::Grpc(status) => (200, format!("with gRPC status {status}")),
        };
        let because = format!("{} of the requests are answered {what} on purpose", percent(share));
        if share.numerator >= share.denominator {
            told.answered = Some((status, because));
        } else {
            told.sentences.push(because);
        }
    }
}

fn percent(share: Share) -> String {
    format!("{}%", f64::from(share.numerator.min(share.denominator)) * 100.0 / f64::from(share.denominator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_in_percent() {
        for (numerator, denominator, expected) in
            [(1_000_000, 1_000_000, "100%"), (125_000, 1_000_000, "12.5%"), (9, 3, "100%")]
        {
            assert_eq!(percent(Share { numerator, denominator }), expected);
        }
    }
}
