//! The yardstick of the race: hyper and rustls and nothing else. One thread passes every request on, with the three
//! headers that all add; there are no limits, no log, no metrics, no routes and no retries. What the gateway costs more
//! than this is its own; what this costs more than another proxy is the libraries'.
//!
//! `bare-proxy PORT BACKEND CERTIFICATE KEY`

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response, StatusCode, Uri, Version};
use http_body_util::Either;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::Executor;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections to the backend that nobody uses.
type Idle = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}

async fn connection(backend: SocketAddr, idle: &Idle) -> Result<SendRequest<Incoming>, Box<dyn std::error::Error>> {
    while let Some(sender) = idle.borrow_mut().pop() {
        if sender.is_ready() {
            return Ok(sender);
        }
    }
    let stream = TcpStream::connect(backend).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move { drop(driver.await) });
    Ok(sender)
}

async fn forward(
    mut request: Request<Incoming>,
    backend: SocketAddr,
    idle: Idle,
) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
    if request.version() == Version::HTTP_2 {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        request.headers_mut().insert("host", HeaderValue::try_from(authority)?);
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = request.uri().path_and_query().cloned().map_or_else(Uri::default, Uri::from);
    }
    let headers = request.headers_mut();
    headers.insert("x-forwarded-for", HeaderValue::from_static("127.0.0.1"));
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    headers.insert("x-request-id", HeaderValue::from_static("00000000-0000-4000-8000-000000000000"));
    let mut sender = connection(backend, &idle).await?;
    let response = sender.send_request(request).await?;
    // Whoever reads the body to its end makes the connection ready; one that is not ready is passed over.
    tokio::task::spawn_local(async move {
        if sender.ready().await.is_ok() {
            idle.borrow_mut().push(sender);
        }
    });
    Ok(response)
}

async fn run(port: u16, backend: SocketAddr, tls: TlsAcceptor) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let idle = Idle::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (tls, idle) = (tls.clone(), Rc::clone(&idle));
        tokio::task::spawn_local(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| {
                let forwarded = Box::pin(forward(request, backend, Rc::clone(&idle)));
                async move {
                    let failed = |_| {
                        let mut response = Response::new(Either::Right(Empty::<Bytes>::new()));
                        *response.status_mut() = StatusCode::BAD_GATEWAY;
                        response
                    };
                    Ok::<_, Infallible>(forwarded.await.map_or_else(failed, |response| response.map(Either::Left)))
                }
            });
            let io = TokioIo::new(stream);
            if http2 {
                let _ =
                    conn::http2::Builder::new(Local).max_concurrent_streams(100).serve_connection(io, service).await;
            } else {
                let _ = conn::http1::Builder::new().serve_connection(io, service).await;
            }
        });
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, backend, certificate, key] = arguments.as_slice() else {
        return Err("bare-proxy PORT BACKEND CERTIFICATE KEY".into());
    };
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    let backend = SocketAddr::from((Ipv4Addr::LOCALHOST, backend.parse()?));
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(run(port.parse()?, backend, TlsAcceptor::from(Arc::new(config))))
}
