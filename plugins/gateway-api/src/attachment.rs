//! Which listeners a route attaches to, by each of its `parentRefs`, and under which host names there.

use std::collections::HashMap;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::host_name::HostName;

use crate::field::Field;
use crate::finding::{Fault, Findings, Problem};
use crate::gateways::Gateway;
use crate::kinds::RouteKind;
use crate::listeners::Listener;
use crate::objects::GROUP;
use crate::objects::route::ParentRef;
use crate::precedence::Specificity;
use crate::snapshot::Namespaces;

/// A `parentRef` that means one of our Gateways or their ListenerSets, and what became of it.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) reference: ParentRef,
    /// The listeners attached to, or why there is none.
    pub(crate) attached: Result<Vec<Place>, Problem>,
}

/// A listener: index of the Gateway, and of the listener in it.
pub(crate) type Place = (usize, usize);

/// The host names under which a route serves at a listener: as both allow, and how specific the route was.
pub(crate) type Hosts = Vec<(HostName, Specificity)>;

/// A route's host names. None that is valid is not the same as none that is written.
#[derive(Debug)]
pub(crate) enum Hostnames {
    /// The listener's are taken.
    Inherited,
    Own(Vec<HostName>),
}

impl Hostnames {
    /// The names that route and listener share.
    pub(crate) fn at(&self, listener: &HostName) -> Hosts {
        match self {
            Self::Inherited => vec![(listener.clone(), Specificity::Inherited)],
            Self::Own(names) => {
                let mut hosts = Hosts::new();
                for name in names {
                    let Some(host) = listener.intersect(name) else { continue };
                    let specificity = Specificity::of(name);
                    match hosts.iter_mut().find(|(known, _)| *known == host) {
                        Some((_, known)) => *known = specificity.max(*known),
                        None => hosts.push((host, specificity)),
                    }
                }
                hosts
            }
        }
    }
}

/// What a reference means: a Gateway by index, or one of its ListenerSets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) gateway: usize,
    set: Option<usize>,
}

/// Our Gateways and their ListenerSets by namespace and name.
pub(crate) struct Directory<'g> {
    gateways: &'g [Gateway],
    names: HashMap<(&'g str, &'g str), usize>,
    sets: HashMap<(&'g str, &'g str), (usize, usize)>,
    namespaces: &'g Namespaces,
}

/// A route that wants to attach.
#[derive(Clone, Copy)]
pub(crate) struct Applicant<'a> {
    pub(crate) kind: RouteKind,
    pub(crate) key: &'a ObjectKey,
    /// None where the kind has no host names, which then do not count.
    pub(crate) hostnames: Option<&'a Hostnames>,
}

impl<'g> Directory<'g> {
    pub(crate) fn of(gateways: &'g [Gateway], namespaces: &'g Namespaces) -> Self {
        let mut directory = Self { gateways, names: HashMap::new(), sets: HashMap::new(), namespaces };
        for (index, gateway) in gateways.iter().enumerate() {
            directory.names.insert((gateway.key.namespace.as_str(), gateway.key.name.as_str()), index);
            for (nth, set) in gateway.sets.iter().enumerate() {
                directory.sets.insert((set.key.namespace.as_str(), set.key.name.as_str()), (index, nth));
            }
        }
        directory
    }

    /// What of ours a reference means.
    pub(crate) fn find(&self, reference: &ParentRef, route: &ObjectKey) -> Option<Target> {
        let name = (reference.namespace.as_deref().unwrap_or(&route.namespace), reference.name.as_str());
        match (&*reference.group, &*reference.kind) {
            (GROUP, "Gateway") => self.names.get(&name).map(|gateway| Target { gateway: *gateway, set: None }),
            (GROUP, "ListenerSet") => {
                self.sets.get(&name).map(|(gateway, set)| Target { gateway: *gateway, set: Some(*set) })
            }
            _ => None,
        }
    }

    /// Attaches a route by one of its references, the one at `field`, to what it means.
    pub(crate) fn attach(
        &self,
        reference: ParentRef,
        target: Target,
        route: Applicant<'_>,
        field: Field<'_>,
        findings: &mut Findings<'_>,
    ) -> Parent {
        let attached = self.listeners(target, &reference, route, field).map_err(|fault| findings.refuse(fault));
        Parent { reference, attached }
    }

    fn listeners(
        &self,
        target: Target,
        reference: &ParentRef,
        route: Applicant<'_>,
        field: Field<'_>,
    ) -> Result<Vec<Place>, Fault> {
        let gateway = &self.gateways[target.gateway];
        let set = target.set.map(|set| &gateway.sets[set]);
        let (name, own) = match set {
            None => (format!("Gateway {}", gateway.seniority.name), &gateway.key.namespace),
            Some(set) => (format!("ListenerSet {}", set.seniority.name), &set.key.namespace),
        };
        let fault =
            |reason, code, message: String, remedy: &str| Err(Fault::new(code, field, message, remedy).because(reason));
        if set.is_some_and(|set| set.refused.is_some()) {
            let message = format!("{name} is not attached to its Gateway, so it has no listeners");
            let remedy = "see to the ListenerSet first";
            return fault("NoMatchingParent", "no-matching-parent", message, remedy);
        }
        let named = |listener: &Listener| {
            reference.section_name.as_deref().is_none_or(|name| name.is_empty() || name == listener.name)
                && reference.port.is_none_or(|port| listener.port.map(i64::from) == Some(port))
        };
        let mut left: Vec<_> = gateway.listed(target.set).filter(|(_, listener)| named(listener)).collect();
        if left.is_empty() {
            let message = format!("{name} has no such listener");
            let remedy = "name one of its listeners in `sectionName`, or leave `sectionName` and `port` out";
            return fault("NoMatchingParent", "no-matching-parent", message, remedy);
        }
        left.retain(|(_, Listener { allowed, .. })| {
            allowed.kinds.contains(&route.kind)
                && allowed.namespaces.include(own, &route.key.namespace, self.namespaces)
        });
        if left.is_empty() {
            let kind = route.kind.name();
            let message = format!("{name} lets no {kind} of namespace `{}` attach here", route.key.namespace);
            let remedy = "allow kind and namespace in `allowedRoutes` of a listener whose protocol takes such routes, or \
                          move the route";
            return fault("NotAllowedByListeners", "not-allowed-by-listeners", message, remedy);
        }
        if let Some(hostnames) = route.hostnames {
            left.retain(|(_, listener)| listener.host.as_ref().is_some_and(|host| !hostnames.at(host).is_empty()));
        }
        if left.is_empty() {
            let message = format!("no host name of the route is one of the listeners of {name}");
            let remedy = "change `hostnames` of the route or `hostname` of a listener";
            return fault("NoMatchingListenerHostname", "no-matching-listener-hostname", message, remedy);
        }
        Ok(left.into_iter().map(|(listener, _)| (target.gateway, listener)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(names: &[&str]) -> Hostnames {
        Hostnames::Own(names.iter().map(|name| HostName::parse(name).unwrap()).collect())
    }

    fn at(hostnames: &Hostnames, listener: &str) -> Vec<String> {
        let hosts = hostnames.at(&HostName::parse(listener).unwrap());
        hosts.into_iter().map(|(host, _)| host.to_string()).collect()
    }

    #[test]
    fn a_route_serves_what_it_shares_with_the_listener() {
        assert_eq!(at(&own(&["*.specific.com"]), "very.specific.com"), ["very.specific.com"]);
        assert_eq!(at(&own(&["a.example.com", "a.example.net"]), "*.example.com"), ["a.example.com"]);
        assert_eq!(at(&own(&["example.com", "test.example.net"]), "*.example.com"), Vec::<String>::new());
        assert_eq!(at(&own(&["foo.bar.example.com", "*.example.com"]), "*"), ["foo.bar.example.com", "*.example.com"]);
        assert_eq!(at(&Hostnames::Inherited, "*.example.com"), ["*.example.com"]);
    }

    #[test]
    fn without_a_valid_name_nothing_is_inherited() {
        assert!(at(&own(&[]), "*").is_empty());
    }

    #[test]
    fn names_that_become_one_keep_the_most_specific() {
        let hosts = own(&["*.com", "*.example.com"]).at(&HostName::parse("*.example.com").unwrap());
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0].1, Specificity::Wildcard("example.com".len()));
    }
}
