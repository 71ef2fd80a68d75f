//! Which origins' pages may use what a route serves (Fetch Standard, "CORS protocol"), compiled into header values.

use http::HeaderValue;
use regex::Regex;

/// A route's CORS policy.
#[derive(Debug, PartialEq)]
pub struct Cors {
    /// Any of these; none for nobody.
    pub origins: Vec<TextMatch>,
    /// `Access-Control-Allow-Methods`.
    pub methods: Option<Allowed>,
    /// `Access-Control-Allow-Headers`.
    pub headers: Option<Allowed>,
    /// `Access-Control-Expose-Headers`.
    pub expose: Option<HeaderValue>,
    /// `Access-Control-Max-Age`.
    pub max_age: Option<HeaderValue>,
    /// `Access-Control-Allow-Credentials`.
    pub credentials: bool,
    /// What becomes of preflights of other origins.
    pub unmatched_preflight: Unmatched,
}

/// What a preflight may be told.
#[derive(Debug, PartialEq)]
pub enum Allowed {
    /// What it asks for: `*` means itself where there are credentials.
    Asked,
    /// These.
    These(HeaderValue),
}

/// What becomes of preflights that no origin matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Whoever is behind the route answers.
    Forward,
    /// The gateway answers, and allows nothing.
    Refuse,
}

/// Which texts are meant.
#[derive(Debug)]
pub enum TextMatch {
    /// All.
    Any,
    /// This one.
    Exact(String),
    /// Those that begin so.
    Prefix(String),
    /// Those that match from the first byte to the last; it is anchored.
    Regex(Regex),
}

impl TextMatch {
    /// Whether the text is meant.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == text,
            Self::Prefix(prefix) => text.starts_with(prefix),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl PartialEq for TextMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Cors {
    /// Whether pages of an origin may use it.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.matches(origin))
    }
}
