//! Rows: many small cases that share a frame. Each becomes a case of its own, before anything runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::case::{Case, Finding, Outcome, Request, Status};

/// One row of a case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    about: String,
    /// Where `patch` goes; the case's own place when it is not given.
    #[serde(default)]
    at: Option<String>,
    /// A JSON merge patch (RFC 7386).
    #[serde(default)]
    patch: Option<Value>,
    /// Merge patches by their places.
    #[serde(default)]
    patches: BTreeMap<String, Value>,
    /// Objects besides the case's, or instead of those with the same kind, namespace and name.
    #[serde(default)]
    objects: Vec<Value>,
    #[serde(default)]
    requests: Vec<Request>,
    /// Required, so that a row without findings says so.
    findings: Vec<RowFinding>,
    /// Instead of the case's.
    #[serde(default)]
    outcome: Option<Outcome>,
    #[serde(default)]
    status: Vec<Status>,
}

/// A finding, in full or as `severity code field`.
#[derive(Deserialize)]
#[serde(untagged)]
enum RowFinding {
    Short(String),
    Full(Finding),
}

/// The case itself, without its rows, when it asks for anything; then each row with the case's environment, outcome and
/// objects.
pub(crate) fn expand(mut case: Case) -> Vec<Case> {
    let rows = std::mem::take(&mut case.rows);
    if rows.is_empty() {
        return vec![case];
    }
    let rows = rows.into_iter().enumerate().map(|(number, row)| one(&case, number + 1, row));
    let mut cases: Vec<Case> = rows.collect();
    cases.push(case);
    cases
}

fn one(frame: &Case, number: usize, row: Row) -> Case {
    let path = PathBuf::from(format!("{} row {number} ({})", frame.path.display(), row.about));
    let place = row.at.as_deref().or(frame.at.as_deref()).map(|text| Place::read(text, &path));
    let mut objects = frame.objects.clone();
    for object in row.objects {
        match objects.iter().position(|known| name(known) == name(&object)) {
            Some(index) => objects[index] = object,
            None => objects.push(object),
        }
    }
    if let Some(patch) = &row.patch {
        let place = place.as_ref().unwrap_or_else(|| panic!("{}: `patch` without a place", path.display()));
        place.patch(&mut objects, patch, &path);
    }
    for (place, patch) in &row.patches {
        Place::read(place, &path).patch(&mut objects, patch, &path);
    }
    let findings = row.findings.into_iter().map(|finding| match finding {
        RowFinding::Full(finding) => finding,
        RowFinding::Short(text) => short(&text, place.as_ref(), &path),
    });
    Case {
        _about: row.about,
        environment: frame.environment.clone(),
        objects,
        at: None,
        outcome: row.outcome.unwrap_or_else(|| frame.outcome.clone()),
        requests: row.requests,
        findings: findings.collect(),
        status: row.status,
        rows: Vec::new(),
        path,
    }
}

/// `Kind/namespace/name`, with the namespace that the source fills in.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    format!("{}/{namespace}/{}", text(&object["kind"]), text(&metadata["name"]))
}

/// `severity code field`; a field that begins with a dot is below the row's place, `.` is the place.
fn short(text: &str, place: Option<&Place>, path: &Path) -> Finding {
    let words = text.split_once(' ').and_then(|(severity, rest)| Some((severity, rest.split_once(' ')?)));
    let (Some((severity, (code, field))), Some(place)) = (words, place) else {
        panic!("{}: `{text}` is not `severity code field` about a place", path.display());
    };
    let field = match field.strip_prefix('.') {
        None => field.to_owned(),
        Some("") => place.field.clone(),
        Some(below) if place.field.is_empty() => below.to_owned(),
        Some(below) if below.starts_with('[') => format!("{}{below}", place.field),
        Some(below) => format!("{}.{below}", place.field),
    };
    let known = ["error", "warning", "info"].contains(&severity);
    assert!(known, "{}: `{severity}` is not a severity", path.display());
    Finding {
        severity: severity.to_owned(),
        code: code.to_owned(),
        object: place.object.clone(),
        field: Some(field),
        message: None,
    }
}

/// `Kind/namespace/name`, and a field as findings write it.
struct Place {
    object: String,
    field: String,
}

impl Place {
    fn read(text: &str, path: &Path) -> Self {
        let (object, field) = text.split_once(' ').unwrap_or((text, ""));
        assert_eq!(object.matches('/').count(), 2, "{}: `{object}` is not Kind/namespace/name", path.display());
        Self { object: object.to_owned(), field: field.to_owned() }
    }

    fn patch(&self, objects: &mut [Value], patch: &Value, path: &Path) {
        let object = objects.iter_mut().find(|object| name(object) == self.object);
        let object = object.unwrap_or_else(|| panic!("{}: there is no {}", path.display(), self.object));
        merge(self.find(object, path), patch);
    }

    /// The value there; what is missing on the way becomes an object.
    fn find<'v>(&self, object: &'v mut Value, path: &Path) -> &'v mut Value {
        let mut value = object;
        for step in self.field.split('.').filter(|step| !step.is_empty()) {
            let (name, index) = match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
                Some((name, index)) => (name, Some(index.parse::<usize>().expect("the index of a list"))),
                None => (step, None),
            };
            if !value.is_object() {
                *value = json!({});
            }
            value = &mut value[name];
            if let Some(index) = index {
                value = value.get_mut(index).unwrap_or_else(|| panic!("{}: no {step}", path.display()));
            }
        }
        value
    }
}

/// RFC 7386: maps are merged, null removes, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, change) in patch {
        if change.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), change);
        }
    }
}

#[test]
fn patches_are_those_of_rfc_7386() {
    for (target, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut merged = target.clone();
        merge(&mut merged, &patch);
        assert_eq!(merged, expected, "{target} with {patch}");
    }
}
