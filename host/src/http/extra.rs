//! Headers that the gateway adds, or changes on answers, only where the bootstrap file's `headers` say so.

use http::header::SERVER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::access_log::Entry;
use super::head::Head;
use crate::bootstrap::{Extra, Headers, Server};

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Tells a backend what it cannot know. `rewritten` is whether the path is another than the client's.
pub(super) fn tell_backend(headers: &mut HeaderMap, add: &[Extra], head: &Head, rewritten: bool) {
    if add.contains(&Extra::AttemptCount) {
        headers.insert(ATTEMPT_COUNT, HeaderValue::from(1));
    }
    if rewritten && add.contains(&Extra::OriginalPath) {
        let original = match &head.query {
            Some(query) => HeaderValue::try_from(format!("{}?{query}", head.path)),
            None => HeaderValue::try_from(&head.path),
        };
        if let Ok(original) = original {
            headers.insert(ORIGINAL_PATH, original);
        }
    }
}

/// A request that counts its tries is about to be tried again; this is the number of the try.
pub(crate) fn count_try(headers: &mut HeaderMap, number: usize) {
    if let Some(count) = headers.get_mut(ATTEMPT_COUNT) {
        *count = HeaderValue::from(number);
    }
}

/// Tells a client what it cannot know.
pub(super) fn tell_client(headers: &mut HeaderMap, said: &Headers, entry: &Entry) {
    match &said.server {
        Server::Pass => {}
        Server::Overwrite(name) => drop(headers.insert(SERVER, name.clone())),
        Server::IfAbsent(name) => drop(headers.entry(SERVER).or_insert_with(|| name.clone())),
        Server::Remove => drop(headers.remove(SERVER)),
    }
    if entry.endpoint.is_some() && said.add.contains(&Extra::UpstreamServiceTime) {
        let waited = u64::try_from(entry.served.as_millis()).unwrap_or(u64::MAX);
        headers.insert(SERVICE_TIME, HeaderValue::from(waited));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_told_what_was_asked_for_and_no_more() {
        let head = Head {
            authority: String::new(),
            host: String::new(),
            path: "/before".to_owned(),
            query: Some("q=1".to_owned()),
        };
        let told = |add: &[Extra], rewritten| {
            let mut headers = HeaderMap::new();
            tell_backend(&mut headers, add, &head, rewritten);
            count_try(&mut headers, 2);
            headers
        };
        assert!(told(&[], true).is_empty());
        assert!(told(&[Extra::OriginalPath], false).is_empty());
        assert_eq!(told(&[Extra::OriginalPath], true)["x-envoy-original-path"], "/before?q=1");
        assert_eq!(told(&[Extra::AttemptCount], false)["x-envoy-attempt-count"], "2");
    }
}
