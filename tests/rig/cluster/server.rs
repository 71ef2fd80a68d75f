//! The server itself: a thread with a port, which may stop listening and come back.

use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, mpsc as std_mpsc};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::answer::{Asked, Content, answer};
use crate::PATIENCE;

/// A listening server; it ends when dropped.
#[derive(Debug)]
pub(super) struct Server {
    /// None once it is being dropped.
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the server is told; each is answered when it is done.
#[derive(Debug)]
enum Order {
    Stop(std_mpsc::Sender<()>),
    Start(std_mpsc::Sender<()>),
}

impl Server {
    /// Serves on a port of 127.0.0.1, from before this returns.
    pub(super) fn start(port: u16, config: Arc<ServerConfig>, shared: Arc<Shared>) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("api-server".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(port, TlsAcceptor::from(config), shared, received));
        });
        let server = Self { orders: Some(orders), thread: Some(thread.expect("a thread")) };
        server.order(Order::Start);
        server
    }

    /// Nobody listens any more, and all connections are gone.
    pub(super) fn stop(&self) {
        self.order(Order::Stop);
    }

    /// It listens again.
    pub(super) fn resume(&self) {
        self.order(Order::Start);
    }

    fn order(&self, order: impl FnOnce(std_mpsc::Sender<()>) -> Order) {
        let (done, wait) = std_mpsc::channel();
        let orders = self.orders.as_ref().expect("it is not dropped");
        orders.send(order(done)).expect("the server runs");
        wait.recv().expect("the server does as it is told");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.orders = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(ended.is_none_or(|end| end.is_ok()), "the API server panicked");
        }
    }
}

async fn run(port: u16, tls: TlsAcceptor, shared: Arc<Shared>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut listener: Option<TcpListener> = None;
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accept => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(stream, tls.clone(), Arc::clone(&shared)));
            }
            order = orders.recv() => match order {
                None => return,
                Some(Order::Stop(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    _ = done.send(());
                }
                Some(Order::Start(done)) => {
                    listener = Some(bind(port).await);
                    _ = done.send(());
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A process that another thread is starting holds what we have just closed until it runs its program.
async fn bind(port: u16) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return listener,
            Err(error) => assert!(start.elapsed() < PATIENCE, "port {port}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One connection; what goes wrong with it is its client's business.
async fn serve(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { respond(&shared, request).await }
    });
    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> hyper::Result<Response<Either<Full<Bytes>, Lines>>> {
    let (head, body) = request.into_parts();
    let text = |name| text_of(&head.headers, name);
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        token: text(header::AUTHORIZATION).trim_start_matches("Bearer ").to_owned(),
        accept: text(header::ACCEPT),
        content_type: text(header::CONTENT_TYPE),
        body: body.collect().await?.to_bytes().to_vec(),
    };
    let reply = answer(shared, asked).await;
    let mut response = Response::builder().status(reply.code);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let (kind, body) = match reply.content {
        Content::Text(text) => ("text/plain; charset=utf-8", Either::Left(Full::from(text))),
        Content::Document(document) => ("application/json", Either::Left(Full::from(document.to_string()))),
        Content::Watch(watch) => {
            let (lines, received) = mpsc::channel(16);
            tokio::spawn(watch.run(Arc::clone(shared), lines));
            ("application/json", Either::Right(Lines(received)))
        }
    };
    Ok(response.header(header::CONTENT_TYPE, kind).body(body).expect("a response"))
}

fn text_of(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// The body of a watch.
struct Lines(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| line.map(Frame::data)))
    }
}
