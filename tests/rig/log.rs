//! A gateway's log as it grows.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;

/// The lines that a gateway wrote to its standard error.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    written: Mutex<Written>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Written {
    lines: Vec<Line>,
    ended: bool,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// As it was written.
    pub text: String,
    json: Value,
}

impl Line {
    /// A field's value; null when there is none. The formatter may put an event's own fields below `fields`.
    #[must_use]
    pub fn field(&self, name: &str) -> &Value {
        let own = &self.json[name];
        if own.is_null() { &self.json["fields"][name] } else { own }
    }

    /// Whether the event's message is this.
    #[must_use]
    pub fn is(&self, message: &str) -> bool {
        self.field("message") == message
    }

    /// Whether this line warns or reports an error.
    #[must_use]
    pub fn is_complaint(&self) -> bool {
        self.json["level"] == "WARN" || self.json["level"] == "ERROR"
    }

    /// Whether this is the line of one request.
    #[must_use]
    pub fn is_access(&self) -> bool {
        self.json["target"] == "access"
    }

    /// Whether all of it is in the line.
    #[must_use]
    pub fn has(&self, parts: &[&str]) -> bool {
        parts.iter().all(|part| self.text.contains(part))
    }
}

impl Log {
    /// Reads on until the writer ends.
    pub(crate) fn of(stderr: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared { written: Mutex::default(), grown: Condvar::new() });
        let log = Self(Arc::clone(&shared));
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stderr);
            let mut text = Vec::new();
            while reader.read_until(b'\n', &mut text).is_ok_and(|length| length > 0) {
                let line = String::from_utf8_lossy(&text).trim_end().to_owned();
                let json = serde_json::from_str(&line).unwrap_or(Value::Null);
                shared.lock().lines.push(Line { text: line, json });
                shared.grown.notify_all();
                text.clear();
            }
            shared.lock().ended = true;
            shared.grown.notify_all();
        });
        log
    }

    /// How many lines there are: a place from which to look on.
    #[must_use]
    pub fn here(&self) -> usize {
        self.0.lock().lines.len()
    }

    /// The lines written since a place.
    #[must_use]
    pub fn since(&self, place: usize) -> Vec<Line> {
        self.0.lock().lines[place..].to_vec()
    }

    /// The lines of requests, since a place.
    #[must_use]
    pub fn requests_since(&self, place: usize) -> Vec<Line> {
        self.since(place).into_iter().filter(Line::is_access).collect()
    }

    /// The first line since a place that is wanted; panics with the log when it does not come.
    #[track_caller]
    pub fn wait_since(&self, place: usize, wanted: impl Fn(&Line) -> bool) -> Line {
        self.wait_within(place, PATIENCE, wanted)
    }

    /// The same, with more patience or less.
    #[track_caller]
    pub fn wait_within(&self, place: usize, patience: Duration, wanted: impl Fn(&Line) -> bool) -> Line {
        let deadline = Instant::now() + patience;
        let mut seen = place;
        let mut written = self.0.lock();
        loop {
            if let Some(line) = written.lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = written.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if written.ended || left.is_zero() {
                let why = if written.ended { "the gateway ended" } else { "it did not come in time" };
                drop(written);
                panic!("no such line in the log: {why}\n{}", self.tail());
            }
            written = self.0.grown.wait_timeout(written, left).expect("no reader panics").0;
        }
    }

    /// The first line of all that is wanted.
    #[track_caller]
    pub fn wait(&self, wanted: impl Fn(&Line) -> bool) -> Line {
        self.wait_since(0, wanted)
    }

    /// The last lines, to be read by a person.
    #[must_use]
    pub fn tail(&self) -> String {
        let written = self.0.lock();
        let skipped = written.lines.len().saturating_sub(60);
        let lines: Vec<_> = written.lines[skipped..].iter().map(|line| line.text.as_str()).collect();
        format!("--- the gateway's log, {skipped} lines left out ---\n{}", lines.join("\n"))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().expect("no reader panics")
    }
}
