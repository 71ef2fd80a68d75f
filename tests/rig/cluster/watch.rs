//! A watch: one JSON document a line, for as long as both sides want.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::refusal::Refusal;
use super::selection::Selection;
use super::store::Happened;
use super::view::View;

/// Between two bookmarks; the real server's are a minute apart, for which no test waits.
const BOOKMARKS: Duration = Duration::from_secs(2);
/// How long a watch lasts that does not say.
const LONGEST: Duration = Duration::from_secs(1800);

/// What is watched, from where, and how.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) selection: Selection,
    pub(super) view: View,
    /// The revision after which it begins; without one it begins with what there is.
    pub(super) from: Option<u64>,
    pub(super) bookmarks: bool,
    pub(super) duration: Option<Duration>,
    /// A test wants it to be told that it is too late.
    pub(super) expired: bool,
    pub(super) changed: watch::Receiver<()>,
    pub(super) ended: watch::Receiver<Ending>,
}

/// How watches end before their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order, as after `timeoutSeconds`.
    #[default]
    Over,
    /// In the middle, as when a load balancer goes.
    Cut,
}

/// Nobody listens any more.
struct Gone;

type Lines = mpsc::Sender<Result<Bytes, io::Error>>;

impl Watch {
    /// Runs until it is over or nobody listens any more.
    pub(super) async fn run(self, shared: Arc<Shared>, lines: Lines) {
        _ = self.tell(&shared, &lines).await;
    }

    async fn tell(mut self, shared: &Shared, lines: &Lines) -> Result<(), Gone> {
        if self.expired {
            let refusal = Refusal::expired("The resourceVersion for the provided watch is too old.");
            return send(lines, &error(&refusal)).await;
        }
        let end = Instant::now() + self.duration.unwrap_or(LONGEST);
        let mut told = self.begin(shared, lines).await?;
        let mut bookmark = Instant::now() + BOOKMARKS;
        loop {
            let (changes, served, now) = {
                let state = shared.lock();
                let changes = state.store.changes_since(&self.selection, told);
                (changes, state.store.serves(self.selection.kind), state.store.revision())
            };
            let changes = match changes {
                Ok(changes) => changes,
                Err(refusal) => return send(lines, &error(&refusal)).await,
            };
            for (_, happened, object) in changes {
                send(lines, &self.view.event(happened, &object)).await?;
            }
            told = now;
            if !served {
                return Ok(());
            }
            tokio::select! {
                changed = self.changed.changed() => changed.map_err(|_| Gone)?,
                ended = self.ended.changed() => {
                    ended.map_err(|_| Gone)?;
                    if *self.ended.borrow_and_update() == Ending::Cut {
                        _ = lines.send(Err(io::ErrorKind::ConnectionReset.into())).await;
                    }
                    return Ok(());
                }
                () = sleep_until(bookmark), if self.bookmarks => {
                    send(lines, &self.view.bookmark(told)).await?;
                    bookmark = Instant::now() + BOOKMARKS;
                }
                () = sleep_until(end) => {
                    // The last word, so that the next watch can begin here.
                    return if self.bookmarks { send(lines, &self.view.bookmark(told)).await } else { Ok(()) };
                }
                () = lines.closed() => return Err(Gone),
            }
        }
    }

    /// Where it begins, after having told what there is if that is wanted.
    async fn begin(&self, shared: &Shared, lines: &Lines) -> Result<u64, Gone> {
        if let Some(revision) = self.from {
            return Ok(revision);
        }
        let (objects, revision) = {
            let state = shared.lock();
            (state.store.selected(&self.selection), state.store.revision())
        };
        for object in objects {
            send(lines, &self.view.event(Happened::Added, &object)).await?;
        }
        Ok(revision)
    }
}

fn error(refusal: &Refusal) -> Value {
    json!({ "type": "ERROR", "object": refusal.status() })
}

async fn send(lines: &Lines, document: &Value) -> Result<(), Gone> {
    lines.send(Ok(format!("{document}\n").into())).await.map_err(|_| Gone)
}
