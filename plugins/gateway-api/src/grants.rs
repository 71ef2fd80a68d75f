//! ReferenceGrants: which references may leave their namespace. A grant lives where the reference points.

use std::collections::HashSet;

use sekisho_sdk::ObjectKey;

use crate::kinds::RouteKind;
use crate::objects::{GROUP, ReferenceGrantSpec};

/// Who refers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Referrer {
    Gateway,
    ListenerSet,
    Route(RouteKind),
}

/// All grants, one entry for each pair of `from` and `to`. Entries are OR.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    granted: HashSet<Grant>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Grant {
    from_kind: &'static str,
    from_namespace: String,
    to_group: String,
    to_kind: String,
    to_namespace: String,
    /// None is every name.
    to_name: Option<String>,
}

impl Referrer {
    /// As grants call it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::ListenerSet => "ListenerSet",
            Self::Route(kind) => kind.name(),
        }
    }

    fn of(group: &str, kind: &str) -> Option<Self> {
        match kind {
            "Gateway" if group == GROUP => Some(Self::Gateway),
            "ListenerSet" if group == GROUP => Some(Self::ListenerSet),
            _ => RouteKind::of(group, kind).map(Self::Route),
        }
    }
}

impl Grants {
    pub(crate) fn add(&mut self, namespace: &str, spec: &ReferenceGrantSpec) {
        for from in &spec.from {
            let Some(referrer) = Referrer::of(&from.group, &from.kind) else { continue };
            self.granted.extend(spec.to.iter().map(|to| Grant {
                from_kind: referrer.kind(),
                from_namespace: from.namespace.clone(),
                to_group: to.group.clone(),
                to_kind: to.kind.clone(),
                to_namespace: namespace.to_owned(),
                to_name: to.name.clone().filter(|name| !name.is_empty()),
            }));
        }
    }

    /// Whether an object of `namespace` may refer to `to`. Within a namespace it always may.
    pub(crate) fn permit(&self, referrer: Referrer, namespace: &str, to: &ObjectKey) -> bool {
        if to.namespace == namespace {
            return true;
        }
        let grant = |to_name| Grant {
            from_kind: referrer.kind(),
            from_namespace: namespace.to_owned(),
            to_group: to.group.clone(),
            to_kind: to.kind.clone(),
            to_namespace: to.namespace.clone(),
            to_name,
        };
        self.granted.contains(&grant(None)) || self.granted.contains(&grant(Some(to.name.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new("", "Secret", namespace, name)
    }

    #[test]
    fn a_grant_names_the_referrer_and_the_target() {
        let spec = r#"{"from":[{"group":"gateway.networking.k8s.io","kind":"Gateway","namespace":"edge"}],
                       "to":[{"group":"","kind":"Secret","name":"a"}]}"#;
        let mut grants = Grants::default();
        grants.add("certs", &serde_json::from_str(spec).unwrap());
        assert!(grants.permit(Referrer::Gateway, "edge", &secret("certs", "a")));
        assert!(!grants.permit(Referrer::Gateway, "edge", &secret("certs", "b")), "another name");
        assert!(
            !grants.permit(Referrer::Route(RouteKind::Http), "edge", &secret("certs", "a")),
            "another kind of referrer"
        );
        assert!(!grants.permit(Referrer::Gateway, "other", &secret("certs", "a")), "another namespace");
        assert!(!grants.permit(Referrer::Gateway, "edge", &secret("more", "a")), "a grant counts where it lives");
        assert!(grants.permit(Referrer::Gateway, "more", &secret("more", "a")), "no grant is needed at home");
    }

    #[test]
    fn without_a_name_all_of_the_kind_are_granted() {
        let spec = r#"{"from":[{"group":"gateway.networking.k8s.io","kind":"HTTPRoute","namespace":"web"}],
                       "to":[{"group":"","kind":"Service"}]}"#;
        let mut grants = Grants::default();
        grants.add("apps", &serde_json::from_str(spec).unwrap());
        assert!(grants.permit(Referrer::Route(RouteKind::Http), "web", &ObjectKey::new("", "Service", "apps", "any")));
        assert!(!grants.permit(Referrer::Route(RouteKind::Http), "web", &secret("apps", "any")));
    }
}
