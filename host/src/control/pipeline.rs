//! From what is there to what is served: source, plugins and secrets in, a generation's parts and findings out. `run`
//! publishes what comes out, `check` only reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::assemble::{self, Claim, Placed};
use super::board::{PluginCard, SecretCard};
use super::clusters::{Clusters, members};
use super::dns::{Answer, Resolver};
use super::endpoints::EndpointIndex;
use super::fronts::{Bound, Fronts};
use super::lint;
use super::plugins::{Code, Dialect, refresh_secrets, secrets_card};
use super::pool::Pool;
use super::vault::{Material, Resolved, Use, Vault};
use crate::bootstrap::{Bootstrap, PluginCode};
use crate::finding::{Finding, Places, Severity, Subject};
use crate::generation::{Listener, Part, Socket, Traffic};
use crate::kubernetes::{self, Wants};
use crate::model::{self, Address, Endpoints, Locator, Origin, Role, TlsVersions, WhenDeleted};
use crate::object::{OWN_KINDS, ObjectKey, POD};
use crate::plugin::{Engine, Failure, ListenerState, Outcome, Router, SecretsPlugin, Status};
use crate::snapshot::Snapshot;
use crate::socket_name::SocketName;
use crate::source::{Source, directory::directory_of};
use crate::tls::{CredentialMaterial, Spec, TlsCache, TlsListener, TrustMaterial, Verification};
use crate::worker::Loaded;

/// The place of objects that the source added.
const IMPLIED: &str = "(implied)";

/// Everything that is kept from one generation to the next.
pub struct Pipeline {
    bootstrap: Bootstrap,
    engine: Engine,
    source: Source,
    pool: Pool,
    dialects: Vec<Dialect>,
    secrets: Vec<Code<SecretsPlugin>>,
    vault: Vault,
    tls: TlsCache,
    clusters: Clusters,
    resolver: Option<Resolver>,
    routers: usize,
    next_table: u64,
}

/// What comes out.
pub struct Build {
    /// By address, whether or not it can be bound.
    pub sockets: BTreeMap<SocketName, Arc<Socket>>,
    /// One for each route plugin.
    pub parts: Vec<Arc<Part>>,
    /// What became of each plugin's translation; `live` is not known yet.
    pub outcomes: Vec<Outcome>,
    /// What the operator should know.
    pub findings: Vec<Finding>,
    /// When to build again although nothing changed.
    pub wake: Option<Instant>,
    /// Where each object was read.
    pub places: Places,
    /// Every secret that a translation refers to.
    pub secrets: Vec<SecretCard>,
    placements: Vec<Placement>,
    fronts: Fronts,
}

/// Where one plugin's listeners are, until it is known which sockets can be bound.
struct Placement {
    listeners: Vec<(Arc<Listener>, Option<Placed>, usize)>,
    /// Of each binding, what clients use in the place of what it listens on.
    bindings: Vec<Option<Result<Vec<String>, String>>>,
}

impl Pipeline {
    /// A pipeline that has read nothing yet. So many `routers` are made of every new translation; without a resolver
    /// names of endpoints are not looked up. `hint` is called when the source has something new, if it can tell.
    ///
    /// # Errors
    /// When this machine cannot run the sandbox, or it is not known where the objects are.
    pub fn new(
        bootstrap: Bootstrap,
        routers: usize,
        resolver: Option<Resolver>,
        hint: impl Fn() + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            engine: Engine::new()?,
            source: Source::new(&bootstrap, hint)?,
            pool: Pool::default(),
            dialects: bootstrap.routes.iter().cloned().map(Dialect::new).collect(),
            secrets: bootstrap.secrets.iter().cloned().map(Code::new).collect(),
            vault: Vault::default(),
            tls: TlsCache::default(),
            clusters: Clusters::default(),
            resolver,
            routers,
            next_table: 0,
            bootstrap,
        })
    }

    /// The bootstrap file in force.
    #[must_use]
    pub fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }

    /// Takes another bootstrap file. Plugins that it lists as before keep what they have.
    pub fn reconfigure(&mut self, bootstrap: Bootstrap) {
        self.source.configure(&bootstrap);
        let mut dialects = std::mem::take(&mut self.dialects);
        self.dialects = bootstrap
            .routes
            .iter()
            .map(|config| match dialects.iter().position(|dialect| dialect.code.config.name == config.name) {
                Some(index) => dialects.swap_remove(index).configured(config),
                None => Dialect::new(config.clone()),
            })
            .collect();
        let mut secrets = std::mem::take(&mut self.secrets);
        self.secrets = bootstrap
            .secrets
            .iter()
            .map(|config| match secrets.iter().position(|code| code.config.name == config.name) {
                Some(index) => secrets.swap_remove(index).configured(config),
                None => Code::new(config.clone()),
            })
            .collect();
        self.vault.decode_again();
        self.bootstrap = bootstrap;
    }

    /// Whether a file, of objects or of a plugin, is another than the one that was last read.
    #[must_use]
    pub fn has_changed(&mut self) -> bool {
        self.source.has_changed()
            || self.dialects.iter().any(|dialect| dialect.code.has_changed())
            || self.secrets.iter().any(Code::has_changed)
            || self.vault.has_changed(&self.bootstrap.tls.files)
    }

    /// The directories of all files that it depends on, as far as they were seen by the last look.
    #[must_use]
    pub fn directories(&self) -> BTreeSet<PathBuf> {
        let codes = self.dialects.iter().map(|dialect| &dialect.code.config);
        let plugins =
            codes.chain(self.secrets.iter().map(|code| &code.config)).filter_map(|config| match &config.code {
                PluginCode::File(path) => Some(path.as_path()),
                PluginCode::Builtin(_) => None,
            });
        let files = plugins.chain(self.vault.files()).filter_map(directory_of);
        files.chain(self.source.directories()).collect()
    }

    /// Takes what a look-up gave; whether anything changed by it.
    pub fn resolved(&mut self, answer: Answer) -> bool {
        self.resolver.as_mut().is_some_and(|resolver| resolver.answered(answer, Instant::now()))
    }

    /// Takes answers until every name has one, or there is no more time: then none is one too. Whether anything changed.
    pub(super) fn await_names(&mut self, answers: &mpsc::Receiver<Answer>, patience: Duration) -> bool {
        let Some(resolver) = &mut self.resolver else { return false };
        let deadline = Instant::now() + patience;
        let waited = resolver.is_waiting();
        while resolver.is_waiting() {
            let now = Instant::now();
            match answers.recv_timeout(deadline.saturating_duration_since(now)) {
                Ok(answer) => drop(resolver.answered(answer, now)),
                Err(_) => resolver.give_up(&format!("there was no answer within {} s", patience.as_secs())),
            }
        }
        waited
    }

    /// When a name is to be looked up again.
    #[must_use]
    pub fn next_lookup(&self) -> Option<Instant> {
        self.resolver.as_ref().and_then(Resolver::next)
    }

    /// Whether the source called for attention since this was last asked.
    pub fn take_hint(&self) -> bool {
        self.source.take_hint()
    }

    /// Whether anything happened in the source since this was last asked, where it can tell.
    pub fn is_stirred(&self) -> bool {
        self.source.is_stirred()
    }

    /// Has the statuses of objects written where the objects are. When these are `all`, those of ours are taken back that
    /// other objects have. Before them, what is kept for objects.
    pub fn write_statuses<'s>(
        &self,
        statuses: impl Iterator<Item = &'s Status>,
        all: bool,
        fronts: kubernetes::Fronts,
    ) {
        self.source.report(statuses, all, fronts, &self.bootstrap.gateway.controller_name);
    }

    /// The end has begun: another replica takes over what only one does.
    pub fn retire(&self) {
        self.source.retire();
    }

    /// The first that can be built, for which what there is may have to be read first.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn build_first(&mut self, patience: Duration) -> anyhow::Result<Build> {
        loop {
            if let Some(build) = self.build(Instant::now()) {
                return Ok(build);
            }
            let known = self.source.wait(patience);
            anyhow::ensure!(known, "the Kubernetes API did not answer within {} s", patience.as_secs());
        }
    }

    /// Reads, translates, decodes and joins the newest good parts; none as long as it is not known what there is.
    pub fn build(&mut self, now: Instant) -> Option<Build> {
        let mut findings = Vec::new();
        self.load_plugins(&mut findings);
        self.source.want(self.wants());
        let snapshot = self.source.read()?;
        self.translate(&snapshot, &mut findings);
        let snapshot = self.source.complete(self.wants(), snapshot);
        findings.extend(snapshot.findings.iter().cloned());
        self.allot(&snapshot);
        self.vault.begin();
        self.tls.begin();
        let mut claims = Vec::new();
        let mut cards = Vec::new();
        let mut outcomes = Vec::new();
        let mut resolved = Vec::new();
        let default_tls = self.default_tls(&snapshot, now, &mut findings);
        let secrets: Vec<_> = self.secrets.iter().filter_map(|code| code.plugin.clone()).collect();
        for (plugin, dialect) in self.dialects.iter().enumerate() {
            let Some(good) = &dialect.good else {
                outcomes.push(Outcome::default());
                resolved.push(Vec::new());
                continue;
            };
            let translation = &good.translation;
            let allowed = &self.bootstrap.tls.files;
            let sources: Vec<Resolved> = translation
                .sources
                .iter()
                .zip(uses(translation))
                .map(|source| self.vault.resolve(source, &snapshot, &secrets, allowed, now, &mut findings))
                .collect();
            cards.extend(sources.iter().zip(&translation.sources).map(|(resolved, source)| resolved.card(source)));
            for (number, said) in (0_u32..).zip(&translation.listeners) {
                let name: Arc<str> = format!("{}/{}", dialect.code.config.name, said.name).into();
                let v1_clients = self.bootstrap.tls.v1_client_certificates;
                let tls = listener_tls(&mut self.tls, &name, said, &sources, v1_clients);
                if let Some(Err(why)) = tls.as_ref().map(|tls| &tls.config)
                    && said.refused.is_none()
                    && !lacks_secret(said, &sources)
                {
                    let (object, field) = (&said.origin.object, &said.origin.field);
                    let message = format!("the listener refuses its clients: {why}");
                    findings.push(
                        Finding::on(Severity::Error, object, field, "listener-without-tls", message)
                            .remedy("see what else is said of it and of its secrets"),
                    );
                }
                findings.extend(trust_findings(tls.as_deref(), said));
                findings.extend(lint::uncovered_hosts(said, &translation.sources, &sources));
                let listener = Arc::new(Listener {
                    name,
                    plugin,
                    number,
                    origin: said.origin.clone(),
                    port: said.port,
                    secrets: secrets_of(said, &translation.sources),
                    traffic: Traffic::from(&said.protocol),
                    hosts: said.hosts.clone(),
                    misdirected: said.misdirected,
                    inputs: said.inputs.clone(),
                    tls,
                    refused: said.refused.clone(),
                });
                let addresses = assemble::addresses(said, translation, &self.bootstrap, &self.pool);
                let age = assemble::age(said, &snapshot, plugin, number);
                claims.push(Claim { plugin, number, said, listener, addresses, age });
            }
            outcomes.push(Outcome {
                live: false,
                bindings: Vec::new(),
                listeners: Vec::new(),
                sources: sources.iter().map(|resolved| resolved.state.clone()).collect(),
                refused_routes: translation.refused_routes.clone(),
                refused_clusters: translation.refused_clusters.clone(),
            });
            resolved.push(sources);
        }
        let shared = assemble::published(&self.bootstrap.gateway.published, &snapshot);
        let published = |binding: &model::Binding| match binding.address {
            Address::Shared => shared.clone(),
            Address::Dedicated(_) | Address::Ip(_) | Address::Unix(_) => None,
        };
        let mut placements: Vec<Placement> = self
            .dialects
            .iter()
            .map(|dialect| Placement {
                listeners: Vec::new(),
                bindings: dialect.good.iter().flat_map(|good| &good.translation.bindings).map(published).collect(),
            })
            .collect();
        let mut placing: Vec<_> = claims
            .iter()
            .map(|claim| (claim.plugin, claim.number, Arc::clone(&claim.listener), claim.said.binding))
            .collect();
        placing.sort_by_key(|(plugin, number, _, _)| (*plugin, *number));
        let (sockets, mut placed) = assemble::place(claims, default_tls.as_ref(), &mut findings);
        for (plugin, number, listener, binding) in placing {
            placements[plugin].listeners.push((listener, placed.remove(&(plugin, number)), binding));
        }
        findings.extend(lint::readable_keys(self.vault.key_files()));
        let translations = self.dialects.iter().map(|dialect| dialect.good.as_ref().map(|good| &good.translation));
        let fronts = Fronts::wanted(translations, &self.bootstrap, &snapshot, &mut findings);
        let (parts, next_lookup) = self.parts(&snapshot, &resolved, now, &mut findings);
        self.tls.finish();
        let wake = [self.vault.finish(), next_lookup].into_iter().flatten().min();
        if sockets.is_empty() {
            findings.push(self.nothing_served());
        }
        findings.sort();
        findings.dedup();
        let from_files = matches!(self.source, Source::Files(_));
        let read = snapshot.objects.iter().filter(|object| from_files && &*object.place != IMPLIED);
        let places = read.map(|object| (object.key.clone(), Arc::clone(&object.place))).collect();
        let sockets = sockets.into_iter().map(|(address, socket)| (address, Arc::new(socket))).collect();
        Some(Build { sockets, parts, outcomes, findings, wake, places, secrets: cards, placements, fronts })
    }

    /// What is to be read where not everything is.
    fn wants(&self) -> Wants {
        let mut wants = Wants::default();
        for (group, kind) in [("", "Service"), ("", "Namespace"), ("discovery.k8s.io", "EndpointSlice")] {
            wants.kind(group, kind, &["v1".to_owned()]);
        }
        for (group, kind, versions) in
            self.dialects.iter().filter_map(|dialect| dialect.code.plugin.as_ref()).flat_map(|plugin| &plugin.reads)
        {
            wants.kind(group, kind, versions);
        }
        if let Some((namespace, name)) = &self.bootstrap.tls.default_credential {
            wants.object(&ObjectKey::core("Secret", namespace, name));
        }
        let translations =
            self.dialects.iter().filter_map(|dialect| dialect.good.as_ref()).map(|good| &good.translation);
        for translation in translations {
            for locator in translation.sources.iter().flat_map(|source| &source.candidates) {
                if let Locator::Object(key) = locator {
                    wants.object(key);
                }
            }
            for cluster in &translation.clusters {
                if let Endpoints::Service { namespace, name, labels, .. } = &cluster.endpoints {
                    wants.endpoints(namespace, name);
                    if !labels.is_empty() {
                        wants.pods(namespace);
                    }
                }
            }
        }
        wants
    }

    /// Gives addresses of the pool to those who want one of their own.
    fn allot(&mut self, snapshot: &Snapshot) {
        let translations =
            self.dialects.iter().filter_map(|dialect| dialect.good.as_ref()).map(|good| &good.translation);
        let bindings = translations.flat_map(|translation| &translation.bindings);
        self.pool.allot(&self.bootstrap.gateway.pool, bindings, snapshot);
    }

    /// Most often a slip in a selector or a class.
    fn nothing_served(&self) -> Finding {
        let gateway = &self.bootstrap.gateway;
        let labels: Vec<String> = gateway.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let message = format!(
            "nothing is served: no object is for this gateway, whose labels are {} and whose class is {}",
            labels.join(","),
            gateway.class_name
        );
        let path = self.bootstrap.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        // A cluster may have nothing to serve yet.
        let (severity, subject) = match self.source {
            Source::Files(_) => (Severity::Warning, Subject::File { path, at: None }),
            Source::Kubernetes(_) => (Severity::Info, Subject::Source("kubernetes")),
        };
        Finding::new(severity, subject, "nothing-served", message).remedy(
            "compare what objects choose a gateway by (`selector`, a class) with `gateway` in the bootstrap file",
        )
    }

    fn load_plugins(&mut self, findings: &mut Vec<Finding>) {
        let most_bytes = self.bootstrap.limits.plugin_bytes;
        let mut decode_again = false;
        for code in &mut self.secrets {
            decode_again |= refresh_secrets(code, &self.engine, most_bytes);
            findings.extend(code.findings());
        }
        if decode_again {
            self.vault.decode_again();
        }
        for dialect in &mut self.dialects {
            dialect.load(&self.engine, most_bytes);
        }
    }

    fn translate(&mut self, snapshot: &Snapshot, findings: &mut Vec<Finding>) {
        for dialect in &mut self.dialects {
            dialect.translate(&self.bootstrap.gateway, snapshot, self.routers, &mut self.next_table);
            findings.extend(dialect.findings());
        }
        findings.extend(unread(&self.dialects, snapshot));
    }

    fn default_tls(
        &mut self,
        snapshot: &Snapshot,
        now: Instant,
        findings: &mut Vec<Finding>,
    ) -> Option<Arc<TlsListener>> {
        let (namespace, name) = self.bootstrap.tls.default_credential.clone()?;
        let object = ObjectKey::core("Secret", &namespace, &name);
        let source = model::Source {
            origin: Origin { object: object.clone(), field: String::new() },
            role: Role::Credential,
            candidates: vec![Locator::Object(object)],
            when_deleted: WhenDeleted::KeepLast,
        };
        let plugins: Vec<_> = self.secrets.iter().filter_map(|code| code.plugin.clone()).collect();
        let allowed = &self.bootstrap.tls.files;
        let resolved = self.vault.resolve((&source, Use::Listener), snapshot, &plugins, allowed, now, findings);
        let Some(Material::Credential(credential)) = resolved.material else { return None };
        let spec = Spec {
            listener: &Arc::from("(default)"),
            credentials: &[credential],
            lacking: None,
            client: None,
            v1_clients: false,
            versions: TlsVersions::Both,
            cipher_suites: &[],
            alpn: &[b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Some(self.tls.listener(&spec))
    }

    fn parts(
        &mut self,
        snapshot: &Snapshot,
        resolved: &[Vec<Resolved>],
        now: Instant,
        findings: &mut Vec<Finding>,
    ) -> (Vec<Arc<Part>>, Option<Instant>) {
        let index = EndpointIndex::new(snapshot);
        if let Some(resolver) = &mut self.resolver {
            resolver.begin();
        }
        self.clusters.begin();
        let mut parts = Vec::with_capacity(self.dialects.len());
        for (plugin, (dialect, sources)) in self.dialects.iter().zip(resolved).enumerate() {
            let translation = dialect.good.as_ref().map(|good| &good.translation);
            let mut clusters = Vec::new();
            for said in translation.iter().flat_map(|translation| &translation.clusters) {
                let members = members(&said.endpoints, &index, self.resolver.as_mut(), now);
                let usual = self.bootstrap.limits.connect_timeout;
                clusters.push(self.clusters.cluster(plugin, said, members, sources, usual, findings));
            }
            parts.push(Arc::new(Part {
                plugin: dialect.code.config.name.as_str().into(),
                table: dialect.good.as_ref().map_or(0, |good| good.table),
                routes: translation.map(|translation| translation.routes.clone()).unwrap_or_default(),
                streams: translation.map(|translation| translation.streams.clone()).unwrap_or_default(),
                clusters,
            }));
        }
        self.clusters.finish();
        let next = self.resolver.as_mut().and_then(Resolver::finish);
        (parts, next)
    }

    /// Instances for every plugin whose table workers have not loaded yet: two for each worker where they have none of that
    /// plugin, and one where a change waits to be served.
    pub fn take_routers(&mut self, published: &mut Vec<u64>, workers: usize) -> Vec<Vec<Loaded>> {
        let mut shares: Vec<Vec<Loaded>> = (0..workers).map(|_| Vec::new()).collect();
        published.resize(self.dialects.len(), 0);
        for (plugin, dialect) in self.dialects.iter_mut().enumerate() {
            let Some(good) = &mut dialect.good else { continue };
            if published[plugin] == good.table {
                continue;
            }
            // A plugin that moved in the list has given its instances away already.
            let first = published[plugin] == 0;
            let missing = if first { 2 * workers } else { workers }.saturating_sub(good.routers.len());
            match (0..missing).map(|_| good.new_router()).collect::<Result<Vec<_>, _>>() {
                Ok(more) => good.routers.extend(more),
                // No worker gets any: all of them go on with the table that they have.
                Err(failure) => {
                    tracing::error!(plugin = &*failure.plugin, "{failure}");
                    continue;
                }
            }
            for share in &mut shares {
                if let Some(active) = good.routers.pop() {
                    let spare = if first { good.routers.pop() } else { None };
                    share.push(Loaded { plugin, table: good.table, active, spare });
                }
            }
            published[plugin] = good.table;
        }
        shares
    }

    /// One more instance of a plugin's current table.
    pub fn spare(&self, plugin: usize) -> Option<Result<(u64, Router), Failure>> {
        let good = self.dialects.get(plugin)?.good.as_ref()?;
        Some(good.new_router().map(|router| (good.table, router)))
    }

    /// That a plugin's objects have no statuses, and why.
    #[must_use]
    pub fn unreported(&self, plugin: usize) -> Option<Finding> {
        self.dialects.get(plugin)?.good.as_ref()?.unreported.clone()
    }

    /// Every plugin of the bootstrap file.
    #[must_use]
    pub fn plugin_cards(&self) -> Vec<PluginCard> {
        let dialects = self.dialects.iter().map(Dialect::card);
        dialects.chain(self.secrets.iter().map(secrets_card)).collect()
    }

    /// The statuses of a plugin's objects; none when it does not say.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn report(&mut self, plugin: usize, outcome: &Outcome) -> Result<Option<Vec<Status>>, Failure> {
        self.dialects.get_mut(plugin).map_or(Ok(None), |dialect| dialect.report(outcome))
    }
}

impl Build {
    /// Every listener and what became of it, once [`Build::drop_unbound`] has told.
    #[must_use]
    pub fn listeners(&self) -> Vec<(Arc<Listener>, ListenerState)> {
        let of_plugin = |(placement, outcome): (&Placement, &Outcome)| {
            let listeners = placement.listeners.iter().map(|(listener, _, _)| Arc::clone(listener));
            listeners.zip(outcome.listeners.iter().cloned()).collect::<Vec<_>>()
        };
        self.placements.iter().zip(&self.outcomes).flat_map(of_plugin).collect()
    }

    /// Takes out the sockets that could not be bound, and completes the outcomes.
    pub fn drop_unbound(&mut self, unbound: &BTreeMap<SocketName, String>) {
        for (address, why) in unbound {
            self.sockets.remove(address);
            let remedy = match address {
                SocketName::Inet(_) => {
                    "free it, map its port to another one under `ports`, or correct `addresses` in the bootstrap file"
                }
                SocketName::Unix(_) => "free it, correct its path, or let the gateway write the directory",
            };
            self.findings.push(
                Finding::new(
                    Severity::Error,
                    Subject::Socket(address.to_string()),
                    "cannot-bind",
                    format!("cannot listen: {why}"),
                )
                .remedy(remedy),
            );
        }
        for (placement, outcome) in self.placements.iter().zip(&mut self.outcomes) {
            outcome.listeners = placement
                .listeners
                .iter()
                .map(|(listener, placed, _)| assemble::state(placed.as_ref(), listener, unbound))
                .collect();
            outcome.bindings = placement
                .bindings
                .iter()
                .enumerate()
                .map(|(binding, published)| {
                    let addresses: Vec<_> = placement
                        .listeners
                        .iter()
                        .filter(|(_, _, of)| *of == binding)
                        .filter_map(|(_, placed, _)| match placed {
                            Some(Placed::On(addresses)) => Some(addresses),
                            _ => None,
                        })
                        .flatten()
                        .filter(|address| !unbound.contains_key(address))
                        .collect();
                    let reachable = assemble::reachable(addresses.into_iter());
                    if reachable.is_empty() {
                        return Err("none of its sockets is bound".to_owned());
                    }
                    published.clone().unwrap_or(Ok(reachable))
                })
                .collect();
        }
        let placements = &self.placements;
        let sockets = |plugin: usize, binding| placements[plugin].sockets(binding, unbound);
        self.fronts.lead(sockets, &mut self.findings);
    }

    /// What is kept in the cluster, once [`Build::drop_unbound`] has told where it leads.
    pub fn take_fronts(&mut self) -> kubernetes::Fronts {
        std::mem::take(&mut self.fronts).into_kept()
    }
}

impl Placement {
    /// The sockets of a binding.
    fn sockets(&self, binding: usize, unbound: &BTreeMap<SocketName, String>) -> Vec<Bound> {
        let mut sockets = Vec::new();
        for (listener, placed, _) in self.listeners.iter().filter(|(_, _, of)| *of == binding) {
            let Some(Placed::On(names)) = placed else { continue };
            let socket = |name: &SocketName| {
                Some(Bound { port: listener.port, socket: name.inet()?, is_bound: !unbound.contains_key(name) })
            };
            sockets.extend(names.iter().filter_map(socket));
        }
        sockets
    }
}

/// What each source is for.
fn uses(translation: &model::Translation) -> Vec<Use> {
    let mut uses = vec![Use::Nobody; translation.sources.len()];
    translation.clusters.iter().flat_map(|cluster| cluster.sources()).for_each(|source| uses[source] = Use::Cluster);
    let terminations = translation.listeners.iter().filter_map(|listener| listener.protocol.termination());
    // What is for both is the clients' first of all.
    terminations.flat_map(|termination| termination.sources()).for_each(|source| uses[source] = Use::Listener);
    uses
}

/// The objects that a listener's secrets may be in.
fn secrets_of(said: &model::Listener, sources: &[model::Source]) -> Vec<ObjectKey> {
    let Some(termination) = said.protocol.termination() else { return Vec::new() };
    let candidates = termination.sources().flat_map(|source| &sources[source].candidates);
    let objects = candidates.filter_map(|locator| match locator {
        Locator::Object(key) => Some(key.clone()),
        Locator::Files(files) => Some(ObjectKey::core("Files", "", &files.first()?.1)),
        Locator::SystemRoots => None,
    });
    objects.collect()
}

fn listener_tls(
    cache: &mut TlsCache,
    name: &Arc<str>,
    said: &model::Listener,
    sources: &[Resolved],
    v1_clients: bool,
) -> Option<Arc<TlsListener>> {
    let termination = said.protocol.termination()?;
    let credentials: Vec<Arc<CredentialMaterial>> =
        termination.credentials.iter().filter_map(|source| sources[*source].credential()).cloned().collect();
    let trust = termination.client.iter().flat_map(|client| &client.trust);
    let trust: Vec<Arc<TrustMaterial>> = trust.filter_map(|source| sources[*source].trust()).cloned().collect();
    let lacking = termination.sources().find_map(|source| sources[source].lacking());
    let spec = Spec {
        listener: name,
        credentials: &credentials,
        lacking: lacking.as_deref(),
        client: termination.client.as_ref().map(|policy| (policy, trust.as_slice())),
        v1_clients,
        versions: termination.versions,
        cipher_suites: &termination.cipher_suites,
        alpn: &termination.alpn,
    };
    Some(cache.listener(&spec))
}

/// Whether a secret of the listener is not to be had, which is a finding of its own.
fn lacks_secret(said: &model::Listener, sources: &[Resolved]) -> bool {
    let Some(termination) = said.protocol.termination() else { return false };
    termination.sources().any(|source| sources[source].material.is_none())
}

/// What there is to know of the authorities that a listener's clients are verified by.
fn trust_findings(tls: Option<&TlsListener>, said: &model::Listener) -> Vec<Finding> {
    let lints = tls.and_then(|tls| tls.verification.as_ref()).map(Verification::lints).unwrap_or_default();
    lints.iter().map(|trust| lint::trust(trust, &said.origin)).collect()
}

/// Objects that nobody reads are most often a slip in `apiVersion` or `kind`.
fn unread(dialects: &[Dialect], snapshot: &Snapshot) -> Vec<Finding> {
    let read = || dialects.iter().filter_map(|dialect| dialect.code.plugin.as_ref()).flat_map(|plugin| &plugin.reads);
    let is_read = |key: &ObjectKey| {
        let same = |(group, kind): (&str, &str)| key.group == group && key.kind == kind;
        OWN_KINDS.into_iter().chain([POD]).any(same) || read().any(|(group, kind, _)| same((group, kind)))
    };
    snapshot
        .objects
        .iter()
        // The class of the Gateway API is implied even where no plugin reads it.
        .filter(|object| &*object.place != IMPLIED && !is_read(&object.key))
        .map(|object| {
            let named = if object.key.group.is_empty() {
                object.version.clone()
            } else {
                format!("{}/{}", object.key.group, object.version)
            };
            let message = format!("no plugin reads {} of {named}; the object has no effect", object.key.kind);
            // One of an API whose other kinds are read was meant for this gateway.
            let meant = !object.key.group.is_empty() && read().any(|(group, _, _)| *group == object.key.group);
            let severity = if meant { Severity::Warning } else { Severity::Info };
            Finding::on(severity, &object.key, "", "unread-object", message)
                .remedy("check apiVersion and kind; README.md lists what this version reads")
        })
        .collect()
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").finish_non_exhaustive()
    }
}
