//! A worker's connections to endpoints, by what they lead to (decision 8).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

use super::usage::{Held, Usage};
use super::{Cluster, ConnectError};
use crate::bootstrap::Limits;
use crate::http::RequestBody;

/// Requests that share one HTTP/2 connection at a time; most servers allow a hundred (RFC 9113 §6.5.2).
const MOST_STREAMS: usize = 100;

/// How often it is seen whether idle connections that others may want are still there.
const LOOK: Duration = Duration::from_secs(5);

/// What a connection leads to. Connections of equal keys may stand in for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) address: SocketAddr,
    /// Of the cluster.
    pub(super) lane: u64,
    /// Whose it is, where the endpoint is told: the client's end and the gateway's.
    pub(super) caller: Option<(SocketAddr, SocketAddr)>,
}

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
    open: Arc<AtomicUsize>,
    http1: RefCell<HashMap<Key, Vec<Idle>>>,
    http2: RefCell<HashMap<Key, Vec<Shared>>>,
    /// Who connects to it now, and how that last failed.
    connecting: RefCell<HashMap<Key, Rc<Connecting>>>,
    /// Where requests wait for a connection of a cluster that may have no more.
    waiting: RefCell<HashMap<Key, Rc<Waiting>>>,
    /// Whose idle connections are given up when another worker needs their place.
    lent: RefCell<HashSet<Key>>,
}

/// What a cluster says of its connections.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// Without a request.
    idle: Option<Duration>,
    /// Requests that one is used for.
    most: Option<u32>,
}

impl Terms {
    fn of(cluster: &Cluster) -> Self {
        Self { idle: cluster.idle_timeout, most: cluster.limits.requests_per_connection }
    }

    fn used_up(self, served: u32) -> bool {
        self.most.is_some_and(|most| served >= most)
    }
}

/// A connection that many requests share.
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    opened: Instant,
    use_: Rc<Use>,
    terms: Terms,
}

/// How much a shared connection is used.
#[derive(Debug)]
struct Use {
    streams: Cell<usize>,
    /// So far.
    served: Cell<u32>,
    since: Cell<Instant>,
    /// Where the cluster may have so many connections and no more.
    counted: Option<Counted>,
}

/// A shared connection among those that its cluster may have.
#[derive(Debug)]
struct Counted {
    pool: Weak<Inner>,
    key: Key,
    usage: Arc<Usage>,
    /// Who is told when a stream ends.
    waiting: Rc<Waiting>,
}

impl Counted {
    /// A stream ended: it is for who waits here; a connection that has no more of them is for who waits elsewhere.
    fn ended(&self) {
        self.waiting.told.notify_one();
        if self.usage.waiting() > 0
            && let Some(pool) = self.pool.upgrade()
        {
            pool.give_up(self.key, &self.usage);
        }
    }
}

/// A request's stream on a shared connection, for as long as it is open.
#[derive(Debug)]
pub(super) struct Stream(Rc<Use>);

impl Stream {
    fn on(use_: &Rc<Use>) -> Self {
        use_.streams.set(use_.streams.get() + 1);
        use_.served.set(use_.served.get().saturating_add(1));
        Self(Rc::clone(use_))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.since.set(Instant::now());
        if let Some(counted) = &self.0.counted {
            counted.ended();
        }
    }
}

/// Requests of this worker that wait for a connection which their cluster may have no more of.
#[derive(Debug, Default)]
struct Waiting {
    count: Cell<usize>,
    told: Notify,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Waiter(Rc<Waiting>);

impl Waiter {
    /// Tells that a connection may be idle.
    pub(super) fn told(&self) -> &Notify {
        &self.0.told
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
    }
}

/// Only one request connects to an endpoint at a time; those that wait for it take what comes of it.
#[derive(Debug, Default)]
pub(super) struct Connecting {
    turn: Mutex<()>,
    failure: RefCell<Option<(Instant, ConnectError)>>,
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
            Some((when, error)) if *when >= began => Err(error.shared()),
            _ => Ok(turn),
        }
    }

    /// Tells those that wait; not of a shortage here, which says nothing of the endpoint.
    pub(super) fn failed(&self, error: &ConnectError) {
        if !error.is_own() {
            *self.failure.borrow_mut() = Some((Instant::now(), error.shared()));
        }
    }
}

/// A connection's place, for as long as it is open. It goes with the bytes, which hyper hands on only if they may be sent
/// to other threads.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<AtomicUsize>,
    /// Among those that its cluster may have.
    _held: Option<Held>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An HTTP/1.1 connection to an endpoint.
#[derive(Debug)]
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    opened: Instant,
    served: u32,
    terms: Terms,
    /// Where its cluster may have so many connections and no more.
    usage: Option<Arc<Usage>>,
}

impl Http1 {
    /// One that was opened just now.
    pub(super) fn new(sender: http1::SendRequest<RequestBody>, cluster: &Cluster) -> Self {
        let usage = cluster.limits.connections.map(|_| Arc::clone(cluster.usage()));
        Self { sender, opened: Instant::now(), served: 0, terms: Terms::of(cluster), usage }
    }

    /// A request is sent on it.
    pub(super) fn serve(&mut self) -> &mut http1::SendRequest<RequestBody> {
        self.served = self.served.saturating_add(1);
        &mut self.sender
    }
}

struct Idle {
    connection: Http1,
    since: Instant,
}

impl Inner {
    /// Whether a connection is neither idle for too long nor too old.
    fn may_serve(&self, kept: &Idle, now: Instant) -> bool {
        let idle = kept.connection.terms.idle.unwrap_or(self.idle_timeout);
        now.duration_since(kept.since) < idle && now.duration_since(kept.connection.opened) < self.age
    }

    /// How many wait here for a connection to where it leads.
    fn waiting_here(&self, key: Key) -> usize {
        self.waiting.borrow().get(&key).map_or(0, |waiting| waiting.count.get())
    }

    /// Closes as many connections without a request as others wait for places, but none that somebody here waits for.
    fn give_up(&self, key: Key, usage: &Usage) {
        let here = self.waiting_here(key);
        let mut wanted = usage.waiting().saturating_sub(here);
        if let Some(idle) = self.http1.borrow_mut().get_mut(&key) {
            while wanted > 0 && idle.len() > here {
                // The place of one that is closed already is free.
                let live = idle.pop().is_some_and(|kept| !kept.connection.sender.is_closed());
                wanted -= usize::from(live);
            }
        }
        if let Some(shared) = self.http2.borrow_mut().get_mut(&key).filter(|_| here == 0) {
            shared.retain(|shared| {
                let given_up = wanted > 0 && shared.use_.streams.get() == 0;
                wanted -= usize::from(given_up && !shared.sender.is_closed());
                !given_up
            });
        }
    }

    /// Whether there is a connection that is or may become idle.
    fn may_give_up(&self, key: Key) -> bool {
        self.http1.borrow().get(&key).is_some_and(|idle| !idle.is_empty())
            || self.http2.borrow().get(&key).is_some_and(|shared| !shared.is_empty())
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
            open: Arc::default(),
            http1: RefCell::new(HashMap::new()),
            http2: RefCell::new(HashMap::new()),
            connecting: RefCell::default(),
            waiting: RefCell::default(),
            lent: RefCell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed)
    }

    /// A place for one more connection; none when all are taken. Idle ones are closed then, for whoever comes next.
    pub(super) fn place(&self, held: Option<Held>) -> Option<Place> {
        if self.open() >= self.inner.most_open {
            self.inner.http1.borrow_mut().clear();
            return None;
        }
        self.inner.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { open: Arc::clone(&self.inner.open), _held: held })
    }

    /// The connection that was idle for the shortest time, if it is still good.
    pub(super) fn take_http1(&self, key: Key) -> Option<Http1> {
        let mut connections = self.inner.http1.borrow_mut();
        let idle = connections.get_mut(&key)?;
        let now = Instant::now();
        while let Some(kept) = idle.pop() {
            if kept.connection.sender.is_ready() && self.inner.may_serve(&kept, now) {
                return Some(kept.connection);
            }
        }
        connections.remove(&key);
        None
    }

    /// Keeps a connection that has nothing more to do, unless it has served enough or others need its place.
    pub(super) fn put_http1(&self, key: Key, connection: Http1) {
        if connection.terms.used_up(connection.served) {
            return;
        }
        let usage = connection.usage.clone();
        let waiting = usage.as_ref().and_then(|_| self.inner.waiting.borrow().get(&key).cloned());
        let near = waiting.filter(|waiting| waiting.count.get() > 0);
        if let Some(usage) = &usage {
            // Others are given its place by their share of those that wait.
            let (here, all) = (near.as_ref().map_or(0, |near| near.count.get()), usage.waiting());
            if all > here && fastrand::usize(..all) >= here {
                return;
            }
        }
        let mut connections = self.inner.http1.borrow_mut();
        let idle = connections.entry(key).or_default();
        if idle.len() < self.inner.most_idle {
            idle.push(Idle { connection, since: Instant::now() });
        }
        drop(connections);
        if let Some(near) = near {
            near.told.notify_one();
        }
        if let Some(usage) = usage {
            self.lend(key, usage);
        }
    }

    /// Gives up connections that have no request while others need their places.
    fn lend(&self, key: Key, usage: Arc<Usage>) {
        if !self.inner.lent.borrow_mut().insert(key) {
            return;
        }
        let inner = Rc::clone(&self.inner);
        tokio::task::spawn_local(async move {
            loop {
                let mut wanted = pin!(usage.wanted().notified());
                wanted.as_mut().enable();
                // Who began to wait before that told nobody here.
                inner.give_up(key, &usage);
                if !inner.may_give_up(key) {
                    break;
                }
                let _ = tokio::time::timeout(LOOK, wanted).await;
            }
            inner.lent.borrow_mut().remove(&key);
        });
    }

    /// Waits for a connection of a cluster that may have no more.
    pub(super) fn wait(&self, key: Key) -> Waiter {
        let waiting = self.waiting(key);
        waiting.count.set(waiting.count.get() + 1);
        Waiter(waiting)
    }

    fn waiting(&self, key: Key) -> Rc<Waiting> {
        Rc::clone(self.inner.waiting.borrow_mut().entry(key).or_default())
    }

    /// A stream on a shared connection that has room for one. Those that may take no more are let go: they end with what
    /// is under way on them.
    pub(super) fn shared_http2(&self, key: Key) -> Option<(http2::SendRequest<RequestBody>, Stream)> {
        let mut connections = self.inner.http2.borrow_mut();
        let shared = connections.get_mut(&key)?;
        let now = Instant::now();
        shared.retain(|shared| {
            let young = now.duration_since(shared.opened) < self.inner.age;
            young && !shared.sender.is_closed() && !shared.terms.used_up(shared.use_.served.get())
        });
        let free = shared.iter().find(|shared| shared.use_.streams.get() < MOST_STREAMS)?;
        Some((free.sender.clone(), Stream::on(&free.use_)))
    }

    /// Whether [`Pool::shared_http2`] left a connection whose streams may be waited for.
    pub(super) fn shares_http2(&self, key: Key) -> bool {
        self.inner.http2.borrow().get(&key).is_some_and(|shared| !shared.is_empty())
    }

    /// Shares a connection, and gives the first stream on it.
    pub(super) fn share_http2(&self, key: Key, sender: http2::SendRequest<RequestBody>, cluster: &Cluster) -> Stream {
        let counted = cluster.limits.connections.map(|_| Counted {
            pool: Rc::downgrade(&self.inner),
            key,
            usage: Arc::clone(cluster.usage()),
            waiting: self.waiting(key),
        });
        let use_ =
            Rc::new(Use { streams: Cell::new(0), served: Cell::new(0), since: Cell::new(Instant::now()), counted });
        let stream = Stream::on(&use_);
        let shared = Shared { sender, opened: Instant::now(), use_, terms: Terms::of(cluster) };
        self.inner.http2.borrow_mut().entry(key).or_default().push(shared);
        if cluster.limits.connections.is_some() {
            self.lend(key, Arc::clone(cluster.usage()));
        }
        stream
    }

    /// Who connects to an endpoint.
    pub(super) fn connecting(&self, key: Key) -> Rc<Connecting> {
        Rc::clone(self.inner.connecting.borrow_mut().entry(key).or_default())
    }

    /// Closes what has been idle for too long; called now and then.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.inner.http1.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| !idle.connection.sender.is_closed() && self.inner.may_serve(idle, now));
            !idle.is_empty()
        });
        self.inner.http2.borrow_mut().retain(|_, shared| {
            shared.retain(|Shared { sender, opened, use_, terms }| {
                let most = terms.idle.unwrap_or(self.inner.idle_timeout);
                let idle = now.duration_since(use_.since.get()) >= most;
                let over = idle || now.duration_since(*opened) >= self.inner.age;
                !sender.is_closed() && (use_.streams.get() > 0 || !over)
            });
            !shared.is_empty()
        });
        self.inner.connecting.borrow_mut().retain(|_, connecting| Rc::strong_count(connecting) > 1);
        self.inner.waiting.borrow_mut().retain(|_, waiting| Rc::strong_count(waiting) > 1);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
