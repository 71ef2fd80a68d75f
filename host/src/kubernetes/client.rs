//! How the API server is reached: by a kubeconfig, or by the service account of the pod.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::disk::DiskError;
use crate::bootstrap;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the API server may be silent on one: longer than a watch lasts.
const SILENCE: Duration = Duration::from_secs(75);

/// Why there is nobody to talk to. An API server that does not answer is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("{}: {source} (correct `kubernetes.kubeconfig` in the bootstrap file)", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// There is neither a kubeconfig nor a service account.
    #[error(
        "no Kubernetes API server is known: {0} (name a kubeconfig as `kubernetes.kubeconfig` in the bootstrap file or in \
         KUBECONFIG, or run in a pod with a service account)"
    )]
    Nowhere(Box<kube::config::InferConfigError>),
    /// What it says cannot be used.
    #[error("the Kubernetes API server cannot be talked to: {0}")]
    Client(Box<kube::Error>),
    /// What is kept on disk cannot be.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is no runtime or thread.
    #[error(transparent)]
    Machine(#[from] std::io::Error),
}

pub(super) async fn connect(api: &bootstrap::Kubernetes) -> Result<Client, ConnectError> {
    let options = KubeConfigOptions { context: api.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match &api.kubeconfig {
        Some(path) => {
            let failed = |source| ConnectError::Kubeconfig { path: path.clone(), source };
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)?
        }
        None if api.context.is_some() => {
            let failed = |source| ConnectError::Kubeconfig { path: PathBuf::from("KUBECONFIG"), source };
            Config::from_kubeconfig(&options).await.map_err(failed)?
        }
        None => Config::infer().await.map_err(|error| ConnectError::Nowhere(Box::new(error)))?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    // It would hide from us that the API server fails, for minutes.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}
