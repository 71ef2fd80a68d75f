//! What is done with a connection that is not read as requests.

use std::time::Duration;

use super::{Origin, at_point};

/// What a router answers with, by index.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamRoute {
    /// For logs and metrics.
    pub name: String,
    /// Who says so.
    pub origin: Origin,
    /// Where to, by weight.
    pub targets: Vec<StreamTarget>,
    /// Sum of the weights; when it is 0 every connection is closed.
    pub total: u64,
    /// Both sides may be silent for so long; none for the host's own.
    pub idle_timeout: Option<Duration>,
}

/// One share of a [`StreamRoute`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTarget {
    /// Its share.
    pub weight: u32,
    /// The cluster, by index; without one the connection is closed.
    pub cluster: Option<usize>,
}

impl StreamRoute {
    /// The cluster for one connection, by weight.
    #[must_use]
    pub fn pick(&self) -> Option<usize> {
        let mut here = at_point(if self.total == 0 { return None } else { fastrand::u64(..self.total) });
        self.targets.iter().find(|target| here(target.weight))?.cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectKey;

    #[test]
    fn shares_are_as_the_weights_say() {
        let target = |weight, cluster| StreamTarget { weight, cluster };
        let origin = Origin { object: ObjectKey::core("Service", "default", "a"), field: String::new() };
        let targets = vec![target(1, Some(0)), target(0, Some(1)), target(3, None)];
        let route = StreamRoute { name: "a".to_owned(), origin, targets, total: 4, idle_timeout: None };
        let picked: Vec<Option<usize>> = (0..4000).map(|_| route.pick()).collect();
        assert!(!picked.contains(&Some(1)));
        let first = picked.iter().filter(|cluster| **cluster == Some(0)).count();
        assert!((800..1200).contains(&first), "{first} of 4000");
        assert_eq!(StreamRoute { total: 0, ..route }.pick(), None);
    }
}
