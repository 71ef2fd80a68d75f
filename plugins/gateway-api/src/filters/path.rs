//! HTTPPathModifier: how a redirect or a rewrite changes the path.

use sekisho_sdk::model::{PathRewrite, Swap};

use crate::field::Field;
use crate::finding::Fault;
use crate::objects::http_route::PathModifier;

/// A change of the path.
#[derive(Debug)]
pub(crate) enum PathChange {
    Whole(String),
    /// The matched prefix becomes this; which prefix that is, only the match knows.
    Prefix(String),
}

impl PathChange {
    pub(super) fn read(spec: &PathModifier, field: Field<'_>) -> Result<Self, Fault> {
        match (spec.kind.as_str(), &spec.replace_full_path, &spec.replace_prefix_match) {
            ("ReplaceFullPath", Some(path), None) if path.starts_with('/') && is_path(path) => {
                Ok(Self::Whole(path.clone()))
            }
            ("ReplacePrefixMatch", None, Some(prefix))
                if (prefix.is_empty() || prefix.starts_with('/')) && is_path(prefix) =>
            {
                Ok(Self::Prefix(prefix.clone()))
            }
            ("ReplaceFullPath", Some(path), None) => Err(invalid(format!("{field}.replaceFullPath"), path)),
            ("ReplacePrefixMatch", None, Some(prefix)) => Err(invalid(format!("{field}.replacePrefixMatch"), prefix)),
            ("ReplaceFullPath" | "ReplacePrefixMatch", ..) => {
                let message = format!("type {} needs the field of its name, and no other", spec.kind);
                Err(Fault::new(
                    "invalid-filter",
                    field,
                    message,
                    "give exactly one of replaceFullPath and replacePrefixMatch",
                ))
            }
            (other, ..) => {
                let message = format!("`{other}` is not a way to change a path");
                let remedy = "use ReplaceFullPath or ReplacePrefixMatch";
                Err(Fault::new("unsupported-value", format!("{field}.type"), message, remedy))
            }
        }
    }

    /// As data for the host, where the match's prefix is `matched`.
    pub(crate) fn rewrite(&self, matched: &str) -> PathRewrite {
        match self {
            Self::Whole(path) => PathRewrite::Whole(path.clone()),
            Self::Prefix(replacement) => {
                PathRewrite::Elements(Swap { matched: matched.to_owned(), replacement: replacement.clone() })
            }
        }
    }

    /// Whether it depends on the match.
    pub(crate) fn needs_prefix(&self) -> bool {
        matches!(self, Self::Prefix(_))
    }
}

/// Whether it can stand in a request line without becoming a query or a fragment.
fn is_path(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#')
}

fn invalid(field: String, path: &str) -> Fault {
    let message = format!("`{path}` is not a path");
    Fault::new("invalid-path", field, message, "begin with `/`, without query and fragment")
}
