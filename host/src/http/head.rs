//! The one view of a request (decision 13): authority and path are normalised once, before anything looks at them, and
//! router, filters and backend see those bytes.

use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Version};

use super::respond::Reason;
use crate::bootstrap::Limits;

/// What a header takes besides its name and value: `: ` and the line's end.
const LINE: usize = 4;

/// What a request is about, normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// As sent, port included.
    pub authority: String,
    /// Lower case, without port and without a trailing dot.
    pub host: String,
    /// Normalised, without query.
    pub path: String,
    /// As sent, without `?`.
    pub query: Option<String>,
}

/// Why a request is refused before it is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// There is no authority, or there are several.
    #[error("the request must name exactly one host")]
    Host,
    /// `Host` and `:authority` differ.
    #[error("Host and :authority differ")]
    TwoAuthorities,
    /// The authority is not a host with an optional port.
    #[error("the authority is not a host with an optional port")]
    Authority,
    /// The path leads above the root, or holds what no path can.
    #[error("the path is not valid")]
    Path,
    /// Path and query are too long.
    #[error("path and query are too long")]
    TooLong,
    /// Too many headers.
    #[error("too many headers")]
    TooManyHeaders,
    /// Headers that are too large together.
    #[error("the headers are too large")]
    HeadersTooLarge,
    /// A target that is neither a path nor a URL of HTTP.
    #[error("the target is not one of HTTP")]
    Target,
    /// More than one length: nobody who means well says it twice. (Of equal ones in HTTP/1.1 hyper has made one.)
    #[error("there is more than one content-length")]
    ContentLength,
    /// A coding besides `chunked`, which no endpoint would undo.
    #[error("only the transfer coding chunked is served")]
    TransferEncoding,
    /// A method that a gateway does not forward.
    #[error("the method is not served")]
    Method,
}

impl HeadError {
    /// How the client is answered.
    #[must_use]
    pub fn reason(self) -> Reason {
        match self {
            Self::TooLong => Reason::UriTooLong,
            Self::TooManyHeaders | Self::HeadersTooLarge => Reason::HeadersTooLarge,
            Self::Method => Reason::MethodNotServed,
            Self::Host
            | Self::TwoAuthorities
            | Self::Authority
            | Self::Path
            | Self::Target
            | Self::ContentLength
            | Self::TransferEncoding => Reason::BadRequest,
        }
    }
}

impl Head {
    /// The normalised view of a request.
    ///
    /// # Errors
    /// When it must not be routed.
    pub fn new(parts: &Parts, limits: &Limits) -> Result<Self, HeadError> {
        if parts.method == Method::CONNECT || parts.method == Method::TRACE {
            return Err(HeadError::Method);
        }
        // Crumbs of one cookie are one header (RFC 9113 §8.2.3).
        let crumbs = parts.headers.get_all(COOKIE).iter().count();
        if parts.headers.len() - crumbs.saturating_sub(1) > limits.header_count {
            return Err(HeadError::TooManyHeaders);
        }
        // hyper's own limit is on what it buffers, and lets more through.
        let lines = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE);
        if lines.sum::<usize>() > limits.header_bytes {
            return Err(HeadError::HeadersTooLarge);
        }
        if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
            return Err(HeadError::Target);
        }
        if parts.headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some() {
            return Err(HeadError::ContentLength);
        }
        let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
        if codings.next().is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
            || codings.next().is_some()
        {
            return Err(HeadError::TransferEncoding);
        }
        let authority = authority(parts.uri.authority(), &parts.headers, parts.version)?;
        let host = normalise_host(&authority).ok_or(HeadError::Authority)?;
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        if target.len() > limits.path_bytes {
            return Err(HeadError::TooLong);
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = normalise_path(path).ok_or(HeadError::Path)?;
        Ok(Self { authority, host, path, query })
    }

    /// Path and query as they are forwarded where no route rewrites them: what was sent, if that is its normal form.
    pub(super) fn target(&self, sent: Option<&PathAndQuery>) -> Option<PathAndQuery> {
        match (sent, self.query.as_deref()) {
            // A target that is empty but for a fragment claims to be `/`, and is not written so.
            (_, None) if self.path == "/" => Some(PathAndQuery::from_static("/")),
            (Some(sent), query)
                if sent.as_str().starts_with('/') && sent.path() == self.path && sent.query() == query =>
            {
                Some(sent.clone())
            }
            (_, query) => Self::path_and_query(&self.path, query),
        }
    }

    /// Path and query as they are forwarded.
    #[must_use]
    pub fn path_and_query(path: &str, query: Option<&str>) -> Option<PathAndQuery> {
        match query {
            Some(query) => PathAndQuery::try_from(format!("{path}?{query}")).ok(),
            None => PathAndQuery::try_from(path).ok(),
        }
    }
}

/// RFC 9112 §3.2: an absolute target wins over `Host`; RFC 9113 §8.3.1: `Host` may repeat `:authority`, not differ.
fn authority(target: Option<&Authority>, headers: &HeaderMap, version: Version) -> Result<String, HeadError> {
    let mut lines = headers.get_all(HOST).iter();
    let host = lines.next();
    if lines.next().is_some() {
        return Err(HeadError::Host);
    }
    let host = host.map(|host| host.to_str().map_err(|_| HeadError::Authority)).transpose()?;
    let authority = match (target.map(Authority::as_str), host) {
        (Some(target), Some(host)) if version == Version::HTTP_2 && !target.eq_ignore_ascii_case(host) => {
            return Err(HeadError::TwoAuthorities);
        }
        (Some(target), _) => target,
        (None, Some(host)) => host,
        (None, None) => return Err(HeadError::Host),
    };
    if authority.is_empty() { Err(HeadError::Host) } else { Ok(authority.to_owned()) }
}

/// The host of an authority as routing sees it; none when it is not a host with an optional port.
#[must_use]
pub fn normalise_host(authority: &str) -> Option<String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let end = authority.len() - rest.len();
            (&authority[..end], rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("")))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port = port?;
    if !port.bytes().all(|b| b.is_ascii_digit()) || (!port.is_empty() && port.parse::<u16>().is_err()) {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%[]:".contains(&b);
    let has_empty_label = !host.starts_with('[') && host.split('.').any(str::is_empty);
    if host.is_empty() || has_empty_label || !host.bytes().all(legal) {
        return None;
    }
    Some(host.to_ascii_lowercase())
}

/// RFC 3986 §6.2.2 without merging: dot segments go (also written `%2e`), escapes of unreserved characters become the
/// characters, `\` becomes `/`; `//` and `%2F` stay as they are. None when a dot segment leads above the root.
fn normalise_path(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        // `OPTIONS *` is about the gateway, which has nothing to say.
        return (path == "*").then(|| "*".to_owned());
    }
    if !path.bytes().any(|b| matches!(b, b'%' | b'\\')) && !path.contains("/.") {
        return path.bytes().all(|b| b > b' ' && b != 0x7f).then(|| path.to_owned());
    }
    let plain = unescape_unreserved(path)?;
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = plain[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop()?;
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    Some(format!("/{}", kept.join("/")))
}

/// Whether a path is what [`Head::new`] would have made of it.
pub(super) fn is_normal(path: &str) -> bool {
    normalise_path(path).as_deref() == Some(path)
}

fn unescape_unreserved(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut plain = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = path.get(at + 1..at + 3)?;
                if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                let value = u8::from_str_radix(digits, 16).ok()?;
                match value {
                    0 => return None,
                    v if v.is_ascii_alphanumeric() || b"-._~".contains(&v) => plain.push(char::from(v)),
                    _ => plain.push_str(&path[at..at + 3]),
                }
                at += 3;
            }
            b'\\' => {
                plain.push('/');
                at += 1;
            }
            b if b <= b' ' || b == 0x7f => return None,
            _ => {
                let c = path[at..].chars().next()?;
                plain.push(c);
                at += c.len_utf8();
            }
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, Uri};

    use super::*;

    #[test]
    fn paths_have_one_form() {
        for (sent, seen) in [
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/a//b", Some("/a//b")),
            ("/a/./b", Some("/a/b")),
            ("/a/../b", Some("/b")),
            ("/a/..", Some("/")),
            ("/a/.", Some("/a/")),
            ("/a/%2e%2E/b", Some("/b")),
            ("/a\\..\\b", Some("/b")),
            ("/%61dmin", Some("/admin")),
            ("/a%2Fb", Some("/a%2Fb")),
            ("/a%2fb/../c", Some("/c")),
            ("/..", None),
            ("/a/../../b", None),
            ("/%", None),
            ("/%zz", None),
            ("/%+1", None),
            ("/%00", None),
            ("/é/%C3%A9", Some("/é/%C3%A9")),
            ("/...", Some("/...")),
            ("/.hidden", Some("/.hidden")),
            ("*", Some("*")),
            ("a", None),
        ] {
            assert_eq!(normalise_path(sent).as_deref(), seen, "{sent}");
        }
    }

    #[test]
    fn normal_paths_stay_normal() {
        for sent in ["/a/%2e%2E/b", "/%2561", "/a/./.././b/", "/%252e%252e/x", "/\\\\x"] {
            let Some(once) = normalise_path(sent) else { continue };
            assert_eq!(normalise_path(&once).as_deref(), Some(once.as_str()), "{sent}");
        }
    }

    proptest::proptest! {
        /// What a router sees leads nowhere else when a backend normalises it again.
        #[test]
        fn a_normal_path_is_its_own_normal_form(path in r"/([a%./\\\\;:é]|%2[eEfF5]|%5[cC]|%61|\\.\\.){0,12}") {
            if let Some(once) = normalise_path(&path) {
                proptest::prop_assert!(once.starts_with('/'), "{}", once);
                proptest::prop_assert!(!once.split('/').any(|s| s == "." || s == ".."), "{} of {}", once, path);
                proptest::prop_assert!(is_normal(&once), "{} of {}", once, path);
            }
        }

        #[test]
        fn nothing_that_a_client_sends_panics(text in ".{0,40}") {
            let _ = normalise_path(&text);
            if let Some(host) = normalise_host(&text) {
                proptest::prop_assert_eq!(host.to_ascii_lowercase(), host);
            }
        }
    }

    #[test]
    fn hosts_have_one_form() {
        for (sent, seen) in [
            ("Example.COM", Some("example.com")),
            ("example.com:8443", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("example.com.:443", Some("example.com")),
            ("example.com..", None),
            (".example.com", None),
            ("[::1]:443", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("[::1]x", None),
            ("[x]", None),
            ("a:b", None),
            ("a:99999", None),
            ("user@host", None),
            ("", None),
            (".", None),
            ("a b", None),
            ("a/b", None),
        ] {
            assert_eq!(normalise_host(sent).as_deref(), seen, "{sent}");
        }
    }

    fn parts(build: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Parts {
        build(Request::builder()).body(()).unwrap().into_parts().0
    }

    fn head(parts: &Parts) -> Result<Head, HeadError> {
        Head::new(parts, &Limits { path_bytes: 1000, header_count: 10, header_bytes: 2000, ..Limits::default() })
    }

    #[test]
    fn what_is_forwarded_is_what_was_understood() {
        for (uri, expected) in [
            ("http://h#x", "/"),
            ("http://h", "/"),
            ("http://h/", "/"),
            ("/a?b=c", "/a?b=c"),
            ("/a/../b?c", "/b?c"),
            ("/a%2e%2e", "/a.."),
            ("*", "*"),
            ("/a#x", "/a"),
        ] {
            let mut request = Request::new(());
            *request.uri_mut() = uri.parse().unwrap();
            request.headers_mut().insert(HOST, HeaderValue::from_static("h"));
            let parts = request.into_parts().0;
            let head = Head::new(&parts, &Limits::default()).unwrap();
            let target = head.target(parts.uri.path_and_query()).unwrap();
            assert_eq!(target.as_str(), expected, "{uri}");
            assert!(!Uri::from(target).path().is_empty(), "{uri}");
        }
    }

    #[test]
    fn the_authority_is_one() {
        assert_eq!(head(&parts(|r| r.uri("/a"))), Err(HeadError::Host));
        assert_eq!(head(&parts(|r| r.uri("/a").header("host", "a").header("host", "a"))), Err(HeadError::Host));
        let absolute = head(&parts(|r| r.uri("http://a.b:81/x?y=1").header("host", "c"))).unwrap();
        assert_eq!((absolute.authority.as_str(), absolute.host.as_str()), ("a.b:81", "a.b"));
        assert_eq!((absolute.path.as_str(), absolute.query.as_deref()), ("/x", Some("y=1")));
        let h2 =
            |host: &'static str| parts(move |r| r.version(Version::HTTP_2).uri("https://A.b/").header("host", host));
        assert!(head(&h2("a.B")).is_ok());
        assert_eq!(head(&h2("c")), Err(HeadError::TwoAuthorities));
        assert_eq!(head(&parts(|r| r.method("CONNECT").uri("a:1"))), Err(HeadError::Method));
        assert_eq!(head(&parts(|r| r.uri("ftp://a/").header("host", "a"))), Err(HeadError::Target));
        let framed = |name: &'static str, lines: [&'static str; 2]| {
            head(&parts(move |r| r.uri("/").header("host", "a").header(name, lines[0]).header(name, lines[1])))
        };
        assert_eq!(framed("content-length", ["1", "1"]), Err(HeadError::ContentLength));
        assert_eq!(framed("transfer-encoding", ["chunked", "chunked"]), Err(HeadError::TransferEncoding));
        let crumbs = |count: usize| {
            head(&parts(|r| (0..count).fold(r.uri("/").header("host", "a"), |r, n| r.header("cookie", n.to_string()))))
        };
        assert!(crumbs(90).is_ok(), "crumbs of one cookie are one header");
    }
}
