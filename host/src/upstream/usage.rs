//! How much of a cluster is in use, by all workers together. Counted without locks; who finds all connections taken waits
//! for one of its own worker to become idle, or for a place for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::model::ClusterLimits;

/// What of a cluster is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Connections to its endpoints.
    Connections,
    /// Requests that wait for a connection.
    Pending,
    /// Requests under way.
    Requests,
    /// Tries besides the first of each request.
    Retries,
}

impl Limited {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Pending, Self::Requests, Self::Retries];

    /// The word in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
            Self::Retries => "retries",
        }
    }

    fn of(self, limits: &ClusterLimits) -> Option<u32> {
        match self {
            Self::Connections => limits.connections,
            Self::Pending => limits.pending,
            Self::Requests => limits.requests,
            Self::Retries => limits.retries,
        }
    }
}

/// A cluster has as much of it as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("upstream overflow: the limit of {most} {} is reached", .limited.name())]
pub struct Overflow {
    /// What.
    pub limited: Limited,
    /// The limit.
    pub most: u32,
}

/// What of a cluster is in use; it goes on when the cluster changes.
#[derive(Debug, Default)]
pub(super) struct Usage {
    held: [AtomicU32; 4],
    overflows: [AtomicU64; 4],
    /// Requests that wait for a connection, limited or not.
    waiting: AtomicUsize,
    /// A connection ended.
    freed: Notify,
    /// Somebody waits, and idle connections of other workers are in the way.
    wanted: Notify,
}

/// A part of what is limited, for as long as it is in use.
#[derive(Debug)]
pub(super) struct Held {
    usage: Arc<Usage>,
    limited: Limited,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.usage.held[self.limited as usize].fetch_sub(1, Ordering::SeqCst);
        if self.limited == Limited::Connections && self.usage.waiting() > 0 {
            self.usage.freed.notify_one();
        }
    }
}

/// A request that waits for a connection.
struct Waits<'u> {
    usage: &'u Usage,
    served: bool,
}

impl<'u> Waits<'u> {
    fn begin(usage: &'u Usage) -> Self {
        usage.waiting.fetch_add(1, Ordering::SeqCst);
        Self { usage, served: false }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let others = self.usage.waiting.fetch_sub(1, Ordering::SeqCst) > 1;
        // What was kept idle for who waits no more, others may want.
        if others && !self.served {
            self.usage.wanted.notify_waiters();
        }
    }
}

impl Usage {
    /// How much is in use; only what is limited is counted.
    pub(super) fn held(&self, limited: Limited) -> u32 {
        self.held[limited as usize].load(Ordering::SeqCst)
    }

    /// How often there was none left.
    pub(super) fn overflows(&self, limited: Limited) -> u64 {
        self.overflows[limited as usize].load(Ordering::Relaxed)
    }

    /// One more, unless there are as many as may be.
    fn try_hold(self: &Arc<Self>, limited: Limited, most: u32) -> Option<Held> {
        let count = &self.held[limited as usize];
        let more = |now: u32| (now < most).then(|| now + 1);
        count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Held { usage: Arc::clone(self), limited })
    }

    /// One more, however many there are.
    pub(super) fn hold_beyond(self: &Arc<Self>, limited: Limited) -> Held {
        self.held[limited as usize].fetch_add(1, Ordering::SeqCst);
        Held { usage: Arc::clone(self), limited }
    }

    /// One more where that is limited.
    ///
    /// # Errors
    /// When there are as many as may be.
    pub(super) fn hold(self: &Arc<Self>, limited: Limited, limits: &ClusterLimits) -> Result<Option<Held>, Overflow> {
        let Some(most) = limited.of(limits) else { return Ok(None) };
        match self.try_hold(limited, most) {
            Some(held) => Ok(Some(held)),
            None => {
                self.overflows[limited as usize].fetch_add(1, Ordering::Relaxed);
                Err(Overflow { limited, most })
            }
        }
    }

    /// A place for a connection, or whatever `other` finds meanwhile; `here` tells that it may have become able to.
    pub(super) async fn connection<T>(
        self: &Arc<Self>,
        most: u32,
        here: &Notify,
        other: impl Fn() -> Option<T>,
    ) -> Result<Held, T> {
        if let Some(held) = self.try_hold(Limited::Connections, most) {
            return Ok(held);
        }
        let mut waits = Waits::begin(self);
        let mut woken = false;
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            let mut near = std::pin::pin!(here.notified());
            woken |= freed.as_mut().enable();
            near.as_mut().enable();
            if let Some(found) = other() {
                waits.served = true;
                if woken {
                    // The place that is free is somebody else's then.
                    self.freed.notify_one();
                }
                return Err(found);
            }
            if let Some(held) = self.try_hold(Limited::Connections, most) {
                waits.served = true;
                return Ok(held);
            }
            woken = false;
            self.wanted.notify_waiters();
            tokio::select! {
                () = freed => woken = true,
                () = near => {}
            }
        }
    }

    /// How many wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Tells that somebody waits while others' connections may be idle.
    pub(super) fn wanted(&self) -> &Notify {
        &self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_is_held() {
        let usage = Arc::new(Usage::default());
        let limits = ClusterLimits { requests: Some(2), ..ClusterLimits::default() };
        let one = usage.hold(Limited::Requests, &limits).unwrap();
        let two = usage.hold(Limited::Requests, &limits).unwrap();
        let overflow = usage.hold(Limited::Requests, &limits).unwrap_err();
        assert_eq!(overflow.to_string(), "upstream overflow: the limit of 2 requests is reached");
        assert_eq!((usage.held(Limited::Requests), usage.overflows(Limited::Requests)), (2, 1));
        drop(one);
        assert!(usage.hold(Limited::Requests, &limits).is_ok());
        drop(two);
        assert!(usage.hold(Limited::Connections, &limits).unwrap().is_none(), "what is not limited is not counted");
    }

    #[test]
    fn who_finds_another_connection_passes_the_place_on() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let usage = Arc::new(Usage::default());
            let held = usage.try_hold(Limited::Connections, 1).unwrap();
            let found = std::rc::Rc::new(std::cell::Cell::new(false));
            let (first, finds) = (Arc::clone(&usage), std::rc::Rc::clone(&found));
            let first = tokio::task::spawn_local(async move {
                first.connection(1, &Notify::new(), || finds.get().then_some(())).await.map(drop)
            });
            let second = Arc::clone(&usage);
            let second = async move { second.connection(1, &Notify::new(), || None::<()>).await.map(drop) };
            let second = tokio::task::spawn_local(second);
            while usage.waiting() < 2 {
                tokio::task::yield_now().await;
            }
            found.set(true);
            drop(held);
            assert_eq!(first.await.unwrap(), Err(()));
            let second = tokio::time::timeout(std::time::Duration::from_secs(5), second).await;
            assert_eq!(second.expect("it is told").unwrap(), Ok(()));
        });
    }

    #[test]
    fn workers_together_stay_within_the_limit() {
        let usage = Arc::new(Usage::default());
        let limits = ClusterLimits { requests: Some(3), ..ClusterLimits::default() };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let held = usage.hold(Limited::Requests, &limits);
                        assert!(usage.held(Limited::Requests) <= 3);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!(usage.held(Limited::Requests), 0);
    }
}
