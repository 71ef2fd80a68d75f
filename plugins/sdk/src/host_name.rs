//! Host names and wildcards, as listeners and routes claim them.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::HostPattern;

/// A claim on host names: `*`, a whole name, or `*.suffix`. Lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HostName {
    /// `*`: every name, and no name at all.
    Any,
    /// One name.
    Exact(String),
    /// `*.suffix` at any depth, kept as `suffix`; not `suffix` itself.
    Subdomains(String),
    /// `*.suffix` with exactly one label, kept as `suffix`.
    OneLabel(String),
}

impl HostName {
    /// Reads `*`, `name` or `*.suffix`; a wildcard stands for any depth.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        if name == "*" {
            return Ok(Self::Any);
        }
        let (suffix, wildcard) = match name.strip_prefix("*.") {
            Some(suffix) => (suffix, true),
            None => (name.as_str(), false),
        };
        check_labels(suffix)?;
        Ok(if wildcard { Self::Subdomains(suffix.to_owned()) } else { Self::Exact(suffix.to_owned()) })
    }

    /// Reads `name` or `*.suffix` where a wildcard stands for one label, as in Kubernetes Ingress; neither `*` nor an
    /// address.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name.
    pub fn parse_one_label(text: &str) -> Result<Self, String> {
        if text.parse::<IpAddr>().is_ok() {
            return Err("it is an address".to_owned());
        }
        match Self::parse(text)? {
            Self::Any => Err("every host is said by leaving it out".to_owned()),
            Self::Subdomains(suffix) => Ok(Self::OneLabel(suffix)),
            name => Ok(name),
        }
    }

    /// Whether `host` (lower case, without port) is claimed.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Subdomains(suffix) => label_before(host, suffix).is_some(),
            Self::OneLabel(suffix) => label_before(host, suffix).is_some_and(|label| !label.contains('.')),
        }
    }

    /// Whether every name that `other` claims is claimed by this one too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Subdomains(own), Self::Subdomains(suffix) | Self::OneLabel(suffix)) => {
                own == suffix || self.matches(suffix)
            }
            (Self::OneLabel(own), Self::OneLabel(suffix)) => own == suffix,
            _ => false,
        }
    }

    /// The names that both claim: the more specific of the two, or none.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            Some(other.clone())
        } else if other.covers(self) {
            Some(self.clone())
        } else {
            None
        }
    }

    /// As the WIT says it.
    #[must_use]
    pub fn to_pattern(&self) -> HostPattern {
        match self {
            Self::Any => HostPattern::Any,
            Self::Exact(name) => HostPattern::Exact(name.clone()),
            Self::Subdomains(suffix) => HostPattern::Subdomains(suffix.clone()),
            Self::OneLabel(suffix) => HostPattern::OneLabel(suffix.clone()),
        }
    }

    fn rank(&self) -> (u8, usize, u8) {
        match self {
            Self::Any => (0, 0, 0),
            Self::Subdomains(suffix) => (1, suffix.len(), 0),
            Self::OneLabel(suffix) => (1, suffix.len(), 1),
            Self::Exact(name) => (2, name.len(), 0),
        }
    }

    /// Orders by how specific the claim is: exact, then the longest suffix, then any. Greater is more specific.
    #[must_use]
    pub fn specificity(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for HostName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As the names read: `*`, then wildcards, then names; [`HostName::specificity`] is another order.
impl Ord for HostName {
    fn cmp(&self, other: &Self) -> Ordering {
        fn key(host: &HostName) -> (u8, &str, u8) {
            match host {
                HostName::Any => (0, "", 0),
                HostName::Subdomains(suffix) => (1, suffix, 0),
                HostName::OneLabel(suffix) => (1, suffix, 1),
                HostName::Exact(name) => (2, name, 0),
            }
        }
        key(self).cmp(&key(other))
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Subdomains(suffix) | Self::OneLabel(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// The labels of `host` before `.suffix`, when there is at least one.
fn label_before<'h>(host: &'h str, suffix: &str) -> Option<&'h str> {
    host.strip_suffix(suffix)?.strip_suffix('.').filter(|label| !label.is_empty())
}

fn check_labels(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".to_owned());
    }
    if name.len() > 253 {
        return Err("it is longer than 253 characters".to_owned());
    }
    if name.contains('*') {
        return Err("a wildcard stands for the whole first label only, as in `*.example.com`".to_owned());
    }
    for label in name.split('.') {
        let legal = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        if label.is_empty()
            || label.len() > 63
            || !label.bytes().all(legal)
            || label.starts_with('-')
            || label.ends_with('-')
        {
            return Err(format!("`{label}` is not a DNS label"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    #[test]
    fn a_wildcard_claims_any_depth_but_not_its_own_suffix() {
        let wildcard = host("*.Example.com");
        assert!(wildcard.matches("a.example.com") && wildcard.matches("a.b.example.com"));
        assert!(
            !wildcard.matches("example.com")
                && !wildcard.matches("badexample.com")
                && !wildcard.matches(".example.com")
        );
        let one = HostName::OneLabel("example.com".to_owned());
        assert!(one.matches("a.example.com") && !one.matches("a.b.example.com"));
    }

    #[test]
    fn the_intersection_is_the_more_specific_side() {
        for (a, b, both) in [
            ("*", "a.b", Some("a.b")),
            ("*.foo.com", "a.foo.com", Some("a.foo.com")),
            ("*.foo.com", "*.b.foo.com", Some("*.b.foo.com")),
            ("*.foo.com", "foo.com", None),
            ("a.foo.com", "b.foo.com", None),
        ] {
            let expected = both.map(host);
            assert_eq!(host(a).intersect(&host(b)), expected, "{a} and {b}");
            assert_eq!(host(b).intersect(&host(a)), expected, "{b} and {a}");
        }
    }

    #[test]
    fn a_wildcard_may_stand_for_one_label() {
        assert_eq!(HostName::parse_one_label("*.Foo.com"), Ok(HostName::OneLabel("foo.com".to_owned())));
        assert_eq!(HostName::parse_one_label("foo.com"), Ok(host("foo.com")));
        for text in ["*", "192.0.2.1", "::1", "a.*.com", ""] {
            assert!(HostName::parse_one_label(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_texts() {
        let names = ["*", "*.a.com", "*.b.com", "*.com", "0.com", "_a.com", "a.com", "b.com"];
        assert!(names.is_sorted());
        assert!(names.map(host).is_sorted());
    }

    #[test]
    fn wrong_names_say_why() {
        for text in ["", "a..b", "*a.com", "a.*.com", "spa ce", "a/b"] {
            assert!(HostName::parse(text).is_err(), "{text:?}");
        }
    }
}
