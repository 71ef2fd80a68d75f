//! Endpoints that fail are left out for a while (outlier detection). Nobody sweeps: whether a time is over is seen when
//! an endpoint is chosen. What is known of an endpoint is known to all workers, and outlives generations.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Cluster, Endpoint};
use crate::model::Outlier;

/// The longest time that an endpoint is left out for, unless the first time is longer.
const MOST: Duration = Duration::from_secs(300);

/// What an endpoint's answer, or the lack of one, says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It serves.
    Well,
    /// It failed by itself.
    Error,
    /// It did not answer, or could not reach what is behind it.
    Gateway,
}

impl Verdict {
    /// Of a status; a gRPC status says more where there is one.
    pub(super) fn of(status: http::StatusCode, grpc: Option<u8>) -> Self {
        match grpc {
            Some(4 | 14) => return Self::Gateway,
            Some(2 | 13 | 15) => return Self::Error,
            _ => {}
        }
        match status.as_u16() {
            502..=504 => Self::Gateway,
            500.. => Self::Error,
            _ => Self::Well,
        }
    }
}

/// What is known of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// In a row.
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    /// How often it was left out, less what is forgiven.
    times: AtomicU32,
    /// How often altogether.
    ejections: AtomicU64,
    /// Until when it is left out, by [`clock`].
    until: AtomicU64,
}

/// Milliseconds, from one on.
pub(super) fn clock() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Health {
    /// Whether it is left out at this time.
    pub(super) fn is_out(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Relaxed)
    }

    /// Counts; whether it is to be left out.
    fn note(&self, outlier: &Outlier, verdict: Verdict) -> bool {
        let counts = [
            (&self.errors, outlier.consecutive_errors, verdict != Verdict::Well),
            (&self.gateway_errors, outlier.consecutive_gateway_errors, verdict == Verdict::Gateway),
        ];
        let mut out = false;
        for (count, most, failed) in counts {
            if failed {
                let now = count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                out |= most.is_some_and(|most| now >= most);
            } else if count.load(Ordering::Relaxed) > 0 {
                count.store(0, Ordering::Relaxed);
            }
        }
        out
    }

    /// Leaves it out from now on; until when.
    fn eject(&self, outlier: &Outlier, now: u64) -> u64 {
        self.errors.store(0, Ordering::Relaxed);
        self.gateway_errors.store(0, Ordering::Relaxed);
        // Each interval in which it was well takes one time back.
        let well = now.saturating_sub(self.until.load(Ordering::Relaxed)) / millis(outlier.interval).max(1);
        let before = self.times.load(Ordering::Relaxed).saturating_sub(u32::try_from(well).unwrap_or(u32::MAX));
        let times = before.saturating_add(1);
        self.times.store(times, Ordering::Relaxed);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        let time = outlier.ejection.saturating_mul(times).min(MOST.max(outlier.ejection));
        let until = now.saturating_add(millis(time));
        self.until.store(until, Ordering::Relaxed);
        until
    }
}

impl Endpoint {
    /// For how long it is still left out because it failed.
    #[must_use]
    pub fn left_out(&self) -> Option<Duration> {
        let left = self.health.until.load(Ordering::Relaxed).saturating_sub(clock());
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// How often it was left out.
    #[must_use]
    pub fn ejections(&self) -> u64 {
        self.health.ejections.load(Ordering::Relaxed)
    }
}

impl Cluster {
    /// The time, if some endpoints are left out at it.
    pub(super) fn left_out(&self) -> Option<u64> {
        let outlier = self.outlier.as_ref()?;
        let until = self.out_until.load(Ordering::Relaxed);
        if until == 0 {
            return None;
        }
        let now = clock();
        if now >= until {
            // Nobody looks at the clock until somebody is left out again.
            let _ = self.out_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
            return None;
        }
        let well = self.endpoints.iter().filter(|endpoint| !endpoint.health.is_out(now)).count();
        let enough = well * 100 >= usize::from(outlier.min_health_percent) * self.endpoints.len();
        enough.then_some(now)
    }

    /// Takes note of what an endpoint did, and leaves it out if that is too much.
    pub(super) fn judge(&self, endpoint: &Endpoint, verdict: Verdict) {
        let Some(outlier) = &self.outlier else { return };
        if endpoint.health.note(outlier, verdict) {
            self.leave_out(outlier, endpoint, clock());
        }
    }

    fn leave_out(&self, outlier: &Outlier, endpoint: &Endpoint, now: u64) {
        let out = self.endpoints.iter().filter(|endpoint| endpoint.health.is_out(now)).count();
        if endpoint.health.is_out(now) || out >= most_out(outlier.max_percent, self.endpoints.len()) {
            return;
        }
        let until = endpoint.health.eject(outlier, now);
        self.out_until.fetch_max(until, Ordering::Relaxed);
        let for_ms = until - now;
        tracing::warn!(cluster = &*self.name, endpoint = %endpoint.address, for_ms, "endpoint left out: it kept failing");
    }
}

/// How many may be left out: the share, but one of several in any case, so that small clusters are served too.
fn most_out(percent: u8, endpoints: usize) -> usize {
    match (percent, endpoints * usize::from(percent) / 100) {
        (1.., 0) if endpoints > 1 => 1,
        (_, most) => most,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Transport;
    use super::*;
    use crate::model::{self, Balance};

    const OUTLIER: Outlier = Outlier {
        consecutive_errors: Some(3),
        consecutive_gateway_errors: None,
        interval: Duration::from_secs(10),
        ejection: Duration::from_secs(30),
        max_percent: 50,
        min_health_percent: 0,
    };

    fn cluster(outlier: Outlier, endpoints: u16) -> Cluster {
        let endpoints = (1..=endpoints).map(|port| Arc::new(Endpoint::new(([127, 0, 0, 1], port).into(), 1))).collect();
        let said =
            model::Cluster { outlier: Some(outlier), balance: Balance::RoundRobin, ..model::Cluster::plain("c") };
        Cluster::new(&said, endpoints, Transport::plain(Duration::from_secs(1)))
    }

    fn fail(cluster: &Cluster, endpoint: usize, times: u32) {
        (0..times).for_each(|_| cluster.judge(&cluster.endpoints[endpoint], Verdict::Error));
    }

    #[test]
    fn failures_in_a_row_count_and_a_success_ends_the_row() {
        let cluster = cluster(OUTLIER, 2);
        fail(&cluster, 0, 2);
        cluster.judge(&cluster.endpoints[0], Verdict::Well);
        fail(&cluster, 0, 2);
        assert!(cluster.endpoints[0].left_out().is_none());
        fail(&cluster, 0, 1);
        assert!(cluster.endpoints[0].left_out().is_some());
        assert!((0..20).all(|_| cluster.choose(&[], None).unwrap().address.port() == 2));
    }

    #[test]
    fn gateway_errors_have_a_count_of_their_own() {
        let outlier = Outlier { consecutive_errors: None, consecutive_gateway_errors: Some(2), ..OUTLIER };
        let cluster = cluster(outlier, 2);
        fail(&cluster, 0, 10);
        assert!(cluster.endpoints[0].left_out().is_none());
        cluster.judge(&cluster.endpoints[0], Verdict::Gateway);
        fail(&cluster, 0, 1);
        cluster.judge(&cluster.endpoints[0], Verdict::Gateway);
        assert!(cluster.endpoints[0].left_out().is_none(), "another error ends the row");
        cluster.judge(&cluster.endpoints[0], Verdict::Gateway);
        assert!(cluster.endpoints[0].left_out().is_some());
    }

    #[test]
    fn times_grow_and_are_forgiven() {
        let health = Health::default();
        assert_eq!(health.eject(&OUTLIER, 1), 30_001);
        assert!(health.is_out(30_000) && !health.is_out(30_001));
        assert_eq!(health.eject(&OUTLIER, 30_001), 90_001, "at once again: twice as long");
        // Two intervals without a failure take back two times.
        assert_eq!(health.eject(&OUTLIER, 110_001), 140_001);
        let mut until = 140_001;
        (0..30).for_each(|_| until = health.eject(&OUTLIER, until));
        let before = until;
        assert_eq!(health.eject(&OUTLIER, until) - before, 300_000, "never longer than five minutes");
    }

    #[test]
    fn no_more_than_their_share_are_left_out() {
        let cluster = cluster(OUTLIER, 4);
        (0..4).for_each(|endpoint| fail(&cluster, endpoint, 3));
        let out = cluster.endpoints.iter().filter(|endpoint| endpoint.left_out().is_some()).count();
        assert_eq!(out, 2);
        assert_eq!(
            [most_out(10, 1), most_out(10, 2), most_out(0, 9), most_out(100, 3), most_out(34, 3)],
            [0, 1, 0, 3, 1]
        );
    }

    #[test]
    fn with_too_few_left_all_are_used() {
        let outlier = Outlier { max_percent: 100, min_health_percent: 50, ..OUTLIER };
        let cluster = cluster(outlier, 4);
        (0..2).for_each(|endpoint| fail(&cluster, endpoint, 3));
        let used = |cluster: &Cluster| {
            let ports: std::collections::BTreeSet<u16> =
                (0..40).map(|_| cluster.choose(&[], None).unwrap().address.port()).collect();
            ports.len()
        };
        assert_eq!(used(&cluster), 2);
        fail(&cluster, 2, 3);
        assert_eq!(used(&cluster), 4);
    }

    #[test]
    fn without_a_least_share_nobody_may_be_left() {
        let cluster = cluster(Outlier { max_percent: 100, ..OUTLIER }, 1);
        fail(&cluster, 0, 3);
        assert!(cluster.choose(&[], None).is_none());
    }

    #[test]
    fn what_is_known_goes_on_with_the_cluster() {
        let before = cluster(OUTLIER, 2);
        fail(&before, 0, 3);
        let after = Cluster::new(
            &model::Cluster { outlier: Some(OUTLIER), ..model::Cluster::plain("c") },
            before.endpoints.clone(),
            Transport::plain(Duration::from_secs(2)),
        )
        .after(&before);
        assert!((0..20).all(|_| after.choose(&[], None).unwrap().address.port() == 2));
    }
}
