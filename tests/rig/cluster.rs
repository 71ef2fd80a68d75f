//! A Kubernetes API server of the tests' own: in memory, over TLS, on a port of 127.0.0.1, there within milliseconds, and as
//! bad as a test wants it to be.
//!
//! It keeps to the semantics that a client can see: discovery, lists with pages, watches with revisions and 410, conflicts,
//! status as a resource of its own, generations, PATCH in its forms, 403 and 429 in the real server's words. It is blind where
//! the real one looks into objects: it knows no schemas, so it defaults (but for the status of Gateways) and refuses nothing, and
//! leaves out only what a [test says](Cluster::know_nothing_of); server-side apply is a merge; no controllers run, so a Service has the endpoints that a test writes.
//!
//! A test applies objects by [`Cluster::apply`] as a person would by `kubectl`, and gives the gateway a
//! [`Cluster::kubeconfig`]. Names of resources are as in `kubectl`: `httproutes`, and `gateways.networking.istio.io` where the
//! first word is not enough.

mod access;
mod answer;
mod call;
mod calls;
mod date;
mod discovery;
mod faults;
mod journal;
mod kinds;
mod patch;
mod refusal;
mod selection;
mod server;
mod store;
mod view;
mod watch;
mod writes;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::{Certificates, Set};
use crate::{PATIENCE, free_port, secure};
use access::{Access, Verdict};
pub use calls::Calls;
use faults::{Faults, Trouble};
use journal::Journal;
pub use journal::Request;
use refusal::Refusal;
use server::Server;
use store::{Key, Store};
use watch::Ending;
use writes::{Part, Preconditions};

/// The user whom [`Cluster::kubeconfig`] is for.
const GATEWAY: &str = "sekisho";

/// A running cluster; it is gone when dropped.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    server: Server,
    port: u16,
    directory: TempDir,
}

/// What the server's thread and the test both have a hand in.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    journal: Journal,
    changed: tokio::sync::watch::Sender<()>,
    ended: tokio::sync::watch::Sender<Ending>,
}

#[derive(Debug)]
struct State {
    store: Store,
    access: Access,
    faults: Faults,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Does something that watches are told of.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let done = act(&mut self.lock());
        self.changed.send_replace(());
        done
    }
}

impl Cluster {
    /// A cluster with all kinds installed, the namespaces `default`, `kube-system` and `istio-system`, and nothing else.
    #[must_use]
    pub fn start() -> Self {
        let state = State { store: Store::new(), access: Access::default(), faults: Faults::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            journal: Journal::default(),
            changed: tokio::sync::watch::Sender::new(()),
            ended: tokio::sync::watch::Sender::default(),
        });
        let port = free_port();
        let shown = Certificates::shared().pair(Set::First, "api-server");
        let server = Server::start(port, secure::server_config(&shown, None), Arc::clone(&shared));
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self { shared, server, port, directory }
    }

    // How to reach it.

    /// A kubeconfig with the token of the user `sekisho`.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(GATEWAY)
    }

    /// A kubeconfig with the token of a user, who may do everything that is not [forbidden](Self::forbid).
    #[must_use]
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": { "server": self.url(), "certificate-authority": self.ca() } }],
            "users": [{ "name": user, "user": { "token": self.token(user) } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user } }],
            "current-context": "test",
        });
        let file = self.directory.path().join(format!("{user}.kubeconfig"));
        fs::write(&file, config.to_string()).expect("its own directory can be written");
        file
    }

    /// `https://127.0.0.1:…`
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Whom its certificate is from.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        Certificates::shared().ca(Set::First)
    }

    /// A user's token.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        self.shared.lock().access.token(user)
    }

    // Objects.

    /// `kubectl apply`; without a namespace, in `default`. What is stored then.
    #[track_caller]
    pub fn apply(&self, object: &Value) -> Value {
        let applied = self.shared.change(|state| state.store.apply(object));
        Value::clone(&applied.unwrap_or_else(|refusal| panic!("{}\n{object:#}", refusal.status())))
    }

    /// `kubectl delete`; the namespace is empty for kinds without.
    #[track_caller]
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        let key = key(resource, namespace, name);
        let deleted = self.shared.change(|state| state.store.delete(&key, &Preconditions::default()));
        deleted.unwrap_or_else(|refusal| panic!("{}", refusal.status()));
    }

    /// `kubectl get`
    #[track_caller]
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.lock().store.get(&key(resource, namespace, name)).map(|object| Value::clone(object))
    }

    /// An object's status; null without one.
    #[track_caller]
    #[must_use]
    pub fn status(&self, resource: &str, namespace: &str, name: &str) -> Value {
        self.get(resource, namespace, name).map_or(Value::Null, |mut object| object["status"].take())
    }

    /// What another controller does: replaces the status.
    #[track_caller]
    pub fn set_status(&self, resource: &str, namespace: &str, name: &str, status: &Value) {
        let key = key(resource, namespace, name);
        let put = self.shared.change(|state| {
            let mut object = state.store.get(&key).map_or(Value::Null, |object| Value::clone(object));
            object["status"] = status.clone();
            state.store.update(&key, Part::Status, object)
        });
        put.unwrap_or_else(|refusal| panic!("{}", refusal.status()));
    }

    /// Waits until an object is as wanted, and gives it; null stands for one that is not there. Panics with what it is when it
    /// does not become so.
    #[track_caller]
    pub fn wait_for(&self, resource: &str, namespace: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let object = self.get(resource, namespace, name).unwrap_or(Value::Null);
            if wanted(&object) {
                return object;
            }
            assert!(start.elapsed() < PATIENCE, "not as wanted within {PATIENCE:?}: {resource} {name}\n{object:#}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A CustomResourceDefinition appears.
    #[track_caller]
    pub fn install(&self, resource: &str) {
        let kind = kinds::named(resource);
        self.shared.change(|state| state.store.install(kind));
    }

    /// A CustomResourceDefinition goes, and the kind's objects with it.
    #[track_caller]
    pub fn withhold(&self, resource: &str) {
        let kind = kinds::named(resource);
        assert!(kind.is_custom(), "{resource} is in every cluster");
        self.shared.change(|state| state.store.withhold(kind));
    }

    /// The kind's CustomResourceDefinition is of an older release, which does not know a field, such as
    /// `/status/attachedListenerSets`: it is left out of whatever is written.
    #[track_caller]
    pub fn know_nothing_of(&self, resource: &str, field: &str) {
        let kind = kinds::named(resource);
        self.shared.lock().store.age(kind, field);
    }

    // What it was asked.

    /// All requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.journal.all()
    }

    /// How many requests there were: a place from which to look on.
    #[must_use]
    pub fn here(&self) -> usize {
        self.shared.journal.here()
    }

    /// Some of the requests since a place.
    #[must_use]
    pub fn requests_since(&self, place: usize, calls: &Calls) -> Vec<Request> {
        self.shared.journal.since(place, calls)
    }

    /// Waits until there are so many of them since a place.
    #[track_caller]
    pub fn wait_for_requests(&self, place: usize, calls: &Calls, count: usize) -> Vec<Request> {
        self.shared.journal.wait(place, calls, count)
    }

    // Who may what.

    /// A user may no longer do this, until it is permitted again.
    pub fn forbid(&self, user: &str, calls: Calls) {
        self.shared.lock().access.rule(user, calls, Verdict::Forbidden);
    }

    /// A user may do this, whatever was forbidden before.
    pub fn permit(&self, user: &str, calls: Calls) {
        self.shared.lock().access.rule(user, calls, Verdict::Permitted);
    }

    /// A user's token is valid no longer; [`Self::kubeconfig_of`] has another.
    pub fn renew_token(&self, user: &str) {
        self.shared.lock().access.renew(user);
    }

    // What goes wrong.

    /// All watches break off in the middle, now.
    pub fn cut_watches(&self) {
        self.shared.ended.send_replace(Ending::Cut);
    }

    /// All watches end in order, as after some minutes.
    pub fn end_watches(&self) {
        self.shared.ended.send_replace(Ending::Over);
    }

    /// The next so many watches of these are told that they come too late: 410.
    pub fn expire(&self, calls: Calls, times: usize) {
        self.trouble(calls, times, Trouble::Expire);
    }

    /// The past is forgotten: watches from before now are told 410.
    pub fn compact(&self) {
        self.shared.lock().store.compact();
    }

    /// The next so many of these requests are answered 429, to be tried again after so many seconds.
    pub fn throttle(&self, calls: Calls, times: usize, retry_after_seconds: u64) {
        self.trouble(calls, times, Trouble::Refuse(Refusal::too_many_requests(retry_after_seconds)));
    }

    /// The next so many of these requests are answered with such a status: 500, 503, 504.
    pub fn fail(&self, calls: Calls, times: usize, status: u16) {
        self.trouble(calls, times, Trouble::Refuse(Refusal::trouble(status)));
    }

    /// The next so many of these requests wait before they are looked at.
    pub fn delay(&self, calls: Calls, times: usize, time: Duration) {
        self.trouble(calls, times, Trouble::Delay(time));
    }

    /// Somebody else writes the object just before the next so many of these requests, which then come too late: 409 for those
    /// that say what they have seen.
    pub fn interfere(&self, calls: Calls, times: usize) {
        self.trouble(calls, times, Trouble::Interfere);
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.shared.lock().faults.clear();
    }

    /// The server is gone: nobody listens, and every connection is. What it holds stays, and can be changed.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// The server is back, on the same port.
    pub fn resume(&self) {
        self.server.resume();
    }

    fn trouble(&self, calls: Calls, times: usize, trouble: Trouble) {
        self.shared.lock().faults.add(calls, times, trouble);
    }
}

#[track_caller]
fn key(resource: &str, namespace: &str, name: &str) -> Key {
    let kind = kinds::named(resource);
    assert_eq!(kind.namespaced, !namespace.is_empty(), "whether {resource} have namespaces");
    Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }
}
