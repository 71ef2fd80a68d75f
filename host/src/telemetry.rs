//! The log: text for people on a terminal, JSON lines for everything else, on standard error.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is not said unless somebody asks: kube tells of every watch that breaks, and we tell when it lasts.
const UNHEARD: &str = "kube=off,kube_client=off,kube_runtime=off";

/// Which form the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Lines that wait for the reader of the log; more are dropped and counted. A worker never waits for it.
const MOST_WAITING: usize = 8192;
/// How long a line waits for others to be written with it.
const GATHER: Duration = Duration::from_millis(5);
/// What is written at once, in bytes, give or take a line.
const MOST_GATHERED: usize = 64 << 10;
/// How long the end of the program waits for the reader.
const LAST_LINES: Duration = Duration::from_secs(1);

enum Message {
    Line(Vec<u8>),
    End(SyncSender<()>),
}

#[derive(Clone)]
struct Writer {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Write for Writer {
    /// Each write is a whole line: the subscriber buffers it.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.sender.try_send(Message::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Lines are written together: one write for each, and a wake-up of this thread for it, would cost a worker's core more
/// than the line itself.
fn write_lines(messages: &Receiver<Message>, dropped: &AtomicU64) {
    let mut stderr = std::io::stderr();
    let mut bytes = Vec::new();
    let mut more = false;
    while let Ok(first) = messages.recv() {
        if matches!(first, Message::Line(_)) && !more {
            std::thread::sleep(GATHER);
        }
        let (mut lines, mut end) = (0, None);
        for message in std::iter::once(first).chain(messages.try_iter()) {
            match message {
                Message::Line(line) => {
                    bytes.extend_from_slice(&line);
                    lines += 1;
                }
                Message::End(done) => end = Some(done),
            }
            if end.is_some() || bytes.len() >= MOST_GATHERED {
                break;
            }
        }
        more = bytes.len() >= MOST_GATHERED;
        if stderr.write_all(&bytes).is_err() {
            dropped.fetch_add(lines, Ordering::Relaxed);
        }
        bytes.clear();
        let lost = dropped.swap(0, Ordering::Relaxed);
        let told = |stderr: &mut std::io::Stderr| {
            writeln!(stderr, "{{\"level\":\"WARN\",\"message\":\"{lost} lines of the log were dropped\"}}")
        };
        if lost > 0 && told(&mut stderr).is_err() {
            dropped.fetch_add(lost, Ordering::Relaxed);
        }
        if let Some(done) = end {
            let _ = done.send(());
            return;
        }
    }
}

/// Holds the log open; dropping it writes what still waits.
#[derive(Debug)]
pub struct Log(SyncSender<Message>);

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, written) = mpsc::sync_channel(1);
        if self.0.try_send(Message::End(done)).is_ok() {
            let _ = written.recv_timeout(LAST_LINES);
        }
    }
}

/// Starts the log. `SEKISHO_LOG` chooses what is in it, such as `debug` or `info,access=off`.
#[must_use]
pub fn start(format: LogFormat) -> Log {
    let (sender, messages) = mpsc::sync_channel(MOST_WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let writer = Writer { sender: sender.clone(), dropped: Arc::clone(&dropped) };
    // Without its thread the log would be silent; the program itself does not depend on it.
    let _ = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&messages, &dropped));
    let chosen = std::env::var("SEKISHO_LOG").unwrap_or_default();
    let filter = match chosen.as_str() {
        "" => format!("info,{UNHEARD}"),
        asked if asked.contains("kube") => chosen,
        _ => format!("{chosen},{UNHEARD}"),
    };
    let filter = EnvFilter::builder().parse_lossy(filter);
    let terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(terminal).with_target(false);
        registry.with(layer).init();
    } else {
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).json().flatten_event(true);
        registry.with(layer).init();
    }
    Log(sender)
}
