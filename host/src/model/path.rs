//! Path rewriting: data that plugins give and the host executes. Queries are kept.

use regex::Regex;

/// How a path is changed.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// It is replaced.
    Whole(String),
    /// Its first bytes are replaced, as many as were matched (Istio).
    Bytes {
        /// How many.
        matched: usize,
        /// By what.
        replacement: String,
    },
    /// Its first elements are replaced, and `//` is never left behind (Gateway API, `ReplacePrefixMatch`).
    Elements {
        /// Which.
        matched: String,
        /// By what.
        replacement: String,
    },
    /// Every match is replaced.
    Regex {
        /// Of what.
        pattern: Regex,
        /// By what, with `${1}`.
        substitution: String,
    },
}

impl PathRewrite {
    /// The changed path. It always begins with `/`.
    #[must_use]
    pub fn apply(&self, path: &str) -> String {
        let changed = match self {
            Self::Whole(whole) => whole.clone(),
            Self::Bytes { matched, replacement } => match path.get(*matched..) {
                Some(rest) => format!("{replacement}{rest}"),
                None => path.to_owned(),
            },
            Self::Elements { matched, replacement } => {
                let rest = path.strip_prefix(matched.trim_end_matches('/')).unwrap_or(path);
                let head = replacement.trim_end_matches('/');
                if rest.is_empty() || rest.starts_with('/') {
                    format!("{head}{rest}")
                } else {
                    format!("{head}/{rest}")
                }
            }
            Self::Regex { pattern, substitution } => pattern.replace_all(path, substitution).into_owned(),
        };
        if changed.starts_with('/') { changed } else { format!("/{changed}") }
    }
}

impl PartialEq for PathRewrite {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a == b,
            (Self::Bytes { matched: a, replacement: b }, Self::Bytes { matched: c, replacement: d }) => {
                a == c && b == d
            }
            (Self::Elements { matched: a, replacement: b }, Self::Elements { matched: c, replacement: d }) => {
                a == c && b == d
            }
            (Self::Regex { pattern: a, substitution: b }, Self::Regex { pattern: c, substitution: d }) => {
                a.as_str() == c.as_str() && b == d
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_api_table_of_replace_prefix_match() {
        for (path, matched, replacement, result) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo/bar", "/", "/xyz", "/xyz/foo/bar"),
        ] {
            let rewrite = PathRewrite::Elements { matched: matched.to_owned(), replacement: replacement.to_owned() };
            assert_eq!(rewrite.apply(path), result, "{path} {matched} {replacement}");
        }
    }

    #[test]
    fn istio_replaces_bytes() {
        let rewrite = PathRewrite::Bytes { matched: 4, replacement: "/".to_owned() };
        assert_eq!(rewrite.apply("/foo/bar"), "//bar");
        assert_eq!(rewrite.apply("/foobar"), "/bar");
        assert_eq!(rewrite.apply("/é"), "/é");
    }

    #[test]
    fn a_rewritten_path_begins_with_a_slash() {
        let pattern = Regex::new("^/a/([^/]*)").unwrap();
        let rewrite = PathRewrite::Regex { pattern, substitution: "${1}".to_owned() };
        assert_eq!(rewrite.apply("/a/b/c"), "/b/c");
    }
}
