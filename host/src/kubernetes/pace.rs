//! When changes are taken: one at once, many together.

use std::time::{Duration, Instant};

/// More changes than that, less those that time has taken away, are a burst.
const BURST: f64 = 40.0;
/// It holds no more than that, so that soon after a burst a change does not wait any more.
const FULL: f64 = 60.0;
/// Changes that a second takes away.
const DECAY: f64 = 20.0;
/// A burst is over after so long without a change.
const QUIET: Duration = Duration::from_millis(150);
/// How long a burst may last before what is there is taken all the same.
const LONGEST: Duration = Duration::from_secs(5);

/// A leaky bucket of changes.
#[derive(Debug)]
pub(super) struct Pace {
    level: f64,
    last: Instant,
    /// The first change that was not taken yet.
    first: Option<Instant>,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { level: 0.0, last: now, first: None }
    }

    /// Something changed.
    pub(super) fn change(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.last).as_secs_f64();
        self.level = DECAY.mul_add(-elapsed, self.level).clamp(0.0, FULL) + 1.0;
        self.last = now;
        self.first.get_or_insert(now);
    }

    /// Whether there is a change to take, and it should not wait for others.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let Some(first) = self.first else { return false };
        let calm = self.level < BURST;
        calm || now.saturating_duration_since(self.last) >= QUIET || now.saturating_duration_since(first) >= LONGEST
    }

    /// What there is was taken.
    pub(super) fn taken(&mut self) {
        self.first = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn one_change_now_and_then_does_not_wait() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!(!pace.is_due(start));
        for turn in 0..200 {
            let now = at(start, turn * 100);
            pace.change(now);
            assert!(pace.is_due(now), "change {turn}");
            pace.taken();
            assert!(!pace.is_due(now));
        }
    }

    #[test]
    fn ten_thousand_changes_are_taken_a_handful_of_times() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut taken = 0;
        // A thousand a second; each that is due takes 50 ms to build.
        let mut free = start;
        for change in 0..10_000 {
            let now = at(start, change);
            pace.change(now);
            if now >= free && pace.is_due(now) {
                pace.taken();
                taken += 1;
                free = now + Duration::from_millis(50);
            }
        }
        assert!(pace.is_due(at(start, 10_000) + QUIET), "the last of them is not lost");
        assert!(taken <= 5, "{taken}");
        pace.taken();
        let later = at(start, 12_000);
        pace.change(later);
        assert!(pace.is_due(later), "two seconds later it is over");
    }
}
