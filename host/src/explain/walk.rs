//! The walk: each step may be the last one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Request};

use super::asked::Asked;
use super::{
    Answer, Backend, Certificate, Listener as ListenerSaid, Other, Outcome, Place, Question, QuestionError,
    Socket as SocketSaid, nearest, policies,
};
use crate::bootstrap::Bootstrap;
use crate::finding::{Finding, Places, Severity, Subject};
use crate::generation::{Generation, Listener, Part, Socket};
use crate::http::{
    CLIENT_CERTIFICATE, Head, Hop, Misdirection, Reason, choose, clean, gather, location, scheme, sent_host, sent_path,
    too_long,
};
use crate::model::{Action, Destination, Forward, Origin, Route, Transport};
use crate::object::ObjectKey;
use crate::plugin::{self, Failure, Router};
use crate::tls::{Handshake, Verification, describe, refusal, utc};
use crate::upstream::{Cluster, Endpoint};

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

pub(super) struct Walk<'v> {
    pub(super) asked: Asked,
    pub(super) view: View<'v>,
    pub(super) answer: Answer,
    /// On the way.
    pub(super) objects: BTreeSet<ObjectKey>,
    plugins: BTreeSet<String>,
}

/// The walk ends here.
pub(super) struct Stop {
    pub(super) outcome: Outcome,
    pub(super) status: Option<u16>,
    pub(super) because: String,
}

impl Stop {
    pub(super) fn no_connection(because: impl Into<String>) -> Self {
        Self { outcome: Outcome::NoConnection, status: None, because: because.into() }
    }

    pub(super) fn refused(reason: Reason, because: impl Into<String>) -> Self {
        let because = format!("{}: {}", reason.name(), because.into());
        Self { outcome: Outcome::Refused, status: Some(reason.status().as_u16()), because }
    }
}

fn speaks(transport: Transport) -> &'static str {
    match transport {
        Transport::Http => "HTTP in the clear",
        Transport::Tls => "TLS",
        Transport::Tcp => "TCP",
    }
}

impl Walk<'_> {
    fn go(&mut self, router: impl FnOnce(usize) -> Option<Result<Router, Failure>>) -> Result<(), Stop> {
        let socket = self.socket()?;
        if let Some(listener) = self.carrier(&socket) {
            return self.stream(&socket, &listener, router);
        }
        let handshake = if socket.is_secure() { Some(self.handshake(&socket)?) } else { None };
        let mut parts = self.request();
        let head = Head::new(&parts, &self.view.bootstrap.limits)
            .map_err(|error| Stop::refused(error.reason(), error.to_string()))?;
        let listener = self.listener(&socket, handshake.as_ref(), &head)?;
        let part = Arc::clone(&self.view.generation.parts[listener.plugin]);
        let told = handshake.and_then(|handshake| handshake.told);
        let hop = Hop::new(
            self.asked.client,
            self.asked.secure,
            &Arc::new(self.view.bootstrap.trust.clone()),
            &Arc::new(self.view.bootstrap.headers.clone()),
            told,
        );
        let client = self.clean(&mut parts, &hop);
        let route = self.route(&listener, &part, &parts, &head, (&hop, client), router)?;
        self.policies(&route, &parts, &part)?;
        self.action(&route, &part, &head, scheme(&parts.headers, socket.is_secure()))
    }

    /// The port of the URL is one that is bound, or else one that objects name.
    fn socket(&mut self) -> Result<Arc<Socket>, Stop> {
        let generation = self.view.generation;
        let secure = self.asked.secure;
        let bound = |port: u16| self.view.bootstrap.bound_port(port);
        let with_port = |port: u16| {
            let bound = generation.sockets.values().filter_map(|socket| Some((socket.address.inet()?, socket)));
            let on_port = |(address, _): &(SocketAddr, &Arc<Socket>)| address.port() == port;
            let ip: Option<IpAddr> = self.asked.host.parse().ok();
            let reached = |(address, _): &(SocketAddr, &Arc<Socket>)| {
                let everywhere = |ip: IpAddr| address.ip().is_unspecified() && address.is_ipv4() == ip.is_ipv4();
                ip.is_none_or(|ip| address.ip() == ip || everywhere(ip))
            };
            bound.filter(on_port).find(reached).map(|(_, socket)| Arc::clone(socket))
        };
        let own = if secure { 443 } else { 80 };
        let unix = self.asked.unix_socket.clone();
        let found = match self.asked.port {
            _ if unix.is_some() => unix.as_ref().and_then(|name| generation.sockets.get(name)).cloned(),
            Some(port) => with_port(port).or_else(|| with_port(bound(port))),
            None => with_port(bound(own)),
        };
        let port = self.asked.port.unwrap_or_else(|| bound(own));
        let Some(socket) = found else {
            let open: Vec<String> = generation
                .sockets
                .values()
                .map(|socket| format!("{} ({})", socket.address, speaks(socket.transport)))
                .collect();
            let open = if open.is_empty() {
                "nothing is served".to_owned()
            } else {
                format!("served are {}", open.join(", "))
            };
            let at =
                if self.asked.host.parse::<IpAddr>().is_ok() { format!("{} ", self.asked.host) } else { String::new() };
            let at = unix.map_or_else(|| format!("{at}port {port}"), |name| name.to_string());
            return Err(Stop::no_connection(format!("connection refused: no listener is on {at}; {open}")));
        };
        self.answer.socket = Some(SocketSaid { address: socket.address.to_string(), tls: socket.is_secure() });
        let asked = match secure {
            _ if self.asked.raw => Transport::Tcp,
            true => Transport::Tls,
            false => Transport::Http,
        };
        // Bytes may be a request too.
        if socket.transport != asked && socket.transport != Transport::Tcp {
            let better = match socket.transport {
                Transport::Http => "ask with http://",
                Transport::Tls => "ask with https://",
                Transport::Tcp => "ask with tcp://",
            };
            let because = format!("{} speaks {}: {better}", socket.address, speaks(socket.transport));
            return Err(Stop::no_connection(because));
        }
        Ok(socket)
    }

    /// What the TLS handshake comes to.
    pub(super) fn handshake(&mut self, socket: &Socket) -> Result<Handshake, Stop> {
        let sni = self.asked.sni.clone();
        let Some(listener) = socket.for_sni(sni.as_deref()) else {
            self.answer.other_listeners = nearest::listeners(self.view.generation, socket, sni.as_deref(), None);
            if socket.default_tls.is_some() {
                self.answer.action.push("the certificate of tls.defaultCredential is shown".to_owned());
                return Ok(Handshake::assumed(sni.as_deref(), None, self.asked.chain.clone()));
            }
            let because = match &sni {
                Some(sni) => format!("no listener claims SNI {sni} on {}", socket.address),
                None => format!("the client sends no SNI, and no listener on {} takes such clients", socket.address),
            };
            let what = if socket.some_http { "TLS alert unrecognized_name" } else { "the connection is closed" };
            return Err(Stop::no_connection(format!("{what}: {because}")));
        };
        let listener = Arc::clone(listener);
        self.meet(&listener);
        self.answer.other_listeners =
            nearest::listeners(self.view.generation, socket, sni.as_deref(), Some(&listener.name));
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
        self.client(tls.verification.as_ref())?;
        Ok(Handshake::assumed(sni.as_deref(), Some((Arc::clone(&listener.name), &**tls)), self.asked.chain.clone()))
    }

    /// What becomes of the client's own certificate.
    fn client(&mut self, verification: Option<&Verification>) -> Result<(), Stop> {
        let chain = &self.asked.chain;
        let given = chain.first().map(|leaf| describe(leaf).unwrap_or_else(|| "one that cannot be read".to_owned()));
        let Some(verification) = verification else {
            let given = if given.is_some() { ", and looks at none" } else { "" };
            self.answer.client_certificate = Some(format!("the listener asks for no certificate{given}"));
            return Ok(());
        };
        let authorities = verification.authorities().iter().map(|name| format!("{name:?}")).collect::<Vec<_>>();
        let sources = verification.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let wanted = format!("the listener asks for a certificate by {} (of {sources})", authorities.join(" or "));
        let verified = verification.verify(chain);
        let verdict = match (&given, &verified) {
            (None, Ok(())) => "the client gives none, which is accepted".to_owned(),
            (None, Err(_)) => "the client gives none".to_owned(),
            (Some(given), Ok(())) => format!("the client gives {given}, which is accepted"),
            (Some(given), Err(error)) => format!("the client gives {given}: {}", refusal(error)),
        };
        self.answer.client_certificate = Some(format!("{wanted}; {verdict}"));
        verified.map_err(|error| Stop::no_connection(format!("client certificate refused: {}", refusal(&error))))
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
            // More headers than a map can hold are too many anyway.
            let _ = parts.headers.try_insert(HOST, authority);
        }
        parts
    }

    fn listener(&mut self, socket: &Socket, handshake: Option<&Handshake>, head: &Head) -> Result<Arc<Listener>, Stop> {
        let listener = match choose(socket, handshake, &head.host) {
            Ok(listener) => Arc::clone(listener),
            Err(why) => {
                let host = &head.host;
                let own = self.answer.listener.as_ref().map(|listener| listener.name.as_str());
                self.answer.other_listeners = nearest::listeners(self.view.generation, socket, Some(host), own);
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
                nearest::listeners(self.view.generation, socket, Some(&head.host), Some(&listener.name));
        }
        self.meet(&listener);
        match &listener.refused {
            Some(why) => Err(Stop::refused(Reason::ListenerRefused, why.as_str())),
            None => Ok(listener),
        }
    }

    /// What of the headers comes to the router, and the client's address when a proxy says it.
    fn clean(&mut self, parts: &mut Parts, hop: &Hop) -> Option<IpAddr> {
        let client = hop.client(&parts.headers);
        if let Some(client) = client {
            self.answer.action.push(format!("the client is {client}, says the trusted proxy {}", self.asked.client));
        }
        clean(&mut parts.headers, hop, client, &HeaderValue::from_static("explain"));
        if parts.headers.contains_key(CLIENT_CERTIFICATE) {
            self.answer.action.push(format!("{CLIENT_CERTIFICATE} tells the endpoint of the client's certificate"));
        }
        client
    }

    fn route(
        &mut self,
        listener: &Listener,
        part: &Part,
        parts: &Parts,
        head: &Head,
        (hop, client): (&Hop, Option<IpAddr>),
        router: impl FnOnce(usize) -> Option<Result<Router, Failure>>,
    ) -> Result<Arc<Route>, Stop> {
        let failed = |failure: Failure| Stop::refused(Reason::PluginFailed, failure.to_string());
        self.answer.plugin = Some(part.plugin.to_string());
        let mut router = match router(listener.plugin) {
            Some(router) => router.map_err(failed)?,
            None => return Err(Stop::refused(Reason::PluginFailed, "the plugin has no translation")),
        };
        let gathered = gather(&listener.inputs, parts, head, hop, client);
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
        self.answer.route_because = explanation.because;
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

    fn policies(&mut self, route: &Route, parts: &Parts, part: &Part) -> Result<(), Stop> {
        let told = policies::told(route, parts, part);
        self.answer.action.extend(told.sentences);
        match told.answered {
            None => Ok(()),
            Some((status, because)) => Err(Stop { outcome: Outcome::Answered, status: Some(status), because }),
        }
    }

    fn action(&mut self, route: &Route, part: &Part, head: &Head, scheme: &str) -> Result<(), Stop> {
        match &route.action {
            Action::Refused(why) => Err(Stop::refused(Reason::RouteRefused, why.as_str())),
            Action::Respond(response) => {
                let status = response.status.as_u16();
                let because = format!("the route answers {status} itself");
                Err(Stop { outcome: Outcome::Answered, status: Some(status), because })
            }
            Action::Redirect(redirect) => {
                let because = format!("the client is sent to {}", location(redirect, head, scheme));
                Err(Stop { outcome: Outcome::Redirected, status: Some(redirect.status.as_u16()), because })
            }
            Action::Forward(forward) => self.forward(forward, part, head),
        }
    }

    fn forward(&mut self, forward: &Forward, part: &Part, head: &Head) -> Result<(), Stop> {
        let sent = sent_path(forward, head).map_err(|(reason, why)| Stop::refused(reason, why))?;
        if sent.path() != head.path {
            self.answer.action.push(format!("the path becomes {}", sent.path()));
        }
        if let Some(timeout) = forward.timeout {
            self.answer.action.push(format!("the whole exchange may take {timeout:?}"));
        }
        let mut able: Vec<&Cluster> = Vec::new();
        let mut unable = None;
        for target in &forward.targets {
            let (cluster, stop) = match &target.to {
                Destination::Respond(response) => {
                    let status = response.status.as_u16();
                    let because = format!("the gateway answers {status} for this backend");
                    (None, Some(Stop { outcome: Outcome::Refused, status: Some(status), because }))
                }
                Destination::Cluster(index) => {
                    let Some(cluster) = part.clusters.get(*index) else { continue };
                    self.objects.insert(cluster.origin.object.clone());
                    (Some(&**cluster), why_unable(cluster))
                }
            };
            able.extend(cluster.filter(|_| stop.is_none() && target.weight > 0));
            self.answer.backends.push(Backend {
                cluster: cluster.map(|cluster| cluster.name.to_string()),
                weight: target.weight,
                of: forward.total,
                host: sent_host(forward, target).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
                endpoints: cluster.map(endpoints).unwrap_or_default(),
                refused: stop.as_ref().map(|stop| stop.because.clone()),
            });
            unable = unable.or(stop);
        }
        if let (true, Some(stop)) = (able.is_empty(), unable) {
            return Err(stop);
        }
        let names: Vec<&str> = able.iter().map(|cluster| &*cluster.name).collect();
        let all_fail = able.iter().flat_map(|cluster| &cluster.endpoints).all(|endpoint| endpoint.unreached() > 0);
        let but = if all_fail { ", but the last connections to each of them failed: 503" } else { "" };
        self.answer.because = format!("to an endpoint of {}{but}", names.join(" or "));
        self.answer.outcome = Outcome::Forwarded;
        Ok(())
    }

    /// What a listener brings onto the way.
    pub(super) fn meet(&mut self, listener: &Listener) {
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

    /// What was found about the objects on the way and about the host; all errors when that explains nothing.
    fn find(&mut self) {
        let refused = matches!(self.answer.outcome, Outcome::NoConnection | Outcome::Refused);
        let host = self.asked.sni.as_deref().unwrap_or(&self.asked.host);
        let quoted = format!("`{host}`");
        let listener = self.answer.listener.as_ref();
        // Other listeners of the same object are not on the way.
        let elsewhere = |key: &ObjectKey, field: &str| {
            listener.is_some_and(|listener| {
                let origin = &listener.origin;
                key.to_string() == origin.object
                    && !field.starts_with(&origin.field)
                    && !origin.field.starts_with(field)
            })
        };
        let on_the_way = |finding: &Finding| match &finding.subject {
            Subject::Object { key, field } => self.objects.contains(key) && !elsewhere(key, field),
            Subject::Plugin(name) => self.plugins.contains(name),
            Subject::File { .. } => finding.severity == Severity::Error,
            Subject::Socket(_) | Subject::Source(_) => false,
        };
        let about = |finding: &Finding| {
            finding.severity != Severity::Info && (on_the_way(finding) || finding.message.contains(&quoted))
        };
        let explained = self.view.findings.iter().any(about);
        let told =
            |finding: &&Finding| about(finding) || (refused && !explained && finding.severity == Severity::Error);
        let findings = self.view.findings.iter().filter(told).map(|finding| finding.to_json(self.view.places));
        self.answer.findings = findings.collect();
    }
}

pub(super) fn place(name: &str, origin: &Origin) -> Place {
    Place { name: name.to_owned(), object: origin.object.to_string(), field: origin.field.clone() }
}

pub(super) fn endpoints(cluster: &Cluster) -> Vec<String> {
    let health = |endpoint: &Endpoint| match (endpoint.unreached(), endpoint.last_failure()) {
        _ if endpoint.left_out().is_some() => {
            let left = endpoint.left_out().unwrap_or_default().as_secs_f64().ceil();
            format!(" (left out for {left} s more, because it kept failing)")
        }
        (0, _) => String::new(),
        (1, why) => format!(" (the last connection failed: {why})"),
        (some, why) => format!(" (the last {some} connections failed: {why})"),
    };
    cluster.endpoints.iter().map(|endpoint| format!("{}{}", endpoint.address, health(endpoint))).collect()
}

pub(super) fn why_unable(cluster: &Cluster) -> Option<Stop> {
    match &cluster.refused {
        Some(why) => Some(Stop::refused(Reason::ClusterRefused, why.as_str())),
        None if cluster.endpoints.is_empty() => {
            Some(Stop::refused(Reason::NoEndpoint, format!("cluster {} has no endpoint", cluster.name)))
        }
        None => None,
    }
}
