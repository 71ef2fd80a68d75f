//! One file's bytes as objects: JSON or YAML, one document or several, plain or in a `List`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::object::ObjectKey;

/// An object as a file has it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) key: ObjectKey,
    pub(super) version: String,
    pub(super) value: Value,
}

/// Why a file gives no objects.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParseError {
    /// Line and column, from 1, when the syntax is at fault.
    pub(super) at: Option<(usize, usize)>,
    /// What is wrong.
    pub(super) message: String,
}

/// Kinds without a namespace among those that a gateway's directory may hold.
const CLUSTER_SCOPED: [&str; 10] = [
    "Namespace",
    "GatewayClass",
    "IngressClass",
    "Node",
    "PersistentVolume",
    "StorageClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
];

/// Reads all objects of a file; one that is wrong refuses the whole file, so that nothing is half in force.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Written>, ParseError> {
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let documents = if is_json { json(bytes)? } else { yaml(bytes)? };
    let mut objects = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let which = if index == 0 { String::new() } else { format!("document {}: ", index + 1) };
        flatten(document, &which, &mut objects)?;
    }
    Ok(objects)
}

fn json(bytes: &[u8]) -> Result<Vec<Value>, ParseError> {
    serde_json::Deserializer::from_slice(bytes).into_iter().collect::<Result<Vec<Value>, _>>().map_err(|e| ParseError {
        at: Some((e.line(), e.column())),
        message: crate::bootstrap::without_place(&e.to_string()),
    })
}

fn yaml(bytes: &[u8]) -> Result<Vec<Value>, ParseError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| ParseError { at: None, message: format!("it is not UTF-8 after byte {}", e.valid_up_to()) })?;
    // YAML 1.2: `n` and `off` are words, as Kubernetes' own names may be.
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_multiple_with_options::<Value>(text, options)
        .map(|documents| documents.into_iter().filter(|document| !document.is_null()).collect())
        .map_err(|e| ParseError {
            at: e.location().map(|place| (place.line() as usize, place.column() as usize)),
            message: crate::bootstrap::without_place(&first_line(&e.without_snippet().to_string())),
        })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn flatten(value: Value, which: &str, objects: &mut Vec<Written>) -> Result<(), ParseError> {
    let wrong = |message: String| ParseError { at: None, message: format!("{which}{message}") };
    let Value::Object(mut map) = value else {
        return Err(wrong("it is not an object with apiVersion, kind and metadata".to_owned()));
    };
    let is_list = map.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(Value::Array(items)) = map.remove("items") {
        for (index, item) in items.into_iter().enumerate() {
            flatten(item, &format!("{which}items[{index}]: "), objects)?;
        }
        return Ok(());
    }
    objects.push(object(Value::Object(map)).map_err(wrong)?);
    Ok(())
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Names,
}

#[derive(Deserialize, Default)]
struct Names {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

fn object(mut value: Value) -> Result<Written, String> {
    check_shape(&value["metadata"])?;
    let head = Head::deserialize(&value).map_err(|e| format!("apiVersion, kind or metadata: {e}"))?;
    for (field, text) in
        [("apiVersion", &head.api_version), ("kind", &head.kind), ("metadata.name", &head.metadata.name)]
    {
        if text.is_empty() {
            let name = if head.metadata.name.is_empty() { "an object" } else { &head.metadata.name };
            return Err(format!("{name} has no {field}"));
        }
    }
    for (field, text) in [("name", Some(&head.metadata.name)), ("namespace", head.metadata.namespace.as_ref())] {
        // As an API server has it: names are parts of paths, here of those in the log and in names of listeners.
        if let Some(text) = text.filter(|text| text.contains(['/', '%']) || [".", ".."].contains(&text.as_str())) {
            return Err(format!("metadata.{field} `{text}` is not a name: it has `/` or `%` in it, or only dots"));
        }
    }
    let (group, version) = head.api_version.split_once('/').unwrap_or(("", &head.api_version));
    let namespace = if CLUSTER_SCOPED.contains(&head.kind.as_str()) {
        String::new()
    } else {
        head.metadata.namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| "default".to_owned())
    };
    if let Some(metadata) = value["metadata"].as_object_mut() {
        if namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".to_owned(), namespace.clone().into());
        }
    }
    let key = ObjectKey { group: group.to_owned(), kind: head.kind, namespace, name: head.metadata.name };
    let version = version.to_owned();
    Ok(Written { key, version, value })
}

/// What everything downstream relies on: metadata is a map, and labels and annotations are maps of texts.
fn check_shape(metadata: &Value) -> Result<(), String> {
    let Some(fields) = metadata.as_object() else { return Err("metadata must be a map with a name".to_owned()) };
    for name in ["labels", "annotations"] {
        let texts = match fields.get(name) {
            None | Some(Value::Null) => true,
            Some(Value::Object(map)) => map.values().all(Value::is_string),
            Some(_) => false,
        };
        if !texts {
            return Err(format!("metadata.{name} must be a map of texts"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<String> {
        parse(Path::new(path), text.as_bytes()).unwrap().iter().map(|object| object.key.to_string()).collect()
    }

    #[test]
    fn documents_and_lists_are_flattened() {
        let one = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#;
        assert_eq!(names("x.json", one), ["Secret/default/a"]);
        let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{one}]}} {one}"#);
        assert_eq!(names("x.json", &list), ["Secret/default/a", "Secret/default/a"]);
        let yaml = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n, namespace: odd}\n---\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: g\n  namespace: m\n";
        assert_eq!(names("x.yaml", yaml), ["Namespace/n", "Gateway/m/g"]);
    }

    #[test]
    fn wrong_syntax_has_a_place() {
        let error = parse(Path::new("x.json"), b"{\n \"a\": tru }").unwrap_err();
        assert_eq!(error.at, Some((2, 10)));
        let error = parse(Path::new("x.yaml"), b"a: b\n  c: [").unwrap_err();
        assert_eq!(error.at.unwrap().0, 2, "{error:?}");
        assert!(!error.message.contains(" line "), "{error:?}");
        for name in ["a/b", "a%2fb", "..", "."] {
            let text = format!(r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"{name}"}}}}"#);
            let error = parse(Path::new("x.json"), text.as_bytes()).unwrap_err();
            assert!(error.message.contains("metadata.name"), "{error:?}");
        }
        let error = parse(Path::new("x.json"), br#"{"kind":"A","metadata":{"name":"n"}}"#).unwrap_err();
        assert_eq!(error.message, "n has no apiVersion");
        assert!(parse(Path::new("x.json"), b"[]").is_err());
    }
}
