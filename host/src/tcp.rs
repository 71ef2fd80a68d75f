//! Connections that are not read as requests: a route, an endpoint, and bytes both ways until both sides have ended or
//! are silent. One line of the access log each.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::generation::{Listener, Traffic};
use crate::http::Reason;
use crate::model::StreamRoute;
use crate::plugin::ConnectionHead;
use crate::pump::{pump, silence};
use crate::socket_name::SocketName;
use crate::tally::StreamEnded;
use crate::tls::Handshake;
use crate::upstream::{self, ClusterStream, connect_stream};
use crate::worker::{RouteError, Worker};

/// Who connected, and to what.
pub(crate) struct Caller {
    pub(crate) client: SocketAddr,
    /// The address that it connected to.
    pub(crate) local: SocketAddr,
    /// The socket that it came in on.
    pub(crate) socket: SocketName,
    /// What a client asked for whose TLS ends elsewhere.
    pub(crate) sealed_sni: Option<Rc<str>>,
    /// What TLS established that ends here.
    pub(crate) handshake: Option<Handshake>,
}

impl Caller {
    fn sni(&self) -> Option<&str> {
        let opened = self.handshake.as_ref().and_then(|handshake| handshake.sni.as_deref());
        opened.or(self.sealed_sni.as_deref())
    }
}

/// One connection on its way through. Dropping it writes its line.
pub(crate) struct Passage {
    worker: Rc<Worker>,
    caller: Caller,
    protocol: &'static str,
    traffic: Traffic,
    listener: Arc<str>,
    route: Option<Arc<StreamRoute>>,
    cluster: Option<Arc<str>>,
    endpoint: Option<SocketAddr>,
    reason: &'static str,
    detail: Option<String>,
    started: Instant,
    moved: Cell<Instant>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Passage {
    /// A connection that came in at a listener.
    pub(crate) fn new(worker: &Rc<Worker>, caller: Caller, listener: &Listener) -> Self {
        let started = Instant::now();
        Self {
            worker: Rc::clone(worker),
            protocol: match (listener.traffic, &listener.tls) {
                (Traffic::Sealed, _) => "TLS passthrough",
                (_, Some(_)) => "TLS",
                (_, None) => "TCP",
            },
            caller,
            traffic: listener.traffic,
            listener: Arc::clone(&listener.name),
            route: None,
            cluster: None,
            endpoint: None,
            // Should this be dropped on its way, as at the end of a drain.
            reason: "cut",
            detail: None,
            started,
            moved: Cell::new(started),
            received: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    /// A connection to an endpoint; none when there is to be none, which the log tells.
    pub(crate) async fn connect(&mut self) -> Option<ClusterStream> {
        match self.try_connect().await {
            Ok(stream) => {
                self.endpoint = Some(stream.endpoint);
                Some(stream)
            }
            Err((reason, detail)) => {
                self.reason = reason;
                self.detail = Some(detail);
                None
            }
        }
    }

    async fn try_connect(&mut self) -> Result<ClusterStream, (&'static str, String)> {
        // The generation is let go of before anything is waited for.
        let cluster = {
            let generation = self.worker.generation();
            let gone = || ("listener-gone", "the listener is not served any more".to_owned());
            let socket = generation.sockets.get(&self.caller.socket).ok_or_else(gone)?;
            let listener = socket.named(&self.listener).ok_or_else(gone)?;
            if listener.traffic != self.traffic {
                return Err(gone());
            }
            if let Some(why) = &listener.refused {
                return Err((Reason::ListenerRefused.name(), why.clone()));
            }
            // The handshake may be of a configuration before, or of a session that was resumed.
            if let (Some(handshake), Some(tls)) = (&self.caller.handshake, &listener.tls)
                && !handshake.still_satisfies(&tls.verification)
            {
                let why = "the client would not be accepted any more".to_owned();
                return Err(("client-certificate-refused", why));
            }
            let part = &generation.parts[listener.plugin];
            let source = self.caller.client.ip().to_canonical().to_string();
            let destination = self.caller.local.ip().to_canonical().to_string();
            let head = ConnectionHead {
                listener: listener.number,
                sni: self.caller.sni(),
                source: &source,
                destination: &destination,
            };
            let chosen = self.worker.route_connection(listener.plugin, part.table, head).map_err(|error| {
                let why = match error {
                    RouteError::Failed(failure) => failure.to_string(),
                    RouteError::Unavailable(why) => why.to_owned(),
                };
                (Reason::PluginFailed.name(), why)
            })?;
            let index = chosen.ok_or_else(|| (Reason::NoRoute.name(), "no rule matches".to_owned()))?;
            let route = part.streams.get(index as usize).ok_or_else(|| {
                (
                    Reason::PluginFailed.name(),
                    format!("the plugin chose stream route {index} of {}", part.streams.len()),
                )
            })?;
            self.route = Some(Arc::clone(route));
            let cluster = route.pick().and_then(|index| part.clusters.get(index));
            Arc::clone(cluster.ok_or_else(|| ("no-cluster", "its share leads nowhere".to_owned()))?)
        };
        self.cluster = Some(Arc::clone(&cluster.name));
        let caller = upstream::Caller::new(self.caller.client, self.caller.local);
        if let Some(why) = &cluster.refused {
            return Err((Reason::ClusterRefused.name(), why.clone()));
        }
        connect_stream(&self.worker.pool, &cluster, &caller).await.map_err(|error| {
            self.endpoint = error.endpoint();
            (Reason::from(&error).name(), error.to_string())
        })
    }

    /// Moves bytes. `early` is what the client has sent already.
    pub(crate) async fn carry(mut self, client: impl AsyncRead + AsyncWrite, early: Vec<u8>, endpoint: ClusterStream) {
        let own = self.worker.limits().stream_idle_timeout;
        let idle = self.route.as_ref().and_then(|route| route.idle_timeout).unwrap_or(own);
        let ended = {
            let this = &self;
            let (mut from_client, mut to_client) = tokio::io::split(client);
            let (mut from_endpoint, mut to_endpoint) = tokio::io::split(endpoint);
            let up = async {
                to_endpoint.write_all(&early).await?;
                this.count(&this.received, early.len());
                drop(early);
                pump(&mut from_client, &mut to_endpoint, |bytes| this.count(&this.received, bytes)).await
            };
            let down = pump(&mut from_endpoint, &mut to_client, |bytes| this.count(&this.sent, bytes));
            tokio::select! {
                ended = async { tokio::try_join!(up, down) } => ended.map_err(|error| ("broken", error.to_string())),
                () = silence(|| this.moved.get(), idle) => Err(("idle", format!("both sides were silent for {idle:?}"))),
            }
        };
        match ended {
            Ok(_) => self.reason = "ok",
            Err((reason, detail)) => {
                self.reason = reason;
                self.detail = Some(detail);
            }
        }
    }

    fn count(&self, of: &Cell<u64>, bytes: usize) {
        self.moved.set(Instant::now());
        of.set(of.get() + bytes as u64);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let route = self.route.as_ref().map(|route| route.name.as_str());
        self.worker.tally().stream(StreamEnded {
            listener: &self.listener,
            route: route.unwrap_or_default(),
            cluster: self.cluster.as_deref().unwrap_or_default(),
            reason: self.reason,
            received: self.received.get(),
            sent: self.sent.get(),
        });
        tracing::info!(
            target: "access",
            protocol = self.protocol,
            reason = self.reason,
            detail = self.detail.as_deref(),
            listener = &*self.listener,
            route,
            cluster = self.cluster.as_deref(),
            endpoint = self.endpoint.map(|endpoint| endpoint.to_string()),
            sni = self.caller.sni(),
            client = self.caller.client.ip().to_string(),
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes_received = self.received.get(),
            bytes_sent = self.sent.get(),
        );
    }
}
