//! From what the API server sends to the objects that plugins and the host read.

use std::sync::Arc;

use kube::Resource;
use kube::discovery::ApiResource;
use serde::Serialize;
use serde_json::{Value, json};

use crate::object::{Object, ObjectKey};

/// What `kubectl apply` keeps for itself: the object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object as it was last seen.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) object: Object,
    /// `metadata.resourceVersion`, which every write to it changes.
    pub(super) version: String,
}

impl Seen {
    /// Takes an object apart; none if it has no name. What changes without a change of its meaning is left out, so that
    /// nothing is done for it: who wrote which field, and the version that every write of a status changes.
    pub(super) fn new<K: Resource + Serialize>(seen: &K, resource: &ApiResource, place: &Arc<str>) -> Option<Self> {
        let meta = seen.meta();
        let key = ObjectKey {
            group: resource.group.clone(),
            kind: resource.kind.clone(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone()?,
        };
        let version = meta.resource_version.clone().unwrap_or_default();
        let mut value = serde_json::to_value(seen).ok()?;
        // Items of a list carry neither.
        value["apiVersion"] = json!(resource.api_version);
        value["kind"] = json!(resource.kind);
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
            if let Some(Value::Object(annotations)) = metadata.get_mut("annotations") {
                annotations.remove(LAST_APPLIED);
            }
        }
        let object = Object::new(key, resource.version.clone(), Arc::clone(place), value);
        Some(Self { object, version })
    }
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;

    use super::*;

    fn seen(value: Value) -> Seen {
        let resource = ApiResource {
            group: "gateway.networking.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "gateway.networking.k8s.io/v1".to_owned(),
            kind: "HTTPRoute".to_owned(),
            plural: "httproutes".to_owned(),
        };
        let object: DynamicObject = serde_json::from_value(value).unwrap();
        Seen::new(&object, &resource, &Arc::from("the API server")).unwrap()
    }

    fn route(version: &str, status: &str, path: &str) -> Seen {
        seen(json!({
            "metadata": {
                "name": "r", "namespace": "n", "resourceVersion": version, "generation": 3,
                "managedFields": [{"manager": version}], "annotations": {LAST_APPLIED: "{}", "mine": "kept"},
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": {"path": path},
            "status": {"note": status},
        }))
    }

    #[test]
    fn a_write_of_a_status_makes_no_other_object() {
        let (first, second) = (route("1", "a", "/"), route("2", "b", "/"));
        assert_eq!(first.object, second.object);
        assert_eq!(second.version, "2");
        assert_eq!(second.object.status().unwrap()["note"], "b");
        assert_ne!(first.object, route("3", "a", "/x").object);
    }

    #[test]
    fn it_is_what_the_server_has_otherwise() {
        let value: Value = serde_json::from_slice(&route("1", "a", "/").object.json).unwrap();
        assert_eq!(
            value,
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {
                    "name": "r", "namespace": "n", "generation": 3, "annotations": {"mine": "kept"},
                    "creationTimestamp": "2026-01-02T03:04:05Z",
                },
                "spec": {"path": "/"},
            })
        );
        assert_eq!(route("1", "a", "/").object.created(), "2026-01-02T03:04:05Z");
    }
}
