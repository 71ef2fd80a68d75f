//! HTTP/2 on either side of the gateway, frame by frame: what `curl` cannot show.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::net::{TcpListener, TcpStream};

/// Runs a test that waits for several things at once.
///
/// # Panics
/// With the test.
pub fn at_once<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// A backend that speaks HTTP/2 in the clear.
///
/// - `/echo` answers at once, sends back every piece as it comes, and at the end `grpc-status: 0` and what it got as
///   trailer `x-trailer`.
/// - `/fail` answers with trailers only: `grpc-status: 7`.
/// - `/flood` sends for as long as anybody takes it.
/// - `/hold` takes nothing of the body.
#[derive(Debug)]
pub struct Http2Backend {
    address: SocketAddr,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    connections: AtomicU64,
    sent: AtomicU64,
}

impl Http2Backend {
    /// Starts it on a free port of 127.0.0.1; it lasts as long as the process.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("a socket");
        let progress = Arc::<Progress>::default();
        let known = Arc::clone(&progress);
        std::thread::spawn(move || {
            at_once(async {
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((stream, _)) = listener.accept().await {
                    known.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(stream, Arc::clone(&known)));
                }
            });
        });
        Self { address, progress }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it was sent.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.progress.connections.load(Ordering::Relaxed)
    }

    /// Bytes of `/flood` that somebody took.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.progress.sent.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, progress: Arc<Progress>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let progress = Arc::clone(&progress);
        // The client may go at any time.
        tokio::spawn(async move { drop(answer(request, respond, &progress).await) });
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    progress: &Progress,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    match parts.uri.path() {
        "/fail" => {
            head.headers_mut().insert("grpc-status", HeaderValue::from_static("7"));
            respond.send_response(head, true)?;
        }
        "/flood" => {
            let mut stream = respond.send_response(head, false)?;
            loop {
                let taken = send(&mut stream, Bytes::from_static(&[b'x'; 16 << 10])).await?;
                progress.sent.fetch_add(taken, Ordering::Relaxed);
            }
        }
        "/hold" => {
            respond.send_response(head, false)?;
            std::future::pending::<()>().await;
        }
        _ => {
            let mut stream = respond.send_response(head, false)?;
            while let Some(piece) = body.data().await {
                let piece = piece?;
                body.flow_control().release_capacity(piece.len())?;
                send(&mut stream, piece).await?;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            if let Some(value) = body.trailers().await?.and_then(|mut trailers| trailers.remove("x-trailer")) {
                trailers.insert("x-trailer", value);
            }
            stream.send_trailers(trailers)?;
        }
    }
    Ok(())
}

/// Sends a piece as the other side makes room for it; how much that was.
///
/// # Errors
/// When the stream is gone.
pub async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) -> Result<u64, h2::Error> {
    let length = piece.len() as u64;
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let room = room.ok_or_else(|| h2::Error::from(h2::Reason::CANCEL))??;
        stream.send_data(piece.split_to(room.min(piece.len())), false)?;
    }
    Ok(length)
}

/// A client that speaks HTTP/2 in the clear.
#[derive(Debug, Clone)]
pub struct Http2Client {
    sender: SendRequest<Bytes>,
    host: &'static str,
}

impl Http2Client {
    /// Connects to a port of 127.0.0.1.
    ///
    /// # Panics
    /// When nobody speaks HTTP/2 there.
    pub async fn connect(port: u16, host: &'static str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("the gateway listens");
        let (sender, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        tokio::spawn(async move { drop(connection.await) });
        Self { sender, host }
    }

    /// Opens a stream for a gRPC call.
    ///
    /// # Errors
    /// When the server takes no more on this connection.
    pub async fn call(&mut self, path: &str) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let target = format!("http://{}{path}", self.host);
        let request = Request::builder()
            .method(Method::POST)
            .uri(target)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        std::future::poll_fn(|context| self.sender.poll_ready(context)).await?;
        self.sender.send_request(request, false)
    }
}

/// The next piece of a body, taken off the window.
///
/// # Panics
/// When the stream broke.
pub async fn next(body: &mut RecvStream) -> Option<Bytes> {
    let piece = body.data().await?.expect("a piece");
    body.flow_control().release_capacity(piece.len()).expect("a stream");
    Some(piece)
}
