//! Serving the admin endpoint.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::{metrics, status};
use crate::control::Board;

/// Connections at once; there is one operator, and one Prometheus.
const MOST_CONNECTIONS: usize = 64;
/// A question, in bytes.
const MOST_QUESTION: usize = 1 << 20;
/// For a connection, however slow the other end is: places are few.
const MOST_TIME: Duration = Duration::from_secs(60);
/// For a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What whoever asks `admin.probes` may know.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// Prometheus' text format.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Who is answered, and so what there is to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// Who is on this machine: everything.
    Operator,
    /// Whoever can reach an address of `admin.probes`: how the gateway does, and nothing of what it is configured to.
    Prober,
}

/// Starts the admin endpoint on a thread of its own, and there too the one for probes, if there is to be one.
///
/// # Errors
/// When an address cannot be bound, or no thread started.
pub fn start(address: SocketAddr, probes: Option<SocketAddr>, board: Arc<Board>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let operators = bind(address, "admin.address")?;
    let probers = probes.map(|probes| bind(probes, "admin.probes")).transpose()?;
    drop(entered);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            if let Some(probers) = probers {
                tokio::spawn(accept(probers, Audience::Prober, Arc::clone(&board)));
            }
            accept(operators, Audience::Operator, board).await;
        });
    })?;
    Ok(())
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let socket = std::net::TcpListener::bind(address)
        .with_context(|| format!("the admin endpoint needs {address}: free it, or name another as `{key}`"))?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket)?)
}

async fn accept(listener: TcpListener, audience: Audience, board: Arc<Board>) {
    let places = Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let board = Arc::clone(&board);
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(move |request| {
                let board = Arc::clone(&board);
                async move { Ok::<_, Infallible>(serve(board, audience, request).await) }
            });
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // How it ended is the client's business.
            let serving = builder.serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(MOST_TIME, serving).await;
        });
    }
}

async fn serve(board: Arc<Board>, audience: Audience, request: Request<Incoming>) -> Response<Full<Bytes>> {
    // A page in a browser may reach the loopback interface under a name of its own choice.
    if audience == Audience::Operator && !is_local(request.headers().get(HOST)) {
        return answer(StatusCode::FORBIDDEN, TEXT, "the admin endpoint answers to localhost only\n".to_owned());
    }
    let path = request.uri().path().to_owned();
    if audience == Audience::Prober && !PROBES.contains(&path.as_str()) {
        return answer(StatusCode::NOT_FOUND, TEXT, "there are /livez, /readyz and /metrics here\n".to_owned());
    }
    let wanted = if path == "/explain" { Method::POST } else { Method::GET };
    if request.method() != wanted && !(wanted == Method::GET && request.method() == Method::HEAD) {
        let mut refused = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("use {wanted}\n"));
        if let Ok(allowed) = HeaderValue::from_str(wanted.as_str()) {
            refused.headers_mut().insert(ALLOW, allowed);
        }
        return refused;
    }
    match path.as_str() {
        "/livez" => verdict(board.alive(&board.pulses().await)),
        "/readyz" => verdict(board.ready(&board.published().0, &board.pulses().await)),
        "/metrics" => answer(StatusCode::OK, METRICS, metrics::text(&board).await),
        "/status" => match serde_json::to_string(&status::of(&board).await) {
            Ok(json) => answer(StatusCode::OK, JSON, json),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        // A web page cannot send this type without asking first, which is not answered.
        "/explain" if request.headers().get(CONTENT_TYPE).is_none_or(|given| given != JSON) => {
            answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, TEXT, format!("send {JSON}\n"))
        }
        "/explain" => explain(board, request.into_body()).await,
        "/" => answer(StatusCode::OK, TEXT, "/livez /readyz /metrics /status /explain\n".to_owned()),
        _ => answer(StatusCode::NOT_FOUND, TEXT, "no such page; / lists them\n".to_owned()),
    }
}

async fn explain(board: Arc<Board>, body: Incoming) -> Response<Full<Bytes>> {
    let wrong = |why: String| answer(StatusCode::BAD_REQUEST, TEXT, why + "\n");
    let bytes = match Limited::new(body, MOST_QUESTION).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return wrong(error.to_string()),
    };
    let question = match serde_json::from_slice(&bytes) {
        Ok(question) => question,
        Err(error) => return wrong(format!("the question is not one of this version: {error}")),
    };
    // Control may be busy; other pages do not wait for it.
    match tokio::task::spawn_blocking(move || board.explain(question)).await {
        Ok(Ok(explained)) => match serde_json::to_string(&explained) {
            Ok(json) => answer(StatusCode::OK, JSON, json),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        Ok(Err(why)) => wrong(why),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
    }
}

fn is_local(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host.and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn verdict(verdict: Result<(), String>) -> Response<Full<Bytes>> {
    match verdict {
        Ok(()) => answer(StatusCode::OK, TEXT, "ok\n".to_owned()),
        Err(why) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, why + "\n"),
    }
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_interface_has_these_names() {
        for (host, local) in [
            ("127.0.0.1:15000", true),
            ("localhost", true),
            ("[::1]:15000", true),
            ("rebound.example.com:15000", false),
            ("10.0.0.1", false),
            ("localhost.example.com", false),
        ] {
            assert_eq!(is_local(Some(&HeaderValue::from_static(host))), local, "{host}");
        }
        assert!(!is_local(None));
    }
}
