//! What is counted. A worker counts in memory of its own, without a lock and without sharing; who wants to know asks it,
//! and it answers with a copy.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::Route;

/// Series of requests that one worker tells apart; what comes after goes under [`OTHER`].
const MOST_SERIES: usize = 20_000;
/// The route of series that are too many.
const OTHER: &str = "(other)";
/// Refused handshakes that are remembered.
const MOST_REFUSED: usize = 16;

/// How often something took how long.
#[derive(Clone, Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    counts: Vec<u64>,
    sum: Duration,
}

macro_rules! micros {
    ($($micros:literal)*) => { &[$(Duration::from_micros($micros)),*] };
}

/// From arrival to the last byte of the answer.
pub const REQUEST_BOUNDS: &[Duration] = micros!(500 1_000 2_500 5_000 10_000 25_000 50_000 100_000 250_000 500_000 1_000_000 2_500_000 5_000_000 10_000_000 30_000_000 60_000_000);
/// The gateway's own share of it.
pub const OWN_BOUNDS: &[Duration] = micros!(10 25 50 100 250 500 1_000 2_500 5_000 10_000 100_000);
/// One `route` call.
pub const ROUTE_BOUNDS: &[Duration] = micros!(1 2 5 10 20 50 100 200 500 1_000 2_000 5_000);

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(bounds: &'static [Duration]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: Duration::ZERO }
    }

    /// Counts one.
    pub fn observe(&mut self, took: Duration) {
        self.counts[self.bounds.partition_point(|bound| *bound < took)] += 1;
        self.sum += took;
    }

    /// Adds another with the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.sum += other.sum;
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Upper bounds in seconds, each with what lies between it and the one before; what lies beyond the last is left out.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().map(Duration::as_secs_f64).zip(self.counts.iter().copied()).collect()
    }
}

/// Requests that have all of these in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestSeries {
    /// Plugin and name; empty when none was found.
    pub listener: Arc<str>,
    /// Name; empty when none was found.
    pub route: Arc<str>,
    /// Name; empty when none was asked.
    pub cluster: Arc<str>,
    /// The status that the client got; 0 when it got none.
    pub code: u16,
    /// The word of the access log.
    pub reason: &'static str,
}

/// How long requests of one listener took.
#[derive(Clone, Debug)]
pub struct Durations {
    /// Until the answer was over.
    pub total: Histogram,
    /// Until the head of the answer, without waiting for an endpoint.
    pub own: Histogram,
}

impl Durations {
    fn new() -> Self {
        Self { total: Histogram::new(REQUEST_BOUNDS), own: Histogram::new(OWN_BOUNDS) }
    }
}

/// A handshake that came to nothing.
#[derive(Clone, Debug)]
pub struct RefusedHandshake {
    /// When.
    pub at: SystemTime,
    /// A word for the reason.
    pub result: &'static str,
    /// The whole of it, with the client's address.
    pub text: String,
}

/// Connections, not read as requests, that have all of these in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamSeries {
    /// Plugin and name.
    pub listener: Arc<str>,
    /// Name; empty when none was found.
    pub route: Arc<str>,
    /// Name; empty when none was asked.
    pub cluster: Arc<str>,
    /// The word of the access log.
    pub reason: &'static str,
}

/// How many connections there were, and how much they carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Connections that are over.
    pub count: u64,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
}

/// What a connection that is not read as requests came to.
#[derive(Clone, Copy, Debug)]
pub struct StreamEnded<'s> {
    /// The listener that served it.
    pub listener: &'s str,
    /// The route it took; empty for none.
    pub route: &'s str,
    /// The cluster it went to; empty for none.
    pub cluster: &'s str,
    /// The word of the access log.
    pub reason: &'static str,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

/// A copy of what was counted, under names that outlive configurations.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests.
    pub requests: BTreeMap<RequestSeries, u64>,
    /// By listener.
    pub durations: BTreeMap<Arc<str>, Durations>,
    /// Connections that are not read as requests.
    pub streams: BTreeMap<StreamSeries, Streams>,
    /// By listener and result.
    pub handshakes: BTreeMap<(Arc<str>, &'static str), u64>,
    /// The last ones, oldest first.
    pub refused: VecDeque<RefusedHandshake>,
}

impl Counts {
    /// All of these together.
    #[must_use]
    pub fn of(workers: impl Iterator<Item = Self>) -> Self {
        let mut all = Self::default();
        workers.for_each(|one| all.add(one));
        all
    }

    /// Adds those of another worker.
    fn add(&mut self, other: Self) {
        for (series, count) in other.requests {
            *self.requests.entry(series).or_default() += count;
        }
        for (listener, durations) in other.durations {
            let known = self.durations.entry(listener).or_insert_with(Durations::new);
            known.total.add(&durations.total);
            known.own.add(&durations.own);
        }
        for (series, streams) in other.streams {
            self.streams.entry(series).or_default().add(streams);
        }
        for (key, count) in other.handshakes {
            *self.handshakes.entry(key).or_default() += count;
        }
        self.refused.extend(other.refused);
        self.refused.make_contiguous().sort_by_key(|refused| refused.at);
    }

    fn count(&mut self, series: RequestSeries, count: u64) {
        let full = self.requests.len() >= MOST_SERIES && !self.requests.contains_key(&series);
        let series = if full { RequestSeries { route: OTHER.into(), ..series } } else { series };
        *self.requests.entry(series).or_default() += count;
    }
}

impl Streams {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.received += other.received;
        self.sent += other.sent;
    }
}

/// What a request came to.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'r> {
    /// The listener that served it.
    pub listener: Option<&'r Arc<str>>,
    /// The route it took.
    pub route: Option<&'r Arc<Route>>,
    /// The cluster it went to.
    pub cluster: Option<&'r Arc<str>>,
    /// The status.
    pub code: u16,
    /// The word of the access log.
    pub reason: &'static str,
    /// Until the answer was over.
    pub total: Duration,
    /// The gateway's share.
    pub own: Duration,
}

/// What one worker counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// By where names are instead of what they are, which is all that a request has time for.
    current: HashMap<Key, Current>,
    settled: Counts,
}

type Key = (usize, usize, usize, u16, *const u8);

/// The names are held, so that no other can come to be where they are.
#[derive(Debug)]
struct Current {
    listener: Option<Arc<str>>,
    route: Option<Arc<Route>>,
    cluster: Option<Arc<str>>,
    code: u16,
    reason: &'static str,
    count: u64,
}

fn place<T: ?Sized>(value: Option<&Arc<T>>) -> usize {
    value.map_or(0, |value| Arc::as_ptr(value).cast::<u8>() as usize)
}

impl Tally {
    /// Counts a request.
    pub fn request(&mut self, ended: Ended<'_>) {
        let Ended { listener, route, cluster, code, reason, total, own } = ended;
        let key = (place(listener), place(route), place(cluster), code, reason.as_ptr());
        let current = self.current.entry(key).or_insert_with(|| Current {
            listener: listener.cloned(),
            route: route.cloned(),
            cluster: cluster.cloned(),
            code,
            reason,
            count: 0,
        });
        current.count += 1;
        let listener = listener.map_or("", |listener| listener);
        let known = &mut self.settled.durations;
        let durations = match known.get_mut(listener) {
            Some(durations) => durations,
            // A name of its own: who holds the listener's own tells whether it is still served.
            None => known.entry(listener.into()).or_insert_with(Durations::new),
        };
        durations.total.observe(total);
        durations.own.observe(own);
    }

    /// Counts a connection that was not read as requests.
    pub fn stream(&mut self, ended: StreamEnded<'_>) {
        let StreamEnded { listener, route, cluster, reason, received, sent } = ended;
        let mut series =
            StreamSeries { listener: listener.into(), route: route.into(), cluster: cluster.into(), reason };
        let known = &mut self.settled.streams;
        if known.len() >= MOST_SERIES && !known.contains_key(&series) {
            series.route = OTHER.into();
        }
        known.entry(series).or_default().add(Streams { count: 1, received, sent });
    }

    /// Counts a handshake.
    pub fn handshake(&mut self, listener: Option<&Arc<str>>, result: &'static str) {
        let listener = listener.map_or("", |listener| listener).into();
        *self.settled.handshakes.entry((listener, result)).or_default() += 1;
    }

    /// Remembers a handshake that came to nothing.
    pub fn refused(&mut self, result: &'static str, text: String) {
        if self.settled.refused.len() == MOST_REFUSED {
            self.settled.refused.pop_front();
        }
        self.settled.refused.push_back(RefusedHandshake { at: SystemTime::now(), result, text });
    }

    /// Lets go of every name that it holds: called when another configuration is in force.
    pub fn settle(&mut self) {
        for current in self.current.drain().map(|(_, current)| current) {
            self.settled.count(current.series(), current.count);
        }
    }

    /// A copy of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.settled.clone();
        for current in self.current.values() {
            counts.count(current.series(), current.count);
        }
        counts
    }
}

impl Current {
    fn series(&self) -> RequestSeries {
        let name = |name: &Option<Arc<str>>| name.clone().unwrap_or_else(|| "".into());
        RequestSeries {
            listener: name(&self.listener),
            route: self.route.as_ref().map_or("", |route| route.name.as_str()).into(),
            cluster: name(&self.cluster),
            code: self.code,
            reason: self.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended<'r>(listener: &'r Arc<str>, code: u16) -> Ended<'r> {
        let took = Duration::from_millis(3);
        Ended { listener: Some(listener), route: None, cluster: None, code, reason: "ok", total: took, own: took }
    }

    #[test]
    fn one_name_is_one_series_wherever_it_is() {
        let mut tally = Tally::default();
        for _ in 0..3 {
            // Another configuration each time, with the same listener in it.
            let listener: Arc<str> = "a".into();
            tally.request(ended(&listener, 200));
            tally.request(ended(&listener, 200));
            drop(listener);
            tally.settle();
        }
        assert!(tally.current.is_empty(), "nothing of a former configuration is held");
        let counts = tally.counts();
        assert_eq!(counts.requests.into_values().collect::<Vec<_>>(), [6]);
        assert_eq!(counts.durations["a"].total.count(), 6);
    }

    #[test]
    fn workers_are_added_up() {
        let mut tally = Tally::default();
        let listener: Arc<str> = "a".into();
        tally.request(ended(&listener, 200));
        tally.request(ended(&listener, 404));
        tally.settle();
        assert!(tally.current.is_empty(), "whoever else holds the names");
        tally.request(ended(&listener, 404));
        let mut both = tally.counts();
        both.add(tally.counts());
        assert_eq!(both.requests.into_values().collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn series_are_bounded() {
        let mut counts = Counts::default();
        for number in 0..2 * MOST_SERIES {
            let route = number.to_string().into();
            let empty: Arc<str> = "".into();
            counts.count(RequestSeries { listener: empty.clone(), route, cluster: empty, code: 200, reason: "ok" }, 1);
        }
        assert_eq!(counts.requests.len(), MOST_SERIES + 1);
        assert_eq!(counts.requests.values().sum::<u64>(), 2 * MOST_SERIES as u64);
    }

    #[test]
    fn a_duration_counts_in_the_bucket_that_ends_with_it() {
        let mut histogram = Histogram::new(OWN_BOUNDS);
        histogram.observe(Duration::from_micros(10));
        histogram.observe(Duration::from_micros(11));
        histogram.observe(Duration::from_secs(9));
        let filled: Vec<(f64, u64)> = histogram.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_01, 1), (0.000_025, 1)]);
        assert_eq!(histogram.count(), 3);
    }
}
