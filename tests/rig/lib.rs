//! The rig of the end-to-end tests, in the reader's words.
//!
//! A [`Site`] is a directory with objects and a `sekisho.json`; [`Site::run`] starts the real binary on it and gives a
//! [`Gateway`], which real clients ask: `gateway.curl("httpbin.example.com", "/status/418").answers(418)`. Certificates
//! are made by the founding task's own `openssl` commands ([`Certificates`]), secrets by its `kubectl create` lines, and
//! behind the gateway are the real [`httpbin`] and small [`Backend`]s. Where the objects come from a cluster, it is a
//! [`Cluster`] of the tests' own.
//!
//! Everything panics with what it saw: a rig that returns errors would only make tests longer.

mod backends;
mod certificates;
mod cluster;
mod curl;
mod gateway;
mod guard;
pub mod http2;
mod log;
mod objects;
mod ports;
mod program;
mod s_client;
mod secure;
mod site;
pub mod tls;

pub use backends::{Backend, httpbin};
pub use certificates::{Certificates, Pair, Set};
pub use cluster::{Calls, Cluster, Request};
pub use curl::{Answer, Curl, Http};
pub use gateway::{Gateway, Page};
pub use log::{Line, Log};
pub use objects::{Form, Match, Route, Server, endpoints, endpoints_in_state, service};
pub use ports::free_port;
pub use program::{Finished, misbehaving, plugin, program, repository, sekisho};
pub use s_client::{Handshake, SClient};
pub use secure::Told;
pub use site::Site;

use std::time::{Duration, Instant};

/// How long a test waits for a change to be in force. The promise is a second, which `reload` measures; this leaves room
/// for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Tries until it succeeds, at most for [`PATIENCE`]; then panics with the last failure.
#[track_caller]
pub fn eventually<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(failure) => assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {failure}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
