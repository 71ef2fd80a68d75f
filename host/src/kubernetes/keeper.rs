//! Writes what is kept in the cluster for addresses of this gateway, while this replica is the one that writes.
//!
//! What exists is what the watches of Services and EndpointSlices have brought. Every write is about the version that was
//! seen, and a Service is made by POST, so that nothing of others' is ever written over; EndpointSlices are written where
//! their Service is ours, as whoever has it gets what they lead to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch as latest;
use tokio::time::Instant;

use super::Statuses;
use super::front::{Kept, Mark};
use super::object::Seen;
use super::resource::Served;
use super::store::{Store, View};
use super::write::{self, AT_LATEST, Rate, TRY_AGAIN, Written};
use super::writer::{AT_ONCE, IN_ONE_TURN, LOOK_AT};
use crate::object::ObjectKey;

/// How soon it is looked again after what we cannot see yet: an object that was made, or who was faster.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

pub(super) struct Keeper {
    client: Client,
    store: Arc<Store>,
    wanted: Wanted,
    settled: HashMap<ObjectKey, Settled>,
    waiting: HashMap<ObjectKey, Waiting>,
    /// What was last said of writes that fail.
    said: Option<String>,
}

/// What is to be kept.
#[derive(Default)]
struct Wanted {
    /// What it was made of.
    of: Option<Arc<Statuses>>,
    mark: Mark,
    /// Each Service with its EndpointSlices.
    fronts: Vec<(Kept, Vec<Kept>)>,
}

/// An object that was written and not seen since. A write that changes nothing makes no other version, and is not repeated.
struct Settled {
    /// The version before.
    version: String,
    act: Act,
}

/// An object that is left alone for a while.
struct Waiting {
    until: Instant,
    /// How long, which doubles as long as it fails.
    pause: Duration,
    /// This was refused, and something else may be not.
    refused: Option<Act>,
}

#[derive(Clone, Debug, PartialEq)]
enum Act {
    Create(Value),
    /// By a merge patch.
    Change(Value),
    /// The one with this uid.
    Delete(String),
}

struct Write {
    key: ObjectKey,
    served: Served,
    /// None for what is not there.
    version: String,
    act: Act,
}

impl Keeper {
    pub(super) fn new(client: Client, store: Arc<Store>) -> Self {
        let (settled, waiting) = (HashMap::new(), HashMap::new());
        Self { client, store, wanted: Wanted::default(), settled, waiting, said: None }
    }

    /// Another replica may write from now on.
    pub(super) fn forget(&mut self) {
        (self.settled, self.waiting) = (HashMap::new(), HashMap::new());
        self.wanted = Wanted::default();
    }

    /// Writes what differs, and deletes what is left over; when to try again what could not be.
    pub(super) async fn keep(
        &mut self,
        wanted: &Arc<Statuses>,
        leads: &latest::Receiver<bool>,
        rate: &Rate,
    ) -> Option<Instant> {
        let news = self.wanted.of.as_ref().is_none_or(|of| !Arc::ptr_eq(of, wanted));
        if news {
            let mark = Mark::of(&wanted.controller);
            let fronts = wanted.fronts.list.iter().map(|front| front.kept(&mark)).collect();
            self.wanted = Wanted { of: Some(Arc::clone(wanted)), mark, fronts };
        }
        // Where nothing is kept nothing is looked for, but once for each generation.
        if !news && self.wanted.fronts.is_empty() && self.settled.is_empty() && self.waiting.is_empty() {
            return None;
        }
        let jobs = self.jobs(Instant::now()).await;
        let more = jobs.iter().map(Vec::len).sum::<usize>() >= IN_ONE_TURN;
        let client = &self.client;
        let done = futures_util::stream::iter(jobs).map(|job| carry_out(client, job, leads, rate));
        let done: Vec<Vec<(Write, Written)>> = done.buffer_unordered(AT_ONCE).collect().await;
        self.note(done.into_iter().flatten());
        let now = Instant::now();
        let next = self.waiting.values().map(|waiting| waiting.until).filter(|until| *until > now).min();
        if more { Some(now) } else { next }
    }

    /// What is to be done in one turn: a list for each Service, one after the other.
    async fn jobs(&mut self, now: Instant) -> Vec<Vec<Write>> {
        self.waiting.retain(|_, waiting| waiting.until + AT_LATEST > now);
        let mut jobs = Vec::new();
        let mut writes = 0;
        let mut kept = HashSet::new();
        for some in self.wanted.fronts.chunks(LOOK_AT) {
            let known = self.store.look(|view| {
                let there = There::of(view)?;
                for front in some {
                    let job = self.job(front, &there, &mut kept, now);
                    writes += job.len();
                    jobs.extend(Some(job).filter(|job| !job.is_empty()));
                }
                Some(())
            });
            // What was not looked at is not what is left over.
            if known.is_none() || writes >= IN_ONE_TURN {
                return jobs;
            }
            // The watches come first.
            tokio::task::yield_now().await;
        }
        let all = self.wanted.of.as_ref().is_some_and(|of| of.fronts.all);
        let mut left = Vec::new();
        let mut settled = std::mem::take(&mut self.settled);
        self.store.look(|view| {
            let Some(there) = There::of(view) else { return };
            settled.retain(|key, _| there.has(key));
            if all {
                let over = there.marked(&self.wanted.mark).filter(|(_, seen)| !kept.contains(&seen.object.key));
                let over = over.filter_map(|(served, seen)| self.deletion(served, seen, &settled, now));
                left.extend(over.take(IN_ONE_TURN).map(|write| vec![write]));
            }
        });
        self.settled = settled;
        jobs.extend(left);
        jobs
    }

    /// What is to be done for one Service, and what is to stay.
    fn job<'k>(
        &self,
        (service, behind): &'k (Kept, Vec<Kept>),
        there: &There<'_>,
        kept: &mut HashSet<&'k ObjectKey>,
        now: Instant,
    ) -> Vec<Write> {
        kept.insert(&service.key);
        let state = there.services.1.get(&service.key);
        if state.is_some_and(|seen| !self.wanted.mark.is_on(&seen.object)) {
            return Vec::new();
        }
        kept.extend(behind.iter().map(|slice| &slice.key));
        let mut job: Vec<Write> = self.difference(service, there.services, now).into_iter().collect();
        // As long as there is no Service, nothing stands behind it.
        if state.is_some() || !job.is_empty() {
            job.extend(behind.iter().filter_map(|slice| self.difference(slice, there.slices, now)));
        }
        job
    }

    /// What is to be written so that an object is as it should be; none if nothing is, or it is not ours, or was written
    /// a moment ago.
    fn difference(&self, kept: &Kept, (served, objects): Kind<'_>, now: Instant) -> Option<Write> {
        let key = &kept.key;
        let Some(seen) = objects.get(key) else {
            let write = Write {
                key: key.clone(),
                served: served.clone(),
                version: String::new(),
                act: Act::Create(kept.anew()),
            };
            return Some(write).filter(|write| !self.waits(write, now));
        };
        let current = seen.object.value();
        if !self.wanted.mark.is_on(&seen.object) || current["metadata"]["deletionTimestamp"].is_string() {
            return None;
        }
        if kept.needs_another(&current) {
            return self.deletion(served, seen, &self.settled, now);
        }
        let change = Act::Change(kept.difference(&current)?);
        unless_settled(&self.settled, served, seen, change).filter(|write| !self.waits(write, now))
    }

    fn deletion(
        &self,
        served: &Served,
        seen: &Seen,
        settled: &HashMap<ObjectKey, Settled>,
        now: Instant,
    ) -> Option<Write> {
        let metadata = &seen.object.value()["metadata"];
        if metadata["deletionTimestamp"].is_string() {
            return None;
        }
        let uid = metadata["uid"].as_str().unwrap_or_default().to_owned();
        unless_settled(settled, served, seen, Act::Delete(uid)).filter(|write| !self.waits(write, now))
    }

    fn waits(&self, write: &Write, now: Instant) -> bool {
        self.waiting.get(&write.key).is_some_and(|waiting| {
            waiting.until > now && waiting.refused.as_ref().is_none_or(|refused| *refused == write.act)
        })
    }

    /// Remembers what came of writes, and says it where they fail.
    fn note(&mut self, done: impl Iterator<Item = (Write, Written)>) {
        let now = Instant::now();
        let mut failure = None;
        for (Write { key, version, act, .. }, outcome) in done {
            let pause = self.waiting.remove(&key).map(|waiting| waiting.pause);
            let left_alone = |time| Waiting { until: now + time, pause: Duration::ZERO, refused: None };
            let waiting = match outcome {
                // Until the watch has told of it, or somebody was faster who made it and deleted it again.
                Written::Yes if version.is_empty() => left_alone(LOOK_AGAIN),
                Written::Overtaken => left_alone(LOOK_AGAIN),
                Written::Yes | Written::Gone if !version.is_empty() => {
                    self.settled.insert(key, Settled { version, act });
                    continue;
                }
                Written::Yes | Written::Gone | Written::NotHeard => left_alone(TRY_AGAIN),
                Written::No(why, asked) => {
                    failure = Some(format!("{key}: {why}"));
                    let pause = pause.map_or(TRY_AGAIN, |pause| (pause * 2).clamp(TRY_AGAIN, AT_LATEST));
                    let until = now + asked.unwrap_or(pause).min(AT_LATEST);
                    Waiting { until, pause, refused: asked.is_none().then_some(act) }
                }
            };
            self.waiting.insert(key, waiting);
        }
        if let Some(why) = failure.as_ref().filter(|why| self.said.as_ref() != Some(why)) {
            let remedy =
                "correct what the API server says; where it is a want of rights, docs/kubernetes.md has the role";
            tracing::warn!(remedy, "what is kept for a Gateway cannot be written, which is tried again: {why}");
        }
        // As long as one waits, what was said of it need not be said again.
        self.said = failure.or_else(|| self.said.take().filter(|_| !self.waiting.is_empty()));
    }
}

/// All objects of a kind, and how the API calls it.
type Kind<'v> = (&'v Served, &'v BTreeMap<ObjectKey, Seen>);

/// What there is, once it is known.
struct There<'v> {
    services: Kind<'v>,
    slices: Kind<'v>,
}

impl<'v> There<'v> {
    fn of(view: &View<'v>) -> Option<Self> {
        let services = view.kind("", "Service")?;
        Some(Self { services, slices: view.kind("discovery.k8s.io", "EndpointSlice")? })
    }

    fn has(&self, key: &ObjectKey) -> bool {
        self.services.1.contains_key(key) || self.slices.1.contains_key(key)
    }

    /// Those that carry a mark.
    fn marked(&self, mark: &Mark) -> impl Iterator<Item = (&'v Served, &'v Seen)> {
        let all = |(served, objects): Kind<'v>| objects.values().map(move |seen| (served, seen));
        all(self.slices).chain(all(self.services)).filter(|(_, seen)| mark.is_on(&seen.object))
    }
}

fn unless_settled(settled: &HashMap<ObjectKey, Settled>, served: &Served, seen: &Seen, act: Act) -> Option<Write> {
    let (key, version) = (&seen.object.key, &seen.version);
    let settled = settled.get(key).is_some_and(|last| last.version == *version && last.act == act);
    (!settled).then(|| Write { key: key.clone(), served: served.clone(), version: version.clone(), act })
}

/// Does one after the other, until the Service that the rest is about is not to be had.
async fn carry_out(
    client: &Client,
    job: Vec<Write>,
    leads: &latest::Receiver<bool>,
    rate: &Rate,
) -> Vec<(Write, Written)> {
    let mut done = Vec::new();
    for write in job {
        // Another replica may have taken over, before or meanwhile.
        if *leads.borrow() {
            rate.wait().await;
        }
        if !*leads.borrow() {
            break;
        }
        let outcome = send(client, &write).await;
        let goes_on = matches!(outcome, Written::Yes) || !matches!(write.act, Act::Create(_));
        done.push((write, outcome));
        if !goes_on {
            break;
        }
    }
    done
}

async fn send(client: &Client, write: &Write) -> Written {
    let Write { key, served, version, act } = write;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &served.resource);
    let request = Request::new(api.resource_url());
    let request = match act {
        Act::Create(object) => request.create(&PostParams::default(), object.to_string().into_bytes()),
        Act::Change(patch) => {
            let mut patch = patch.clone();
            patch["metadata"]["resourceVersion"] = json!(version);
            request.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
        }
        Act::Delete(uid) => {
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: Some(version.clone()) };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            request.delete(&key.name, &parameters)
        }
    };
    write::send(client, request).await
}
