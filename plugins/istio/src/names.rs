//! How Istio completes names: short hosts, gateway references, exports. What a name may consist of.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::findings::{Findings, Place};

/// `x` becomes `x.<namespace>.svc.<domain>`; what has a dot, `*` and addresses stay. Lower case.
pub(crate) fn full_host(host: &str, namespace: &str, domain: &str) -> String {
    let host = host.to_ascii_lowercase();
    if is_short(&host) { format!("{host}.{namespace}.svc.{domain}") } else { host }
}

/// Whether a host is completed by [`full_host`].
pub(crate) fn is_short(host: &str) -> bool {
    !host.is_empty() && host != "*" && !host.contains('.') && host.parse::<IpAddr>().is_err()
}

/// The word for all sidecars where a gateway's name could stand.
pub(crate) const MESH: &str = "mesh";

/// `name`, `ns/name`, `./name` and the old `name.ns[.svc…]`, as `ns/name`; `mesh` stays.
pub(crate) fn gateway_reference(text: &str, namespace: &str) -> String {
    if text == MESH {
        return text.to_owned();
    }
    match text.split_once('/') {
        Some((".", name)) => format!("{namespace}/{name}"),
        Some(_) => text.to_owned(),
        None => {
            let mut labels = text.split('.');
            let name = labels.next().unwrap_or_default();
            format!("{}/{name}", labels.next().unwrap_or(namespace))
        }
    }
}

/// The namespaces that see an object (`exportTo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exports {
    /// Its own alone.
    Own,
    /// These; none for `~`.
    Listed(Vec<String>),
    /// Every one.
    All,
}

impl Exports {
    /// Reads `exportTo`; an empty list is every namespace.
    pub(crate) fn read<'t>(list: impl IntoIterator<Item = &'t str>, namespace: &str) -> Self {
        let mut listed = Vec::new();
        let mut empty = true;
        for text in list {
            empty = false;
            match text.trim() {
                "*" => return Self::All,
                "." => listed.push(namespace.to_owned()),
                "~" => {}
                other => listed.push(other.to_owned()),
            }
        }
        if empty {
            Self::All
        } else if listed == [namespace] {
            Self::Own
        } else {
            Self::Listed(listed)
        }
    }

    /// Whether `viewer` sees an object of `namespace`.
    pub(crate) fn reach(&self, viewer: &str, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Own => viewer == namespace,
            Self::Listed(listed) => listed.iter().any(|name| name == viewer),
        }
    }
}

/// Whether an object may be exported to nobody (`~`): a ServiceEntry may, which sidecars still see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hiding {
    Allowed,
    Refused,
}

/// Says what is wrong with an `exportTo` that stands in an object of `namespace`.
pub(crate) fn check_exports(list: &[String], namespace: &str, hiding: Hiding, at: &Place<'_>, findings: &mut Findings) {
    let mut known = HashSet::new();
    for (index, text) in list.iter().enumerate() {
        let at = at.item("exportTo", index);
        let name = if text == "." { namespace } else { text };
        if name == "~" && hiding == Hiding::Refused {
            let message = "`~` exports it to nobody, which only a ServiceEntry can be";
            findings.error(&at, "invalid-value", message, "write `.`, or remove the object");
        } else if !matches!(name, "*" | "~") && !is_dns_label(name) {
            let message = format!("`{text}` is not a namespace");
            findings.error(&at, "invalid-value", message, "write `*`, `.` or a namespace");
        } else if !known.insert(name) {
            let message = format!("the namespace `{name}` stands twice");
            findings.error(&at, "invalid-value", message, "remove one");
        }
    }
    let alone = ["*", "~"].iter().find(|word| known.contains(**word));
    if let Some(word) = alone.filter(|_| known.len() > 1) {
        let message = format!("`{word}` stands alone, or not at all");
        findings.error(
            &at.field("exportTo"),
            "conflicting-fields",
            message,
            "keep it and remove the others, or remove it",
        );
    }
}

/// Whether `name` can be a namespace.
pub(crate) fn is_dns_label(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty() && name.len() <= 63 && name.bytes().all(legal) && !name.starts_with('-') && !name.ends_with('-')
}

/// Whether `name` can be an object's name.
pub(crate) fn is_object_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 253 && name.split('.').all(is_dns_label)
}

/// Whether `name` can be a header (RFC 9110, a token).
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A port number, when it is one.
pub(crate) fn port_number(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_hosts_are_completed() {
        for (host, full) in [
            ("httpbin", "httpbin.apps.svc.cluster.local"),
            ("HttpBin", "httpbin.apps.svc.cluster.local"),
            ("httpbin.other", "httpbin.other"),
            ("*", "*"),
            ("*.foo.com", "*.foo.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
        ] {
            assert_eq!(full_host(host, "apps", "cluster.local"), full);
        }
    }

    #[test]
    fn gateways_are_named_in_four_ways() {
        for (text, full) in [
            ("gw", "apps/gw"),
            ("./gw", "apps/gw"),
            ("infra/gw", "infra/gw"),
            ("gw.infra", "infra/gw"),
            ("gw.infra.svc.cluster.local", "infra/gw"),
            ("mesh", "mesh"),
        ] {
            assert_eq!(gateway_reference(text, "apps"), full);
        }
    }

    #[test]
    fn exports_reach_whom_they_name() {
        for (list, own, other) in [
            (vec![], true, true),
            (vec!["*"], true, true),
            (vec!["."], true, false),
            (vec!["~"], false, false),
            (vec!["infra"], false, true),
            (vec![".", "infra"], true, true),
        ] {
            let exports = Exports::read(list.iter().copied(), "apps");
            assert_eq!((exports.reach("apps", "apps"), exports.reach("infra", "apps")), (own, other), "{list:?}");
        }
    }
}
