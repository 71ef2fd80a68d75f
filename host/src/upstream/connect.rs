//! Connections to endpoints: bytes first, with the PROXY protocol and TLS as the cluster wants them, then HTTP on top.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::io::Io;
use super::pool::{Place, Pool};
use super::usage::Held;
use super::{Caller, Cluster, Overflow, proxy_protocol};
use crate::http::LocalExecutor;
use crate::stream::Stream;
use crate::tls::Offer;

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
    /// The cluster has as many, or as many that wait for one, as it may.
    #[error("{0}")]
    Overflow(#[from] Overflow),
    /// The endpoint, or the way to it, refused.
    #[error("{0}")]
    Refused(std::io::Error),
    /// The TLS handshake came to nothing.
    #[error("TLS: {0}")]
    Tls(Arc<str>),
    /// It is there, but does not speak the protocol.
    #[error("{0}")]
    Protocol(Arc<hyper::Error>),
}

impl ConnectError {
    /// Whether it says nothing of the endpoint.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Exhausted | Self::Overflow(_))
    }

    /// The same for somebody else who waited for the connection.
    pub(super) fn shared(&self) -> Self {
        match self {
            Self::Timeout(most) => Self::Timeout(*most),
            Self::Exhausted => Self::Exhausted,
            Self::Overflow(overflow) => Self::Overflow(*overflow),
            Self::Refused(error) => Self::Refused(std::io::Error::new(error.kind(), error.to_string())),
            Self::Tls(why) => Self::Tls(Arc::clone(why)),
            Self::Protocol(error) => Self::Protocol(Arc::clone(error)),
        }
    }
}

/// Where to, for whom, and what is to be spoken.
#[derive(Clone, Copy)]
pub(super) struct Way<'w> {
    pub(super) cluster: &'w Cluster,
    pub(super) address: SocketAddr,
    pub(super) caller: &'w Caller,
    pub(super) offer: Offer,
}

impl Way<'_> {
    /// A new connection in this place, ready for what is to be spoken.
    pub(super) async fn bytes(self, place: Place) -> Result<Io, ConnectError> {
        let most = self.cluster.connect_timeout;
        tokio::time::timeout(most, self.connect(place)).await.unwrap_or(Err(ConnectError::Timeout(most)))
    }

    async fn connect(self, place: Place) -> Result<Io, ConnectError> {
        let Self { cluster, address, caller, offer } = self;
        let stream = TcpStream::connect(address).await.map_err(ConnectError::Refused)?;
        let mut stream = Stream::new(stream).map_err(ConnectError::Refused)?;
        if let Some(version) = cluster.proxy_protocol {
            let header = proxy_protocol::header(version, caller.peer, caller.local);
            stream.write_all(&header).await.map_err(ConnectError::Refused)?;
        }
        match &cluster.tls {
            None => Ok(Io::Plain { stream, _place: place }),
            Some(tls) => match tls.connect(stream, address.ip(), offer).await {
                Ok(stream) => Ok(Io::Tls { stream: Box::new(stream), _place: place }),
                Err(why) => Err(ConnectError::Tls(why.into())),
            },
        }
    }
}

/// HTTP/1.1 on a connection, driven by a task of this worker.
pub(super) async fn http1<B>(io: Io, address: SocketAddr) -> Result<http1::SendRequest<B>, ConnectError>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let handshake = http1::handshake(TokioIo::new(io)).await;
    let (sender, connection) = handshake.map_err(|error| ConnectError::Protocol(Arc::new(error)))?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}

/// HTTP/2 on a connection, by prior knowledge or as agreed, driven by a task of this worker.
pub(super) async fn http2<B>(
    io: Io,
    address: SocketAddr,
    timeout: Duration,
) -> Result<http2::SendRequest<B>, ConnectError>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let handshake = http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(io));
    let (sender, connection) = tokio::time::timeout(timeout, handshake)
        .await
        .map_err(|_| ConnectError::Timeout(timeout))?
        .map_err(|error| ConnectError::Protocol(Arc::new(error)))?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}

/// What a new connection came to speak.
pub(super) enum Either<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

/// A new connection that speaks what was asked for; a place in the pool comes first.
pub(super) async fn connect<B>(pool: &Pool, held: Option<Held>, way: Way<'_>) -> Result<Either<B>, ConnectError>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let place = pool.place(held).ok_or(ConnectError::Exhausted)?;
    let io = way.bytes(place).await?;
    // An endpoint that agrees to nothing does not negotiate: it is taken to speak what was asked for first of all.
    let http2_wanted = way.offer == Offer::Http2;
    match io.agreed_http2().unwrap_or(http2_wanted) {
        false if http2_wanted => Err(ConnectError::Tls("it does not speak HTTP/2".into())),
        false => http1(io, way.address).await.map(Either::Http1),
        true => http2(io, way.address, way.cluster.connect_timeout).await.map(Either::Http2),
    }
}
