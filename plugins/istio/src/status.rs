//! `.status` of Gateways and VirtualServices, in the shape of Istio's `IstioStatus`.
//!
//! One condition, `Reconciled`: whether all that the object says is served. Its message names what is not, and why.

use std::collections::HashMap;
use std::rc::Rc;

use sekisho_sdk::model::{Action, Cluster, Destination, Listener, Locator, Protocol, Route, Source};
use sekisho_sdk::objects::Metadata;
use sekisho_sdk::{Finding, ListenerState, Object, ObjectKey, Outcome, Severity, SourceState, Status};
use serde::Deserialize;
use serde_json::json;

use crate::analysis;
use crate::destinations::Destinations;
use crate::gateway::Gateway;
use crate::listeners::Listeners;
use crate::routes::Routes;
use crate::streams::Streams;
use crate::virtual_service::VirtualServices;

/// What one translation leaves behind for its reports.
#[derive(Debug)]
pub(crate) struct Reports {
    subjects: Vec<Subject>,
    listeners: Vec<ListenerFacts>,
    /// The first candidate of each source.
    sources: Vec<String>,
}

/// The parts of the translation that its objects came to.
pub(crate) struct Served<'s> {
    pub(crate) listeners: &'s Listeners,
    pub(crate) routes: &'s Routes,
    pub(crate) streams: &'s Streams,
    pub(crate) destinations: &'s Destinations,
}

/// An object that has a status.
#[derive(Debug)]
struct Subject {
    key: ObjectKey,
    generation: i64,
    findings: Vec<Finding>,
    listeners: Vec<usize>,
    routes: Vec<(u32, String)>,
    clusters: Vec<(u32, String)>,
}

#[derive(Debug)]
struct ListenerFacts {
    name: String,
    binding: usize,
    sources: Vec<u32>,
}

/// The findings about each object.
type Said<'f> = HashMap<(&'f str, &'f str, &'f str), Vec<&'f Finding>>;

/// A reason in one word, and a sentence.
type Problem = (&'static str, String);

impl Reports {
    /// `objects` are those of the dialect as they were given, so that unreadable ones are reported too.
    pub(crate) fn new(
        gateways: &[Gateway],
        services: &VirtualServices,
        served: &Served<'_>,
        objects: &[&[Object]],
        findings: &[Finding],
    ) -> Self {
        let Served { listeners, routes, streams, destinations } = served;
        let clusters = &destinations.clusters;
        let mut said = Said::new();
        for finding in findings {
            said.entry(id(&finding.origin.object)).or_default().push(finding);
        }
        let mut subjects: Vec<Subject> =
            gateways.iter().map(|gateway| Subject::new(&gateway.key, gateway.generation, &said)).collect();
        for (listener, servers) in listeners.servers.iter().enumerate() {
            for server in servers {
                let of = &mut subjects[server.gateway].listeners;
                if of.last() != Some(&listener) {
                    of.push(listener);
                }
            }
        }
        // What came of a delegate's rules is told of it too.
        let mut of_delegates: HashMap<_, Vec<u32>> =
            services.delegates.iter().map(|(key, _)| (id(key), Vec::new())).collect();
        for ((service, indices), streamed) in services.bound.iter().zip(&routes.of).zip(&streams.of) {
            let mut subject = Subject::new(&service.key, service.generation, &said);
            for index in indices {
                subject.add(*index, routes, clusters);
                if let Some(delegated) = of_delegates.get_mut(&id(&routes.routes[*index as usize].origin.object)) {
                    delegated.push(*index);
                }
            }
            for index in streamed {
                let targets = streams.routes[*index as usize].targets.iter();
                let used = targets.filter_map(|target| target.cluster);
                subject.clusters.extend(used.map(|index| (index, clusters[index as usize].name.clone())));
            }
            subjects.push(subject.finish());
        }
        for (key, generation) in &services.delegates {
            let mut subject = Subject::new(key, *generation, &said);
            for index in of_delegates.get(&id(key)).into_iter().flatten() {
                subject.add(*index, routes, clusters);
            }
            subjects.push(subject.finish());
        }
        let unread = |object: &&Object| {
            let said = said.get(&id(&object.key)).map_or(&[][..], Vec::as_slice);
            said.iter().any(|finding| finding.code == "invalid-object")
        };
        let objects = objects.iter().flat_map(|list| list.iter());
        subjects.extend(objects.filter(unread).map(|object| Subject::new(&object.key, generation(object), &said)));
        Self {
            subjects,
            listeners: listeners.listeners.iter().map(ListenerFacts::new).collect(),
            sources: destinations.sources.list().iter().map(source_name).collect(),
        }
    }

    /// The statuses, given what became of the translation.
    pub(crate) fn render(&self, outcome: &Outcome) -> Vec<Status> {
        let refused = |list: &[(u32, String)]| list.iter().cloned().collect::<HashMap<u32, String>>();
        let refused = (refused(&outcome.refused_routes), refused(&outcome.refused_clusters));
        self.subjects.iter().map(|subject| self.status(subject, outcome, &refused)).collect()
    }

    fn status(
        &self,
        subject: &Subject,
        outcome: &Outcome,
        (routes, clusters): &(HashMap<u32, String>, HashMap<u32, String>),
    ) -> Status {
        let errors = subject.findings.iter().filter(|finding| finding.severity == Severity::Error);
        let mut problems: Vec<Problem> =
            errors.map(|error| ("Invalid", format!("{}: {}", error.origin.field, error.message))).collect();
        let mut notes = Vec::new();
        for listener in &subject.listeners {
            problems.extend(self.listener_problem(*listener, outcome));
            notes.extend(self.listener_notes(*listener, outcome));
        }
        for (index, name) in &subject.routes {
            problems.extend(routes.get(index).map(|why| ("Refused", format!("route {name}: {why}"))));
        }
        for (index, name) in &subject.clusters {
            problems.extend(clusters.get(index).map(|why| ("Refused", format!("cluster {name}: {why}"))));
        }
        if !outcome.live {
            problems.push(("Pending", "it is not served by every worker yet".to_owned()));
        }
        let reason = problems.first().map_or("Served", |(reason, _)| *reason);
        let status = if problems.is_empty() { "True" } else { "False" };
        let sentences: Vec<String> = problems.into_iter().map(|(_, sentence)| sentence).chain(notes).collect();
        let message = if sentences.is_empty() { "all of it is served".to_owned() } else { sentences.join("; ") };
        let rendered = json!({
            "conditions": [{ "type": "Reconciled", "status": status, "reason": reason, "message": message }],
            "observedGeneration": subject.generation,
            "validationMessages": subject.findings.iter().map(analysis::message).collect::<Vec<_>>(),
        });
        Status::new(&subject.key, &rendered)
    }

    fn listener_problem(&self, listener: usize, outcome: &Outcome) -> Option<Problem> {
        let ListenerFacts { name, binding, .. } = self.listeners.get(listener)?;
        Some(match outcome.listeners.get(listener)? {
            ListenerState::Serving => {
                let why = outcome.bindings.get(*binding)?.as_ref().err()?;
                ("Unbound", format!("listener {name} has no address: {why}"))
            }
            ListenerState::Conflict(other) => {
                let other = format!("{} {}/{}", other.kind, other.namespace, other.name);
                ("Conflict", format!("listener {name}: {other} has its place"))
            }
            ListenerState::Unbound(why) => ("Unbound", format!("listener {name} is not bound: {why}")),
            ListenerState::NoCredential => {
                let why: Vec<String> = self.sources_of(listener, outcome).filter_map(unusable).collect();
                let why = if why.is_empty() { "its TLS settings have an error".to_owned() } else { why.join(", ") };
                ("NoCredential", format!("listener {name} has no credential: {why}"))
            }
            ListenerState::Unsupported(why) => ("Unsupported", format!("listener {name}: {why}")),
        })
    }

    /// What serves, but not as the operator may think.
    fn listener_notes(&self, listener: usize, outcome: &Outcome) -> Vec<String> {
        let stale = self.sources_of(listener, outcome).filter_map(|(name, state)| match state {
            SourceState::Stale(why) => Some(format!("the last good content of {name} is served: {why}")),
            _ => None,
        });
        stale.collect()
    }

    fn sources_of<'r>(
        &'r self,
        listener: usize,
        outcome: &'r Outcome,
    ) -> impl Iterator<Item = (&'r str, &'r SourceState)> {
        let sources = self.listeners.get(listener).map_or(&[][..], |facts| facts.sources.as_slice());
        sources.iter().filter_map(|index| {
            let index = *index as usize;
            Some((self.sources.get(index)?.as_str(), outcome.sources.get(index)?))
        })
    }
}

impl Subject {
    fn new(key: &ObjectKey, generation: i64, said: &Said<'_>) -> Self {
        Self {
            key: key.clone(),
            generation,
            findings: said.get(&id(key)).map_or_else(Vec::new, |said| said.iter().copied().cloned().collect()),
            listeners: Vec::new(),
            routes: Vec::new(),
            clusters: Vec::new(),
        }
    }

    fn add(&mut self, index: u32, routes: &Routes, clusters: &[Rc<Cluster>]) {
        let route = &routes.routes[index as usize];
        self.routes.push((index, route.name.clone()));
        self.clusters.extend(used_clusters(route).map(|index| (index, clusters[index as usize].name.clone())));
    }

    fn finish(mut self) -> Self {
        self.clusters.sort();
        self.clusters.dedup();
        self
    }
}

/// Of an object that could not be read otherwise.
fn generation(object: &Object) -> i64 {
    #[derive(Deserialize)]
    struct Bare {
        metadata: Metadata,
    }
    let bare: Option<Bare> = serde_json::from_slice(&object.json).ok();
    bare.map_or(0, |bare| bare.metadata.generation)
}

impl ListenerFacts {
    fn new(listener: &Listener) -> Self {
        let sources = match &listener.protocol {
            Protocol::Https(tls) | Protocol::Tls(tls) => {
                let trust = tls.client.iter().flat_map(|client| &client.trust);
                tls.credentials.iter().chain(trust).copied().collect()
            }
            _ => Vec::new(),
        };
        Self { name: listener.name.clone(), binding: listener.binding as usize, sources }
    }
}

fn id(key: &ObjectKey) -> (&str, &str, &str) {
    (&key.kind, &key.namespace, &key.name)
}

fn used_clusters(route: &Route) -> impl Iterator<Item = u32> {
    let forward = match &route.action {
        Action::Forward(forward) => Some(forward),
        _ => None,
    };
    let targets = forward.into_iter().flat_map(|forward| &forward.targets).filter_map(|target| match target.to {
        Destination::Cluster(cluster) => Some(cluster),
        Destination::Respond(_) => None,
    });
    targets.chain(forward.into_iter().flat_map(|forward| &forward.mirrors).map(|mirror| mirror.cluster))
}

fn unusable((name, state): (&str, &SourceState)) -> Option<String> {
    match state {
        SourceState::Ready | SourceState::Stale(_) => None,
        SourceState::Unusable(why) => Some(format!("{name}: {why}")),
        SourceState::Missing(keys) => {
            let names: Vec<_> = keys.iter().map(object_name).collect();
            let names = if names.is_empty() { name.to_owned() } else { names.join(" and ") };
            Some(format!("{names} not found"))
        }
    }
}

fn source_name(source: &Source) -> String {
    match source.candidates.last() {
        Some(Locator::Object(key)) => object_name(key),
        Some(Locator::Files(files)) => {
            let paths: Vec<&str> = files.iter().map(|(_, path)| path.as_str()).collect();
            paths.join(" and ")
        }
        Some(Locator::SystemRoots) | None => "the system's authorities".to_owned(),
    }
}

fn object_name(key: &ObjectKey) -> String {
    format!("{} {}/{}", key.kind, key.namespace, key.name)
}
