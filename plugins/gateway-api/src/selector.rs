//! Label selectors, as `allowedRoutes.namespaces.selector` uses them on Namespaces.

use std::collections::{BTreeMap, BTreeSet};

use crate::objects::{LabelExpression, LabelSelector};

/// Requirements on labels, all of which must hold. Without any, everything is selected.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    label: String,
    test: Test,
}

#[derive(Debug, PartialEq, Eq)]
enum Test {
    In(BTreeSet<String>),
    /// Holds without the label, too.
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

impl Selector {
    /// # Errors
    /// The place below the selector, and what is wrong there.
    pub(crate) fn read(spec: &LabelSelector) -> Result<Self, (String, String)> {
        let equal = spec
            .match_labels
            .iter()
            .map(|(label, value)| Requirement { label: label.clone(), test: Test::In([value.clone()].into()) });
        let mut requirements: Vec<_> = equal.collect();
        for (index, expression) in spec.match_expressions.iter().enumerate() {
            let test = test(expression).map_err(|why| (format!("matchExpressions[{index}]"), why))?;
            requirements.push(Requirement { label: expression.key.clone(), test });
        }
        Ok(Self { requirements })
    }

    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|Requirement { label, test }| match (test, labels.get(label)) {
            (Test::In(values), Some(value)) => values.contains(value),
            (Test::NotIn(values), Some(value)) => !values.contains(value),
            (Test::Exists, value) => value.is_some(),
            (Test::DoesNotExist, value) => value.is_none(),
            (Test::In(_), None) => false,
            (Test::NotIn(_), None) => true,
        })
    }
}

fn test(expression: &LabelExpression) -> Result<Test, String> {
    if expression.key.is_empty() {
        return Err("it needs a `key`".to_owned());
    }
    let values: BTreeSet<_> = expression.values.iter().cloned().collect();
    match (expression.operator.as_str(), values.is_empty()) {
        ("In", false) => Ok(Test::In(values)),
        ("NotIn", false) => Ok(Test::NotIn(values)),
        ("Exists", true) => Ok(Test::Exists),
        ("DoesNotExist", true) => Ok(Test::DoesNotExist),
        ("In" | "NotIn", true) => Err(format!("{} needs `values`", expression.operator)),
        ("Exists" | "DoesNotExist", false) => Err(format!("{} takes no `values`", expression.operator)),
        (other, _) => Err(format!("`{other}` is not an operator: In, NotIn, Exists or DoesNotExist")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &str) -> bool {
        let selector = Selector::read(&serde_json::from_str(selector).unwrap()).unwrap();
        selector.selects(&serde_json::from_str(labels).unwrap())
    }

    #[test]
    fn requirements_are_anded() {
        let selector =
            r#"{"matchLabels":{"a":"1"},"matchExpressions":[{"key":"b","operator":"In","values":["x","y"]}]}"#;
        assert!(selects(selector, r#"{"a":"1","b":"y"}"#));
        assert!(!selects(selector, r#"{"a":"1"}"#));
        assert!(!selects(selector, r#"{"a":"2","b":"y"}"#));
        assert!(selects("{}", "{}"), "an empty selector selects everything");
    }

    #[test]
    fn not_in_holds_without_the_label_and_exists_does_not() {
        let expression = |operator: &str, values: &str| {
            format!(r#"{{"matchExpressions":[{{"key":"k","operator":"{operator}","values":[{values}]}}]}}"#)
        };
        assert!(selects(&expression("NotIn", r#""v""#), "{}"));
        assert!(!selects(&expression("NotIn", r#""v""#), r#"{"k":"v"}"#));
        assert!(!selects(&expression("Exists", ""), "{}"));
        assert!(selects(&expression("DoesNotExist", ""), "{}"));
    }

    #[test]
    fn malformed_expressions_say_where() {
        for (operator, values) in [("In", "[]"), ("Exists", r#"["v"]"#), ("Like", r#"["v"]"#)] {
            let text = format!(r#"{{"matchExpressions":[{{"key":"k","operator":"{operator}","values":{values}}}]}}"#);
            let (field, _) = Selector::read(&serde_json::from_str(&text).unwrap()).unwrap_err();
            assert_eq!(field, "matchExpressions[0]", "{operator}");
        }
    }
}
