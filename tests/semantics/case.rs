//! A case as it is written; `tests/cases/README.md` explains the fields.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use crate::rows::{self, Row};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    #[serde(skip)]
    pub(crate) path: PathBuf,
    #[serde(rename = "about")]
    pub(crate) _about: String,
    #[serde(default)]
    pub(crate) environment: Environment,
    pub(crate) objects: Vec<Value>,
    /// Where the patches of rows go.
    #[serde(default)]
    pub(crate) at: Option<String>,
    #[serde(default)]
    pub(crate) outcome: Outcome,
    #[serde(default)]
    pub(crate) requests: Vec<Request>,
    #[serde(default)]
    pub(crate) findings: Vec<Finding>,
    #[serde(default)]
    pub(crate) status: Vec<Status>,
    #[serde(default)]
    pub(crate) rows: Vec<Row>,
}

#[derive(Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Environment {
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) class_name: Option<String>,
    pub(crate) controller_name: Option<String>,
    pub(crate) pool: Vec<IpNet>,
    pub(crate) services: bool,
    pub(crate) config: Value,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outcome {
    pub(crate) live: bool,
    pub(crate) sources: BTreeMap<String, String>,
    pub(crate) listeners: BTreeMap<String, String>,
    /// Of a Gateway, those in use, or why there is none.
    pub(crate) addresses: BTreeMap<String, Addresses>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Addresses {
    None(String),
    InUse(Vec<String>),
}

impl Default for Outcome {
    fn default() -> Self {
        Self { live: true, sources: BTreeMap::new(), listeners: BTreeMap::new(), addresses: BTreeMap::new() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) url: String,
    #[serde(default, deserialize_with = "present")]
    pub(crate) sni: Option<Option<String>>,
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// What the backend's answer says.
    #[serde(default)]
    pub(crate) answered: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) source: Option<String>,
    #[serde(default)]
    pub(crate) destination: Option<String>,
    pub(crate) answer: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Finding {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) object: String,
    #[serde(default)]
    pub(crate) field: Option<String>,
    #[serde(default)]
    pub(crate) message: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) object: String,
    pub(crate) contains: Value,
}

/// `sni: null` is not the same as no `sni`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// All cases of a plugin, in order of their paths.
pub(crate) fn read_all(plugin: &str) -> Vec<Case> {
    files(plugin).into_iter().map(read).flat_map(rows::expand).collect()
}

/// The files of a plugin's cases, in order.
pub(crate) fn files(plugin: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases").join(plugin);
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "there is no case below {}", root.display());
    paths
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
        let path = entry.expect("an entry of a directory").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
}

fn read(path: PathBuf) -> Case {
    let case: Case = parse(&path);
    Case { path, ..case }
}

/// What one file says.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
