//! The board that control pins its news to for the admin endpoint, and the ways to ask workers and control.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as sync_mpsc};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;

use super::Event;
use crate::bootstrap::{Bootstrap, Resources};
use crate::explain::{Answer, Question};
use crate::finding::{Finding, Places};
use crate::generation::{Generation, Listener};
use crate::object::ObjectKey;
use crate::plugin::{Calls, ListenerState, Status};
use crate::tls::Summary;
use crate::worker::{Command, Pulse, Report};

/// How long a worker may take to answer. A request holds it for milliseconds at most.
const WORKER_PATIENCE: Duration = Duration::from_secs(2);
/// How long control may be busy: with a translation, or with compiling a plugin.
const CONTROL_PATIENCE: Duration = Duration::from_secs(120);
/// How long an explanation may take.
const EXPLAIN_PATIENCE: Duration = Duration::from_secs(15);

/// What was last published.
#[derive(Debug, Default)]
pub struct Published {
    /// What is served.
    pub generation: Arc<Generation>,
    /// Every worker has acknowledged it.
    pub live: bool,
    /// Since when.
    pub since: Option<SystemTime>,
    /// From a change seen to the last acknowledgement.
    pub took: Duration,
    /// What the operator should know.
    pub findings: Vec<Finding>,
    /// Where each object was read.
    pub places: Places,
    /// Every listener, and what became of it.
    pub listeners: Vec<(Arc<Listener>, ListenerState)>,
    /// Every object with a status, and whose plugin gave it.
    pub statuses: Vec<(Arc<str>, Status)>,
    /// Every secret in use.
    pub secrets: Vec<SecretCard>,
    /// Every plugin of the bootstrap file.
    pub plugins: Vec<PluginCard>,
}

/// A secret that listeners refer to.
#[derive(Clone, Debug)]
pub struct SecretCard {
    /// Who asked for it.
    pub origin: String,
    /// The object that it is in; the first that was looked for when there is none.
    pub source: ObjectKey,
    /// What is used of it.
    pub state: SecretState,
    /// A sentence when all is not well.
    pub why: Option<String>,
    /// Of the leaf, for credentials.
    pub summary: Option<Summary>,
    /// Authorities and revocation lists, for trust.
    pub authorities: Option<(usize, usize)>,
}

/// What is used of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretState {
    /// What it holds.
    Ready,
    /// What it last held that was good.
    Stale,
    /// Nothing: it does not exist.
    Missing,
    /// Nothing: it cannot be used.
    Unusable,
}

/// A plugin as control has it.
#[derive(Clone, Debug)]
pub struct PluginCard {
    /// Its bootstrap name.
    pub name: String,
    /// What it is for.
    pub kind: PluginKind,
    /// `builtin:…` or its file.
    pub path: String,
    /// What was loaded; none when nothing could be.
    pub loaded: Option<LoadedCode>,
    /// What is wrong with its file or its last call.
    pub problem: Option<String>,
}

/// A plugin's code.
#[derive(Clone, Debug)]
pub struct LoadedCode {
    /// SHA-256.
    pub sha256: String,
    /// Version of the WIT package that it was built against.
    pub interface: String,
    /// Its own word for what it speaks; secrets plugins have none.
    pub dialect: Option<String>,
    /// What is counted of its calls since it was loaded.
    pub calls: Arc<Calls>,
}

/// What a plugin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginKind {
    /// A dialect of routes.
    Routes,
    /// A format of secrets.
    Secrets,
}

/// The board. Control writes, the admin endpoint reads; no request ever looks at it.
#[derive(Debug)]
pub struct Board {
    published: Mutex<(Arc<Published>, Arc<Bootstrap>)>,
    started: Instant,
    heartbeat: AtomicU64,
    draining: AtomicBool,
    workers: Vec<mpsc::UnboundedSender<Command>>,
    control: sync_mpsc::Sender<Event>,
}

impl Board {
    /// An empty board.
    pub(super) fn new(
        bootstrap: Bootstrap,
        workers: Vec<mpsc::UnboundedSender<Command>>,
        control: sync_mpsc::Sender<Event>,
    ) -> Self {
        Self {
            published: Mutex::new((Arc::default(), Arc::new(bootstrap))),
            started: Instant::now(),
            heartbeat: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            workers,
            control,
        }
    }

    /// Pins what was published.
    pub(super) fn pin(&self, published: Published, bootstrap: Bootstrap) {
        let news = (Arc::new(published), Arc::new(bootstrap));
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = news;
    }

    /// Control goes round its loop.
    pub(super) fn beat(&self) {
        self.heartbeat.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// The end has begun.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn published(&self) -> (Arc<Published>, Arc<Bootstrap>) {
        let (published, bootstrap) = &*self.published.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(published), Arc::clone(bootstrap))
    }

    /// How many workers there are.
    fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Which workers live; one that does not answer in time is left out.
    pub(crate) async fn pulses(&self) -> Vec<Pulse> {
        self.ask(Command::Ping).await
    }

    /// What every worker says of itself; one that does not answer in time is left out.
    pub(crate) async fn reports(&self) -> Vec<Report> {
        let mut reports = self.ask(Command::Report).await;
        reports.sort_by_key(|report| report.pulse.worker);
        reports
    }

    async fn ask<T>(&self, command: impl Fn(mpsc::UnboundedSender<T>) -> Command) -> Vec<T> {
        let (sender, mut inbox) = mpsc::unbounded_channel();
        for worker in &self.workers {
            let _ = worker.send(command(sender.clone()));
        }
        drop(sender);
        let mut answers = Vec::with_capacity(self.workers.len());
        let all = async {
            while let Some(answer) = inbox.recv().await {
                answers.push(answer);
            }
        };
        let _ = tokio::time::timeout(WORKER_PATIENCE, all).await;
        answers
    }

    /// Whether the process does what it is there for.
    ///
    /// # Errors
    /// Why it should be started anew.
    pub(crate) fn alive(&self, pulses: &[Pulse]) -> Result<(), String> {
        // Workers that have nothing left to do are gone already, and a drain has an end of its own.
        if self.draining.load(Ordering::Relaxed) {
            return Ok(());
        }
        let silent = self.started.elapsed().saturating_sub(Duration::from_secs(self.heartbeat.load(Ordering::Relaxed)));
        if silent > CONTROL_PATIENCE {
            return Err(format!("control has been busy for {} s", silent.as_secs()));
        }
        if pulses.len() < self.workers() {
            return Err(format!("{} of {} workers answer", pulses.len(), self.workers()));
        }
        Ok(())
    }

    /// Whether clients should be sent here.
    ///
    /// # Errors
    /// Why they should not.
    pub(crate) fn ready(&self, published: &Published, pulses: &[Pulse]) -> Result<(), String> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining".to_owned());
        }
        let number = published.generation.number;
        if number == 0 {
            return Err("nothing is configured yet".to_owned());
        }
        let serving = pulses.iter().filter(|pulse| pulse.generation >= number && !pulse.draining).count();
        if !published.live || serving < self.workers() {
            return Err(format!("{serving} of {} workers serve generation {number}", self.workers()));
        }
        // A cluster may have nothing to serve yet; files that say nothing are a slip.
        let (_, bootstrap) = self.published();
        if published.generation.sockets.is_empty() && matches!(bootstrap.resources, Resources::Files(_)) {
            return Err("no listener is served; see `sekisho status`".to_owned());
        }
        Ok(())
    }

    /// Has control explain a request.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn explain(&self, question: Question) -> Result<Answer, String> {
        let (answer, answered) = sync_mpsc::channel();
        let asked = self.control.send(Event::Explain(Box::new(question), Instant::now() + EXPLAIN_PATIENCE, answer));
        asked.map_err(|_| "the gateway is stopping".to_owned())?;
        answered.recv_timeout(EXPLAIN_PATIENCE).map_err(|_| "the gateway is busy: try again".to_owned())?
    }
}
