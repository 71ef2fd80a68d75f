//! Session persistence of a rule (GEP-1619): what carries the token by which a client stays with its backend.

use sekisho_sdk::model::{Cookie, Milliseconds, Session, SessionBy};

use crate::duration;
use crate::field::Field;
use crate::finding::Fault;
use crate::matches::{Match, Path, is_token};
use crate::objects::http_route::SessionPersistence;

/// What a header is called that the rule gives no name to.
const HEADER: &str = "sekisho-session";

/// The API takes no longer names.
const LONGEST_NAME: usize = 128;

/// Headers that frame messages, name their way or are cookies: a token in their place would break the answer.
const TAKEN: [&str; 14] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The session of the rule called `rule`; none where something is wrong with it, which makes the rule answer 500.
pub(super) fn read(
    spec: &SessionPersistence,
    rule: &str,
    matches: &[Match],
    rule_field: Field<'_>,
    faults: &mut Vec<Fault>,
) -> Option<Session> {
    let field = rule_field.below("sessionPersistence");
    let before = faults.len();
    let mut fault = |code, below: &str, message: String, remedy: &str| {
        faults.push(Fault::new(code, format!("{field}.{below}"), message, remedy));
    };
    let lasts = lasts(spec.absolute_timeout.as_deref()).unwrap_or_else(|why| {
        fault("invalid-duration", "absoluteTimeout", why, "give a time such as 1h");
        None
    });
    let name = spec.session_name.as_deref().filter(|name| !name.is_empty());
    if let Some(name) = name.filter(|name| name.len() > LONGEST_NAME || !is_token(name)) {
        let message = format!("`{name}` cannot be the name of a cookie or header");
        fault("unsupported-value", "sessionName", message, "use letters, digits, `-` and `_`");
    }
    let lifetime = spec.cookie_config.as_ref().map(|config| config.lifetime_type.as_deref().unwrap_or("Session"));
    let by = match (spec.kind.as_deref().unwrap_or("Cookie"), lifetime) {
        ("Cookie", None | Some("Session")) => Some(cookie(name, rule, matches, None)),
        ("Cookie", Some("Permanent")) => {
            if lasts.is_none() && spec.absolute_timeout.is_none() {
                let message = "a permanent cookie needs to know for how long".to_owned();
                fault("missing-field", "absoluteTimeout", message, "give a time such as 1h");
            }
            Some(cookie(name, rule, matches, lasts))
        }
        ("Cookie", Some(other)) => {
            let message = format!("`{other}` is no lifetime of a cookie");
            fault("unsupported-value", "cookieConfig.lifetimeType", message, "use Session or Permanent");
            None
        }
        ("Header", None) => {
            let name = name.unwrap_or(HEADER).to_ascii_lowercase();
            if TAKEN.contains(&name.as_str()) {
                let message = format!("the header `{name}` has a meaning of its own and cannot carry a token");
                fault("unsupported-value", "sessionName", message, "give a header of its own, such as x-session");
            }
            Some(SessionBy::Header(name))
        }
        ("Header", Some(_)) => {
            let message = "a session by header has no cookie".to_owned();
            fault("unsupported-value", "cookieConfig", message, "remove it, or make the type Cookie");
            None
        }
        (other, _) => {
            let message = format!("`{other}` is no type of session persistence");
            fault("unsupported-value", "type", message, "use Cookie or Header");
            None
        }
    };
    by.filter(|_| faults.len() == before).map(|by| Session { by, lasts })
}

/// The time after which a session is over; none is never.
fn lasts(text: Option<&str>) -> Result<Option<Milliseconds>, String> {
    match text.map(duration::parse).transpose()? {
        Some(0) => Err("a session that is over at once is none".to_owned()),
        lasts => Ok(lasts),
    }
}

fn cookie(name: Option<&str>, rule: &str, matches: &[Match], ttl: Option<Milliseconds>) -> SessionBy {
    let name = name.map_or_else(|| own_name(rule), str::to_owned);
    SessionBy::Cookie(Cookie { name, path: Some(path(matches)), ttl })
}

/// The cookies of two rules must not take each other's place.
fn own_name(rule: &str) -> String {
    let token = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '.' };
    format!("sekisho-{}", rule.chars().map(token).collect::<String>())
}

/// A cookie is sent where its rule's only path matches, and everywhere where there are several. A prefix `/shop/` takes
/// `/shop` too, where clients would not send a cookie of that path (RFC 6265 §5.1.4).
fn path(matches: &[Match]) -> String {
    let path = match matches {
        [one] => match &one.path {
            Path::Exact(path) => path.as_str(),
            Path::Prefix(path) => Some(path.trim_end_matches('/')).filter(|path| !path.is_empty()).unwrap_or("/"),
            Path::Regex(_) | Path::Call(_) => "/",
        },
        _ => "/",
    };
    if path.contains(';') { "/".to_owned() } else { path.to_owned() }
}
