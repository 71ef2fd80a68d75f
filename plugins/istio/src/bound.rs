//! Which VirtualServices a server may have to do with: those bound to its Gateway that share a host with it, found
//! without a look at the others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sekisho_sdk::host_name::HostName;

use crate::hosts::{ServerHosts, covered, key, wider};
use crate::virtual_service::VirtualService;

/// The VirtualServices that are bound to each Gateway.
#[derive(Debug)]
pub(crate) struct Bound<'s>(HashMap<&'s str, ByHost>);

impl<'s> Bound<'s> {
    /// Those of `services`, which stand in their order of precedence.
    pub(crate) fn of(services: &'s [VirtualService]) -> Self {
        let mut bound: HashMap<&str, ByHost> = HashMap::new();
        for (index, service) in services.iter().enumerate() {
            let names: HashSet<&str> = service.gateways.iter().map(String::as_str).collect();
            for name in names {
                let by_host = bound.entry(name).or_default();
                service.hosts.iter().for_each(|(_, host)| by_host.add(host, index));
            }
        }
        Self(bound)
    }

    /// Those with a host in common with a server of `gateway`, in their order. Namespaces and tenants are not asked.
    pub(crate) fn near(&self, gateway: &str, hosts: &ServerHosts) -> BTreeSet<usize> {
        self.0.get(gateway).map_or_else(BTreeSet::new, |by_host| by_host.near(hosts.names()))
    }
}

/// VirtualServices by their hosts' labels from the right, so that what a wildcard covers stands together.
#[derive(Debug, Default)]
struct ByHost(BTreeMap<String, Vec<usize>>);

impl ByHost {
    fn add(&mut self, host: &HostName, service: usize) {
        self.0.entry(key(host)).or_default().push(service);
    }

    fn near(&self, hosts: &[HostName]) -> BTreeSet<usize> {
        let mut near = BTreeSet::new();
        for host in hosts {
            let over = wider(host).chain([key(host)]).filter_map(|key| self.0.get(&key));
            near.extend(over.chain(covered(&self.0, host)).flatten());
        }
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_are_near_that_share_a_host() {
        let said = ["*", "*.com", "*.foo.com", "foo.com", "a.foo.com", "*.a.foo.com", "xfoo.com", "*.org", "10.0.0.1"];
        let hosts = said.map(|host| HostName::parse(host).expect("a legal host"));
        let mut by_host = ByHost::default();
        hosts.iter().enumerate().for_each(|(service, host)| by_host.add(host, service));
        for server in &hosts {
            let served = ServerHosts::of([server.clone()]);
            let meeting = hosts.iter().enumerate().filter(|(_, host)| !served.intersect(host, "apps").is_empty());
            let meeting: BTreeSet<usize> = meeting.map(|(service, _)| service).collect();
            assert_eq!(by_host.near(served.names()), meeting, "{server}");
        }
        let both = ServerHosts::of([hosts[3].clone(), hosts[7].clone()]);
        assert_eq!(by_host.near(both.names()), BTreeSet::from([0, 1, 3, 7]));
    }
}
