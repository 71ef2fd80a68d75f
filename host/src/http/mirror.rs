//! Copies of requests for backends whose answers nobody reads: sent once, never waited for.
//!
//! A mirror sees the request as the endpoint does, under a host that says what it is. Nothing that becomes of it changes
//! the client's answer: its part of the body lies in a buffer of [`limits.mirrorBuffer`] at most, and a mirror that takes
//! it more slowly than the endpoint is cut.
//!
//! [`limits.mirrorBuffer`]: crate::bootstrap::Limits::mirror_buffer

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Request};
use hyper::body::{Body, Frame, SizeHint};

use super::apply::split_port;
use super::body::{BodyError, RequestBody};
use super::fault::falls_into;
use crate::generation::Part;
use crate::model::{Forward, Mirror};
use crate::upstream::{self, Caller, Cluster};
use crate::worker::{Connection, Place, Worker};

/// Those mirrors of a route that get a copy of one request: which, and its cluster.
pub(super) type Chosen = Vec<(usize, Arc<Cluster>)>;

/// Chooses by the shares.
pub(super) fn choose(forward: &Forward, part: &Part) -> Chosen {
    let mirrors = forward.mirrors.iter().enumerate().filter(|(_, mirror)| falls_into(mirror.share));
    mirrors.filter_map(|(at, mirror)| Some((at, Arc::clone(part.clusters.get(mirror.cluster)?)))).collect()
}

/// Sends the copies of a request that is ready to be sent itself.
pub(super) fn send(
    connection: &Connection,
    client: IpAddr,
    forward: &Forward,
    chosen: Chosen,
    parts: &Parts,
    body: &mut RequestBody,
) {
    let limits = &connection.limits;
    let most = forward.timeout.unwrap_or(limits.response_timeout);
    for (at, cluster) in chosen {
        let caller = Caller::new(connection.peer, connection.local).on_behalf_of(client);
        let worker = Rc::clone(&connection.worker);
        let Some(place) = worker.mirrors.take(limits.mirrors) else {
            worker.tally().mirror(&cluster.name, "too-many");
            continue;
        };
        let copied = body.copy(limits.mirror_buffer);
        let request = head(&forward.mirrors[at], parts);
        let sending = Sending { worker, cluster, caller, most, copied: copied.clone(), _place: place };
        tokio::task::spawn_local(sending.run(request.map(|()| RequestBody::copied(copied))));
    }
}

/// The request as it goes to its own endpoint, under another host.
fn head(mirror: &Mirror, parts: &Parts) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(|host| named(host, &mirror.host_suffix));
    if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    request
}

/// The suffix belongs to the name, so that it stands before the port; an IPv6 address has no name to change.
fn named(authority: &str, suffix: &str) -> String {
    match split_port(authority) {
        (host, _) if host.starts_with('[') => authority.to_owned(),
        (host, Some(port)) => format!("{host}{suffix}:{port}"),
        (host, None) => format!("{host}{suffix}"),
    }
}

/// A copy on its way.
struct Sending {
    worker: Rc<Worker>,
    cluster: Arc<Cluster>,
    caller: Caller,
    /// The time of the route, as for the request itself.
    most: Duration,
    copied: Option<Copied>,
    _place: Place,
}

impl Sending {
    async fn run(self, request: Request<RequestBody>) {
        let Self { worker, cluster, caller, most, copied, _place } = self;
        let exchange = async {
            if cluster.refused.is_some() {
                return false;
            }
            match upstream::send(&worker.pool, &cluster, None, &caller, request).await {
                Ok(exchange) => ends(exchange.response.into_body()).await,
                Err(_) => false,
            }
        };
        // Who takes nothing does not ask for more either, and would not learn that there is no more.
        let cut = async {
            match &copied {
                Some(copied) => poll_fn(|context| copied.poll_cut(context)).await,
                None => std::future::pending().await,
            }
        };
        let result = tokio::select! {
            biased;
            () = cut => "cut",
            ended = tokio::time::timeout(most, exchange) => match ended {
                Ok(true) => "answered",
                Ok(false) => "failed",
                Err(_) => "timeout",
            },
        };
        worker.tally().mirror(&cluster.name, result);
    }
}

/// Reads a body to its end, for nobody.
async fn ends(body: impl Body + Unpin) -> bool {
    let mut body = body;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

/// A mirror's part of a request's body: what the endpoint was given already and the mirror was not.
#[derive(Clone, Debug)]
pub(super) struct Copied(Rc<RefCell<Waiting>>);

#[derive(Debug)]
struct Waiting {
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    most: usize,
    /// Of a body whose length is known.
    left: Option<u64>,
    state: State,
    reader: Option<Waker>,
    /// Who ends a copy that is cut.
    watcher: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is more to come.
    Open,
    /// All of it came.
    Ended,
    /// It will never be whole.
    Cut,
    /// The mirror wants no more of it.
    Done,
}

/// Why a mirror gets no whole body.
#[derive(Debug, thiserror::Error)]
#[error("the copy of the request was cut")]
struct CutShort;

impl Copied {
    /// Of a body that has not begun.
    pub(super) fn new(hint: &SizeHint, most: usize) -> Self {
        Self(Rc::new(RefCell::new(Waiting {
            frames: VecDeque::new(),
            bytes: 0,
            most,
            left: hint.exact(),
            state: State::Open,
            reader: None,
            watcher: None,
        })))
    }

    /// What the endpoint is given, the mirror is given too.
    pub(super) fn push(&self, frame: &Frame<Bytes>) {
        let mut waiting = self.0.borrow_mut();
        if waiting.state != State::Open {
            return;
        }
        if let Some(data) = frame.data_ref() {
            if data.is_empty() {
                return;
            }
            waiting.bytes += room(data);
            if waiting.bytes > waiting.most {
                return waiting.end(State::Cut);
            }
            waiting.frames.push_back(Frame::data(data.clone()));
            waiting.left = waiting.left.map(|left| left.saturating_sub(data.len() as u64));
            if waiting.left == Some(0) {
                // Nobody may ask for more of it, not even for its end.
                return waiting.end(State::Ended);
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            waiting.frames.push_back(Frame::trailers(trailers.clone()));
            return waiting.end(State::Ended);
        }
        waiting.wake();
    }

    /// There is no more.
    pub(super) fn end(&self) {
        self.over(State::Ended);
    }

    /// There would have been more; what was whole already is none the worse for it.
    pub(super) fn cut(&self) {
        self.over(State::Cut);
    }

    fn over(&self, state: State) {
        let mut waiting = self.0.borrow_mut();
        if waiting.state == State::Open {
            waiting.end(state);
        }
    }

    fn poll_cut(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.0.borrow_mut();
        if waiting.state == State::Cut {
            return Poll::Ready(());
        }
        waiting.watcher = Some(context.waker().clone());
        Poll::Pending
    }

    /// The mirror reads no further.
    pub(super) fn abandon(&self) {
        let mut waiting = self.0.borrow_mut();
        waiting.frames.clear();
        if waiting.state == State::Open {
            waiting.state = State::Done;
        }
    }

    pub(super) fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut waiting = self.0.borrow_mut();
        if waiting.state == State::Cut {
            return Poll::Ready(Some(Err(CutShort.into())));
        }
        match waiting.frames.pop_front() {
            Some(frame) => {
                waiting.bytes -= frame.data_ref().map_or(0, room);
                Poll::Ready(Some(Ok(frame)))
            }
            None if waiting.state == State::Open => {
                waiting.reader = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let waiting = self.0.borrow();
        waiting.state == State::Ended && waiting.frames.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let waiting = self.0.borrow();
        let held = waiting.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum::<u64>();
        waiting.left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + held))
    }
}

impl Waiting {
    fn end(&mut self, state: State) {
        self.state = state;
        if state == State::Cut {
            self.frames.clear();
            if let Some(watcher) = self.watcher.take() {
                watcher.wake();
            }
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// What a piece takes up: of many small ones, most is not what they hold.
fn room(data: &Bytes) -> usize {
    data.len() + size_of::<Frame<Bytes>>()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn read(copied: &Copied) -> Option<Result<Frame<Bytes>, BodyError>> {
        match copied.poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(polled) => polled,
            Poll::Pending => panic!("there is something to read"),
        }
    }

    fn is_cut(copied: &Copied) -> bool {
        copied.poll_cut(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn data(bytes: &'static [u8]) -> Frame<Bytes> {
        Frame::data(Bytes::from_static(bytes))
    }

    /// Room for ten bytes in one piece.
    const TEN: usize = 10 + size_of::<Frame<Bytes>>();

    #[test]
    fn the_suffix_stands_before_the_port() {
        for (authority, expected) in [
            ("a.example", "a.example-shadow"),
            ("a.example:8080", "a.example-shadow:8080"),
            ("127.0.0.1:80", "127.0.0.1-shadow:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(named(authority, "-shadow"), expected);
        }
    }

    #[test]
    fn a_copy_is_the_body_with_its_trailers() {
        let copied = Copied::new(&SizeHint::default(), TEN);
        assert!(copied.poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", HeaderValue::from_static("t"));
        for frame in [data(b"0123456789"), Frame::trailers(trailers)] {
            copied.push(&frame);
        }
        assert!(!copied.is_end_stream());
        assert_eq!(read(&copied).unwrap().unwrap().into_data().unwrap(), "0123456789");
        assert_eq!(read(&copied).unwrap().unwrap().into_trailers().unwrap()["x-trailer"], "t");
        assert!(copied.is_end_stream() && read(&copied).is_none());
        // The body is dropped by then.
        copied.cut();
        assert!(!is_cut(&copied));
    }

    #[test]
    fn who_is_too_far_behind_is_cut() {
        let copied = Copied::new(&SizeHint::default(), TEN);
        copied.push(&data(b"01234567"));
        assert!(read(&copied).unwrap().is_ok());
        // What was read is in nobody's way.
        copied.push(&data(b"0123456789"));
        assert!(!is_cut(&copied));
        copied.push(&data(b"x"));
        assert!(is_cut(&copied) && read(&copied).unwrap().is_err());
        assert!(copied.0.borrow().frames.is_empty(), "nothing is kept for it");
    }

    #[test]
    fn a_body_that_breaks_off_is_not_whole_unless_its_length_was_reached() {
        let copied = Copied::new(&SizeHint::with_exact(4), TEN);
        copied.push(&data(b"01"));
        assert_eq!(copied.size_hint().exact(), Some(4));
        copied.cut();
        assert!(is_cut(&copied));
        let copied = Copied::new(&SizeHint::with_exact(4), TEN);
        copied.push(&data(b"0123"));
        copied.cut();
        assert!(!is_cut(&copied));
        assert!(read(&copied).unwrap().is_ok() && read(&copied).is_none());
    }

    #[test]
    fn a_mirror_that_reads_no_further_holds_nothing() {
        let copied = Copied::new(&SizeHint::default(), TEN);
        copied.push(&data(b"01"));
        copied.abandon();
        copied.push(&data(b"0123456789abc"));
        assert!(copied.0.borrow().frames.is_empty() && !is_cut(&copied));
    }
}
