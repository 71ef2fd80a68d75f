//! A worker's idle connections, by what they lead to (decision 8).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use crate::http::RequestBody;

/// A worker's connections to endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Rc<Inner>,
}

struct Inner {
    most_idle: usize,
    idle_timeout: Duration,
    most_open: usize,
    open: Cell<usize>,
    http1: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
    http2: RefCell<HashMap<SocketAddr, http2::SendRequest<RequestBody>>>,
}

/// A connection's place, for as long as it is open.
pub(super) struct Place(Rc<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

struct Idle {
    sender: http1::SendRequest<RequestBody>,
    since: Instant,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(most_idle: usize, idle_timeout: Duration, most_open: usize) -> Self {
        let inner = Inner {
            most_idle,
            idle_timeout,
            most_open,
            open: Cell::new(0),
            http1: RefCell::new(HashMap::new()),
            http2: RefCell::new(HashMap::new()),
        };
        Self { inner: Rc::new(inner) }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.inner.open.get()
    }

    /// A place for one more connection; none when all are taken, idle ones among them closed first.
    pub(super) fn place(&self) -> Option<Place> {
        if self.inner.open.get() >= self.inner.most_open {
            self.inner.http1.borrow_mut().clear();
            return None;
        }
        self.inner.open.set(self.inner.open.get() + 1);
        Some(Place(Rc::clone(&self.inner)))
    }

    /// The connection that was idle for the shortest time, if it is still good.
    pub(super) fn take_http1(&self, address: SocketAddr) -> Option<http1::SendRequest<RequestBody>> {
        let mut connections = self.inner.http1.borrow_mut();
        let idle = connections.get_mut(&address)?;
        while let Some(Idle { sender, since }) = idle.pop() {
            if sender.is_ready() && since.elapsed() < self.inner.idle_timeout {
                return Some(sender);
            }
        }
        connections.remove(&address);
        None
    }

    /// Keeps a connection that has nothing more to do.
    pub(super) fn put_http1(&self, address: SocketAddr, sender: http1::SendRequest<RequestBody>) {
        let mut connections = self.inner.http1.borrow_mut();
        let idle = connections.entry(address).or_default();
        if idle.len() < self.inner.most_idle {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    /// The shared connection, if it is still good.
    pub(super) fn shared_http2(&self, address: SocketAddr) -> Option<http2::SendRequest<RequestBody>> {
        let mut connections = self.inner.http2.borrow_mut();
        let sender = connections.get(&address)?;
        if sender.is_closed() {
            connections.remove(&address);
            return None;
        }
        Some(sender.clone())
    }

    /// Shares a connection.
    pub(super) fn share_http2(&self, address: SocketAddr, sender: http2::SendRequest<RequestBody>) {
        self.inner.http2.borrow_mut().insert(address, sender);
    }

    /// Closes what has been idle for too long; called now and then.
    pub fn sweep(&self) {
        let idle_timeout = self.inner.idle_timeout;
        self.inner.http1.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < idle_timeout);
            !idle.is_empty()
        });
        self.inner.http2.borrow_mut().retain(|_, sender| !sender.is_closed());
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
