//! The choice of an endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Cluster, Endpoint};
use crate::model::{Balance, at_point};

/// Connections in a row that could not be made, after which clients do not stay with an endpoint.
const MOST_UNREACHED: usize = 2;

impl Cluster {
    /// An endpoint for one request, not one of `tried` while there are others, and none that is left out; by `hash` where
    /// that decides.
    #[must_use]
    pub fn choose(&self, tried: &[SocketAddr], hash: Option<u64>) -> Option<&Arc<Endpoint>> {
        let fresh = |endpoint: &Endpoint| !tried.contains(&endpoint.address);
        match self.left_out() {
            None if tried.is_empty() => self.choose_among(hash, |_| true),
            None => self.choose_among(hash, fresh).or_else(|| self.choose_among(hash, |_| true)),
            Some(now) => {
                let within = |endpoint: &Endpoint| !endpoint.health.is_out(now);
                let both = |endpoint: &Endpoint| fresh(endpoint) && within(endpoint);
                self.choose_among(hash, both).or_else(|| self.choose_among(hash, within))
            }
        }
    }

    /// The endpoint of an address.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Arc<Endpoint>> {
        self.endpoints.iter().find(|endpoint| endpoint.address == address)
    }

    /// Whether a client may stay with an endpoint: it is not left out, and can be connected to as far as is known.
    pub(super) fn keeps(&self, endpoint: &Endpoint) -> bool {
        endpoint.unreached() < MOST_UNREACHED && self.left_out().is_none_or(|now| !endpoint.health.is_out(now))
    }

    fn choose_among(&self, hash: Option<u64>, eligible: impl Fn(&Endpoint) -> bool + Copy) -> Option<&Arc<Endpoint>> {
        match &self.balance {
            Balance::RoundRobin => self.at_weight(self.turn.fetch_add(1, Ordering::Relaxed) as u64, eligible),
            Balance::Random => self.at_weight(fastrand::u64(..), eligible),
            Balance::LeastRequest => {
                let one = self.at_weight(fastrand::u64(..), eligible)?;
                let other = self.at_weight(fastrand::u64(..), eligible)?;
                Some(if other.active() < one.active() { other } else { one })
            }
            Balance::Hash(_) => {
                let point = hash.unwrap_or_else(|| fastrand::u64(..));
                let index = self.ring.as_ref()?.find(point, |index| eligible(&self.endpoints[index]))?;
                self.endpoints.get(index)
            }
        }
    }

    /// The endpoint at a point of the sum of all weights.
    fn at_weight(&self, point: u64, eligible: impl Fn(&Endpoint) -> bool + Copy) -> Option<&Arc<Endpoint>> {
        let candidates = || self.endpoints.iter().filter(|endpoint| eligible(endpoint));
        let total: u64 = candidates().map(|endpoint| u64::from(endpoint.weight)).sum();
        if total == 0 {
            return None;
        }
        let mut here = at_point(point % total);
        candidates().find(|endpoint| here(endpoint.weight))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Active, Transport};
    use super::*;
    use crate::model::{self, HashOn};

    fn cluster(balance: Balance, weights: &[u32]) -> Cluster {
        let endpoints = weights
            .iter()
            .zip(1_u16..)
            .map(|(weight, port)| Arc::new(Endpoint::new(SocketAddr::from(([127, 0, 0, 1], port)), *weight)))
            .collect();
        let said = model::Cluster { balance, ..model::Cluster::plain("c") };
        Cluster::new(&said, endpoints, Transport::plain(Duration::from_secs(1)))
    }

    fn port(chosen: Option<&Arc<Endpoint>>) -> u16 {
        chosen.unwrap().address.port()
    }

    #[test]
    fn turns_follow_the_weights() {
        let cluster = cluster(Balance::RoundRobin, &[1, 3]);
        let first = (0..400).filter(|_| port(cluster.choose(&[], None)) == 1).count();
        assert_eq!(first, 100);
    }

    #[test]
    fn the_less_busy_endpoint_is_preferred() {
        let cluster = cluster(Balance::LeastRequest, &[1, 1]);
        let _busy: Vec<Active> = (0..10).map(|_| cluster.endpoints[0].begin()).collect();
        let first = (0..1000).filter(|_| port(cluster.choose(&[], None)) == 1).count();
        assert!((150..350).contains(&first), "{first} of 1000: a quarter meets the busy one twice");
    }

    #[test]
    fn tried_endpoints_are_avoided_while_there_are_others() {
        let none = cluster(Balance::LeastRequest, &[]);
        let cluster = cluster(Balance::Random, &[1, 1]);
        let tried = [cluster.endpoints[0].address];
        assert!((0..50).all(|_| port(cluster.choose(&tried, None)) == 2));
        let all = [cluster.endpoints[0].address, cluster.endpoints[1].address];
        assert!(cluster.choose(&all, None).is_some());
        assert!(none.choose(&[], None).is_none());
    }

    #[test]
    fn a_hash_leads_to_one_endpoint_and_past_it_when_it_was_tried() {
        let cluster = cluster(Balance::Hash(vec![HashOn::SourceIp]), &[1, 1, 1]);
        for hash in 0..50_u64 {
            let hash = Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let first = cluster.choose(&[], hash).unwrap().address;
            assert!((0..5).all(|_| cluster.choose(&[], hash).unwrap().address == first));
            let second = cluster.choose(&[first], hash).unwrap().address;
            assert_ne!(first, second);
            assert_eq!(cluster.choose(&[first], hash).unwrap().address, second);
        }
        let ports: std::collections::BTreeSet<u16> = (0..200).map(|_| port(cluster.choose(&[], None))).collect();
        assert_eq!(ports.len(), 3, "without a hash any will do");
    }
}
