//! Sample backends: the part of httpbin that the task uses, and helloworld.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

const TEAPOT: &str = "I'm a teapot!\n";
const LONGEST_DELAY: u64 = 10;

#[derive(Clone, Copy)]
enum Sample {
    Httpbin,
    Helloworld,
}

impl Sample {
    /// Where the sample's EndpointSlices point.
    fn address(self) -> SocketAddr {
        let port = match self {
            Self::Httpbin => 8000,
            Self::Helloworld => 5000,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }
}

/// Starts both on a thread of their own.
pub(super) fn start() -> anyhow::Result<()> {
    let bind = |sample: Sample| {
        let listener = std::net::TcpListener::bind(sample.address())
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
        listener.with_context(|| format!("a sample backend needs {}: free that port", sample.address()))
    };
    let listeners = [(Sample::Httpbin, bind(Sample::Httpbin)?), (Sample::Helloworld, bind(Sample::Helloworld)?)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("backends".to_owned()).spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            for (sample, listener) in listeners {
                if let Ok(listener) = TcpListener::from_std(listener) {
                    tokio::task::spawn_local(accept(sample, listener));
                }
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(())
}

async fn accept(sample: Sample, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(sample, &request).await) });
            // A client that breaks off is no news.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(sample: Sample, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (sample, segments.as_slice()) {
        (Sample::Helloworld, ["hello"]) => text(StatusCode::OK, "Hello version: v1, instance: demo\n"),
        (Sample::Httpbin, ["status", code]) => {
            match code.parse::<u16>().ok().and_then(|c| StatusCode::from_u16(c).ok()) {
                Some(StatusCode::IM_A_TEAPOT) => text(StatusCode::IM_A_TEAPOT, TEAPOT),
                Some(status) if status.as_u16() >= 200 => text(status, ""),
                _ => text(StatusCode::BAD_REQUEST, "not a status\n"),
            }
        }
        (Sample::Httpbin, ["delay", seconds]) => match seconds.parse::<u64>() {
            Ok(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds.min(LONGEST_DELAY))).await;
                mirror(request)
            }
            Err(_) => text(StatusCode::BAD_REQUEST, "not a number of seconds\n"),
        },
        (Sample::Httpbin, ["headers" | "get"]) => mirror(request),
        _ => text(StatusCode::NOT_FOUND, "the backend does not know this path\n"),
    }
}

/// The request's headers, as the backend got them.
fn mirror(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let headers: serde_json::Map<String, serde_json::Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let mut response = text(StatusCode::OK, &format!("{:#}\n", json!({"headers": headers})));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
}
