//! One line a request, written when its response is over.

use std::cell::Cell;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Version};
use tokio::time::Instant;

use super::body::BodyWatch;
use super::fault::Injected;
use super::head::Head;
use super::respond::Reason;
use crate::tally::Ended;
use crate::worker::{InFlight, Worker};

/// What is known of a request so far. Dropping it writes the line.
pub(super) struct Entry {
    pub(super) started: Instant,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) target: Target,
    pub(super) client: IpAddr,
    pub(super) sni: Option<Rc<str>>,
    pub(super) request_id: HeaderValue,
    pub(super) listener: Option<Arc<str>>,
    pub(super) route: Option<Arc<crate::model::Route>>,
    pub(super) cluster: Option<Arc<str>>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) status: u16,
    pub(super) reason: Option<Reason>,
    pub(super) detail: Option<String>,
    pub(super) body: BodyWatch,
    pub(super) sent: Cell<u64>,
    pub(super) end: End,
    pub(super) in_flight: InFlight,
    pub(super) worker: Rc<Worker>,
    /// What was done to it on purpose.
    pub(super) injected: Option<Injected>,
    /// The allowed origin that it came from.
    pub(super) origin: Option<HeaderValue>,
    /// For an endpoint, until the head of its answer, and for a fault.
    pub(super) waited: Duration,
    /// Of that, for the endpoint.
    pub(super) served: Duration,
    /// Spent on the heads of request and answer, without waiting for an endpoint.
    pub(super) own: Duration,
}

/// What was asked for, without the query, which may hold what no log should.
pub(super) enum Target {
    /// As sent.
    Path(String),
    /// As understood.
    Head(Rc<Head>),
}

impl Target {
    fn authority(&self) -> &str {
        match self {
            Self::Path(_) => "",
            Self::Head(head) => &head.authority,
        }
    }

    fn path(&self) -> &str {
        match self {
            Self::Path(path) => path,
            Self::Head(head) => &head.path,
        }
    }
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client did not take all of it.
    ClientGone,
    /// It came to its end.
    Complete,
    /// The endpoint broke off, or a time was over.
    Broken,
}

impl Entry {
    /// Bytes went to the client.
    pub(super) fn sent(&self, bytes: usize) {
        self.in_flight.progress.moved();
        self.sent.set(self.sent.get() + bytes as u64);
    }

    /// Bytes came from the client by another way than a body.
    pub(super) fn received(&self, bytes: usize) {
        self.in_flight.progress.moved();
        self.body.add(bytes as u64);
    }

    /// It came to its end although it once looked otherwise.
    pub(super) fn ended_well(&mut self) {
        self.end = End::Complete;
        self.detail = None;
    }

    pub(super) fn complete(&mut self) {
        if self.end != End::Broken {
            self.end = End::Complete;
        }
    }

    pub(super) fn broke(&mut self, error: &(dyn Error + 'static)) {
        self.end = End::Broken;
        self.detail = Some(error.to_string());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let reason = match (self.reason, self.end) {
            (Some(reason), _) => reason.name(),
            (None, End::Complete) => self.injected.map_or("ok", Injected::name),
            (None, End::Broken) => "response-broken",
            (None, End::ClientGone) => "client-gone",
        };
        let total = self.started.elapsed();
        self.worker.tally().request(Ended {
            listener: self.listener.as_ref(),
            route: self.route.as_ref(),
            cluster: self.cluster.as_ref(),
            code: self.status,
            reason,
            total,
            own: self.own,
        });
        tracing::info!(
            target: "access",
            method = self.method.as_str(),
            authority = self.target.authority(),
            path = self.target.path(),
            protocol = protocol(self.version),
            status = self.status,
            reason,
            detail = self.detail.as_deref(),
            listener = self.listener.as_deref(),
            route = self.route.as_ref().map(|route| route.name.as_str()),
            cluster = self.cluster.as_deref(),
            endpoint = self.endpoint.map(|endpoint| endpoint.to_string()),
            sni = self.sni.as_deref(),
            client = self.client.to_string(),
            request_id = self.request_id.to_str().unwrap_or_default(),
            duration_ms = u64::try_from(total.as_millis()).unwrap_or(u64::MAX),
            bytes_received = self.body.bytes(),
            bytes_sent = self.sent.get(),
        );
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_11 => "HTTP/1.1",
        _ => "HTTP/1.0",
    }
}
