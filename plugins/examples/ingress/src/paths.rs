//! Paths, and the order in which they are tried.

use std::cmp::Reverse;
use std::fmt;

use sekisho_sdk::table::PathRule;

use crate::objects::{HttpPath, PathType};

/// What a rule asks of the path. The derived order is the API's: the longest first, and of equal ones Exact before
/// Prefix.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    length: Reverse<usize>,
    is_prefix: bool,
    text: String,
}

impl Path {
    /// ImplementationSpecific is taken for Prefix, and without a path for every path.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub(crate) fn read(written: &HttpPath) -> Result<Self, String> {
        let text = match (written.path.as_str(), written.path_type) {
            ("", PathType::ImplementationSpecific) => "/",
            (text, _) => text,
        };
        if !text.starts_with('/') {
            return Err(format!("`{text}` does not begin with `/`"));
        }
        let refused = text.contains("//") || text.to_ascii_lowercase().contains("%2f");
        if refused || text.split('/').any(|element| matches!(element, "." | "..")) {
            return Err(format!("`{text}` contains `//`, `/./`, `/../` or `%2f`, which the API does not allow"));
        }
        Ok(match written.path_type {
            PathType::Exact => Self::new(false, text),
            // `/shop/` and `/shop` are the same prefix.
            PathType::Prefix | PathType::ImplementationSpecific => match text.trim_end_matches('/') {
                "" => Self::new(true, "/"),
                text => Self::new(true, text),
            },
        })
    }

    /// What is left when no rule matches: shorter than any other, and so the last.
    pub(crate) fn of_default_backend() -> Self {
        Self::new(true, "")
    }

    pub(crate) fn rule(&self) -> PathRule {
        match (self.is_prefix, self.text.as_str()) {
            (true, "" | "/") => PathRule::Any,
            (true, text) => PathRule::Elements(text.to_owned()),
            (false, text) => PathRule::Exact { value: text.to_owned(), ignore_case: false },
        }
    }

    fn new(is_prefix: bool, text: &str) -> Self {
        Self { length: Reverse(text.len()), is_prefix, text: text.to_owned() }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_prefix, self.text.as_str()) {
            (true, "") => f.write_str(" (default backend)"),
            (true, text) => write!(f, "{}/*", text.trim_end_matches('/')),
            (false, text) => f.write_str(text),
        }
    }
}
