//! A connection of its own to an endpoint, for bytes that are not requests.

use std::net::SocketAddr;

use super::pool::Place;
use super::{Active, Cluster, ConnectError, Pool, SendError, connect};
use crate::stream::Stream;

/// Endpoints that are tried for one connection.
const MOST_TRIES: usize = 3;

/// A connection to an endpoint, with its places in what is counted.
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    pub(crate) endpoint: SocketAddr,
    _active: Active,
    _place: Place,
}

impl Dialled {
    /// The connection alone, and what must live as long as it.
    pub(crate) fn split(self) -> (Stream, impl Sized) {
        (self.stream, (self._active, self._place))
    }
}

/// Connects to an endpoint of a cluster. One that cannot be connected to is stepped over while there are others.
///
/// # Errors
/// [`SendError`] of the last one tried.
pub(crate) async fn dial(pool: &Pool, cluster: &Cluster) -> Result<Dialled, SendError> {
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let Some(endpoint) = cluster.choose(&tried) else {
            return Err(SendError::NoEndpoint(cluster.name.to_string()));
        };
        let address = endpoint.address;
        let active = endpoint.begin();
        let connected = match pool.place() {
            Some(place) => connect::tcp(address, cluster.connect_timeout).await.map(|stream| (stream, place)),
            None => Err(ConnectError::Exhausted),
        };
        endpoint.note(&connected);
        match connected {
            Ok((stream, place)) => return Ok(Dialled { stream, endpoint: address, _active: active, _place: place }),
            Err(source) => {
                tried.push(address);
                let others = cluster.endpoints.iter().any(|other| !tried.contains(&other.address));
                if tried.len() == MOST_TRIES || !others || matches!(source, ConnectError::Exhausted) {
                    return Err(SendError::Connect { endpoint: address, source });
                }
            }
        }
    }
}
