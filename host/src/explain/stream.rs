//! The way of a connection that is not read as requests.

use std::sync::Arc;

use super::walk::{Stop, Walk, endpoints, place, why_unable};
use super::{Backend, Outcome};
use crate::generation::{Listener, Part, Socket, Traffic};
use crate::model::{StreamRoute, Transport};
use crate::plugin::{ConnectionHead, Failure, Router};

impl Walk<'_> {
    /// The listener of the connection, when it reads no requests.
    pub(super) fn carrier(&self, socket: &Socket) -> Option<Arc<Listener>> {
        let listener = match socket.transport {
            Transport::Http => return None,
            Transport::Tls => socket.for_sni(self.asked.sni.as_deref())?,
            Transport::Tcp => socket.for_sni(None)?,
        };
        (listener.traffic != Traffic::Requests).then(|| Arc::clone(listener))
    }

    /// From the listener to an endpoint.
    pub(super) fn stream(
        &mut self,
        socket: &Socket,
        listener: &Arc<Listener>,
        router: impl FnOnce(usize) -> Option<Result<Router, Failure>>,
    ) -> Result<(), Stop> {
        match (&listener.tls, &listener.refused) {
            (Some(_), _) => drop(self.handshake(socket)?),
            (None, refused) => {
                self.meet(listener);
                if let Some(why) = refused {
                    return Err(Stop::no_connection(format!("the listener refuses its clients: {why}")));
                }
            }
        }
        self.answer.action.push(
            match listener.traffic {
                Traffic::Sealed => {
                    "the client's TLS is not opened here: certificate and verification are the backend's"
                }
                _ => "what the client sends is not read here, and forwarded as it is",
            }
            .to_owned(),
        );
        let part = Arc::clone(&self.view.generation.parts[listener.plugin]);
        let route = self.stream_route(socket, listener, &part, router)?;
        self.shares(&route, &part)
    }

    fn stream_route(
        &mut self,
        socket: &Socket,
        listener: &Listener,
        part: &Part,
        router: impl FnOnce(usize) -> Option<Result<Router, Failure>>,
    ) -> Result<Arc<StreamRoute>, Stop> {
        let closed = |why: String| Stop::no_connection(format!("the connection is closed: {why}"));
        self.answer.plugin = Some(part.plugin.to_string());
        let mut router = match router(listener.plugin) {
            Some(router) => router.map_err(|failure| closed(failure.to_string()))?,
            None => return Err(closed("the plugin has no translation".to_owned())),
        };
        let source = self.asked.client.to_string();
        let destination = socket.address.ip().to_string();
        let sni = self.asked.sni.as_deref();
        let head = ConnectionHead { listener: listener.number, sni, source: &source, destination: &destination };
        let chosen = router.route_connection(head).map_err(|failure| closed(failure.to_string()))?;
        let index = chosen.ok_or_else(|| closed("no rule matches".to_owned()))?;
        let route = part.streams.get(index as usize).cloned();
        let route = route.ok_or_else(|| closed(format!("the plugin chose stream route {index}")))?;
        self.objects.insert(route.origin.object.clone());
        self.answer.route = Some(place(&route.name, &route.origin));
        Ok(route)
    }

    fn shares(&mut self, route: &StreamRoute, part: &Part) -> Result<(), Stop> {
        let mut unable = None;
        let mut able = Vec::new();
        for target in &route.targets {
            let cluster = target.cluster.and_then(|index| part.clusters.get(index));
            let why = match cluster {
                None => Some("it leads nowhere, so that its connections are closed".to_owned()),
                Some(cluster) => {
                    self.objects.insert(cluster.origin.object.clone());
                    why_unable(cluster).map(|stop| stop.because)
                }
            };
            if why.is_none() && target.weight > 0 {
                able.extend(cluster.map(|cluster| cluster.name.to_string()));
            }
            self.answer.backends.push(Backend {
                cluster: cluster.map(|cluster| cluster.name.to_string()),
                weight: target.weight,
                of: route.total,
                host: None,
                endpoints: cluster.map(|cluster| endpoints(cluster)).unwrap_or_default(),
                refused: why.clone(),
            });
            unable = unable.or(why);
        }
        if able.is_empty() {
            let why = unable.unwrap_or_else(|| "none of its targets has a weight".to_owned());
            return Err(Stop::no_connection(format!("the connection is closed: {why}")));
        }
        self.answer.outcome = Outcome::Forwarded;
        self.answer.because = format!("the connection is forwarded to {}", able.join(" or "));
        Ok(())
    }
}
