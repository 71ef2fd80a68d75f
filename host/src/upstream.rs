//! Where requests go: clusters with their endpoints, the choice among these, and the connections to them.
//!
//! A cluster outlives the generations that name it unchanged, and with it what is known of its endpoints. Connections
//! belong to a worker.

mod connect;
mod copied;
mod pool;
mod retry;
mod send;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use connect::ConnectError;
pub use pool::Pool;
pub use send::{Exchange, SendError, UpstreamBody, send};

use crate::model::{self, Balance, Origin, UpstreamProtocol};

/// Where requests of one cluster go.
#[derive(Debug)]
pub struct Cluster {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// Who says that there is one.
    pub origin: Origin,
    /// Those that are ready.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What they speak.
    pub protocol: UpstreamProtocol,
    /// How one is chosen.
    pub balance: Balance,
    /// To connect to one.
    pub connect_timeout: Duration,
    /// Why requests are answered with 503 although there are endpoints.
    pub refused: Option<String>,
    turn: AtomicUsize,
    budget: retry::Budget,
    /// Tries besides the first of each request.
    retried: Arc<AtomicU64>,
}

/// One address of a cluster.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// Its share; at least 1.
    pub weight: u32,
    active: AtomicUsize,
    /// Connections in a row that could not be made, by any worker.
    unreached: AtomicUsize,
    /// Why the last one could not; written only then.
    failure: Mutex<String>,
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
            active: AtomicUsize::new(0),
            unreached: AtomicUsize::new(0),
            failure: Mutex::default(),
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
    fn note<T>(&self, connected: &Result<T, ConnectError>) {
        match connected {
            Ok(_) => self.unreached.store(0, Ordering::Relaxed),
            // This worker's own doing.
            Err(ConnectError::Exhausted) => {}
            Err(error) => {
                self.unreached.fetch_add(1, Ordering::Relaxed);
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
            }
        }
    }

    /// Counts a request here until the guard is dropped.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }
}

impl Cluster {
    /// A cluster of these endpoints.
    #[must_use]
    pub fn new(said: &model::Cluster, endpoints: Vec<Arc<Endpoint>>, connect_timeout: Duration) -> Self {
        Self {
            name: said.name.as_str().into(),
            origin: said.origin.clone(),
            endpoints,
            protocol: said.protocol,
            balance: said.balance.clone(),
            connect_timeout,
            refused: said.refused.clone(),
            turn: AtomicUsize::new(fastrand::usize(..=usize::MAX / 2)),
            budget: retry::Budget::default(),
            retried: Arc::default(),
        }
    }

    /// The same cluster with other endpoints: what is counted goes on.
    #[must_use]
    pub(crate) fn after(mut self, before: &Self) -> Self {
        self.budget = before.budget.clone();
        self.retried = Arc::clone(&before.retried);
        self
    }

    /// How many tries there were besides the first of each request.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// An endpoint for one request, not one of `tried` while there are others.
    #[must_use]
    pub fn choose(&self, tried: &[SocketAddr]) -> Option<&Arc<Endpoint>> {
        let fresh = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.address);
        if tried.is_empty() || !self.endpoints.iter().any(|endpoint| fresh(&endpoint)) {
            return self.choose_among(|_| true);
        }
        self.choose_among(|endpoint| fresh(&endpoint))
    }

    fn choose_among(&self, eligible: impl Fn(&Arc<Endpoint>) -> bool + Copy) -> Option<&Arc<Endpoint>> {
        match &self.balance {
            Balance::RoundRobin => self.at_weight(self.turn.fetch_add(1, Ordering::Relaxed) as u64, eligible),
            Balance::Random => self.at_weight(fastrand::u64(..), eligible),
            // Hashing is refused, so that nobody comes here for it.
            Balance::LeastRequest | Balance::Hash(_) => {
                let one = self.at_weight(fastrand::u64(..), eligible)?;
                let other = self.at_weight(fastrand::u64(..), eligible)?;
                Some(if other.active() < one.active() { other } else { one })
            }
        }
    }

    /// The endpoint at a point of the sum of all weights.
    fn at_weight(&self, point: u64, eligible: impl Fn(&Arc<Endpoint>) -> bool + Copy) -> Option<&Arc<Endpoint>> {
        let candidates = || self.endpoints.iter().filter(|endpoint| eligible(endpoint));
        let total: u64 = candidates().map(|endpoint| u64::from(endpoint.weight)).sum();
        if total == 0 {
            return None;
        }
        let mut left = point % total;
        candidates().find(|endpoint| {
            let here = left < u64::from(endpoint.weight);
            left = left.saturating_sub(u64::from(endpoint.weight));
            here
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(balance: Balance, weights: &[u32]) -> Cluster {
        let endpoints = weights
            .iter()
            .zip(1_u16..)
            .map(|(weight, port)| Arc::new(Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)), *weight)))
            .collect();
        let said = model::Cluster { balance, ..model::Cluster::plain("c") };
        Cluster::new(&said, endpoints, Duration::from_secs(1))
    }

    #[test]
    fn turns_follow_the_weights() {
        let cluster = cluster(Balance::RoundRobin, &[1, 3]);
        let first = (0..400).filter(|_| cluster.choose(&[]).unwrap().address.port() == 1).count();
        assert_eq!(first, 100);
    }

    #[test]
    fn the_less_busy_endpoint_is_preferred() {
        let cluster = cluster(Balance::LeastRequest, &[1, 1]);
        let _busy: Vec<Active> = (0..10).map(|_| cluster.endpoints[0].begin()).collect();
        let first = (0..1000).filter(|_| cluster.choose(&[]).unwrap().address.port() == 1).count();
        assert!((150..350).contains(&first), "{first} of 1000: a quarter meets the busy one twice");
    }

    #[test]
    fn tried_endpoints_are_avoided_while_there_are_others() {
        let none = cluster(Balance::LeastRequest, &[]);
        let cluster = cluster(Balance::Random, &[1, 1]);
        let tried = [cluster.endpoints[0].address];
        assert!((0..50).all(|_| cluster.choose(&tried).unwrap().address.port() == 2));
        let all = [cluster.endpoints[0].address, cluster.endpoints[1].address];
        assert!(cluster.choose(&all).is_some());
        assert!(none.choose(&[]).is_none());
    }
}
