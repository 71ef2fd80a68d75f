//! Which objects a list or a watch is about.

use serde_json::Value;

use super::kinds::Kind;
use super::refusal::Refusal;

/// A kind, perhaps one namespace of it, and selectors.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) kind: &'static Kind,
    /// None: all of them.
    pub(super) namespace: Option<String>,
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Is(String),
    IsNot(String),
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    Exists,
    IsMissing,
}

impl Selection {
    /// Everything of a kind, or of one namespace.
    pub(super) fn all(kind: &'static Kind, namespace: Option<&str>) -> Self {
        Self { kind, namespace: namespace.map(str::to_owned), labels: Vec::new(), fields: Vec::new() }
    }

    /// Narrowed by `labelSelector` and `fieldSelector`, as they are written in a query.
    pub(super) fn narrowed(mut self, labels: &str, fields: &str) -> Result<Self, Refusal> {
        self.labels = requirements(labels)?;
        self.fields = requirements(fields)?;
        for field in &self.fields {
            let known = matches!(field.key.as_str(), "metadata.name" | "metadata.namespace")
                || (self.kind.kind == "Secret" && field.key == "type");
            if !known || !matches!(field.test, Test::Is(_) | Test::IsNot(_)) {
                let message = format!("field label not supported: {}", field.key);
                return Err(Refusal::bad_request(message));
            }
        }
        Ok(self)
    }

    /// The one name that it is about, if it is about one: RBAC's `resourceNames` count for it.
    pub(super) fn name(&self) -> Option<&str> {
        self.fields.iter().find_map(|field| match &field.test {
            Test::Is(name) if field.key == "metadata.name" => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether it leaves out anything by a selector.
    pub(super) fn is_narrowed(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    /// Whether an object of the kind is one of them.
    pub(super) fn holds(&self, object: &Value) -> bool {
        let metadata = &object["metadata"];
        let here = self.namespace.as_ref().is_none_or(|namespace| metadata["namespace"] == namespace.as_str());
        let field = |requirement: &Requirement| {
            let pointer = format!("/{}", requirement.key.replace('.', "/"));
            requirement.holds(object.pointer(&pointer).and_then(Value::as_str).or(Some("")))
        };
        here && self.labels.iter().all(|label| label.holds(metadata["labels"][&label.key].as_str()))
            && self.fields.iter().all(field)
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        match &self.test {
            Test::Is(wanted) => value == Some(wanted),
            Test::IsNot(other) => value != Some(other),
            Test::OneOf(wanted) => value.is_some_and(|value| wanted.iter().any(|one| one == value)),
            Test::NoneOf(others) => value.is_none_or(|value| others.iter().all(|one| one != value)),
            Test::Exists => value.is_some(),
            Test::IsMissing => value.is_none(),
        }
    }
}

/// `a=b,c!=d,e in (f,g),h,!i`
fn requirements(text: &str) -> Result<Vec<Requirement>, Refusal> {
    let mut depth = 0;
    let parts = text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(text: &str) -> Result<Requirement, Refusal> {
    let (key, test) = if let Some((key, set)) = text.split_once(" notin ") {
        (key, Test::NoneOf(set_of(set)?))
    } else if let Some((key, set)) = text.split_once(" in ") {
        (key, Test::OneOf(set_of(set)?))
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Test::IsNot(value.trim().to_owned()))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Test::Is(value.trim().to_owned()))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Test::IsMissing)
    } else {
        (text, Test::Exists)
    };
    Ok(Requirement { key: key.trim().to_owned(), test })
}

fn set_of(text: &str) -> Result<Vec<String>, Refusal> {
    let inner = text.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.ok_or_else(|| Refusal::bad_request(format!("unable to parse requirement: {text}")))?;
    Ok(inner.split(',').map(|value| value.trim().to_owned()).collect())
}
