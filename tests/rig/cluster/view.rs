//! How stored objects are put before a client: in the version and the extent that it asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::Kind;
use super::store::{Happened, Listed};

/// What a client wants to see of a kind.
#[derive(Clone, Debug)]
pub(super) struct View {
    kind: &'static Kind,
    api_version: String,
    /// `PartialObjectMetadata` instead of whole objects.
    metadata_only: bool,
}

impl View {
    /// By the request's version and its `Accept`. Tables are not made: who prefers them takes objects too.
    pub(super) fn new(kind: &'static Kind, version: &str, accept: &str) -> Self {
        let metadata_only = accept.contains("as=PartialObjectMetadata");
        Self { kind, api_version: kind.api_version(version), metadata_only }
    }

    pub(super) fn object(&self, object: &Value) -> Value {
        if self.metadata_only {
            return json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            });
        }
        let mut object = object.clone();
        object["apiVersion"] = json!(self.api_version);
        object["kind"] = json!(self.kind.kind);
        object
    }

    /// A list; how many items a page leaves is not counted for one with selectors.
    pub(super) fn list(&self, listed: &Listed, counted: bool) -> Value {
        let (kind, version) = match self.metadata_only {
            true => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1"),
            false => (format!("{}List", self.kind.kind), self.api_version.as_str()),
        };
        let mut metadata = json!({ "resourceVersion": listed.revision.to_string() });
        if let Some(rest) = &listed.rest {
            metadata["continue"] = json!(rest.token);
            if counted {
                metadata["remainingItemCount"] = json!(rest.items);
            }
        }
        let items: Vec<Value> = listed.items.iter().map(|item| self.item(item)).collect();
        json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items })
    }

    /// In lists, objects of built-in kinds do not say what they are.
    fn item(&self, object: &Arc<Value>) -> Value {
        let mut item = self.object(object);
        if !self.metadata_only && !self.kind.is_custom() {
            let fields = item.as_object_mut().expect("an object is a map");
            fields.remove("apiVersion");
            fields.remove("kind");
        }
        item
    }

    /// A line of a watch.
    pub(super) fn event(&self, happened: Happened, object: &Value) -> Value {
        json!({ "type": happened.name(), "object": self.object(object) })
    }

    /// A line of a watch that says only how far it has come.
    pub(super) fn bookmark(&self, revision: u64) -> Value {
        let mut object = self.object(&json!({ "metadata": { "resourceVersion": revision.to_string() } }));
        object["metadata"]["creationTimestamp"] = Value::Null;
        json!({ "type": "BOOKMARK", "object": object })
    }
}
