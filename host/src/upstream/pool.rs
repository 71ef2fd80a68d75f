//! A worker's idle connections, by what they lead to (decision 8).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::ConnectError;
use crate::bootstrap::Limits;
use crate::http::RequestBody;

/// Requests that share one HTTP/2 connection at a time; most servers allow a hundred (RFC 9113 §6.5.2).
const MOST_STREAMS: usize = 100;

/// A worker's connections to endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

struct Inner {
    most_idle: usize,
    idle_timeout: Duration,
    age: Duration,
    most_open: usize,
    open: Cell<usize>,
    http1: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
    http2: RefCell<HashMap<SocketAddr, Vec<Shared>>>,
    /// Who connects to it now, and how that last failed.
    connecting: RefCell<HashMap<SocketAddr, Rc<Connecting>>>,
}

/// A connection that many requests share.
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    opened: Instant,
    use_: Rc<Use>,
}

/// How much a shared connection is used.
#[derive(Debug)]
struct Use {
    streams: Cell<usize>,
    since: Cell<Instant>,
}

/// A request's stream on a shared connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Stream(Rc<Use>);

impl Stream {
    fn on(use_: &Rc<Use>) -> Self {
        use_.streams.set(use_.streams.get() + 1);
        Self(Rc::clone(use_))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.since.set(Instant::now());
    }
}

/// Only one request connects to an endpoint at a time; those that wait for it take what comes of it.
#[derive(Debug, Default)]
pub(super) struct Connecting {
    turn: Mutex<()>,
    failure: RefCell<Option<(Instant, io::ErrorKind, String)>>,
}

impl Connecting {
    /// Waits for the turn to connect.
    ///
    /// # Errors
    /// How somebody else's attempt failed meanwhile.
    pub(super) async fn turn(&self) -> Result<MutexGuard<'_, ()>, ConnectError> {
        let began = Instant::now();
        let turn = self.turn.lock().await;
        match &*self.failure.borrow() {
            Some((when, kind, why)) if *when >= began => Err(ConnectError::Refused(io::Error::new(*kind, why.clone()))),
            _ => Ok(turn),
        }
    }

    /// Tells those that wait; not of a shortage here, which says nothing of the endpoint.
    pub(super) fn failed(&self, error: &ConnectError) {
        let kind = match error {
            ConnectError::Exhausted => return,
            ConnectError::Refused(error) => error.kind(),
            ConnectError::Timeout(_) => io::ErrorKind::TimedOut,
            ConnectError::Protocol(_) => io::ErrorKind::Other,
        };
        *self.failure.borrow_mut() = Some((Instant::now(), kind, error.to_string()));
    }
}

/// A connection's place, for as long as it is open.
pub(super) struct Place(Rc<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// An HTTP/1.1 connection to an endpoint.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    opened: Instant,
}

impl Http1 {
    /// One that was opened just now.
    pub(super) fn new(sender: http1::SendRequest<RequestBody>) -> Self {
        Self { sender, opened: Instant::now() }
    }
}

struct Idle {
    connection: Http1,
    since: Instant,
}

impl Inner {
    /// Whether a connection is neither idle for too long nor too old.
    fn may_serve(&self, kept: &Idle, now: Instant) -> bool {
        now.duration_since(kept.since) < self.idle_timeout && now.duration_since(kept.connection.opened) < self.age
    }
}

impl Pool {
    /// An empty pool, with at most so many connections open.
    #[must_use]
    pub fn new(limits: &Limits, most_open: usize) -> Self {
        let inner = Inner {
            most_idle: limits.upstream_idle_connections,
            idle_timeout: limits.upstream_idle_timeout,
            age: limits.upstream_age,
            most_open,
            open: Cell::new(0),
            http1: RefCell::new(HashMap::new()),
            http2: RefCell::new(HashMap::new()),
            connecting: RefCell::new(HashMap::new()),
        };
        Self { inner: Rc::new(inner) }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.inner.open.get()
    }

    /// A place for one more connection; none when all are taken. Idle ones are closed then, for whoever comes next.
    pub(super) fn place(&self) -> Option<Place> {
        if self.inner.open.get() >= self.inner.most_open {
            self.inner.http1.borrow_mut().clear();
            return None;
        }
        self.inner.open.set(self.inner.open.get() + 1);
        Some(Place(Rc::clone(&self.inner)))
    }

    /// The connection that was idle for the shortest time, if it is still good.
    pub(super) fn take_http1(&self, address: SocketAddr) -> Option<Http1> {
        let mut connections = self.inner.http1.borrow_mut();
        let idle = connections.get_mut(&address)?;
        let now = Instant::now();
        while let Some(kept) = idle.pop() {
            if kept.connection.sender.is_ready() && self.inner.may_serve(&kept, now) {
                return Some(kept.connection);
            }
        }
        connections.remove(&address);
        None
    }

    /// Keeps a connection that has nothing more to do.
    pub(super) fn put_http1(&self, address: SocketAddr, connection: Http1) {
        let mut connections = self.inner.http1.borrow_mut();
        let idle = connections.entry(address).or_default();
        if idle.len() < self.inner.most_idle {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// A stream on a shared connection that has room for one.
    pub(super) fn shared_http2(&self, address: SocketAddr) -> Option<(http2::SendRequest<RequestBody>, Stream)> {
        let mut connections = self.inner.http2.borrow_mut();
        let shared = connections.get_mut(&address)?;
        shared.retain(|shared| !shared.sender.is_closed());
        let now = Instant::now();
        let young = |shared: &&Shared| now.duration_since(shared.opened) < self.inner.age;
        let free = shared.iter().filter(young).find(|shared| shared.use_.streams.get() < MOST_STREAMS)?;
        Some((free.sender.clone(), Stream::on(&free.use_)))
    }

    /// Shares a connection, and gives the first stream on it.
    pub(super) fn share_http2(&self, address: SocketAddr, sender: http2::SendRequest<RequestBody>) -> Stream {
        let use_ = Rc::new(Use { streams: Cell::new(0), since: Cell::new(Instant::now()) });
        let stream = Stream::on(&use_);
        self.inner.http2.borrow_mut().entry(address).or_default().push(Shared { sender, opened: Instant::now(), use_ });
        stream
    }

    /// Who connects to an endpoint.
    pub(super) fn connecting(&self, address: SocketAddr) -> Rc<Connecting> {
        Rc::clone(self.inner.connecting.borrow_mut().entry(address).or_default())
    }

    /// Closes what has been idle for too long; called now and then.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.inner.http1.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| !idle.connection.sender.is_closed() && self.inner.may_serve(idle, now));
            !idle.is_empty()
        });
        self.inner.http2.borrow_mut().retain(|_, shared| {
            shared.retain(|Shared { sender, opened, use_ }| {
                let idle = now.duration_since(use_.since.get()) >= self.inner.idle_timeout;
                let over = idle || now.duration_since(*opened) >= self.inner.age;
                !sender.is_closed() && (use_.streams.get() > 0 || !over)
            });
            !shared.is_empty()
        });
        self.inner.connecting.borrow_mut().retain(|_, connecting| Rc::strong_count(connecting) > 1);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
