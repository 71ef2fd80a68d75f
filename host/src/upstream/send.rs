//! One request to a cluster: an endpoint is chosen, a connection found or made, and what did not reach an endpoint is
//! tried again.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2;

use super::copied::Copied;
use super::pool::{Http1, Stream};
use super::retry::{Failed, Next, Retries};
use super::{Active, Cluster, ConnectError, Endpoint, Pool, connect};
use crate::http::RequestBody;
use crate::model::{Retry, UpstreamProtocol};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The cluster has no endpoint that is ready.
    #[error("no endpoint of {0} is ready")]
    NoEndpoint(String),
    /// No endpoint could be connected to.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// The last one tried.
        endpoint: SocketAddr,
        /// Why.
        source: ConnectError,
    },
    /// The endpoint took longer than one try may.
    #[error("{endpoint} did not answer within {timeout:?}")]
    TryTimeout {
        /// Which one.
        endpoint: SocketAddr,
        /// How long that is.
        timeout: Duration,
    },
    /// The endpoint closed or broke the connection before it answered.
    #[error("{endpoint} did not answer: {source}")]
    Broken {
        /// Which one.
        endpoint: SocketAddr,
        /// Why.
        source: hyper::Error,
    },
}

impl SendError {
    /// The endpoint that was tried last.
    #[must_use]
    pub fn endpoint(&self) -> Option<SocketAddr> {
        match self {
            Self::NoEndpoint(_) => None,
            Self::Connect { endpoint, .. } | Self::TryTimeout { endpoint, .. } | Self::Broken { endpoint, .. } => {
                Some(*endpoint)
            }
        }
    }
}

/// A response, and where it came from.
#[derive(Debug)]
pub struct Exchange {
    /// The response.
    pub response: Response<UpstreamBody>,
    /// Who answered.
    pub endpoint: SocketAddr,
}

/// The body of a response. It holds the request's place at the endpoint, and gives the connection back at its end.
#[derive(Debug)]
pub struct UpstreamBody {
    body: Incoming,
    _active: Active,
    _stream: Option<Stream>,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    pool: Pool,
    address: SocketAddr,
    http1: Http1,
}

impl Connection {
    /// The connection's task may still have to see that the response is over.
    fn give_back(mut self) {
        if self.http1.sender.is_ready() {
            self.pool.put_http1(self.address, self.http1);
        } else if !self.http1.sender.is_closed() {
            tokio::task::spawn_local(async move {
                if self.http1.sender.ready().await.is_ok() {
                    self.pool.put_http1(self.address, self.http1);
                }
            });
        }
    }
}

/// Sends a request whose head is what the endpoint shall see, as often as `retry` allows and [`Retries`] takes for safe.
///
/// # Errors
/// [`SendError`] of the last try.
pub async fn send(
    pool: &Pool,
    cluster: &Cluster,
    retry: Option<&Retry>,
    client: Version,
    mut request: Request<RequestBody>,
) -> Result<Exchange, SendError> {
    let http2 = match cluster.protocol {
        UpstreamProtocol::Http1 | UpstreamProtocol::Alpn => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::AsClient => client == Version::HTTP_2,
    };
    let mut retries = Retries::new(retry);
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let avoided: &[SocketAddr] = if retries.avoids_tried() { &tried } else { &[] };
        let Some(endpoint) = cluster.choose(avoided) else {
            return Err(SendError::NoEndpoint(cluster.name.to_string()));
        };
        let copy = retries.copy(&request, http2);
        let trying = async {
            if http2 {
                try_http2(pool, cluster, endpoint, request).await
            } else {
                try_http1(pool, cluster, endpoint, request).await
            }
        };
        let outcome = match retries.per_try() {
            None => trying.await,
            Some(most) => tokio::time::timeout(most, trying).await.unwrap_or_else(|_| {
                let error = SendError::TryTimeout { endpoint: endpoint.address, timeout: most };
                Err(Failed { error, request: None })
            }),
        };
        let another =
            |other: &std::sync::Arc<Endpoint>| other.address != endpoint.address && !tried.contains(&other.address);
        let elsewhere = outcome.is_err() && retries.avoids_tried() && cluster.endpoints.iter().any(another);
        match retries.next(outcome, copy, cluster, elsewhere).await {
            Next::Again(again) => request = again,
            Next::Over(passed_on) => return passed_on,
        }
        tried.push(endpoint.address);
    }
}

async fn try_http1(
    pool: &Pool,
    cluster: &Cluster,
    endpoint: &std::sync::Arc<Endpoint>,
    mut request: Request<RequestBody>,
) -> Result<Exchange, Failed> {
    let address = endpoint.address;
    let active = endpoint.begin();
    *request.version_mut() = Version::HTTP_11;
    // hyper takes a GET without a length for one without a body.
    if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    while let Some(mut http1) = pool.take_http1(address) {
        // Sent twice it does no harm.
        let again = if request.method().is_safe() { Copied::of(&request) } else { None };
        match http1.sender.try_send_request(request).await {
            Ok(response) => return Ok(exchange_http1(pool, address, active, http1, response)),
            Err(mut failed) => match (failed.take_message(), again) {
                // The connection had been closed while it was idle: the next one.
                (Some(unsent), _) => request = unsent,
                // It may have reached the endpoint, which may be what made it close: once more, on a new connection.
                (None, again) => match again.and_then(Copied::into_request) {
                    Some(copy) => {
                        request = copy;
                        break;
                    }
                    None => return Err(broken(address, failed.into_error())),
                },
            },
        }
    }
    let connected = connect::http1(pool, address, cluster.connect_timeout).await;
    endpoint.note(&connected);
    let mut http1 = match connected {
        Ok(sender) => Http1::new(sender),
        Err(source) => return Err(unconnected(address, source, request)),
    };
    match http1.sender.try_send_request(request).await {
        Ok(response) => Ok(exchange_http1(pool, address, active, http1, response)),
        Err(mut failed) => {
            let request = failed.take_message().map(Box::new);
            Err(Failed { request, ..broken(address, failed.into_error()) })
        }
    }
}

fn exchange_http1(
    pool: &Pool,
    address: SocketAddr,
    active: Active,
    http1: Http1,
    response: Response<Incoming>,
) -> Exchange {
    let connection = Connection { pool: pool.clone(), address, http1 };
    let switched = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
    let response = response.map(|body| {
        if switched {
            UpstreamBody { body, _active: active, _stream: None, connection: None }
        } else if body.is_end_stream() {
            connection.give_back();
            UpstreamBody { body, _active: active, _stream: None, connection: None }
        } else {
            UpstreamBody { body, _active: active, _stream: None, connection: Some(connection) }
        }
    });
    Exchange { response, endpoint: address }
}

async fn try_http2(
    pool: &Pool,
    cluster: &Cluster,
    endpoint: &std::sync::Arc<Endpoint>,
    mut request: Request<RequestBody>,
) -> Result<Exchange, Failed> {
    let address = endpoint.address;
    let active = endpoint.begin();
    *request.version_mut() = Version::HTTP_2;
    // Prior knowledge is HTTP/2 in the clear, and its requests name scheme and authority in the target.
    request = with_absolute_target(request);
    loop {
        let (mut sender, stream, fresh) = match shared(pool, cluster, endpoint).await {
            Ok(shared) => shared,
            Err(source) => return Err(unconnected(address, source, request)),
        };
        match sender.try_send_request(request).await {
            Ok(response) => {
                let response = response.map(|body| UpstreamBody {
                    body,
                    _active: active,
                    _stream: Some(stream),
                    connection: None,
                });
                return Ok(Exchange { response, endpoint: address });
            }
            Err(mut failed) => match failed.take_message() {
                // The connection had ended while nobody looked: another one.
                Some(unsent) if !fresh => request = unsent,
                unsent => {
                    let request = unsent.map(Box::new);
                    return Err(Failed { request, ..broken(address, failed.into_error()) });
                }
            },
        }
    }
}

/// A stream on a connection that others use too, or on a new one; whether it is new.
async fn shared(
    pool: &Pool,
    cluster: &Cluster,
    endpoint: &Endpoint,
) -> Result<(http2::SendRequest<RequestBody>, Stream, bool), ConnectError> {
    let address = endpoint.address;
    if let Some((sender, stream)) = pool.shared_http2(address) {
        return Ok((sender, stream, false));
    }
    let connecting = pool.connecting(address);
    let _turn = connecting.turn().await?;
    // Who waited may find what it waited for.
    if let Some((sender, stream)) = pool.shared_http2(address) {
        return Ok((sender, stream, false));
    }
    let connected = connect::http2(pool, address, cluster.connect_timeout).await;
    endpoint.note(&connected);
    let sender = connected.inspect_err(|error| connecting.failed(error))?;
    let stream = pool.share_http2(address, sender.clone());
    Ok((sender, stream, true))
}

fn with_absolute_target(mut request: Request<RequestBody>) -> Request<RequestBody> {
    if let Some(host) = request.headers_mut().remove(http::header::HOST)
        && let Ok(authority) = http::uri::Authority::try_from(host.as_bytes())
    {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(http::uri::Scheme::HTTP);
        parts.authority = Some(authority);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn unconnected(endpoint: SocketAddr, source: ConnectError, request: Request<RequestBody>) -> Failed {
    Failed { error: SendError::Connect { endpoint, source }, request: Some(Box::new(request)) }
}

fn broken(endpoint: SocketAddr, source: hyper::Error) -> Failed {
    Failed { error: SendError::Broken { endpoint, source }, request: None }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(context);
        let over = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
            _ => false,
        };
        if over && let Some(connection) = this.connection.take() {
            connection.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::bootstrap::Limits;
    use crate::http::LocalExecutor;
    use crate::model;

    fn cluster(address: SocketAddr) -> Cluster {
        let said = model::Cluster { protocol: UpstreamProtocol::Http2, ..model::Cluster::plain("c") };
        Cluster::new(&said, vec![Arc::new(Endpoint::new(address, 1))], Duration::from_secs(5))
    }

    fn request() -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.uri_mut() = "/".parse().unwrap();
        request.headers_mut().insert(http::header::HOST, HeaderValue::from_static("h"));
        request
    }

    /// Answers nobody before it is told to; how many connections there were.
    async fn server(go: watch::Receiver<bool>) -> (SocketAddr, Rc<RefCell<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&connections);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *counted.borrow_mut() += 1;
                let go = go.clone();
                let service = service_fn(move |_| {
                    let mut go = go.clone();
                    async move {
                        let _ = go.wait_for(|go| *go).await;
                        Ok::<_, std::convert::Infallible>(Response::new(http_body_util::Empty::<Bytes>::new()))
                    }
                });
                let serving = server::Builder::new(LocalExecutor).serve_connection(TokioIo::new(stream), service);
                tokio::task::spawn_local(async move { drop(serving.await) });
            }
        });
        (address, connections)
    }

    #[test]
    fn http2_connections_are_as_many_as_their_streams_need() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let (open, go) = watch::channel(false);
            let (address, connections) = server(go).await;
            let pool = Pool::new(&Limits::default(), 100);
            let cluster = Rc::new(cluster(address));
            let requests: Vec<_> = (0..250)
                .map(|_| {
                    let (pool, cluster) = (pool.clone(), Rc::clone(&cluster));
                    tokio::task::spawn_local(async move {
                        send(&pool, &cluster, None, Version::HTTP_2, request()).await.map(|exchange| exchange.endpoint)
                    })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(300)).await;
            open.send_replace(true);
            for request in requests {
                assert_eq!(request.await.unwrap().unwrap(), address);
            }
            assert_eq!(*connections.borrow(), 3, "a hundred streams each");
            // All of them are free again.
            send(&pool, &cluster, None, Version::HTTP_2, request()).await.unwrap();
            assert_eq!(*connections.borrow(), 3);
        });
    }

    #[test]
    fn who_waits_for_a_connection_shares_its_failure() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
            let pool = Pool::new(&Limits::default(), 100);
            let cluster = Rc::new(cluster(nobody));
            let requests: Vec<_> = (0..20)
                .map(|_| {
                    let (pool, cluster) = (pool.clone(), Rc::clone(&cluster));
                    tokio::task::spawn_local(async move {
                        send(&pool, &cluster, None, Version::HTTP_2, request()).await.map(drop).unwrap_err()
                    })
                })
                .collect();
            for request in requests {
                assert!(matches!(request.await.unwrap(), SendError::Connect { .. }));
            }
            assert!(cluster.endpoints[0].unreached() < 20, "one attempt served several");
        });
    }
}
