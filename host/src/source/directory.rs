//! Files and directories of objects, kept up to date by looking.
//!
//! Change is found by comparing every file's identity, size and times several times a second. That costs about a
//! microsecond a file and sees what notification misses: a symlinked directory that is swapped, as Kubernetes mounts
//! do, network and overlay file systems, a directory that appears later.
//!
//! A file that cannot be read as objects keeps those it last gave.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::parse::{self, Written};
use crate::bootstrap::Gateway;
use crate::finding::{Finding, Severity, Subject};
use crate::object::{Object, ObjectKey};
use crate::snapshot::Snapshot;

/// Directories below directories that are looked into.
const MOST_LEVELS: usize = 32;
/// Files that are looked at.
const MOST_FILES: usize = 1_000_000;
/// How often a tree that changes while it is read is read again before what was seen is taken.
const MOST_TRIES: usize = 8;

/// What tells one content of a path from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of what a path leads to; none when there is nothing.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::from)
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

type Listing = BTreeMap<PathBuf, Stamp>;

/// The source for files and directories.
#[derive(Debug)]
pub struct Directory {
    roots: Vec<PathBuf>,
    gateway: Gateway,
    most_bytes: u64,
    seen: Listing,
    files: BTreeMap<PathBuf, File>,
    root_findings: Vec<Finding>,
    directories: BTreeSet<PathBuf>,
    generations: HashMap<ObjectKey, ([u8; 32], i64)>,
}

#[derive(Debug, Default)]
struct File {
    objects: Vec<Counted>,
    finding: Option<Finding>,
}

/// An object, with what its generation is counted by.
#[derive(Debug)]
struct Counted {
    object: Object,
    generation: i64,
    /// As the file has it.
    written: i64,
    /// Of all that is not metadata or status.
    digest: [u8; 32],
}

impl Counted {
    fn new(Written { key, version, mut value }: Written, place: &Arc<str>) -> Self {
        let mut hash = Sha256::new();
        for (field, value) in value.as_object().into_iter().flatten() {
            if field != "metadata" && field != "status" {
                hash.update(field);
                hash.update(value.to_string());
            }
        }
        let written = value["metadata"]["generation"].as_i64().unwrap_or(1);
        value["metadata"]["generation"] = json!(written);
        let object = Object::new(key, version, Arc::clone(place), value);
        Self { object, generation: written, written, digest: hash.finalize().into() }
    }

    /// The object as it is published: its generation grows with every change of what is not metadata or status.
    fn publish(&mut self, generations: &mut HashMap<ObjectKey, ([u8; 32], i64)>) -> Object {
        let entry = generations.entry(self.object.key.clone()).or_insert((self.digest, self.written));
        let (digest, generation) = entry;
        if *digest != self.digest {
            *digest = self.digest;
            *generation = self.written.max(generation.saturating_add(1));
        }
        if *generation != self.generation {
            let mut value = self.object.value().into_owned();
            value["metadata"]["generation"] = json!(*generation);
            let (key, version) = (self.object.key.clone(), self.object.version.clone());
            self.object = Object::new(key, version, Arc::clone(&self.object.place), value);
            self.generation = *generation;
        }
        self.object.clone()
    }
}

impl Directory {
    /// A source that has read nothing yet.
    #[must_use]
    pub fn new(roots: Vec<PathBuf>, gateway: Gateway, most_bytes: u64) -> Self {
        Self {
            roots,
            gateway,
            most_bytes,
            seen: Listing::new(),
            files: BTreeMap::new(),
            root_findings: Vec::new(),
            directories: BTreeSet::new(),
            generations: HashMap::new(),
        }
    }

    /// Takes another configuration. What was read stays until it is read again, so that a file that is broken at this
    /// moment keeps what it last gave.
    pub fn configure(&mut self, roots: Vec<PathBuf>, gateway: Gateway, most_bytes: u64) {
        if self.most_bytes != most_bytes {
            self.seen.clear();
        }
        (self.roots, self.gateway, self.most_bytes) = (roots, gateway, most_bytes);
    }

    /// Whether anything differs from what was last read.
    #[must_use]
    pub fn has_changed(&mut self) -> bool {
        let listed = self.list();
        self.directories = listed.directories;
        listed.files != self.seen || listed.findings != self.root_findings
    }

    /// The directories that were last looked into, and those of single files.
    #[must_use]
    pub fn directories(&self) -> &BTreeSet<PathBuf> {
        &self.directories
    }

    /// Reads what has changed and gives all objects as they are now.
    ///
    /// A tree that changes under the reader is read again, so that a swap of directories is seen whole.
    pub fn read(&mut self) -> Snapshot {
        for _ in 0..MOST_TRIES {
            let Listed { files: listing, findings, .. } = self.list();
            self.root_findings = findings;
            self.files.retain(|path, _| listing.contains_key(path));
            let changed: Vec<PathBuf> = listing
                .iter()
                .filter(|(path, stamp)| self.seen.get(*path) != Some(stamp))
                .map(|(path, _)| path.clone())
                .collect();
            for path in changed {
                self.read_file(&path);
            }
            self.seen = listing;
            if !self.has_changed() {
                break;
            }
        }
        self.snapshot()
    }

    fn list(&self) -> Listed {
        let mut listed = Listed::default();
        for root in &self.roots {
            match std::fs::metadata(root) {
                Ok(metadata) if metadata.is_dir() => listed.directory(root, &metadata, &mut Vec::new()),
                Ok(metadata) => {
                    listed.files.insert(root.clone(), Stamp::from(&metadata));
                    listed.directories.extend(directory_of(root));
                }
                Err(error) => listed.fail(root, &format!("cannot read it: {error}")),
            }
        }
        // Only a listing that succeeded may say that something is gone: a process out of file descriptors, or a mount
        // that is away for a moment, must not look like a deletion.
        for failed in std::mem::take(&mut listed.failed) {
            let below = self.seen.iter().filter(|(path, _)| path.starts_with(&failed));
            listed.files.extend(below.map(|(path, stamp)| (path.clone(), *stamp)));
        }
        listed
    }

    fn read_file(&mut self, path: &Path) {
        let entry = self.files.entry(path.to_owned()).or_default();
        let kept = if entry.objects.is_empty() { "" } else { "; what it last said stays in force" };
        match crate::file::read(path, self.most_bytes) {
            Ok(bytes) => match parse::parse(path, &bytes) {
                Ok(written) => {
                    let place: Arc<str> = path.display().to_string().into();
                    let objects = written.into_iter().map(|written| Counted::new(written, &place)).collect();
                    *entry = File { objects, finding: None };
                }
                Err(error) => {
                    let message = format!("{}{kept}", error.message);
                    entry.finding = Some(
                        Finding::new(Severity::Error, file(path, error.at), "unreadable-file", message)
                            .remedy("correct the file"),
                    );
                }
            },
            Err(error) => {
                let message = format!("cannot read it: {error}{kept}");
                entry.finding = Some(Finding::new(Severity::Error, file(path, None), "unreadable-file", message));
            }
        }
    }

    /// What an API server would add: namespaces and the class.
    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot { findings: self.root_findings.clone(), ..Snapshot::default() };
        for state in self.files.values_mut() {
            snapshot.findings.extend(state.finding.clone());
            for counted in &mut state.objects {
                let object = &counted.object;
                if let Some(first) = snapshot.objects.get(&object.key) {
                    let message = format!("{} has this object too; the one in {} is used", object.place, first.place);
                    let finding = Finding::on(Severity::Warning, &object.key, "", "duplicate-object", message);
                    snapshot.findings.push(finding.remedy("keep one of the two"));
                    continue;
                }
                let object = counted.publish(&mut self.generations);
                snapshot.objects.insert(object);
            }
        }
        self.generations.retain(|key, _| snapshot.objects.contains(key));
        add_namespaces(&mut snapshot);
        add_class(&mut snapshot, &self.gateway);
        snapshot
    }
}

/// What is below the roots, and where it could not be found out.
#[derive(Default)]
struct Listed {
    files: Listing,
    directories: BTreeSet<PathBuf>,
    findings: Vec<Finding>,
    failed: Vec<PathBuf>,
}

impl Listed {
    fn fail(&mut self, path: &Path, message: &str) {
        let message = format!("{message}; what was last read below it stays in force");
        self.findings.push(
            Finding::new(Severity::Error, file(path, None), "unreadable-resource", message)
                .remedy("create it, or correct `resources` in the bootstrap file"),
        );
        self.failed.push(path.to_owned());
    }

    /// `above` are the directories that lead here; a link back to one of them is not followed.
    fn directory(&mut self, directory: &Path, metadata: &Metadata, above: &mut Vec<(u64, u64)>) {
        let identity = (metadata.dev(), metadata.ino());
        if above.contains(&identity) || above.len() >= MOST_LEVELS || self.files.len() >= MOST_FILES {
            return;
        }
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.fail(directory, &format!("cannot read it: {error}")),
        };
        above.push(identity);
        self.directories.insert(directory.to_owned());
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.fail(directory, &format!("cannot read it: {error}"));
                    break;
                }
            };
            // Hidden entries are editors' and Kubernetes' own (`..data`).
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                self.directory(&path, &metadata, above);
            } else if metadata.is_file() && has_objects(&path) {
                self.files.insert(path, Stamp::from(&metadata));
            }
        }
        above.pop();
    }
}

/// The directory that a file is in.
#[must_use]
pub fn directory_of(file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

fn has_objects(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["json", "yaml", "yml"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn file(path: &Path, at: Option<(usize, usize)>) -> Subject {
    Subject::File { path: path.display().to_string(), at }
}

fn add_namespaces(snapshot: &mut Snapshot) {
    const NAME: &str = "kubernetes.io/metadata.name";
    let names: BTreeSet<String> = snapshot
        .objects
        .iter()
        .map(|object| &object.key)
        .map(|key| if key.kind == "Namespace" && key.group.is_empty() { &key.name } else { &key.namespace })
        .filter(|name| !name.is_empty())
        .cloned()
        .collect();
    for name in names {
        let key = ObjectKey::core("Namespace", "", &name);
        let (mut value, place) = match snapshot.objects.get(&key) {
            Some(object) if object.label(NAME) == Some(&name) => continue,
            Some(object) => (object.value().into_owned(), Arc::clone(&object.place)),
            None => {
                (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}), Arc::from("(implied)"))
            }
        };
        value["metadata"]["labels"][NAME] = json!(name);
        snapshot.objects.insert(Object::new(key, "v1".to_owned(), place, value));
    }
}

fn add_class(snapshot: &mut Snapshot, gateway: &Gateway) {
    const GROUP: &str = "gateway.networking.k8s.io";
    let key = ObjectKey {
        group: GROUP.to_owned(),
        kind: "GatewayClass".to_owned(),
        namespace: String::new(),
        name: gateway.class_name.clone(),
    };
    if snapshot.objects.contains(&key) {
        return;
    }
    let value = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "GatewayClass",
        "metadata": {"name": gateway.class_name, "generation": 1},
        "spec": {"controllerName": gateway.controller_name},
    });
    snapshot.objects.insert(Object::new(key, "v1".to_owned(), Arc::from("(implied)"), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> String {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"port": port}}).to_string()
    }

    fn source(root: &Path) -> Directory {
        Directory::new(vec![root.to_owned()], Gateway::default(), 1 << 20)
    }

    fn port(snapshot: &Snapshot, name: &str) -> Option<i64> {
        snapshot.objects.get(&ObjectKey::core("Service", "default", name))?.value()["spec"]["port"].as_i64()
    }

    #[test]
    fn a_broken_file_keeps_what_it_said() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        std::fs::write(&path, service("a", 1)).unwrap();
        let mut source = source(root.path());
        assert_eq!(port(&source.read(), "a"), Some(1));
        std::fs::write(&path, "{\n  broken").unwrap();
        assert!(source.has_changed());
        let snapshot = source.read();
        assert_eq!(port(&snapshot, "a"), Some(1));
        let place = Subject::File { path: path.display().to_string(), at: Some((2, 3)) };
        assert_eq!(snapshot.findings[0].subject, place);
        std::fs::remove_file(&path).unwrap();
        let snapshot = source.read();
        assert_eq!(port(&snapshot, "a"), None);
        assert!(snapshot.findings.is_empty());
    }

    #[test]
    fn a_swapped_directory_is_seen() {
        let root = tempfile::tempdir().unwrap();
        for (version, port) in [("..1", 1), ("..2", 2)] {
            std::fs::create_dir(root.path().join(version)).unwrap();
            std::fs::write(root.path().join(version).join("a.json"), service("a", port)).unwrap();
        }
        let data = root.path().join("..data");
        std::os::unix::fs::symlink("..1", &data).unwrap();
        std::os::unix::fs::symlink("..data/a.json", root.path().join("a.json")).unwrap();
        let mut source = source(root.path());
        assert_eq!(port(&source.read(), "a"), Some(1));
        std::os::unix::fs::symlink("..2", root.path().join("..next")).unwrap();
        std::fs::rename(root.path().join("..next"), &data).unwrap();
        assert!(source.has_changed());
        assert_eq!(port(&source.read(), "a"), Some(2));
    }

    #[test]
    fn another_configuration_keeps_the_last_good_of_a_broken_file() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        std::fs::write(one.join("a.json"), service("a", 1)).unwrap();
        std::fs::write(two.join("b.json"), service("b", 2)).unwrap();
        let mut source = source(&one);
        source.read();
        std::fs::write(one.join("a.json"), "{ broken").unwrap();
        source.configure(vec![one, two.clone()], Gateway::default(), 1 << 10);
        let snapshot = source.read();
        assert_eq!((port(&snapshot, "a"), port(&snapshot, "b")), (Some(1), Some(2)));
        source.configure(vec![two], Gateway::default(), 1 << 10);
        assert_eq!(port(&source.read(), "a"), None, "what is not configured any more is gone");
    }

    #[test]
    fn what_cannot_be_listed_is_not_taken_for_deleted() {
        let root = tempfile::tempdir().unwrap();
        let resources = root.path().join("resources");
        std::fs::create_dir(&resources).unwrap();
        std::fs::write(resources.join("a.json"), service("a", 1)).unwrap();
        let mut source = source(&resources);
        assert_eq!(port(&source.read(), "a"), Some(1));
        std::fs::rename(&resources, root.path().join("away")).unwrap();
        let snapshot = source.read();
        assert_eq!(port(&snapshot, "a"), Some(1));
        assert_eq!(snapshot.findings[0].code, "unreadable-resource");
        std::fs::create_dir(&resources).unwrap();
        assert_eq!(port(&source.read(), "a"), None, "an empty directory says that it is gone");
    }

    #[test]
    fn loops_of_links_and_odd_metadata_do_no_harm() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", root.path().join("l1")).unwrap();
        std::os::unix::fs::symlink(".", root.path().join("l2")).unwrap();
        std::fs::write(root.path().join("a.json"), service("a", 1)).unwrap();
        for (name, metadata) in [("b", r#"["n", "default"]"#), ("c", r#"{"name": "n", "labels": "x"}"#)] {
            let text = format!(r#"{{"apiVersion": "v1", "kind": "Namespace", "metadata": {metadata}}}"#);
            std::fs::write(root.path().join(format!("{name}.json")), text).unwrap();
        }
        let snapshot = source(root.path()).read();
        assert_eq!(port(&snapshot, "a"), Some(1));
        assert_eq!(snapshot.findings.len(), 2, "{:?}", snapshot.findings);
    }

    #[test]
    fn what_an_api_server_fills_in_is_filled_in() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        std::fs::write(&path, service("a", 1)).unwrap();
        let mut source = source(root.path());
        let generation = |snapshot: &Snapshot| {
            snapshot.objects[&ObjectKey::core("Service", "default", "a")].value()["metadata"]["generation"].as_i64()
        };
        let snapshot = source.read();
        assert_eq!(generation(&snapshot), Some(1));
        let namespace = &snapshot.objects[&ObjectKey::core("Namespace", "", "default")];
        assert_eq!(namespace.label("kubernetes.io/metadata.name"), Some("default"));
        assert_eq!(snapshot.of_kind("gateway.networking.k8s.io", "GatewayClass").count(), 1);
        std::fs::write(&path, service("a", 2)).unwrap();
        assert_eq!(generation(&source.read()), Some(2));
    }

    #[test]
    fn generations_grow_whichever_file_an_object_is_in() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("a.json"), root.path().join("b.json"));
        std::fs::write(&first, service("a", 1)).unwrap();
        std::fs::write(&second, service("a", 2)).unwrap();
        let mut source = source(root.path());
        let key = ObjectKey::core("Service", "default", "a");
        let mut generation = || source.read().objects[&key].value()["metadata"]["generation"].as_i64();
        assert_eq!(generation(), Some(1));
        std::fs::write(&first, service("a", 1)).unwrap();
        assert_eq!(generation(), Some(1), "the same again, beside another");
        std::fs::write(&first, service("a", 3)).unwrap();
        assert_eq!(generation(), Some(2));
        std::fs::remove_file(&first).unwrap();
        assert_eq!(generation(), Some(3), "the other comes to be used");
    }

    #[test]
    fn of_two_objects_of_one_name_the_first_path_wins() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("b.json"), service("a", 2)).unwrap();
        std::fs::write(root.path().join("a.json"), service("a", 1)).unwrap();
        let snapshot = source(root.path()).read();
        assert_eq!(port(&snapshot, "a"), Some(1));
        assert_eq!(snapshot.findings[0].code, "duplicate-object");
    }
}
