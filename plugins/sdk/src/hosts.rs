//! Hosts on ports: for dialects whose objects name hosts and say nothing of listeners, as Kubernetes Ingress does. Each
//! host has a listener of its own on each of its ports, and all of these know the rules that their requests can meet.

use std::collections::BTreeMap;
use std::iter;

use crate::Origin;
use crate::host_name::HostName;
use crate::model::{Listener, Misdirected, Protocol};
use crate::table::{ListenerRules, OnMiss, Rule, VirtualHost};

/// What is served for which hosts. `P` is the place of a rule among those of its host: the least is tried first.
#[derive(Clone, Debug)]
pub struct Hosts<P> {
    by_name: BTreeMap<HostName, Host<P>>,
}

#[derive(Clone, Debug)]
struct Host<P> {
    listeners: BTreeMap<u16, Listener>,
    rules: BTreeMap<P, Rule>,
}

// A derive would ask the same of `P`.
impl<P> Default for Hosts<P> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new() }
    }
}

impl<P> Default for Host<P> {
    fn default() -> Self {
        Self { listeners: BTreeMap::new(), rules: BTreeMap::new() }
    }
}

impl<P: Ord> Hosts<P> {
    /// The listener for a host on a port, called `host:port`: this one, unless there is one already.
    pub fn listen(&mut self, host: &HostName, port: u16, protocol: Protocol, origin: &Origin) -> &Listener {
        self.host(host).listeners.entry(port).or_insert_with(|| {
            Listener::new(format!("{host}:{port}"), origin.clone(), port, protocol, vec![host.to_pattern()])
        })
    }

    /// The rule at a place among those of a host, if there is one.
    #[must_use]
    pub fn rule(&self, host: &HostName, place: &P) -> Option<&Rule> {
        self.by_name.get(host)?.rules.get(place)
    }

    /// Adds a rule to those of a host, instead of another at the same place.
    pub fn add(&mut self, host: &HostName, rule: Rule, place: P) {
        self.host(host).rules.insert(place, rule);
    }

    /// The listeners, and the table's entry of each. What becomes of requests whose host is another listener's, and of
    /// those that no rule of the most specific host takes, is the dialect's to say.
    #[must_use]
    pub fn finish(self, misdirected: Misdirected, on_miss: OnMiss) -> (Vec<Listener>, Vec<ListenerRules>) {
        let mut listeners = Vec::new();
        let mut rules = Vec::new();
        for (name, host) in &self.by_name {
            for listener in host.listeners.values() {
                listeners.push(Listener { misdirected, ..listener.clone() });
                let virtual_hosts = self.virtual_hosts(name);
                rules.push(ListenerRules { on_miss, virtual_hosts, ..ListenerRules::default() });
            }
        }
        (listeners, rules)
    }

    fn host(&mut self, name: &HostName) -> &mut Host<P> {
        self.by_name.entry(name.clone()).or_default()
    }

    /// What requests to a listener can meet.
    fn virtual_hosts(&self, listener: &HostName) -> Vec<VirtualHost> {
        let hosts = self.meeting(listener).into_iter();
        hosts.map(|(name, host)| VirtualHost::new(name.clone(), host.rules.values().cloned().collect())).collect()
    }

    /// The hosts that have a name in common with this one. For an exact name they are looked up, as there may be very
    /// many.
    fn meeting(&self, name: &HostName) -> Vec<(&HostName, &Host<P>)> {
        let HostName::Exact(text) = name else {
            return self.by_name.iter().filter(|(host, _)| name.intersect(host).is_some()).collect();
        };
        let parents = || text.match_indices('.').map(|(dot, _)| text[dot + 1..].to_owned());
        let one_label = parents().take(1).map(HostName::OneLabel);
        let covering = one_label.chain(parents().map(HostName::Subdomains)).chain([HostName::Any]);
        iter::once(name.clone()).chain(covering).filter_map(|host| self.by_name.get_key_value(&host)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectKey;
    use crate::table::PathRule;

    fn name(text: &str) -> HostName {
        HostName::parse(text).unwrap()
    }

    fn origin(field: &str) -> Origin {
        ObjectKey::new("example.com", "Thing", "default", "t").at(field)
    }

    #[test]
    fn a_host_has_a_listener_on_each_of_its_ports() {
        let mut hosts = Hosts::<u8>::default();
        _ = hosts.listen(&name("b.com"), 443, Protocol::https(vec![0]), &origin("first"));
        _ = hosts.listen(&name("b.com"), 80, Protocol::Http, &origin("second"));
        _ = hosts.listen(&name("*"), 80, Protocol::Http, &origin("third"));
        let kept = hosts.listen(&name("b.com"), 443, Protocol::https(vec![1]), &origin("fourth"));
        assert_eq!((&kept.origin, kept.protocol.credentials()), (&origin("first"), &[0][..]));
        let (listeners, rules) = hosts.finish(Misdirected::Follow, OnMiss::Widen);
        let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
        assert_eq!((names, rules.len()), (vec!["*:80", "b.com:80", "b.com:443"], 3));
        assert!(listeners.iter().all(|listener| listener.misdirected == Misdirected::Follow));
    }

    #[test]
    fn rules_are_tried_in_the_order_of_their_places() {
        let mut hosts = Hosts::<u8>::default();
        _ = hosts.listen(&name("a.com"), 80, Protocol::Http, &origin(""));
        for place in [3, 1, 2] {
            hosts.add(&name("a.com"), Rule::new(u32::from(place), PathRule::Any), place);
        }
        assert_eq!(hosts.rule(&name("a.com"), &2).map(|rule| rule.route), Some(2));
        assert_eq!((hosts.rule(&name("a.com"), &4), hosts.rule(&name("b.com"), &2)), (None, None));
        let (_, rules) = hosts.finish(Misdirected::Refuse, OnMiss::Widen);
        let routes: Vec<_> = rules[0].virtual_hosts[0].rules.iter().map(|rule| rule.route).collect();
        assert_eq!(routes, [1, 2, 3]);
    }

    #[test]
    fn a_listener_knows_the_hosts_that_its_requests_can_have() {
        let one = |suffix: &str| HostName::OneLabel(suffix.to_owned());
        let parsed = ["*", "*.foo.com", "*.com", "a.foo.com", "b.a.foo.com", "foo.com", "a.bar.com"].map(name);
        let all: Vec<_> = parsed.into_iter().chain([one("foo.com"), one("bar.com")]).collect();
        let mut hosts = Hosts::<u8>::default();
        for host in &all {
            _ = hosts.listen(host, 80, Protocol::Http, &origin(""));
        }
        let met = |host: &HostName| hosts.meeting(host).into_iter().map(|(host, _)| host.clone()).collect::<Vec<_>>();
        let expected = [name("a.foo.com"), one("foo.com"), name("*.foo.com"), name("*.com"), HostName::Any];
        assert_eq!(met(&expected[0]), expected);
        assert_eq!(met(&one("bar.com")), [HostName::Any, one("bar.com"), name("*.com"), name("a.bar.com")]);
        // Looked up or compared, they are the same.
        for host in &all {
            let (mut met, mut compared) = (met(host), all.clone());
            compared.retain(|other| host.intersect(other).is_some());
            met.sort();
            compared.sort();
            assert_eq!(met, compared, "{host}");
        }
    }
}
