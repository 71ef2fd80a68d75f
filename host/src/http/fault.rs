//! Making requests fail on purpose, as Envoy's filter does: a delay, then an answer that looks like a failure. A client
//! has no say in it: no header of its own asks for a fault or spares it one.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use tokio::time::Instant;

use super::access_log::Entry;
use super::respond::{grpc_response, grpc_status};
use crate::model::{Abort, Fault, Share};
use crate::worker::Connection;

/// What the client is told.
const BODY: &str = "fault filter abort";

/// What was done to a request on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Injected {
    /// It had to wait.
    Delay,
    /// It was answered.
    Abort,
}

impl Injected {
    /// The word in the access log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay-injected",
            Self::Abort => "abort-injected",
        }
    }
}

/// Whether a request falls into a share.
pub(super) fn falls_into(share: Share) -> bool {
    share.numerator >= share.denominator || fastrand::u32(..share.denominator) < share.numerator
}

/// Makes the request wait, and gives the answer if it is not to go further. The time of its route begins afterwards.
pub(super) async fn inject(
    fault: &Fault,
    connection: &Connection,
    entry: &mut Entry,
    grpc: bool,
) -> Option<Response<Bytes>> {
    // Where too many wait already, nobody else has to.
    if let Some((delay, share)) = fault.delay
        && falls_into(share)
        && let Some(_place) = connection.worker.delays.take(connection.limits.delays)
    {
        let asked = Instant::now();
        entry.injected = Some(Injected::Delay);
        let progress = &entry.in_flight.progress;
        progress.be_patient(delay);
        tokio::time::sleep(delay).await;
        progress.moved();
        entry.waited += asked.elapsed();
    }
    let (abort, _) = fault.abort.filter(|(_, share)| falls_into(*share))?;
    entry.injected = Some(Injected::Abort);
    Some(answer(abort, grpc))
}

fn answer(abort: Abort, grpc: bool) -> Response<Bytes> {
    let status = match abort {
        Abort::Grpc(status) if grpc => return grpc_response(status, BODY),
        Abort::Http(status) if grpc => return grpc_response(grpc_status(status), BODY),
        Abort::Http(status) => status,
        Abort::Grpc(_) => StatusCode::OK,
    };
    let mut response = Response::new(Bytes::from_static(BODY.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept() {
        let share = |numerator, denominator| Share { numerator, denominator };
        let of_a_thousand = |share| (0..1000).filter(|_| falls_into(share)).count();
        assert_eq!(of_a_thousand(share(0, 100)), 0);
        assert_eq!(of_a_thousand(share(1_000_000, 1_000_000)), 1000);
        assert_eq!(of_a_thousand(share(3, 2)), 1000);
        assert!((400..600).contains(&of_a_thousand(share(50, 100))));
    }

    #[test]
    fn who_speaks_grpc_is_answered_in_grpc() {
        let plain = answer(Abort::Http(StatusCode::IM_A_TEAPOT), false);
        assert_eq!((plain.status().as_u16(), &plain.body()[..]), (418, BODY.as_bytes()));
        assert_eq!(answer(Abort::Grpc(14), false).status(), 200);
        for (abort, status) in [(Abort::Grpc(8), "8"), (Abort::Http(StatusCode::SERVICE_UNAVAILABLE), "14")] {
            let told = answer(abort, true);
            assert_eq!(
                (told.status().as_u16(), &told.headers()["grpc-status"]),
                (200, &HeaderValue::from_static(status))
            );
            assert_eq!(told.headers()["grpc-message"], BODY);
        }
    }
}
