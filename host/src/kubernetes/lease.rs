//! Which of several replicas writes statuses: the one that holds a Lease.
//!
//! As client-go does it: whoever finds a lease that was not renewed for its duration, as far as his own clock can tell,
//! takes it; the API server lets only one of two do so.

use std::pin::pin;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch as latest;
use tokio::time::Instant;

use super::watch::sentence;

/// After so long without renewal a lease is anybody's.
const DURATION: Duration = Duration::from_secs(15);
/// After so long without success its holder does not count on it any more.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the API server may take; then the turn is over.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is renewed, or looked at.
const TURN: Duration = Duration::from_secs(2);

pub(super) struct Lease {
    api: Api<Object>,
    namespace: String,
    name: String,
    identity: String,
    /// What was last seen of another's, and since when.
    seen: Option<(LeaseSpec, Instant)>,
    /// When ours was last renewed.
    renewed: Option<Instant>,
    /// What was last said of failures.
    said: Option<String>,
}

impl Lease {
    pub(super) fn new(client: Client, name: String) -> Self {
        let namespace = client.default_namespace().to_owned();
        Self {
            api: Api::namespaced(client, &namespace),
            namespace,
            name,
            identity: identity(),
            seen: None,
            renewed: None,
            said: None,
        }
    }

    /// Takes and renews the lease until it is told to stop, and gives it back then.
    pub(super) async fn run(mut self, leads: latest::Sender<bool>, mut stopped: latest::Receiver<bool>) {
        loop {
            let deadline = self.renewed.map(|renewed| renewed + DEADLINE);
            let expired = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let taken = {
                let mut taking = pin!(tokio::time::timeout(PATIENCE, self.take_or_renew()));
                tokio::select! {
                    taken = &mut taking => taken,
                    () = expired => {
                        say(&leads, false);
                        taking.await
                    }
                }
            };
            self.took(taken.unwrap_or(Err(Failure::NotHeard)));
            say(&leads, self.renewed.is_some_and(|renewed| renewed.elapsed() < DEADLINE));
            tokio::select! {
                _ = stopped.changed() => break,
                () = tokio::time::sleep(TURN.mul_f64(0.9 + fastrand::f64() / 5.0)) => {}
            }
        }
        leads.send_replace(false);
        if self.renewed.is_some() {
            self.give_back().await;
        }
    }

    /// What came of a turn.
    fn took(&mut self, taken: Result<bool, Failure>) {
        let held_before = self.renewed.is_some();
        let failure = match taken {
            Ok(true) => {
                self.renewed = Some(Instant::now());
                None
            }
            Ok(false) => {
                self.renewed = None;
                None
            }
            Err(error) => {
                self.renewed = self.renewed.filter(|renewed| renewed.elapsed() < DEADLINE);
                error.said()
            }
        };
        if let Some(why) = failure.as_ref().filter(|why| self.said.as_ref() != Some(why)) {
            let remedy = "grant get, create and update on leases there (docs/kubernetes.md has the roles)";
            let (namespace, name) = (self.namespace.as_str(), self.name.as_str());
            tracing::warn!(remedy, "Lease/{namespace}/{name}, which says who writes statuses, is not to be had: {why}");
        }
        self.said = failure;
        if held_before != self.renewed.is_some() {
            let writes = self.renewed.is_some();
            tracing::info!(
                lease = self.name.as_str(),
                identity = self.identity.as_str(),
                writes,
                "who writes statuses"
            );
        }
    }

    /// Whether it is ours now.
    async fn take_or_renew(&mut self) -> Result<bool, Failure> {
        let found = self.api.get_opt(&self.name).await.map_err(Failure::from)?;
        let Some(mut lease) = found else {
            let lease = Object {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(&LeaseSpec::default())),
            };
            return lost_or(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.take().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(&self.identity) && !self.is_free(&spec) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(&spec));
        // The version that was read goes along, so that only one of two succeeds.
        lost_or(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    /// Whether its holder has given it back, or is gone.
    fn is_free(&mut self, spec: &LeaseSpec) -> bool {
        if spec.holder_identity.as_deref().unwrap_or_default().is_empty() {
            return true;
        }
        let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let lasts = seconds.map_or(DURATION, Duration::from_secs);
        match &self.seen {
            Some((seen, since)) if seen == spec => since.elapsed() > lasts,
            _ => {
                self.seen = Some((spec.clone(), Instant::now()));
                false
            }
        }
    }

    fn spec(&self, before: &LeaseSpec) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = before.holder_identity.as_deref() == Some(&self.identity);
        let transitions = before.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: before.acquire_time.clone().filter(|_| ours).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if ours { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        }
    }

    async fn give_back(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else { return };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.identity))
        else {
            return;
        };
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        if let Err(error) = self.api.replace(&self.name, &PostParams::default(), &lease).await {
            tracing::debug!("the lease is not given back: {}", sentence(&error));
        }
    }
}

/// Why the lease is not to be had.
enum Failure {
    /// What the API server says.
    Refused(String),
    /// It says nothing, which the watches tell of.
    NotHeard,
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status.message.clone()),
            error => {
                tracing::debug!("the lease: {}", sentence(&error));
                Self::NotHeard
            }
        }
    }
}

impl Failure {
    fn said(self) -> Option<String> {
        match self {
            Self::Refused(why) => Some(why),
            Self::NotHeard => None,
        }
    }
}

/// A write that somebody else was faster with is no failure.
fn lost_or<T>(written: Result<T, kube::Error>) -> Result<bool, Failure> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Tells the writer, if it is news.
fn say(leads: &latest::Sender<bool>, holds: bool) {
    leads.send_if_modified(|leads| std::mem::replace(leads, holds) != holds);
}

/// A name of this process that no other has: the pod's, and a number, as a container may start anew in the same pod.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "sekisho",
        name => name,
    };
    format!("{host}_{:016x}", fastrand::u64(..))
}
