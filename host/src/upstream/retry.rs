//! When a request is tried again, and when it may not be.
//!
//! A try of which nothing reached an endpoint may always be repeated. One that may have reached it is repeated only when
//! the request has no body that is gone with it, and by its method does no harm twice (RFC 9110 §9.2.2); so is an answer
//! passed over whose status the route names. All of it is bounded: by the route, by [`MOST_ATTEMPTS`], and by a
//! share of what the cluster has in flight, so that retries do not finish off what is already failing. That share is not
//! for the step from an endpoint that cannot be connected to, to one that was not tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};

use super::copied::Copied;
use super::usage::Held;
use super::{Cluster, Exchange, Limited, SendError, UpstreamBody};
use crate::http::{RequestBody, is_grpc};
use crate::model::{Retry, RetryOn};

/// Tries besides the first, whatever the route says.
pub(super) const MOST_ATTEMPTS: u32 = 16;
/// Retries that a cluster may have in flight at any time.
const LEAST_BUDGET: usize = 3;
/// One retry for so many requests in flight.
const BUDGET_SHARE: usize = 5;

/// The retries of one cluster that are in flight.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A place in a [`Budget`].
#[derive(Debug)]
pub(super) struct Spent(Arc<AtomicUsize>);

impl Budget {
    fn take(&self, in_flight: usize) -> Option<Spent> {
        let most = LEAST_BUDGET.max(in_flight / BUDGET_SHARE);
        let spent = Spent(Arc::clone(&self.0));
        (self.0.fetch_add(1, Ordering::Relaxed) < most).then_some(spent)
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A try that failed, with the request when nothing of it was sent.
pub(super) struct Failed {
    pub(super) error: SendError,
    pub(super) request: Option<Box<Request<RequestBody>>>,
}

/// What follows a try.
pub(super) enum Next {
    /// Another.
    Again(Request<RequestBody>),
    /// Nothing: this is passed on.
    Over(Result<Exchange, SendError>),
}

/// What is left of a request's retries.
pub(super) struct Retries<'r> {
    said: Option<&'r Retry>,
    left: u32,
    made: u32,
    spent: Option<Spent>,
    /// In place of a budget, where the cluster has a limit.
    held: Option<Held>,
}

impl<'r> Retries<'r> {
    pub(super) fn new(said: Option<&'r Retry>) -> Self {
        Self { said, left: said.map_or(0, |retry| retry.attempts.min(MOST_ATTEMPTS)), made: 0, spent: None, held: None }
    }

    /// For each try.
    pub(super) fn per_try(&self) -> Option<Duration> {
        self.said.and_then(|retry| retry.per_try)
    }

    /// Whether endpoints that failed are left out while there are others.
    pub(super) fn avoids_tried(&self) -> bool {
        self.said.is_some_and(|retry| retry.avoid_tried)
    }

    /// What can be sent again should the try that is about to be made fail after it was sent; none where that is not
    /// wanted or not safe, so that most requests are not copied.
    pub(super) fn copy(&self, request: &Request<RequestBody>, http2: bool) -> Option<Copied> {
        let said = self.said.filter(|_| self.left > 0)?;
        let after_sending = |on: &RetryOn| match on {
            RetryOn::ConnectFailure | RetryOn::ResetBeforeRequest => false,
            RetryOn::RefusedStream => http2,
            RetryOn::Reset | RetryOn::Timeout | RetryOn::GatewayError | RetryOn::ServerError => true,
            RetryOn::Grpc(_) => is_grpc(request.headers()),
        };
        let wanted = !said.statuses.is_empty() || said.on.iter().any(after_sending);
        if wanted { Copied::of(request) } else { None }
    }

    /// What follows a try. Before another one there is a pause, and it needs a place in the budget; not so the step to
    /// an endpoint that was not tried yet, `elsewhere`, from one that cannot be connected to: it asks nothing twice.
    pub(super) async fn next(
        &mut self,
        tried: Result<Exchange, Failed>,
        copy: Option<Copied>,
        cluster: &Cluster,
        elsewhere: bool,
    ) -> Next {
        // The one before is over.
        self.spent = None;
        self.held = None;
        let over = |failed: Failed| Next::Over(Err(failed.error));
        let Some(said) = self.said.filter(|_| self.left > 0) else {
            return tried.map_or_else(over, |exchange| Next::Over(Ok(exchange)));
        };
        let request = match tried {
            Ok(exchange) if !wants_response(said, &exchange.response) => return Next::Over(Ok(exchange)),
            Ok(exchange) => match copy
                .filter(|copy| copy.method().is_idempotent() && self.spend(cluster))
                .and_then(Copied::into_request)
            {
                Some(request) => request,
                None => return Next::Over(Ok(exchange)),
            },
            Err(failed) if !wants_failure(said, &failed) => return over(failed),
            Err(Failed { error: SendError::Connect { source, .. }, request: Some(unsent) })
                if elsewhere && !source.is_own() =>
            {
                cluster.retried.fetch_add(1, Ordering::Relaxed);
                self.left -= 1;
                return Next::Again(*unsent);
            }
            Err(Failed { error, request }) => {
                let refused = matches!(&error, SendError::Broken { source, .. } if is_refused_stream(source));
                let harmless = |copy: &Copied| refused || copy.method().is_idempotent();
                let request =
                    request.map(|unsent| *unsent).or_else(|| copy.filter(harmless).and_then(Copied::into_request));
                match request.filter(|_| self.spend(cluster)) {
                    Some(request) => request,
                    None => return Next::Over(Err(error)),
                }
            }
        };
        self.left -= 1;
        tokio::time::sleep(self.pause(said)).await;
        self.made += 1;
        Next::Again(request)
    }

    fn spend(&mut self, cluster: &Cluster) -> bool {
        if cluster.limits.retries.is_some() {
            self.held = cluster.hold(Limited::Retries).ok().flatten();
            if self.held.is_some() {
                cluster.retried.fetch_add(1, Ordering::Relaxed);
            }
            return self.held.is_some();
        }
        let in_flight = cluster.endpoints.iter().map(|endpoint| endpoint.active()).sum();
        self.spent = cluster.budget.take(in_flight);
        if self.spent.is_some() {
            cluster.retried.fetch_add(1, Ordering::Relaxed);
        } else {
            tracing::debug!(cluster = &*cluster.name, "not tried again: as many retries as may be are in flight");
        }
        self.spent.is_some()
    }

    /// Somewhere in a range that doubles with each retry, so that clients do not come back all at once.
    fn pause(&self, said: &Retry) -> Duration {
        let range = said.backoff.saturating_mul(1 << self.made.min(20)).min(said.max_backoff);
        range.mul_f64(fastrand::f64())
    }
}

fn wants_response(said: &Retry, response: &Response<UpstreamBody>) -> bool {
    let status = response.status();
    let grpc = response.headers().get("grpc-status").and_then(|status| status.to_str().ok()?.parse::<u8>().ok());
    said.statuses.contains(&status)
        || said.on.iter().any(|on| match on {
            RetryOn::ServerError => status.is_server_error(),
            RetryOn::GatewayError => matches!(status.as_u16(), 502..=504),
            RetryOn::Grpc(wanted) => grpc == Some(*wanted),
            _ => false,
        })
}

fn wants_failure(said: &Retry, failed: &Failed) -> bool {
    let wanted = |of: &[RetryOn]| said.on.iter().any(|on| of.contains(on));
    let unsent = failed.request.is_some();
    match &failed.error {
        SendError::NoEndpoint(_) | SendError::LeftOut { .. } | SendError::Overflow(_) => false,
        SendError::Connect { .. } => wanted(&[RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::ServerError]),
        SendError::TryTimeout { .. } => wanted(&[RetryOn::Timeout]),
        SendError::Broken { source, .. } if is_refused_stream(source) => {
            wanted(&[RetryOn::RefusedStream, RetryOn::Reset])
        }
        SendError::Broken { .. } if unsent => {
            wanted(&[RetryOn::Reset, RetryOn::ResetBeforeRequest, RetryOn::ConnectFailure, RetryOn::ServerError])
        }
        SendError::Broken { .. } => wanted(&[RetryOn::Reset, RetryOn::ServerError]),
    }
}

/// RFC 9113 §8.7: the endpoint says that it did nothing with the request.
fn is_refused_stream(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_share_of_what_is_in_flight() {
        let budget = Budget::default();
        let least: Vec<_> = (0..LEAST_BUDGET).map(|_| budget.take(0).unwrap()).collect();
        assert!(budget.take(0).is_none());
        let more: Vec<_> = std::iter::from_fn(|| budget.take(100)).collect();
        assert_eq!(least.len() + more.len(), 100 / BUDGET_SHARE);
        drop((least, more));
        assert!(budget.take(0).is_some(), "a refused one takes no place");
    }

    #[test]
    fn pauses_double_up_to_their_end() {
        let said = Retry {
            attempts: 9,
            on: Vec::new(),
            statuses: Vec::new(),
            per_try: None,
            backoff: Duration::from_millis(25),
            max_backoff: Duration::from_millis(250),
            avoid_tried: false,
        };
        let mut retries = Retries::new(Some(&said));
        for (made, most) in [(0, 25), (1, 50), (3, 200), (4, 250), (40, 250)] {
            retries.made = made;
            let longest = (0..200).map(|_| retries.pause(&said)).max().unwrap();
            assert!(longest <= Duration::from_millis(most), "{made}: {longest:?}");
            assert!(longest > Duration::from_millis(most / 2), "{made}: {longest:?}");
        }
    }
}
