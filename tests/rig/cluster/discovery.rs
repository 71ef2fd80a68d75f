//! What the server says of itself: groups, versions, resources. Clients that ask for all of it in one document get the
//! ordinary ones, and go on from there.

use serde_json::{Value, json};

use super::kinds::{KINDS, Kind};
use super::store::Store;

/// The document at a path; none where there is none.
pub(super) fn document(store: &Store, path: &str) -> Option<Value> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments.as_slice() {
        ["version"] => Some(json!({ "major": "1", "minor": "32", "gitVersion": "v1.32.0", "platform": "linux/amd64" })),
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })),
        ["apis"] => {
            let mut groups: Vec<&str> = KINDS.iter().map(|kind| kind.group).filter(|group| !group.is_empty()).collect();
            groups.dedup();
            let groups: Vec<Value> = groups.into_iter().filter_map(|name| group(store, name)).collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups }))
        }
        ["api", version] => resources(store, "", version),
        ["apis", name] => {
            let mut group = group(store, name)?;
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            Some(group)
        }
        ["apis", group, version] => resources(store, group, version),
        _ => None,
    }
}

fn group(store: &Store, name: &str) -> Option<Value> {
    let mut versions: Vec<&str> =
        store.served().filter(|kind| kind.group == name).flat_map(|kind| kind.versions).copied().collect();
    versions.sort_unstable();
    versions.dedup();
    let version = |version: &&str| json!({ "groupVersion": format!("{name}/{version}"), "version": version });
    let preferred = version(versions.first()?);
    let versions: Vec<Value> = versions.iter().map(version).collect();
    Some(json!({ "name": name, "versions": versions, "preferredVersion": preferred }))
}

fn resources(store: &Store, group: &str, version: &str) -> Option<Value> {
    let kinds: Vec<&Kind> =
        store.served().filter(|kind| kind.group == group && kind.versions.contains(&version)).collect();
    let group_version = kinds.first()?.api_version(version);
    let mut resources = Vec::new();
    for kind in kinds {
        let resource = |name: String, verbs: &[&str]| {
            json!({ "name": name, "singularName": kind.singular(), "namespaced": kind.namespaced, "kind": kind.kind,
                "verbs": verbs })
        };
        let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        resources.push(resource(kind.plural.to_owned(), &verbs));
        if kind.status {
            resources.push(resource(format!("{}/status", kind.plural), &["get", "patch", "update"]));
        }
    }
    Some(
        json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources }),
    )
}
