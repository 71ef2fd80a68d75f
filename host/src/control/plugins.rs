//! The plugins as the bootstrap file lists them, each with the last code and the last translation that were good.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::Builder;

use super::board::{LoadedCode, PluginCard, PluginKind};
use crate::bootstrap::{self, PluginCode};
use crate::finding::{Finding, Severity, Subject};
use crate::model::Translation;
use crate::object::{Object, ObjectKey};
use crate::plugin::{
    self, Engine, Environment, Failure, Head, LoadError, Outcome, Router, RoutesPlugin, SecretsPlugin, Status,
    TranslateError, Translator,
};
use crate::snapshot::Snapshot;
use crate::source::directory::Stamp;

/// A plugin's code as it was last read.
#[derive(Debug)]
pub(super) struct Code<P> {
    pub(super) config: bootstrap::Plugin,
    stamp: Option<Stamp>,
    read: bool,
    pub(super) plugin: Option<Arc<P>>,
    finding: Option<Finding>,
}

impl<P> Code<P> {
    pub(super) fn new(config: bootstrap::Plugin) -> Self {
        Self { config, stamp: None, read: false, plugin: None, finding: None }
    }

    /// The same under another configuration: the file is read again, and what was good stays until that is.
    pub(super) fn configured(mut self, config: &bootstrap::Plugin) -> Self {
        if self.config != *config {
            self.config = config.clone();
            self.read = false;
        }
        self
    }

    fn stamp_now(&self) -> Option<Stamp> {
        match &self.config.code {
            PluginCode::Builtin(_) => None,
            PluginCode::File(path) => Stamp::of(path),
        }
    }

    /// Whether its file is another than the one that was last read.
    pub(super) fn has_changed(&self) -> bool {
        !self.read || self.stamp != self.stamp_now()
    }

    /// Reads the file if it is another; a file that is no good leaves the plugin that was. Whether there is a new one.
    pub(super) fn refresh(
        &mut self,
        most_bytes: u64,
        load: impl FnOnce(&bootstrap::Plugin, &[u8], String) -> Result<P, LoadError>,
    ) -> bool {
        if !self.has_changed() {
            return false;
        }
        self.stamp = self.stamp_now();
        self.read = true;
        let started = std::time::Instant::now();
        let loaded =
            plugin::read_code(&self.config, most_bytes).and_then(|(bytes, sha256)| load(&self.config, &bytes, sha256));
        match loaded {
            Ok(plugin) => {
                let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(plugin = self.config.name.as_str(), took_ms, "plugin loaded");
                self.plugin = Some(Arc::new(plugin));
                self.finding = None;
                true
            }
            Err(error) => {
                let kept = if self.plugin.is_some() { "; the one that was loaded before stays" } else { "" };
                let message = format!("not loaded: {error}{kept}");
                let subject = Subject::Plugin(self.config.name.clone());
                self.finding = Some(
                    Finding::new(Severity::Error, subject, "plugin-not-loaded", message)
                        .remedy("correct the file, or its path in the bootstrap file"),
                );
                false
            }
        }
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.finding.clone().into_iter()
    }
}

impl<P> Code<P> {
    fn card(&self, kind: PluginKind, loaded: Option<LoadedCode>, problem: Option<&Finding>) -> PluginCard {
        let path = match &self.config.code {
            PluginCode::Builtin(name) => format!("builtin:{name}"),
            PluginCode::File(path) => path.display().to_string(),
        };
        let problem = self.finding.as_ref().or(problem).map(|finding| finding.message.clone());
        PluginCard { name: self.config.name.clone(), kind, path, loaded, problem }
    }
}

/// What the admin endpoint tells of a secrets plugin.
pub(super) fn secrets_card(code: &Code<SecretsPlugin>) -> PluginCard {
    let loaded = code.plugin.as_ref().map(|plugin| LoadedCode {
        sha256: plugin.sha256.clone(),
        interface: plugin.interface.clone(),
        dialect: None,
        calls: Arc::clone(&plugin.calls),
    });
    code.card(PluginKind::Secrets, loaded, None)
}

/// A route plugin with its last good translation.
#[derive(Debug)]
pub(super) struct Dialect {
    pub(super) code: Code<RoutesPlugin>,
    /// What was last translated, whatever came of it.
    inputs: Option<Arc<Inputs>>,
    pub(super) good: Option<Good>,
    findings: Vec<Finding>,
    /// What it last said of its objects.
    said: HashMap<ObjectKey, Status>,
}

/// What a translation depends on.
#[derive(Debug)]
struct Inputs {
    plugin: Arc<RoutesPlugin>,
    environment: Environment,
    objects: Vec<Object>,
}

/// A translation, and everything that goes with it.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) translation: Translation,
    /// Tells this table from every other.
    pub(super) table: u64,
    /// Instances that have loaded it, until workers take them.
    pub(super) routers: Vec<Router>,
    inputs: Arc<Inputs>,
    /// The instance that made it, unless another translation was tried with it.
    translator: Option<Translator>,
    /// Why nothing is reported of it any more.
    pub(super) unreported: Option<Finding>,
}

impl Dialect {
    pub(super) fn new(config: bootstrap::Plugin) -> Self {
        Self { code: Code::new(config), inputs: None, good: None, findings: Vec::new(), said: HashMap::new() }
    }

    /// The same under another configuration; see [`Code::configured`].
    pub(super) fn configured(mut self, config: &bootstrap::Plugin) -> Self {
        self.code = self.code.configured(config);
        self
    }

    /// Reads the plugin's file if it is another.
    pub(super) fn load(&mut self, engine: &Engine, most_bytes: u64) {
        self.code.refresh(most_bytes, |config, bytes, sha256| {
            RoutesPlugin::load(engine, &config.name, bytes, sha256, config.limits.clone())
        });
    }

    /// Translates anew if plugin or objects changed; whatever fails leaves the last good translation.
    pub(super) fn translate(
        &mut self,
        gateway: &bootstrap::Gateway,
        snapshot: &Snapshot,
        routers: usize,
        next_table: &mut u64,
    ) {
        let Some(plugin) = self.code.plugin.clone() else { return };
        let (objects, mut findings) = objects_for(&plugin, snapshot);
        let environment = Environment { gateway: gateway.clone(), config: self.code.config.config.clone() };
        let inputs = Inputs { plugin, environment, objects };
        if self.inputs.as_ref().is_some_and(|before| before.are(&inputs)) {
            return;
        }
        let inputs = Arc::new(inputs);
        let of_plugin = |good: &&mut Good| Arc::ptr_eq(&good.inputs.plugin, &inputs.plugin);
        let translator = self.good.as_mut().filter(of_plugin).and_then(|good| good.translator.take());
        match inputs.translate(translator, routers) {
            Ok((translation, translator, routers)) => {
                *next_table += 1;
                findings.extend(translation.findings.iter().cloned());
                self.good = Some(Good {
                    translation,
                    table: *next_table,
                    routers,
                    inputs: Arc::clone(&inputs),
                    translator: Some(translator),
                    unreported: None,
                });
            }
            Err(error) => {
                let kept = if self.good.is_some() { "; its last good translation stays in force" } else { "" };
                let subject = Subject::Plugin(inputs.plugin.name.to_string());
                findings.push(
                    Finding::new(Severity::Error, subject, "translation-failed", format!("{error}{kept}"))
                        .remedy("undo the last change of its objects, or of the plugin"),
                );
                if let TranslateError::Refused(said) = error {
                    findings.extend(said);
                }
            }
        }
        self.findings = findings;
        self.inputs = Some(inputs);
    }

    /// The statuses of its objects; none when a report failed, until the next translation.
    pub(super) fn report(&mut self, outcome: &Outcome) -> Result<Option<Vec<Status>>, Failure> {
        let Some(good) = self.good.as_mut().filter(|good| good.unreported.is_none()) else { return Ok(None) };
        let statuses = good.report(outcome, &self.said)?;
        self.said = statuses.iter().map(|status| (status.object.clone(), status.clone())).collect();
        Ok(Some(statuses))
    }

    /// What the admin endpoint tells of it.
    pub(super) fn card(&self) -> PluginCard {
        let loaded = self.code.plugin.as_ref().map(|plugin| LoadedCode {
            sha256: plugin.sha256.clone(),
            interface: plugin.interface.clone(),
            dialect: Some(plugin.dialect.clone()),
            calls: Arc::clone(&plugin.calls),
        });
        let of_plugin = |finding: &&Finding| matches!(finding.subject, Subject::Plugin(_));
        self.code.card(PluginKind::Routes, loaded, self.findings.iter().find(of_plugin))
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        let unreported = self.good.as_ref().and_then(|good| good.unreported.clone());
        self.code.findings().chain(self.findings.iter().cloned()).chain(unreported)
    }
}

impl Inputs {
    fn are(&self, others: &Self) -> bool {
        Arc::ptr_eq(&self.plugin, &others.plugin)
            && self.environment == others.environment
            && self.objects == others.objects
    }

    /// Translates, with an instance that may remember the translation before. Only what loads is good.
    fn translate(
        &self,
        translator: Option<Translator>,
        routers: usize,
    ) -> Result<(Translation, Translator, Vec<Router>), TranslateError> {
        let (translation, translator) = match translator {
            Some(mut translator) => match translator.translate(&self.environment, &self.objects) {
                // That it remembers may be why: memory is bounded.
                Err(TranslateError::Failed(failure)) if !failure.overran => self.translate_afresh()?,
                translated => (translated?, translator),
            },
            None => self.translate_afresh()?,
        };
        let routers = self.routers(routers, &translation.table)?;
        Ok((translation, translator, routers))
    }

    /// So many instances that have loaded a table, all at the same time: on a machine of many workers one after the other
    /// would take as long as translating.
    fn routers(&self, number: usize, table: &[u8]) -> Result<Vec<Router>, Failure> {
        let one = || instance(&self.plugin, table);
        std::thread::scope(|scope| {
            let begin = |_| Builder::new().name("router".to_owned()).spawn_scoped(scope, one);
            let others: Vec<_> = (1..number).map(begin).collect();
            let first = (number > 0).then(one);
            let others = others.into_iter().map(|other| match other {
                Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // There is no thread to be had.
                Err(_) => one(),
            });
            first.into_iter().chain(others).collect()
        })
    }

    fn translate_afresh(&self) -> Result<(Translation, Translator), TranslateError> {
        let mut translator = self.plugin.translator()?;
        let translation = translator.translate(&self.environment, &self.objects)?;
        Ok((translation, translator))
    }
}

impl Good {
    pub(super) fn new_router(&self) -> Result<Router, Failure> {
        instance(&self.inputs.plugin, &self.translation.table)
    }

    fn report(&mut self, outcome: &Outcome, said: &HashMap<ObjectKey, Status>) -> Result<Vec<Status>, Failure> {
        let reported = self.translator().and_then(|translator| translator.report(outcome, said));
        reported.inspect_err(|failure| {
            self.translator = None;
            let subject = Subject::Plugin(failure.plugin.to_string());
            let message = format!("{failure}; what it translated is served, but its objects have no statuses");
            let finding = Finding::new(Severity::Error, subject, "report-failed", message);
            self.unreported = Some(finding.remedy("replace the plugin"));
        })
    }

    /// The instance that made the translation. Where another translation was tried with it in vain, one that makes the same
    /// once more takes its place.
    fn translator(&mut self) -> Result<&mut Translator, Failure> {
        let translator = match self.translator.take() {
            Some(translator) => translator,
            None => self.inputs.translate_afresh().map(|(_, translator)| translator).map_err(|error| match error {
                TranslateError::Failed(failure) => failure,
                error => Failure::because(&self.inputs.plugin.name, "translate", error.to_string()),
            })?,
        };
        Ok(self.translator.insert(translator))
    }
}

/// The first call of an instance touches its memory for the first time; let that be here.
fn instance(plugin: &RoutesPlugin, table: &[u8]) -> Result<Router, Failure> {
    let mut router = plugin.router(table)?;
    router.route(Head { listener: 0, host: "warm-up.invalid", path: "/", inputs: &[] })?;
    Ok(router)
}

/// The objects that a plugin reads, in the versions that it knows.
fn objects_for(plugin: &RoutesPlugin, snapshot: &Snapshot) -> (Vec<Object>, Vec<Finding>) {
    let mut objects = Vec::new();
    let mut findings = Vec::new();
    for (group, kind, versions) in &plugin.reads {
        for object in snapshot.of_kind(group, kind) {
            if versions.contains(&object.version) {
                objects.push(object.clone());
            } else {
                let message = format!("plugin {} does not know version {} of this kind", plugin.name, object.version);
                findings.push(
                    Finding::on(Severity::Error, &object.key, "apiVersion", "unknown-version", message)
                        .remedy(format!("use {}", versions.join(" or "))),
                );
            }
        }
    }
    (objects, findings)
}

/// Reads a secret plugin's file if it is another.
pub(super) fn refresh_secrets(code: &mut Code<SecretsPlugin>, engine: &Engine, most_bytes: u64) -> bool {
    code.refresh(most_bytes, |config, bytes, sha256| {
        SecretsPlugin::load(engine, &config.name, bytes, sha256, config.limits.clone())
    })
}
