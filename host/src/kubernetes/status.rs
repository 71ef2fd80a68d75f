//! What is to be written so that an object has the status that it should have.
//!
//! A status is the writer's whole, but for entries that carry another controller's name: of lists that several
//! controllers share (`parents`, `ancestors`) only the entries that carry ours are ours. Conditions keep the time of their
//! last transition as long as they do not change.

use serde_json::{Map, Value, json};

/// The field that says whose an entry of a shared list is.
const CONTROLLER: &str = "controllerName";
/// The fields by which an entry of a list is the same entry as before.
const IDENTITY: [&str; 6] = ["type", "name", "parentRef", "ancestorRef", CONTROLLER, "value"];

/// The status to be written over another: `wanted`, with what of `current` is to stay.
pub(super) fn merged(wanted: &Value, current: &Value, controller: &str, now: &str) -> Value {
    let mut merged = Map::new();
    for (field, value) in wanted.as_object().into_iter().flatten() {
        merged.insert(field.clone(), carry(value, &current[field], controller, now));
    }
    // A list that we have no entry in may have others'.
    for (field, value) in current.as_object().into_iter().flatten() {
        if !merged.contains_key(field) && is_shared(value) {
            let kept = carry(&json!([]), value, controller, now);
            merged.insert(field.clone(), kept);
        }
    }
    Value::Object(merged)
}

/// The status without our entries in its shared lists; none if there are none.
pub(super) fn withdrawn(current: &Value, controller: &str) -> Option<Value> {
    let ours = |entry: &Value| entry[CONTROLLER] == controller;
    let mut rest = current.clone();
    let mut found = false;
    for value in rest.as_object_mut()?.values_mut() {
        if let Value::Array(entries) = value {
            let before = entries.len();
            entries.retain(|entry| !ours(entry));
            found |= entries.len() != before;
        }
    }
    found.then_some(rest)
}

/// As a merge patch (RFC 7396): what turns one value into the other; none if they are the same.
pub(super) fn patch(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return Some(to.clone()) };
    let mut patch = Map::new();
    for (field, value) in to {
        if let Some(change) = self::patch(from.get(field).unwrap_or(&Value::Null), value) {
            patch.insert(field.clone(), change);
        }
    }
    for field in from.keys().filter(|field| !to.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

fn is_shared(value: &Value) -> bool {
    value.as_array().is_some_and(|entries| entries.iter().any(|entry| entry.get(CONTROLLER).is_some()))
}

fn carry(wanted: &Value, current: &Value, controller: &str, now: &str) -> Value {
    match (wanted, current) {
        (Value::Array(wanted), current) => {
            let none = Vec::new();
            let current = current.as_array().unwrap_or(&none);
            Value::Array(list(wanted, current, controller, now))
        }
        (Value::Object(fields), current) => {
            let mut carried: Map<String, Value> = fields
                .iter()
                .map(|(field, value)| (field.clone(), carry(value, &current[field], controller, now)))
                .collect();
            if is_condition(fields) {
                let stays = current["status"] == wanted["status"] && current["lastTransitionTime"].is_string();
                let since = if stays { current["lastTransitionTime"].clone() } else { json!(now) };
                carried.insert("lastTransitionTime".to_owned(), since);
            }
            Value::Object(carried)
        }
        (scalar, _) => scalar.clone(),
    }
}

/// Others' entries stay where they are, and ours where they were.
fn list(wanted: &[Value], current: &[Value], controller: &str, now: &str) -> Vec<Value> {
    let was = |entry: &Value| current.iter().find(|current| is_same(entry, current)).unwrap_or(&Value::Null);
    let carried = |entry: &Value| carry(entry, was(entry), controller, now);
    let shared = |entries: &[Value]| entries.iter().any(|entry| entry.get(CONTROLLER).is_some());
    if !shared(wanted) && !shared(current) {
        return wanted.iter().map(carried).collect();
    }
    let mut left: Vec<&Value> = wanted.iter().collect();
    let mut list = Vec::new();
    for entry in current {
        if entry[CONTROLLER] != controller {
            list.push(entry.clone());
        } else if let Some(at) = left.iter().position(|wanted| is_same(wanted, entry)) {
            list.push(carried(left.remove(at)));
        }
    }
    list.extend(left.into_iter().map(carried));
    list
}

fn is_same(one: &Value, other: &Value) -> bool {
    one.is_object() && IDENTITY.iter().all(|field| one.get(field) == other.get(field))
}

fn is_condition(fields: &Map<String, Value>) -> bool {
    ["type", "status", "reason"].iter().all(|field| fields.get(*field).is_some_and(Value::is_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "sekisho.dev/gateway-controller";
    const THEM: &str = "example.com/other";

    fn condition(kind: &str, status: &str, since: Option<&str>) -> Value {
        let mut condition = json!({"type": kind, "status": status, "reason": "R", "message": "m"});
        if let Some(since) = since {
            condition["lastTransitionTime"] = json!(since);
        }
        condition
    }

    fn entry(controller: &str, parent: &str, conditions: &[Value]) -> Value {
        json!({"parentRef": {"name": parent}, "controllerName": controller, "conditions": conditions})
    }

    #[test]
    fn a_condition_keeps_the_time_of_its_last_transition() {
        let wanted = json!({"conditions": [condition("A", "True", None), condition("B", "True", None)]});
        let first = merged(&wanted, &Value::Null, US, "then");
        assert_eq!(
            first,
            json!({"conditions": [condition("A", "True", Some("then")), condition("B", "True", Some("then"))]})
        );
        assert_eq!(merged(&wanted, &first, US, "now"), first, "nothing to write");
        let changed = json!({"conditions": [condition("A", "True", None), condition("B", "False", None)]});
        assert_eq!(
            merged(&changed, &first, US, "now"),
            json!({"conditions": [condition("A", "True", Some("then")), condition("B", "False", Some("now"))]})
        );
    }

    #[test]
    fn listeners_are_told_apart_by_name() {
        let listener = |name: &str, since| json!({"name": name, "conditions": [condition("A", "True", since)]});
        let current = json!({"listeners": [listener("x", Some("then")), listener("y", Some("later"))]});
        let wanted = json!({"listeners": [listener("y", None), listener("z", None)]});
        assert_eq!(
            merged(&wanted, &current, US, "now"),
            json!({"listeners": [listener("y", Some("later")), listener("z", Some("now"))]})
        );
    }

    #[test]
    fn others_entries_stay_and_nobody_is_moved() {
        let held = |since| [condition("A", "True", since)];
        let current = json!({"parents": [
            entry(US, "gone", &held(Some("then"))),
            entry(THEM, "b", &held(Some("then"))),
            entry(US, "a", &held(Some("then"))),
        ]});
        let wanted = json!({"parents": [entry(US, "new", &held(None)), entry(US, "a", &held(None))]});
        let merged = merged(&wanted, &current, US, "now");
        assert_eq!(
            merged,
            json!({"parents": [
                entry(THEM, "b", &held(Some("then"))),
                entry(US, "a", &held(Some("then"))),
                entry(US, "new", &held(Some("now"))),
            ]})
        );
        assert_eq!(super::merged(&wanted, &merged, US, "later"), merged, "in any order of ours");
    }

    #[test]
    fn others_lists_stay_where_we_have_nothing_to_say() {
        let current = json!({"parents": [entry(THEM, "a", &[])], "old": [1]});
        let expected = json!({"conditions": [], "parents": [entry(THEM, "a", &[])]});
        assert_eq!(merged(&json!({"conditions": []}), &current, US, "now"), expected);
    }

    #[test]
    fn what_is_ours_no_more_is_withdrawn() {
        let current = json!({"parents": [entry(THEM, "a", &[]), entry(US, "a", &[])], "conditions": []});
        let rest = json!({"parents": [entry(THEM, "a", &[])], "conditions": []});
        assert_eq!(withdrawn(&current, US), Some(rest.clone()));
        assert_eq!(withdrawn(&rest, US), None);
        assert_eq!(withdrawn(&Value::Null, US), None);
    }

    #[test]
    fn a_patch_makes_the_one_the_other() {
        let from = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": [1, 2]});
        let to = json!({"a": 1, "b": {"c": 2}, "e": [2], "f": {"g": {"h": 1}}});
        assert_eq!(patch(&from, &to), Some(json!({"b": {"c": 2, "d": null}, "e": [2], "f": {"g": {"h": 1}}})));
        assert_eq!(patch(&to, &to), None);
        assert_eq!(patch(&Value::Null, &to), Some(to));
    }
}
