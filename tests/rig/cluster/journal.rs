//! What the server was asked.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::Value;

use super::calls::Calls;
use crate::PATIENCE;

/// A request that was answered; of a watch, its beginning.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it came.
    pub at: Instant,
    /// Who sent it; empty for nobody known.
    pub user: String,
    /// `GET`
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, as it was written.
    pub query: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`; `get` for all that is not about
    /// objects.
    pub verb: String,
    /// `httproutes.gateway.networking.k8s.io/status`; empty for what is not about objects.
    pub resource: String,
    /// The namespace; empty for all of them or none.
    pub namespace: String,
    /// The name, also one that a field selector names.
    pub name: String,
    /// The body, null without one.
    pub body: Value,
    /// The answer's status; 0 where there was none.
    pub status: u16,
}

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal {
    requests: Mutex<Vec<Request>>,
    grown: Condvar,
}

impl Journal {
    pub(super) fn add(&self, request: Request) {
        self.lock().push(request);
        self.grown.notify_all();
    }

    pub(super) fn all(&self) -> Vec<Request> {
        self.lock().clone()
    }

    /// How many there are: a place from which to look on.
    pub(super) fn here(&self) -> usize {
        self.lock().len()
    }

    /// Those since a place that are wanted.
    pub(super) fn since(&self, place: usize, calls: &Calls) -> Vec<Request> {
        self.lock()[place..].iter().filter(|request| calls.include(request)).cloned().collect()
    }

    /// Waits until there are so many since a place; panics with all of them when it takes too long.
    #[track_caller]
    pub(super) fn wait(&self, place: usize, calls: &Calls, count: usize) -> Vec<Request> {
        let deadline = Instant::now() + PATIENCE;
        let mut requests = self.lock();
        loop {
            let found: Vec<_> = requests[place..].iter().filter(|request| calls.include(request)).cloned().collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if found.len() >= count {
                return found;
            }
            if left.is_zero() {
                let seen: Vec<_> = requests[place..].iter().map(Request::line).collect();
                drop(requests);
                panic!("not {count} requests of {calls:?} within {PATIENCE:?}, but\n{}", seen.join("\n"));
            }
            requests = self.grown.wait_timeout(requests, left).expect("no reader panics").0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().expect("no reader panics")
    }
}

impl Request {
    /// For a person.
    #[must_use]
    pub fn line(&self) -> String {
        let question = if self.query.is_empty() { "" } else { "?" };
        format!("{} {} {}{question}{} by {:?}", self.status, self.method, self.path, self.query, self.user)
    }
}
