//! What is kept in the cluster for bindings that have addresses of their own: first what they want, by what there is, and
//! then where it leads, once it is known which sockets are bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use crate::bootstrap::Bootstrap;
use crate::finding::{Finding, Severity};
use crate::kubernetes::{self, Front, Mark, Owner, Port, may_be_endpoint, service_key, slice_keys};
use crate::model::{Address, Binding, Infrastructure, Origin, Protocol, Translation};
use crate::object::ObjectKey;
use crate::snapshot::Snapshot;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    list: Vec<Fronted>,
    /// There are no others.
    all: bool,
}

/// A binding, and what is kept for it.
#[derive(Debug)]
struct Fronted {
    plugin: usize,
    binding: usize,
    origin: Origin,
    front: Front,
}

/// A listener's socket.
pub(super) struct Bound {
    /// The port that its object names.
    pub(super) port: u16,
    pub(super) socket: SocketAddr,
    pub(super) is_bound: bool,
}

impl Fronts {
    /// What the bindings of every plugin want, as far as it is to be had; a plugin without a translation may want more.
    pub(super) fn wanted<'t>(
        translations: impl Iterator<Item = Option<&'t Translation>>,
        bootstrap: &Bootstrap,
        snapshot: &Snapshot,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut all = !snapshot.partial;
        let mut candidates = Vec::new();
        for (plugin, translation) in translations.enumerate() {
            let Some(translation) = translation else {
                all = false;
                continue;
            };
            for (binding, said) in translation.bindings.iter().enumerate() {
                if let Some(wanted) = said.infrastructure.as_ref().filter(|_| is_kept(said, bootstrap)) {
                    let ports = ports(translation, binding, bootstrap);
                    candidates.extend(front(&said.origin.object, wanted, ports, snapshot).map(|(created, front)| {
                        (created, Fronted { plugin, binding, origin: said.origin.clone(), front })
                    }));
                }
            }
        }
        candidates.sort_by(|(created, one), (other_created, other)| {
            (created, &one.front.owner.key).cmp(&(other_created, &other.front.owner.key))
        });
        let mark = Mark::of(&bootstrap.gateway.controller_name);
        let mut list = Vec::new();
        let mut names: HashMap<ObjectKey, ObjectKey> = HashMap::new();
        for (_, fronted) in candidates {
            let Front { owner, name, .. } = &fronted.front;
            let service = service_key(&owner.key.namespace, name);
            let theirs = |key: &ObjectKey| snapshot.objects.get(key).is_some_and(|object| !mark.is_on(object));
            let mut taken = |message: String, remedy: &str| {
                let finding = Finding::on(Severity::Error, &owner.key, "metadata.name", "service-taken", message);
                findings.push(finding.remedy(remedy));
            };
            if let Some(older) = names.get(&service) {
                taken(format!("{service} is kept for {older}, which is older"), "give one of the two another name");
                continue;
            }
            if theirs(&service) {
                let message =
                    format!("{service}, which would be kept for it, is not this gateway's, and is left alone");
                taken(message, "delete that Service, or give the object another name");
                continue;
            }
            for slice in slice_keys(&service).iter().filter(|key| theirs(key)) {
                let message = format!("{slice}, which would lead to it, is not this gateway's, and is left alone");
                taken(message, "delete that EndpointSlice, or give the object another name");
            }
            names.insert(service, owner.key.clone());
            list.push(fronted);
        }
        Self { list, all }
    }

    /// Has each lead to its sockets, as far as they are bound. `sockets` tells them of a plugin's binding.
    pub(super) fn lead(&mut self, sockets: impl Fn(usize, usize) -> Vec<Bound>, findings: &mut Vec<Finding>) {
        for Fronted { plugin, binding, origin, front } in &mut self.list {
            let mut addresses: BTreeMap<IpAddr, BTreeSet<u16>> = BTreeMap::new();
            for Bound { port, socket, is_bound } in sockets(*plugin, *binding) {
                let ports = addresses.entry(socket.ip()).or_default();
                if is_bound {
                    ports.insert(port);
                }
            }
            let (reached, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
                addresses.into_iter().partition(|(ip, _)| may_be_endpoint(*ip));
            front.addresses = reached;
            if !others.is_empty() {
                let service = service_key(&front.owner.key.namespace, &front.name);
                let others: Vec<String> = others.keys().map(ToString::to_string).collect();
                let message =
                    format!("{service} does not lead to {}, which only this machine reaches", others.join(", "));
                let (object, field) = (&origin.object, &origin.field);
                findings.push(Finding::on(Severity::Warning, object, field, "unreachable-address", message).remedy(
                    "have `gateway.pool` in the bootstrap file, or the object, name addresses that pods reach",
                ));
            }
        }
    }

    /// As it is to be written.
    pub(super) fn into_kept(self) -> kubernetes::Fronts {
        kubernetes::Fronts { list: self.list.into_iter().map(|fronted| fronted.front).collect(), all: self.all }
    }
}

/// Whether something is kept for a binding: without a pool, one that asks for no address shares the gateway's.
fn is_kept(binding: &Binding, bootstrap: &Bootstrap) -> bool {
    let own = match &binding.address {
        Address::Dedicated(wanted) => !wanted.is_empty() || !bootstrap.gateway.pool.is_empty(),
        Address::Shared | Address::Ip(_) | Address::Unix(_) => false,
    };
    own && bootstrap.gateway.services
}

/// Of an object that is there, with the time of its creation; none as long as it has no ports, which no Service may be
/// without.
fn front(
    owner: &ObjectKey,
    wanted: &Infrastructure,
    ports: BTreeMap<u16, Port>,
    snapshot: &Snapshot,
) -> Option<(String, Front)> {
    let object = snapshot.objects.get(owner).filter(|_| !ports.is_empty())?;
    let Peek { metadata: PeekMetadata { uid } } = serde_json::from_slice(&object.json).ok()?;
    let Infrastructure { name, labels, annotations } = wanted.clone();
    let owner = Owner { key: owner.clone(), version: object.version.clone(), uid };
    Some((object.created().to_owned(), Front { owner, name, labels, annotations, ports, addresses: BTreeMap::new() }))
}

/// All that is read of an object of a dialect.
#[derive(Deserialize)]
struct Peek {
    metadata: PeekMetadata,
}

#[derive(Deserialize)]
struct PeekMetadata {
    uid: String,
}

/// The ports of a binding's listeners, whether they serve or not.
fn ports(translation: &Translation, binding: usize, bootstrap: &Bootstrap) -> BTreeMap<u16, Port> {
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    for listener in translation.listeners.iter().filter(|listener| listener.binding == binding && listener.port != 0) {
        let speaks = match listener.protocol {
            Protocol::Http => Some("http"),
            Protocol::Https(_) => Some("https"),
            Protocol::Tls(_) | Protocol::Passthrough | Protocol::Tcp => None,
            Protocol::Udp => continue,
        };
        let said = Port { bound: bootstrap.bound_port(listener.port), speaks };
        let port = ports.entry(listener.port).or_insert(said);
        port.speaks = port.speaks.filter(|before| Some(*before) == speaks);
    }
    ports
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Listener, Misdirected};
    use crate::object::Object;

    fn gateway(name: &str) -> ObjectKey {
        let own = |text: &str| text.to_owned();
        ObjectKey {
            group: own("gateway.networking.k8s.io"),
            kind: own("Gateway"),
            namespace: own("n"),
            name: own(name),
        }
    }

    fn listener(binding: usize, port: u16, protocol: Protocol) -> Listener {
        Listener {
            name: format!("{binding}/{port}/{protocol:?}"),
            origin: Origin { object: gateway("a"), field: String::new() },
            binding,
            port,
            protocol,
            hosts: Vec::new(),
            misdirected: Misdirected::Refuse,
            inputs: Vec::new(),
            refused: None,
        }
    }

    /// A binding for each of these Gateways, that wants a Service of this name.
    fn translation(bindings: &[(&str, Address, &str)], listeners: Vec<Listener>) -> Translation {
        let binding = |(owner, address, name): &(&str, Address, &str)| Binding {
            origin: Origin { object: gateway(owner), field: "spec.addresses".to_owned() },
            address: address.clone(),
            infrastructure: Some(Infrastructure {
                name: (*name).to_owned(),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            }),
        };
        Translation {
            bindings: bindings.iter().map(binding).collect(),
            listeners,
            sources: Vec::new(),
            clusters: Vec::new(),
            routes: Vec::new(),
            streams: Vec::new(),
            findings: Vec::new(),
            table: Arc::from([]),
            refused_routes: Vec::new(),
            refused_clusters: Vec::new(),
        }
    }

    fn bootstrap(services: bool) -> Bootstrap {
        let mut bootstrap = Bootstrap::for_kubernetes().unwrap();
        bootstrap.gateway.services = services;
        bootstrap.gateway.pool = vec!["192.0.2.0/28".parse().unwrap()];
        bootstrap.ports = BTreeMap::from([(80, 8080)]);
        bootstrap
    }

    fn snapshot(objects: Vec<(ObjectKey, Value)>) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let gateways = [("a", "2026-02"), ("b", "2026-01")].map(|(name, created)| {
            (gateway(name), json!({"metadata": {"uid": format!("uid-{name}"), "creationTimestamp": created}}))
        });
        for (key, value) in gateways.into_iter().chain(objects) {
            snapshot.objects.insert(Object::new(key, "v1".to_owned(), Arc::from("test"), value));
        }
        snapshot
    }

    fn wanted(translation: &Translation, bootstrap: &Bootstrap, snapshot: &Snapshot) -> (Vec<Front>, Vec<String>) {
        let mut findings = Vec::new();
        let fronts = Fronts::wanted([Some(translation)].into_iter(), bootstrap, snapshot, &mut findings).into_kept();
        assert!(fronts.all);
        (fronts.list, findings.into_iter().map(|finding| finding.code).collect())
    }

    fn own() -> Address {
        Address::Dedicated(Vec::new())
    }

    #[test]
    fn only_addresses_of_ones_own_have_something() {
        let shared = [("a", Address::Shared, "a-c"), ("b", Address::Ip("192.0.2.1".parse().unwrap()), "b-c")];
        let http = |binding| listener(binding, 80, Protocol::Http);
        let shared = translation(&shared, vec![http(0), http(1)]);
        assert_eq!(wanted(&shared, &bootstrap(true), &snapshot(Vec::new())).0, []);
        let asked = Address::Dedicated(vec!["192.0.2.1".to_owned()]);
        let both = translation(&[("a", own(), "a-c"), ("b", asked, "b-c")], vec![http(0), http(1)]);
        let names = |bootstrap: &Bootstrap| {
            let (fronts, _) = wanted(&both, bootstrap, &snapshot(Vec::new()));
            fronts.into_iter().map(|front| (front.name, front.owner.uid)).collect::<Vec<_>>()
        };
        let pair = |name: &str, uid: &str| (name.to_owned(), uid.to_owned());
        assert_eq!(names(&bootstrap(true)), [pair("b-c", "uid-b"), pair("a-c", "uid-a")]);
        assert_eq!(names(&bootstrap(false)), []);
        let mut without_pool = bootstrap(true);
        without_pool.gateway.pool = Vec::new();
        assert_eq!(names(&without_pool), [pair("b-c", "uid-b")]);
    }

    #[test]
    fn ports_are_those_of_listeners() {
        let listeners = vec![
            listener(0, 80, Protocol::Http),
            listener(0, 80, Protocol::Http),
            listener(0, 8080, Protocol::Http),
            listener(0, 8080, Protocol::Tcp),
            listener(0, 8080, Protocol::Http),
            listener(0, 53, Protocol::Udp),
            listener(0, 0, Protocol::Tcp),
            listener(1, 81, Protocol::Http),
        ];
        let bindings = [("a", own(), "a-c"), ("b", own(), "b-c")];
        let (fronts, _) = wanted(&translation(&bindings, listeners), &bootstrap(true), &snapshot(Vec::new()));
        let ports = &fronts.iter().find(|front| front.name == "a-c").unwrap().ports;
        let port = |bound, speaks| Port { bound, speaks };
        assert_eq!(*ports, BTreeMap::from([(80, port(8080, Some("http"))), (8080, port(8080, None))]));
        let nothing = translation(&[("a", own(), "a-c")], vec![listener(0, 53, Protocol::Udp)]);
        assert_eq!(wanted(&nothing, &bootstrap(true), &snapshot(Vec::new())).0, [], "no port, no Service");
    }

    #[test]
    fn a_name_is_the_oldest_ones() {
        let bindings = [("a", own(), "x"), ("b", own(), "x")];
        let listeners = vec![listener(0, 80, Protocol::Http), listener(1, 80, Protocol::Http)];
        let (fronts, findings) = wanted(&translation(&bindings, listeners), &bootstrap(true), &snapshot(Vec::new()));
        assert_eq!(fronts.iter().map(|front| front.owner.key.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(findings, ["service-taken"]);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let wanted = |key: ObjectKey, owner: &str| {
            let labels = json!({"app.kubernetes.io/managed-by": owner});
            let there = snapshot(vec![(key, json!({"metadata": {"labels": labels}}))]);
            let of_a = translation(&[("a", own(), "x")], vec![listener(0, 80, Protocol::Http)]);
            let (fronts, findings) = wanted(&of_a, &bootstrap(true), &there);
            (fronts.len(), findings.len())
        };
        let service = service_key("n", "x");
        let [slice, _] = slice_keys(&service);
        assert_eq!(wanted(service.clone(), "Helm"), (0, 1));
        assert_eq!(wanted(service, "sekisho.dev_gateway-controller"), (1, 0));
        assert_eq!(wanted(slice, "Helm"), (1, 1), "the Service is ours all the same");
    }

    #[test]
    fn what_is_not_known_may_be_more() {
        let mut there = snapshot(Vec::new());
        let nothing = translation(&[], Vec::new());
        let all = |translation: Option<&Translation>, there: &Snapshot| {
            Fronts::wanted([translation].into_iter(), &bootstrap(true), there, &mut Vec::new()).into_kept().all
        };
        assert!(all(Some(&nothing), &there));
        assert!(!all(None, &there), "a plugin that does not load");
        there.partial = true;
        assert!(!all(Some(&nothing), &there));
    }

    #[test]
    fn it_leads_to_what_is_bound_and_others_reach() {
        let of_a = translation(&[("a", own(), "x")], vec![listener(0, 80, Protocol::Http)]);
        let mut findings = Vec::new();
        let there = snapshot(Vec::new());
        let mut fronts = Fronts::wanted([Some(&of_a)].into_iter(), &bootstrap(true), &there, &mut findings);
        let sockets = [
            (80, "192.0.2.1:8080", true),
            (81, "192.0.2.1:81", true),
            (82, "192.0.2.1:82", false),
            (80, "127.0.0.1:8080", true),
            (80, "[2001:db8::1]:8080", false),
        ];
        let bound = |(port, socket, is_bound): &(u16, &str, bool)| Bound {
            port: *port,
            socket: socket.parse().unwrap(),
            is_bound: *is_bound,
        };
        fronts.lead(|_, _| sockets.iter().map(bound).collect(), &mut findings);
        let at = |ip: &str, ports: &[u16]| (ip.parse().unwrap(), ports.iter().copied().collect());
        assert_eq!(
            fronts.into_kept().list[0].addresses,
            BTreeMap::from([at("192.0.2.1", &[80, 81]), at("2001:db8::1", &[])])
        );
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, "unreachable-address");
        assert!(findings[0].message.contains("127.0.0.1"), "{}", findings[0].message);
    }
}
