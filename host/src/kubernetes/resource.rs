//! What a kind is called in the paths of the API, and in which of its versions it is served.

use kube::Client;
use kube::api::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, pinned_kind};
use kube::error::DiscoveryError;

/// A kind that the API server has.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
}

/// The first of these versions that is served; none if there is none.
///
/// # Errors
/// When the API server does not say.
pub(super) async fn find(
    client: &Client,
    (group, kind): (&str, &str),
    versions: &[String],
) -> Result<Option<Served>, kube::Error> {
    for version in versions {
        match pinned_kind(client, &GroupVersionKind::gvk(group, version, kind)).await {
            Ok((resource, capabilities)) => {
                let namespaced = capabilities.scope == Scope::Namespaced;
                return Ok(Some(Served { resource, namespaced }));
            }
            Err(kube::Error::Discovery(DiscoveryError::MissingKind(_))) => {}
            // A proxy on the way says 404 too; what the server has it lists. Of a group that it does not have it says so in
            // plain text, and then there is no reason to go by.
            Err(kube::Error::Api(status)) if status.code == 404 && !lists(client, group, version).await? => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether the API server says that it has this version of a group.
async fn lists(client: &Client, group: &str, version: &str) -> Result<bool, kube::Error> {
    if group.is_empty() {
        return Ok(true);
    }
    let groups = client.list_api_groups().await?.groups;
    let versions = groups.into_iter().filter(|known| known.name == group).flat_map(|known| known.versions);
    Ok(versions.into_iter().any(|known| known.version == version))
}
