//! Bytes to an endpoint and back, for what is not HTTP.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Way;
use super::health::Verdict;
use super::io::Io;
use super::{Active, Caller, Cluster, ConnectError, Limited, Pool, SendError, hash};
use crate::model::Balance;
use crate::tls::Offer;

/// Endpoints that one connection is tried at.
const MOST_TRIES: usize = 3;

/// A connection to an endpoint of a cluster. It holds its places, at the endpoint and among the cluster's and the
/// worker's connections, for as long as it is there; it is no request.
#[derive(Debug)]
pub struct ClusterStream {
    /// The other end.
    pub endpoint: SocketAddr,
    io: Io,
    _active: Active,
}

/// Connects a client to an endpoint of a cluster that is not refused, with the PROXY protocol and TLS as it wants them;
/// an endpoint that cannot be connected to is stepped over while there are others.
///
/// # Errors
/// [`SendError`] of the last try.
pub async fn connect_stream(pool: &Pool, cluster: &Cluster, caller: &Caller) -> Result<ClusterStream, SendError> {
    let hash = match &cluster.balance {
        Balance::Hash(on) => hash::of_connection(on, caller),
        _ => None,
    };
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let endpoint = cluster.choose(&tried, hash).ok_or_else(|| SendError::nobody(cluster))?;
        let address = endpoint.address;
        let active = endpoint.begin();
        let held = cluster.hold(Limited::Connections)?;
        let unplaced = SendError::Connect { endpoint: address, source: ConnectError::Exhausted };
        let place = pool.place(held).ok_or(unplaced)?;
        let connected = Way { cluster, address, caller, offer: Offer::Nothing }.bytes(place).await;
        endpoint.note(&connected);
        match connected {
            Ok(io) => {
                cluster.judge(endpoint, Verdict::Well);
                return Ok(ClusterStream { endpoint: address, io, _active: active });
            }
            Err(source) => {
                cluster.judge(endpoint, Verdict::Gateway);
                tried.push(address);
                let others = cluster.endpoints.iter().any(|endpoint| !tried.contains(&endpoint.address));
                if tried.len() >= MOST_TRIES || !others {
                    return Err(SendError::Connect { endpoint: address, source });
                }
            }
        }
    }
}

impl AsyncRead for ClusterStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClusterStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
