//! One request, from its head to its response.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, LOCATION, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, timeout_at};

use super::access_log::{End, Entry, Target};
use super::apply::{Facts, location, sent_host, sent_path};
use super::body::{BodyLimit, BodyWatch, RequestBody, ResponseBody};
use super::forwarded::clean;
use super::head::Head;
use super::inputs::{gather, scheme, too_long};
use super::mirror::{self, Chosen};
use super::respond::{Reason, grpc_response, is_grpc};
use super::target::{Misdirection, choose};
use super::upgrade::{self, Tunnel};
use super::{apply, cors, extra, fault, forwarded};
use crate::bootstrap::Extra;
use crate::generation::{Listener, Part};
use crate::model::{
    Action, Destination, Forward, Response as OwnResponse, Route, Session, Transport, UpstreamProtocol,
};
use crate::plugin;
use crate::upstream::{self, Caller, Cluster, SendError, Token, UpstreamBody, give_token};
use crate::worker::{Connection, RouteError};

/// What a request is answered with, before its body is joined with its log entry.
enum Answer {
    Own(Response<Bytes>),
    Upstream {
        response: Response<UpstreamBody>,
        stall: Duration,
        deadline: Option<Instant>,
    },
    /// The connection becomes something else.
    Upgraded {
        response: Response<()>,
        upstream: OnUpgrade,
        place: UpstreamBody,
        idle: Duration,
    },
}

/// Why the gateway refuses, and more about it for the log.
struct Refusal {
    reason: Reason,
    detail: Option<String>,
}

impl Refusal {
    fn because(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: Some(detail.into()) }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}

/// Serves one request.
pub async fn serve(connection: Rc<Connection>, request: Request<Incoming>) -> Response<ResponseBody> {
    let (parts, body) = request.into_parts();
    let version = parts.version;
    let head_only = parts.method == Method::HEAD;
    let grpc = is_grpc(&parts.headers);
    let mut entry = first_entry(&connection, &parts);
    let answer = exchange(&connection, parts, body, &mut entry, grpc).await.unwrap_or_else(|refusal| {
        entry.reason = Some(refusal.reason);
        entry.detail = refusal.detail;
        Answer::Own(refusal.reason.response(grpc))
    });
    entry.own = entry.started.elapsed().saturating_sub(entry.waited);
    let mut response = match answer {
        Answer::Own(mut response) => {
            finish(response.headers_mut(), &connection, &entry);
            entry.status = response.status().as_u16();
            // RFC 9110 §6.4.1: no content in an answer to HEAD, nor with these statuses.
            let empty = head_only || matches!(entry.status, 204 | 304);
            response.map(|bytes| ResponseBody::whole(if empty { Bytes::new() } else { bytes }, entry))
        }
        Answer::Upgraded { mut response, upstream, place, idle } => {
            finish(response.headers_mut(), &connection, &entry);
            entry.status = response.status().as_u16();
            connection.become_tunnel(Tunnel { upstream, _place: place, idle, entry });
            return response.map(|()| ResponseBody::unwatched());
        }
        Answer::Upstream { mut response, stall, deadline } => {
            finish(response.headers_mut(), &connection, &entry);
            entry.status = response.status().as_u16();
            response.map(|body| ResponseBody::streamed(body, stall, deadline, entry))
        }
    };
    if connection.is_closing() && version < Version::HTTP_2 {
        response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What an answer says whoever gave it.
fn finish(headers: &mut HeaderMap, connection: &Connection, entry: &Entry) {
    if let Some(policy) = entry.route.as_ref().and_then(|route| route.cors.as_ref()) {
        cors::tell(headers, policy, entry.origin.as_ref());
    }
    extra::tell_client(headers, &connection.headers, entry);
}

fn first_entry(connection: &Connection, parts: &Parts) -> Entry {
    let trusted = connection.hop().trusted;
    let given = parts.headers.get(forwarded::REQUEST_ID).filter(|id| trusted && id.to_str().is_ok());
    let started = Instant::now();
    Entry {
        started,
        method: parts.method.clone(),
        version: parts.version,
        target: Target::Path(String::new()),
        client: connection.peer.ip(),
        sni: connection.sni(),
        request_id: given.map_or_else(forwarded::new_request_id, HeaderValue::clone),
        listener: None,
        route: None,
        cluster: None,
        endpoint: None,
        status: 0,
        reason: None,
        detail: None,
        body: BodyWatch::default(),
        sent: Cell::new(0),
        end: End::ClientGone,
        in_flight: connection.begin(started),
        worker: Rc::clone(&connection.worker),
        injected: None,
        origin: None,
        waited: Duration::ZERO,
        served: Duration::ZERO,
        own: Duration::ZERO,
    }
}

async fn exchange(
    connection: &Connection,
    mut parts: Parts,
    body: Incoming,
    entry: &mut Entry,
    grpc: bool,
) -> Result<Answer, Refusal> {
    let limits = &connection.limits;
    let head = Head::new(&parts, limits).map(Rc::new).map_err(|error| {
        entry.target = Target::Path(parts.uri.path().to_owned());
        Refusal::because(error.reason(), error.to_string())
    })?;
    entry.target = Target::Head(Rc::clone(&head));
    let upgrade = upgrade::wanted(&parts.headers, parts.version).filter(|_| body.is_end_stream());
    // hyper's own handle on the connection's upgrade goes nowhere.
    parts.extensions.clear();
    let client = connection.hop().client(&parts.headers);
    entry.client = client.unwrap_or(entry.client);
    clean(&mut parts.headers, connection.hop(), client, &entry.request_id);
    let Decision { route, target, stays, mirrors } = decide(connection, &parts, &head, client, entry)?;
    if let Some(policy) = &route.cors {
        match cors::asked(policy, &parts.method, &parts.headers) {
            cors::Asked::Preflight(answer) => return Ok(Answer::Own(answer)),
            cors::Asked::Allowed(origin) => entry.origin = Some(origin),
            cors::Asked::Nothing => {}
        }
    }
    if let Some(said) = &route.fault
        && let Some(answer) = fault::inject(said, connection, entry, grpc).await
    {
        return Ok(Answer::Own(answer));
    }
    let request_id = entry.request_id.clone();
    let sni = connection.sni();
    let method = parts.method.clone();
    let facts = Facts {
        client: entry.client,
        sni: sni.as_deref(),
        request_id: request_id.to_str().unwrap_or_default(),
        method: method.as_str(),
        head: &head,
    };
    match &route.action {
        Action::Respond(response) => Ok(Answer::Own(own_response(response, &route, &facts, grpc))),
        Action::Redirect(redirect) => {
            let place = location(redirect, &head, scheme(&parts.headers, connection.is_secure()));
            let place =
                HeaderValue::try_from(place).map_err(|e| Refusal::because(Reason::RouteRefused, e.to_string()))?;
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = redirect.status;
            response.headers_mut().insert(LOCATION, place);
            facts.change(response.headers_mut(), &route.headers.response);
            Ok(Answer::Own(response))
        }
        Action::Refused(why) => Err(Refusal::because(Reason::RouteRefused, why.as_str())),
        Action::Forward(forward) => {
            let Some((index, cluster)) = target else { return Err(Reason::RouteRefused.into()) };
            match (&forward.targets[index].to, cluster) {
                (Destination::Respond(response), _) => Ok(Answer::Own(own_response(response, &route, &facts, grpc))),
                (Destination::Cluster(_), None) => Err(Reason::RouteRefused.into()),
                (Destination::Cluster(_), Some(cluster)) => {
                    let way = Way { route: &route, forward, index, cluster: &cluster, stays, mirrors, upgrade };
                    send(connection, way, &facts, parts, body, entry).await
                }
            }
        }
    }
}

/// What is to be done. The generation is let go of with the return.
struct Decision {
    route: Arc<Route>,
    /// When it forwards, the target and its cluster.
    target: Option<(usize, Option<Arc<Cluster>>)>,
    /// The endpoint that the client stays with.
    stays: Option<SocketAddr>,
    mirrors: Chosen,
}

fn decide(
    connection: &Connection,
    parts: &Parts,
    head: &Head,
    client: Option<IpAddr>,
    entry: &mut Entry,
) -> Result<Decision, Refusal> {
    let generation = connection.worker.generation();
    let outlived = || {
        connection.close();
        Refusal::because(Reason::Misdirected, "the connection's listener is gone or would not accept it any more")
    };
    let transport = if connection.is_secure() { Transport::Tls } else { Transport::Http };
    let socket = generation.sockets.get(&connection.socket).filter(|socket| socket.transport == transport);
    let socket = socket.ok_or_else(outlived)?;
    let listener = choose(socket, connection.handshake.as_ref(), &head.host).map_err(|why| match why {
        Misdirection::Nobody => Refusal::because(Reason::NoRoute, "no listener claims the authority"),
        Misdirection::Other => Refusal::because(Reason::Misdirected, "the authority belongs to another listener"),
        Misdirection::Outlived => outlived(),
    })?;
    entry.listener = Some(Arc::clone(&listener.name));
    if let Some(why) = &listener.refused {
        return Err(Refusal::because(Reason::ListenerRefused, why.as_str()));
    }
    let part = &generation.parts[listener.plugin];
    let gathered = gather(&listener.inputs, parts, head, connection.hop(), client);
    let index = ask(connection, listener, part.table, head, &gathered)?;
    let Some(index) = index else { return Err(Refusal::because(Reason::NoRoute, "no rule matches")) };
    let route = part.routes.get(index as usize).cloned().ok_or_else(|| {
        Refusal::because(Reason::PluginFailed, format!("the plugin chose route {index} of {}", part.routes.len()))
    })?;
    entry.route = Some(Arc::clone(&route));
    let (target, stays, mirrors) = match &route.action {
        Action::Forward(forward) => {
            let stays = forward.session.as_deref().and_then(|session| stay(session, forward, part, &parts.headers));
            let (index, stays) = stays.map_or_else(|| (forward.pick(), None), |(index, at)| (index, Some(at)));
            let cluster = match forward.targets[index].to {
                Destination::Cluster(cluster) => part.clusters.get(cluster).cloned(),
                Destination::Respond(_) => None,
            };
            (Some((index, cluster)), stays, mirror::choose(forward, part))
        }
        _ => (None, None, Chosen::new()),
    };
    Ok(Decision { route, target, stays, mirrors })
}

/// The target and the endpoint that the client's token leads to.
fn stay(session: &Session, forward: &Forward, part: &Part, headers: &HeaderMap) -> Option<(usize, SocketAddr)> {
    let token = Token::of(session, headers)?;
    let targets = forward.targets.iter().enumerate().filter(|(_, target)| target.weight > 0);
    targets.into_iter().find_map(|(index, target)| match target.to {
        Destination::Cluster(cluster) => Some((index, token.endpoint(part.clusters.get(cluster)?)?)),
        Destination::Respond(_) => None,
    })
}

/// Asks the plugin.
fn ask(
    connection: &Connection,
    listener: &Listener,
    table: u64,
    head: &Head,
    gathered: &[Option<Cow<'_, [u8]>>],
) -> Result<Option<u32>, Refusal> {
    let inputs: Vec<Option<&[u8]>> = gathered.iter().map(Option::as_deref).collect();
    if let Some(long) = too_long(&inputs) {
        let detail = format!("{long} bytes in a header that routes are chosen by");
        return Err(Refusal::because(Reason::HeadersTooLarge, detail));
    }
    let asked = plugin::Head { listener: listener.number, host: &head.host, path: &head.path, inputs: &inputs };
    connection.worker.route(listener.plugin, table, asked).map_err(|error| match error {
        RouteError::Failed(failure) => Refusal::because(Reason::PluginFailed, failure.to_string()),
        RouteError::Unavailable(why) => Refusal::because(Reason::PluginFailed, why),
    })
}

fn own_response(response: &OwnResponse, route: &Route, facts: &Facts<'_>, grpc: bool) -> Response<Bytes> {
    let mut answer = match response.grpc_status {
        Some(status) if grpc => grpc_response(status, ""),
        _ => {
            let mut answer = Response::new(response.body.clone());
            *answer.status_mut() = response.status;
            answer
        }
    };
    for (name, template) in &response.headers {
        if let Some(value) = facts.fill(template) {
            answer.headers_mut().append(name, value);
        }
    }
    facts.change(answer.headers_mut(), &route.headers.response);
    answer
}

/// Which way a request goes.
struct Way<'r> {
    route: &'r Route,
    forward: &'r Forward,
    index: usize,
    cluster: &'r Cluster,
    /// The endpoint that the client stays with.
    stays: Option<SocketAddr>,
    /// Who else gets it.
    mirrors: Chosen,
    /// What the client's connection wants to become.
    upgrade: Option<HeaderValue>,
}

async fn send(
    connection: &Connection,
    mut way: Way<'_>,
    facts: &Facts<'_>,
    mut parts: Parts,
    body: Incoming,
    entry: &mut Entry,
) -> Result<Answer, Refusal> {
    let Way { route, forward, index, cluster, .. } = way;
    let limits = &connection.limits;
    entry.cluster = Some(Arc::clone(&cluster.name));
    if let Some(why) = &cluster.refused {
        return Err(Refusal::because(Reason::ClusterRefused, why.as_str()));
    }
    if let Some(most) = route.max_request_body
        && content_length(&parts.headers).is_some_and(|length| length > most)
    {
        return Err(Refusal::because(Reason::BodyTooLarge, BodyLimit::TooLarge(most).to_string()));
    }
    prepare(&way, facts, &connection.headers.add, &mut parts)?;
    let caller = Caller::new(connection.peer, connection.local).on_behalf_of(entry.client).staying_with(way.stays);
    let progress = Rc::clone(&entry.in_flight.progress);
    progress.be_patient(forward.idle_timeout.unwrap_or(limits.body_timeout));
    let (mut body, watch) =
        RequestBody::new(body, route.max_request_body, connection.hop().trusted, Rc::clone(&progress));
    entry.body = watch.clone();
    // What becomes something else is not a request any more, which a copy would be.
    if way.upgrade.is_none() && !way.mirrors.is_empty() {
        mirror::send(connection, entry.client, forward, std::mem::take(&mut way.mirrors), &parts, &mut body);
    }
    let request = Request::from_parts(parts, body);
    // What it waited until now a fault made it wait, which its route's time does not count.
    let deadline = forward.timeout.map(|timeout| entry.started + entry.waited + timeout);
    let asked = Instant::now();
    let sending = upstream::send(&connection.worker.pool, cluster, forward.retry.as_ref(), &caller, request);
    if let Some(deadline) = deadline {
        progress.must_end(deadline);
    }
    let mut sending = std::pin::pin!(sending);
    let sent = loop {
        // Without a time of the route's own a response may be waited for as long as the request's body moves.
        let until = deadline.unwrap_or_else(|| progress.last() + limits.response_timeout);
        match timeout_at(until, sending.as_mut()).await {
            Ok(sent) => break sent,
            Err(_) if deadline.is_none() && progress.last() + limits.response_timeout > until => {}
            Err(_) => {
                entry.waited += asked.elapsed();
                if !watch.lacks() {
                    caller.gave_up(cluster);
                }
                return Err(Refusal::because(Reason::UpstreamTimeout, BodyLimit::Overdue.to_string()));
            }
        }
    };
    let answered = Instant::now();
    entry.served = answered.duration_since(asked);
    entry.waited += entry.served;
    progress.moved_at(answered);
    let exchange = sent.map_err(|error| {
        entry.endpoint = error.endpoint();
        refusal(&error, &watch)
    })?;
    entry.endpoint = Some(exchange.endpoint);
    // A stream in both directions may be silent for as long as its answer may.
    let stall = forward.idle_timeout.unwrap_or(limits.response_timeout);
    progress.be_patient(stall);
    let mut response = exchange.response;
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let protocol = response.headers().get(UPGRADE).cloned();
    let same = |asked: &HeaderValue| {
        protocol.as_ref().is_some_and(|given| given.as_bytes().eq_ignore_ascii_case(asked.as_bytes()))
    };
    if switched && !way.upgrade.as_ref().is_some_and(same) {
        let detail = "the endpoint switched to a protocol that it was not asked for";
        return Err(Refusal::because(Reason::UpstreamProtocol, detail));
    }
    let headers = response.headers_mut();
    forwarded::remove_hop_by_hop(headers, false);
    facts.change(headers, &route.headers.response);
    facts.change(headers, &forward.targets[index].headers.response);
    if let Some(session) = forward.session.as_deref().filter(|_| way.stays != Some(exchange.endpoint)) {
        give_token(session, cluster, exchange.endpoint, headers);
    }
    if switched {
        let upstream = hyper::upgrade::on(&mut response);
        let (head, place) = response.into_parts();
        let response = upgrade::accepted(head.headers, protocol);
        return Ok(Answer::Upgraded { response, upstream, place, idle: stall });
    }
    Ok(Answer::Upstream { response, stall, deadline })
}

/// The head as the endpoint shall see it.
fn prepare(way: &Way<'_>, facts: &Facts<'_>, add: &[Extra], parts: &mut Parts) -> Result<(), Refusal> {
    let target = &way.forward.targets[way.index];
    let path = match way.forward.path {
        None => facts.head.target(parts.uri.path_and_query()).ok_or(Reason::BadRequest)?,
        Some(_) => sent_path(way.forward, facts.head).map_err(|(reason, why)| Refusal::because(reason, why))?,
    };
    parts.uri = Uri::from(path);
    let headers = &mut parts.headers;
    if way.cluster.protocol == UpstreamProtocol::Http1 {
        // To an HTTP/2 endpoint it says something; in HTTP/1.1 it is about the connection.
        headers.remove(TE);
    }
    extra::tell_backend(headers, add, facts.head, way.forward.path.is_some());
    facts.change(headers, &way.route.headers.request);
    facts.change(headers, &target.headers.request);
    match sent_host(way.forward, target) {
        Some(host) => drop(headers.insert(HOST, host.clone())),
        None if headers.get(HOST).is_some_and(|sent| sent == facts.head.authority.as_str()) => {}
        None => {
            let host = HeaderValue::try_from(&facts.head.authority);
            headers.insert(HOST, host.map_err(|e| Refusal::because(Reason::BadRequest, e.to_string()))?);
        }
    }
    if let Some(protocol) = &way.upgrade {
        upgrade::ask(headers, protocol.clone());
    }
    Ok(())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refusal(error: &SendError, watch: &BodyWatch) -> Refusal {
    let reason = match watch.limit() {
        Some(BodyLimit::Stalled(_)) => Reason::RequestTimeout,
        Some(BodyLimit::TooLarge(_)) => Reason::BodyTooLarge,
        _ => Reason::from(error),
    };
    Refusal::because(reason, apply::chain(error))
}
