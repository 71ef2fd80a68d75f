//! What the operator should know: a place in an object, and the list that findings about it go to.

use std::collections::HashSet;
use std::fmt;

use sekisho_sdk::{Finding, ObjectKey, Origin, Severity};

/// A place in an object. It is spelt out only when something is said about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    object: &'p ObjectKey,
    parent: Option<&'p Self>,
    step: Step<'p>,
    /// Fields that were written at another place, and that place.
    borrowed: Option<(&'p [&'static str], &'p Self)>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root(&'p str),
    Field(&'p str),
    Item(&'p str, usize),
}

impl<'p> Place<'p> {
    /// A top-level field of an object: `spec`, `metadata`.
    pub(crate) fn root(object: &'p ObjectKey, field: &'p str) -> Self {
        Self { object, parent: None, step: Step::Root(field), borrowed: None }
    }

    /// The same place, some fields of which were written at another one: those that a delegate has from its root.
    pub(crate) fn borrowing<'c>(self, fields: &'c [&'static str], of: &'c Place<'c>) -> Place<'c>
    where
        'p: 'c,
    {
        Place { borrowed: Some((fields, of)), ..self }
    }

    /// A field below this place.
    pub(crate) fn field<'c>(&'c self, name: &'c str) -> Place<'c> {
        self.below(name, Step::Field(name))
    }

    /// An element of a list below this place.
    pub(crate) fn item<'c>(&'c self, list: &'c str, index: usize) -> Place<'c> {
        self.below(list, Step::Item(list, index))
    }

    fn below<'c>(&'c self, field: &str, step: Step<'c>) -> Place<'c> {
        let parent = match self.borrowed {
            Some((fields, of)) if fields.contains(&field) => of,
            _ => self,
        };
        Place { object: parent.object, parent: Some(parent), step, borrowed: None }
    }

    /// As the translation says it.
    pub(crate) fn origin(&self) -> Origin {
        self.object.at(self.to_string())
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        match self.step {
            Step::Root(name) | Step::Field(name) => f.write_str(name),
            Step::Item(list, index) => write!(f, "{list}[{index}]"),
        }
    }
}

/// The findings of one translation. The same one about the same place is kept once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    said: HashSet<(String, String)>,
}

impl Findings {
    /// Something does not work as written.
    pub(crate) fn error(&mut self, at: &Place<'_>, code: &str, message: impl Into<String>, remedy: &str) {
        self.say(Severity::Error, at.origin(), code, message.into(), remedy);
    }

    /// Something works, but hardly as meant.
    pub(crate) fn warning(&mut self, at: &Place<'_>, code: &str, message: impl Into<String>, remedy: &str) {
        self.say(Severity::Warning, at.origin(), code, message.into(), remedy);
    }

    /// Something worth knowing.
    pub(crate) fn info(&mut self, at: &Place<'_>, code: &str, message: impl Into<String>, remedy: &str) {
        self.say(Severity::Info, at.origin(), code, message.into(), remedy);
    }

    /// About a place that is known only by its origin.
    pub(crate) fn say(&mut self, severity: Severity, at: Origin, code: &str, message: String, remedy: &str) {
        let ObjectKey { kind, namespace, name, .. } = &at.object;
        if self.said.insert((format!("{kind}/{namespace}/{name} {} {message}", at.field), code.to_owned())) {
            let remedy = remedy.to_owned();
            self.list.push(Finding { severity, code: code.to_owned(), origin: at, message, remedy });
        }
    }

    /// What the SDK's readers write to.
    pub(crate) fn list(&mut self) -> &mut Vec<Finding> {
        &mut self.list
    }

    pub(crate) fn into_list(self) -> Vec<Finding> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_as_operators_write_them() {
        let object = ObjectKey::new("g", "Gateway", "default", "g");
        let spec = Place::root(&object, "spec");
        let server = spec.item("servers", 2);
        assert_eq!(server.field("tls").field("mode").to_string(), "spec.servers[2].tls.mode");
        assert_eq!(spec.to_string(), "spec");
    }

    #[test]
    fn borrowed_fields_are_found_where_they_were_written() {
        let (root, delegate) = (
            ObjectKey::new("g", "VirtualService", "a", "root"),
            ObjectKey::new("g", "VirtualService", "b", "delegate"),
        );
        let (root, delegate) = (Place::root(&root, "spec"), Place::root(&delegate, "spec"));
        let (lender, rule) = (root.item("http", 3), delegate.item("http", 1));
        let rule = rule.borrowing(&["retries", "mirrors"], &lender);
        let told = |place: Place<'_>| format!("{} {place}", place.origin().object.name);
        assert_eq!(told(rule.field("retries")), "root spec.http[3].retries");
        assert_eq!(told(rule.item("mirrors", 0)), "root spec.http[3].mirrors[0]");
        assert_eq!(told(rule.field("timeout")), "delegate spec.http[1].timeout");
        assert_eq!(told(rule), "delegate spec.http[1]");
    }

    #[test]
    fn nothing_is_said_twice() {
        let object = ObjectKey::new("g", "Gateway", "default", "g");
        let spec = Place::root(&object, "spec");
        let mut findings = Findings::default();
        findings.error(&spec, "code", "once", "");
        findings.error(&spec, "code", "once", "");
        findings.error(&spec, "code", "another", "");
        assert_eq!(findings.into_list().len(), 2);
    }
}
