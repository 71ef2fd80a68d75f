//! Route plugins: translating on the control side, routing on the workers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use super::bindings::request::exports::sekisho::gateway::router as request;
use super::bindings::routes::exports::sekisho::gateway::translator;
use super::bindings::routes::sekisho::gateway::types;
use super::bindings::{request as request_world, routes as world};
use super::store::{self, HostState, PluginLog};
use super::{Calls, Engine, Failure, LoadError, convert, load};
use crate::bootstrap::{Gateway, PluginLimits};
use crate::finding::Finding;
use crate::model::Translation;
use crate::object::{Object, ObjectKey};
use crate::printable::{self, printable};

/// What `route` may hand over, in bytes (decision 16).
const ROUTE_BYTES: usize = 4 << 10;
/// What `describe` may hand over, in bytes.
const DESCRIPTION_BYTES: usize = 256 << 10;
/// What `translate`, `report` and `explain` may hand over, in bytes (decision 16).
const TRANSLATION_BYTES: usize = 64 << 20;

/// A compiled route plugin.
pub struct RoutesPlugin {
    /// Its bootstrap name.
    pub name: Arc<str>,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Its own word for its dialect.
    pub dialect: String,
    /// Group, kind and versions of the objects it is given.
    pub reads: Vec<(String, String, Vec<String>)>,
    /// Version of the WIT package that it was built against.
    pub interface: String,
    /// What is counted of its calls off the request path.
    pub calls: Arc<Calls>,
    engine: Engine,
    pre: InstancePre<HostState>,
    log: Arc<PluginLog>,
    limits: PluginLimits,
}

/// What a dialect is told about this gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    /// From the bootstrap file.
    pub gateway: Gateway,
    /// The plugin's own `config` there.
    pub config: Value,
}

impl Environment {
    /// What this gateway can do that not every one can.
    #[must_use]
    pub fn capabilities(&self) -> Vec<String> {
        let pool = (!self.gateway.pool.is_empty()).then_some(ADDRESS_POOL);
        let infrastructure = self.gateway.services.then_some(INFRASTRUCTURE);
        pool.into_iter().chain(infrastructure).map(str::to_owned).collect()
    }
}

/// An instance that makes translations, and renders the statuses of the objects of its last one. What it remembers of one
/// makes the next faster.
pub struct Translator {
    plugin: Arc<str>,
    calls: Arc<Calls>,
    budget: Duration,
    store: Store<HostState>,
    guest: translator::Guest,
    /// What it was given last, and what it said of it.
    given: Vec<Object>,
    known: convert::Known,
}

/// One worker's loaded instance.
pub struct Router {
    plugin: Arc<str>,
    budget: Duration,
    slow_budget: Duration,
    store: Store<HostState>,
    guest: request::Guest,
}

/// What a router is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Head<'r> {
    /// Index of the listener in the translation.
    pub listener: u32,
    /// Lower case, without port and trailing dot.
    pub host: &'r str,
    /// Normalised, without query.
    pub path: &'r str,
    /// As the listener lists them.
    pub inputs: &'r [Option<&'r [u8]>],
}

/// What a router is asked about a connection that is not read as requests.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionHead<'r> {
    /// Index of the listener in the translation.
    pub listener: u32,
    /// What a TLS client asked for, in lower case without trailing dot.
    pub sni: Option<&'r str>,
    /// The client's address.
    pub source: &'r str,
    /// The address that it connected to.
    pub destination: &'r str,
}

/// Why a router chose what it chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The route.
    pub chosen: Option<u32>,
    /// What its rule asks for.
    pub because: Option<String>,
    /// The virtual host.
    pub virtual_host: Option<String>,
    /// Routes passed over, and why.
    pub rejected: Vec<(u32, String)>,
}

/// What became of a translation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Every worker serves it.
    pub live: bool,
    /// Addresses in use, or why none, for each binding.
    pub bindings: Vec<Result<Vec<String>, String>>,
    /// For each listener.
    pub listeners: Vec<ListenerState>,
    /// For each source.
    pub sources: Vec<SourceState>,
    /// Routes the host refused.
    pub refused_routes: Vec<(u32, String)>,
    /// Clusters the host refused.
    pub refused_clusters: Vec<(u32, String)>,
}

/// What became of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerState {
    /// It serves.
    Serving,
    /// Another object has its place.
    Conflict(ObjectKey),
    /// Its socket cannot be bound.
    Unbound(String),
    /// It refuses for want of a credential.
    NoCredential,
    /// It refuses because this host cannot serve it.
    Unsupported(String),
}

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Usable.
    Ready,
    /// The last good content serves.
    Stale(String),
    /// None of these exists.
    Missing(Vec<ObjectKey>),
    /// It cannot be used.
    Unusable(String),
}

/// The capability of a gateway that has an address of its own for every `dedicated` binding.
const ADDRESS_POOL: &str = "address-pool";
/// The capability of one that keeps what `dedicated` bindings ask for.
const INFRASTRUCTURE: &str = "infrastructure";

/// The status of one object, as its API defines it.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Which object.
    pub object: ObjectKey,
    /// Its `.status`; the very same one as before, as long as the plugin says the same.
    pub status: Arc<Value>,
    /// As the plugin said it.
    said: Arc<str>,
}

impl RoutesPlugin {
    /// Compiles a plugin and asks what it is.
    ///
    /// # Errors
    /// When the bytes are not a route plugin for this host.
    pub fn load(
        engine: &Engine,
        name: &str,
        bytes: &[u8],
        sha256: String,
        limits: PluginLimits,
    ) -> Result<Self, LoadError> {
        let component = load::compile(engine, bytes, &["translator", "router"])?;
        let name: Arc<str> = name.into();
        let mut linker = Linker::<HostState>::new(&engine.inner);
        let pre = world::Routes::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)
            .and_then(|()| linker.instantiate_pre(&component))
            .map_err(|e| LoadError::NotCompilable(format!("{e:#}")))?;
        let log = PluginLog::new(Arc::clone(&name));
        let mut plugin = Self {
            name,
            sha256,
            dialect: String::new(),
            reads: Vec::new(),
            interface: load::interface(engine, &component),
            calls: Calls::new(),
            engine: engine.clone(),
            pre,
            log,
            limits,
        };
        let (mut store, routes) = plugin.instantiate("describe", DESCRIPTION_BYTES)?;
        let description = routes
            .sekisho_gateway_translator()
            .call_describe(&mut store)
            .map_err(|e| Failure::new(&plugin.name, "describe", &e))?;
        plugin.dialect = printable(description.dialect, printable::NAME);
        for kind in description.reads {
            if matches!((&*kind.group, &*kind.kind), ("", "Secret") | ("discovery.k8s.io", "EndpointSlice")) {
                return Err(LoadError::ForbiddenKind(kind.kind));
            }
            // Each object once, however often a plugin asks.
            if plugin.reads.iter().any(|(group, name, _)| *group == kind.group && *name == kind.kind) {
                return Err(LoadError::KindTwice(kind.kind));
            }
            plugin.reads.push((kind.group, kind.kind, kind.versions));
        }
        Ok(plugin)
    }

    fn instantiate(&self, call: &'static str, most_bytes: usize) -> Result<(Store<HostState>, world::Routes), Failure> {
        let mut store = store::new(&self.engine, &self.log, self.limits.memory);
        store::arm(&mut store, self.limits.translate, most_bytes);
        let instance = self
            .pre
            .instantiate(&mut store)
            .and_then(|instance| world::Routes::new(&mut store, &instance))
            .map_err(|e| Failure::new(&self.name, call, &e))?;
        Ok((store, instance))
    }

    /// An instance that has translated nothing yet.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn translator(&self) -> Result<Translator, Failure> {
        let (store, routes) = self.instantiate("translate", TRANSLATION_BYTES)?;
        let (plugin, calls) = (Arc::clone(&self.name), Arc::clone(&self.calls));
        let guest = routes.sekisho_gateway_translator().clone();
        let (given, known) = (Vec::new(), convert::Known::default());
        Ok(Translator { plugin, calls, budget: self.limits.translate, store, guest, given, known })
    }

    /// An instance that has loaded a table.
    ///
    /// # Errors
    /// When the plugin fails or does not take its own table.
    pub fn router(&self, table: &[u8]) -> Result<Router, Failure> {
        self.calls.count("load", || self.new_router(table))
    }

    fn new_router(&self, table: &[u8]) -> Result<Router, Failure> {
        let mut store = store::new(&self.engine, &self.log, self.limits.memory);
        store::arm(&mut store, self.limits.translate, TRANSLATION_BYTES);
        let failure = |e: &wasmtime::Error| Failure::new(&self.name, "load", e);
        let instance = self
            .pre
            .instantiate(&mut store)
            .and_then(|instance| request_world::Request::new(&mut store, &instance))
            .map_err(|e| failure(&e))?;
        let guest = instance.sekisho_gateway_router().clone();
        match guest.call_load(&mut store, table).map_err(|e| failure(&e))? {
            Ok(()) => Ok(Router {
                plugin: Arc::clone(&self.name),
                budget: self.limits.route,
                slow_budget: self.limits.translate,
                store,
                guest,
            }),
            Err(cause) => Err(Failure::because(&self.name, "load", cause)),
        }
    }
}

impl std::fmt::Debug for RoutesPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RoutesPlugin").field("name", &self.name).field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

/// Why there is no translation.
#[derive(Debug, thiserror::Error)]
pub enum TranslateError {
    /// The plugin trapped or ran too long.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The plugin says that nothing can be translated.
    #[error("the plugin refuses to translate")]
    Refused(Vec<Finding>),
    /// An index or a name in the translation cannot be.
    #[error("the plugin's translation is not valid: {0}")]
    Invalid(String),
}

impl Translator {
    /// What the objects mean. After a failure the instance must not be used again.
    ///
    /// # Errors
    /// [`TranslateError`] when the plugin fails, refuses, or gives what cannot be executed.
    pub fn translate(&mut self, environment: &Environment, objects: &[Object]) -> Result<Translation, TranslateError> {
        store::arm(&mut self.store, self.budget, TRANSLATION_BYTES);
        let gateway = &environment.gateway;
        let environment = translator::Environment {
            namespace: gateway.namespace.clone(),
            labels: gateway.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            class_name: gateway.class_name.clone(),
            controller_name: gateway.controller_name.clone(),
            capabilities: environment.capabilities(),
            config: environment.config.to_string(),
        };
        let before: HashMap<_, u32> = self.given.iter().map(Object::identity).zip(0..).collect();
        let given: Vec<translator::Given> = objects
            .iter()
            .map(|object| match before.get(&object.identity()) {
                Some(index) => translator::Given::Same(*index),
                None => translator::Given::New(translator::Object {
                    key: convert::key_out(&object.key),
                    version: object.version.clone(),
                    json: object.json.to_vec(),
                }),
            })
            .collect();
        self.given = objects.to_vec();
        let translated = self.calls.count("translate", || {
            let translated = self.guest.call_translate(&mut self.store, &environment, &given);
            translated.map_err(|e| Failure::new(&self.plugin, "translate", &e))
        })?;
        let said = translated
            .map_err(|findings| TranslateError::Refused(findings.into_iter().map(convert::finding).collect()))?;
        let (translation, known) = convert::translation(said, &self.known).map_err(TranslateError::Invalid)?;
        self.known = known;
        Ok(translation)
    }

    /// The statuses of the objects that it last translated; of those that it `said` before, only what is another is taken apart.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn report(&mut self, outcome: &Outcome, said: &HashMap<ObjectKey, Status>) -> Result<Vec<Status>, Failure> {
        store::arm(&mut self.store, self.budget, TRANSLATION_BYTES);
        let outcome = convert::outcome(outcome);
        let statuses = self.calls.count("report", || {
            let reported = self.guest.call_report(&mut self.store, &outcome);
            reported.map_err(|e| Failure::new(&self.plugin, "report", &e))
        })?;
        statuses
            .into_iter()
            .map(|status| {
                let object = convert::key(status.object);
                if let Some(before) = said.get(&object).filter(|before| *before.said == *status.json) {
                    return Ok(before.clone());
                }
                let json = serde_json::from_str(&status.json)
                    .map_err(|e| Failure::because(&self.plugin, "report", format!("the status is not JSON: {e}")))?;
                Ok(Status { object, status: Arc::new(convert::status(json)), said: status.json.into() })
            })
            .collect()
    }
}

impl Router {
    /// Its plugin's bootstrap name.
    #[must_use]
    pub fn plugin(&self) -> &Arc<str> {
        &self.plugin
    }

    /// Linear memory of the instance, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.store.data().memory()
    }

    /// The route for a request; none is 404. After a failure the instance must not be used again.
    ///
    /// # Errors
    /// When the plugin traps or runs too long.
    pub fn route(&mut self, head: Head<'_>) -> Result<Option<u32>, Failure> {
        store::arm(&mut self.store, self.budget, ROUTE_BYTES);
        self.guest.call_route(&mut self.store, head.into()).map_err(|e| Failure::new(&self.plugin, "route", &e))
    }

    /// The stream route for a connection; none closes it. After a failure the instance must not be used again.
    ///
    /// # Errors
    /// When the plugin traps or runs too long.
    pub fn route_connection(&mut self, head: ConnectionHead<'_>) -> Result<Option<u32>, Failure> {
        store::arm(&mut self.store, self.budget, ROUTE_BYTES);
        self.guest
            .call_route_connection(&mut self.store, head.into())
            .map_err(|e| Failure::new(&self.plugin, "route-connection", &e))
    }

    /// The same walk as [`Router::route`], talking.
    ///
    /// # Errors
    /// When the plugin traps or runs too long.
    pub fn explain(&mut self, head: Head<'_>) -> Result<Explanation, Failure> {
        store::arm(&mut self.store, self.slow_budget, TRANSLATION_BYTES);
        let explanation = self
            .guest
            .call_explain(&mut self.store, head.into())
            .map_err(|e| Failure::new(&self.plugin, "explain", &e))?;
        let sentence = |said: String| printable(said, printable::SENTENCE);
        Ok(Explanation {
            chosen: explanation.chosen,
            because: explanation.because.map(sentence),
            virtual_host: explanation.virtual_host.map(|name| printable(name, printable::NAME)),
            rejected: explanation.rejected.into_iter().map(|other| (other.route, sentence(other.because))).collect(),
        })
    }
}

impl<'r> From<Head<'r>> for request::RequestHead<'r> {
    fn from(head: Head<'r>) -> Self {
        Self { listener: head.listener, host: head.host, path: head.path, inputs: head.inputs }
    }
}

impl<'r> From<ConnectionHead<'r>> for request::ConnectionHead<'r> {
    fn from(head: ConnectionHead<'r>) -> Self {
        Self { listener: head.listener, sni: head.sni, source: head.source, destination: head.destination }
    }
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Translator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Translator").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl types::Host for HostState {}
impl super::bindings::routes::sekisho::gateway::model::Host for HostState {}
