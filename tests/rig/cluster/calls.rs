//! Requests of some sort: to be counted, forbidden, or answered badly.

use super::journal::Request;

/// Some of the requests to a cluster, in the terms of its access control.
#[derive(Clone, Debug)]
#[must_use]
pub struct Calls {
    verbs: Vec<String>,
    resource: String,
    names: Vec<String>,
    namespace: Option<String>,
    user: Option<String>,
}

impl Calls {
    /// By verbs, such as `get list watch`, and a resource: `secrets`, `gateways.networking.istio.io` where the name alone is
    /// of several groups, `httproutes/status`. Either may be `*`.
    pub fn of(verbs: &str, resource: &str) -> Self {
        let verbs = verbs.split_whitespace().map(str::to_owned).collect();
        Self { verbs, resource: resource.to_owned(), names: Vec::new(), namespace: None, user: None }
    }

    /// Those alone that are about one of these names. A list or a watch is, when a field selector says so.
    pub fn named(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(ToString::to_string).collect();
        self
    }

    /// Those alone that are about this namespace, which one that is about all namespaces is not.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Those alone that are by this user.
    pub fn by(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Whether a request is one of them.
    #[must_use]
    pub fn include(&self, request: &Request) -> bool {
        self.verbs.iter().any(|verb| verb == "*" || *verb == request.verb)
            && self.includes_resource(&request.resource)
            && (self.names.is_empty() || self.names.contains(&request.name))
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == request.namespace)
            && self.user.as_ref().is_none_or(|user| *user == request.user)
    }

    /// `httproutes.gateway.networking.k8s.io/status` is also called `httproutes/status`.
    fn includes_resource(&self, resource: &str) -> bool {
        let (whole, part) = resource.split_once('/').unwrap_or((resource, ""));
        let (wanted, wanted_part) = self.resource.split_once('/').unwrap_or((&self.resource, ""));
        let plural = whole.split('.').next().unwrap_or_default();
        wanted == "*" || (part == wanted_part && (wanted == whole || wanted == plural))
    }
}
