//! Host names as listeners claim them, and the choice between claims: exact, the longest suffix, any (decision 1).

use std::collections::HashMap;
use std::fmt;

/// A claim on host names, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Every name, and a TLS client that sends none.
    Any,
    /// One name.
    Exact(String),
    /// `*.x` at any depth.
    Subdomains(String),
    /// `*.x` with exactly one label.
    OneLabel(String),
}

impl HostPattern {
    /// Whether a name (lower case, without port and trailing dot) is claimed.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let label = |suffix: &str| host.strip_suffix(suffix).and_then(|rest| rest.strip_suffix('.')).map(str::to_owned);
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Subdomains(suffix) => label(suffix).is_some_and(|label| !label.is_empty()),
            Self::OneLabel(suffix) => label(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.')),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Subdomains(suffix) | Self::OneLabel(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// Who claims which names on one socket.
#[derive(Clone, Debug)]
pub struct HostIndex<T> {
    exact: HashMap<String, T>,
    one_label: HashMap<String, T>,
    subdomains: HashMap<String, T>,
    any: Option<T>,
}

impl<T: Copy> HostIndex<T> {
    /// An index without claims.
    #[must_use]
    pub fn new() -> Self {
        Self { exact: HashMap::new(), one_label: HashMap::new(), subdomains: HashMap::new(), any: None }
    }

    /// Enters a claim; a claim that is there already stays and is given back.
    pub fn insert(&mut self, pattern: &HostPattern, claimant: T) -> Option<T> {
        use std::collections::hash_map::Entry;
        let (map, name) = match pattern {
            HostPattern::Any => {
                let before = self.any;
                self.any = before.or(Some(claimant));
                return before;
            }
            HostPattern::Exact(name) => (&mut self.exact, name),
            HostPattern::Subdomains(name) => (&mut self.subdomains, name),
            HostPattern::OneLabel(name) => (&mut self.one_label, name),
        };
        match map.entry(name.clone()) {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) => {
                entry.insert(claimant);
                None
            }
        }
    }

    /// The best claim on `host` (lower case, without port or trailing dot).
    #[must_use]
    pub fn find(&self, host: &str) -> Option<T> {
        if let Some(claimant) = self.exact.get(host) {
            return Some(*claimant);
        }
        let mut first = true;
        for (dot, _) in host.match_indices('.').filter(|(dot, _)| *dot > 0) {
            let suffix = &host[dot + 1..];
            let one_label = if first { self.one_label.get(suffix) } else { None };
            if let Some(claimant) = one_label.or_else(|| self.subdomains.get(suffix)) {
                return Some(*claimant);
            }
            first = false;
        }
        self.any
    }

    /// The claim for a TLS client that sends no name.
    #[must_use]
    pub fn nameless(&self) -> Option<T> {
        self.any
    }
}

impl<T: Copy> Default for HostIndex<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern() -> impl Strategy<Value = HostPattern> {
        let name = || "[ab](\\.[ab]){0,3}";
        prop_oneof![
            Just(HostPattern::Any),
            name().prop_map(HostPattern::Exact),
            name().prop_map(HostPattern::Subdomains),
            name().prop_map(HostPattern::OneLabel),
        ]
    }

    proptest! {
        /// The index against trying every claim.
        #[test]
        fn the_index_finds_the_best_of_all_claims(
            claims in proptest::collection::vec(pattern(), 1..8),
            host in "[ab](\\.[ab]){0,4}",
        ) {
            let mut index = HostIndex::new();
            for (claimant, claim) in claims.iter().enumerate() {
                index.insert(claim, claimant);
            }
            let rank = |claim: &HostPattern| match claim {
                HostPattern::Any => (0, 0, 0),
                HostPattern::Subdomains(suffix) => (1, suffix.len(), 0),
                HostPattern::OneLabel(suffix) => (1, suffix.len(), 1),
                HostPattern::Exact(name) => (2, name.len(), 0),
            };
            let best = claims.iter().filter(|claim| claim.matches(&host)).max_by_key(|claim| rank(claim));
            prop_assert_eq!(index.find(&host).map(|claimant| &claims[claimant]), best);
        }
    }

    #[test]
    fn the_most_specific_claim_wins() {
        let claims = [
            HostPattern::Any,
            HostPattern::Subdomains("example.com".to_owned()),
            HostPattern::OneLabel("example.com".to_owned()),
            HostPattern::Subdomains("b.example.com".to_owned()),
            HostPattern::Exact("a.example.com".to_owned()),
        ];
        let mut index = HostIndex::new();
        for (claimant, pattern) in claims.iter().enumerate() {
            assert_eq!(index.insert(pattern, claimant), None);
        }
        assert_eq!(index.insert(&claims[4], 9), Some(4));
        for (host, claimant) in [
            ("a.example.com", 4),
            ("x.b.example.com", 3),
            ("x.example.com", 2),
            ("x.y.example.com", 1),
            ("example.com", 0),
            ("", 0),
            (".example.com", 0),
        ] {
            assert_eq!(index.find(host), Some(claimant), "{host}");
        }
    }
}
