//! How a worker says that it goes.

use super::Worker;
use super::routers::PluginReport;
use crate::tally::Counts;

/// A worker's word on itself at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which worker.
    pub worker: usize,
    /// The generation that serves its new requests.
    pub generation: u64,
    /// Whether it takes no new connections.
    pub draining: bool,
    /// Clients connected to it.
    pub connections: usize,
    /// Connections to endpoints.
    pub upstream_connections: usize,
    /// What it counted.
    pub counts: Counts,
    /// Its plugins.
    pub plugins: Vec<PluginReport>,
}

impl Worker {
    pub(super) fn report(&self) -> Report {
        Report {
            worker: self.index,
            generation: self.generation.borrow().number,
            draining: *self.draining.borrow(),
            connections: self.connections.get(),
            upstream_connections: self.pool.open(),
            counts: self.tally.borrow().counts(),
            plugins: self.routers.borrow().report(),
        }
    }
}
