//! Paths, and the order in which they are tried.

use std::cmp::Reverse;
use std::fmt;

use sekisho_sdk::table::PathRule;

use crate::objects::{HttpPath, PathType};

/// What a rule asks of the path. The derived order is the API's: the longest first, and of equal ones Exact before
/// Prefix.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    length: Reverse<usize>,
    is_prefix: bool,
    /// Of a prefix without the `/` at its end: `/shop/` and `/shop` are the same.
    text: String,
}

impl Path {
    /// The path of a rule. ImplementationSpecific is taken for Prefix, and without a path for every path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(written: &HttpPath) -> Result<Self, String> {
        let text = match (written.path.as_str(), written.path_type) {
            ("", PathType::ImplementationSpecific) => "/",
            (text, _) => text,
        };
        if !text.starts_with('/') {
            return Err(format!("`{text}` does not begin with `/`"));
        }
        let is_relative = text.split('/').any(|element| matches!(element, "." | ".."));
        if is_relative || text.contains("//") || text.to_ascii_lowercase().contains("%2f") {
            return Err(format!("`{text}` contains `//`, `/./`, `/../` or `%2f`, which the API does not allow"));
        }
        let is_prefix = written.path_type != PathType::Exact;
        let text = if is_prefix { text.trim_end_matches('/') } else { text };
        Ok(Self { length: Reverse(text.len().max(1)), is_prefix, text: text.to_owned() })
    }

    /// What is left when no rule matches: shorter than any other, and so the last.
    pub(crate) fn of_default_backend() -> Self {
        Self { length: Reverse(0), is_prefix: true, text: String::new() }
    }

    pub(crate) fn rule(&self) -> PathRule {
        match (self.is_prefix, self.text.clone()) {
            (true, text) if text.is_empty() => PathRule::Any,
            (true, text) => PathRule::Elements(text),
            (false, value) => PathRule::Exact { value, ignore_case: false },
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.length, self.is_prefix) {
            (Reverse(0), _) => f.write_str(" (default backend)"),
            (_, true) => write!(f, "{}/*", self.text),
            (_, false) => f.write_str(&self.text),
        }
    }
}
