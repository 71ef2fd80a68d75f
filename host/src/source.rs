//! Where objects come from: files and directories, or the Kubernetes API.

pub mod directory;
pub mod hints;
mod parse;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use self::directory::Directory;
use crate::bootstrap::{Bootstrap, Resources};
use crate::kubernetes::{Cluster, ConnectError, Fronts, Wants};
use crate::plugin::Status;
use crate::snapshot::Snapshot;

/// How long the Kubernetes API may take to give a secret that an object has just named; then it is taken for missing.
const SECRET_PATIENCE: Duration = Duration::from_secs(2);

/// Where objects come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// Files and directories.
    Files(Box<Directory>),
    /// The Kubernetes API.
    Kubernetes(Cluster),
}

impl Source {
    /// The source that the bootstrap file names; nothing has been read yet. `hint` is called when there is something new,
    /// where the source can tell.
    ///
    /// # Errors
    /// When no API server is known.
    pub(crate) fn new(bootstrap: &Bootstrap, hint: impl Fn() + Send + Sync + 'static) -> Result<Self, ConnectError> {
        Ok(match &bootstrap.resources {
            Resources::Files(roots) => {
                let most_bytes = bootstrap.limits.resource_bytes;
                Self::Files(Box::new(Directory::new(roots.clone(), bootstrap.gateway.clone(), most_bytes)))
            }
            Resources::Kubernetes(api) => Self::Kubernetes(Cluster::start(api, hint)?),
        })
    }

    /// Takes another configuration; another kind of source needs a restart.
    pub(crate) fn configure(&mut self, bootstrap: &Bootstrap) {
        if let (Self::Files(directory), Resources::Files(roots)) = (self, &bootstrap.resources) {
            directory.configure(roots.clone(), bootstrap.gateway.clone(), bootstrap.limits.resource_bytes);
        }
    }

    /// Whether there is something new to read.
    pub(crate) fn has_changed(&mut self) -> bool {
        match self {
            Self::Files(directory) => directory.has_changed(),
            Self::Kubernetes(cluster) => cluster.has_changed(),
        }
    }

    /// Whether it called for attention since this was last asked.
    pub(crate) fn take_hint(&self) -> bool {
        matches!(self, Self::Kubernetes(cluster) if cluster.take_hint())
    }

    /// Whether anything happened since this was last asked, where the source can tell.
    pub(crate) fn is_stirred(&self) -> bool {
        matches!(self, Self::Kubernetes(cluster) if cluster.is_stirred())
    }

    /// The directories whose files it reads.
    pub(crate) fn directories(&self) -> BTreeSet<PathBuf> {
        match self {
            Self::Files(directory) => directory.directories().clone(),
            Self::Kubernetes(_) => BTreeSet::new(),
        }
    }

    /// Says what is wanted; of files everything is read anyway.
    pub(crate) fn want(&mut self, wants: Wants) {
        if let Self::Kubernetes(cluster) = self {
            cluster.want(wants);
        }
    }

    /// Waits until what is wanted is known, or there is no more time; whether it is.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        match self {
            Self::Files(_) => true,
            Self::Kubernetes(cluster) => cluster.wait(patience),
        }
    }

    /// All objects as they are now; none as long as it is not known what there is.
    pub(crate) fn read(&mut self) -> Option<Snapshot> {
        match self {
            Self::Files(directory) => Some(directory.read()),
            Self::Kubernetes(cluster) => cluster.read(),
        }
    }

    /// The same with what objects have turned out to name.
    pub(crate) fn complete(&mut self, wants: Wants, snapshot: Snapshot) -> Snapshot {
        let Self::Kubernetes(cluster) = self else { return snapshot };
        cluster.want(wants);
        cluster.wait_for_named(SECRET_PATIENCE);
        cluster.complete(snapshot)
    }

    /// Has statuses written where the objects are, and when these are `all` of them, others of ours taken back; and what is
    /// to be kept for objects.
    pub(crate) fn report<'s>(
        &self,
        statuses: impl Iterator<Item = &'s Status>,
        all: bool,
        fronts: Fronts,
        controller: &str,
    ) {
        if let Self::Kubernetes(cluster) = self {
            cluster.report(statuses, all, fronts, controller);
        }
    }

    /// Nothing is read any more, and statuses are another replica's to write.
    pub(crate) fn retire(&self) {
        if let Self::Kubernetes(cluster) = self {
            cluster.retire();
        }
    }
}
