//! One client connection: handshake, HTTP version, and the times after which it ends.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::Worker;
use super::accept::Arrival;
use super::guarded::Guarded;
use super::joined::{Joined, Polled};
use crate::bootstrap::{Headers, Limits};
use crate::generation::Traffic;
use crate::http::{Hop, LocalExecutor, Tunnel, serve};
use crate::model::Transport;
use crate::socket_name::{SocketName, UNIX_PEER};
use crate::stream::Stream;
use crate::tcp::{Caller, Passage};
use crate::tls::{self, Accepted, Handshake, Refused, Sealed};

/// How an HTTP/2 client in the clear begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Window of one HTTP/2 stream, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// Window of a whole HTTP/2 connection, in bytes.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is buffered of one HTTP/2 stream's response, in bytes.
const SEND_BUFFER: usize = 256 << 10;
/// Streams that a client may have reset before we saw them; beyond: GOAWAY (CVE-2023-44487).
const MOST_PENDING_RESETS: usize = 20;
/// After an HTTP/2 client said nothing for so long it is asked whether it is still there.
const PING_AFTER: Duration = Duration::from_secs(20);
/// How long a connection that was told to end may write nothing before it is cut, when nothing is in flight.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a drain waits for one more request on an HTTP/1.1 connection: it may be on its way already.
const ONE_MORE: Duration = Duration::from_secs(1);
/// How often a connection with requests in flight is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How much later than its own time a request is ended from outside, which it can do better itself.
const LATE: Duration = Duration::from_secs(1);

/// One client connection, as its requests see it.
#[derive(Debug)]
pub struct Connection {
    /// The worker that it belongs to.
    pub worker: Rc<Worker>,
    /// The socket that it came in on.
    pub socket: SocketName,
    /// The other end; [`UNIX_PEER`] of a Unix socket.
    pub peer: SocketAddr,
    /// This end, where the socket is for all addresses too.
    pub local: SocketAddr,
    /// What TLS established; none in the clear.
    pub handshake: Option<Handshake>,
    /// Limits as they were when it came.
    pub limits: Arc<Limits>,
    /// What is said of its client and of the gateway.
    pub headers: Arc<Headers>,
    hop: Hop,
    activity: Rc<Activity>,
    closing: Cell<bool>,
    close: Notify,
    tunnel: RefCell<Option<Tunnel>>,
}

/// What happens on a connection, for its time-outs.
#[derive(Debug)]
pub(super) struct Activity {
    in_flight: Cell<usize>,
    served: Cell<bool>,
    idle_since: Cell<Instant>,
    head_since: Cell<Option<Instant>>,
    written: Cell<Instant>,
    requests: RefCell<Vec<Weak<Progress>>>,
}

/// When something last happened with a request, and when it must be over: what ends one that nobody polls any more, such
/// as a response whose HTTP/2 window the client keeps shut.
#[derive(Debug)]
pub struct Progress {
    last: Cell<Instant>,
    patience: Cell<Duration>,
    deadline: Cell<Option<Instant>>,
}

impl Progress {
    /// Something happened.
    pub fn moved(&self) {
        self.moved_at(Instant::now());
    }

    /// Something happened, just now.
    pub fn moved_at(&self, now: Instant) {
        self.last.set(now);
    }

    /// When something last happened.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.last.get()
    }

    /// How long the request's body is waited for.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience.get()
    }

    /// The request's body is waited for so long from now on.
    pub fn be_patient(&self, most: Duration) {
        self.patience.set(most);
    }

    /// The whole exchange must be over by then.
    pub fn must_end(&self, deadline: Instant) {
        self.deadline.set(Some(deadline));
    }
}

/// A request on its way; the connection is not idle while there is one.
#[derive(Debug)]
pub struct InFlight {
    activity: Rc<Activity>,
    /// What is seen of it from outside.
    pub progress: Rc<Progress>,
}

impl Activity {
    fn new() -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            in_flight: Cell::new(0),
            served: Cell::new(false),
            idle_since: Cell::new(now),
            head_since: Cell::new(None),
            written: Cell::new(now),
            requests: RefCell::default(),
        })
    }

    /// Bytes came.
    pub(super) fn received(&self) {
        if self.in_flight.get() == 0 && self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// Bytes went.
    pub(super) fn wrote(&self) {
        self.written.set(Instant::now());
    }

    fn begin(self: &Rc<Self>, now: Instant) -> InFlight {
        self.in_flight.set(self.in_flight.get() + 1);
        self.served.set(true);
        let progress = Rc::new(Progress { last: Cell::new(now), patience: Cell::default(), deadline: Cell::new(None) });
        let mut requests = self.requests.borrow_mut();
        if requests.len() > 2 * self.in_flight.get() {
            requests.retain(|request| request.strong_count() > 0);
        }
        requests.push(Rc::downgrade(&progress));
        InFlight { activity: Rc::clone(self), progress }
    }

    /// Whether a request has been without progress for too long, or is past its end.
    fn is_overdue(&self, limits: &Limits) -> bool {
        let now = Instant::now();
        self.requests.borrow().iter().filter_map(Weak::upgrade).any(|request| {
            now > request.last.get() + limits.response_timeout.max(request.patience.get()) + LATE
                || request.deadline.get().is_some_and(|deadline| now > deadline + LATE)
        })
    }

    /// When the connection ends if nothing happens; none while a request is in flight. The head of an HTTP/1.1
    /// request has its own time from its first byte, the first one from the start.
    fn deadline(&self, limits: &Limits, http2: bool) -> Option<Instant> {
        if self.in_flight.get() > 0 {
            return None;
        }
        // A client that still takes what was buffered for it is not idle.
        let idle = self.idle_since.get().max(self.written.get()) + limits.idle_timeout;
        if http2 && self.served.get() {
            return Some(idle);
        }
        let head_since = if self.served.get() { self.head_since.get() } else { Some(self.idle_since.get()) };
        Some(head_since.map_or(idle, |since| idle.min(since + limits.header_timeout)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let left = self.activity.in_flight.get() - 1;
        self.activity.in_flight.set(left);
        if left == 0 {
            self.activity.idle_since.set(Instant::now());
            self.activity.head_since.set(None);
        }
    }
}

impl Connection {
    /// Counts a request, which came now, for as long as the guard lives.
    #[must_use]
    pub fn begin(&self, now: Instant) -> InFlight {
        self.activity.begin(now)
    }

    /// Whether the client speaks TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.handshake.is_some()
    }

    /// The name that the client asked for.
    #[must_use]
    pub fn sni(&self) -> Option<Rc<str>> {
        self.handshake.as_ref().and_then(|handshake| handshake.sni.clone())
    }

    /// What its requests came on.
    #[must_use]
    pub(crate) fn hop(&self) -> &Hop {
        &self.hop
    }

    /// The connection becomes something else once its answer is written.
    pub(crate) fn become_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    /// No further request is served after those in flight.
    pub fn close(&self) {
        self.closing.set(true);
        self.close.notify_one();
    }

    /// Whether the connection is about to end.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }
}

/// Counts a connection for as long as its task lives, however that ends.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: &Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// A place among the handshakes of a worker, for as long as one lasts.
struct Handshaking<'w>(&'w Worker);

impl<'w> Handshaking<'w> {
    fn begin(worker: &'w Worker, most: usize) -> Option<Self> {
        let now = worker.handshakes.get();
        (now < most).then(|| {
            worker.handshakes.set(now + 1);
            Self(worker)
        })
    }
}

impl Drop for Handshaking<'_> {
    fn drop(&mut self) {
        self.0.handshakes.set(self.0.handshakes.get() - 1);
    }
}

/// Serves a connection by a task of its own.
pub(super) fn start(worker: &Rc<Worker>, socket: &SocketName, arrival: Arrival) {
    let counted = Counted::new(worker);
    let socket = socket.clone();
    tokio::task::spawn_local(async move {
        // Each boxed by itself: a connection has room for what it does now, and not for what it did before.
        if let Some(serving) = Box::pin(begin(&counted.0, socket, arrival)).await {
            serving.await;
        }
    });
}

/// Where a connection came in, and both of its ends.
struct Ends {
    socket: SocketName,
    peer: SocketAddr,
    local: SocketAddr,
}

/// What a connection does from its first request to its end.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// Finds out what a client speaks; none when it is refused.
async fn begin(worker: &Rc<Worker>, socket: SocketName, arrival: Arrival) -> Option<Serving> {
    let limits = worker.limits();
    let peer = arrival.peer();
    let (mut stream, local) = match arrival {
        Arrival::Inet(stream, _) => {
            let bound = socket.inet()?;
            let local = if bound.ip().is_unspecified() { stream.local_addr().unwrap_or(bound) } else { bound };
            (Stream::new(stream).ok()?, local)
        }
        Arrival::Unix(stream) => (Stream::from(stream), UNIX_PEER),
    };
    let target = worker.generation().sockets.get(&socket).cloned()?;
    match target.transport {
        Transport::Http => {
            let http2 = timeout(limits.header_timeout, is_http2(&mut stream)).await;
            let ends = Ends { socket, peer, local };
            return Some(http(worker, ends, limits, None, stream, matches!(http2, Ok(Ok(true)))));
        }
        Transport::Tcp => {
            let listener = target.for_sni(None)?;
            let caller = Caller { client: peer, local, socket, sealed_sni: None, handshake: None };
            return Some(bytes(Passage::new(worker, caller, listener), stream));
        }
        Transport::Tls => {}
    }
    let Some(place) = Handshaking::begin(worker, limits.handshakes) else {
        worker.tally().handshake(None, "too-many");
        tracing::warn!(client = %peer, "connection closed at once: limits.handshakes is used up");
        return None;
    };
    let handshake = timeout(limits.handshake_timeout, tls::accept(&target, stream)).await;
    drop(place);
    match handshake {
        Ok(Ok(Accepted::Opened(stream, handshake))) => {
            let result = if handshake.resumed { "resumed" } else { "ok" };
            worker.tally().handshake(handshake.listener.as_ref(), result);
            let own = handshake.listener.as_ref().and_then(|name| target.named(name));
            if let Some(listener) = own.filter(|listener| listener.traffic == Traffic::Bytes) {
                let caller = Caller { client: peer, local, socket, sealed_sni: None, handshake: Some(handshake) };
                return Some(bytes(Passage::new(worker, caller, listener), *stream));
            }
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let ends = Ends { socket, peer, local };
            Some(http(worker, ends, limits, Some(handshake), *stream, http2))
        }
        Ok(Ok(Accepted::Sealed(sealed))) => {
            let listener = target.named(&sealed.listener)?;
            let caller = Caller { client: peer, local, socket, sealed_sni: sealed.sni.clone(), handshake: None };
            Some(sealed_bytes(Passage::new(worker, caller, listener), sealed))
        }
        Ok(Err(refused)) => {
            worker.tally().handshake(refused.listener(), refused.result());
            match &refused {
                // Port scans and health checks open connections and say nothing.
                Refused::NoHello(_) => {
                    tracing::debug!(%peer, "{refused}");
                    return None;
                }
                // What a client does wrong is not ours to warn of; a listener that cannot serve is.
                Refused::Unable { .. } => tracing::warn!(client = %peer, "{refused}"),
                Refused::UnknownName { .. } | Refused::Failed { .. } => tracing::info!(client = %peer, "{refused}"),
            }
            worker.tally().refused(refused.result(), format!("{refused} (client {peer})"));
            None
        }
        Err(_) => {
            worker.tally().handshake(None, "timeout");
            tracing::debug!(%peer, "no TLS handshake within limits.handshakeTimeout");
            None
        }
    }
}

/// Moves the bytes of a client that is read as nothing else.
fn bytes(mut passage: Passage, client: impl AsyncRead + AsyncWrite + 'static) -> Serving {
    Box::pin(async move {
        if let Some(endpoint) = passage.connect().await {
            passage.carry(client, Vec::new(), endpoint).await;
        }
    })
}

/// Moves the bytes of a client whose TLS ends elsewhere; one that cannot be served sees the connection end.
fn sealed_bytes(mut passage: Passage, mut sealed: Sealed) -> Serving {
    Box::pin(async move {
        match passage.connect().await {
            Some(endpoint) => passage.carry(sealed.stream, sealed.sent, endpoint).await,
            None => tls::close(&mut sealed.stream).await,
        }
    })
}

/// Whether the client begins with the HTTP/2 preface. No byte is taken from the stream.
async fn is_http2(stream: &mut Stream) -> std::io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut start).await?;
        if seen == 0 || start[..seen] != PREFACE[..seen] {
            return Ok(false);
        }
        if seen == PREFACE.len() {
            return Ok(true);
        }
        // What was peeked at stays readable, so there is nothing to wait for but time.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn http<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: &Rc<Worker>,
    Ends { socket, peer, local }: Ends,
    limits: Arc<Limits>,
    mut handshake: Option<Handshake>,
    stream: S,
    http2: bool,
) -> Serving {
    let activity = Activity::new();
    let guarded = Guarded::new(stream, Rc::clone(&activity), limits.response_timeout);
    let headers = worker.headers();
    let told = handshake.as_mut().and_then(|handshake| handshake.told.take());
    let hop = Hop::new(peer.ip(), handshake.is_some(), &worker.trust(), &headers, told);
    let connection = Rc::new(Connection {
        worker: Rc::clone(worker),
        socket,
        peer,
        local,
        handshake,
        limits,
        headers,
        hop,
        activity,
        closing: Cell::new(false),
        close: Notify::new(),
        tunnel: RefCell::default(),
    });
    let serving = Rc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        // hyper keeps room for it in an HTTP/1.1 connection, idle or not; boxed, that is room for a pointer.
        let served = Box::pin(serve(Rc::clone(&serving), request));
        async move { Ok::<_, std::convert::Infallible>(served.await) }
    });
    if http2 {
        let stream = Joined::new(guarded, &worker.spare);
        Box::pin(async move {
            let limits = &connection.limits;
            let mut builder = http2::Builder::new(LocalExecutor);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(limits.streams)
                .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER)
                .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
                .keep_alive_interval(PING_AFTER)
                .keep_alive_timeout(limits.header_timeout);
            let served = pin!(builder.serve_connection(TokioIo::new(stream.share()), service));
            let mut polled = Polled { connection: served, stream };
            let polled = Pin::new(&mut polled);
            let result = drive(&connection, true, polled, |mut c| c.connection.as_mut().graceful_shutdown()).await;
            ended(peer, result);
        })
    } else {
        Box::pin(async move {
            let limits = &connection.limits;
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                // Ours instead: hyper's would end idle connections too.
                .header_read_timeout(None)
                .max_buf_size(limits.header_bytes)
                .max_headers(limits.header_count)
                .half_close(false);
            let mut served = builder.serve_connection(TokioIo::new(guarded), service);
            let result = drive(&connection, false, Pin::new(&mut served), |c| c.graceful_shutdown()).await;
            let tunnel = connection.tunnel.borrow_mut().take();
            if let (Ok(()), Some(tunnel)) = (&result, tunnel) {
                let parts = served.into_parts();
                // Boxed, as every connection would have the room for it otherwise.
                Box::pin(tunnel.run(parts.io.into_inner(), parts.read_buf)).await;
            }
            ended(peer, result);
        })
    }
}

fn ended(peer: SocketAddr, result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(client = %peer, %error, "connection ended");
    }
}

/// Polls a connection to its end: its own, or the one that a time-out, a drain or a request asks for.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: &Connection,
    http2: bool,
    mut served: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
) -> hyper::Result<()> {
    let mut draining = connection.worker.draining.subscribe();
    loop {
        let limits = &connection.limits;
        let deadline = connection.activity.deadline(limits, http2);
        let wake = deadline.unwrap_or_else(|| Instant::now() + LOOK);
        tokio::select! {
            ended = served.as_mut() => return ended,
            () = tokio::time::sleep_until(wake) => {
                if connection.activity.is_overdue(limits) {
                    return Ok(());
                }
                if connection.activity.deadline(limits, http2).is_none_or(|deadline| Instant::now() < deadline) {
                    continue;
                }
            }
            () = connection.close.notified() => {}
            _ = draining.wait_for(|draining| *draining) => {
                connection.closing.set(true);
                if last_request(connection, http2, served.as_mut()).await? {
                    return Ok(());
                }
            }
        }
        break;
    }
    connection.closing.set(true);
    shut_down(served.as_mut());
    // What is in flight ends by its own limits, and at the latest with the worker's drain; a client that still takes what
    // was written for it is left to.
    loop {
        if let Ok(ended) = timeout(LAST_WORDS, served.as_mut()).await {
            return ended;
        }
        let activity = &connection.activity;
        let quiet = activity.written.get().elapsed() >= LAST_WORDS;
        if (activity.in_flight.get() == 0 && quiet) || activity.is_overdue(&connection.limits) {
            return Ok(());
        }
    }
}

/// Serves what a client asks before it can know of the drain: its first request, and over HTTP/1.1, which has no other
/// word for it, one more request than the last whose answer did not say `connection: close` (RFC 9112 §9.6). True when the
/// connection ended meanwhile.
async fn last_request<C: Future<Output = hyper::Result<()>>>(
    connection: &Connection,
    http2: bool,
    mut served: Pin<&mut C>,
) -> hyper::Result<bool> {
    const OFTEN: Duration = Duration::from_millis(20);
    let (activity, limits) = (&connection.activity, &connection.limits);
    let since = Instant::now();
    while !(http2 && activity.served.get()) {
        let now = Instant::now();
        let asking = !activity.served.get() || activity.head_since.get().is_some();
        let until = if asking {
            activity.deadline(limits, http2)
        } else {
            (activity.in_flight.get() == 0).then(|| activity.idle_since.get().max(since) + ONE_MORE)
        };
        if until.is_some_and(|until| now >= until) || activity.is_overdue(limits) {
            break;
        }
        // Over HTTP/2 the first request is all that is waited for, and nobody tells that it came.
        let look = now + if http2 { OFTEN } else { LOOK };
        if let Ok(ended) = timeout_at(until.map_or(look, |until| until.min(look)), served.as_mut()).await {
            return ended.map(|()| true);
        }
    }
    Ok(false)
}
