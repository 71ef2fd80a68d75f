//! Connections to endpoints.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::pool::Pool;
use crate::http::LocalExecutor;
use crate::stream::Stream;

/// Window of one stream of an HTTP/2 connection to an endpoint, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// Window of the whole connection, in bytes.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint did not answer in time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// This worker has as many connections to endpoints as it may.
    #[error("all connections to endpoints are in use")]
    Exhausted,
    /// The endpoint, or the way to it, refused.
    #[error("{0}")]
    Refused(std::io::Error),
    /// It is there, but does not speak the protocol.
    #[error("{0}")]
    Protocol(hyper::Error),
}

/// A new connection.
pub(super) async fn tcp(address: SocketAddr, timeout: Duration) -> Result<Stream, ConnectError> {
    let stream = tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::Timeout(timeout))?
        .map_err(ConnectError::Refused)?;
    Stream::new(stream).map_err(ConnectError::Refused)
}

/// A new HTTP/1.1 connection, driven by a task of this worker.
pub(super) async fn http1<B>(
    pool: &Pool,
    address: SocketAddr,
    timeout: Duration,
) -> Result<http1::SendRequest<B>, ConnectError>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let place = pool.place().ok_or(ConnectError::Exhausted)?;
    let io = tcp(address, timeout).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(ConnectError::Protocol)?;
    tokio::task::spawn_local(async move {
        let _place = place;
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}

/// A new HTTP/2 connection by prior knowledge, driven by a task of this worker.
pub(super) async fn http2<B>(
    pool: &Pool,
    address: SocketAddr,
    timeout: Duration,
) -> Result<http2::SendRequest<B>, ConnectError>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let place = pool.place().ok_or(ConnectError::Exhausted)?;
    let io = tcp(address, timeout).await?;
    let handshake = http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(io));
    let (sender, connection) = tokio::time::timeout(timeout, handshake)
        .await
        .map_err(|_| ConnectError::Timeout(timeout))?
        .map_err(ConnectError::Protocol)?;
    tokio::task::spawn_local(async move {
        let _place = place;
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}
