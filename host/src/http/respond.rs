//! The gateway's own answers: one place maps what went wrong to a status, a word for the access log and a line for the
//! client.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::upstream::{ConnectError, SendError};

/// Why the gateway answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request cannot be understood.
    BadRequest,
    /// The request's body stopped coming.
    RequestTimeout,
    /// The request's body is longer than its route allows.
    BodyTooLarge,
    /// Path and query are too long.
    UriTooLong,
    /// Headers are too many or too large.
    HeadersTooLarge,
    /// The method is not one that a gateway forwards.
    MethodNotServed,
    /// No listener or no route claims the request.
    NoRoute,
    /// The authority belongs to another listener than the connection's.
    Misdirected,
    /// The route asks for what this host cannot do.
    RouteRefused,
    /// The plugin failed.
    PluginFailed,
    /// The listener cannot serve.
    ListenerRefused,
    /// The cluster has no endpoint that is ready.
    NoEndpoint,
    /// The cluster asks for what this host cannot do.
    ClusterRefused,
    /// No endpoint could be connected to.
    ConnectFailed,
    /// The TLS handshake with the endpoint came to nothing.
    UpstreamTls,
    /// The cluster is asked for as much as it may be.
    UpstreamOverflow,
    /// The endpoint broke off before it answered.
    UpstreamReset,
    /// The route's time is over.
    UpstreamTimeout,
    /// The endpoint's answer cannot be passed on.
    UpstreamProtocol,
}

impl From<&SendError> for Reason {
    fn from(error: &SendError) -> Self {
        match error {
            SendError::NoEndpoint(_) | SendError::LeftOut { .. } => Self::NoEndpoint,
            SendError::Overflow(_) => Self::UpstreamOverflow,
            SendError::Connect { source: ConnectError::Tls(_), .. } => Self::UpstreamTls,
            SendError::Connect { .. } => Self::ConnectFailed,
            SendError::Broken { .. } => Self::UpstreamReset,
            SendError::TryTimeout { .. } => Self::UpstreamTimeout,
        }
    }
}

impl Reason {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MethodNotServed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::RouteRefused => StatusCode::INTERNAL_SERVER_ERROR,
            Self::PluginFailed
            | Self::ListenerRefused
            | Self::NoEndpoint
            | Self::ClusterRefused
            | Self::ConnectFailed
            | Self::UpstreamTls
            | Self::UpstreamOverflow
            | Self::UpstreamReset => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamProtocol => StatusCode::BAD_GATEWAY,
        }
    }

    /// The word in the access log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::RequestTimeout => "request-timeout",
            Self::BodyTooLarge => "body-too-large",
            Self::UriTooLong => "uri-too-long",
            Self::HeadersTooLarge => "headers-too-large",
            Self::MethodNotServed => "method-not-served",
            Self::NoRoute => "no-route",
            Self::Misdirected => "misdirected",
            Self::RouteRefused => "route-refused",
            Self::PluginFailed => "plugin-failed",
            Self::ListenerRefused => "listener-refused",
            Self::NoEndpoint => "no-endpoint",
            Self::ClusterRefused => "cluster-refused",
            Self::ConnectFailed => "connect-failed",
            Self::UpstreamTls => "upstream-tls",
            Self::UpstreamOverflow => "upstream-overflow",
            Self::UpstreamReset => "upstream-reset",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamProtocol => "upstream-protocol",
        }
    }

    /// The line that the client is told; it gives nothing away about what is behind the gateway.
    fn text(self) -> &'static str {
        match self {
            Self::BadRequest => "the request is not valid\n",
            Self::RequestTimeout => "the request took too long\n",
            Self::BodyTooLarge => "the request body is too large\n",
            Self::UriTooLong => "the path is too long\n",
            Self::HeadersTooLarge => "the headers are too large\n",
            Self::MethodNotServed => "the method is not served here\n",
            Self::NoRoute => "no route\n",
            Self::Misdirected => "this connection does not serve that host\n",
            Self::RouteRefused => "this route is not available\n",
            Self::PluginFailed | Self::ListenerRefused | Self::ClusterRefused => "not available\n",
            Self::NoEndpoint => "no healthy upstream\n",
            Self::ConnectFailed | Self::UpstreamTls => "upstream connect error\n",
            Self::UpstreamOverflow => "upstream overflow\n",
            Self::UpstreamReset => "upstream reset before it answered\n",
            Self::UpstreamTimeout => "upstream request timeout\n",
            Self::UpstreamProtocol => "upstream protocol error\n",
        }
    }

    /// The answer: plain text, or for a gRPC client a status in the headers of an empty response.
    #[must_use]
    pub fn response(self, grpc: bool) -> Response<Bytes> {
        if grpc {
            return grpc_response(grpc_status(self.status()), self.text().trim_end());
        }
        let mut response = Response::new(Bytes::from_static(self.text().as_bytes()));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

/// The gRPC status that a gRPC client is told instead of one of HTTP (gRPC over HTTP/2, "HTTP to gRPC status code
/// mapping").
pub(super) fn grpc_status(status: StatusCode) -> u8 {
    match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => 12,
        StatusCode::GATEWAY_TIMEOUT
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::BAD_GATEWAY
        | StatusCode::TOO_MANY_REQUESTS => 14,
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_REQUEST => 13,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        _ => 2,
    }
}

/// Trailers-only.
pub(super) fn grpc_response(status: u8, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    response
}

/// Whether a request comes from a gRPC client.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}
