//! What was read of the cluster, shared by the thread that reads it and by control.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::object::Seen;
use super::pace::Pace;
use super::resource::Served;
use super::wants::{Services, Wants, Watched};
use crate::bootstrap::SecretsBy;
use crate::finding::{Finding, Severity, Subject};
use crate::object::{Object, ObjectKey};
use crate::snapshot::Snapshot;

/// What findings call the cluster.
pub(super) const PLACE: &str = "kubernetes";
/// The label of an EndpointSlice that says whose it is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How long the API server may fail before it is said; what is shorter is a restart.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one watch has brought.
#[derive(Debug, Default)]
struct Held {
    /// There is an answer, if only that there is nothing to be had.
    known: bool,
    served: Option<Served>,
    /// In the order in which they are read.
    objects: BTreeMap<ObjectKey, Seen>,
    problem: Option<Problem>,
    /// Since when it fails, and how.
    failing: Option<(Instant, String)>,
    /// It was waited for in vain.
    tried: bool,
    /// How often everything had been read when this became known.
    since: u64,
}

/// Why there is nothing to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The API server does not know the kind.
    NotServed,
    /// We may not read it; what the API server says.
    Forbidden(String),
}

/// How much a change matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// Nobody can tell the difference.
    None,
    /// It is of endpoints that nothing leads to.
    Unheeded,
    Heeded,
}

/// Whether what is there can be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Readiness {
    /// Not before everything is known.
    #[default]
    Waiting,
    /// What is on disk has to do, as the API server is not heard.
    FromDisk,
    /// Everything was known once; from then on what is there is good enough.
    Ready,
}

/// What was said.
#[derive(Debug, Default)]
struct Told {
    /// That there is something new, to control.
    hint: bool,
    /// That something happens, when control asks.
    stirred: bool,
    /// That the API server fails, to the operator.
    outage: bool,
}

#[derive(Debug)]
struct State {
    held: HashMap<Watched, Held>,
    /// Those whose endpoints matter.
    services: Services,
    /// Something unheeded changed since all of it was last read.
    unheeded: bool,
    /// Secrets and ConfigMaps that an object names.
    named: BTreeSet<ObjectKey>,
    /// How often everything was read.
    reads: u64,
    readiness: Readiness,
    pace: Pace,
    told: Told,
    /// What is on disk, of what was not read yet.
    kept: Vec<Object>,
    /// Control waits for what it does not know yet, and then takes it without being told.
    awaited: bool,
}

pub(super) struct Store {
    state: Mutex<State>,
    known: Condvar,
    /// For the disk: something is another.
    pub(super) changed: Notify,
    /// For the writer: something may have another status, or another version.
    pub(super) moved: Notify,
    hint: Box<dyn Fn() + Send + Sync>,
    secrets: SecretsBy,
    /// The place of all objects.
    pub(super) place: Arc<str>,
}

impl Store {
    pub(super) fn new(secrets: SecretsBy, hint: impl Fn() + Send + Sync + 'static) -> Self {
        let now = Instant::now();
        let (held, pace) = (HashMap::new(), Pace::new(now));
        let state = State {
            held,
            services: Services::new(),
            unheeded: false,
            named: BTreeSet::new(),
            reads: 0,
            readiness: Readiness::default(),
            pace,
            told: Told::default(),
            kept: Vec::new(),
            awaited: false,
        };
        Self {
            state: Mutex::new(state),
            known: Condvar::new(),
            changed: Notify::new(),
            moved: Notify::new(),
            hint: Box::new(hint),
            secrets,
            place: Arc::from(PLACE),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What control asks.

    /// What is watched from now on. Of what is not any more nothing stays; a kind that is to be read in other versions
    /// has what it had until it is.
    pub(super) fn want(&self, wants: &Wants) -> BTreeSet<Watched> {
        let watched = wants.watched(self.secrets);
        let mut state = self.lock();
        state.named.clone_from(&wants.objects);
        if state.services != wants.services {
            state.services.clone_from(&wants.services);
            // What is heeded now may have changed meanwhile.
            if std::mem::take(&mut state.unheeded) {
                state.pace.change(Instant::now());
            }
        }
        let mut before = std::mem::take(&mut state.held);
        for new in &watched {
            let mut held = before.remove(new);
            if held.is_none() && new.is_kind() {
                let other = before.keys().find(|old| old.is_kind() && old.kind() == new.kind()).cloned();
                held = other.and_then(|old| before.remove(&old));
            }
            let held = held.unwrap_or_else(|| {
                let kept = state.kept.iter().filter(|object| new.has(&object.key)).cloned();
                let objects = kept.map(|object| (object.key.clone(), Seen { object, version: String::new() }));
                Held { objects: objects.collect(), ..Held::default() }
            });
            state.held.insert(new.clone(), held);
        }
        watched
    }

    /// Waits until everything is known; whether it is.
    pub(super) fn wait(&self, until: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let known = state.held.values().all(|held| held.known);
            let left = until.saturating_duration_since(Instant::now());
            if known || left.is_zero() {
                return known;
            }
            state = self.known.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until everything is known that is read by name, or of pods; for each only once.
    pub(super) fn wait_for_named(&self, until: Instant) {
        let mut state = self.lock();
        let lacks = |(watched, held): (&Watched, &Held)| !watched.is_kind() && !held.known && !held.tried;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let lacking = state.held.iter().any(lacks);
            state.awaited = lacking && !left.is_zero();
            if !state.awaited {
                break;
            }
            state = self.known.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let named = state.held.iter_mut().filter(|(watched, _)| !watched.is_kind());
        named.for_each(|(_, held)| held.tried = !held.known);
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let state = self.lock();
        state.is_ready() && state.pace.is_due(now)
    }

    pub(super) fn take_hint(&self) -> bool {
        std::mem::take(&mut self.lock().told.hint)
    }

    pub(super) fn is_stirred(&self) -> bool {
        std::mem::take(&mut self.lock().told.stirred)
    }

    pub(super) fn read(&self) -> Option<Snapshot> {
        let mut state = self.lock();
        if !state.is_ready() {
            return None;
        }
        if state.readiness == Readiness::Waiting {
            state.readiness = Readiness::Ready;
        }
        state.reads += 1;
        state.unheeded = false;
        state.pace.taken();
        let seen = state.held.values().flat_map(|held| held.objects.values());
        let objects = seen.map(|seen| seen.object.clone()).collect();
        Some(Snapshot { objects, findings: state.findings(Instant::now()), partial: state.is_partial() })
    }

    /// The objects with those that are read by name, or for pods' labels, as they are now. What else has changed since
    /// then stays to be taken.
    pub(super) fn complete(&self, mut snapshot: Snapshot) -> Snapshot {
        let state = self.lock();
        let named = state.held.iter().filter(|(watched, _)| !watched.is_kind());
        for seen in named.flat_map(|(_, held)| held.objects.values()) {
            snapshot.objects.insert(seen.object.clone());
        }
        snapshot.findings = state.findings(Instant::now());
        snapshot
    }

    // What is on disk.

    /// Has these to fall back upon. To be said before anything is wanted.
    pub(super) fn restore(&self, kept: Vec<Object>) {
        self.lock().kept = kept;
    }

    /// What is on disk has to do, unless everything is known.
    pub(super) fn fall_back(&self) {
        let mut state = self.lock();
        if state.kept.is_empty() || state.is_ready() {
            return;
        }
        state.readiness = Readiness::FromDisk;
        state.pace.change(Instant::now());
        state.told.hint = true;
        drop(state);
        (self.hint)();
    }

    /// Everything, for the disk; none as long as not everything is known.
    pub(super) fn all(&self) -> Option<Vec<Object>> {
        let state = self.lock();
        if !state.is_known() {
            return None;
        }
        // Of a namespace that is watched whole, what nobody names is nobody's business.
        let named = |watched: &Watched, key: &ObjectKey| match watched {
            Watched::Namespace { .. } => state.named.contains(key),
            Watched::Kind(_) | Watched::Object(_) | Watched::Pods(_) => true,
        };
        let mut objects = Vec::new();
        for (watched, held) in &state.held {
            let seen = held.objects.values().filter(|seen| named(watched, &seen.object.key));
            objects.extend(seen.map(|seen| seen.object.clone()));
        }
        drop(state);
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Some(objects)
    }

    // What the watches bring.

    /// Everything, as it was listed.
    pub(super) fn replace(&self, watched: &Watched, served: Served, objects: BTreeMap<ObjectKey, Seen>) {
        self.change(watched, |held, services| {
            let others = held.objects.iter().filter(|(key, _)| !objects.contains_key(key));
            let gone = others.map(|(_, was)| change(Some(was), None, services));
            let here = objects.iter().map(|(key, seen)| change(held.objects.get(key), Some(seen), services));
            let first = if held.known && held.problem.is_none() { Change::None } else { Change::Heeded };
            let changed = gone.chain(here).fold(first, Change::max);
            *held = Held { known: true, served: Some(served), objects, since: held.since, ..Held::default() };
            changed
        });
    }

    pub(super) fn apply(&self, watched: &Watched, seen: Seen) {
        self.change(watched, |held, services| {
            held.failing = None;
            let changed = change(held.objects.get(&seen.object.key), Some(&seen), services);
            held.objects.insert(seen.object.key.clone(), seen);
            changed
        });
    }

    pub(super) fn remove(&self, watched: &Watched, key: &ObjectKey) {
        self.change(watched, |held, services| {
            held.failing = None;
            change(held.objects.remove(key).as_ref(), None, services)
        });
    }

    /// There is nothing to be had. What may not be read any more stays as it was last seen.
    pub(super) fn refuse(&self, watched: &Watched, problem: Problem) {
        self.change(watched, |held, _| {
            if problem == Problem::NotServed {
                held.objects.clear();
            }
            let changed = !held.known || held.problem.as_ref() != Some(&problem);
            (held.known, held.failing, held.problem) = (true, None, Some(problem));
            if changed { Change::Heeded } else { Change::None }
        });
    }

    /// The API server does not answer, or not as it should. What it last said stays.
    pub(super) fn fail(&self, watched: &Watched, why: String) {
        self.change(watched, |held, _| {
            let since = held.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
            held.failing = Some((since, why));
            Change::None
        });
    }

    /// The API server answers again.
    pub(super) fn recover(&self, watched: &Watched) {
        self.change(watched, |held, _| {
            held.failing = None;
            Change::None
        });
    }

    /// What of it is changed is said to control.
    fn change(&self, watched: &Watched, change: impl FnOnce(&mut Held, &Services) -> Change) {
        let mut state = self.lock();
        let State { held, services, unheeded, reads, .. } = &mut *state;
        // Nobody wants it any more.
        let Some(held) = held.get_mut(watched) else { return };
        let was_known = held.known;
        let change = change(held, services);
        let known = held.known && !was_known;
        if known {
            held.since = *reads;
        }
        *unheeded |= change == Change::Unheeded;
        let changed = change == Change::Heeded;
        let now = Instant::now();
        let outage = state.held.values().any(|held| held.fails(now));
        if let (Some(why), false, Readiness::Waiting) =
            (failing(&state.held, now).next(), state.told.outage, state.readiness)
        {
            tracing::warn!("nothing is served before the Kubernetes API was read: {why}");
        }
        if known && state.is_known() {
            // What is on disk is old from now on.
            (state.kept, state.readiness) = (Vec::new(), Readiness::Ready);
        }
        if changed {
            self.changed.notify_one();
        }
        // Control takes it now, when it waits for it.
        let taken = known && state.awaited && !watched.is_kind();
        let changed = (changed && !taken) || outage != state.told.outage;
        state.told.outage = outage;
        let mut hint = false;
        if changed {
            state.pace.change(now);
            state.told.stirred = true;
            hint = state.is_ready() && !std::mem::replace(&mut state.told.hint, true);
        }
        drop(state);
        if known {
            self.known.notify_all();
        }
        self.moved.notify_one();
        if hint {
            (self.hint)();
        }
    }

    // What the writer asks.

    /// How often everything was read.
    pub(super) fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// Looks at the objects of kinds. Watches wait meanwhile.
    pub(super) fn look<R>(&self, look: impl FnOnce(&View<'_>) -> R) -> R {
        let state = self.lock();
        let kinds = state.held.iter().filter(|(watched, _)| watched.is_kind());
        look(&View { kinds: kinds.map(|(watched, held)| (watched.kind(), held)).collect() })
    }
}

/// The objects of kinds, at one moment.
pub(super) struct View<'s> {
    kinds: HashMap<(&'s str, &'s str), &'s Held>,
}

impl<'s> View<'s> {
    /// An object, and how the API calls its kind.
    pub(super) fn find(&self, key: &ObjectKey) -> Option<(&Served, &Seen)> {
        let held = self.kinds.get(&(key.group.as_str(), key.kind.as_str()))?;
        Some((held.served.as_ref()?, held.objects.get(key)?))
    }

    /// All objects of a kind, and how the API calls it; none as long as they are not known.
    pub(super) fn kind(&self, group: &str, kind: &str) -> Option<(&'s Served, &'s BTreeMap<ObjectKey, Seen>)> {
        let held = self.kinds.get(&(group, kind)).filter(|held| held.known)?;
        Some((held.served.as_ref()?, &held.objects))
    }

    /// Those of kinds that were known when everything was read for the so manieth time.
    pub(super) fn objects(&self, read: u64) -> impl Iterator<Item = (&Served, &Seen)> {
        let known = self.kinds.values().filter(move |held| held.known && held.since < read);
        let kinds = known.filter_map(|held| Some((held.served.as_ref()?, &held.objects)));
        kinds.flat_map(|(served, objects)| objects.values().map(move |seen| (served, seen)))
    }
}

/// How much it matters that the one object is the other now. The status of a Service has its addresses; all others are
/// written by controllers for people.
fn change(was: Option<&Seen>, is: Option<&Seen>, services: &Services) -> Change {
    let same = |was: &Seen, is: &Seen| {
        was.object == is.object && (was.object.key.kind != "Service" || was.object.status() == is.object.status())
    };
    let heeded = |seen: &Seen| {
        let key = &seen.object.key;
        let service = seen.object.label(SERVICE_NAME).map(|name| (key.namespace.clone(), name.to_owned()));
        key.kind != "EndpointSlice" || service.is_some_and(|service| services.contains(&service))
    };
    match (was, is) {
        (None, None) => Change::None,
        (Some(was), Some(is)) if same(was, is) => Change::None,
        _ if was.into_iter().chain(is).any(heeded) => Change::Heeded,
        _ => Change::Unheeded,
    }
}

impl Held {
    fn fails(&self, now: Instant) -> bool {
        self.failing.as_ref().is_some_and(|(since, _)| now.saturating_duration_since(*since) >= PATIENCE)
    }
}

impl State {
    fn is_ready(&self) -> bool {
        self.readiness != Readiness::Waiting || self.is_known()
    }

    /// Whether there may be objects of kinds that we do not see.
    fn is_partial(&self) -> bool {
        let unseen = |held: &Held| !held.known || matches!(held.problem, Some(Problem::Forbidden(_)));
        self.held.iter().any(|(watched, held)| watched.is_kind() && unseen(held))
    }

    /// Whether there is an answer to everything.
    fn is_known(&self) -> bool {
        !self.held.is_empty() && self.held.values().all(|held| held.known)
    }

    fn findings(&self, now: Instant) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.held.iter().filter_map(|(watched, held)| held.finding(watched)).collect();
        let restored = |held: &&Held| !held.known && !held.objects.is_empty();
        if self.readiness == Readiness::FromDisk && self.held.values().any(|held| restored(&held)) {
            let message = "the API server was not heard since the start; what is kept on disk is served";
            findings.push(
                Finding::new(Severity::Warning, Subject::Source(PLACE), "from-snapshot", message)
                    .remedy("see whether it runs, and whether this machine may talk to it"),
            );
        }
        let failing: Vec<&str> = failing(&self.held, now).collect();
        if let Some(why) = failing.first() {
            let message = format!(
                "the API server is not heard ({} of {} watches): {why}; what it last said stays in force",
                failing.len(),
                self.held.len()
            );
            findings.push(
                Finding::new(Severity::Warning, Subject::Source(PLACE), "api-server-not-heard", message)
                    .remedy("see whether it runs, and whether this machine may talk to it"),
            );
        }
        findings
    }
}

/// Why watches fail that have failed for long.
fn failing(held: &HashMap<Watched, Held>, now: Instant) -> impl Iterator<Item = &str> {
    held.values().filter(move |held| held.fails(now)).filter_map(|held| Some(held.failing.as_ref()?.1.as_str()))
}

impl Held {
    fn finding(&self, watched: &Watched) -> Option<Finding> {
        let (group, kind) = watched.kind();
        Some(match self.problem.as_ref()? {
            Problem::NotServed => {
                let message = format!("the cluster has no kind {kind} of {group}; it is read once it is installed");
                Finding::on(Severity::Info, &watched.subject(), "", "kind-not-served", message)
                    .remedy("install its CustomResourceDefinition, if the kind is to be used")
            }
            Problem::Forbidden(why) => {
                let message = format!("it may not be read: {why}");
                Finding::on(Severity::Error, &watched.subject(), "", "access-forbidden", message)
                    .remedy("grant get, list and watch on it (docs/kubernetes.md has the roles)")
            }
        })
    }
}

#[cfg(test)]
mod tests;
