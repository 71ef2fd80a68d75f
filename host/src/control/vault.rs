//! Secrets: found by reference, decoded by a plugin, checked by the host, and kept while they are good (decision 9).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::board::{SecretCard, SecretState};
use super::lint;
use crate::finding::{Finding, Severity};
use crate::model::{Locator, Origin, Role, Source, WhenDeleted};
use crate::object::{Object, ObjectKey};
use crate::plugin::{Decoded, DecodedKey, SecretBytes, SecretsPlugin, SourceState};
use crate::snapshot::Snapshot;
use crate::tls::credential::{Credential, Key};
use crate::tls::{CredentialMaterial, TrustMaterial};

/// How long a deleted secret still serves where the dialect then refuses: time for a deletion and a new creation.
const GRACE: Duration = Duration::from_secs(5);
/// A file that an object names, in bytes.
const MOST_FILE_BYTES: u64 = 1 << 20;

/// What a source came to.
#[derive(Clone, Debug)]
pub(super) enum Material {
    Credential(Arc<CredentialMaterial>),
    Trust(Arc<TrustMaterial>),
}

/// A source, resolved.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) material: Option<Material>,
    pub(super) state: SourceState,
}

impl Resolved {
    /// The certificate and its key, where it is one.
    pub(super) fn credential(&self) -> Option<&Arc<CredentialMaterial>> {
        match &self.material {
            Some(Material::Credential(credential)) => Some(credential),
            _ => None,
        }
    }

    /// The authorities, where it is some.
    pub(super) fn trust(&self) -> Option<&Arc<TrustMaterial>> {
        match &self.material {
            Some(Material::Trust(trust)) => Some(trust),
            _ => None,
        }
    }
}

/// Who suffers where a source cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Clients: it is a listener's.
    Listener,
    /// Requests: it is for the endpoints of a cluster.
    Cluster,
    /// Nobody: it is for endpoints that no route leads to so far.
    Nobody,
}

impl Use {
    fn effect(self) -> &'static str {
        match self {
            Self::Listener => "the listener refuses its clients",
            Self::Cluster => "requests to these endpoints are answered with 503",
            Self::Nobody => "nothing needs it so far",
        }
    }

    fn user(self) -> &'static str {
        match self {
            Self::Listener => "the listener that uses it",
            Self::Cluster | Self::Nobody => "what names it",
        }
    }
}

/// What is known of secrets.
#[derive(Debug, Default)]
pub(super) struct Vault {
    entries: HashMap<(Role, Vec<Locator>), Entry>,
    /// The files that keys in use came from.
    key_files: BTreeSet<PathBuf>,
    round: u64,
    next: Option<Instant>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Of the content that `last` came from.
    digest: Option<[u8; 32]>,
    last: Option<Result<Found, Problem>>,
    good: Option<Found>,
    deleted: Option<Instant>,
    used: u64,
}

/// Usable content.
#[derive(Clone, Debug)]
struct Found {
    material: Material,
    subject: ObjectKey,
    /// The file that a private key came from.
    key_file: Option<PathBuf>,
}

/// Why content cannot be used.
type Problem = Box<Fault>;

#[derive(Clone, Debug)]
struct Fault {
    subject: ObjectKey,
    field: String,
    message: String,
}

impl Fault {
    fn remedy(&self) -> String {
        if self.message.contains("does not belong") {
            return "give the certificate and the key of one pair".to_owned();
        }
        match self.field.as_str() {
            "" => format!("correct {}", self.subject),
            field => format!("correct {field} of {}", self.subject),
        }
    }
}

/// One candidate that exists.
struct Content {
    subject: ObjectKey,
    digest: [u8; 32],
    bytes: Bytes,
    /// Where each data key was read; all of them where the data key is empty.
    files: Vec<(String, PathBuf)>,
}

enum Bytes {
    Secret(Result<SecretBytes, Problem>),
    SystemRoots,
}

impl Resolved {
    /// Why nothing of it can be used, if so.
    pub(super) fn lacking(&self) -> Option<String> {
        match (&self.material, &self.state) {
            (Some(_), _) | (None, SourceState::Ready) => None,
            (None, SourceState::Missing(keys)) => Some(match keys.first() {
                Some(key) => format!("{key} does not exist"),
                None => "it names no secret".to_owned(),
            }),
            (None, SourceState::Stale(why) | SourceState::Unusable(why)) => Some(why.clone()),
        }
    }

    /// What the admin endpoint tells of it.
    pub(super) fn card(&self, source: &Source) -> SecretCard {
        let (state, why) = match &self.state {
            SourceState::Ready => (SecretState::Ready, None),
            SourceState::Stale(why) => (SecretState::Stale, Some(without_subject(why))),
            SourceState::Missing(_) => (SecretState::Missing, Some("it does not exist".to_owned())),
            SourceState::Unusable(why) => (SecretState::Unusable, Some(without_subject(why))),
        };
        let used = match &self.material {
            Some(Material::Credential(credential)) => Some(&credential.source),
            Some(Material::Trust(trust)) => Some(&trust.source),
            None => None,
        };
        let wanted = || match source.candidates.first() {
            Some(Locator::Object(key)) => key.clone(),
            Some(Locator::Files(files)) => ObjectKey::core("Files", "", files.first().map_or("", |(_, path)| path)),
            Some(Locator::SystemRoots) | None => ObjectKey::core("SystemRoots", "", ""),
        };
        let summary = self.credential().map(|material| material.credential.summary.clone());
        let authorities = self.trust().map(|trust| (trust.anchors.len(), trust.crls.len()));
        let Origin { object, field } = &source.origin;
        let source = used.cloned().unwrap_or_else(wanted);
        SecretCard { origin: format!("{object} {field}"), source, state, why, summary, authorities }
    }
}

/// The card names the object already.
fn without_subject(why: &str) -> String {
    why.split_once(": ").map_or(why, |(_, why)| why).to_owned()
}

impl Vault {
    /// Begins a generation.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.next = None;
        self.key_files.clear();
    }

    /// The files that the keys of this generation came from.
    pub(super) fn key_files(&self) -> &BTreeSet<PathBuf> {
        &self.key_files
    }

    /// Forgets what no translation refers to any more; when the next grace is over, or a certificate's time.
    pub(super) fn finish(&mut self) -> Option<Instant> {
        let round = self.round;
        self.entries.retain(|_, entry| entry.used == round);
        self.next
    }

    /// After a plugin changed: what is there may mean something else.
    pub(super) fn decode_again(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.digest = None);
    }

    /// Whether a file that an object names is another than the one that was last read.
    pub(super) fn has_changed(&self, allowed: &[PathBuf]) -> bool {
        self.entries.iter().any(|((_, locators), entry)| {
            let found = locators.iter().find_map(|locator| match locator {
                Locator::Files(files) => Some(files_content(files, allowed).map(|content| content.digest)),
                Locator::Object(_) | Locator::SystemRoots => None,
            });
            found.is_some_and(|digest| digest != entry.digest)
        })
    }

    /// The files that sources name.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let locators = self.entries.keys().flat_map(|(_, locators)| locators);
        let files = locators.filter_map(|locator| match locator {
            Locator::Files(files) => Some(files),
            Locator::Object(_) | Locator::SystemRoots => None,
        });
        files.flatten().map(|(_, path)| Path::new(path))
    }

    /// What a source came to, with findings about its object.
    pub(super) fn resolve(
        &mut self,
        (source, used): (&Source, Use),
        snapshot: &Snapshot,
        plugins: &[Arc<SecretsPlugin>],
        allowed: &[PathBuf],
        now: Instant,
        findings: &mut Vec<Finding>,
    ) -> Resolved {
        let entry = self.entries.entry((source.role, source.candidates.clone())).or_default();
        entry.used = self.round;
        let content = source.candidates.iter().find_map(|locator| content(locator, snapshot, allowed));
        let Some(content) = content else {
            return missing((source, used), entry, snapshot, now, &mut self.next, findings);
        };
        entry.deleted = None;
        if entry.digest != Some(content.digest) {
            let decoded = decode(source.role, &content, plugins);
            if let Ok(found) = &decoded {
                tell(found);
                entry.good = Some(found.clone());
            }
            entry.digest = Some(content.digest);
            entry.last = Some(decoded);
        }
        match &entry.last {
            Some(Ok(found)) => {
                findings.extend(found.findings(used));
                let change = found.lasts().and_then(|lasts| now.checked_add(lasts));
                self.next = [self.next, change].into_iter().flatten().min();
                self.key_files.extend(found.key_file.clone());
                Resolved { material: Some(found.material.clone()), state: SourceState::Ready }
            }
            Some(Err(problem)) => {
                let stale = entry.good.as_ref().map(|good| good.material.clone());
                let effect = if stale.is_some() { "the last good content serves" } else { used.effect() };
                let message = format!("{}; {effect}", problem.message);
                findings.push(
                    Finding::on(Severity::Error, &problem.subject, &problem.field, "unusable-secret", message)
                        .remedy(problem.remedy()),
                );
                let reason = format!("{}: {}", problem.subject, problem.message);
                let state = if stale.is_some() { SourceState::Stale(reason) } else { SourceState::Unusable(reason) };
                Resolved { material: stale, state }
            }
            None => Resolved { material: None, state: SourceState::Missing(Vec::new()) },
        }
    }
}

fn missing(
    (source, used): (&Source, Use),
    entry: &mut Entry,
    snapshot: &Snapshot,
    now: Instant,
    next: &mut Option<Instant>,
    findings: &mut Vec<Finding>,
) -> Resolved {
    let keys: Vec<ObjectKey> = source
        .candidates
        .iter()
        .filter_map(|locator| match locator {
            Locator::Object(key) => Some(key.clone()),
            Locator::Files(_) | Locator::SystemRoots => None,
        })
        .collect();
    entry.digest = None;
    entry.last = None;
    let deleted = *entry.deleted.get_or_insert(now);
    let over = deleted + GRACE;
    let serves = match source.when_deleted {
        WhenDeleted::KeepLast => true,
        WhenDeleted::Refuse => now < over,
    };
    if let Some(good) = entry.good.as_ref().filter(|_| serves) {
        let message = "it was deleted; its last good content serves";
        if source.when_deleted == WhenDeleted::Refuse {
            *next = Some(next.map_or(over, |next| next.min(over)));
        }
        findings.push(
            Finding::on(Severity::Warning, &good.subject, "", "deleted-secret", message)
                .remedy(format!("create it again, or remove {}", used.user())),
        );
        return Resolved { material: Some(good.material.clone()), state: SourceState::Stale(message.to_owned()) };
    }
    entry.good = None;
    if !source.candidates.is_empty() {
        findings.push(not_found((source, used), &keys, snapshot));
    }
    Resolved { material: None, state: SourceState::Missing(keys) }
}

/// Where it was looked for, and where something of that name is.
fn not_found((source, used): (&Source, Use), keys: &[ObjectKey], snapshot: &Snapshot) -> Finding {
    let Origin { object, field } = &source.origin;
    let what: Vec<String> = source
        .candidates
        .iter()
        .map(|locator| match locator {
            Locator::Object(key) => format!("{} {}/{}", key.kind.to_lowercase(), key.namespace, key.name),
            Locator::Files(files) => files.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>().join(" and "),
            Locator::SystemRoots => "the system's authorities".to_owned(),
        })
        .collect();
    let elsewhere = keys.iter().find_map(|key| {
        snapshot.of_kind(&key.group, &key.kind).find(|object| object.key.name == key.name && object.key != *key)
    });
    let remedy = match elsewhere {
        Some(found) => {
            let wanted = keys.first().map_or("the other", |key| key.namespace.as_str());
            format!("create it in namespace {wanted}, where it is looked for: there is one in {}", found.key.namespace)
        }
        None => "create it".to_owned(),
    };
    let message = format!("{} not found; {}", what.join(" or "), used.effect());
    Finding::on(Severity::Error, object, field, "secret-not-found", message).remedy(remedy)
}

fn content(locator: &Locator, snapshot: &Snapshot, allowed: &[PathBuf]) -> Option<Content> {
    match locator {
        Locator::Object(key) => {
            let object = snapshot.objects.get(key)?;
            let value = object.value();
            let mut hash = Sha256::new();
            hash.update(key.to_string());
            hash.update(&*object.place);
            for part in ["data", "stringData", "binaryData", "type"] {
                hash.update(value[part].to_string());
            }
            hash.update(value["metadata"]["annotations"].to_string());
            let bytes = Bytes::Secret(secret_bytes(object));
            let files = vec![(String::new(), PathBuf::from(&*object.place))];
            Some(Content { subject: key.clone(), digest: hash.finalize().into(), bytes, files })
        }
        Locator::Files(files) => files_content(files, allowed),
        Locator::SystemRoots => Some(Content {
            subject: ObjectKey::core("SystemRoots", "", ""),
            digest: [0; 32],
            bytes: Bytes::SystemRoots,
            files: Vec::new(),
        }),
    }
}

/// A Secret's data is base64, a ConfigMap's is text.
fn secret_bytes(object: &Object) -> Result<SecretBytes, Problem> {
    let subject = || object.key.clone();
    let object_value = object.value();
    let mut data = Vec::new();
    for (part, encoded) in [("data", object.key.kind == "Secret"), ("stringData", false), ("binaryData", true)] {
        let Some(fields) = object_value[part].as_object() else { continue };
        for (name, value) in fields {
            let field = format!("{part}.{name}");
            let wrong = |message: &str| {
                Box::new(Fault { subject: subject(), field: field.clone(), message: message.to_owned() })
            };
            let text = match value {
                Value::String(text) => text,
                Value::Null => continue,
                _ => return Err(wrong("it is not a text")),
            };
            let bytes = if encoded {
                STANDARD.decode(text.split_whitespace().collect::<String>()).map_err(|_| wrong("it is not base64"))?
            } else {
                text.clone().into_bytes()
            };
            // As an API server does: `stringData` wins over `data`.
            data.retain(|(known, _)| known != name);
            data.push((name.clone(), bytes));
        }
    }
    let annotations = object_value["metadata"]["annotations"].as_object().into_iter().flatten();
    Ok(SecretBytes {
        kind: object.key.kind.clone(),
        namespace: object.key.namespace.clone(),
        name: object.key.name.clone(),
        type_name: object_value["type"].as_str().unwrap_or_default().to_owned(),
        annotations: annotations.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
        data,
    })
}

fn files_content(files: &[(String, String)], allowed: &[PathBuf]) -> Option<Content> {
    let first = files.first()?;
    let subject = ObjectKey::core("Files", "", &first.1);
    let mut hash = Sha256::new();
    let mut data = Vec::new();
    let mut problem = None;
    for (name, path) in files {
        hash.update(path);
        match read_allowed(Path::new(path), allowed) {
            Ok(bytes) => {
                hash.update(&bytes);
                data.push((name.clone(), bytes));
            }
            Err(FileError::Absent) => return None,
            Err(FileError::Refused(message)) => {
                hash.update(&message);
                problem = Some(Box::new(Fault { subject: subject.clone(), field: path.clone(), message }));
            }
        }
    }
    let secret = SecretBytes {
        kind: "Files".to_owned(),
        namespace: String::new(),
        name: first.1.clone(),
        type_name: String::new(),
        annotations: Vec::new(),
        data,
    };
    let bytes = Bytes::Secret(problem.map_or(Ok(secret), Err));
    let files = files.iter().map(|(name, path)| (name.clone(), PathBuf::from(path))).collect();
    Some(Content { subject, digest: hash.finalize().into(), bytes, files })
}

enum FileError {
    Absent,
    Refused(String),
}

/// Objects come from outside: they may name files only where the bootstrap file says so, links followed.
fn read_allowed(path: &Path, allowed: &[PathBuf]) -> Result<Vec<u8>, FileError> {
    let real = path.canonicalize().map_err(|_| FileError::Absent)?;
    let inside = allowed.iter().filter_map(|directory| directory.canonicalize().ok()).any(|d| real.starts_with(d));
    if !inside {
        return Err(FileError::Refused("it is not below a directory of tls.files in the bootstrap file".to_owned()));
    }
    crate::file::read(&real, MOST_FILE_BYTES).map_err(|error| FileError::Refused(error.to_string()))
}

fn decode(role: Role, content: &Content, plugins: &[Arc<SecretsPlugin>]) -> Result<Found, Problem> {
    let secret = match &content.bytes {
        Bytes::Secret(secret) => secret.as_ref().map_err(Clone::clone)?,
        Bytes::SystemRoots => return system_roots(role, &content.subject),
    };
    let problem = |field: String, message: String| {
        let field = if field.is_empty() { field } else { format!("data.{field}") };
        Box::new(Fault { subject: content.subject.clone(), field, message })
    };
    for plugin in plugins {
        let decoded = match role {
            Role::Credential => plugin.credential(secret).map(|decoded| match decoded {
                Decoded::Usable(decoded) => {
                    let key_field = decoded.key_field;
                    let key = match decoded.key {
                        DecodedKey::Pkcs1(der) => Key::Pkcs1(der),
                        DecodedKey::Pkcs8(der) => Key::Pkcs8(der),
                        DecodedKey::Sec1(der) => Key::Sec1(der),
                    };
                    let provider = aws_lc_rs::default_provider();
                    let loaded = Credential::load(&decoded.chain, key, decoded.ocsp_staple, &provider);
                    Some(match loaded {
                        Ok(credential) => Ok(credential_found(credential, content, &key_field)),
                        Err(error) => Err(problem(key_field, with_source(&error))),
                    })
                }
                Decoded::NotMine => None,
                Decoded::Unusable { field, message } => Some(Err(problem(field, message))),
            }),
            Role::Trust => plugin.trust(secret).map(|decoded| match decoded {
                Decoded::Usable(decoded) => Some(Ok(trust_found(decoded.authorities, decoded.crls, content))),
                Decoded::NotMine => None,
                Decoded::Unusable { field, message } => Some(Err(problem(field, message))),
            }),
        };
        match decoded {
            Ok(Some(result)) => return result,
            Ok(None) => {}
            Err(failure) => return Err(problem(String::new(), failure.to_string())),
        }
    }
    Err(problem(String::new(), "no secrets plugin reads a secret of this form".to_owned()))
}

fn with_source(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn credential_found(credential: Credential, content: &Content, key_field: &str) -> Found {
    let (source, digest) = (content.subject.clone(), content.digest);
    let material = Material::Credential(Arc::new(CredentialMaterial { credential, source, digest }));
    let key_file = content.files.iter().find(|(field, _)| field == key_field || field.is_empty());
    Found { material, subject: content.subject.clone(), key_file: key_file.map(|(_, path)| path.clone()) }
}

fn trust_found(authorities: Vec<Vec<u8>>, crls: Vec<Vec<u8>>, content: &Content) -> Found {
    let material = Material::Trust(Arc::new(TrustMaterial {
        source: content.subject.clone(),
        anchors: authorities.into_iter().map(CertificateDer::from).collect(),
        crls: crls.into_iter().map(CertificateRevocationListDer::from).collect(),
    }));
    Found { material, subject: content.subject.clone(), key_file: None }
}

fn system_roots(role: Role, subject: &ObjectKey) -> Result<Found, Problem> {
    let problem =
        |message: &str| Box::new(Fault { subject: subject.clone(), field: String::new(), message: message.to_owned() });
    if role == Role::Credential {
        return Err(problem("the system's authorities are no credential"));
    }
    let roots = rustls_native_certs::load_native_certs();
    if roots.certs.is_empty() {
        return Err(problem("this system has no certificate authorities"));
    }
    let material = TrustMaterial { source: subject.clone(), anchors: roots.certs, crls: Vec::new() };
    Ok(Found { material: Material::Trust(Arc::new(material)), subject: subject.clone(), key_file: None })
}

/// Whoever troubleshoots looks for this line first.
fn tell(found: &Found) {
    let secret = found.subject.to_string();
    match &found.material {
        Material::Credential(material) => {
            let summary = &material.credential.summary;
            tracing::info!(
                secret,
                subject = summary.subject.as_str(),
                serial = summary.serial.as_str(),
                not_after = summary.not_after,
                "credential loaded"
            );
        }
        Material::Trust(material) => {
            tracing::info!(
                secret,
                authorities = material.anchors.len(),
                crls = material.crls.len(),
                "authorities loaded"
            );
        }
    }
}

impl Found {
    /// How long its findings stay as they are.
    fn lasts(&self) -> Option<Duration> {
        match &self.material {
            Material::Credential(material) => material.credential.lints_last(UnixTime::now()),
            Material::Trust(_) => None,
        }
    }

    /// What there is to say of it now.
    fn findings(&self, used: Use) -> Vec<Finding> {
        match &self.material {
            Material::Credential(material) => lint::credential(&material.credential, &self.subject, used).collect(),
            Material::Trust(_) => Vec::new(),
        }
    }
}
