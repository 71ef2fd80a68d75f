//! Writes statuses, while this replica is the one that does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch as latest;
use tokio::time::Instant;

use super::Statuses;
use super::resource::Served;
use super::status::{merged, patch, withdrawn};
use super::store::Store;
use super::watch::sentence;
use crate::object::ObjectKey;

/// Writes in a second, in the long run, and how many may come at once.
const RATE: u32 = 50;
const BURST: u32 = 100;
/// Writes that are on their way at one time.
const AT_ONCE: usize = 8;
/// How soon all statuses are compared again after some were written, by us or by others.
const COMPARE_AGAIN: Duration = Duration::from_millis(250);
/// How soon a write that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    client: Client,
    store: Arc<Store>,
    controller: String,
    rate: Rate,
    /// The version of an object that was written over: there is a newer one, which was not seen yet.
    written: HashMap<ObjectKey, String>,
    /// What was last said of writes that fail.
    said: Option<String>,
}

/// A write that is to be done.
struct Write {
    key: ObjectKey,
    served: Served,
    version: String,
    patch: Value,
}

/// What became of a write.
enum Written {
    Yes,
    /// Somebody else wrote in between; or the object is gone. The watch is going to tell.
    Overtaken,
    No(String),
}

impl Writer {
    pub(super) fn new(client: Client, store: Arc<Store>, controller: String) -> Self {
        Self { client, store, controller, rate: Rate::new(Instant::now()), written: HashMap::new(), said: None }
    }

    /// Brings the objects' statuses to what they should be, whenever one of the two changes.
    pub(super) async fn run(
        mut self,
        mut statuses: latest::Receiver<Option<Statuses>>,
        mut leads: latest::Receiver<bool>,
    ) {
        loop {
            let wanted = statuses.borrow_and_update().clone();
            let mut again = None;
            match wanted {
                Some(wanted) if *leads.borrow_and_update() => {
                    if !self.write(&wanted, &leads).await {
                        again = Some(TRY_AGAIN);
                    }
                }
                // Another replica may write from now on.
                Some(_) | None => self.written.clear(),
            }
            let store = Arc::clone(&self.store);
            let moved = async {
                tokio::time::sleep(COMPARE_AGAIN).await;
                store.moved.notified().await;
            };
            let timer = async {
                match again {
                    Some(pause) => tokio::time::sleep(pause).await,
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

    /// Writes what differs; whether all of it could be.
    async fn write(&mut self, wanted: &Statuses, leads: &latest::Receiver<bool>) -> bool {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (client, rate) = (&self.client, &self.rate);
        let writes = futures_util::stream::iter(self.differences(wanted, &now)).map(|write| async move {
            rate.wait().await;
            // Meanwhile another replica may have taken over.
            let leads = *leads.borrow();
            let outcome = if leads { send(client, &write).await } else { Written::Overtaken };
            (write, outcome)
        });
        let outcomes: Vec<(Write, Written)> = writes.buffer_unordered(AT_ONCE).collect().await;
        let present: HashSet<&ObjectKey> = wanted.keys().collect();
        self.written.retain(|key, _| present.contains(key));
        let mut failure = None;
        let mut overtaken = false;
        for (write, outcome) in outcomes {
            match outcome {
                Written::Yes => drop(self.written.insert(write.key, write.version)),
                Written::Overtaken => overtaken = true,
                Written::No(why) => failure = Some(format!("{}: {why}", write.key)),
            }
        }
        if let Some(why) = failure.as_ref().filter(|why| self.said.as_ref() != Some(why)) {
            let remedy = "grant patch on the status of what the gateway reads (docs/kubernetes.md has the roles)";
            tracing::warn!(remedy, "a status cannot be written, which is tried again: {why}");
        }
        let all = failure.is_none() && !overtaken;
        self.said = failure;
        all
    }

    fn differences(&self, wanted: &Statuses, now: &str) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut difference = |key: &ObjectKey, to: &dyn Fn(&Value) -> Option<Value>| {
            let Some((served, seen)) = self.store.find(key) else { return };
            if self.written.get(key) == Some(&seen.version) {
                return;
            }
            let current = seen.object.status().map_or(&Value::Null, |status| &**status);
            let change = to(current).and_then(|to| patch(current, &to));
            if let Some(change) = change {
                writes.push(Write { key: key.clone(), served, version: seen.version, patch: change });
            }
        };
        for (key, status) in wanted.iter() {
            difference(key, &|current| Some(merged(status, current, &self.controller, now)));
        }
        for (key, status) in self.store.statuses() {
            if !wanted.contains_key(&key) && withdrawn(&status, &self.controller).is_some() {
                difference(&key, &|current| withdrawn(current, &self.controller));
            }
        }
        writes.sort_by(|one, other| one.key.cmp(&other.key));
        writes
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
    let patch = json!({"metadata": {"resourceVersion": write.version}, "status": write.patch});
    match api.patch_status(&write.key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Written::Yes,
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Written::Overtaken,
        Err(kube::Error::Api(status)) => Written::No(status.message.clone()),
        Err(error) => Written::No(sentence(&error)),
    }
}

/// So many in a second, and some more at once after a rest.
struct Rate {
    next: std::cell::Cell<Instant>,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { next: std::cell::Cell::new(now) }
    }

    /// When the next one may be.
    fn take(&self, now: Instant) -> Instant {
        let each = Duration::from_secs(1) / RATE;
        let rested = now.checked_sub(each * BURST).unwrap_or(now);
        let at = self.next.get().max(rested);
        self.next.set(at + each);
        at
    }

    async fn wait(&self) {
        tokio::time::sleep_until(self.take(Instant::now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_spread_over_time() {
        let start = Instant::now() + Duration::from_secs(60);
        let rate = Rate::new(Instant::now());
        let times: Vec<Instant> = (0..BURST + RATE).map(|_| rate.take(start)).collect();
        assert_eq!(times.iter().filter(|at| **at <= start).count(), usize::try_from(BURST).unwrap() + 1);
        let last = times.last().unwrap().duration_since(start);
        assert!((Duration::from_millis(900)..=Duration::from_secs(1)).contains(&last), "{last:?}");
    }
}
