//! `kubernetes` in the bootstrap file: how its API is reached, what is read of it and what is written to it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// The entry of `resources` that stands for the Kubernetes API.
pub(super) const RESOURCE: &str = "kubernetes:";

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resources {
    /// Files and directories.
    Files(Vec<PathBuf>),
    /// The API of a Kubernetes cluster.
    Kubernetes(Kubernetes),
}

/// The API of a Kubernetes cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubernetes {
    /// How it is reached; none for what the environment says (`KUBECONFIG`, `~/.kube/config`) or, in a pod, its service
    /// account.
    pub kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one.
    pub context: Option<String>,
    /// How secrets are read.
    pub secrets: SecretsBy,
    /// Whether statuses are written.
    pub status: bool,
    /// Name of the Lease, in the gateway's own namespace, whose holder writes statuses.
    pub lease: String,
    /// Where what was last read is kept, for a start while the API server is away.
    pub snapshot: Option<Kept>,
}

/// Where a snapshot is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The file.
    pub path: PathBuf,
    /// The file with the key that it is encrypted with; without it no secret is kept.
    pub key: Option<PathBuf>,
}

/// How secrets and ConfigMaps are read; whichever it is, only those that an object names are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretsBy {
    /// Each by its name.
    #[default]
    Name,
    /// All of a namespace in which one is named: fewer watches.
    Namespace,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct RawKubernetes {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    secrets: SecretsBy,
    status: Option<bool>,
    lease: Option<String>,
    gateway_services: bool,
    snapshot: Option<RawKept>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKept {
    path: PathBuf,
    key: Option<PathBuf>,
}

impl RawKubernetes {
    /// Whether Services are kept for what has addresses of its own.
    pub(super) fn keeps_services(&self) -> bool {
        self.gateway_services
    }

    fn check(self, directory: &Path, problems: &mut Vec<String>) -> Kubernetes {
        let lease = self.lease.unwrap_or_else(|| "sekisho".to_owned());
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if lease.is_empty() || lease.len() > 253 || !lease.bytes().all(legal) {
            problems.push(format!("kubernetes.lease: `{lease}` is no name of a Kubernetes object"));
        }
        if self.gateway_services && self.status == Some(false) {
            let why = "it needs `kubernetes.status`, as who writes statuses keeps them";
            problems.push(format!("kubernetes.gatewayServices: {why}"));
        }
        Kubernetes {
            kubeconfig: self.kubeconfig.map(|path| directory.join(path)),
            context: self.context,
            secrets: self.secrets,
            status: self.status.unwrap_or(true),
            lease,
            snapshot: self
                .snapshot
                .map(|kept| Kept { path: directory.join(kept.path), key: kept.key.map(|key| directory.join(key)) }),
        }
    }
}

/// Files, unless the one entry is the API.
pub(super) fn resources(
    entries: Option<Vec<PathBuf>>,
    kubernetes: Option<RawKubernetes>,
    directory: &Path,
    problems: &mut Vec<String>,
) -> Resources {
    let entries = entries.unwrap_or_else(|| vec![PathBuf::from("resources")]);
    let is_api = |entry: &PathBuf| entry.as_os_str() == RESOURCE;
    if entries.iter().any(is_api) {
        if entries.len() > 1 {
            problems.push(format!("resources: \"{RESOURCE}\" must be the only entry; files cannot stand beside it"));
        }
        return Resources::Kubernetes(kubernetes.unwrap_or_default().check(directory, problems));
    }
    if kubernetes.is_some() {
        problems.push(format!("kubernetes: it has no effect unless `resources` is [\"{RESOURCE}\"]"));
    }
    Resources::Files(entries.into_iter().map(|entry| directory.join(entry)).collect())
}
