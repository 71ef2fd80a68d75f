//! What is done with a request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::{Cors, HashCookie, Origin, PathRewrite, at_point};

/// What a router answers with, by index.
#[derive(Debug, PartialEq)]
pub struct Route {
    /// For logs and metrics.
    pub name: String,
    /// Who says so.
    pub origin: Origin,
    /// Which origins' pages may use it.
    pub cors: Option<Cors>,
    /// What is made to go wrong.
    pub fault: Option<Fault>,
    /// Header changes for every target.
    pub headers: HeaderOps,
    /// Longest request body in bytes; beyond: 413.
    pub max_request_body: Option<u64>,
    /// What is done.
    pub action: Action,
}

impl Route {
    /// The clusters that it leads to, by index.
    pub fn clusters(&self) -> impl Iterator<Item = usize> {
        let forward = match &self.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::Respond(_) | Action::Refused(_) => None,
        };
        let targets = forward.into_iter().flat_map(|forward| &forward.targets).filter_map(|target| match target.to {
            Destination::Cluster(cluster) => Some(cluster),
            Destination::Respond(_) => None,
        });
        targets.chain(forward.into_iter().flat_map(|forward| &forward.mirrors).map(|mirror| mirror.cluster))
    }
}

/// What is done with a request.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// It goes to one of several targets.
    Forward(Forward),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// The gateway answers itself.
    Respond(Response),
    /// This host cannot do what the plugin asks for: 500, with the reason in the log.
    Refused(String),
}

/// Forwarding.
#[derive(Debug, PartialEq)]
pub struct Forward {
    /// Where to, by weight; at least one has a weight.
    pub targets: Vec<Target>,
    /// Sum of the weights, at least 1.
    pub total: u64,
    /// The authority that endpoints see.
    pub host: Option<HeaderValue>,
    /// The path that endpoints see.
    pub path: Option<PathRewrite>,
    /// For the whole exchange; then 504.
    pub timeout: Option<Duration>,
    /// Between two pieces of a body.
    pub idle_timeout: Option<Duration>,
    /// When to try again.
    pub retry: Option<Retry>,
    /// Who gets a copy of the request, and has no say in the answer.
    pub mirrors: Vec<Mirror>,
    /// How clients stay with who answered them first.
    pub session: Option<Box<Session>>,
}

/// How clients stay with the target and the endpoint that answered them first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What carries their token.
    pub by: SessionBy,
    /// How long a token counts.
    pub lasts: Option<Duration>,
}

/// What carries a client's token, in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionBy {
    /// A cookie.
    Cookie(HashCookie),
    /// A header.
    Header(HeaderName),
}

/// A copy of some requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where to, by index.
    pub cluster: usize,
    /// Of which requests.
    pub share: Share,
    /// What is added to the host that its endpoints see.
    pub host_suffix: String,
}

/// A share of all requests, each chosen by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// So many.
    pub numerator: u32,
    /// Of so many; at least 1.
    pub denominator: u32,
}

/// What is made to go wrong, to see who minds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Some requests wait so long before anything is done with them.
    pub delay: Option<(Duration, Share)>,
    /// Some requests, delayed or not, are answered so instead.
    pub abort: Option<(Abort, Share)>,
}

/// An answer that looks like a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// With this status.
    Http(StatusCode),
    /// With this status of gRPC; who does not speak it gets 200, as Envoy has it.
    Grpc(u8),
}

impl Forward {
    /// The index of the target for one request, by weight.
    #[must_use]
    pub fn pick(&self) -> usize {
        if self.targets.len() == 1 {
            return 0;
        }
        let mut here = at_point(fastrand::u64(..self.total));
        self.targets.iter().position(|target| here(target.weight)).unwrap_or(0)
    }
}

/// One share of a [`Forward`].
#[derive(Debug, PartialEq)]
pub struct Target {
    /// Its share.
    pub weight: u32,
    /// Where to.
    pub to: Destination,
    /// The authority that its endpoints see; before the forward's.
    pub host: Option<HeaderValue>,
    /// Header changes, after the route's.
    pub headers: HeaderOps,
}

/// Where a share goes.
#[derive(Debug, PartialEq)]
pub enum Destination {
    /// To a cluster, by index.
    Cluster(usize),
    /// Nowhere: the gateway answers.
    Respond(Response),
}

/// What is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// A connection cannot be made.
    ConnectFailure,
    /// The endpoint says that it did nothing with the request.
    RefusedStream,
    /// The connection breaks before there is an answer.
    Reset,
    /// The connection breaks before anything of the request was sent.
    ResetBeforeRequest,
    /// One try takes longer than it may.
    Timeout,
    /// 502, 503 or 504.
    GatewayError,
    /// Any 5xx, or no answer.
    ServerError,
    /// A gRPC status in the head of the answer.
    Grpc(u8),
}

/// When to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Besides the first try.
    pub attempts: u32,
    /// Any of these.
    pub on: Vec<RetryOn>,
    /// Any of these.
    pub statuses: Vec<StatusCode>,
    /// For each try, until the head of its response; then 504.
    pub per_try: Option<Duration>,
    /// The pause before the second try is at most this, before each further one at most twice as long.
    pub backoff: Duration,
    /// No pause is longer.
    pub max_backoff: Duration,
    /// Endpoints that failed are not tried again while there are others.
    pub avoid_tried: bool,
}

/// Header changes.
#[derive(Debug, Default, PartialEq)]
pub struct HeaderOps {
    /// On the way in.
    pub request: Vec<HeaderOp>,
    /// On the way out.
    pub response: Vec<HeaderOp>,
}

/// One header change.
#[derive(Debug, PartialEq)]
pub enum HeaderOp {
    /// Replace all lines.
    Set(HeaderName, Template),
    /// Append a line.
    Add(HeaderName, Template),
    /// Drop all lines.
    Remove(HeaderName),
}

/// A header value with variables.
#[derive(Debug, PartialEq)]
pub enum Template {
    /// Without any.
    Literal(HeaderValue),
    /// Pieces in order.
    Pieces(Vec<Piece>),
}

/// A piece of a [`Template`].
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// As it is.
    Literal(String),
    /// Filled in for each request.
    Variable(Variable),
}

/// What a template can name (docs/variables.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `client-ip`.
    ClientIp,
    /// `sni`, empty when there is none.
    Sni,
    /// `request-id`.
    RequestId,
    /// `authority`, as sent.
    Authority,
    /// `method`.
    Method,
    /// `path`, normalised, without query.
    Path,
}

impl Variable {
    /// The variable of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "client-ip" => Self::ClientIp,
            "sni" => Self::Sni,
            "request-id" => Self::RequestId,
            "authority" => Self::Authority,
            "method" => Self::Method,
            "path" => Self::Path,
            _ => return None,
        })
    }
}

/// An answer of the gateway's own.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// Status, 200 to 599.
    pub status: StatusCode,
    /// For gRPC clients.
    pub grpc_status: Option<u8>,
    /// Headers.
    pub headers: Vec<(HeaderName, Template)>,
    /// Body.
    pub body: Bytes,
}

/// Where the client is sent.
#[derive(Debug, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// As sent when none.
    pub scheme: Option<String>,
    /// As sent when none.
    pub host: Option<String>,
    /// Port.
    pub port: RedirectPort,
    /// As sent when none.
    pub path: Option<PathRewrite>,
}

/// The port of a redirect; a scheme's own port is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    /// As in the request's authority.
    AsSent,
    /// Left out.
    None,
    /// This one.
    Number(u16),
}
