//! Addresses of the pool, and who has which.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::model::{Address, Binding};
use crate::object::ObjectKey;
use crate::snapshot::Snapshot;

/// Who has which address.
#[derive(Debug, Default)]
pub(super) struct Pool {
    held: BTreeMap<ObjectKey, IpAddr>,
}

impl Pool {
    /// Gives every object that wants an address of its own one of these, the oldest first. Who has one keeps it, over a
    /// restart if its status names it.
    pub(super) fn allot<'b>(
        &mut self,
        nets: &[IpNet],
        bindings: impl Iterator<Item = &'b Binding>,
        snapshot: &Snapshot,
    ) {
        let mut owners = BTreeSet::new();
        let mut taken: HashSet<IpAddr> = HashSet::new();
        for binding in bindings {
            match &binding.address {
                Address::Dedicated(wanted) if wanted.is_empty() => {
                    let key = &binding.origin.object;
                    let created = snapshot.objects.get(key).map(|object| object.created()).unwrap_or_default();
                    owners.insert((created, key));
                }
                Address::Dedicated(wanted) => {
                    taken.extend(wanted.iter().filter_map(|text| text.parse::<IpAddr>().ok()))
                }
                Address::Ip(ip) => drop(taken.insert(*ip)),
                Address::Shared | Address::Unix(_) => {}
            }
        }
        let pooled = |ip: &IpAddr| nets.iter().any(|net| net.contains(ip));
        let before = std::mem::take(&mut self.held);
        // What a status names goes before what is remembered, so that replicas agree; and nobody's address is taken by who
        // asks for it by its number.
        let mut given: HashSet<IpAddr> = HashSet::new();
        for named in [true, false] {
            for (_, key) in &owners {
                let fits = |ip: &IpAddr| pooled(ip) && !given.contains(ip);
                let had = if named {
                    let status = snapshot.objects.get(key).and_then(|object| object.status());
                    status.and_then(|status| address_in(status, &fits))
                } else {
                    before.get(key).copied().filter(fits)
                };
                if let Some(ip) = had.filter(|_| !self.held.contains_key(key)) {
                    given.insert(ip);
                    self.held.insert(ObjectKey::clone(key), ip);
                }
            }
        }
        taken.extend(given);
        let mut free = nets.iter().flat_map(IpNet::hosts);
        for (_, key) in owners {
            if !self.held.contains_key(key)
                && let Some(ip) = free.find(|ip| !taken.contains(ip))
            {
                self.held.insert(key.clone(), ip);
            }
        }
    }

    /// The address of an object.
    pub(super) fn of(&self, key: &ObjectKey) -> Option<IpAddr> {
        self.held.get(key).copied()
    }
}

/// The first address of these in a status, wherever its API has them.
fn address_in(status: &Value, fits: &dyn Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    match status {
        Value::String(text) => text.parse().ok().filter(fits),
        Value::Array(values) => values.iter().find_map(|value| address_in(value, fits)),
        Value::Object(fields) => fields.values().find_map(|value| address_in(value, fits)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::model::Origin;
    use crate::object::Object;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::core("Gateway", "n", name)
    }

    fn binding(name: &str, wanted: &[&str]) -> Binding {
        let address = Address::Dedicated(wanted.iter().map(ToString::to_string).collect());
        Binding { origin: Origin { object: key(name), field: String::new() }, address, infrastructure: None }
    }

    fn snapshot(objects: &[(&str, &str, &str)]) -> Snapshot {
        let object = |(name, created, address): &(&str, &str, &str)| {
            let value = json!({
                "metadata": {"creationTimestamp": created},
                "status": {"addresses": [{"type": "IPAddress", "value": address}]},
            });
            Object::new(key(name), "v1".to_owned(), Arc::from("test"), value)
        };
        Snapshot { objects: objects.iter().map(object).collect(), ..Snapshot::default() }
    }

    fn held(pool: &Pool) -> Vec<String> {
        pool.held.iter().map(|(key, ip)| format!("{}={ip}", key.name)).collect()
    }

    #[test]
    fn each_has_its_own_and_keeps_it() {
        let nets = ["192.0.2.0/30".parse().unwrap()];
        let mut pool = Pool::default();
        let there = snapshot(&[("a", "2026-02", ""), ("b", "2026-01", ""), ("c", "2026-03", "")]);
        pool.allot(&nets, [binding("a", &[]), binding("b", &[]), binding("c", &[])].iter(), &there);
        assert_eq!(held(&pool), ["a=192.0.2.2", "b=192.0.2.1"], "the oldest first, until there is none");
        assert_eq!(pool.of(&key("c")), None);
        pool.allot(&nets, [binding("a", &[]), binding("c", &[])].iter(), &there);
        assert_eq!(held(&pool), ["a=192.0.2.2", "c=192.0.2.1"]);
        pool.allot(&["198.51.100.7/32".parse().unwrap()], [binding("a", &[])].iter(), &there);
        assert_eq!(held(&pool), ["a=198.51.100.7"], "another pool");
    }

    #[test]
    fn what_a_status_names_is_kept_over_a_restart_unless_it_is_anothers() {
        let nets = ["192.0.2.0/29".parse().unwrap()];
        let mut pool = Pool::default();
        let there = snapshot(&[
            ("a", "1", "192.0.2.5"),
            ("b", "2", "192.0.2.5"),
            ("c", "3", "192.0.2.1"),
            ("d", "4", "10.0.0.1"),
        ]);
        let bindings =
            [binding("a", &[]), binding("b", &[]), binding("c", &[]), binding("d", &[]), binding("e", &["192.0.2.1"])];
        pool.allot(&nets, bindings.iter(), &there);
        assert_eq!(held(&pool), ["a=192.0.2.5", "b=192.0.2.2", "c=192.0.2.1", "d=192.0.2.3"]);
    }

    #[test]
    fn replicas_agree_by_what_the_status_says() {
        let nets = ["192.0.2.0/29".parse().unwrap()];
        let (mut one, mut other) = (Pool::default(), Pool::default());
        let nothing = snapshot(&[("a", "1", ""), ("b", "2", "")]);
        one.allot(&nets, [binding("b", &[])].iter(), &nothing);
        one.allot(&nets, [binding("a", &[]), binding("b", &[])].iter(), &nothing);
        other.allot(&nets, [binding("a", &[]), binding("b", &[])].iter(), &nothing);
        assert_ne!(held(&one), held(&other), "they saw them in another order");
        let written = snapshot(&[("a", "1", "192.0.2.2"), ("b", "2", "192.0.2.1")]);
        for pool in [&mut one, &mut other] {
            pool.allot(&nets, [binding("a", &[]), binding("b", &[])].iter(), &written);
            assert_eq!(held(pool), ["a=192.0.2.2", "b=192.0.2.1"]);
        }
    }
}
