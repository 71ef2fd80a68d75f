//! How a worker says that it goes.

use super::Worker;
use super::routers::PluginReport;
use crate::tally::Counts;

/// That a worker lives.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// Which worker.
    pub worker: usize,
    /// The generation that serves its new requests.
    pub generation: u64,
    /// Whether it takes no new connections.
    pub draining: bool,
}

/// A worker's word on itself at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// That it lives.
    pub pulse: Pulse,
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
    pub(super) fn pulse(&self) -> Pulse {
        let generation = self.generation.borrow().number;
        Pulse { worker: self.index, generation, draining: *self.draining.borrow() }
    }

    pub(super) fn report(&self) -> Report {
        Report {
            pulse: self.pulse(),
            connections: self.connections.get(),
            upstream_connections: self.pool.open(),
            counts: self.tally.borrow().counts(),
            plugins: self.routers.borrow().report(),
        }
    }
}
