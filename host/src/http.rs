//! From a request's head to its response: normalise, choose the listener, ask the router, execute the action.

mod access_log;
mod apply;
mod body;
pub mod cors;
mod extra;
mod fault;
mod forwarded;
mod head;
mod inputs;
mod mirror;
mod respond;
mod serve;
mod target;
mod upgrade;

pub use apply::{location, rewritten};
pub(crate) use apply::{sent_host, sent_path};
pub use body::RequestBody;
pub(crate) use cors::{Asked, asked};
pub(crate) use extra::count_try;
pub(crate) use forwarded::{CLIENT_CERTIFICATE, Hop, clean};
pub use head::{Head, HeadError, normalise_host};
pub(crate) use inputs::{gather, scheme, too_long};
pub use respond::Reason;
pub(crate) use respond::is_grpc;
pub use serve::serve;
pub use target::{Misdirection, choose};
pub use upgrade::Tunnel;

use hyper::rt::Executor;

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
