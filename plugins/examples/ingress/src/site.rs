//! What all Ingresses come to together: hosts with their paths, backends and certificates. They are added from the
//! oldest to the youngest, so that whoever comes first has what is claimed twice.

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{
    Action, Address, Binding, Cluster, Listener, Misdirected, Protocol, Role, Route, Source, Translation,
};
use sekisho_sdk::table::{self, OnMiss};
use sekisho_sdk::{Clusters, Finding, Hosts, ObjectKey, Origin, Services, push};

use crate::objects::{Backend, IngressSpec, Rule, Tls};
use crate::paths::Path;

/// What the Ingresses so far come to.
#[derive(Default)]
pub(crate) struct Site {
    services: Services,
    clusters: Clusters,
    hosts: Hosts<Path>,
    /// Routes, sources and findings.
    translation: Translation,
}

impl Site {
    pub(crate) fn new(services: Services, findings: Vec<Finding>) -> Self {
        Self { services, translation: Translation { findings, ..Translation::default() }, ..Self::default() }
    }

    pub(crate) fn add(&mut self, ingress: &ObjectKey, spec: &IngressSpec) {
        if spec.rules.is_empty() && spec.default_backend.is_none() {
            let message = "an Ingress needs rules or a default backend";
            self.refuse(ingress.at("spec.rules").error("missing-field", message, "add one of them"));
        }
        for (at, rule) in ingress.at("spec.rules").items(&spec.rules) {
            self.add_rule(rule, &at);
        }
        if let Some(backend) = &spec.default_backend {
            let at = ingress.at("spec.defaultBackend");
            _ = self.hosts.listen(&HostName::Any, 80, Protocol::Http, &at);
            self.add_route(&HostName::Any, Path::of_default_backend(), &at, backend, &at);
        }
        for (at, tls) in ingress.at("spec.tls").items(&spec.tls) {
            self.add_certificate(tls, &at);
        }
    }

    fn add_rule(&mut self, rule: &Rule, at: &Origin) {
        let Some(host) = self.read_host(&rule.host, &at.below("host")) else { return };
        // Without paths it is the default backend's.
        _ = self.hosts.listen(&host, 80, Protocol::Http, at);
        for (at, written) in at.below("http.paths").items(&rule.http.paths) {
            match Path::read(written) {
                Ok(path) => self.add_route(&host, path, &at, &written.backend, &at.below("backend")),
                Err(wrong) => self.refuse(at.below("path").error("invalid-path", wrong, "give a path such as `/shop`")),
            }
        }
    }

    /// A route for a path of a host, unless an older one has it. Without a backend it answers 503 by itself.
    fn add_route(&mut self, host: &HostName, path: Path, at: &Origin, backend: &Backend, backend_at: &Origin) {
        if let Some(older) = self.hosts.rule(host, &path) {
            let message =
                format!("`{host}{path}` is taken by {}", self.translation.routes[older.route as usize].origin);
            return self.refuse(at.error("duplicate-path", message, "remove it from one of the two"));
        }
        let action = match self.cluster(backend, backend_at) {
            Some(cluster) => Action::forward_to(self.clusters.add(cluster)),
            None => Action::respond(503),
        };
        let name = format!("{}/{}/{host}{path}", at.object.namespace, at.object.name);
        let route = push(&mut self.translation.routes, Route::new(name, at.clone(), action));
        self.hosts.add(host, table::Rule::new(route, path.rule()), path);
    }

    /// One cluster for each port of a Service that is used. Its endpoints are the host's to follow.
    fn cluster(&mut self, backend: &Backend, at: &Origin) -> Option<Cluster> {
        let mut refuse = |code, field, message: &str, remedy| {
            let message = format!("{message}: it answers 503");
            self.translation.findings.push(at.below(field).error(code, message, remedy));
            None
        };
        let (Some(backend), None) = (&backend.service, &backend.resource) else {
            return refuse("invalid-backend", "resource", "only Services are backends here", "name a Service");
        };
        let namespace = &at.object.namespace;
        let Some(service) = self.services.find(namespace, &backend.name) else {
            let message = format!("there is no Service `{}` in namespace `{namespace}`", backend.name);
            return refuse("backend-not-found", "service.name", &message, "create it, or correct the name");
        };
        let Some(port) = service.tcp_port(&backend.port) else {
            let message = format!("Service `{}` has no such TCP port", backend.name);
            return refuse("backend-not-found", "service.port", &message, "give the name or number of one that it has");
        };
        Some(Cluster::of_service(&ObjectKey::new("", "Service", namespace, &backend.name), port.port))
    }

    /// A certificate for hosts, unless an older one is theirs.
    fn add_certificate(&mut self, tls: &Tls, at: &Origin) {
        let secret_at = at.below("secretName");
        let mut candidates = vec![ObjectKey::new("", "Secret", &at.object.namespace, &tls.secret_name)];
        if tls.secret_name.is_empty() {
            // Nothing can fill a source without candidates: the hosts stay claimed, and refuse their clients.
            candidates.clear();
            let message = "there is no certificate for these hosts";
            self.refuse(secret_at.error("missing-credential", message, "name a TLS secret"));
        }
        let source = push(&mut self.translation.sources, Source::new(secret_at, Role::Credential, candidates));
        let every_host = [String::new()];
        let hosts = if tls.hosts.is_empty() { &every_host } else { tls.hosts.as_slice() };
        for (at, host) in at.below("hosts").items(hosts) {
            let Some(host) = self.read_host(host, &at) else { continue };
            let first = self.hosts.listen(&host, 443, Protocol::https(vec![source]), &at);
            let secrets = |source: u32| &self.translation.sources[source as usize].candidates;
            if first.protocol.credentials().iter().any(|older| secrets(*older) != secrets(source)) {
                let message = format!("`{host}` has another certificate by {}", first.origin);
                self.refuse(at.error("duplicate-certificate", message, "name one secret for the host"));
            }
        }
    }

    /// A host as it is written; empty is every host.
    fn read_host(&mut self, text: &str, at: &Origin) -> Option<HostName> {
        if text.is_empty() {
            return Some(HostName::Any);
        }
        let host = HostName::parse_one_label(text).map_err(|wrong| {
            let message = format!("`{text}` is not a host: {wrong}");
            self.refuse(at.error("invalid-host", message, "write a name such as `a.example.com` or `*.example.com`"));
        });
        host.ok()
    }

    fn refuse(&mut self, found: Finding) {
        self.translation.findings.push(found);
    }

    /// Port 80 for every host that has rules, port 443 for every host that has a certificate, on the gateway's addresses.
    pub(crate) fn finish(self) -> Translation {
        // "The SNI host is used for termination and value of the Host header is used for routing", as far as the
        // certificate shown covers both. Requests whose path is none of their host's go on to the wildcard that covers
        // it, then to what is said for every host.
        let (listeners, rules) = self.hosts.finish(Misdirected::Follow, OnMiss::Widen);
        let first = listeners.first().map(|first: &Listener| first.origin.clone());
        Translation {
            bindings: first
                .into_iter()
                .map(|origin| Binding { origin, address: Address::Shared, infrastructure: None })
                .collect(),
            listeners,
            clusters: self.clusters.into_list(),
            table: table::encode(&rules),
            ..self.translation
        }
    }
}
