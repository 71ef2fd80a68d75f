//! What claims a host name, by hash, so that ten thousand of them cost no more than one.

use crate::Map;
use crate::host_name::HostName;

/// Positions by the host names that they are for.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: Map<String, usize>,
    one_label: Map<String, usize>,
    subdomains: Map<String, usize>,
    any: Option<usize>,
}

impl Names {
    /// Of so many names, most of which are whole ones.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self { exact: Map::with_capacity_and_hasher(names, Default::default()), ..Self::default() }
    }

    pub(super) fn insert(&mut self, name: HostName, position: usize) {
        match name {
            HostName::Any => self.any = Some(position),
            HostName::Exact(name) => drop(self.exact.insert(name, position)),
            HostName::Subdomains(suffix) => drop(self.subdomains.insert(suffix, position)),
            HostName::OneLabel(suffix) => drop(self.one_label.insert(suffix, position)),
        }
    }

    /// Those that claim `host`, most specific first.
    pub(super) fn claiming<'t>(&'t self, host: &'t str) -> impl Iterator<Item = usize> + 't {
        let exact = self.exact.get(host);
        let first_dot = host.find('.');
        let suffixes = host.match_indices('.').filter(|(dot, _)| *dot > 0).flat_map(move |(dot, _)| {
            let suffix = &host[dot + 1..];
            let one_label = (Some(dot) == first_dot).then(|| self.one_label.get(suffix)).flatten();
            [one_label, self.subdomains.get(suffix)]
        });
        exact.into_iter().chain(suffixes.flatten()).chain(self.any.as_ref()).copied()
    }

    /// The name that this position is for.
    pub(super) fn name(&self, position: usize) -> String {
        let of =
            |names: &Map<String, usize>| names.iter().find(|(_, at)| **at == position).map(|(name, _)| name.clone());
        let subdomains = of(&self.subdomains).map(HostName::Subdomains);
        let wildcard = subdomains.or_else(|| of(&self.one_label).map(HostName::OneLabel));
        wildcard.or_else(|| of(&self.exact).map(HostName::Exact)).unwrap_or(HostName::Any).to_string()
    }

    /// What claims a client that gives no name.
    pub(super) fn nameless(&self) -> Option<usize> {
        self.any
    }
}
