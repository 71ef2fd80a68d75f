//! Control: everything that happens outside the path of a request. One thread turns what the source, the plugins and
//! the clock say into generations, and hands them to the workers.

mod assemble;
mod board;
mod check;
mod clusters;
mod dns;
mod endpoints;
mod fronts;
mod journal;
mod lint;
mod pipeline;
mod plugins;
mod pool;
mod sockets;
mod vault;

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

pub use board::{Board, LoadedCode, PluginCard, PluginKind, Published, SecretCard, SecretState};
pub use check::{Checked, READ, check};
pub use journal::conditions;
pub use pipeline::{Build, Pipeline};

use crate::bootstrap::Bootstrap;
use crate::explain::{Answer, Question, View, explain};
use crate::generation::Generation;
use crate::memory;
use crate::socket_name::SocketName;
use crate::source::hints::Hints;
use crate::worker::{Command, Handle, Publication, Settings, SpareWanted};
use journal::Journal;
use sockets::Sockets;

/// How often files are looked at without a hint.
const LOOK: Duration = Duration::from_millis(200);
/// Where there are so many files that looking takes long, it takes at most one part in so many of the time.
const LOOK_SHARE: u32 = 20;
/// A burst of changes is over after so long without one, and what is there is taken; one by one it would be served in
/// states that nobody meant.
const SETTLE: Duration = Duration::from_millis(5);
/// How long a burst may last before what is there is taken all the same.
const SETTLE_MOST: Duration = Duration::from_millis(50);
/// How much this thread steps back (`nice(2)`), and those that it starts, such as the compiler's: to a fourth of a
/// processor that it has to share with a worker.
const YIELD: i32 = 5;
/// How often a socket that could not be bound is tried again.
const BIND_AGAIN: Duration = Duration::from_millis(500);
/// How long after a replacement could not be made it is tried again.
const SPARE_AGAIN: Duration = Duration::from_secs(1);
/// How long workers may take to acknowledge a generation.
const ACKNOWLEDGE: Duration = Duration::from_secs(10);

/// What control is told.
#[derive(Debug)]
pub enum Event {
    /// A worker lost an instance.
    Spare(SpareWanted),
    /// Somebody wonders about a request, until then.
    Explain(Box<Question>, Instant, mpsc::Sender<Result<Answer, String>>),
    /// A file may have changed.
    Touched,
    /// The bootstrap file is to be read again.
    Reload,
    /// A name was looked up.
    Resolved(dns::Answer),
    /// The end.
    Stop,
}

/// Runs the gateway until it is told to stop.
pub fn run(mut control: Control, events: &mpsc::Receiver<Event>) {
    // Requests come first where there are more threads than processors.
    let _ = rustix::process::nice(YIELD);
    control.update();
    let (mut soonest, mut next_look) = (Instant::now(), Instant::now() + LOOK);
    loop {
        control.board.beat();
        let due = control.wake.map_or(next_look, |wake| next_look.min(wake));
        match events.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Event::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Ok(Event::Spare(wanted)) => control.make_spare(wanted),
            // Who asked may have given up.
            Ok(Event::Explain(_, until, _)) if until <= Instant::now() => {}
            Ok(Event::Explain(question, _, answer)) => drop(answer.send(control.explain(&question))),
            Ok(Event::Reload) => control.reload(),
            Ok(Event::Touched) => next_look = soonest,
            Ok(Event::Resolved(answer)) => {
                if control.pipeline.resolved(answer) {
                    control.update();
                }
                control.wake = [control.wake, control.pipeline.next_lookup()].into_iter().flatten().min();
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        // Events alone do not put it off: a plugin that keeps failing sends them without end.
        if due.min(next_look) <= Instant::now() {
            let took = control.look();
            // Hints without end take half of the time at most.
            (soonest, next_look) = (Instant::now() + took, Instant::now() + LOOK.max(took * LOOK_SHARE));
        }
    }
    control.stop();
}

/// File descriptors that are left for files, plugins and listening sockets.
const RESERVED_DESCRIPTORS: usize = 192;

/// How many connections each worker may have open on either side, so that descriptors never run out; the process's soft
/// limit is raised to the hard one first.
fn descriptors_for_each(workers: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let most = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(1 << 20);
    (most.saturating_sub(RESERVED_DESCRIPTORS) / (2 * workers.max(1))).max(16)
}

/// The thread's state.
pub struct Control {
    board: Arc<Board>,
    pipeline: Pipeline,
    sockets: Sockets,
    workers: Vec<Handle>,
    /// The table that workers have loaded, for each plugin.
    published: Vec<u64>,
    journal: Journal,
    /// None where the kernel gives none.
    hints: Option<Hints>,
    number: u64,
    wake: Option<Instant>,
    /// Addresses that could not be bound, and when they are tried again.
    unbound: BTreeSet<SocketName>,
    bind_again: Instant,
    /// Replacements that could not be made, and when that is tried again.
    spares_owed: Vec<(Instant, SpareWanted)>,
}

impl Control {
    /// Starts the workers, which serve nothing yet.
    ///
    /// # Errors
    /// When the sandbox or a thread cannot be started.
    pub fn start(bootstrap: Bootstrap, sender: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        let settings = Settings::from(&bootstrap);
        let share = descriptors_for_each(bootstrap.workers);
        let workers = (0..bootstrap.workers)
            .map(|index| {
                let sender = sender.clone();
                let wanted = move |wanted| drop(sender.send(Event::Spare(wanted)));
                Handle::start(index, settings.clone(), share, wanted)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let commands = workers.iter().map(Handle::commands).collect();
        let board = Arc::new(Board::new(bootstrap.clone(), commands, sender.clone()));
        let touched = sender.clone();
        let hints = Hints::start(move || drop(touched.send(Event::Touched)));
        let called = sender.clone();
        let hint = move || drop(called.send(Event::Touched));
        let resolver = dns::Resolver::start(move |answer| drop(sender.send(Event::Resolved(answer))))?;
        Ok(Self {
            board,
            pipeline: Pipeline::new(bootstrap, workers.len(), Some(resolver), hint)?,
            sockets: Sockets::default(),
            workers,
            published: Vec::new(),
            journal: Journal::default(),
            hints: hints.inspect_err(|error| tracing::warn!(%error, "changes of files are noticed late")).ok(),
            number: 0,
            wake: None,
            unbound: BTreeSet::new(),
            bind_again: Instant::now(),
            spares_owed: Vec::new(),
        })
    }

    /// What the admin endpoint reads.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    fn explain(&self, question: &Question) -> Result<Answer, String> {
        let (published, bootstrap) = self.board.published();
        let view = View {
            generation: &published.generation,
            findings: &published.findings,
            places: &published.places,
            bootstrap: &bootstrap,
        };
        let router = |plugin| self.pipeline.spare(plugin).map(|made| made.map(|(_, router)| router));
        let explained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| explain(question, view, router)));
        let explained = explained.map_err(|_| "explaining it failed by a defect of the gateway".to_owned())?;
        let answer = explained.map_err(|error| error.to_string())?;
        Ok(Answer { generation: Some(published.generation.number), ..answer })
    }

    /// Does what is due; how long looking at files took.
    fn look(&mut self) -> Duration {
        let now = Instant::now();
        for (_, wanted) in self.spares_owed.extract_if(.., |(when, _)| *when <= now).collect::<Vec<_>>() {
            self.make_spare(wanted);
        }
        let due = self.wake.is_some_and(|wake| wake <= now);
        // What happens from now on is another hint.
        let told = self.hints.as_ref().is_some_and(Hints::take) | self.pipeline.take_hint();
        let began = Instant::now();
        let changed = self.pipeline.has_changed();
        let took = began.elapsed();
        self.watch();
        if changed {
            self.settle(told);
            self.update();
        } else if due || (self.bind_again <= now && self.sockets.has_become_free(&self.unbound)) {
            self.update();
        } else if self.bind_again <= now {
            self.bind_again = now + BIND_AGAIN;
        }
        took
    }

    /// Waits for the end of a burst of changes. Where nobody told of the first, nobody tells of the next, and four times
    /// as long is a guess.
    fn settle(&self, told: bool) {
        let began = Instant::now();
        while began.elapsed() < SETTLE_MOST {
            std::thread::sleep(SETTLE);
            let stirred = self.hints.as_ref().is_some_and(Hints::is_stirred) | self.pipeline.is_stirred();
            if !stirred && (told || began.elapsed() >= SETTLE * 4) {
                break;
            }
        }
    }

    fn watch(&mut self) {
        if let Some(hints) = &mut self.hints {
            hints.watch(&self.pipeline.directories());
        }
    }

    /// Nothing from outside should make the control thread panic; should it, what is served stays.
    fn update(&mut self) {
        // Should it fail, it is not due at once again.
        self.wake = None;
        let updated = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.build_and_publish()));
        if updated.is_err() {
            tracing::error!("building a generation failed by a defect of the gateway; what was in force stays");
        }
        self.watch();
    }

    /// Builds a generation of the newest good parts and publishes it.
    fn build_and_publish(&mut self) {
        let started = Instant::now();
        let Some(mut build) = self.pipeline.build(started) else { return };
        let unbound = self.sockets.bind(build.sockets.keys().cloned(), self.workers.len());
        build.drop_unbound(&unbound);
        self.wake = build.wake;
        self.bind_again = started + BIND_AGAIN;
        self.unbound = unbound.into_keys().collect();
        self.journal.findings(&build.findings);
        self.publish(build, started);
    }

    fn publish(&mut self, mut build: Build, started: Instant) {
        self.number += 1;
        let listeners: BTreeSet<&str> =
            build.sockets.values().flat_map(|socket| &socket.listeners).map(|listener| &*listener.name).collect();
        let listeners = listeners.len();
        let addresses: Vec<String> = build.sockets.keys().map(ToString::to_string).collect();
        let addresses = addresses.join(" ");
        let listeners_now = build.listeners();
        let fronts = build.take_fronts();
        let Build { sockets, parts, outcomes, mut findings, places, secrets, .. } = build;
        let generation = Arc::new(Generation { number: self.number, sockets, parts });
        let mut routers = self.pipeline.take_routers(&mut self.published, self.workers.len());
        let mut bound = self.sockets.take(self.workers.len());
        let (done, acknowledged) = mpsc::channel();
        for worker in self.workers.iter().rev() {
            let publication = Publication {
                generation: Arc::clone(&generation),
                sockets: bound.pop().unwrap_or_default(),
                routers: routers.pop().unwrap_or_default(),
                done: done.clone(),
            };
            if !worker.tell(Command::Publish(Box::new(publication))) {
                tracing::error!("a worker is gone");
            }
        }
        drop(done);
        let deadline = Instant::now() + ACKNOWLEDGE;
        let live = (0..self.workers.len())
            .all(|_| acknowledged.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok());
        if !live {
            tracing::error!(generation = self.number, "not every worker acknowledged the generation");
        }
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(generation = self.number, listeners, addresses, took_ms, "serving");
        let mut statuses = Vec::new();
        let mut all = true;
        for (plugin, mut outcome) in outcomes.into_iter().enumerate() {
            outcome.live = live;
            match self.pipeline.report(plugin, &outcome) {
                Ok(reported) => {
                    all &= reported.is_some();
                    let reported = reported.unwrap_or_default();
                    self.journal.statuses(plugin, &reported);
                    let name = &generation.parts[plugin].plugin;
                    statuses.extend(reported.into_iter().map(|status| (Arc::clone(name), status)));
                }
                Err(_) => {
                    all = false;
                    findings.extend(self.pipeline.unreported(plugin));
                }
            }
        }
        self.pipeline.write_statuses(statuses.iter().map(|(_, status)| status), all, fronts);
        // Some of them came to be only now.
        findings.sort();
        self.journal.findings(&findings);
        let published = Published {
            generation,
            live,
            since: Some(SystemTime::now()),
            took: started.elapsed(),
            findings,
            places,
            listeners: listeners_now,
            statuses,
            secrets,
            plugins: self.pipeline.plugin_cards(),
        };
        self.board.pin(published, self.pipeline.bootstrap().clone());
        // What was replaced is free now.
        memory::give_back();
    }

    fn make_spare(&mut self, wanted: SpareWanted) {
        match self.pipeline.spare(wanted.plugin) {
            Some(Ok((table, router))) => {
                let spare = Command::Spare { plugin: wanted.plugin, table, router: Box::new(router) };
                self.workers[wanted.worker].tell(spare);
            }
            Some(Err(failure)) => {
                tracing::error!(plugin = &*failure.plugin, "no replacement yet: {failure}");
                self.spares_owed.push((Instant::now() + SPARE_AGAIN, wanted));
            }
            None => {}
        }
    }

    fn reload(&mut self) {
        let current = self.pipeline.bootstrap();
        let Some(path) = current.path.clone() else {
            return tracing::warn!("there is no bootstrap file to read again");
        };
        let bootstrap = match current.read_again(&path) {
            Ok(bootstrap) => bootstrap,
            Err(error) => {
                let error: anyhow::Error = error.into();
                return tracing::error!("the bootstrap file is not taken, what was in force stays: {error:#}");
            }
        };
        for key in current.needs_restart(&bootstrap) {
            tracing::warn!(key, "this key of the bootstrap file needs a restart to take effect");
        }
        let settings = Settings::from(&bootstrap);
        for worker in &self.workers {
            worker.tell(Command::Settings(settings.clone()));
        }
        self.pipeline.reconfigure(bootstrap);
        tracing::info!(path = %path.display(), "bootstrap file read again");
        self.update();
    }

    fn stop(self) {
        self.board.drain();
        tracing::info!("draining");
        self.pipeline.retire();
        // Whoever takes over finds no file in the way.
        drop(self.sockets);
        for worker in &self.workers {
            worker.tell(Command::Drain);
        }
        for worker in self.workers {
            worker.join();
        }
        tracing::info!("stopped");
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("generation", &self.number).finish_non_exhaustive()
    }
}
