//! Which listeners a route attaches to, by each of its `parentRefs`, and under which host names there.

use std::collections::HashMap;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::host_name::HostName;

use crate::field::Field;
use crate::finding::{Fault, Findings, Problem};
use crate::gateways::Gateway;
use crate::listeners::Listener;
use crate::objects::GROUP;
use crate::objects::http_route::ParentRef;
use crate::precedence::Specificity;
use crate::snapshot::Namespaces;

/// A `parentRef` that means one of our Gateways, and what became of it.
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

/// Our Gateways by namespace and name.
pub(crate) struct Directory<'g> {
    gateways: &'g [Gateway],
    names: HashMap<(&'g str, &'g str), usize>,
    namespaces: &'g Namespaces,
}

impl<'g> Directory<'g> {
    pub(crate) fn of(gateways: &'g [Gateway], namespaces: &'g Namespaces) -> Self {
        let names = gateways.iter().enumerate();
        let names = names.map(|(index, gateway)| ((gateway.key.namespace.as_str(), gateway.key.name.as_str()), index));
        Self { gateways, names: names.collect(), namespaces }
    }

    /// The Gateway of ours that a reference means, by index.
    pub(crate) fn find(&self, reference: &ParentRef, route: &ObjectKey) -> Option<usize> {
        if reference.group != GROUP || reference.kind != "Gateway" {
            return None;
        }
        let namespace = reference.namespace.as_deref().unwrap_or(&route.namespace);
        self.names.get(&(namespace, reference.name.as_str())).copied()
    }

    /// Attaches a route by one of its references, the one at `field`, to the Gateway `index` that it means.
    pub(crate) fn attach(
        &self,
        reference: ParentRef,
        index: usize,
        route: &ObjectKey,
        hostnames: &Hostnames,
        field: Field<'_>,
        findings: &mut Findings<'_>,
    ) -> Parent {
        let attached =
            self.listeners(index, &reference, route, hostnames, field).map_err(|fault| findings.refuse(fault));
        Parent { reference, attached }
    }

    fn listeners(
        &self,
        index: usize,
        reference: &ParentRef,
        route: &ObjectKey,
        hostnames: &Hostnames,
        field: Field<'_>,
    ) -> Result<Vec<Place>, Fault> {
        let gateway = &self.gateways[index];
        let named = |listener: &Listener| {
            reference.section_name.as_deref().is_none_or(|name| name.is_empty() || name == listener.name)
                && reference.port.is_none_or(|port| listener.port.map(i64::from) == Some(port))
        };
        let name = &gateway.seniority.name;
        let mut left: Vec<_> = gateway.listed().filter(|(_, listener)| named(listener)).collect();
        if left.is_empty() {
            let message = format!("Gateway {name} has no such listener");
            let remedy = "name one of its listeners in `sectionName`, or leave `sectionName` and `port` out";
            return Err(Fault::new("no-matching-parent", field, message, remedy).because("NoMatchingParent"));
        }
        left.retain(|(_, listener)| {
            let Listener { allowed, .. } = listener;
            allowed.http_routes && allowed.namespace(&gateway.key.namespace, &route.namespace, self.namespaces)
        });
        if left.is_empty() {
            let message = format!("Gateway {name} lets no HTTPRoute of namespace `{}` attach here", route.namespace);
            let remedy = "allow the namespace in `allowedRoutes` of a listener, or move the route";
            return Err(Fault::new("not-allowed-by-listeners", field, message, remedy).because("NotAllowedByListeners"));
        }
        left.retain(|(_, listener)| listener.host.as_ref().is_some_and(|host| !hostnames.at(host).is_empty()));
        if left.is_empty() {
            let message = format!("no host name of the route is one of Gateway {name}'s listeners");
            let remedy = "change `hostnames` of the route or `hostname` of a listener";
            return Err(Fault::new("no-matching-listener-hostname", field, message, remedy)
                .because("NoMatchingListenerHostname"));
        }
        Ok(left.into_iter().map(|(listener, _)| (index, listener)).collect())
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
