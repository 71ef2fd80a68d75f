//! BackendTLSPolicies: to which ports of Services TLS is spoken, and who must answer there.
//!
//! A port that a policy is about is never spoken to in the clear or unverified. A policy that cannot be followed counts
//! all the same: its authorities are a source that no secret can fill, and requests to its ports are answered with 503.

mod targets;

use std::collections::{HashMap, HashSet};

use sekisho_sdk::model::{Locator, Role, Source, UpstreamIdentity, UpstreamTls, WhenDeleted};
use sekisho_sdk::{Finding, Object, ObjectKey, ServicePort, Services, push};
use serde_json::Value;

use self::targets::Target;
use crate::finding::{Fault, Findings, Problem};
use crate::hostname;
use crate::listeners::tls;
use crate::objects::backend_tls_policy::{BackendTlsPolicy, BackendTlsPolicySpec, SubjectAltName, Validation};
use crate::objects::gateway::AuthorityRef;
use crate::precedence::Seniority;

const INVALID: &str = "Invalid";

/// All policies, oldest first.
pub(crate) struct Policies {
    pub(crate) list: Vec<Policy>,
    /// By namespace and name of the Service.
    of_service: HashMap<String, HashMap<String, OfService>>,
}

/// The policies about one Service, each list oldest first.
#[derive(Default)]
struct OfService {
    whole: Vec<usize>,
    ports: HashMap<String, Vec<usize>>,
    /// For ports that it does not have.
    nowhere: Vec<usize>,
}

/// One policy.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) key: ObjectKey,
    pub(crate) generation: i64,
    seniority: Seniority,
    targets: Vec<Target>,
    /// Why it cannot be followed.
    pub(crate) invalid: Option<Problem>,
    /// Which older policy has a target of its.
    pub(crate) conflict: Option<Problem>,
    /// References to authorities that lead nowhere, as far as can be seen without them.
    pub(crate) unresolved: Vec<Problem>,
    /// Who vouches for the backends. At least one, though perhaps one that can never be had.
    pub(crate) trust: Vec<Source>,
    sni: Option<String>,
    identity: UpstreamIdentity,
}

/// A port of a Service.
#[derive(Clone, Copy)]
pub(crate) struct Port<'p> {
    namespace: &'p str,
    service: &'p str,
    name: Option<&'p str>,
}

impl<'p> Port<'p> {
    pub(crate) fn of(namespace: &'p str, service: &'p str, spec: &'p ServicePort) -> Self {
        Self { namespace, service, name: spec.name.as_deref().filter(|name| !name.is_empty()) }
    }
}

impl Policies {
    pub(crate) fn read(objects: &[Object], services: &Services, list: &mut Vec<Finding>) -> Self {
        let mut policies: Vec<_> = objects.iter().filter_map(|object| Policy::read(object, services, list)).collect();
        policies.sort_by(|a, b| a.seniority.cmp(&b.seniority));
        let mut of_service: HashMap<String, HashMap<String, OfService>> = HashMap::new();
        for (index, policy) in policies.iter().enumerate() {
            for Target { service, port, missing, .. } in &policy.targets {
                let of = of_service.entry(policy.key.namespace.clone()).or_default();
                let of = of.entry(service.clone()).or_default();
                let among = match port {
                    _ if missing.is_some() => &mut of.nowhere,
                    None => &mut of.whole,
                    Some(port) => of.ports.entry(port.clone()).or_default(),
                };
                among.push(index);
            }
        }
        conflicts(&mut policies, list);
        Self { list: policies, of_service }
    }

    /// The policies that are about a port, the one that is followed first: one for the port goes before one for the
    /// whole Service, and an older before a younger one. Those for ports that the Service does not have come last.
    pub(crate) fn about(&self, port: Port<'_>) -> Vec<usize> {
        let Some(of) = self.of_service.get(port.namespace).and_then(|of| of.get(port.service)) else {
            return Vec::new();
        };
        let of_port = port.name.and_then(|name| of.ports.get(name));
        let mut told = HashSet::new();
        let all = of_port.into_iter().flatten().chain(&of.whole).chain(&of.nowhere).copied();
        all.filter(|index| told.insert(*index)).collect()
    }

    /// Whether the first of [`Policies::about`] is one to follow.
    pub(crate) fn follows(&self, policy: usize, port: Port<'_>) -> bool {
        self.list[policy].targets.iter().any(|target| target.is_about(port))
    }

    /// Puts the authorities of a policy among the sources, and says where they are.
    pub(crate) fn emit(&self, policy: usize, sources: &mut Vec<Source>) -> Vec<u32> {
        self.list[policy].trust.iter().map(|source| push(sources, source.clone())).collect()
    }

    /// How the ports of a policy are spoken to, whose authorities are there among the sources.
    pub(crate) fn tls(&self, policy: usize, trust: Vec<u32>) -> UpstreamTls {
        let Policy { sni, identity, .. } = &self.list[policy];
        UpstreamTls { sni: sni.clone(), trust, identity: identity.clone(), credential: None }
    }
}

/// Marks the policies that have a target of an older one, and says so once for each Service.
fn conflicts(policies: &mut [Policy], list: &mut Vec<Finding>) {
    let mut oldest = HashMap::new();
    let mut lost = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let mut told = HashSet::new();
        for target in policy.targets.iter().filter(|target| target.missing.is_none()) {
            let place = (&policy.key.namespace, &target.service, &target.port);
            let owner = *oldest.entry(place).or_insert(index);
            if owner != index && told.insert(&target.service) {
                lost.push((index, owner, target.clone()));
            }
        }
    }
    for (younger, older, Target { service, port, index, .. }) in lost {
        let what = port.map_or_else(String::new, |port| format!("port `{port}` of "));
        let message =
            format!("{what}Service `{service}` belongs to the older policy {}", policies[older].seniority.name);
        let field = format!("spec.targetRefs[{index}]");
        let fault = Fault::new("conflicting-policy", field, message, "remove one of the two");
        let policy = &mut policies[younger];
        let problem = Findings::about(&policy.key, list).refuse(fault.because("Conflicted"));
        policy.conflict.get_or_insert(problem);
    }
}

impl Policy {
    fn read(object: &Object, services: &Services, list: &mut Vec<Finding>) -> Option<Self> {
        let Some(written) = sekisho_sdk::objects::read(object, list) else {
            return Self::unreadable(object, services, list);
        };
        let BackendTlsPolicy { metadata, spec } = &*written;
        let mut findings = Findings::about(&object.key, list);
        let (targets, invalid) = targets::read(&spec.target_refs, &object.key, services, &mut findings);
        let mut reader = Reader { key: &object.key, findings, invalid, unresolved: Vec::new() };
        reader.check_options(spec);
        let (sni, identity) = reader.identity(&spec.validation);
        let trust = reader.trust(&spec.validation);
        let Reader { invalid, unresolved, .. } = reader;
        let trust = trust.into_iter().filter(|_| invalid.is_none()).collect();
        Some(Self {
            key: object.key.clone(),
            generation: metadata.generation,
            seniority: Seniority::new(metadata.creation_timestamp.clone(), &object.key.namespace, &object.key.name),
            targets,
            invalid,
            conflict: None,
            unresolved,
            trust: trusting(trust, &object.key),
            sni,
            identity,
        })
    }

    /// What cannot be read still says which ports must not be spoken to in the clear.
    fn unreadable(object: &Object, services: &Services, list: &mut Vec<Finding>) -> Option<Self> {
        let policy: Value = serde_json::from_slice(&object.json).ok()?;
        let key = object.key.clone();
        let (targets, _) = targets::read(&targets::peek(&policy), &key, services, &mut Findings::about(&key, list));
        let created = policy["metadata"]["creationTimestamp"].as_str().map(str::to_owned);
        Some(Self {
            targets,
            generation: policy["metadata"]["generation"].as_i64().unwrap_or_default(),
            seniority: Seniority::new(created, &key.namespace, &key.name),
            invalid: Some(Problem::new(INVALID, "the policy cannot be read")),
            conflict: None,
            unresolved: Vec::new(),
            trust: trusting(Vec::new(), &key),
            sni: None,
            identity: UpstreamIdentity::Unchecked,
            key,
        })
    }

    /// Why it is about nothing that is there, if so.
    pub(crate) fn missing(&self) -> Option<&Problem> {
        let missing: Vec<_> = self.targets.iter().filter_map(|target| target.missing.as_ref()).collect();
        missing.first().copied().filter(|_| missing.len() == self.targets.len())
    }
}

/// These sources; where there is none, one that nothing can fill, so that nobody is trusted.
fn trusting(sources: Vec<Source>, policy: &ObjectKey) -> Vec<Source> {
    if sources.is_empty() { vec![Source::new(policy.at("spec.validation"), Role::Trust, Vec::new())] } else { sources }
}

/// Reads what a policy demands; the first thing wrong is why it cannot be followed.
struct Reader<'r, 'f> {
    key: &'r ObjectKey,
    findings: Findings<'f>,
    invalid: Option<Problem>,
    unresolved: Vec<Problem>,
}

impl Reader<'_, '_> {
    fn refuse(&mut self, code: &'static str, field: &str, message: impl Into<String>, remedy: &str) {
        let fault = Fault::new(code, format!("spec.{field}"), message, remedy).because(INVALID);
        let problem = self.findings.refuse(fault);
        self.invalid.get_or_insert(problem);
    }

    fn check_options(&mut self, spec: &BackendTlsPolicySpec) {
        for key in spec.options.keys() {
            let field = format!("options[{key}]");
            if tls::is_ours(key) {
                self.refuse("unsupported-option", &field, "there is no such option", "remove it");
            } else {
                let message = "this option belongs to another implementation and has no effect here";
                self.findings.warn(Fault::new("unknown-option", format!("spec.{field}"), message, "remove it"));
            }
        }
    }

    /// The name that backends are asked for, and who they must be: that name, or any of the alternative ones.
    fn identity(&mut self, validation: &Validation) -> (Option<String>, UpstreamIdentity) {
        let hostname = hostname::parse_precise(&validation.hostname);
        let mut names = Vec::new();
        for (index, spec) in validation.subject_alt_names.iter().enumerate() {
            match alternative_name(spec) {
                Ok(name) => names.push(name),
                Err(why) => {
                    let field = format!("validation.subjectAltNames[{index}]");
                    self.refuse(
                        "invalid-subject-alt-name",
                        &field,
                        why,
                        "give a `hostname` or a `uri`, as `type` says",
                    );
                }
            }
        }
        match hostname {
            Ok(hostname) if names.is_empty() => (Some(hostname.clone()), UpstreamIdentity::Name(hostname)),
            Ok(hostname) => (Some(hostname), UpstreamIdentity::AnyOf(names)),
            Err(why) => {
                let remedy = "give the name in the certificate of the backend";
                self.refuse("invalid-hostname", "validation.hostname", why, remedy);
                (None, UpstreamIdentity::Unchecked)
            }
        }
    }

    fn trust(&mut self, validation: &Validation) -> Vec<Source> {
        let well_known = validation.well_known_ca_certificates.as_deref().filter(|name| !name.is_empty());
        let refs = &validation.ca_certificate_refs;
        match well_known {
            None if refs.is_empty() => {
                let message = "the policy does not say who vouches for the backend";
                self.refuse(
                    "missing-field",
                    "validation.caCertificateRefs",
                    message,
                    "name a ConfigMap with a key ca.crt",
                );
            }
            None => {}
            Some(_) if !refs.is_empty() => {
                let message = "authorities are named, and well-known ones too";
                self.refuse("unsupported-value", "validation.wellKnownCACertificates", message, "keep one of the two");
            }
            Some("System") => {
                let origin = self.key.at("spec.validation.wellKnownCACertificates");
                let candidates = vec![Locator::SystemRoots];
                return vec![Source { origin, role: Role::Trust, candidates, when_deleted: WhenDeleted::Refuse }];
            }
            Some(other) => {
                let message = format!("`{other}` is no set of authorities that is known here");
                self.refuse("unsupported-value", "validation.wellKnownCACertificates", message, "use System");
            }
        }
        let mut sources = Vec::new();
        for (index, reference) in refs.iter().enumerate() {
            let field = format!("spec.validation.caCertificateRefs[{index}]");
            match self.authority(reference, &field) {
                Ok(key) => sources.push(Source::new(self.key.at(&field), Role::Trust, vec![key])),
                Err(fault) => {
                    let problem = self.findings.refuse(fault);
                    self.unresolved.push(problem);
                    // Like one that is missing: it keeps the backend from being spoken to.
                    sources.push(Source::new(self.key.at(&field), Role::Trust, Vec::new()));
                }
            }
        }
        sources
    }

    fn authority(&self, reference: &AuthorityRef, field: &str) -> Result<ObjectKey, Fault> {
        let AuthorityRef { namespace, name, .. } = reference;
        if let Some(fault) = reference.kind_fault(field) {
            return Err(fault.because("InvalidKind"));
        }
        let fault = |message: &str, remedy: &str| {
            Fault::new("invalid-ca-certificate-ref", field, message, remedy).because("InvalidCACertificateRef")
        };
        if name.is_empty() {
            return Err(fault("the reference needs a name", "name a ConfigMap"));
        }
        if namespace.as_ref().is_some_and(|namespace| *namespace != self.key.namespace) {
            let message = "a policy takes authorities from its own namespace only";
            return Err(fault(message, "copy the ConfigMap into the policy's namespace"));
        }
        Ok(ObjectKey::new("", &reference.kind, &self.key.namespace, name))
    }
}

fn alternative_name(spec: &SubjectAltName) -> Result<String, String> {
    let said = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    match (spec.kind.as_str(), said(&spec.hostname), said(&spec.uri)) {
        ("Hostname", Some(name), None) => hostname::parse(&name).map(|_| name.to_ascii_lowercase()),
        ("URI", None, Some(uri)) if uri.split_once("://").is_some_and(|(scheme, _)| !scheme.is_empty()) => Ok(uri),
        ("URI", None, Some(uri)) => Err(format!("`{uri}` is no URI with a scheme")),
        ("Hostname", ..) => Err("a name of type Hostname needs `hostname`, and nothing else".to_owned()),
        ("URI", ..) => Err("a name of type URI needs `uri`, and nothing else".to_owned()),
        (other, ..) => Err(format!("`{other}` is no type of name that is known here")),
    }
}
