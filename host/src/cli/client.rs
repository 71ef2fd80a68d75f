//! Asking a running gateway at its admin endpoint.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Config;
use crate::printable::{self, printable};

/// Longest answer, in bytes: ten thousand routes make some megabytes.
const MOST_ANSWER: usize = 256 << 20;
/// How long an answer may take: longer than a plugin's `explain` may.
const PATIENCE: Duration = Duration::from_secs(20);

/// The admin endpoint as given, or else as the bootstrap file has it; where there is no such file, its default.
pub(super) fn address(given: Option<SocketAddr>, config: &Config) -> anyhow::Result<SocketAddr> {
    match given {
        Some(address) => Ok(address),
        None if config.is_default() && !config.config.exists() => Ok(crate::bootstrap::DEFAULT_ADMIN),
        None => Ok(config.read()?.admin),
    }
}

/// Reads a page.
pub(super) fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    ask(address, Method::GET, path, String::new())
}

/// Sends a question.
pub(super) fn post(address: SocketAddr, path: &str, body: String) -> anyhow::Result<String> {
    ask(address, Method::POST, path, body)
}

fn ask(address: SocketAddr, method: Method, path: &str, body: String) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async {
        let stream = TcpStream::connect(address).await.with_context(|| {
            format!("no gateway answers at {address}; start it, or name its `admin.address` with --admin")
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answered = async move {
            let response = sender.send_request(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MOST_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((head.status, body.to_bytes()))
        };
        let (answered, _) = tokio::join!(answered, connection);
        let (status, body) = answered.with_context(|| format!("what listens at {address} is no admin endpoint"))?;
        let text = String::from_utf8(body.to_vec()).context("the answer is no text")?;
        if status == http::StatusCode::NOT_FOUND {
            bail!("what listens at {address} is no admin endpoint of Sekisho: it has no {path}");
        }
        if !status.is_success() {
            bail!("{address} answers {status}: {}", printable(text.trim(), printable::SENTENCE));
        }
        Ok(text)
    };
    let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    answered.unwrap_or_else(|_| bail!("{address} did not answer within {PATIENCE:?}"))
}
