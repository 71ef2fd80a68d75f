//! What all Ingresses come to together: hosts with their paths, and certificates. They are added from the oldest to the
//! youngest, so that whoever comes first has what is claimed twice.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{
    Address, Binding, Listener, Locator, Misdirected, Protocol, Role, Route, Source, Termination, Translation,
    WhenDeleted,
};
use sekisho_sdk::objects::finding;
use sekisho_sdk::table::{self, ListenerRules, OnMiss, Rule, VirtualHost};
use sekisho_sdk::{Finding, ObjectKey, Origin, Severity};

use crate::backends::Backends;
use crate::count;
use crate::objects::{Backend, IngressSpec, Tls};
use crate::paths::Path;

/// What the Ingresses so far come to.
pub(crate) struct Site {
    /// By their names as text.
    hosts: BTreeMap<String, Host>,
    backends: Backends,
    routes: Vec<Route>,
    sources: Vec<Source>,
    findings: Vec<Finding>,
}

struct Host {
    name: HostName,
    /// Who has rules for it first.
    ruled: Option<Origin>,
    /// Routes, by paths in the order in which these are tried.
    paths: BTreeMap<Path, u32>,
    /// Who has a certificate for it first, and its source.
    certified: Option<(Origin, u32)>,
}

impl Site {
    pub(crate) fn new(backends: Backends, findings: Vec<Finding>) -> Self {
        Self { hosts: BTreeMap::new(), backends, routes: Vec::new(), sources: Vec::new(), findings }
    }

    pub(crate) fn add(&mut self, ingress: &ObjectKey, spec: &IngressSpec) {
        if spec.rules.is_empty() && spec.default_backend.is_none() {
            let message = "an Ingress needs rules or a default backend";
            self.refuse("missing-field", &ingress.at("spec.rules"), message, "add one of them");
        }
        for (index, rule) in spec.rules.iter().enumerate() {
            let field = format!("spec.rules[{index}]");
            let Some(name) = self.read_host(&rule.host, &ingress.at(format!("{field}.host"))) else { continue };
            // Without paths it is the default backend's.
            self.host(&name).ruled.get_or_insert_with(|| ingress.at(&field));
            for (index, written) in rule.http.paths.iter().enumerate() {
                let field = format!("{field}.http.paths[{index}]");
                let backend_at = ingress.at(format!("{field}.backend"));
                match Path::read(written) {
                    Ok(path) => self.add_route(&name, path, ingress.at(field), &written.backend, &backend_at),
                    Err(wrong) => {
                        let origin = ingress.at(format!("{field}.path"));
                        self.refuse("invalid-path", &origin, wrong, "give a path such as `/shop`");
                    }
                }
            }
        }
        if let Some(backend) = &spec.default_backend {
            let origin = ingress.at("spec.defaultBackend");
            self.host(&HostName::Any).ruled.get_or_insert_with(|| origin.clone());
            self.add_route(&HostName::Any, Path::of_default_backend(), origin.clone(), backend, &origin);
        }
        for (index, tls) in spec.tls.iter().enumerate() {
            self.add_certificate(tls, ingress, &format!("spec.tls[{index}]"));
        }
    }

    /// A route for a path of a host, unless an older one has it.
    fn add_route(&mut self, host: &HostName, path: Path, origin: Origin, backend: &Backend, backend_at: &Origin) {
        if let Some(older) = self.host(host).paths.get(&path).copied() {
            let message = format!("`{host}{path}` is taken by {}", told(&self.routes[older as usize].origin));
            return self.refuse("duplicate-path", &origin, message, "remove it from one of the two");
        }
        let index = count(&self.routes);
        let name = format!("{}/{}/{host}{path}", origin.object.namespace, origin.object.name);
        let action = self.backends.action(backend, backend_at, &mut self.findings);
        self.routes.push(Route::new(name, origin, action));
        self.host(host).paths.insert(path, index);
    }

    /// A certificate for hosts, unless an older one is theirs.
    fn add_certificate(&mut self, tls: &Tls, ingress: &ObjectKey, field: &str) {
        let origin = ingress.at(format!("{field}.secretName"));
        let secret = ObjectKey::new("", "Secret", &ingress.namespace, &tls.secret_name);
        let mut candidates = vec![Locator::Object(secret)];
        if tls.secret_name.is_empty() {
            // Nothing can fill a source without candidates: the hosts stay claimed, and refuse their clients.
            candidates.clear();
            self.refuse("missing-credential", &origin, "there is no certificate for these hosts", "name a TLS secret");
        }
        let source = count(&self.sources);
        self.sources.push(Source { origin, role: Role::Credential, candidates, when_deleted: WhenDeleted::Refuse });
        let every_host = [String::new()];
        let hosts = if tls.hosts.is_empty() { &every_host } else { tls.hosts.as_slice() };
        for (index, host) in hosts.iter().enumerate() {
            let origin = ingress.at(format!("{field}.hosts[{index}]"));
            let Some(name) = self.read_host(host, &origin) else { continue };
            let (first, older) = self.host(&name).certified.get_or_insert_with(|| (origin.clone(), source)).clone();
            if self.sources[older as usize].candidates != self.sources[source as usize].candidates {
                let message = format!("`{name}` has another certificate by {}", told(&first));
                self.refuse("duplicate-certificate", &origin, message, "name one secret for the host");
            }
        }
    }

    /// What is known of a host so far.
    fn host(&mut self, name: &HostName) -> &mut Host {
        let new = || Host { name: name.clone(), ruled: None, paths: BTreeMap::new(), certified: None };
        self.hosts.entry(name.to_string()).or_insert_with(new)
    }

    /// A host as it is written; empty is every host.
    fn read_host(&mut self, text: &str, origin: &Origin) -> Option<HostName> {
        let wrong = match HostName::parse(text) {
            _ if text.is_empty() => return Some(HostName::Any),
            _ if text.parse::<IpAddr>().is_ok() => "it is an address".to_owned(),
            Ok(HostName::Any) => "every host is said by leaving it out".to_owned(),
            // A wildcard of an Ingress stands for one label.
            Ok(HostName::Subdomains(suffix)) => return Some(HostName::OneLabel(suffix)),
            Ok(name) => return Some(name),
            Err(wrong) => wrong,
        };
        let message = format!("`{text}` is not a host: {wrong}");
        self.refuse("invalid-host", origin, message, "write a name such as `a.example.com` or `*.example.com`");
        None
    }

    fn refuse(&mut self, code: &str, at: &Origin, message: impl Into<String>, remedy: &str) {
        self.findings.push(finding(Severity::Error, code, &at.object, &at.field, message).remedy(remedy));
    }

    /// Listeners on port 80 for every host that has rules, on port 443 for every host that has a certificate.
    pub(crate) fn finish(self) -> Translation {
        let mut listeners = Vec::new();
        let mut rules = Vec::new();
        for Host { name, ruled, certified, .. } in self.hosts.values() {
            let http = ruled.as_ref().map(|origin| (80, Protocol::Http, origin));
            let https = certified.as_ref().map(|(origin, source)| {
                let termination = Termination::http(vec![*source]);
                (443, Protocol::Https(termination), origin)
            });
            for (port, protocol, origin) in [http, https].into_iter().flatten() {
                let hosts = vec![name.to_pattern()];
                let listener = Listener::new(format!("{name}:{port}"), origin.clone(), port, protocol, hosts);
                // "The SNI host is used for termination and value of the Host header is used for routing", as far as
                // the certificate shown covers both.
                listeners.push(Listener { misdirected: Misdirected::Follow, ..listener });
                rules.push(self.rules(name));
            }
        }
        let first = listeners.first().map(|first: &Listener| first.origin.clone());
        Translation {
            bindings: first.into_iter().map(|origin| Binding { origin, address: Address::Shared }).collect(),
            listeners,
            sources: self.sources,
            clusters: self.backends.clusters,
            routes: self.routes,
            streams: Vec::new(),
            findings: self.findings,
            table: table::encode(&rules),
        }
    }

    /// The rules that requests to a listener can meet. Those whose path is none of their host's go on to the wildcard
    /// that covers it, then to what is said for every host.
    fn rules(&self, listener: &HostName) -> ListenerRules {
        let met: Vec<&Host> = match listener {
            // Looked up by name, as there may be very many hosts.
            HostName::Exact(name) => {
                let wildcard = name.split_once('.').map(|(_, suffix)| format!("*.{suffix}")).unwrap_or_default();
                [name, &wildcard, "*"].into_iter().filter_map(|name| self.hosts.get(name)).collect()
            }
            _ => {
                let meets = |host: &&Host| host.name.covers(listener) || listener.covers(&host.name);
                self.hosts.values().filter(meets).collect()
            }
        };
        let virtual_hosts = met.into_iter().map(|host| {
            let rule = |(path, route): (&Path, &u32)| Rule { route: *route, path: path.rule(), conditions: Vec::new() };
            let rules = host.paths.iter().map(rule).collect();
            VirtualHost { name: host.name.to_string(), host: host.name.clone(), rules }
        });
        ListenerRules { on_miss: OnMiss::Widen, virtual_hosts: virtual_hosts.collect(), ..ListenerRules::default() }
    }
}

fn told(origin: &Origin) -> String {
    format!("{} of {}/{}", origin.field, origin.object.namespace, origin.object.name)
}
