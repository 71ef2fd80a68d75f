//! Consistent hashing: each endpoint has many points on a ring, and a hash belongs to the next point. When an endpoint
//! leaves, its hashes alone move.

use std::sync::Arc;

use super::Endpoint;
use super::hash::{mixed, of_bytes};

/// Points of an endpoint of weight 1. With so many, shares of equal endpoints differ by some 6 percent.
const POINTS: u64 = 256;
/// Points of a ring; heavier weights are scaled to it.
const MOST_POINTS: u64 = 1 << 16;

/// Who is responsible for which hash.
#[derive(Debug)]
pub(super) struct Ring {
    /// In order: where a point is, and whose.
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// A ring of all these; they are known by their place in the list.
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let total: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
        let each = |weight: u32| {
            let weight = u64::from(weight);
            if total * POINTS <= MOST_POINTS { weight * POINTS } else { (weight * MOST_POINTS / total).max(1) }
        };
        let mut points = Vec::new();
        for (index, endpoint) in (0_u32..).zip(endpoints) {
            let own = of_bytes(endpoint.address.to_string().as_bytes());
            points.extend((0..each(endpoint.weight)).map(|nth| (mixed(own ^ mixed(nth + 1)), index)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// Who is responsible for a hash, of those that are eligible.
    pub(super) fn find(&self, hash: u64, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|(point, _)| *point < hash);
        let onward = self.points[start..].iter().chain(&self.points[..start]);
        onward.map(|(_, index)| *index as usize).find(|index| eligible(*index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoints(ports: &[(u16, u32)]) -> Vec<Arc<Endpoint>> {
        let one = |(port, weight): &(u16, u32)| Arc::new(Endpoint::new(([10, 0, 0, 1], *port).into(), *weight));
        ports.iter().map(one).collect()
    }

    fn owners(endpoints: &[Arc<Endpoint>], hashes: u64) -> Vec<u16> {
        let ring = Ring::new(endpoints);
        let owner = |n| endpoints[ring.find(mixed(n), |_| true).unwrap()].address.port();
        (0..hashes).map(owner).collect()
    }

    proptest! {
        #[test]
        fn only_the_hashes_of_an_endpoint_that_leaves_move(count in 2_u16..20, leaves in 0_u16..20) {
            let all: Vec<(u16, u32)> = (1..=count).map(|port| (port, 1)).collect();
            let leaves = all[usize::from(leaves % count)].0;
            let left: Vec<_> = all.iter().copied().filter(|(port, _)| *port != leaves).collect();
            let (before, after) = (owners(&endpoints(&all), 2000), owners(&endpoints(&left), 2000));
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || *before == leaves);
                prop_assert!(*after != leaves);
            }
            let moved = before.iter().filter(|owner| **owner == leaves).count();
            let share = 2000 / usize::from(count);
            prop_assert!(moved < share * 2 && moved > share / 2, "{} of 2000 with {} endpoints", moved, count);
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let owners = owners(&endpoints(&[(1, 1), (2, 3)]), 10_000);
        let first = owners.iter().filter(|port| **port == 1).count();
        assert!((2100..2900).contains(&first), "{first} of 10000 for a quarter of the weight");
    }

    #[test]
    fn large_weights_do_not_make_a_large_ring() {
        let ring = Ring::new(&endpoints(&[(1, 1), (2, u32::MAX)]));
        assert!(ring.points.len() as u64 <= MOST_POINTS + 2);
        assert!(ring.points.iter().any(|(_, index)| *index == 0));
    }

    #[test]
    fn nobody_is_found_where_nobody_is_eligible() {
        assert_eq!(Ring::new(&[]).find(1, |_| true), None);
        assert_eq!(Ring::new(&endpoints(&[(1, 1)])).find(1, |_| false), None);
    }
}
