//! The walk: each step may be the last one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::{
    Answer, Asked, Backend, Certificate, Listener as ListenerSaid, Other, Outcome, Place, Question, QuestionError, Sni,
    Socket as SocketSaid, nearest,
};
use crate::bootstrap::Bootstrap;
use crate::finding::{Finding, Places, Severity, Subject};
use crate::generation::{Generation, Listener, Part, Socket};
use crate::http::{Head, Hop, Misdirection, Reason, choose, clean, gather, is_trusted, location, rewritten, too_long};
use crate::model::{Action, Destination, Forward, Origin, Route};
use crate::object::ObjectKey;
use crate::plugin::{self, Failure, Router};
use crate::tls::{Handshake, normalise_sni, utc};
use crate::upstream::Cluster;

/// What a walk goes through.
#[derive(Clone, Copy, Debug)]
pub struct View<'v> {
    /// What is served.
    pub generation: &'v Generation,
    /// What is wrong with it.
    pub findings: &'v [Finding],
    /// Where its objects were read.
    pub places: &'v Places,
    /// Ports, limits and trust.
    pub bootstrap: &'v Bootstrap,
}

/// The way of a request. `router` gives an instance of a plugin that has loaded the table in force.
///
/// # Errors
/// When there is nothing to ask.
pub fn explain(
    question: &Question,
    view: View<'_>,
    router: impl FnOnce(usize) -> Option<Result<Router, Failure>>,
) -> Result<Answer, QuestionError> {
    let asked = Asked::new(question)?;
    let answer = Answer { url: question.url.clone(), method: asked.method.to_string(), ..Answer::default() };
    let mut walk = Walk { asked, view, answer, objects: BTreeSet::new(), plugins: BTreeSet::new() };
    if let Err(stop) = walk.go(router) {
        walk.answer.outcome = stop.outcome;
        walk.answer.status = stop.status;
        walk.answer.because = stop.because;
    }
    walk.find();
    Ok(walk.answer)
}

struct Walk<'v> {
    asked: Asked,
    view: View<'v>,
    answer: Answer,
    /// On the way.
    objects: BTreeSet<ObjectKey>,
    plugins: BTreeSet<String>,
}

/// The walk ends here.
struct Stop {
    outcome: Outcome,
    status: Option<u16>,
    because: String,
}

impl Stop {
    fn no_connection(because: impl Into<String>) -> Self {
        Self { outcome: Outcome::NoConnection, status: None, because: because.into() }
    }

    fn refused(reason: Reason, because: impl Into<String>) -> Self {
        let because = format!("{}: {}", reason.name(), because.into());
        Self { outcome: Outcome::Refused, status: Some(reason.status().as_u16()), because }
    }
}

impl Walk<'_> {
    fn go(&mut self, router: impl FnOnce(usize) -> Option<Result<Router, Failure>>) -> Result<(), Stop> {
        let socket = self.socket()?;
        let handshake = if socket.secure { Some(self.handshake(&socket)?) } else { None };
        let parts = self.request();
        let limits = &self.view.bootstrap.limits;
        let head = Head::new(&parts, limits.path_bytes, limits.header_count)
            .map_err(|error| Stop::refused(error.reason(), error.to_string()))?;
        let listener = self.listener(&socket, handshake.as_ref(), &head)?;
        let part = Arc::clone(&self.view.generation.parts[listener.plugin]);
        let route = self.route(&listener, &part, parts, &head, router)?;
        self.action(&route, &part, &head, socket.secure)
    }

    /// The port of the URL is one that is bound, or else one that objects name.
    fn socket(&mut self) -> Result<Arc<Socket>, Stop> {
        let generation = self.view.generation;
        let secure = self.asked.secure;
        let bound = |port: u16| self.view.bootstrap.bound_port(port);
        let with_port = |port: u16| {
            let on_port = |(address, _): &(&SocketAddr, &Arc<Socket>)| address.port() == port;
            let exact = |(address, _): &(&SocketAddr, &Arc<Socket>)| self.asked.host.parse() == Ok(address.ip());
            let mut candidates = generation.sockets.iter().filter(on_port);
            candidates.clone().find(exact).or_else(|| candidates.next()).map(|(_, socket)| Arc::clone(socket))
        };
        let own = if secure { 443 } else { 80 };
        let found = match self.asked.port {
            Some(port) => with_port(port).or_else(|| with_port(bound(port))),
            None => with_port(bound(own)),
        };
        let port = self.asked.port.unwrap_or_else(|| bound(own));
        let Some(socket) = found else {
            let open: Vec<String> = generation
                .sockets
                .values()
                .map(|socket| format!("{} ({})", socket.address, if socket.secure { "TLS" } else { "clear" }))
                .collect();
            let open = if open.is_empty() {
                "nothing is served".to_owned()
            } else {
                format!("served are {}", open.join(", "))
            };
            return Err(Stop::no_connection(format!("connection refused: no listener has port {port}; {open}")));
        };
        self.answer.socket = Some(SocketSaid { address: socket.address.to_string(), tls: socket.secure });
        if socket.secure != secure {
            let speaks = if socket.secure { "TLS" } else { "HTTP in the clear" };
            let better = if socket.secure { "https" } else { "http" };
            let because = format!("{} speaks {speaks}: ask with {better}://", socket.address);
            return Err(Stop::no_connection(because));
        }
        Ok(socket)
    }

    /// What the TLS handshake comes to.
    fn handshake(&mut self, socket: &Socket) -> Result<Handshake, Stop> {
        let sni = self.asked.sni.clone();
        let shown = || sni.as_deref().map_or_else(|| "no SNI".to_owned(), |sni| format!("SNI {sni}"));
        let Some(listener) = socket.for_sni(sni.as_deref()) else {
            self.answer.other_listeners = nearest::listeners(self.view.generation, socket, sni.as_deref(), None);
            if socket.default_tls.is_some() {
                self.answer.action.push("the certificate of tls.defaultCredential is shown".to_owned());
                return Ok(Handshake::assumed(sni.as_deref(), None, self.asked.chain.clone()));
            }
            let because = format!("TLS alert unrecognized_name: no listener claims {} on {}", shown(), socket.address);
            return Err(Stop::no_connection(because));
        };
        let listener = Arc::clone(listener);
        self.meet(&listener);
        self.answer.other_listeners = nearest::listeners(self.view.generation, socket, sni.as_deref(), Some(&listener));
        if let Err(why) = listener.tls_config() {
            return Err(Stop::no_connection(format!(
                "TLS alert internal_error: the listener refuses its clients: {why}"
            )));
        }
        let Some(tls) = &listener.tls else { return Err(Stop::no_connection("it has no TLS")) };
        let name = sni.as_deref().unwrap_or(&self.asked.host);
        self.answer.certificates = tls
            .shown
            .iter()
            .map(|shown| Certificate {
                source: shown.source.to_string(),
                subject: shown.summary.subject.clone(),
                serial: shown.summary.serial.clone(),
                names: shown.summary.names.clone(),
                not_after: utc(shown.summary.not_after),
                covers: shown.covers(name),
            })
            .collect();
        let given = if self.asked.chain.is_empty() { "none is given" } else { "the one given" };
        let verified = tls.verification.as_ref().map(|verification| verification.verify(&self.asked.chain));
        self.answer.client_certificate = Some(match verified {
            None => "the listener asks for none".to_owned(),
            Some(Ok(())) => format!("the listener asks for one; {given}, and that is accepted"),
            Some(Err(error)) => {
                let said = format!("the listener asks for one; {given}, and that is refused: {error}");
                self.answer.client_certificate = Some(said);
                return Err(Stop::no_connection(format!("the handshake fails: client certificate refused: {error}")));
            }
        });
        Ok(Handshake::assumed(sni.as_deref(), Some(Arc::clone(&listener.name)), self.asked.chain.clone()))
    }

    /// The request as it comes to the router.
    fn request(&self) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = self.asked.method.clone();
        parts.uri = self.asked.target.parse().unwrap_or_default();
        parts.headers = self.asked.headers.clone();
        if !parts.headers.contains_key(HOST)
            && let Ok(authority) = HeaderValue::try_from(&self.asked.authority)
        {
            parts.headers.insert(HOST, authority);
        }
        parts
    }

    fn listener(&mut self, socket: &Socket, handshake: Option<&Handshake>, head: &Head) -> Result<Arc<Listener>, Stop> {
        let listener = match choose(socket, handshake, &head.host) {
            Ok(listener) => Arc::clone(listener),
            Err(why) => {
                let host = &head.host;
                self.answer.other_listeners = nearest::listeners(self.view.generation, socket, Some(host), None);
                let best = socket.find(host).map(|best| nearest::what(best)).unwrap_or_default();
                return Err(match why {
                    Misdirection::Nobody => {
                        Stop::refused(Reason::NoRoute, format!("no listener on {} claims {host}", socket.address))
                    }
                    Misdirection::Other => Stop::refused(
                        Reason::Misdirected,
                        format!("{host} belongs to {best}, not to the listener that the SNI chose"),
                    ),
                    Misdirection::Outlived => {
                        Stop::refused(Reason::Misdirected, "the listener would not accept this client")
                    }
                });
            }
        };
        let of_handshake = self.answer.listener.as_ref().map(|listener| listener.name.clone());
        if of_handshake.is_some_and(|name| name != *listener.name) {
            self.answer.authority = Some(format!("{} is served by {}", head.host, nearest::what(&listener)));
        } else {
            self.answer.other_listeners =
                nearest::listeners(self.view.generation, socket, Some(&head.host), Some(&listener));
        }
        self.meet(&listener);
        match &listener.refused {
            Some(why) => Err(Stop::refused(Reason::ListenerRefused, why.as_str())),
            None => Ok(listener),
        }
    }

    fn route(
        &mut self,
        listener: &Listener,
        part: &Part,
        mut parts: Parts,
        head: &Head,
        router: impl FnOnce(usize) -> Option<Result<Router, Failure>>,
    ) -> Result<Arc<Route>, Stop> {
        let failed = |failure: Failure| Stop::refused(Reason::PluginFailed, failure.to_string());
        self.answer.plugin = Some(part.plugin.to_string());
        let mut router = match router(listener.plugin) {
            Some(router) => router.map_err(failed)?,
            None => return Err(Stop::refused(Reason::PluginFailed, "the plugin has no translation")),
        };
        let peer = self.asked.client;
        let hop = Hop { peer, secure: self.asked.secure, trusted: is_trusted(&self.view.bootstrap.trust, peer) };
        clean(&mut parts.headers, hop, "explain");
        let gathered = gather(&listener.inputs, &parts, head, hop);
        let inputs: Vec<Option<&[u8]>> = gathered.iter().map(Option::as_deref).collect();
        if let Some(long) = too_long(&inputs) {
            return Err(Stop::refused(
                Reason::HeadersTooLarge,
                format!("{long} bytes in a header that routes are chosen by"),
            ));
        }
        let asked = plugin::Head { listener: listener.number, host: &head.host, path: &head.path, inputs: &inputs };
        let explanation = router.explain(asked).map_err(failed)?;
        self.answer.virtual_host = explanation.virtual_host;
        // A rule with several matches is one route: that some of them do not match is no news.
        for (index, because) in explanation.rejected.into_iter().filter(|(index, _)| Some(*index) != explanation.chosen)
        {
            let what =
                part.routes.get(index as usize).map_or_else(|| format!("route {index}"), |route| self.rule(route));
            self.answer.other_routes.push(Other { what, because });
        }
        let chosen = router.route(asked).map_err(failed)?;
        if chosen != explanation.chosen {
            self.answer.action.push(format!(
                "the plugin's own explanation is wrong: it names {:?}, but {chosen:?} serves",
                explanation.chosen
            ));
        }
        let Some(index) = chosen else { return Err(Stop::refused(Reason::NoRoute, "no rule matches")) };
        let route = part.routes.get(index as usize).cloned().ok_or_else(|| {
            Stop::refused(Reason::PluginFailed, format!("the plugin chose route {index} of {}", part.routes.len()))
        })?;
        self.objects.insert(route.origin.object.clone());
        self.answer.route = Some(place(&route.name, &route.origin));
        Ok(route)
    }

    fn rule(&mut self, route: &Route) -> String {
        self.objects.insert(route.origin.object.clone());
        format!("{} {}", route.origin.object, route.origin.field)
    }

    fn action(&mut self, route: &Route, part: &Part, head: &Head, secure: bool) -> Result<(), Stop> {
        match &route.action {
            Action::Refused(why) => Err(Stop::refused(Reason::RouteRefused, why.as_str())),
            Action::Respond(response) => {
                let status = response.status.as_u16();
                let because = format!("the route answers {status} itself");
                Err(Stop { outcome: Outcome::Answered, status: Some(status), because })
            }
            Action::Redirect(redirect) => {
                let because = format!("the client is sent to {}", location(redirect, head, secure));
                Err(Stop { outcome: Outcome::Redirected, status: Some(redirect.status.as_u16()), because })
            }
            Action::Forward(forward) => self.forward(forward, part, head),
        }
    }

    fn forward(&mut self, forward: &Forward, part: &Part, head: &Head) -> Result<(), Stop> {
        let path = rewritten(&head.path, forward.path.as_ref());
        if path != head.path {
            self.answer.action.push(format!("the path becomes {path}"));
        }
        if let Some(host) = &forward.host {
            self.answer.action.push(format!("the host becomes {}", String::from_utf8_lossy(host.as_bytes())));
        }
        if let Some(timeout) = forward.timeout {
            self.answer.action.push(format!("the whole exchange may take {timeout:?}"));
        }
        let mut able = false;
        let mut unable = None;
        for target in &forward.targets {
            let backend = |cluster: Option<&Cluster>, refused: Option<String>| Backend {
                cluster: cluster.map(|cluster| cluster.name.to_string()),
                weight: target.weight,
                of: forward.total,
                endpoints: cluster.map(endpoints).unwrap_or_default(),
                refused,
            };
            let said = match &target.to {
                Destination::Respond(response) => {
                    let answer = format!("the gateway answers {}", response.status.as_u16());
                    unable.get_or_insert_with(|| (Reason::NoRoute, response.status.as_u16(), answer.clone()));
                    backend(None, Some(answer))
                }
                Destination::Cluster(index) => {
                    let Some(cluster) = part.clusters.get(*index) else { continue };
                    self.objects.insert(cluster.origin.object.clone());
                    let why = why_unable(cluster);
                    match &why {
                        None => able |= target.weight > 0,
                        Some((reason, why)) => {
                            unable.get_or_insert_with(|| (*reason, reason.status().as_u16(), why.clone()));
                        }
                    }
                    backend(Some(cluster), why.map(|(reason, why)| format!("{}: {why}", reason.status().as_u16())))
                }
            };
            self.answer.backends.push(said);
        }
        if let (false, Some((reason, status, why))) = (able, unable) {
            let because = format!("{}: {why}", reason.name());
            return Err(Stop { outcome: Outcome::Refused, status: Some(status), because });
        }
        let names: Vec<&str> = self.answer.backends.iter().filter_map(|backend| backend.cluster.as_deref()).collect();
        self.answer.because = format!("an endpoint of {} answers", names.join(" or "));
        self.answer.outcome = Outcome::Forwarded;
        Ok(())
    }

    /// What a listener brings onto the way.
    fn meet(&mut self, listener: &Listener) {
        self.objects.insert(listener.origin.object.clone());
        self.objects.extend(listener.secrets.iter().cloned());
        self.plugins.extend(listener.name.split('/').next().map(str::to_owned));
        if self.answer.listener.is_none() {
            self.answer.listener = Some(ListenerSaid {
                name: listener.name.to_string(),
                origin: place(&listener.name, &listener.origin),
                hosts: listener.hosts.iter().map(ToString::to_string).collect(),
                port: listener.port,
            });
        }
    }

    /// What was found about the objects on the way; all errors when the way ended early.
    fn find(&mut self) {
        let refused = matches!(self.answer.outcome, Outcome::NoConnection | Outcome::Refused);
        let on_the_way = |finding: &Finding| match &finding.subject {
            Subject::Object { key, .. } => self.objects.contains(key),
            Subject::Plugin(name) => self.plugins.contains(name),
            Subject::File { .. } | Subject::Socket(_) => false,
        };
        let error = |finding: &&Finding| finding.severity == Severity::Error;
        let explained = self.view.findings.iter().any(|finding| error(&finding) && on_the_way(finding));
        // What did not come to be cannot be on the way.
        let all_errors = refused && !explained;
        let told = |finding: &&Finding| on_the_way(finding) || (all_errors && error(finding));
        let findings = self.view.findings.iter().filter(told).map(|finding| finding.to_json(self.view.places));
        self.answer.findings = findings.collect();
    }
}

fn place(name: &str, origin: &Origin) -> Place {
    Place { name: name.to_owned(), object: origin.object.to_string(), field: origin.field.clone() }
}

fn endpoints(cluster: &Cluster) -> Vec<String> {
    let health = |unreached: usize| match unreached {
        0 => String::new(),
        1 => " (the last connection failed)".to_owned(),
        some => format!(" (the last {some} connections failed)"),
    };
    cluster.endpoints.iter().map(|endpoint| format!("{}{}", endpoint.address, health(endpoint.unreached()))).collect()
}

fn why_unable(cluster: &Cluster) -> Option<(Reason, String)> {
    match &cluster.refused {
        Some(why) => Some((Reason::ClusterRefused, why.clone())),
        None if cluster.endpoints.is_empty() => {
            Some((Reason::NoEndpoint, format!("cluster {} has no endpoint", cluster.name)))
        }
        None => None,
    }
}

impl Asked {
    fn new(question: &Question) -> Result<Self, QuestionError> {
        let wrong = |why: &str| QuestionError::Url { url: question.url.clone(), why: why.to_owned() };
        let uri: Uri = question.url.parse().map_err(|e: http::uri::InvalidUri| wrong(&e.to_string()))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("it has another scheme, or none")),
        };
        let authority: &Authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let method = Method::from_bytes(question.method.as_bytes())
            .map_err(|_| QuestionError::Method(question.method.clone()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &question.headers {
            let wrong = || QuestionError::Header(format!("{name}: {value}"));
            let parsed: HeaderName = name.parse().map_err(|_| wrong())?;
            headers.append(parsed, HeaderValue::from_str(value).map_err(|_| wrong())?);
        }
        let is_name = host.parse::<std::net::IpAddr>().is_err();
        let sni = match &question.sni {
            Sni::OfUrl => is_name.then(|| normalise_sni(&host)),
            Sni::Absent => None,
            Sni::Name(name) => Some(normalise_sni(name)),
        };
        let chain = question
            .certificates
            .iter()
            .enumerate()
            .map(|(index, text)| STANDARD.decode(text).map_err(|_| QuestionError::Certificate(index + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            secure,
            authority: authority.to_string(),
            host,
            port: authority.port_u16(),
            target: uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
            method,
            headers,
            sni,
            chain: chain.into_iter().map(Into::into).collect(),
            client: question.client,
        })
    }
}
