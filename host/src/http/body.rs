//! Bodies on their way through: streamed, bounded in time and size, never buffered.

use std::cell::Cell;
use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::access_log::Entry;
use super::forwarded;
use super::mirror::Copied;
use crate::upstream::UpstreamBody;
use crate::worker::Progress;

/// What a body can fail with.
pub(super) type BodyError = Box<dyn Error + Send + Sync>;

/// A limit that a body met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyLimit {
    /// No piece came for too long.
    #[error("no piece of the body came for {0:?}")]
    Stalled(Duration),
    /// It is longer than its route allows.
    #[error("the body is longer than the {0} bytes that its route allows")]
    TooLarge(u64),
    /// The time of the whole exchange is over.
    #[error("the exchange took longer than its route allows")]
    Overdue,
}

/// What became of a request's body, seen from outside while the request is on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct BodyWatch(Rc<WatchCells>);

#[derive(Debug, Default)]
struct WatchCells {
    bytes: Cell<u64>,
    limit: Cell<Option<BodyLimit>>,
    failed: Cell<bool>,
    awaited: Cell<bool>,
}

impl BodyWatch {
    /// Counts bytes that came by another way.
    pub(super) fn add(&self, bytes: u64) {
        self.0.bytes.set(self.0.bytes.get() + bytes);
    }

    /// Bytes that came.
    pub(super) fn bytes(&self) -> u64 {
        self.0.bytes.get()
    }

    /// The limit that the body met.
    pub(super) fn limit(&self) -> Option<BodyLimit> {
        self.0.limit.get()
    }

    /// Whether it broke off, here or at the client.
    pub(crate) fn failed(&self) -> bool {
        self.0.failed.get()
    }

    /// Whether more of it is to come and does not, so that no endpoint can be held to its answer.
    pub(crate) fn lacks(&self) -> bool {
        self.0.failed.get() || self.0.awaited.get()
    }

    fn note(&self, polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) {
        self.0.awaited.set(polled.is_pending());
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.0.failed.set(true);
        }
    }
}

/// How long a body is waited for; the timer exists only once it was.
#[derive(Default)]
struct Patience(Option<Pin<Box<Sleep>>>);

impl Patience {
    /// Whether nothing moved for too long, in either direction. The timer is not set anew with every piece: when it
    /// rings, what came meanwhile counts.
    fn is_over(&mut self, most: Duration, progress: &Progress, context: &mut Context<'_>) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        while timer.as_mut().poll(context).is_ready() {
            let until = progress.last() + most;
            if until <= timer.deadline() {
                return true;
            }
            timer.as_mut().reset(until);
        }
        false
    }
}

/// The body of a request as an endpoint gets it, or a mirror.
pub struct RequestBody {
    inner: Inner,
}

enum Inner {
    Empty,
    Streamed(Streamed),
    Copied(Copied, BodyWatch),
}

struct Streamed {
    body: Incoming,
    /// For mirrors.
    copies: Vec<Copied>,
    watch: BodyWatch,
    most: Option<u64>,
    patience: Patience,
    trusted: bool,
    progress: Rc<Progress>,
}

impl RequestBody {
    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self { inner: Inner::Empty }
    }

    pub(super) fn new(body: Incoming, most: Option<u64>, trusted: bool, progress: Rc<Progress>) -> (Self, BodyWatch) {
        let watch = BodyWatch::default();
        if body.is_end_stream() {
            return (Self::empty(), watch);
        }
        let (copies, patience) = (Vec::new(), Patience::default());
        let inner = Streamed { body, copies, watch: watch.clone(), most, patience, trusted, progress };
        (Self { inner: Inner::Streamed(inner) }, watch)
    }

    /// What a mirror is given of it, at most so many bytes later than the endpoint; none of what has no body.
    pub(super) fn copy(&mut self, most: usize) -> Option<Copied> {
        let Inner::Streamed(streamed) = &mut self.inner else { return None };
        let copied = Copied::new(&streamed.body.size_hint(), most);
        streamed.copies.push(copied.clone());
        Some(copied)
    }

    /// What is seen of it once it is on its way; nothing of what has no body.
    pub(crate) fn watch(&self) -> Option<BodyWatch> {
        match &self.inner {
            Inner::Empty => None,
            Inner::Streamed(Streamed { watch, .. }) | Inner::Copied(_, watch) => Some(watch.clone()),
        }
    }

    /// One that does not come, or breaks off.
    #[cfg(test)]
    pub(crate) fn bad(breaks: bool) -> Self {
        let copied = Copied::new(&SizeHint::default(), 1);
        if breaks {
            copied.cut();
        }
        Self::copied(Some(copied))
    }

    /// A mirror's body.
    pub(super) fn copied(copied: Option<Copied>) -> Self {
        Self { inner: copied.map_or(Inner::Empty, |copied| Inner::Copied(copied, BodyWatch::default())) }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        match &self.inner {
            Inner::Empty => {}
            Inner::Streamed(streamed) => streamed.copies.iter().for_each(Copied::cut),
            Inner::Copied(copied, _) => copied.abandon(),
        }
    }
}

impl Streamed {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let stall = self.progress.patience();
        let fail = |watch: &BodyWatch, limit: BodyLimit| {
            watch.0.limit.set(Some(limit));
            Poll::Ready(Some(Err(limit.into())))
        };
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.patience.is_over(stall, &self.progress, context) => {
                fail(&self.watch, BodyLimit::Stalled(stall))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                self.progress.moved();
                let frame = match frame.into_trailers() {
                    Ok(mut trailers) => {
                        forwarded::remove_claims(&mut trailers, self.trusted);
                        Frame::trailers(trailers)
                    }
                    Err(frame) => frame,
                };
                let bytes = self.watch.bytes() + frame.data_ref().map_or(0, |data| data.len() as u64);
                self.watch.0.bytes.set(bytes);
                match self.most {
                    Some(most) if bytes > most => fail(&self.watch, BodyLimit::TooLarge(most)),
                    _ => Poll::Ready(Some(Ok(frame))),
                }
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    /// Gives mirrors what the endpoint is given.
    fn hand_on(&self, polled: &Poll<Option<Result<Frame<Bytes>, BodyError>>>) {
        for copied in &self.copies {
            match polled {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(frame))) => {
                    copied.push(frame);
                    if self.body.is_end_stream() {
                        copied.end();
                    }
                }
                Poll::Ready(Some(Err(_))) => copied.cut(),
                Poll::Ready(None) => copied.end(),
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().inner {
            Inner::Empty => Poll::Ready(None),
            Inner::Copied(copied, watch) => {
                let polled = copied.poll_frame(context);
                watch.note(&polled);
                polled
            }
            Inner::Streamed(streamed) => {
                let polled = streamed.poll_frame(context);
                streamed.watch.note(&polled);
                streamed.hand_on(&polled);
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Streamed(streamed) => streamed.body.is_end_stream(),
            Inner::Copied(copied, _) => copied.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Streamed(streamed) => streamed.body.size_hint(),
            Inner::Copied(copied, _) => copied.size_hint(),
        }
    }
}

impl std::fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestBody").field("empty", &matches!(self.inner, Inner::Empty)).finish_non_exhaustive()
    }
}

/// The body of a response as the client gets it. The access log's line is written when it ends.
pub struct ResponseBody {
    kind: Kind,
    /// None when the line of the log is written elsewhere.
    entry: Option<Entry>,
}

#[allow(clippy::large_enum_variant, reason = "nearly every body is streamed")]
enum Kind {
    Whole(Option<Bytes>),
    Streamed { body: UpstreamBody, stall: Duration, patience: Patience, deadline: Option<Pin<Box<Sleep>>> },
}

impl ResponseBody {
    /// The gateway's own.
    pub(super) fn whole(bytes: Bytes, entry: Entry) -> Self {
        Self::new(Kind::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())), entry)
    }

    /// An endpoint's.
    pub(super) fn streamed(body: UpstreamBody, stall: Duration, deadline: Option<Instant>, entry: Entry) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline)));
        Self::new(Kind::Streamed { body, stall, patience: Patience::default(), deadline }, entry)
    }

    /// A body that is over before it began is never asked for a piece.
    fn new(kind: Kind, entry: Entry) -> Self {
        let mut body = Self { kind, entry: Some(entry) };
        let over = body.is_end_stream();
        if let Some(entry) = body.entry.as_mut().filter(|_| over) {
            entry.complete();
        }
        body
    }

    /// Of an answer that the connection outlives as something else.
    pub(super) fn unwatched() -> Self {
        Self { kind: Kind::Whole(None), entry: None }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = match &mut this.kind {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Streamed { body, stall, patience, deadline } => {
                let late = |limit: BodyLimit| Poll::Ready(Some(Err(BodyError::from(limit))));
                match Pin::new(body).poll_frame(context) {
                    Poll::Pending
                        if deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) =>
                    {
                        late(BodyLimit::Overdue)
                    }
                    Poll::Pending
                        if this
                            .entry
                            .as_ref()
                            .is_some_and(|entry| patience.is_over(*stall, &entry.in_flight.progress, context)) =>
                    {
                        late(BodyLimit::Stalled(*stall))
                    }
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from))),
                }
            }
        };
        let over = this.is_end_stream();
        let Some(entry) = &mut this.entry else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                entry.sent(frame.data_ref().map_or(0, Bytes::len));
                if over {
                    entry.complete();
                }
            }
            Poll::Ready(Some(Err(error))) => entry.broke(error.as_ref()),
            Poll::Ready(None) => entry.complete(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Streamed { body, .. } => body.size_hint(),
        }
    }
}
