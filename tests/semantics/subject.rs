//! What a case is run against: a plugin in the sandbox, or the same code compiled natively. Both end in the host's own
//! model, so that everything after the plugin is the same.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use sekisho::bootstrap::{self, PluginCode, PluginLimits};
use sekisho::model::Translation;
use sekisho::object::{Object, ObjectKey};
use sekisho::plugin::{
    self, ConnectionHead, Engine, Head, Outcome, Router as Sandboxed, RoutesPlugin, TranslateError, Translator,
};
use sekisho_sdk::{RoutePlugin, Router};
use serde_json::Value;

pub(crate) trait Subject {
    /// Group, kind and versions that the plugin reads.
    fn reads(&self) -> Vec<(String, String, Vec<String>)>;
    fn translate(&mut self, environment: &plugin::Environment, objects: &[Object]) -> Result<Translation, String>;
    fn route(&mut self, head: Head<'_>) -> Option<u32>;
    fn route_connection(&mut self, head: ConnectionHead<'_>) -> Option<u32>;
    fn explain(&mut self, head: Head<'_>) -> Option<u32>;
    fn report(&mut self, outcome: &Outcome) -> Vec<(ObjectKey, Value)>;
}

/// A built-in plugin.
pub(crate) fn built_in(name: &str) -> bootstrap::Plugin {
    listed(name, PluginCode::Builtin(name.to_owned()))
}

/// A plugin that is not embedded, where `make plugins` puts it.
pub(crate) fn in_a_file(name: &str) -> bootstrap::Plugin {
    let file = Path::new(env!("SEKISHO_PLUGINS")).join(name).with_extension("wasm");
    listed(name, PluginCode::File(file))
}

/// As a bootstrap file lists a plugin that says nothing else of it.
fn listed(name: &str, code: PluginCode) -> bootstrap::Plugin {
    bootstrap::Plugin {
        name: name.to_owned(),
        code,
        sha256: None,
        config: Value::Null,
        limits: PluginLimits::default(),
    }
}

/// In wasmtime, with the limits that the gateway has.
pub(crate) struct InSandbox {
    plugin: RoutesPlugin,
    /// What translated everything so far.
    translator: Translator,
    router: Option<Sandboxed>,
}

impl InSandbox {
    pub(crate) fn new(engine: &Engine, plugin: bootstrap::Plugin) -> Self {
        let (bytes, sha256) = plugin::read_code(&plugin, u64::MAX).expect("a plugin; `make plugins` builds it");
        let plugin = RoutesPlugin::load(engine, &plugin.name, &bytes, sha256, plugin.limits).expect("one that loads");
        let translator = plugin.translator().expect("an instance");
        Self { plugin, translator, router: None }
    }

    fn router(&mut self) -> &mut Sandboxed {
        self.router.as_mut().expect("translated before")
    }

    /// What the instance says that translated everything so far, which is what a new one says.
    fn translate_again(
        &mut self,
        environment: &plugin::Environment,
        objects: &[Object],
    ) -> Result<Translation, TranslateError> {
        let mut new = self.plugin.translator().expect("an instance");
        let (afresh, again) = (new.translate(environment, objects), self.translator.translate(environment, objects));
        assert_eq!(format!("{again:?}"), format!("{afresh:?}"), "remembering makes a difference");
        if again.is_ok() {
            let report = |of: &mut Translator| of.report(&Outcome::default(), &HashMap::new());
            let (again, afresh) = (report(&mut self.translator), report(&mut new));
            assert_eq!(format!("{again:?}"), format!("{afresh:?}"), "remembering makes a difference for statuses");
        }
        again
    }
}

impl Subject for InSandbox {
    fn reads(&self) -> Vec<(String, String, Vec<String>)> {
        self.plugin.reads.clone()
    }

    fn translate(&mut self, environment: &plugin::Environment, objects: &[Object]) -> Result<Translation, String> {
        // What it remembers, of other cases and then of this one, must not show.
        let _ = self.translate_again(environment, objects);
        let translation = self.translate_again(environment, objects).map_err(|e| e.to_string())?;
        // Nor what it remembers of the others, whichever object goes or comes back.
        for left_out in 0..objects.len() {
            let others = [&objects[..left_out], &objects[left_out + 1..]].concat();
            let _ = self.translate_again(environment, &others);
        }
        let _ = self.translate_again(environment, objects);
        self.router = Some(self.plugin.router(&translation.table).map_err(|e| e.to_string())?);
        Ok(translation)
    }

    fn route(&mut self, head: Head<'_>) -> Option<u32> {
        self.router().route(head).expect("a router that does not trap")
    }

    fn route_connection(&mut self, head: ConnectionHead<'_>) -> Option<u32> {
        self.router().route_connection(head).expect("a router that does not trap")
    }

    fn explain(&mut self, head: Head<'_>) -> Option<u32> {
        self.router().explain(head).expect("a router that does not trap").chosen
    }

    fn report(&mut self, outcome: &Outcome) -> Vec<(ObjectKey, Value)> {
        let statuses = self.translator.report(outcome, &HashMap::new()).expect("a report that does not trap");
        statuses.into_iter().map(|status| (status.object, Value::clone(&status.status))).collect()
    }
}

/// The same code, compiled for this machine.
pub(crate) struct Native<P: RoutePlugin> {
    loaded: Option<(P, P::Router)>,
}

impl<P: RoutePlugin> Native<P> {
    pub(crate) fn new() -> Self {
        Self { loaded: None }
    }

    fn router(&self) -> &P::Router {
        &self.loaded.as_ref().expect("translated before").1
    }
}

impl<P: RoutePlugin> Subject for Native<P> {
    fn reads(&self) -> Vec<(String, String, Vec<String>)> {
        P::describe().reads.into_iter().map(|kind| (kind.group, kind.kind, kind.versions)).collect()
    }

    fn translate(&mut self, environment: &plugin::Environment, objects: &[Object]) -> Result<Translation, String> {
        let gateway = &environment.gateway;
        let environment = sekisho_sdk::Environment {
            namespace: gateway.namespace.clone(),
            labels: gateway.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            class_name: gateway.class_name.clone(),
            controller_name: gateway.controller_name.clone(),
            capabilities: environment.capabilities(),
            config: environment.config.to_string(),
        };
        let objects = objects.iter().map(object).collect();
        let (said, plugin) = P::translate(environment, objects).map_err(|findings| format!("{findings:?}"))?;
        let router = P::Router::load(&said.table)?;
        let translation =
            plugin::translation_from(serde_json::to_value(sekisho_sdk::records(said)).map_err(|e| e.to_string())?)?;
        self.loaded = Some((plugin, router));
        Ok(translation)
    }

    fn route(&mut self, head: Head<'_>) -> Option<u32> {
        self.router().route(&owned(head))
    }

    fn route_connection(&mut self, head: ConnectionHead<'_>) -> Option<u32> {
        let ConnectionHead { listener, sni, source, destination } = head;
        let (sni, source, destination) = (sni.map(str::to_owned), source.to_owned(), destination.to_owned());
        self.router().route_connection(&sekisho_sdk::ConnectionHead { listener, sni, source, destination })
    }

    fn explain(&mut self, head: Head<'_>) -> Option<u32> {
        self.router().explain(&owned(head)).chosen
    }

    fn report(&mut self, outcome: &Outcome) -> Vec<(ObjectKey, Value)> {
        let outcome = serde_json::from_value(plugin::outcome_as_data(outcome)).expect("the same record on both sides");
        let plugin = &self.loaded.as_ref().expect("translated before").0;
        plugin
            .report(&outcome)
            .into_iter()
            .map(|status| {
                let sekisho_sdk::ObjectKey { group, kind, namespace, name } = status.object;
                let value = serde_json::from_str(&status.json).expect("a status is JSON");
                (ObjectKey { group, kind, namespace, name }, value)
            })
            .collect()
    }
}

fn object(object: &Object) -> sekisho_sdk::Object {
    let key = &object.key;
    let key = sekisho_sdk::ObjectKey::new(&key.group, &key.kind, &key.namespace, &key.name);
    sekisho_sdk::Object::new(key, &object.version, object.json.to_vec())
}

fn owned(head: Head<'_>) -> sekisho_sdk::RequestHead {
    sekisho_sdk::RequestHead {
        listener: head.listener,
        host: head.host.to_owned(),
        path: head.path.to_owned(),
        inputs: head.inputs.iter().map(|input| input.map(<[u8]>::to_vec)).collect(),
    }
}

/// Keeps one engine, and with it one clock, for all cases.
pub(crate) fn engine() -> Arc<Engine> {
    static ENGINE: std::sync::OnceLock<Arc<Engine>> = std::sync::OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| Arc::new(Engine::new().expect("an engine"))))
}
