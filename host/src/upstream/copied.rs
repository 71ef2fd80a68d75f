//! A copy of a request without a body, in case it must be sent twice.
//!
//! Nearly every request is sent once, so that the copy is for nothing: it is one piece of memory, instead of a share in
//! each header of the original, and becomes a request only when it is needed.

use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use hyper::body::Body;

use crate::http::RequestBody;

/// The head of a request; its target is a path, with an authority once it went over HTTP/2.
pub(super) struct Copied {
    method: Method,
    absolute: Option<(Scheme, Authority)>,
    /// The target, then names and values of the headers.
    bytes: Vec<u8>,
    target: usize,
    /// The length of each name and of its value.
    headers: Vec<(usize, usize)>,
}

impl Copied {
    /// A copy, if the request has no body.
    pub(super) fn of(request: &Request<RequestBody>) -> Option<Self> {
        if !request.body().is_end_stream() {
            return None;
        }
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let fields = || request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let size = target.len() + fields().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(target.as_bytes());
        let mut headers = Vec::with_capacity(request.headers().len());
        for (name, value) in fields() {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(value);
            headers.push((name.len(), value.len()));
        }
        let uri = request.uri();
        let absolute = uri.scheme().cloned().zip(uri.authority().cloned());
        Some(Self { method: request.method().clone(), absolute, bytes, target: target.len(), headers })
    }

    /// The request's method.
    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The request again.
    pub(super) fn into_request(self) -> Option<Request<RequestBody>> {
        let (target, mut rest) = self.bytes.split_at(self.target);
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in self.headers {
            let (field, after) = rest.split_at(name + value);
            let (name, value) = field.split_at(name);
            headers.append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
            rest = after;
        }
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = match self.absolute {
            None => Uri::try_from(target).ok()?,
            Some((scheme, authority)) => {
                let uri = Uri::builder().scheme(scheme).authority(authority);
                uri.path_and_query(target).build().ok()?
            }
        };
        *request.headers_mut() = headers;
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn lines() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
        let name = prop_oneof!["host", "cookie", "accept", "[a-z][a-z0-9-]{0,12}"];
        let byte = prop_oneof![0x20_u8..=0x7e, 0x80_u8..=0xff];
        prop::collection::vec((name, prop::collection::vec(byte, 0..40)), 0..12)
    }

    proptest! {
        #[test]
        fn a_copy_becomes_the_same_request(
            uri in prop_oneof!["/[a-z%2e/]{0,20}", "/a[?][a-z=&]{0,9}", "[*]", "http://a[.]example(:81)?/[a-z]{0,5}"],
            lines in lines(),
        ) {
            let mut request = Request::new(RequestBody::empty());
            *request.uri_mut() = uri.parse().unwrap();
            for (name, value) in &lines {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
            }
            let copy = Copied::of(&request).and_then(Copied::into_request).unwrap();
            prop_assert_eq!(copy.method(), request.method());
            prop_assert_eq!(copy.uri(), request.uri());
            prop_assert_eq!(copy.version(), request.version());
            prop_assert_eq!(copy.headers(), request.headers());
        }
    }
}
