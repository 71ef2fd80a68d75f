//! Names of endpoints, looked up in the background and again now and then; what was last found serves meanwhile.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long an answer serves before the name is looked up again. The system's resolver does not tell how long it may.
const AGAIN: Duration = Duration::from_secs(30);
/// After a look-up that failed.
const AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What a look-up gave.
#[derive(Debug)]
pub struct Answer {
    name: String,
    addresses: Result<Vec<IpAddr>, String>,
}

/// Looks names up.
#[derive(Debug)]
pub struct Resolver {
    questions: mpsc::Sender<String>,
    known: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    addresses: Vec<IpAddr>,
    failure: Option<String>,
    next: Instant,
    wanted: bool,
}

impl Known {
    fn is_pending(&self) -> bool {
        self.addresses.is_empty() && self.failure.is_none()
    }
}

impl Resolver {
    /// A resolver whose answers are told to `tell`, and come back by [`Resolver::answered`].
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(tell: impl Fn(Answer) + Send + 'static) -> std::io::Result<Self> {
        let (questions, inbox) = mpsc::channel::<String>();
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            for name in inbox {
                let addresses = (name.as_str(), 0)
                    .to_socket_addrs()
                    .map(|found| {
                        let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                        addresses.sort_unstable();
                        addresses.dedup();
                        addresses
                    })
                    .map_err(|e| e.to_string());
                tell(Answer { name, addresses });
            }
        })?;
        Ok(Self { questions, known: HashMap::new() })
    }

    /// Begins a generation: a name that it does not ask for is forgotten by [`Resolver::finish`].
    pub(super) fn begin(&mut self) {
        self.known.values_mut().for_each(|known| known.wanted = false);
    }

    /// Forgets names that nobody asked for; when the next look-up is due.
    pub(super) fn finish(&mut self) -> Option<Instant> {
        self.known.retain(|_, known| known.wanted);
        self.next()
    }

    /// When the next look-up is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.known.values().map(|known| known.next).min()
    }

    /// The addresses of a name as they were last found, and why there are none.
    pub(super) fn addresses(&mut self, name: &str, now: Instant) -> Result<Vec<IpAddr>, String> {
        let known = self.known.entry(name.to_owned()).or_insert_with(|| Known {
            addresses: Vec::new(),
            failure: None,
            next: now,
            wanted: true,
        });
        known.wanted = true;
        if known.next <= now {
            known.next = now + AGAIN;
            let _ = self.questions.send(name.to_owned());
        }
        match &known.failure {
            _ if !known.addresses.is_empty() => Ok(known.addresses.clone()),
            Some(failure) => Err(format!("`{name}` cannot be looked up: {failure}")),
            None => Err(format!("`{name}` is being looked up")),
        }
    }

    /// Whether any name has been asked for and was never answered.
    pub(super) fn is_waiting(&self) -> bool {
        self.known.values().any(Known::is_pending)
    }

    /// Takes no answer for one.
    pub(super) fn give_up(&mut self, why: &str) {
        for known in self.known.values_mut().filter(|known| known.is_pending()) {
            known.failure = Some(why.to_owned());
        }
    }

    /// Takes an answer; whether anything changed by it.
    pub(super) fn answered(&mut self, answer: Answer, now: Instant) -> bool {
        let Some(known) = self.known.get_mut(&answer.name) else { return false };
        match answer.addresses {
            Ok(addresses) => {
                known.next = now + AGAIN;
                let changed = known.addresses != addresses || known.failure.is_some();
                known.failure = None;
                known.addresses = addresses;
                changed
            }
            Err(failure) => {
                known.next = now + AGAIN_AFTER_FAILURE;
                let changed = known.failure.as_ref() != Some(&failure);
                known.failure = Some(failure);
                changed
            }
        }
    }
}
