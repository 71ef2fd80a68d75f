//! How commands write for people.

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde_json::Value;

use crate::printable::printable;

/// Prints an answer, whole. Who has read enough of it may leave, as `head` does.
pub(super) fn say(answer: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(answer.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        said => said,
    }
}

/// Whether colours are used: on a terminal only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colours(bool);

impl Colours {
    pub(super) fn of_stdout() -> Self {
        Self(io::stdout().is_terminal())
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Green or red.
    pub(super) fn verdict(self, good: bool, text: &str) -> String {
        self.paint(if good { "1;32" } else { "1;31" }, text)
    }

    /// Bold.
    pub(super) fn title(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// The same with nothing in it that moves a cursor: names come from files and plugins.
pub(super) fn harmless(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable(text, usize::MAX)),
        Value::Array(values) => values.into_iter().map(harmless).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, harmless(value))).collect(),
        other => other,
    }
}

/// A finding in the form of [`crate::finding::Finding::to_json`].
pub(super) fn finding(finding: &Value, colours: Colours) -> String {
    let finding = &harmless(finding.clone());
    let part = |name: &str| finding[name].as_str().unwrap_or_default();
    let severity = part("severity");
    let code = match severity {
        "error" => "1;31",
        "warning" => "1;33",
        _ => "1;34",
    };
    let subject = subject(finding);
    let mut text = format!("{}[{}]: {subject}\n    {}", colours.paint(code, severity), part("code"), part("message"));
    if !part("remedy").is_empty() {
        text.push_str("\n    → ");
        text.push_str(part("remedy"));
    }
    text
}

fn subject(finding: &Value) -> String {
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let file = part(&finding["file"]);
    if finding["object"].is_object() {
        let object = &finding["object"];
        let key = crate::object::ObjectKey {
            group: part(&object["group"]),
            kind: part(&object["kind"]),
            namespace: part(&object["namespace"]),
            name: part(&object["name"]),
        };
        let field = part(&finding["field"]);
        let field = if field.is_empty() { field } else { format!(" {field}") };
        let place = if file.is_empty() { file } else { format!(" in {file}") };
        return format!("{key}{field}{place}");
    }
    if let Some(plugin) = finding["plugin"].as_str() {
        return format!("plugin {plugin}");
    }
    if let Some(socket) = finding["socket"].as_str() {
        return format!("socket {socket}");
    }
    match (finding["line"].as_u64(), finding["column"].as_u64()) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        _ => file,
    }
}

/// Some things, or a word for none.
pub(super) fn list(things: &[String], none: &str) -> String {
    if things.is_empty() { none.to_owned() } else { things.join(", ") }
}

/// `1 error`, `2 errors`.
pub(super) fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
