//! One address of a cluster, and what all workers know of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::health::Health;
use super::{ConnectError, hash};

/// What an endpoint agreed to speak; before that, nothing.
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

/// One address of a cluster.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// Its share; at least 1.
    pub weight: u32,
    /// Of its address, for tokens.
    pub(super) mark: u64,
    active: AtomicUsize,
    /// Connections in a row that could not be made, by any worker.
    unreached: AtomicUsize,
    /// Why the last one could not; written only then.
    failure: Mutex<String>,
    /// What it agreed to speak where that is for it to say.
    spoken: AtomicU8,
    pub(super) health: Health,
}

/// Counts a request at its endpoint for as long as it lives.
#[derive(Debug)]
pub struct Active(Arc<Endpoint>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    /// An endpoint without requests.
    #[must_use]
    pub fn new(address: SocketAddr, weight: u32) -> Self {
        Self {
            address,
            weight: weight.max(1),
            mark: hash::of_bytes(address.to_string().as_bytes()),
            active: AtomicUsize::new(0),
            unreached: AtomicUsize::new(0),
            failure: Mutex::default(),
            spoken: AtomicU8::new(0),
            health: Health::default(),
        }
    }

    /// Requests that are on their way to it.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// How often in a row no connection to it could be made; zero while it is well.
    #[must_use]
    pub fn unreached(&self) -> usize {
        self.unreached.load(Ordering::Relaxed)
    }

    /// Why the last connection that could not be made could not.
    #[must_use]
    pub fn last_failure(&self) -> String {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of whether a connection could be made.
    pub(super) fn note<T>(&self, connected: &Result<T, ConnectError>) {
        match connected {
            Ok(_) => self.unreached.store(0, Ordering::Relaxed),
            // This gateway's own doing.
            Err(error) if error.is_own() => {}
            Err(error) => {
                self.unreached.fetch_add(1, Ordering::Relaxed);
                // It may have become another that speaks otherwise.
                self.spoken.store(0, Ordering::Relaxed);
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
            }
        }
    }

    /// Whether it agreed to speak HTTP/2; none while nobody asked it.
    pub(super) fn speaks_http2(&self) -> Option<bool> {
        match self.spoken.load(Ordering::Relaxed) {
            HTTP1 => Some(false),
            HTTP2 => Some(true),
            _ => None,
        }
    }

    /// Takes note of what it agreed to speak.
    pub(super) fn agreed(&self, http2: bool) {
        self.spoken.store(if http2 { HTTP2 } else { HTTP1 }, Ordering::Relaxed);
    }

    /// Counts a request here until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }
}
