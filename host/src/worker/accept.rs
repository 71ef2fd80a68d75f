//! Taking connections from a socket.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;

use super::{Worker, connection};
use crate::socket_name::{SocketName, UNIX_PEER};

/// After an error that will not go away at once, such as no file descriptor being left.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that listens, for one worker.
#[derive(Debug)]
pub enum Listening {
    /// One of several that share an address.
    Inet(std::net::TcpListener),
    /// A duplicate of the only one.
    Unix(std::os::unix::net::UnixListener),
}

/// A client's connection as it came.
pub(super) enum Arrival {
    Inet(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Arrival {
    /// The other end.
    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            Self::Inet(_, peer) => *peer,
            Self::Unix(_) => UNIX_PEER,
        }
    }
}

enum Listener {
    Inet(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(socket: Listening) -> io::Result<Self> {
        Ok(match socket {
            Listening::Inet(socket) => Self::Inet(TcpListener::from_std(socket)?),
            Listening::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Inet(listener) => listener.accept().await.map(|(stream, peer)| Arrival::Inet(stream, peer)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Arrival::Unix(stream)),
        }
    }
}

/// Accepts on a socket until the task is aborted, or until a drain finds nobody waiting.
pub(super) fn start(worker: &Rc<Worker>, name: SocketName, socket: Listening) -> io::Result<AbortHandle> {
    let listener = Listener::new(socket)?;
    let worker = Rc::clone(worker);
    let mut draining = worker.draining.subscribe();
    let task = tokio::task::spawn_local(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                // Only once nobody waits any more.
                _ = draining.wait_for(|draining| *draining) => return,
            };
            match accepted {
                Ok(arrival) => {
                    let most = worker.limits().connections.min(worker.share);
                    if worker.connections.get() >= most {
                        let peer = arrival.peer();
                        tracing::warn!(%peer, most, "connection closed at once: limits.connections or file descriptors are used up");
                        continue;
                    }
                    connection::start(&worker, &name, arrival);
                }
                Err(error) => {
                    tracing::warn!(address = %name, %error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    Ok(task.abort_handle())
}
