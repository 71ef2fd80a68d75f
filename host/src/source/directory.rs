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

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::parse;
use crate::bootstrap::Gateway;
use crate::finding::{Finding, Severity, Subject};
use crate::object::{Object, ObjectKey};
use crate::snapshot::Snapshot;

/// Directories below directories, beyond which a loop of links is suspected.
const MOST_LEVELS: usize = 32;
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
    generations: HashMap<ObjectKey, ([u8; 32], i64)>,
}

#[derive(Debug, Default)]
struct File {
    objects: Vec<Object>,
    finding: Option<Finding>,
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
            generations: HashMap::new(),
        }
    }

    /// Whether anything differs from what was last read.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        let (listing, findings) = self.list();
        listing != self.seen || findings != self.root_findings
    }

    /// Reads what has changed and gives all objects as they are now.
    ///
    /// A tree that changes under the reader is read again, so that a swap of directories is seen whole.
    pub fn read(&mut self) -> Snapshot {
        for _ in 0..MOST_TRIES {
            let (listing, findings) = self.list();
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

    fn list(&self) -> (Listing, Vec<Finding>) {
        let mut listing = Listing::new();
        let mut findings = Vec::new();
        for root in &self.roots {
            match std::fs::metadata(root) {
                Ok(metadata) if metadata.is_dir() => list_directory(root, 0, &mut listing, &mut findings),
                Ok(metadata) => drop(listing.insert(root.clone(), Stamp::from(&metadata))),
                Err(error) => findings.push(
                    Finding::new(
                        Severity::Error,
                        file(root, None),
                        "unreadable-resource",
                        format!("cannot read it: {error}"),
                    )
                    .remedy("create it, or correct `resources` in the bootstrap file"),
                ),
            }
        }
        (listing, findings)
    }

    fn read_file(&mut self, path: &Path) {
        let entry = self.files.entry(path.to_owned()).or_default();
        let kept = if entry.objects.is_empty() { "" } else { "; what it last said stays in force" };
        match read_bytes(path, self.most_bytes) {
            Ok(bytes) => match parse::parse(path, &bytes) {
                Ok(objects) => *entry = File { objects, finding: None },
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

    /// What an API server would add: counted generations, namespaces and the class.
    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot { objects: BTreeMap::new(), findings: self.root_findings.clone() };
        for state in self.files.values() {
            snapshot.findings.extend(state.finding.clone());
            for object in &state.objects {
                if let Some(first) = snapshot.objects.get(&object.key) {
                    let message = format!("{} has this object too; the one in {} is used", object.place, first.place);
                    let finding = Finding::on(Severity::Warning, &object.key, "", "duplicate-object", message);
                    snapshot.findings.push(finding.remedy("keep one of the two"));
                    continue;
                }
                let counted = count_generation(&mut self.generations, object);
                snapshot.objects.insert(counted.key.clone(), counted);
            }
        }
        self.generations.retain(|key, _| snapshot.objects.contains_key(key));
        add_namespaces(&mut snapshot);
        add_class(&mut snapshot, &self.gateway);
        snapshot
    }
}

fn list_directory(directory: &Path, level: usize, listing: &mut Listing, findings: &mut Vec<Finding>) {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) if level < MOST_LEVELS => entries,
        Ok(_) => {
            let message = format!("more than {MOST_LEVELS} directories deep, perhaps a loop of links");
            return findings.push(Finding::new(Severity::Error, file(directory, None), "unreadable-resource", message));
        }
        Err(error) => {
            let message = format!("cannot read it: {error}");
            return findings.push(Finding::new(Severity::Error, file(directory, None), "unreadable-resource", message));
        }
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        // Hidden entries are editors' and Kubernetes' own (`..data`).
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            list_directory(&path, level + 1, listing, findings);
        } else if metadata.is_file() && has_objects(&path) {
            listing.insert(path, Stamp::from(&metadata));
        }
    }
}

fn has_objects(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["json", "yaml", "yml"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn read_bytes(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("it is larger than limits.resourceBytes ({most})");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn file(path: &Path, at: Option<(usize, usize)>) -> Subject {
    Subject::File { path: path.display().to_string(), at }
}

/// `metadata.generation` grows with every change of what is not metadata or status.
fn count_generation(generations: &mut HashMap<ObjectKey, ([u8; 32], i64)>, object: &Object) -> Object {
    let mut hash = Sha256::new();
    for (field, value) in object.value.as_object().into_iter().flatten() {
        if field != "metadata" && field != "status" {
            hash.update(field);
            hash.update(value.to_string());
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    let written = object.value["metadata"]["generation"].as_i64().unwrap_or(1);
    let (last, generation) = generations.entry(object.key.clone()).or_insert((digest, written));
    if *last != digest {
        *last = digest;
        *generation = written.max(*generation + 1);
    }
    let mut value = Value::clone(&object.value);
    value["metadata"]["generation"] = json!(*generation);
    parse::with_json(object.key.clone(), object.version.clone(), Arc::clone(&object.place), value)
}

fn add_namespaces(snapshot: &mut Snapshot) {
    const NAME: &str = "kubernetes.io/metadata.name";
    let names: BTreeSet<String> = snapshot
        .objects
        .keys()
        .map(|key| if key.kind == "Namespace" && key.group.is_empty() { &key.name } else { &key.namespace })
        .filter(|name| !name.is_empty())
        .cloned()
        .collect();
    for name in names {
        let key = ObjectKey::core("Namespace", "", &name);
        let (mut value, place) = match snapshot.objects.get(&key) {
            Some(object) if object.label(NAME) == Some(&name) => continue,
            Some(object) => (Value::clone(&object.value), Arc::clone(&object.place)),
            None => {
                (json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}), Arc::from("(implied)"))
            }
        };
        value["metadata"]["labels"][NAME] = json!(name);
        snapshot.objects.insert(key.clone(), parse::with_json(key, "v1".to_owned(), place, value));
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
    if snapshot.objects.contains_key(&key) {
        return;
    }
    let value = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "GatewayClass",
        "metadata": {"name": gateway.class_name, "generation": 1},
        "spec": {"controllerName": gateway.controller_name},
    });
    let object = parse::with_json(key.clone(), "v1".to_owned(), Arc::from("(implied)"), value);
    snapshot.objects.insert(key, object);
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
        snapshot.objects.get(&ObjectKey::core("Service", "default", name))?.value["spec"]["port"].as_i64()
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
    fn what_an_api_server_fills_in_is_filled_in() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.json");
        std::fs::write(&path, service("a", 1)).unwrap();
        let mut source = source(root.path());
        let generation = |snapshot: &Snapshot| {
            snapshot.objects[&ObjectKey::core("Service", "default", "a")].value["metadata"]["generation"].as_i64()
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
    fn of_two_objects_of_one_name_the_first_path_wins() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("b.json"), service("a", 2)).unwrap();
        std::fs::write(root.path().join("a.json"), service("a", 1)).unwrap();
        let snapshot = source(root.path()).read();
        assert_eq!(port(&snapshot, "a"), Some(1));
        assert_eq!(snapshot.findings[0].code, "duplicate-object");
    }
}
