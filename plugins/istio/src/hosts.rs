//! The hosts of a server: what clients may ask for, and whose VirtualServices may answer.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use sekisho_sdk::host_name::HostName;

use crate::findings::{Findings, Place};
use crate::names::is_dns_label;

/// `servers[].hosts`, indexed so that ten thousand VirtualServices find theirs without asking each.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerHosts {
    names: Vec<HostName>,
    /// By labels from the right, so that what a wildcard covers stands together.
    by_suffix: BTreeMap<String, (HostName, Namespaces)>,
}

/// Whose VirtualServices may bind to a host.
#[derive(Clone, Debug)]
enum Namespaces {
    All,
    Only(BTreeSet<String>),
}

impl Namespaces {
    fn admit(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(namespace),
        }
    }
}

impl ServerHosts {
    /// Reads `hosts`; an illegal one is an error finding and is left out.
    pub(crate) fn read(hosts: &[String], namespace: &str, server: &Place<'_>, findings: &mut Findings) -> Self {
        let mut all = Self::default();
        if hosts.iter().any(|host| host == "*/*") {
            all.add(HostName::Any, Namespaces::All);
            return all;
        }
        for (index, text) in hosts.iter().enumerate() {
            match parse(text, namespace) {
                Ok((host, namespaces)) => all.add(host, namespaces),
                Err(problem) => {
                    let remedy = "write a DNS name, `*.` and a suffix, or `*`, with an optional `namespace/` before it";
                    let message = format!("`{text}` is not a host: {problem}; it is left out");
                    findings.error(&server.item("hosts", index), "invalid-host", message, remedy);
                }
            }
        }
        all
    }

    fn add(&mut self, host: HostName, namespaces: Namespaces) {
        match self.by_suffix.entry(key(&host)) {
            Entry::Vacant(entry) => {
                self.names.push(host.clone());
                entry.insert((host, namespaces));
            }
            Entry::Occupied(mut entry) => match (&mut entry.get_mut().1, namespaces) {
                (Namespaces::Only(names), Namespaces::Only(more)) => names.extend(more),
                (known, _) => *known = Namespaces::All,
            },
        }
    }

    /// Keeps the hosts that are `wanted`.
    pub(crate) fn retain(&mut self, mut wanted: impl FnMut(&HostName) -> bool) {
        self.names.retain(|host| wanted(host));
        let kept: HashSet<&HostName> = self.names.iter().collect();
        self.by_suffix.retain(|_, (host, _)| kept.contains(host));
    }

    /// Takes in the hosts of another server.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (host, namespaces) in other.by_suffix.values() {
            self.add(host.clone(), namespaces.clone());
        }
    }

    /// The hosts in their order, each once, without namespaces.
    pub(crate) fn names(&self) -> &[HostName] {
        &self.names
    }

    /// The names that both this server and `host` of a VirtualService in `namespace` claim: the more specific side of
    /// each pair.
    pub(crate) fn intersect(&self, host: &HostName, namespace: &str) -> Vec<HostName> {
        let own = self.cover(host, namespace).then(|| host.clone());
        own.into_iter().chain(self.below(host, namespace).cloned()).collect()
    }

    /// Whether there is any such name.
    pub(crate) fn meet(&self, host: &HostName, namespace: &str) -> bool {
        self.cover(host, namespace) || self.below(host, namespace).next().is_some()
    }

    /// The hosts open to `namespace` that `host` covers, without itself.
    fn below(&self, host: &HostName, namespace: &str) -> impl Iterator<Item = &HostName> {
        let open = move |(name, namespaces): &&(HostName, Namespaces)| name != host && namespaces.admit(namespace);
        covered(&self.by_suffix, host).filter(open).map(|(name, _)| name)
    }

    /// Whether one of the hosts claims all of `host`.
    pub(crate) fn claim(&self, host: &HostName) -> bool {
        self.find_covering(host, |_| true)
    }

    /// Whether one of the hosts open to `namespace` claims all of `host`.
    fn cover(&self, host: &HostName, namespace: &str) -> bool {
        self.find_covering(host, |namespaces| namespaces.admit(namespace))
    }

    fn find_covering(&self, host: &HostName, admitted: impl Fn(&Namespaces) -> bool) -> bool {
        let open = |key: String| self.by_suffix.get(&key).is_some_and(|(_, namespaces)| admitted(namespaces));
        open(key(host)) || wider(host).any(open)
    }

    /// Whether a wildcard among the hosts claims `host` as well, or `host` itself stands twice.
    pub(crate) fn cover_by_another(&self, host: &HostName) -> Option<&HostName> {
        wider(host).find_map(|key| self.by_suffix.get(&key)).map(|(name, _)| name)
    }

    /// Hosts without namespaces: those of a VirtualService.
    pub(crate) fn of(hosts: impl IntoIterator<Item = HostName>) -> Self {
        let mut all = Self::default();
        for host in hosts {
            all.add(host, Namespaces::All);
        }
        all
    }
}

/// `a.foo.com` is `com.foo.a`, `*.foo.com` is `com.foo.*`, any is `*`.
pub(crate) fn key(host: &HostName) -> String {
    match host {
        HostName::Any => "*".to_owned(),
        HostName::Exact(name) => reversed(name).trim_end_matches('.').to_owned(),
        HostName::Subdomains(suffix) | HostName::OneLabel(suffix) => format!("{}*", reversed(suffix)),
    }
}

/// The keys of the wildcards that cover `host`, the narrowest first.
pub(crate) fn wider(host: &HostName) -> impl Iterator<Item = String> {
    let (name, any) = match host {
        HostName::Any => ("", None),
        HostName::Exact(name) | HostName::Subdomains(name) | HostName::OneLabel(name) => {
            (name.as_str(), Some("*".to_owned()))
        }
    };
    name.match_indices('.').map(|(dot, _)| format!("{}*", reversed(&name[dot + 1..]))).chain(any)
}

/// What stands in `by_suffix` under hosts that `host` covers.
pub(crate) fn covered<'m, T>(by_suffix: &'m BTreeMap<String, T>, host: &HostName) -> impl Iterator<Item = &'m T> {
    let below = match host {
        HostName::Any => Some(String::new()),
        HostName::Subdomains(suffix) | HostName::OneLabel(suffix) => Some(reversed(suffix)),
        HostName::Exact(_) => None,
    };
    below.into_iter().flat_map(|below| {
        by_suffix.range(below.clone()..).take_while(move |(key, _)| key.starts_with(&below)).map(|(_, value)| value)
    })
}

/// `foo.com` is `com.foo.`.
fn reversed(name: &str) -> String {
    let mut reversed = String::with_capacity(name.len() + 1);
    for label in name.rsplit('.') {
        reversed.push_str(label);
        reversed.push('.');
    }
    reversed
}

fn parse(text: &str, namespace: &str) -> Result<(HostName, Namespaces), String> {
    let (namespaces, host) = match text.split_once('/') {
        None | Some(("*", _)) => (Namespaces::All, text.strip_prefix("*/").unwrap_or(text)),
        Some((".", host)) => (Namespaces::Only(BTreeSet::from([namespace.to_owned()])), host),
        Some((name, host)) if is_dns_label(name) => (Namespaces::Only(BTreeSet::from([name.to_owned()])), host),
        Some((name, _)) => return Err(format!("`{name}` is not a namespace")),
    };
    if host != "*" && !host.contains('.') {
        return Err("a name without a dot, which no VirtualService can name".to_owned());
    }
    HostName::parse(host).map(|host| (host, namespaces))
}

#[cfg(test)]
mod tests {
    use sekisho_sdk::ObjectKey;

    use super::*;

    fn server(hosts: &[&str]) -> ServerHosts {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let object = ObjectKey::new("networking.istio.io", "Gateway", "infra", "g");
        let mut findings = Findings::default();
        let hosts = ServerHosts::read(&hosts, "infra", &Place::root(&object, "spec"), &mut findings);
        assert!(findings.into_list().is_empty());
        hosts
    }

    fn both(hosts: &[&str], host: &str, namespace: &str) -> Vec<String> {
        let host = HostName::parse(host).expect("a legal host");
        let mut both: Vec<_> = server(hosts).intersect(&host, namespace).iter().map(ToString::to_string).collect();
        both.sort();
        both
    }

    #[test]
    fn the_more_specific_side_of_each_pair_is_served() {
        assert_eq!(both(&["*"], "a.foo.com", "apps"), ["a.foo.com"]);
        assert_eq!(both(&["*.foo.com"], "a.foo.com", "apps"), ["a.foo.com"]);
        assert_eq!(both(&["*.foo.com"], "a.b.foo.com", "apps"), ["a.b.foo.com"]);
        assert_eq!(both(&["*.foo.com"], "foo.com", "apps"), [""; 0]);
        assert_eq!(both(&["*.foo.com", "*"], "*.foo.com", "apps"), ["*.foo.com"]);
        assert_eq!(
            both(&["a.foo.com", "b.foo.com", "foo.com", "xfoo.com"], "*.foo.com", "apps"),
            ["a.foo.com", "b.foo.com"]
        );
        assert_eq!(both(&["a.foo.com", "*.b.foo.com"], "*", "apps"), ["*.b.foo.com", "a.foo.com"]);
        assert_eq!(both(&["*.b.foo.com"], "*.foo.com", "apps"), ["*.b.foo.com"]);
        assert_eq!(both(&["*", "a.foo.com"], "*", "apps"), ["*", "a.foo.com"]);
    }

    #[test]
    fn namespaces_filter_virtual_services() {
        assert_eq!(both(&["apps/*.foo.com"], "a.foo.com", "apps"), ["a.foo.com"]);
        assert_eq!(both(&["apps/*.foo.com"], "a.foo.com", "other"), [""; 0]);
        assert_eq!(both(&["./*.foo.com"], "a.foo.com", "infra"), ["a.foo.com"]);
        assert_eq!(both(&["./*.foo.com"], "a.foo.com", "apps"), [""; 0]);
        assert_eq!(both(&["*/a.foo.com"], "a.foo.com", "apps"), ["a.foo.com"]);
        assert_eq!(both(&["one/a.com", "two/a.com"], "a.com", "two"), ["a.com"]);
        assert_eq!(both(&["*/*", "x.com"], "a.com", "apps"), ["a.com"]);
        assert_eq!(server(&["one/a.com", "two/a.com"]).names().len(), 1);
    }

    #[test]
    fn illegal_hosts_say_why() {
        for text in ["", "a b", "*a.com", "Bad_NS/a.com", "/a.com", "a/b/c"] {
            assert!(parse(text, "infra").is_err(), "{text:?}");
        }
    }

    #[test]
    fn overlaps_within_one_list_are_found() {
        let hosts = server(&["*.com", "a.foo.com", "foo.org"]);
        let covering = |host| {
            let host = HostName::parse(host).expect("a legal host");
            hosts.cover_by_another(&host).map(ToString::to_string)
        };
        assert_eq!(covering("a.foo.com").as_deref(), Some("*.com"));
        assert_eq!(covering("*.com"), None);
        assert_eq!(covering("foo.org"), None);
    }
}
