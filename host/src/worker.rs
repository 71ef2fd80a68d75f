//! A thread that serves requests: its own sockets, its own plugin instances, its own connections to endpoints. Nothing
//! on the path of a request is shared with another worker and locked.

mod accept;
mod connection;
mod decisions;
mod guarded;
mod joined;
mod places;
mod report;
mod routers;

use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc as sync_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

pub use accept::Listening;
pub use connection::{Connection, InFlight, Progress};
pub use places::{Place, Places};
pub use report::{Pulse, Report};
pub use routers::{Loaded, PluginReport, RouteError};

use crate::bootstrap::{Bootstrap, Headers, Limits, Trust};
use crate::generation::Generation;
use crate::plugin::{ConnectionHead, Head, Router};
use crate::socket_name::SocketName;
use crate::tally::Tally;
use crate::upstream::Pool;
use routers::Routers;

/// How often idle connections to endpoints are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// How long a drain goes on taking connections that the kernel has accepted already.
const BACKLOG: Duration = Duration::from_secs(1);

/// What control tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Serve this from now on.
    Publish(Box<Publication>),
    /// A spare instance that the worker asked for.
    Spare {
        /// Index of the plugin.
        plugin: usize,
        /// Which table it has loaded.
        table: u64,
        /// The instance.
        router: Box<Router>,
    },
    /// Tell that it lives.
    Ping(mpsc::UnboundedSender<Pulse>),
    /// Tell how it goes.
    Report(mpsc::UnboundedSender<Report>),
    /// What of a re-read bootstrap file concerns requests.
    Settings(Settings),
    /// Take no new connections, end those there are, and stop.
    Drain,
}

/// What of the bootstrap file concerns requests.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time-outs, sizes and counts.
    pub limits: Arc<Limits>,
    /// Whose forwarded headers count.
    pub trust: Arc<Trust>,
    /// What is said of clients and of the gateway.
    pub headers: Arc<Headers>,
}

impl From<&Bootstrap> for Settings {
    fn from(bootstrap: &Bootstrap) -> Self {
        Self {
            limits: Arc::new(bootstrap.limits.clone()),
            trust: Arc::new(bootstrap.trust.clone()),
            headers: Arc::new(bootstrap.headers.clone()),
        }
    }
}

/// A generation with what a worker needs of its own to serve it.
#[derive(Debug)]
pub struct Publication {
    /// What is served.
    pub generation: Arc<Generation>,
    /// Sockets that are new in it.
    pub sockets: Vec<(SocketName, Listening)>,
    /// Instances of plugins whose table is new in it.
    pub routers: Vec<Loaded>,
    /// Told when every new request of this worker is served by the generation. It takes the instances that were replaced:
    /// unmapping their memory is not for a thread that serves.
    pub done: sync_mpsc::Sender<Vec<Router>>,
}

/// What a worker tells control.
#[derive(Clone, Copy, Debug)]
pub struct SpareWanted {
    /// Which worker.
    pub worker: usize,
    /// Index of the plugin.
    pub plugin: usize,
}

/// A running worker, as control sees it.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Starts a worker that serves nothing yet. `share` is how many connections it may have open on either side.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        index: usize,
        settings: Settings,
        share: usize,
        wanted: impl Fn(SpareWanted) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!(%error, "a worker cannot start"),
            };
            let worker = Worker::new(index, settings, share, Box::new(wanted));
            runtime.block_on(worker.run(inbox));
        })?;
        Ok(Self { commands, thread })
    }

    /// The way to tell it something from elsewhere.
    #[must_use]
    pub fn commands(&self) -> mpsc::UnboundedSender<Command> {
        self.commands.clone()
    }

    /// Tells the worker something; false when it is gone.
    pub fn tell(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }

    /// Waits for the end that [`Command::Drain`] asked for.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a worker ended by a panic");
        }
    }
}

/// What all connections of one worker share.
pub struct Worker {
    index: usize,
    generation: RefCell<Arc<Generation>>,
    routers: RefCell<Routers>,
    settings: RefCell<Settings>,
    /// To endpoints.
    pub pool: Pool,
    /// Requests that are made to wait.
    pub delays: Places,
    /// Copies of requests that are on their way.
    pub mirrors: Places,
    connections: Cell<usize>,
    handshakes: Cell<usize>,
    share: usize,
    draining: watch::Sender<bool>,
    spare: joined::Spare,
    tally: RefCell<Tally>,
}

impl Worker {
    fn new(index: usize, settings: Settings, share: usize, wanted: Box<dyn Fn(SpareWanted)>) -> Rc<Self> {
        let pool = Pool::new(&settings.limits, share);
        let ask = move |plugin| wanted(SpareWanted { worker: index, plugin });
        Rc::new(Self {
            index,
            generation: RefCell::default(),
            routers: RefCell::new(Routers::new(settings.limits.route_decisions, Box::new(ask))),
            settings: RefCell::new(settings),
            pool,
            delays: Places::default(),
            mirrors: Places::default(),
            connections: Cell::new(0),
            handshakes: Cell::new(0),
            share,
            draining: watch::Sender::new(false),
            spare: joined::Spare::default(),
            tally: RefCell::default(),
        })
    }

    /// What is served now.
    #[must_use]
    pub fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.generation.borrow())
    }

    /// Time-outs, sizes and counts.
    #[must_use]
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.settings.borrow().limits)
    }

    /// Whose forwarded headers count.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.settings.borrow().trust)
    }

    /// What is said of clients and of the gateway.
    #[must_use]
    pub fn headers(&self) -> Arc<Headers> {
        Arc::clone(&self.settings.borrow().headers)
    }

    /// What it counts.
    pub fn tally(&self) -> RefMut<'_, Tally> {
        self.tally.borrow_mut()
    }

    /// Asks a plugin for a route of this table.
    ///
    /// # Errors
    /// When the plugin fails, or is not to be called after it failed.
    pub fn route(&self, plugin: usize, table: u64, head: Head<'_>) -> Result<Option<u32>, RouteError> {
        self.routers.borrow_mut().route(plugin, table, head)
    }

    /// Asks a plugin for a stream route of this table.
    ///
    /// # Errors
    /// When the plugin fails, or is not to be called after it failed.
    pub fn route_connection(
        &self,
        plugin: usize,
        table: u64,
        head: ConnectionHead<'_>,
    ) -> Result<Option<u32>, RouteError> {
        self.routers.borrow_mut().route_connection(plugin, table, head)
    }

    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Command>) {
        let mut accepting: HashMap<SocketName, AbortHandle> = HashMap::new();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let command = tokio::select! {
                command = inbox.recv() => command,
                _ = sweep.tick() => {
                    self.pool.sweep();
                    continue;
                }
            };
            match command {
                Some(Command::Publish(publication)) => self.publish(*publication, &mut accepting),
                Some(Command::Drain) | None => break,
                Some(other) => self.obey(other),
            }
        }
        // Each takes what the kernel has already accepted, and ends.
        self.draining.send_replace(true);
        let backlog = tokio::time::timeout(BACKLOG, async {
            while accepting.values().any(|task| !task.is_finished()) {
                tokio::task::yield_now().await;
            }
        });
        if backlog.await.is_err() {
            accepting.into_values().for_each(|task| task.abort());
        }
        // Whoever asks meanwhile is answered.
        let mut drained = pin!(self.drain());
        loop {
            tokio::select! {
                () = drained.as_mut() => return,
                Some(command) = inbox.recv() => self.obey(command),
            }
        }
    }

    /// What a worker does in its drain too.
    fn obey(&self, command: Command) {
        match command {
            Command::Spare { plugin, table, router } => {
                self.routers.borrow_mut().add_spare(plugin, table, *router);
            }
            Command::Ping(to) => drop(to.send(self.pulse())),
            Command::Report(to) => drop(to.send(self.report())),
            Command::Settings(settings) => *self.settings.borrow_mut() = settings,
            Command::Publish(_) | Command::Drain => {}
        }
    }

    /// Instances first, then the generation that may call them, then the sockets that lead to it.
    fn publish(self: &Rc<Self>, publication: Publication, accepting: &mut HashMap<SocketName, AbortHandle>) {
        let Publication { generation, sockets, routers, done } = publication;
        let replaced = self.routers.borrow_mut().replace(routers);
        *self.generation.borrow_mut() = Arc::clone(&generation);
        self.tally().settle();
        accepting.retain(|address, task| {
            let kept = generation.sockets.contains_key(address);
            if !kept {
                task.abort();
            }
            kept
        });
        for (address, socket) in sockets {
            match accept::start(self, address.clone(), socket) {
                Ok(task) => drop(accepting.insert(address, task)),
                Err(error) => tracing::error!(%address, %error, "cannot accept on the socket"),
            }
        }
        let _ = done.send(replaced);
    }

    /// Ends connections as soon as they have no request in flight, and all of them when the time is over.
    async fn drain(&self) {
        let limit = self.limits().drain_timeout;
        let empty = async {
            while self.connections.get() > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(limit, empty).await.is_err() {
            tracing::warn!(connections = self.connections.get(), "connections are cut after limits.drainTimeout");
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("connections", &self.connections.get()).finish_non_exhaustive()
    }
}
