//! One write to the API server, and how many there may be.

use std::cell::Cell;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::core::Status;
use tokio::time::Instant;

use super::watch::sentence;

/// Writes in a second, in the long run, and how many may come at once.
const RATE: u32 = 50;
const BURST: u32 = 100;
/// How soon a write that failed is tried again, unless the API server says; and at the latest, whatever it says.
pub(super) const TRY_AGAIN: Duration = Duration::from_secs(1);
pub(super) const AT_LATEST: Duration = Duration::from_secs(60);
/// How long the API server may take over one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a write.
pub(super) enum Written {
    Yes,
    /// Somebody else wrote in between. The watch is going to tell.
    Overtaken,
    /// The object is not there any more, which the watch tells, or there is nothing of the kind to write. One that is made
    /// anew has another version.
    Gone,
    /// Why, and after how long the API server wants it tried again.
    No(String, Option<Duration>),
    /// The API server says nothing, which the watches tell of.
    NotHeard,
}

/// Sends a write, and waits for what becomes of it.
pub(super) async fn send(client: &Client, request: Result<Request<Vec<u8>>, kube::core::request::Error>) -> Written {
    let sent = async { try_to_send(client, request.map_err(kube::Error::BuildRequest)?).await };
    match tokio::time::timeout(PATIENCE, sent).await {
        Ok(Ok(written)) => written,
        Ok(Err(error)) => {
            tracing::debug!("a write: {}", sentence(&error));
            Written::NotHeard
        }
        Err(_) => Written::NotHeard,
    }
}

async fn try_to_send(client: &Client, request: Request<Vec<u8>>) -> Result<Written, kube::Error> {
    let response = client.send(request.map(Into::into)).await?;
    let (status, retry_after) = (response.status(), retry_after(response.headers()));
    let body = response.into_body().collect().await?.to_bytes();
    Ok(match status {
        status if status.is_success() => Written::Yes,
        StatusCode::CONFLICT => Written::Overtaken,
        StatusCode::NOT_FOUND => Written::Gone,
        status => {
            let said: Option<Status> = serde_json::from_slice(&body).ok();
            let why = said.map(|said| said.message).filter(|message| !message.is_empty());
            Written::No(why.unwrap_or_else(|| status.to_string()), retry_after)
        }
    })
}

/// In seconds; nobody says it otherwise.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    Some(Duration::from_secs(headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?))
}

/// So many in a second, and some more at once after a rest.
pub(super) struct Rate {
    next: Cell<Instant>,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: Cell::new(now) }
    }

    /// When the next one may be.
    fn take(&self, now: Instant) -> Instant {
        let each = Duration::from_secs(1) / RATE;
        let rested = now.checked_sub(each * BURST).unwrap_or(now);
        let at = self.next.get().max(rested);
        self.next.set(at + each);
        at
    }

    pub(super) async fn wait(&self) {
        tokio::time::sleep_until(self.take(Instant::now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_spread_over_time() {
        let start = Instant::now() + Duration::from_secs(60);
        let rate = Rate::new(Instant::now());
        let times: Vec<Instant> = (0..BURST + RATE).map(|_| rate.take(start)).collect();
        assert_eq!(times.iter().filter(|at| **at <= start).count(), usize::try_from(BURST).unwrap() + 1);
        let last = times.last().unwrap().duration_since(start);
        assert!((Duration::from_millis(900)..=Duration::from_secs(1)).contains(&last), "{last:?}");
    }
}
