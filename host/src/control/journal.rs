//! What control writes into the log: findings and statuses, each once when it appears and once when it goes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use crate::finding::{Finding, Severity};
use crate::object::ObjectKey;
use crate::plugin::Status;

/// What was last written.
#[derive(Debug, Default)]
pub(super) struct Journal {
    findings: BTreeSet<Finding>,
    /// Of each plugin.
    statuses: Vec<HashMap<ObjectKey, Arc<Value>>>,
}

impl Journal {
    pub(super) fn findings(&mut self, findings: &[Finding]) {
        let now: BTreeSet<Finding> = findings.iter().cloned().collect();
        for finding in now.difference(&self.findings) {
            write(finding);
        }
        for finding in self.findings.difference(&now).filter(|finding| finding.severity != Severity::Info) {
            tracing::info!(
                code = finding.code.as_str(),
                subject = finding.subject.to_string(),
                "resolved: {}",
                finding.message
            );
        }
        self.findings = now;
    }

    pub(super) fn statuses(&mut self, plugin: usize, statuses: &[Status]) {
        if self.statuses.len() <= plugin {
            self.statuses.resize_with(plugin + 1, HashMap::new);
        }
        let before = &self.statuses[plugin];
        for Status { object, status, .. } in statuses {
            let was = before.get(object);
            if was.is_some_and(|was| Arc::ptr_eq(was, status)) {
                continue;
            }
            let now = conditions(status);
            if !now.is_empty() && was.is_none_or(|was| conditions(was) != now) {
                tracing::info!(object = object.to_string(), "{}", now.join(" "));
            }
        }
        self.statuses[plugin] =
            statuses.iter().map(|status| (status.object.clone(), Arc::clone(&status.status))).collect();
    }
}

fn write(finding: &Finding) {
    let (code, subject, remedy) = (finding.code.as_str(), finding.subject.to_string(), finding.remedy.as_str());
    match finding.severity {
        Severity::Error => tracing::error!(code, subject, remedy, "{}", finding.message),
        Severity::Warning => tracing::warn!(code, subject, remedy, "{}", finding.message),
        Severity::Info => tracing::info!(code, subject, remedy, "{}", finding.message),
    }
}

/// All conditions in a status, wherever its API puts them, as `place type=status(reason)`.
#[must_use]
pub fn conditions(status: &Value) -> Vec<String> {
    fn walk(value: &Value, place: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let name = fields.get("name").and_then(Value::as_str).unwrap_or(place);
                for (field, value) in fields {
                    match (field.as_str(), value) {
                        ("conditions", Value::Array(conditions)) => {
                            found.extend(conditions.iter().map(|condition| one(condition, name)));
                        }
                        _ => walk(value, name, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, place, found)),
            _ => {}
        }
    }
    fn one(condition: &Value, place: &str) -> String {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let place = if place.is_empty() { String::new() } else { format!("{place}:") };
        match (text("status").as_str(), text("reason")) {
            ("True", _) => format!("{place}{}", text("type")),
            (status, reason) => format!("{place}{}={status}({reason})", text("type")),
        }
    }
    let mut found = Vec::new();
    walk(status, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_found_wherever_they_are() {
        let status = json!({
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}],
            "listeners": [{"name": "https", "conditions": [
                {"type": "Programmed", "status": "False", "reason": "Invalid"}]}],
        });
        assert_eq!(conditions(&status), ["Accepted", "https:Programmed=False(Invalid)"]);
    }
}
