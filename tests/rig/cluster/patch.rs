//! The forms of PATCH: how one object makes another of it. What may not change is `writes`' business.

use serde_json::{Map, Value};

/// What the body of a PATCH is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 7396: objects are merged, null deletes, anything else (lists too) replaces.
    Merge,
    /// RFC 6902.
    Json,
    /// What `kubectl apply` sends for built-in kinds. Here it is merged, so that lists replace: right for a whole list, wrong
    /// for a piece of one.
    StrategicMerge,
    /// Server-side apply. Here it is merged, with nobody's fields kept apart from another's; answers carry a warning that
    /// says so.
    Apply,
}

impl Form {
    /// By the request's `Content-Type`.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Some(Self::Merge),
            "application/json-patch+json" => Some(Self::Json),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }

    /// The patched object, or what is wrong with the patch.
    pub(super) fn apply(self, mut object: Value, patch: &Value) -> Result<Value, String> {
        match self {
            Self::Merge | Self::StrategicMerge | Self::Apply => {
                merge(&mut object, patch);
                Ok(object)
            }
            Self::Json => {
                let operations = patch.as_array().ok_or("a JSON patch is a list of operations")?;
                for operation in operations {
                    operate(&mut object, operation)?;
                }
                Ok(object)
            }
        }
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let fields = target.as_object_mut().expect("it is one now");
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

fn operate(object: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |field: &str| operation[field].as_str().ok_or_else(|| format!("{operation} has no {field}"));
    let path = text("path")?;
    let value = || operation.get("value").cloned().ok_or_else(|| format!("{operation} has no value"));
    match text("op")? {
        "add" => add(object, path, value()?),
        "remove" => remove(object, path).map(drop),
        "replace" => {
            let place = object.pointer_mut(path).ok_or_else(|| missing(path))?;
            *place = value()?;
            Ok(())
        }
        "move" => {
            let moved = remove(object, text("from")?)?;
            add(object, path, moved)
        }
        "copy" => {
            let from = text("from")?;
            let copied = object.pointer(from).cloned().ok_or_else(|| missing(from))?;
            add(object, path, copied)
        }
        "test" => {
            let expected = value()?;
            let found = object.pointer(path).unwrap_or(&Value::Null);
            if *found == expected { Ok(()) } else { Err(format!("testing value {path} failed")) }
        }
        other => Err(format!("unexpected kind: {other}")),
    }
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, last)) = path.rsplit_once('/') else {
        *object = value;
        return Ok(());
    };
    match object.pointer_mut(parent).ok_or_else(|| missing(path))? {
        Value::Object(fields) => {
            fields.insert(unescaped(last), value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => {
            let at = last.parse().ok().filter(|at| *at <= items.len()).ok_or_else(|| missing(path))?;
            items.insert(at, value);
            Ok(())
        }
        _ => Err(missing(path)),
    }
}

fn remove(object: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| missing(path))?;
    let removed = match object.pointer_mut(parent).ok_or_else(|| missing(path))? {
        Value::Object(fields) => fields.remove(&unescaped(last)),
        Value::Array(items) => last.parse().ok().filter(|at| *at < items.len()).map(|at| items.remove(at)),
        _ => None,
    };
    removed.ok_or_else(|| missing(path))
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn missing(path: &str) -> String {
    format!("the patch names {path}, which is missing")
}
