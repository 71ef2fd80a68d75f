//! Requests to real sockets: what is waited for, shared and counted.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, SET_COOKIE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::pool::Key;
use super::*;
use crate::bootstrap::Limits;
use crate::http::{LocalExecutor, RequestBody};
use crate::model::{HashCookie, HashOn, Retry};

/// A server that answers with a status once it is told to.
struct Server {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    requests: Rc<Cell<usize>>,
    status: Rc<Cell<u16>>,
    go: watch::Sender<bool>,
}

impl Server {
    /// Of HTTP/1.1.
    async fn start() -> Self {
        Self::speaking(false).await
    }

    async fn speaking(http2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Rc::default(),
            requests: Rc::default(),
            status: Rc::new(Cell::new(200)),
            go: watch::Sender::new(true),
        };
        let (connections, requests) = (Rc::clone(&server.connections), Rc::clone(&server.requests));
        let (status, go) = (Rc::clone(&server.status), server.go.subscribe());
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                let (requests, status, go) = (Rc::clone(&requests), Rc::clone(&status), go.clone());
                let service = service_fn(move |_| {
                    requests.set(requests.get() + 1);
                    let (status, mut go) = (Rc::clone(&status), go.clone());
                    async move {
                        let _ = go.wait_for(|go| *go).await;
                        let mut response = Response::new(http_body_util::Full::new(Bytes::from_static(b"answer")));
                        *response.status_mut() = StatusCode::from_u16(status.get()).unwrap();
                        Ok::<_, std::convert::Infallible>(response)
                    }
                });
                let stream = TokioIo::new(stream);
                if http2 {
                    let serving = http2::Builder::new(LocalExecutor).serve_connection(stream, service);
                    tokio::task::spawn_local(async move { drop(serving.await) });
                } else {
                    let serving = http1::Builder::new().serve_connection(stream, service);
                    tokio::task::spawn_local(async move { drop(serving.await) });
                }
            }
        });
        server
    }

    /// Until so many requests have come in.
    async fn asked(&self, requests: usize) {
        while self.requests.get() < requests {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("it ends") };
    tokio::task::LocalSet::new().block_on(&runtime, bounded);
}

fn cluster(said: &model::Cluster, lane: u64, addresses: &[SocketAddr]) -> Rc<Cluster> {
    let endpoints = addresses.iter().map(|address| Arc::new(Endpoint::new(*address, 1))).collect();
    let transport = Transport { lane, ..Transport::plain(Duration::from_secs(5)) };
    Rc::new(Cluster::new(said, endpoints, transport))
}

fn limited(limits: ClusterLimits, address: SocketAddr) -> Rc<Cluster> {
    cluster(&model::Cluster { limits, ..model::Cluster::plain("c") }, 1, &[address])
}

fn pool() -> Pool {
    Pool::new(&Limits::default(), 100)
}

fn caller(port: u16) -> Caller {
    Caller::new(([192, 0, 2, 1], port).into(), ([10, 0, 0, 1], 443).into())
}

fn request() -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::empty());
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().insert(HOST, HeaderValue::from_static("h"));
    request
}

async fn ask(pool: &Pool, cluster: &Cluster) -> Result<u16, SendError> {
    let exchange = send(pool, cluster, None, &caller(1), request()).await?;
    let status = exchange.response.status().as_u16();
    exchange.response.into_body().collect().await.unwrap();
    settled().await;
    Ok(status)
}

/// Time for a connection to become idle.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// A request by a task of its own.
fn asking(pool: &Pool, cluster: &Rc<Cluster>) -> tokio::task::JoinHandle<Result<u16, SendError>> {
    let (pool, cluster) = (pool.clone(), Rc::clone(cluster));
    tokio::task::spawn_local(async move { ask(&pool, &cluster).await })
}

fn overflow(result: Result<u16, SendError>) -> Limited {
    match result {
        Err(SendError::Overflow(overflow)) => overflow.limited,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_wait_for_the_connection_that_there_may_be() {
    run(async {
        let server = Server::start().await;
        server.go.send_replace(false);
        let limits = ClusterLimits { connections: Some(1), pending: Some(1), ..ClusterLimits::default() };
        let (pool, cluster) = (pool(), limited(limits, server.address));
        let first = asking(&pool, &cluster);
        server.asked(1).await;
        let second = asking(&pool, &cluster);
        tokio::task::yield_now().await;
        while cluster.in_use(Limited::Pending) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(overflow(ask(&pool, &cluster).await), Limited::Pending);
        assert_eq!(cluster.overflows(Limited::Pending), 1);
        server.go.send_replace(true);
        assert_eq!((first.await.unwrap().unwrap(), second.await.unwrap().unwrap()), (200, 200));
        assert_eq!(server.connections.get(), 1);
        assert_eq!((cluster.in_use(Limited::Pending), cluster.in_use(Limited::Connections)), (0, 1));
    });
}

#[test]
fn an_idle_connection_of_another_worker_is_given_up() {
    run(async {
        let server = Server::start().await;
        let limits = ClusterLimits { connections: Some(1), ..ClusterLimits::default() };
        let cluster = limited(limits, server.address);
        let workers = [pool(), pool()];
        for turn in 0..6 {
            assert_eq!(ask(&workers[turn % 2], &cluster).await.unwrap(), 200);
            assert!(cluster.in_use(Limited::Connections) <= 1);
        }
        assert_eq!(server.connections.get(), 6);
    });
}

#[test]
fn many_requests_of_several_workers_share_few_connections() {
    run(async {
        let server = Server::start().await;
        let limits = ClusterLimits { connections: Some(3), ..ClusterLimits::default() };
        let cluster = limited(limits, server.address);
        let workers = [pool(), pool(), pool()];
        let asking: Vec<_> = (0..300).map(|turn| asking(&workers[turn % 3], &cluster)).collect();
        for asked in asking {
            assert_eq!(asked.await.unwrap().unwrap(), 200);
            assert!(cluster.in_use(Limited::Connections) <= 3);
        }
    });
}

#[test]
fn places_are_given_up_for_as_many_as_wait() {
    run(async {
        let server = Server::start().await;
        server.go.send_replace(false);
        let limits = ClusterLimits { connections: Some(2), ..ClusterLimits::default() };
        let cluster = limited(limits, server.address);
        let workers = [pool(), pool()];
        for (worker, asked) in workers.iter().zip([2, 4]) {
            let both = [asking(worker, &cluster), asking(worker, &cluster)];
            server.asked(asked).await;
            server.go.send_replace(true);
            for asked in both {
                assert_eq!(asked.await.unwrap().unwrap(), 200);
            }
            server.go.send_replace(false);
        }
    });
}

#[test]
fn what_was_kept_for_who_waits_no_more_is_given_up() {
    run(async {
        let server = Server::start().await;
        let limits = ClusterLimits { connections: Some(1), ..ClusterLimits::default() };
        let (workers, cluster) = ([pool(), pool()], limited(limits, server.address));
        let waiter = workers[0].wait(Key { address: server.address, lane: 1, caller: None });
        ask(&workers[0], &cluster).await.unwrap();
        drop(waiter);
        let other = tokio::time::timeout(Duration::from_secs(2), ask(&workers[1], &cluster)).await;
        assert_eq!(other.unwrap().unwrap(), 200);
    });
}

fn limited_http2(connections: u32, addresses: &[SocketAddr]) -> Rc<Cluster> {
    let limits = ClusterLimits { connections: Some(connections), ..ClusterLimits::default() };
    let (protocol, balance) = (UpstreamProtocol::Http2, Balance::RoundRobin);
    cluster(&model::Cluster { limits, protocol, balance, ..model::Cluster::plain("c") }, 1, addresses)
}

#[test]
fn each_worker_has_a_shared_connection_to_each_endpoint() {
    run(async {
        let servers = [Server::speaking(true).await, Server::speaking(true).await];
        let cluster = limited_http2(1, &[servers[0].address, servers[1].address]);
        let workers = [pool(), pool()];
        for server in &servers {
            server.go.send_replace(false);
        }
        let asking: Vec<_> = (0..8).map(|turn| asking(&workers[turn / 4], &cluster)).collect();
        for server in &servers {
            server.asked(4).await;
            server.go.send_replace(true);
            assert_eq!(server.connections.get(), 2);
        }
        for asked in asking {
            assert_eq!(asked.await.unwrap().unwrap(), 200);
        }
    });
}

#[test]
fn an_old_shared_connection_is_in_nobodys_way() {
    run(async {
        let server = Server::speaking(true).await;
        let cluster = limited_http2(1, &[server.address]);
        let limits = Limits { upstream_age: Duration::from_millis(20), ..Limits::default() };
        let pool = Pool::new(&limits, 100);
        let long = send(&pool, &cluster, None, &caller(1), request()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        ask(&pool, &cluster).await.unwrap();
        assert_eq!((server.connections.get(), cluster.in_use(Limited::Connections)), (2, 2));
        long.response.into_body().collect().await.unwrap();
        while cluster.in_use(Limited::Connections) > 1 {
            settled().await;
        }
    });
}

#[test]
fn a_shared_connection_without_streams_is_given_up() {
    for idle_before in [true, false] {
        run(async {
            let server = Server::speaking(true).await;
            let cluster = limited_http2(2, &[server.address]);
            let workers = [pool(), pool()];
            let mut stream = Some(send(&workers[0], &cluster, None, &caller(1), request()).await.unwrap());
            server.go.send_replace(false);
            if idle_before {
                stream = None;
            }
            let all: Vec<_> = (0..101).map(|_| asking(&workers[1], &cluster)).collect();
            server.asked(1 + 100).await;
            while stream.is_some() && cluster.usage().waiting() == 0 {
                settled().await;
            }
            drop(stream);
            server.asked(1 + 101).await;
            assert_eq!((server.connections.get(), cluster.in_use(Limited::Connections)), (3, 2));
            server.go.send_replace(true);
            for asked in all {
                assert_eq!(asked.await.unwrap().unwrap(), 200);
            }
        });
    }
}

#[test]
fn what_a_connection_became_keeps_its_place() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut seen).await.unwrap();
            }
            let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
            stream.write_all(switched.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let limits = ClusterLimits { connections: Some(1), ..ClusterLimits::default() };
        let (pool, cluster) = (pool(), limited(limits, address));
        let mut request = request();
        request.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(http::header::UPGRADE, HeaderValue::from_static("x"));
        let exchange = send(&pool, &cluster, None, &caller(1), request).await.unwrap();
        let upgraded = hyper::upgrade::on(exchange.response).await.unwrap();
        settled().await;
        assert_eq!((pool.open(), cluster.in_use(Limited::Connections)), (1, 1));
        drop(upgraded);
        settled().await;
        assert_eq!((pool.open(), cluster.in_use(Limited::Connections)), (0, 0));
    });
}

#[test]
fn no_more_requests_are_under_way_than_may_be() {
    run(async {
        let server = Server::start().await;
        server.go.send_replace(false);
        let limits = ClusterLimits { requests: Some(2), ..ClusterLimits::default() };
        let (pool, cluster) = (pool(), limited(limits, server.address));
        let both = [asking(&pool, &cluster), asking(&pool, &cluster)];
        server.asked(2).await;
        assert_eq!(overflow(ask(&pool, &cluster).await), Limited::Requests);
        server.go.send_replace(true);
        for asked in both {
            assert_eq!(asked.await.unwrap().unwrap(), 200);
        }
        assert_eq!(ask(&pool, &cluster).await.unwrap(), 200);
        assert_eq!(cluster.in_use(Limited::Requests), 0);
    });
}

#[test]
fn a_connection_serves_as_many_requests_as_it_may() {
    run(async {
        let server = Server::start().await;
        let limits = ClusterLimits { requests_per_connection: Some(2), ..ClusterLimits::default() };
        let (pool, cluster) = (pool(), limited(limits, server.address));
        for _ in 0..6 {
            ask(&pool, &cluster).await.unwrap();
        }
        assert_eq!(server.connections.get(), 3);
    });
}

#[test]
fn a_connection_is_idle_for_no_longer_than_its_cluster_says() {
    run(async {
        let server = Server::start().await;
        let idle =
            |millis| model::Cluster { idle_timeout: Some(Duration::from_millis(millis)), ..model::Cluster::plain("c") };
        let pool = pool();
        let (short, long) = (cluster(&idle(1), 1, &[server.address]), cluster(&idle(60_000), 2, &[server.address]));
        for cluster in [&short, &long] {
            for _ in 0..3 {
                ask(&pool, cluster).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(server.connections.get(), 3 + 1);
    });
}

#[test]
fn endpoints_that_keep_failing_are_left_out() {
    run(async {
        let (bad, good) = (Server::start().await, Server::start().await);
        bad.status.set(503);
        let outlier = Outlier {
            consecutive_errors: None,
            consecutive_gateway_errors: Some(2),
            interval: Duration::from_secs(10),
            ejection: Duration::from_millis(300),
            max_percent: 50,
            min_health_percent: 0,
        };
        let said =
            model::Cluster { balance: Balance::RoundRobin, outlier: Some(outlier), ..model::Cluster::plain("c") };
        let (pool, cluster) = (pool(), cluster(&said, 0, &[bad.address, good.address]));
        for _ in 0..20 {
            ask(&pool, &cluster).await.unwrap();
        }
        assert_eq!((bad.requests.get(), good.requests.get()), (2, 18));
        assert_eq!(cluster.endpoints[0].ejections(), 1);
        bad.status.set(200);
        while cluster.endpoints[0].left_out().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..4 {
            assert_eq!(ask(&pool, &cluster).await.unwrap(), 200);
        }
        assert_eq!(bad.requests.get(), 4, "it is back");
    });
}

#[test]
fn endpoints_that_cannot_be_reached_or_do_not_answer_are_left_out() {
    run(async {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let slow = Server::start().await;
        slow.go.send_replace(false);
        let outlier = Outlier {
            consecutive_errors: None,
            consecutive_gateway_errors: Some(1),
            interval: Duration::from_secs(10),
            ejection: Duration::from_secs(60),
            max_percent: 100,
            min_health_percent: 0,
        };
        let said = model::Cluster { outlier: Some(outlier), ..model::Cluster::plain("c") };
        let (pool, cluster) = (pool(), cluster(&said, 0, &[nobody, slow.address]));
        while cluster.endpoints.iter().any(|endpoint| endpoint.left_out().is_none()) {
            let caller = caller(1);
            let sending = send(&pool, &cluster, None, &caller, request());
            if tokio::time::timeout(Duration::from_millis(50), sending).await.is_err() {
                caller.gave_up(&cluster);
            }
        }
        let refused = ask(&pool, &cluster).await.unwrap_err();
        assert!(matches!(refused, SendError::LeftOut { count: 2, .. }), "{refused}");
    });
}

/// One failure is enough.
fn strict() -> Outlier {
    Outlier {
        consecutive_errors: None,
        consecutive_gateway_errors: Some(1),
        interval: Duration::from_secs(10),
        ejection: Duration::from_secs(60),
        max_percent: 100,
        min_health_percent: 0,
    }
}

#[test]
fn endpoints_are_not_blamed_for_bodies_that_fail_or_do_not_come() {
    for (protocol, http2) in [(UpstreamProtocol::Http1, false), (UpstreamProtocol::Http2, true)] {
        run(async {
            let server = Server::speaking(http2).await;
            server.go.send_replace(false);
            let said = model::Cluster { protocol, outlier: Some(strict()), ..model::Cluster::plain("c") };
            let (pool, cluster) = (pool(), cluster(&said, 0, &[server.address]));
            let broken = request().map(|_| RequestBody::bad(true));
            let failed = send(&pool, &cluster, None, &caller(1), broken).await.unwrap_err();
            assert!(matches!(failed, SendError::Broken { .. }), "{failed}");
            let stalled = request().map(|_| RequestBody::bad(false));
            let late = send(&pool, &cluster, Some(&impatient()), &caller(1), stalled).await.unwrap_err();
            assert!(matches!(late, SendError::TryTimeout { .. }), "{late}");
            assert!(cluster.endpoints[0].left_out().is_none());
            let late = send(&pool, &cluster, Some(&impatient()), &caller(1), request()).await.unwrap_err();
            assert!(matches!(late, SendError::TryTimeout { .. }), "{late}");
            assert!(cluster.endpoints[0].left_out().is_some(), "it was asked all of it");
        });
    }
}

fn impatient() -> Retry {
    Retry {
        attempts: 0,
        on: Vec::new(),
        statuses: Vec::new(),
        per_try: Some(Duration::from_millis(50)),
        backoff: Duration::ZERO,
        max_backoff: Duration::ZERO,
        avoid_tried: false,
    }
}

#[test]
fn endpoints_are_not_blamed_for_waits_for_a_place() {
    run(async {
        let server = Server::start().await;
        server.go.send_replace(false);
        let limits = ClusterLimits { connections: Some(1), ..ClusterLimits::default() };
        let said = model::Cluster { limits, outlier: Some(strict()), ..model::Cluster::plain("c") };
        let (pool, cluster) = (pool(), cluster(&said, 0, &[server.address]));
        let first = asking(&pool, &cluster);
        server.asked(1).await;
        let waiting = caller(2);
        let sending = send(&pool, &cluster, None, &waiting, request());
        assert!(tokio::time::timeout(Duration::from_millis(30), sending).await.is_err());
        waiting.gave_up(&cluster);
        let late = send(&pool, &cluster, Some(&impatient()), &caller(1), request()).await.unwrap_err();
        assert!(matches!(late, SendError::TryTimeout { .. }), "{late}");
        assert!(cluster.endpoints[0].left_out().is_none());
        server.go.send_replace(true);
        assert_eq!(first.await.unwrap().unwrap(), 200);
    });
}

#[test]
fn a_cookie_keeps_a_client_with_its_endpoint() {
    run(async {
        let servers = [Server::start().await, Server::start().await, Server::start().await];
        let cookie =
            HashCookie { name: "stuck".to_owned(), path: Some("/".to_owned()), ttl: Some(Duration::from_secs(9)) };
        let said =
            model::Cluster { balance: Balance::Hash(vec![HashOn::Cookie(cookie)]), ..model::Cluster::plain("c") };
        let addresses: Vec<SocketAddr> = servers.iter().map(|server| server.address).collect();
        let (pool, cluster) = (pool(), cluster(&said, 0, &addresses));
        let first = send(&pool, &cluster, None, &caller(1), request()).await.unwrap();
        let given = first.response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        assert!(given.starts_with("stuck=") && given.contains("Max-Age=9"), "{given}");
        for _ in 0..10 {
            let mut again = request();
            let cookie = given.split(';').next().unwrap();
            again.headers_mut().insert(http::header::COOKIE, HeaderValue::from_str(cookie).unwrap());
            let answer = send(&pool, &cluster, None, &caller(1), again).await.unwrap();
            assert_eq!(answer.endpoint, first.endpoint);
            assert!(!answer.response.headers().contains_key(SET_COOKIE));
        }
    });
}

/// What connections begin with, and an answer to each request on them.
async fn listening() -> (SocketAddr, Rc<RefCell<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lines = Rc::new(RefCell::new(Vec::new()));
    let told = Rc::clone(&lines);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(answer(stream, Rc::clone(&told)));
        }
    });
    (address, lines)
}

async fn answer(mut stream: TcpStream, lines: Rc<RefCell<Vec<String>>>) {
    let mut seen = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut seen).await {
        if seen.ends_with(b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&seen);
            lines.borrow_mut().push(text.lines().next().unwrap_or_default().to_owned());
            seen.clear();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    }
}

#[test]
fn the_proxy_protocol_tells_of_one_client_alone() {
    run(async {
        let (address, lines) = listening().await;
        let said = model::Cluster { proxy_protocol: Some(ProxyVersion::V1), ..model::Cluster::plain("c") };
        let (pool, cluster) = (pool(), cluster(&said, 1, &[address]));
        for port in [5000, 5000, 5001, 5000] {
            send(&pool, &cluster, None, &caller(port), request()).await.unwrap();
            settled().await;
        }
        let header = |port: u16| format!("PROXY TCP4 192.0.2.1 10.0.0.1 {port} 443");
        let asked = "GET / HTTP/1.1".to_owned();
        assert_eq!(*lines.borrow(), [header(5000), asked.clone(), header(5001), asked]);
    });
}

#[test]
fn a_stream_steps_over_endpoints_that_are_not_there() {
    run(async {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (address, lines) = listening().await;
        let limits = ClusterLimits { connections: Some(1), requests: Some(0), ..ClusterLimits::default() };
        let said = model::Cluster {
            balance: Balance::RoundRobin,
            proxy_protocol: Some(ProxyVersion::V1),
            limits,
            ..model::Cluster::plain("c")
        };
        let (pool, cluster) = (pool(), cluster(&said, 1, &[nobody, address]));
        let mut stream = connect_stream(&pool, &cluster, &caller(7)).await.unwrap();
        assert_eq!(stream.endpoint, address);
        stream.write_all(b"hello\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        assert_eq!(*lines.borrow(), ["PROXY TCP4 192.0.2.1 10.0.0.1 7 443"]);
        assert_eq!((pool.open(), cluster.in_use(Limited::Connections)), (1, 1));
        let second = connect_stream(&pool, &cluster, &caller(8)).await.unwrap_err();
        assert!(matches!(second, SendError::Overflow(_)), "{second}");
        drop(stream);
        assert_eq!((pool.open(), cluster.in_use(Limited::Connections)), (0, 0));
    });
}
