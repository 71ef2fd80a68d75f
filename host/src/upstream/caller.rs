//! Who an endpoint is asked for.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::health::Verdict;
use super::{Cluster, Endpoint};

/// Who an endpoint is asked for, once: a client's connection, for one request or one stream.
#[derive(Debug)]
pub struct Caller {
    /// The client's end.
    pub peer: SocketAddr,
    /// The gateway's end.
    pub local: SocketAddr,
    /// Whose request it is: the other end, or who is behind it.
    pub client: IpAddr,
    /// The endpoint that it stays with.
    pub(super) stays: Option<SocketAddr>,
    /// Who is being asked, where that counts.
    asking: RefCell<Option<Arc<Endpoint>>>,
}

impl Caller {
    /// The client at `peer`, which came in at `local`.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { peer, local, client: peer.ip(), stays: None, asking: RefCell::default() }
    }

    /// The same, on behalf of a client that is behind it.
    #[must_use]
    pub fn on_behalf_of(self, client: IpAddr) -> Self {
        Self { client, ..self }
    }

    /// The same, staying with this endpoint while there is no reason against it.
    #[must_use]
    pub fn staying_with(self, endpoint: Option<SocketAddr>) -> Self {
        Self { stays: endpoint, ..self }
    }

    /// Remembers who is asked now: over a connection that is there.
    pub(super) fn ask(&self, endpoint: Option<&Arc<Endpoint>>) {
        *self.asking.borrow_mut() = endpoint.cloned();
    }

    /// Whether somebody was being asked.
    pub(super) fn asked(&self) -> bool {
        self.asking.borrow_mut().take().is_some()
    }

    /// The time for an answer is over: who was asked then failed.
    pub fn gave_up(&self, cluster: &Cluster) {
        if let Some(endpoint) = self.asking.borrow_mut().take() {
            cluster.judge(&endpoint, Verdict::Gateway);
        }
    }
}
