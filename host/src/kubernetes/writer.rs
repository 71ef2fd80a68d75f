//! Writes statuses, and has the keeper write what is kept for their objects, while this replica is the one that does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::Request;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch as latest;
use tokio::time::Instant;

use super::Statuses;
use super::keeper::Keeper;
use super::object::Seen;
use super::resource::Served;
use super::status::{merged, patch, withdrawn};
use super::store::Store;
use super::write::{self, AT_LATEST, Rate, TRY_AGAIN, Written};
use crate::object::ObjectKey;

/// With so many writes to do, or a few more, it is looked again afterwards what is wanted.
pub(super) const IN_ONE_TURN: usize = 64;
/// Writes that are on their way at one time.
pub(super) const AT_ONCE: usize = 8;
/// How soon all statuses are compared again after some were written, by us or by others.
const COMPARE_AGAIN: Duration = Duration::from_millis(250);
/// Objects that are looked at before the watches have their turn.
pub(super) const LOOK_AT: usize = 256;

pub(super) struct Writer {
    client: Client,
    store: Arc<Store>,
    rate: Rate,
    keeper: Keeper,
    settled: HashMap<ObjectKey, Settled>,
    /// Objects whose last write failed, and when there may be another.
    waiting: HashMap<ObjectKey, Instant>,
    /// What was last said of writes that fail.
    said: Option<String>,
}

/// An object with which there is nothing to do.
struct Settled {
    /// Its version, which every write changes. After one of ours it is the version before: there is a newer one, which was
    /// not seen yet.
    version: String,
    /// The status that it should have; none if it is not ours.
    wanted: Option<Arc<Value>>,
}

impl Settled {
    fn covers(&self, version: &str, wanted: Option<&Arc<Value>>) -> bool {
        let same = match (&self.wanted, wanted) {
            (Some(was), Some(is)) => Arc::ptr_eq(was, is),
            (None, None) => true,
            _ => false,
        };
        self.version == version && same
    }
}

/// A write that is to be done.
struct Write {
    key: ObjectKey,
    served: Served,
    version: String,
    wanted: Option<Arc<Value>>,
    patch: Value,
}

impl Writer {
    pub(super) fn new(client: Client, store: Arc<Store>) -> Self {
        let rate = Rate::new(Instant::now());
        let keeper = Keeper::new(client.clone(), Arc::clone(&store));
        Self { client, store, rate, keeper, settled: HashMap::new(), waiting: HashMap::new(), said: None }
    }

    /// Brings the objects' statuses to what they should be, whenever one of the two changes.
    pub(super) async fn run(
        mut self,
        mut statuses: latest::Receiver<Arc<Statuses>>,
        mut leads: latest::Receiver<bool>,
    ) {
        loop {
            let wanted = Arc::clone(&statuses.borrow_and_update());
            let mut again = None;
            if *leads.borrow_and_update() {
                // Whoever reads of a status that all is well finds what is kept for the object.
                let kept = self.keeper.keep(&wanted, &leads, &self.rate).await;
                let written = self.write(&wanted, &leads).await;
                again = kept.into_iter().chain(written).min();
            } else {
                // Another replica may write from now on.
                self.keeper.forget();
                self.settled.clear();
                self.waiting.clear();
            }
            let store = Arc::clone(&self.store);
            let moved = async {
                tokio::time::sleep(COMPARE_AGAIN).await;
                store.moved.notified().await;
            };
            let timer = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = statuses.changed() => if changed.is_err() { return },
                changed = leads.changed() => if changed.is_err() { return },
                () = moved => {}
                () = timer => {}
            }
        }
    }

    /// Writes what differs; when to try again what could not be.
    async fn write(&mut self, wanted: &Statuses, leads: &latest::Receiver<bool>) -> Option<Instant> {
        let now = Instant::now();
        self.waiting.retain(|_, until| *until > now);
        let differences = self.differences(wanted).await;
        let more = differences.len() >= IN_ONE_TURN;
        let (client, rate) = (&self.client, &self.rate);
        let writes = futures_util::stream::iter(differences).map(|write| async move {
            // Another replica may have taken over, before or meanwhile.
            if *leads.borrow() {
                rate.wait().await;
            }
            let leads = *leads.borrow();
            let outcome = if leads { send(client, &write).await } else { Written::Overtaken };
            (write, outcome)
        });
        let outcomes: Vec<(Write, Written)> = writes.buffer_unordered(AT_ONCE).collect().await;
        let mut failure = None;
        for (write, outcome) in outcomes {
            match outcome {
                Written::Yes | Written::Gone => {
                    let Write { key, version, wanted, .. } = write;
                    self.settled.insert(key, Settled { version, wanted });
                }
                Written::Overtaken => drop(self.waiting.insert(write.key, Instant::now() + TRY_AGAIN / 4)),
                Written::NotHeard => drop(self.waiting.insert(write.key, Instant::now() + TRY_AGAIN)),
                Written::No(why, pause) => {
                    failure = Some(format!("{}: {why}", write.key));
                    self.waiting.insert(write.key, Instant::now() + pause.unwrap_or(TRY_AGAIN).min(AT_LATEST));
                }
            }
        }
        if let Some(why) = failure.as_ref().filter(|why| self.said.as_ref() != Some(why)) {
            let remedy = "grant patch on the status of what the gateway reads (docs/kubernetes.md has the roles)";
            tracing::warn!(remedy, "a status cannot be written, which is tried again: {why}");
        }
        // As long as one waits, what was said of it need not be said again.
        self.said = failure.or_else(|| self.said.take().filter(|_| !self.waiting.is_empty()));
        if more { Some(Instant::now()) } else { self.waiting.values().min().copied() }
    }

    /// What is to be written in one turn; then it is looked again, as in the meantime others may be wanted.
    async fn differences(&mut self, wanted: &Statuses) -> Vec<Write> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut writes = Vec::new();
        let mut keys: Vec<&ObjectKey> = wanted.by_object.keys().collect();
        keys.sort_unstable();
        for some in keys.chunks(LOOK_AT) {
            self.store.look(|view| {
                for key in some.iter().filter(|key| !self.waiting.contains_key(**key)) {
                    let status = &wanted.by_object[*key];
                    let Some((served, seen)) = view.find(key) else { continue };
                    let to = |current: &Value| Some(merged(status, current, &wanted.controller, &now));
                    writes.extend(difference(&mut self.settled, served, seen, Some(status), to));
                }
            });
            if writes.len() >= IN_ONE_TURN {
                return writes;
            }
            // The watches come first.
            tokio::task::yield_now().await;
        }
        let mut there = HashSet::new();
        self.store.look(|view| {
            for (served, seen) in view.objects(wanted.read).filter(|(_, seen)| seen.object.status().is_some()) {
                let key = &seen.object.key;
                there.insert(key.clone());
                if wanted.all && !wanted.by_object.contains_key(key) && !self.waiting.contains_key(key) {
                    let to = |current: &Value| withdrawn(current, &wanted.controller);
                    writes.extend(difference(&mut self.settled, served, seen, None, to));
                }
            }
        });
        self.settled.retain(|key, _| there.contains(key) || wanted.by_object.contains_key(key));
        writes
    }
}

/// What is to be written to an object; none if nothing is, which is remembered.
fn difference(
    settled: &mut HashMap<ObjectKey, Settled>,
    served: &Served,
    seen: &Seen,
    wanted: Option<&Arc<Value>>,
    to: impl Fn(&Value) -> Option<Value>,
) -> Option<Write> {
    let key = &seen.object.key;
    if settled.get(key).is_some_and(|settled| settled.covers(&seen.version, wanted)) {
        return None;
    }
    let current = seen.object.status().map_or(&Value::Null, |status| &**status);
    let (version, wanted) = (seen.version.clone(), wanted.cloned());
    match to(current).and_then(|to| patch(current, &to)) {
        Some(patch) => Some(Write { key: key.clone(), served: served.clone(), version, wanted, patch }),
        None => {
            settled.insert(key.clone(), Settled { version, wanted });
            None
        }
    }
}

async fn send(client: &Client, write: &Write) -> Written {
    let resource = &write.served.resource;
    let api: Api<DynamicObject> = if write.served.namespaced {
        Api::namespaced_with(client.clone(), &write.key.namespace, resource)
    } else {
        Api::all_with(client.clone(), resource)
    };
    // With its version, so that a write in between is noticed.
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": write.version}, "status": write.patch}));
    let request = Request::new(api.resource_url());
    write::send(client, request.patch_subresource("status", &write.key.name, &PatchParams::default(), &patch)).await
}
