//! Taking connections from a socket.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::{Worker, connection};

/// After an error that will not go away at once, such as no file descriptor being left.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts on a socket until the task is aborted, or until a drain finds nobody waiting.
pub(super) fn start(
    worker: &Rc<Worker>,
    address: SocketAddr,
    socket: std::net::TcpListener,
) -> std::io::Result<AbortHandle> {
    let listener = TcpListener::from_std(socket)?;
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
                Ok((stream, peer)) => {
                    let most = worker.limits().connections.min(worker.share);
                    if worker.connections.get() >= most {
                        tracing::warn!(%peer, most, "connection closed at once: limits.connections or file descriptors are used up");
                        continue;
                    }
                    connection::start(&worker, address, stream, peer);
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    });
    Ok(task.abort_handle())
}
