//! Where requests go: clusters with their endpoints, the choice among these, and the connections to them.
//!
//! A cluster outlives the generations that name it unchanged, and with it what is known of its endpoints. Connections
//! belong to a worker.

mod balance;
mod caller;
mod connect;
mod copied;
mod endpoint;
mod hash;
mod health;
mod io;
mod pool;
mod proxy_protocol;
mod retry;
mod ring;
mod send;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

pub use caller::Caller;
pub use connect::ConnectError;
pub use endpoint::{Active, Endpoint};
pub use pool::Pool;
pub use send::{Exchange, SendError, UpstreamBody, send};
pub use session::{Token, give_token};
pub use stream::{ClusterStream, connect_stream};
pub use usage::{Limited, Overflow};

use crate::model::{self, Balance, ClusterLimits, Origin, Outlier, ProxyVersion, UpstreamProtocol};
use crate::tls::TlsClient;
use ring::Ring;
use usage::{Held, Usage};

/// Where requests of one cluster go.
#[derive(Debug)]
pub struct Cluster {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// Of its name, for tokens.
    mark: u64,
    /// Who says that there is one.
    pub origin: Origin,
    /// Those that are ready.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What they speak.
    pub protocol: UpstreamProtocol,
    /// What they are spoken to in.
    pub tls: Option<Arc<TlsClient>>,
    /// How one is chosen.
    pub balance: Balance,
    /// To connect to one, with all that comes before the first request.
    pub connect_timeout: Duration,
    /// How long a connection is kept without a request; none for the pool's own.
    pub idle_timeout: Option<Duration>,
    /// How much it is asked for at a time.
    pub limits: ClusterLimits,
    /// When an endpoint is left out for a while.
    pub outlier: Option<Outlier>,
    /// What connections begin with.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Why requests are answered with 503 although there are endpoints.
    pub refused: Option<String>,
    /// Clusters of one lane share connections.
    lane: u64,
    ring: Option<Ring>,
    turn: AtomicUsize,
    budget: retry::Budget,
    /// Tries besides the first of each request.
    retried: Arc<AtomicU64>,
    usage: Arc<Usage>,
    /// When the last endpoint that is left out comes back, by the clock of [`health`].
    out_until: Arc<AtomicU64>,
}

/// What a cluster's connections are made with.
#[derive(Clone, Debug)]
pub struct Transport {
    /// To connect.
    pub connect_timeout: Duration,
    /// What endpoints are spoken to in; or why they cannot be.
    pub tls: Result<Option<Arc<TlsClient>>, String>,
    /// Clusters of one lane share connections.
    pub lane: u64,
}

impl Transport {
    /// In the clear, sharing connections with all other such clusters.
    #[must_use]
    pub fn plain(connect_timeout: Duration) -> Self {
        Self { connect_timeout, tls: Ok(None), lane: 0 }
    }

    /// Whether a cluster's connections are made so.
    #[must_use]
    pub fn is_of(&self, cluster: &Cluster) -> bool {
        let id = |tls: &Option<Arc<TlsClient>>| tls.as_ref().map(|tls| tls.id);
        let same = match &self.tls {
            Ok(tls) => id(tls) == id(&cluster.tls),
            Err(why) => cluster.refused.as_ref() == Some(why),
        };
        same && self.lane == cluster.lane && self.connect_timeout == cluster.connect_timeout
    }
}

impl Cluster {
    /// A cluster of these endpoints.
    #[must_use]
    pub fn new(said: &model::Cluster, endpoints: Vec<Arc<Endpoint>>, transport: Transport) -> Self {
        let Transport { connect_timeout, tls, lane } = transport;
        let (tls, unable) = match tls {
            Ok(tls) => (tls, None),
            Err(why) => (None, Some(why)),
        };
        let ring = matches!(said.balance, Balance::Hash(_)).then(|| Ring::new(&endpoints));
        Self {
            name: said.name.as_str().into(),
            mark: hash::of_bytes(said.name.as_bytes()),
            origin: said.origin.clone(),
            endpoints,
            protocol: said.protocol,
            tls,
            balance: said.balance.clone(),
            connect_timeout,
            idle_timeout: said.idle_timeout,
            limits: said.limits,
            outlier: said.outlier,
            proxy_protocol: said.proxy_protocol,
            refused: said.refused.clone().or(unable),
            lane,
            ring,
            turn: AtomicUsize::new(fastrand::usize(..=usize::MAX / 2)),
            budget: retry::Budget::default(),
            retried: Arc::default(),
            usage: Arc::default(),
            out_until: Arc::default(),
        }
    }

    /// The same cluster with other endpoints: what is counted goes on.
    #[must_use]
    pub(crate) fn after(mut self, before: &Self) -> Self {
        self.budget = before.budget.clone();
        self.retried = Arc::clone(&before.retried);
        self.usage = Arc::clone(&before.usage);
        self.out_until = Arc::clone(&before.out_until);
        self
    }

    /// How many tries there were besides the first of each request.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// How much of it is in use; only what is limited is counted.
    #[must_use]
    pub fn in_use(&self, limited: Limited) -> u32 {
        self.usage.held(limited)
    }

    /// How often there was none of it left.
    #[must_use]
    pub fn overflows(&self, limited: Limited) -> u64 {
        self.usage.overflows(limited)
    }

    fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// One more of what may be limited.
    fn hold(&self, limited: Limited) -> Result<Option<Held>, Overflow> {
        self.usage.hold(limited, &self.limits)
    }
}
