//! Creating, changing and deleting: who may say what of an object. `metadata` is in part the server's own, `status` another
//! resource for most kinds, and a write that changes nothing is none.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::date;
use super::kinds::{self, Kind};
use super::patch::Form;
use super::refusal::Refusal;
use super::store::{Key, Store};

/// What of an object a write is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status of a kind where that is a resource of its own.
    Whole,
    /// The status alone.
    Status,
}

/// What must be so for a deletion to be done.
#[derive(Clone, Debug, Default)]
pub(super) struct Preconditions {
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
}

impl Store {
    /// POST
    pub(super) fn create(
        &mut self,
        kind: &'static Kind,
        namespace: &str,
        mut object: Value,
    ) -> Result<Arc<Value>, Refusal> {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let (mut name, stem) = (text("name"), text("generateName"));
        if name.is_empty() && !stem.is_empty() {
            name = format!("{stem}{:05x}", self.number());
        }
        if name.is_empty() {
            return Err(Refusal::invalid(kind, "", "metadata.name: Required value: name or generateName is required"));
        }
        if !text("resourceVersion").is_empty() {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let key = Key { kind, namespace: namespace.to_owned(), name };
        self.named_rightly(&key, &object)?;
        if kind.namespaced {
            let namespaces = kinds::named("namespaces");
            let home = Key { kind: namespaces, namespace: String::new(), name: namespace.to_owned() };
            self.get(&home).ok_or_else(|| Refusal::not_found(namespaces, namespace))?;
        }
        if self.get(&key).is_some() {
            return Err(Refusal::already_exists(kind, &key.name));
        }
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let uid = format!("00000000-0000-4000-8000-{:012x}", self.number());
        let metadata = object["metadata"].as_object_mut().expect("it is one now");
        for field in ["deletionTimestamp", "generation", "managedFields", "selfLink"] {
            metadata.remove(field);
        }
        metadata.insert("name".to_owned(), json!(key.name));
        metadata.insert("uid".to_owned(), json!(uid));
        metadata.insert("creationTimestamp".to_owned(), json!(date::text(SystemTime::now())));
        if kind.namespaced {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        if kind.generation {
            metadata.insert("generation".to_owned(), json!(1));
        }
        if kind.status {
            set_status(&mut object, kind.default_status());
        }
        if kind.kind == "Namespace" {
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(key.name);
        }
        object["apiVersion"] = json!(kind.api_version(kind.versions[0]));
        self.prune(kind, &mut object);
        Ok(self.commit(&key, Some(object)).expect("it is stored"))
    }

    /// PUT
    pub(super) fn update(&mut self, key: &Key, part: Part, object: Value) -> Result<Arc<Value>, Refusal> {
        self.named_rightly(key, &object)?;
        let unconditional = object["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty);
        if unconditional && (key.kind.is_custom() || key.kind.kind == "Lease") {
            let missing = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
            return Err(Refusal::invalid(key.kind, &key.name, missing));
        }
        self.replace(key, part, object)
    }

    /// PATCH; with server-side apply the object may come into being.
    pub(super) fn patch(&mut self, key: &Key, part: Part, form: Form, patch: &Value) -> Result<Arc<Value>, Refusal> {
        let Some(current) = self.get(key) else {
            return match (form, part) {
                (Form::Apply, Part::Whole) => self.create(key.kind, &key.namespace, patch.clone()),
                _ => Err(Refusal::not_found(key.kind, &key.name)),
            };
        };
        let patched = form.apply(Value::clone(current), patch).map_err(|wrong| match form {
            Form::Json => Refusal::invalid(key.kind, &key.name, &wrong),
            _ => Refusal::bad_request(wrong),
        })?;
        self.replace(key, part, patched)
    }

    /// `kubectl apply --force-conflicts` from the test's side: the object is there as given, whatever it was. Its status, if
    /// that is a resource of its own, stays.
    pub(super) fn apply(&mut self, object: &Value) -> Result<Arc<Value>, Refusal> {
        let key = Key::of(object).map_err(Refusal::bad_request)?;
        if self.get(&key).is_some() {
            let mut object = object.clone();
            object["metadata"].as_object_mut().expect("it has a name").remove("resourceVersion");
            self.replace(&key, Part::Whole, object)
        } else {
            self.create(key.kind, &key.namespace, object.clone())
        }
    }

    /// DELETE; one with finalizers is only marked.
    pub(super) fn delete(&mut self, key: &Key, expected: &Preconditions) -> Result<Arc<Value>, Refusal> {
        let current = self.get(key).ok_or_else(|| Refusal::not_found(key.kind, &key.name))?;
        let mut object = Value::clone(current);
        let metadata = &object["metadata"];
        for (what, wanted, found) in [
            ("UID", &expected.uid, &metadata["uid"]),
            ("ResourceVersion", &expected.resource_version, &metadata["resourceVersion"]),
        ] {
            if let Some(wanted) = wanted.as_deref().filter(|wanted| found != wanted) {
                let found = found.as_str().unwrap_or_default();
                let why =
                    format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
                return Err(Refusal::conflict(key.kind, &key.name, &why));
            }
        }
        if has_finalizers(&object) {
            if metadata["deletionTimestamp"].is_null() {
                object["metadata"]["deletionTimestamp"] = json!(date::text(SystemTime::now()));
            }
            return Ok(self.commit(key, Some(object)).expect("it is stored"));
        }
        if key.kind.kind == "Namespace" {
            for inside in self.keys_in(&key.name) {
                self.commit(&inside, None);
            }
        }
        Ok(self.commit(key, None).expect("it was there"))
    }

    /// What somebody else does to an object between a client's reading and writing.
    pub(super) fn interfere(&mut self, key: &Key) {
        let Some(current) = self.get(key) else { return };
        let mut object = Value::clone(current);
        object["metadata"]["annotations"]["example.com/interfered"] = json!(self.number().to_string());
        self.commit(key, Some(object));
    }

    /// The object as it shall be takes the place of the one that is, as far as the part allows.
    fn replace(&mut self, key: &Key, part: Part, wanted: Value) -> Result<Arc<Value>, Refusal> {
        let current = Arc::clone(self.get(key).ok_or_else(|| Refusal::not_found(key.kind, &key.name))?);
        let given = |field: &str| wanted["metadata"][field].as_str().filter(|text| !text.is_empty());
        if given("resourceVersion").is_some_and(|given| current["metadata"]["resourceVersion"] != given) {
            return Err(Refusal::modified(key.kind, &key.name));
        }
        if let Some(uid) = given("uid").filter(|uid| current["metadata"]["uid"] != *uid) {
            let found = current["metadata"]["uid"].as_str().unwrap_or_default();
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
            return Err(Refusal::conflict(key.kind, &key.name, &why));
        }
        self.named_rightly(key, &wanted)?;
        let mut object = match part {
            Part::Whole => {
                let mut object = wanted;
                if key.kind.status {
                    set_status(&mut object, current.get("status").cloned());
                }
                keep_own_metadata(&mut object, &current);
                object
            }
            Part::Status => {
                let mut object = Value::clone(&current);
                set_status(&mut object, wanted.get("status").cloned());
                object
            }
        };
        self.prune(key.kind, &mut object);
        if object == *current {
            return Ok(current);
        }
        if key.kind.generation && desired(&object, key.kind) != desired(&current, key.kind) {
            let generation = current["metadata"]["generation"].as_u64().unwrap_or(0);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        let gone = !object["metadata"]["deletionTimestamp"].is_null() && !has_finalizers(&object);
        Ok(self.commit(key, (!gone).then_some(object)).expect("it was there"))
    }

    /// An object must be what its place says it is, if it says anything.
    fn named_rightly(&self, key: &Key, object: &Value) -> Result<(), Refusal> {
        let said =
            |value: &Value, expected: &str| value.as_str().is_none_or(|said| said.is_empty() || said == expected);
        let metadata = &object["metadata"];
        let (kind, version) = (&object["kind"], object["apiVersion"].as_str());
        if !said(kind, key.kind.kind)
            || version.is_some_and(|version| kinds::of(version, key.kind.kind) != Some(key.kind))
        {
            let message = format!("the object provided is unrecognized as a {}: {kind}, {version:?}", key.kind.kind);
            return Err(Refusal::bad_request(message));
        }
        if !said(&metadata["namespace"], &key.namespace) {
            return Err(Refusal::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if !said(&metadata["name"], &key.name) {
            return Err(Refusal::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                metadata["name"], key.name
            )));
        }
        Ok(())
    }
}

impl Key {
    /// What an object says that it is called; in the namespace `default` if it says nothing of it.
    pub(super) fn of(object: &Value) -> Result<Self, String> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let kind = kinds::of(text("/apiVersion"), text("/kind"));
        let kind = kind.ok_or_else(|| format!("no kind of the test's cluster: {object}"))?;
        let namespace = match text("/metadata/namespace") {
            _ if !kind.namespaced => "",
            "" => "default",
            given => given,
        };
        let name = text("/metadata/name");
        if name.is_empty() {
            return Err(format!("an object without a name: {object}"));
        }
        Ok(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

fn set_status(object: &mut Value, status: Option<Value>) {
    let fields = object.as_object_mut().expect("an object is a map");
    match status {
        Some(status) => _ = fields.insert("status".to_owned(), status),
        None => _ = fields.remove("status"),
    }
}

/// What of the metadata no client has a say in.
fn keep_own_metadata(object: &mut Value, current: &Value) {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["apiVersion"] = current["apiVersion"].clone();
    object["kind"] = current["kind"].clone();
    let metadata = object["metadata"].as_object_mut().expect("it is one now");
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion"]
    {
        match current["metadata"].get(field) {
            Some(own) => _ = metadata.insert(field.to_owned(), own.clone()),
            None => _ = metadata.remove(field),
        }
    }
    metadata.remove("managedFields");
    if current["kind"] == "Namespace" {
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = current["metadata"]["name"].clone();
    }
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// What `metadata.generation` counts the changes of.
fn desired(object: &Value, kind: &Kind) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().expect("an object is a map");
    for field in ["apiVersion", "kind", "metadata"] {
        fields.remove(field);
    }
    if kind.status {
        fields.remove("status");
    }
    object
}
