//! One request to a cluster: an endpoint is chosen, a connection found or made, and what did not reach an endpoint is
//! tried again.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2;

use super::connect::{Either, Way, connect};
use super::copied::Copied;
use super::health::Verdict;
use super::pool::{Http1, Key, Stream};
use super::retry::{Failed, Next, Retries};
use super::usage::{Held, Overflow};
use super::{Active, Caller, Cluster, ConnectError, Endpoint, Limited, Pool, hash};
use crate::http::{RequestBody, count_try, is_grpc};
use crate::model::{Balance, Retry, UpstreamProtocol};
use crate::tls::Offer;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The cluster has no endpoint that is ready.
    #[error("no endpoint of {0} is ready")]
    NoEndpoint(String),
    /// It has endpoints, but all of them failed and are left out for a while.
    #[error("all {count} endpoints of {cluster} are left out for a while, because they kept failing")]
    LeftOut {
        /// Which one.
        cluster: String,
        /// How many.
        count: usize,
    },
    /// The cluster is asked for as much as it may be.
    #[error("{0}")]
    Overflow(#[from] Overflow),
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
    /// Why nobody was chosen.
    pub(super) fn nobody(cluster: &Cluster) -> Self {
        match cluster.endpoints.len() {
            0 => Self::NoEndpoint(cluster.name.to_string()),
            count => Self::LeftOut { cluster: cluster.name.to_string(), count },
        }
    }

    /// The endpoint that was tried last.
    #[must_use]
    pub fn endpoint(&self) -> Option<SocketAddr> {
        match self {
            Self::NoEndpoint(_) | Self::LeftOut { .. } | Self::Overflow(_) => None,
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
    _held: Places,
    connection: Option<Connection>,
}

/// The places that a request has until its answer is over.
#[derive(Debug)]
struct Places {
    _active: Active,
    /// On a shared connection.
    _stream: Option<Stream>,
    /// Among the requests of the cluster.
    _request: Option<Held>,
}

#[derive(Debug)]
struct Connection {
    pool: Pool,
    key: Key,
    http1: Http1,
}

impl Connection {
    /// The connection's task may still have to see that the response is over.
    fn give_back(mut self) {
        if self.http1.sender.is_ready() {
            self.pool.put_http1(self.key, self.http1);
        } else if !self.http1.sender.is_closed() {
            tokio::task::spawn_local(async move {
                if self.http1.sender.ready().await.is_ok() {
                    self.pool.put_http1(self.key, self.http1);
                }
            });
        }
    }
}

/// Sends a request whose head is what the endpoint shall see and whose version is the client's, as often as `retry` allows
/// and [`Retries`] takes for safe.
///
/// # Errors
/// [`SendError`] of the last try.
pub async fn send(
    pool: &Pool,
    cluster: &Cluster,
    retry: Option<&Retry>,
    caller: &Caller,
    mut request: Request<RequestBody>,
) -> Result<Exchange, SendError> {
    let mut held = cluster.hold(Limited::Requests)?;
    let as_client = request.version() == Version::HTTP_2;
    let grpc = cluster.outlier.is_some() && is_grpc(request.headers());
    let hashed = match &cluster.balance {
        Balance::Hash(on) => hash::of(on, caller, request.headers(), request.uri().query()),
        _ => None,
    };
    let mut retries = Retries::new(retry);
    let mut tried: Vec<SocketAddr> = Vec::new();
    loop {
        let avoided: &[SocketAddr] = if retries.avoids_tried() { &tried } else { &[] };
        let stays = caller.stays.filter(|_| tried.is_empty()).and_then(|address| cluster.at(address));
        let chosen = stays.or_else(|| cluster.choose(avoided, hashed.as_ref().map(|hashed| hashed.value)));
        let endpoint = chosen.ok_or_else(|| SendError::nobody(cluster))?;
        let one = Try { pool, cluster, endpoint, caller };
        let spoken = match cluster.protocol {
            UpstreamProtocol::Http1 => Some(false),
            UpstreamProtocol::Http2 => Some(true),
            UpstreamProtocol::AsClient => Some(as_client),
            // What a connection becomes, it becomes from HTTP/1.1.
            UpstreamProtocol::Alpn if request.headers().contains_key(UPGRADE) => Some(false),
            UpstreamProtocol::Alpn => endpoint.speaks_http2(),
        };
        let body = cluster.outlier.and_then(|_| request.body().watch());
        let copy = retries.copy(&request, spoken != Some(false));
        let request_held = held.take();
        let trying = one.send(spoken, request, request_held);
        let outcome = match retries.per_try() {
            None => trying.await,
            Some(most) => tokio::time::timeout(most, trying).await.unwrap_or_else(|_| {
                let error = SendError::TryTimeout { endpoint: endpoint.address, timeout: most };
                Err(Failed { error, request: None })
            }),
        };
        if cluster.outlier.is_some() {
            let lacks = body.as_ref().is_some_and(|body| body.lacks());
            let ours =
                Ours { body_failed: body.is_some_and(|body| body.failed()), unanswerable: !caller.asked() || lacks };
            if let Some(verdict) = verdict(&outcome, grpc, ours) {
                cluster.judge(endpoint, verdict);
            }
        }
        let another = |other: &Arc<Endpoint>| other.address != endpoint.address && !tried.contains(&other.address);
        let elsewhere = outcome.is_err() && retries.avoids_tried() && cluster.endpoints.iter().any(another);
        match retries.next(outcome, copy, cluster, elsewhere).await {
            Next::Again(again) => request = again,
            Next::Over(Ok(mut exchange)) => {
                if let Some(cookie) = hashed.and_then(|hashed| hashed.cookie) {
                    exchange.response.headers_mut().append(SET_COOKIE, cookie);
                }
                return Ok(exchange);
            }
            Next::Over(failed) => return failed,
        }
        held = cluster.hold(Limited::Requests)?;
        tried.push(endpoint.address);
        count_try(request.headers_mut(), tried.len() + 1);
    }
}

/// What of a try is not its endpoint's doing.
#[derive(Clone, Copy, Debug)]
struct Ours {
    /// The request broke off on this side.
    body_failed: bool,
    /// It did not get to the endpoint, or not all of it.
    unanswerable: bool,
}

/// What a try says of its endpoint; none when it says nothing.
fn verdict(outcome: &Result<Exchange, Failed>, grpc: bool, ours: Ours) -> Option<Verdict> {
    match outcome {
        Ok(exchange) => {
            let response = &exchange.response;
            let status = response.headers().get("grpc-status").filter(|_| grpc);
            let status = status.and_then(|status| status.to_str().ok()?.parse().ok());
            Some(Verdict::of(response.status(), status))
        }
        Err(failed) => match &failed.error {
            SendError::Connect { source, .. } if source.is_own() => None,
            SendError::Broken { source, .. } if source.is_user() || ours.body_failed => None,
            SendError::TryTimeout { .. } if ours.unanswerable => None,
            SendError::Connect { .. } | SendError::TryTimeout { .. } | SendError::Broken { .. } => {
                Some(Verdict::Gateway)
            }
            SendError::NoEndpoint(_) | SendError::LeftOut { .. } | SendError::Overflow(_) => None,
        },
    }
}

/// One try: at whom, on whose connections, for whom.
#[derive(Clone, Copy)]
struct Try<'t> {
    pool: &'t Pool,
    cluster: &'t Cluster,
    endpoint: &'t Arc<Endpoint>,
    caller: &'t Caller,
}

impl Try<'_> {
    fn key(self) -> Key {
        // Who is told of the client is told of that one alone.
        let caller = self.cluster.proxy_protocol.map(|_| (self.caller.peer, self.caller.local));
        Key { address: self.endpoint.address, lane: self.cluster.lane, caller }
    }

    fn way(&self, offer: Offer) -> Way<'_> {
        Way { cluster: self.cluster, address: self.endpoint.address, caller: self.caller, offer }
    }

    /// From here on it is for the endpoint to answer.
    fn ask(self) {
        self.caller.ask(self.cluster.outlier.as_ref().map(|_| self.endpoint));
    }

    fn unconnected(self, source: ConnectError, request: Request<RequestBody>) -> Failed {
        let error = match source {
            ConnectError::Overflow(overflow) => SendError::Overflow(overflow),
            source => SendError::Connect { endpoint: self.endpoint.address, source },
        };
        Failed { error, request: Some(Box::new(request)) }
    }

    fn broken(self, source: hyper::Error) -> Failed {
        Failed { error: SendError::Broken { endpoint: self.endpoint.address, source }, request: None }
    }

    async fn send(
        self,
        spoken: Option<bool>,
        request: Request<RequestBody>,
        held: Option<Held>,
    ) -> Result<Exchange, Failed> {
        let places = Places { _active: self.endpoint.begin(), _stream: None, _request: held };
        let http2 = match spoken {
            Some(http2) => http2,
            None => match self.agree().await {
                Ok(http2) => http2,
                Err(source) => return Err(self.unconnected(source, request)),
            },
        };
        if http2 { self.http2(request, places).await } else { self.http1(request, places).await }
    }

    /// Finds out what the endpoint speaks, by a connection that whoever comes next uses. Whether it is HTTP/2.
    async fn agree(self) -> Result<bool, ConnectError> {
        let key = self.key();
        let connecting = self.pool.connecting(key);
        let _turn = connecting.turn().await?;
        if let Some(known) = self.endpoint.speaks_http2() {
            return Ok(known);
        }
        let _pending = self.cluster.hold(Limited::Pending)?;
        let usage = self.cluster.usage();
        // Without it nothing could be asked of the endpoint, whoever has the places.
        let beyond = |_| Some(usage.hold_beyond(Limited::Connections));
        let held = self.cluster.hold(Limited::Connections).unwrap_or_else(beyond);
        let connected = connect(self.pool, held, self.way(Offer::Either)).await;
        self.endpoint.note(&connected);
        match connected.inspect_err(|error| connecting.failed(error))? {
            Either::Http1(mut sender) => {
                // Only then it is one that can be taken.
                sender.ready().await.map_err(|error| ConnectError::Protocol(Arc::new(error)))?;
                self.pool.put_http1(key, Http1::new(sender, self.cluster));
                self.endpoint.agreed(false);
                Ok(false)
            }
            Either::Http2(sender) => {
                drop(self.pool.share_http2(key, sender, self.cluster));
                self.endpoint.agreed(true);
                Ok(true)
            }
        }
    }

    async fn http1(self, mut request: Request<RequestBody>, places: Places) -> Result<Exchange, Failed> {
        *request.version_mut() = Version::HTTP_11;
        if self.cluster.protocol != UpstreamProtocol::Http1 {
            // To an HTTP/2 endpoint it says something; in HTTP/1.1 it is about the connection.
            request.headers_mut().remove(TE);
        }
        // hyper takes a GET without a length for one without a body.
        if !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let key = self.key();
        while let Some(mut http1) = self.pool.take_http1(key) {
            // Sent twice it does no harm.
            let again = if request.method().is_safe() { Copied::of(&request) } else { None };
            self.ask();
            match http1.serve().try_send_request(request).await {
                Ok(response) => return Ok(self.exchange(key, places, http1, response)),
                Err(mut failed) => match (failed.take_message(), again) {
                    // The connection had been closed while it was idle: the next one.
                    (Some(unsent), _) => request = unsent,
                    // It may have reached the endpoint, which may be what made it close: once more, on a new connection.
                    (None, again) => match again.and_then(Copied::into_request) {
                        Some(copy) => {
                            request = copy;
                            break;
                        }
                        None => return Err(self.broken(failed.into_error())),
                    },
                },
            }
        }
        self.caller.ask(None);
        let mut http1 = match self.fresh_http1(key).await {
            Ok(http1) => http1,
            Err(source) => return Err(self.unconnected(source, request)),
        };
        self.ask();
        match http1.serve().try_send_request(request).await {
            Ok(response) => Ok(self.exchange(key, places, http1, response)),
            Err(mut failed) => {
                let request = failed.take_message().map(Box::new);
                Err(Failed { request, ..self.broken(failed.into_error()) })
            }
        }
    }

    /// A new connection; or one that became idle while there was no place for another.
    async fn fresh_http1(self, key: Key) -> Result<Http1, ConnectError> {
        let _pending = self.cluster.hold(Limited::Pending)?;
        let held = match self.cluster.limits.connections {
            None => None,
            Some(most) => {
                let waiter = self.pool.wait(key);
                let idle = || self.pool.take_http1(key);
                match self.cluster.usage().connection(most, waiter.told(), idle).await {
                    Ok(held) => Some(held),
                    Err(http1) => return Ok(http1),
                }
            }
        };
        let connected = connect(self.pool, held, self.way(Offer::Http1)).await;
        self.endpoint.note(&connected);
        match connected? {
            Either::Http1(sender) => Ok(Http1::new(sender, self.cluster)),
            Either::Http2(_) => Err(ConnectError::Tls("it speaks HTTP/2 although that was not offered".into())),
        }
    }

    fn exchange(self, key: Key, held: Places, http1: Http1, response: Response<Incoming>) -> Exchange {
        let connection = Connection { pool: self.pool.clone(), key, http1 };
        let switched = response.status() == http::StatusCode::SWITCHING_PROTOCOLS;
        let response = response.map(|body| {
            if switched {
                UpstreamBody { body, _held: held, connection: None }
            } else if body.is_end_stream() {
                connection.give_back();
                UpstreamBody { body, _held: held, connection: None }
            } else {
                UpstreamBody { body, _held: held, connection: Some(connection) }
            }
        });
        Exchange { response, endpoint: self.endpoint.address }
    }

    async fn http2(self, mut request: Request<RequestBody>, places: Places) -> Result<Exchange, Failed> {
        *request.version_mut() = Version::HTTP_2;
        // Requests of HTTP/2 name scheme and authority in the target.
        let scheme = if self.cluster.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        request = with_absolute_target(request, scheme);
        loop {
            self.caller.ask(None);
            let (mut sender, stream, fresh) = match self.shared().await {
                Ok(shared) => shared,
                Err(source) => return Err(self.unconnected(source, request)),
            };
            self.ask();
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let held = Places { _stream: Some(stream), ..places };
                    let response = response.map(|body| UpstreamBody { body, _held: held, connection: None });
                    return Ok(Exchange { response, endpoint: self.endpoint.address });
                }
                Err(mut failed) => match failed.take_message() {
                    // The connection had ended while nobody looked: another one.
                    Some(unsent) if !fresh => request = unsent,
                    unsent => {
                        let request = unsent.map(Box::new);
                        return Err(Failed { request, ..self.broken(failed.into_error()) });
                    }
                },
            }
        }
    }

    /// A stream on a connection that others use too, or on a new one; whether it is new.
    async fn shared(self) -> Result<(http2::SendRequest<RequestBody>, Stream, bool), ConnectError> {
        let key = self.key();
        if let Some((sender, stream)) = self.pool.shared_http2(key) {
            return Ok((sender, stream, false));
        }
        let _pending = self.cluster.hold(Limited::Pending)?;
        let connecting = self.pool.connecting(key);
        let _turn = connecting.turn().await?;
        // Who waited may find what it waited for.
        let shared = || self.pool.shared_http2(key);
        if let Some((sender, stream)) = shared() {
            return Ok((sender, stream, false));
        }
        let held = match self.cluster.limits.connections {
            None => None,
            Some(most) => {
                let (waiter, usage) = (self.pool.wait(key), self.cluster.usage());
                // Who has no stream to wait for may have one connection more than there may be.
                let other = || shared().map(Some).or_else(|| (!self.pool.shares_http2(key)).then_some(None));
                match usage.connection(most, waiter.told(), other).await {
                    Ok(held) => Some(held),
                    Err(Some((sender, stream))) => return Ok((sender, stream, false)),
                    Err(None) => Some(usage.hold_beyond(Limited::Connections)),
                }
            }
        };
        let connected = connect(self.pool, held, self.way(Offer::Http2)).await;
        self.endpoint.note(&connected);
        match connected.inspect_err(|error| connecting.failed(error))? {
            Either::Http2(sender) => {
                let stream = self.pool.share_http2(key, sender.clone(), self.cluster);
                Ok((sender, stream, true))
            }
            Either::Http1(_) => Err(ConnectError::Tls("it does not speak HTTP/2".into())),
        }
    }
}

fn with_absolute_target(mut request: Request<RequestBody>, scheme: Scheme) -> Request<RequestBody> {
    if let Some(host) = request.headers_mut().remove(http::header::HOST)
        && let Ok(authority) = http::uri::Authority::try_from(host.as_bytes())
    {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(scheme);
        parts.authority = Some(authority);
        if let Ok(uri) = http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
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
    use hyper::server::conn::http2 as server;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::super::Transport;
    use super::*;
    use crate::bootstrap::Limits;
    use crate::http::LocalExecutor;
    use crate::model;

    fn cluster(address: SocketAddr) -> Cluster {
        let said = model::Cluster { protocol: UpstreamProtocol::Http2, ..model::Cluster::plain("c") };
        let transport = Transport::plain(Duration::from_secs(5));
        Cluster::new(&said, vec![Arc::new(Endpoint::new(address, 1))], transport)
    }

    fn caller() -> Caller {
        Caller::new(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into())
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
                        send(&pool, &cluster, None, &caller(), request()).await.map(|exchange| exchange.endpoint)
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
            send(&pool, &cluster, None, &caller(), request()).await.unwrap();
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
                        send(&pool, &cluster, None, &caller(), request()).await.map(drop).unwrap_err()
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
