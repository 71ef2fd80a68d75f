//! Which namespaces may claim which hosts and ports: the plugin's `tenants` in the bootstrap file.
//!
//! Where there are any, a claim that none of its namespace's tenants allows is refused, alone.

use std::collections::HashMap;

use sekisho_sdk::host_name::HostName;
use serde::Deserialize;

use crate::hosts::ServerHosts;

/// The word for every namespace.
const EVERY_NAMESPACE: &str = "*";

/// One of `tenants`, as written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Tenant {
    namespaces: Vec<String>,
    hosts: Vec<String>,
    /// Every port when empty.
    #[serde(default)]
    ports: Vec<u16>,
}

/// What each namespace may claim; everything when the bootstrap file names no tenants.
#[derive(Debug, Default)]
pub(crate) struct Tenants(Option<HashMap<String, Vec<Allowed>>>);

#[derive(Clone, Debug)]
struct Allowed {
    hosts: ServerHosts,
    ports: Vec<u16>,
}

impl Tenants {
    /// Reads `tenants`; none is not the same as an empty list, which allows nobody anything.
    ///
    /// # Errors
    /// When a host is none.
    pub(crate) fn read(said: Option<Vec<Tenant>>) -> Result<Self, String> {
        let Some(said) = said else { return Ok(Self(None)) };
        let mut by_namespace: HashMap<String, Vec<Allowed>> = HashMap::new();
        for tenant in said {
            let hosts = tenant.hosts.iter().map(|host| {
                HostName::parse(host).map_err(|problem| format!("`{host}` in `tenants` is not a host: {problem}"))
            });
            let hosts = ServerHosts::of(hosts.collect::<Result<Vec<_>, _>>()?);
            let allowed = Allowed { hosts, ports: tenant.ports };
            for namespace in tenant.namespaces {
                by_namespace.entry(namespace).or_default().push(allowed.clone());
            }
        }
        Ok(Self(Some(by_namespace)))
    }

    /// Whether `namespace` may claim all of `host`: on `port`, or on any port at all.
    pub(crate) fn allow(&self, namespace: &str, host: &HostName, port: Option<u16>) -> bool {
        let Some(by_namespace) = &self.0 else { return true };
        let allowed = [namespace, EVERY_NAMESPACE].into_iter().filter_map(|name| by_namespace.get(name)).flatten();
        allowed
            .filter(|allowed| port.is_none_or(|port| allowed.ports.is_empty() || allowed.ports.contains(&port)))
            .any(|allowed| allowed.hosts.claim(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_held_against_the_tenants_of_their_namespace() {
        let tenants = r#"[
            { "namespaces": ["team-a", "team-b"], "hosts": ["*.a.test", "a.test"], "ports": [443] },
            { "namespaces": ["team-a"], "hosts": ["extra.test"] },
            { "namespaces": ["*"], "hosts": ["*.shared.test"], "ports": [80] }
        ]"#;
        let tenants = Tenants::read(serde_json::from_str(tenants).unwrap()).unwrap();
        for (namespace, host, port, allowed) in [
            ("team-a", "x.a.test", Some(443), true),
            ("team-a", "*.x.a.test", Some(443), true),
            ("team-a", "*.a.test", Some(443), true),
            ("team-a", "a.test", Some(443), true),
            ("team-a", "a.test", Some(80), false),
            ("team-a", "a.test", None, true),
            ("team-a", "*", Some(443), false),
            ("team-a", "b.test", None, false),
            ("team-a", "extra.test", Some(80), true),
            ("team-b", "extra.test", Some(80), false),
            ("team-c", "x.a.test", Some(443), false),
            ("team-c", "x.shared.test", Some(80), true),
            ("team-c", "x.shared.test", Some(443), false),
        ] {
            let host_name = HostName::parse(host).unwrap();
            assert_eq!(tenants.allow(namespace, &host_name, port), allowed, "{namespace} {host} {port:?}");
        }
    }

    #[test]
    fn no_tenants_are_not_an_empty_list_of_them() {
        let host = HostName::parse("a.test").unwrap();
        assert!(Tenants::read(None).unwrap().allow("any", &host, Some(80)));
        assert!(!Tenants::read(Some(Vec::new())).unwrap().allow("any", &host, Some(80)));
        let wrong = Tenant { namespaces: Vec::new(), hosts: vec!["a b".to_owned()], ports: Vec::new() };
        assert!(Tenants::read(Some(vec![wrong])).is_err());
    }
}
