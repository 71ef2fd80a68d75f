//! The Kubernetes API as a source of objects, and the place where their statuses are written.
//!
//! ```text
//!  API server ── watch (one task for each kind, secret, namespace of pods) ──→ store ── Snapshot ──→ control
//!             ←─ writer, keeper (while this replica holds the lease) ←── statuses, fronts ←──────── control
//! ```
//!
//! One thread with a runtime of its own talks to the API server; control takes what the store holds and never waits for
//! the network, but for a moment where an object names a secret that was not read before.

mod client;
mod disk;
mod front;
mod keeper;
mod lease;
mod object;
mod pace;
mod resource;
mod status;
mod store;
mod wants;
mod watch;
mod write;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::Value;
use tokio::sync::{mpsc, watch as latest};
use tokio::task::{AbortHandle, LocalSet};

pub use self::client::ConnectError;
use self::disk::Disk;
pub use self::front::{Front, Fronts, Mark, Owner, Port, may_be_endpoint, service_key, slice_keys};
use self::store::Store;
pub use self::wants::Wants;
use self::wants::Watched;
use crate::bootstrap;
use crate::object::ObjectKey;
use crate::plugin::Status;
use crate::snapshot::Snapshot;

/// For an API server that answers no more, when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// How long a start waits for the API server before it takes what is on disk.
const BEFORE_DISK: Duration = Duration::from_secs(10);
/// How long after a change what is there is kept on disk, with all changes in between.
const KEEP_AFTER: Duration = Duration::from_secs(5);

/// Statuses as they should be, and what is to be kept for their objects.
#[derive(Debug, Default)]
struct Statuses {
    fronts: Fronts,
    by_object: HashMap<ObjectKey, Arc<Value>>,
    /// These are all: what of ours is on another object is to be taken back.
    all: bool,
    /// The name that entries of ours carry.
    controller: String,
    /// How often everything had been read for them.
    read: u64,
}

/// What the thread is told.
enum Order {
    Watch(BTreeSet<Watched>),
    Stop,
}

/// A cluster, as control sees it.
pub struct Cluster {
    store: Arc<Store>,
    orders: mpsc::UnboundedSender<Order>,
    statuses: latest::Sender<Arc<Statuses>>,
    wanted: Option<Wants>,
    thread: Option<JoinHandle<()>>,
}

impl Cluster {
    /// Begins to talk to the API server. `hint` is called when something that is read has changed, once until
    /// [`Cluster::take_hint`].
    ///
    /// # Errors
    /// When there is nothing that says where the API server is, or there can be no thread.
    pub fn start(
        config: &bootstrap::Kubernetes,
        hint: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ConnectError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(client::connect(config))?;
        let store = Arc::new(Store::new(config.secrets, hint));
        let disk = config.snapshot.as_ref().map(Disk::new).transpose()?;
        if let Some(disk) = &disk {
            match disk.load() {
                Ok(objects) => store.restore(objects),
                Err(error) => tracing::warn!("what is kept on disk is of no use: {error}"),
            }
        }
        let (orders, inbox) = mpsc::unbounded_channel();
        let (statuses, wanted_statuses) = latest::channel(Arc::default());
        let task = Task { client, store: Arc::clone(&store), lease: config.status.then(|| config.lease.clone()), disk };
        let thread = std::thread::Builder::new().name("kubernetes".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, task.run(inbox, wanted_statuses));
        })?;
        Ok(Self { store, orders, statuses, wanted: None, thread: Some(thread) })
    }

    /// Says what is to be read from now on.
    pub fn want(&mut self, wants: Wants) {
        if self.wanted.as_ref() == Some(&wants) {
            return;
        }
        // The thread ends with this value.
        let _ = self.orders.send(Order::Watch(self.store.want(&wants)));
        self.wanted = Some(wants);
    }

    /// Waits until what is wanted by name is known, or there is no more time.
    pub fn wait_for_named(&self, patience: Duration) {
        self.store.wait_for_named(Instant::now() + patience);
    }

    /// Waits until all that is wanted is known, or there is no more time; whether it is.
    pub fn wait(&self, patience: Duration) -> bool {
        self.store.wait(Instant::now() + patience)
    }

    /// Whether there is something new to read, and it is time to: in a burst of changes it is not.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.store.is_due(Instant::now())
    }

    /// Takes the hint; whether there was one.
    pub fn take_hint(&self) -> bool {
        self.store.take_hint()
    }

    /// Whether anything happened since this was last asked.
    pub fn is_stirred(&self) -> bool {
        self.store.is_stirred()
    }

    /// All objects as they are now; none until everything that is wanted was read once.
    #[must_use]
    pub fn read(&self) -> Option<Snapshot> {
        self.store.read()
    }

    /// The same objects with the secrets, ConfigMaps and pods that are wanted by now.
    #[must_use]
    pub fn complete(&self, snapshot: Snapshot) -> Snapshot {
        self.store.complete(snapshot)
    }

    /// Has these statuses written, where they differ from what the objects have, and when these are `all` those of ours
    /// taken back that are on other objects; and before that what is to be kept for objects.
    pub fn report<'s>(&self, statuses: impl Iterator<Item = &'s Status>, all: bool, fronts: Fronts, controller: &str) {
        let by_object = statuses.map(|status| (status.object.clone(), Arc::clone(&status.status))).collect();
        let (controller, read) = (controller.to_owned(), self.store.reads());
        self.statuses.send_replace(Arc::new(Statuses { fronts, by_object, all, controller, read }));
    }

    /// Lets go of the lease, and reads no more.
    pub fn retire(&self) {
        let _ = self.orders.send(Order::Stop);
    }
}

impl Drop for Cluster {
    /// The lease is given back, so that another replica need not wait for its end.
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// What the thread does.
struct Task {
    client: Client,
    store: Arc<Store>,
    /// None where no status is written.
    lease: Option<String>,
    disk: Option<Disk>,
}

impl Task {
    async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>, statuses: latest::Receiver<Arc<Statuses>>) {
        let (leads, leading) = latest::channel(false);
        let lease = self.lease.map(|name| {
            let writer = writer::Writer::new(self.client.clone(), Arc::clone(&self.store));
            tokio::task::spawn_local(writer.run(statuses, leading));
            lease::Lease::new(self.client.clone(), name)
        });
        if let Some(disk) = self.disk {
            tokio::task::spawn_local(keep(disk, Arc::clone(&self.store)));
            tokio::task::spawn_local(fall_back(Arc::clone(&self.store)));
        }
        let (stop, stopped) = latest::channel(false);
        let elected = lease.map(|lease| tokio::task::spawn_local(lease.run(leads, stopped)));
        let mut watches: HashMap<Watched, AbortHandle> = HashMap::new();
        while let Some(Order::Watch(wanted)) = orders.recv().await {
            watches.retain(|watched, task| {
                let stays = wanted.contains(watched);
                if !stays {
                    task.abort();
                }
                stays
            });
            for watched in wanted {
                watches.entry(watched.clone()).or_insert_with(|| {
                    let watch = watch::watch(self.client.clone(), Arc::clone(&self.store), watched);
                    tokio::task::spawn_local(watch).abort_handle()
                });
            }
        }
        stop.send_replace(true);
        if let Some(elected) = elected {
            let _ = tokio::time::timeout(FAREWELL, elected).await;
        }
    }
}

/// Keeps on disk what is there.
async fn keep(mut disk: Disk, store: Arc<Store>) {
    loop {
        store.changed.notified().await;
        tokio::time::sleep(KEEP_AFTER).await;
        let Some(objects) = store.all() else { continue };
        // Disks may be slow, which the watches need not know.
        let saving = tokio::task::spawn_blocking(move || {
            let saved = disk.save(&objects);
            (disk, saved)
        });
        let Ok((back, saved)) = saving.await else { return };
        disk = back;
        if let Err(error) = saved {
            tracing::warn!("what is there is not kept on disk: {error}");
        }
    }
}

/// Has what is on disk used, when the API server is not there at the start.
async fn fall_back(store: Arc<Store>) {
    tokio::time::sleep(BEFORE_DISK).await;
    store.fall_back();
}
