//! Reading Kubernetes-style objects: typed, with a finding for every field that is wrong or unknown.

pub(crate) mod memory;

use std::rc::Rc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Finding, Object, ObjectKey, Origin, Severity};

pub use self::memory::{Basis, remember};

/// What was read of an object, the whole of it or a part.
struct Read<T, const WHOLE: bool> {
    /// None where it cannot be read.
    value: Option<Rc<T>>,
    findings: Vec<Finding>,
}

/// Reads an object's JSON as `T`. A field of a wrong type is an error and gives nothing; a field that `T` does not
/// know is a warning and is passed over. What the translation before read of the same object is not read again.
pub fn read<T: DeserializeOwned + 'static>(object: &Object, findings: &mut Vec<Finding>) -> Option<Rc<T>> {
    Read::<T, true>::of(object, read_whole, findings)
}

/// The same for an object of which only a part matters, like a core Service: fields that `T` does not know are no news.
pub fn read_part<T: DeserializeOwned + 'static>(object: &Object, findings: &mut Vec<Finding>) -> Option<Rc<T>> {
    Read::<T, false>::of(object, read_known, findings)
}

impl<T: 'static, const WHOLE: bool> Read<T, WHOLE> {
    fn of(
        object: &Object,
        read: impl FnOnce(&Object, &mut Vec<Finding>) -> Option<T>,
        findings: &mut Vec<Finding>,
    ) -> Option<Rc<T>> {
        let remembered = remember(
            object,
            |_: &Self| true,
            || {
                let mut findings = Vec::new();
                let value = read(object, &mut findings).map(Rc::new);
                Self { value, findings }
            },
        );
        findings.extend(remembered.findings.iter().cloned());
        remembered.value.clone()
    }
}

fn read_known<T: DeserializeOwned>(object: &Object, findings: &mut Vec<Finding>) -> Option<T> {
    let read = serde_json::from_slice(&object.json);
    if read.is_err() {
        findings.push(unreadable::<T>(object));
    }
    read.ok()
}

fn read_whole<T: DeserializeOwned>(object: &Object, findings: &mut Vec<Finding>) -> Option<T> {
    let mut unknown = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(&object.json);
    let read = serde_ignored::deserialize(&mut json, |path| {
        let path = path.to_string();
        if !is_bookkeeping(&path) {
            unknown.push(tidy(&path));
        }
    });
    for path in unknown {
        findings.push(
            finding(
                Severity::Warning,
                "unknown-field",
                &object.key,
                &path,
                "this field is not known and is passed over",
            )
            .remedy("check its spelling and its place, or remove it"),
        );
    }
    match read {
        Ok(value) => Some(value),
        Err(_) => {
            findings.push(unreadable::<T>(object));
            None
        }
    }
}

/// Reads once more, now noting the way to the fault; that costs too much to be done for every object.
fn unreadable<T: DeserializeOwned>(object: &Object) -> Finding {
    let mut json = serde_json::Deserializer::from_slice(&object.json);
    let (path, message) = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        Ok(_) => (String::new(), "it cannot be read".to_owned()),
        Err(error) => (tidy(&error.path().to_string()), in_plain_words(&error.inner().to_string())),
    };
    finding(Severity::Error, "invalid-object", &object.key, &path, message)
        .remedy("correct the field; until then the object is left out")
}

/// serde's sentence without the place in bytes that nobody sees, and without Rust's names of types.
fn in_plain_words(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(what, _)| what);
    let mut words: Vec<&str> = message.split(' ').collect();
    for word in &mut words {
        *word = match *word {
            "u8" | "u16" | "u32" | "u64" | "i32" | "i64" | "usize" => "a whole number",
            "f64" => "a number",
            "map" => "an object",
            other => other,
        };
    }
    words.join(" ").replace("a sequence", "a list").replace("expected struct", "expected an object:")
}

/// A finding about `field` of an object, so far without a remedy.
pub fn finding(
    severity: Severity,
    code: &str,
    object: &ObjectKey,
    field: impl Into<String>,
    message: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        code: code.to_owned(),
        origin: Origin { object: object.clone(), field: field.into() },
        message: message.into(),
        remedy: String::new(),
    }
}

impl Finding {
    /// The same finding with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// The part of `metadata` that dialects look at; the rest is the API server's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Annotations.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// RFC 3339, when known; its text order is its time order.
    pub creation_timestamp: Option<String>,
    /// Counts changes of the spec.
    pub generation: i64,
}

/// `serde_ignored` writes `a.?.b` for options and `a.0.b` for list elements; operators read `a.b` and `a[0].b`.
fn tidy(path: &str) -> String {
    let mut tidy = String::new();
    for part in path.split('.').filter(|part| *part != "?") {
        if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
            tidy.push_str(&format!("[{part}]"));
        } else {
            if !tidy.is_empty() {
                tidy.push('.');
            }
            tidy.push_str(part);
        }
    }
    tidy
}

/// What an API server writes into every object and no dialect reads.
fn is_bookkeeping(path: &str) -> bool {
    path == "apiVersion"
        || path == "kind"
        || path == "status"
        || path.starts_with("status.")
        || path.starts_with("metadata.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    struct Thing {
        #[expect(dead_code, reason = "read only to have metadata known")]
        metadata: Metadata,
        spec: Spec,
    }

    #[derive(Deserialize, Debug)]
    struct Spec {
        ports: Vec<Port>,
    }

    #[derive(Deserialize, Debug)]
    struct Port {
        number: u16,
    }

    fn object(json: &str) -> Object {
        let key = ObjectKey {
            group: "example.com".to_owned(),
            kind: "Thing".to_owned(),
            namespace: "default".to_owned(),
            name: "t".to_owned(),
        };
        Object::new(key, "v1", json.as_bytes().to_vec())
    }

    #[test]
    fn unknown_fields_are_warnings_with_their_path() {
        let mut findings = Vec::new();
        let json = r#"{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"t","uid":"u"},
                       "spec":{"ports":[{"number":1,"colour":"red"}]},"status":{}}"#;
        let thing = read::<Thing>(&object(json), &mut findings).unwrap();
        assert_eq!(thing.spec.ports[0].number, 1);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].origin.field, "spec.ports[0].colour");
        assert_eq!(findings[0].severity, Severity::Warning);
    }

    #[test]
    fn a_wrong_type_is_an_error_with_its_path() {
        let mut findings = Vec::new();
        let json = r#"{"metadata":{},"spec":{"ports":[{"number":"1"}]}}"#;
        assert!(read::<Thing>(&object(json), &mut findings).is_none());
        assert_eq!(findings[0].origin.field, "spec.ports[0].number");
        assert_eq!(findings[0].severity, Severity::Error);
    }

    #[test]
    fn what_is_remembered_is_said_again() {
        let broken = object(r#"{"metadata":{}}"#);
        for _ in 0..3 {
            let mut findings = Vec::new();
            memory::translating(|| assert!(read::<Thing>(&broken, &mut findings).is_none()));
            assert_eq!(findings.len(), 1);
        }
    }
}
