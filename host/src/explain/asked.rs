//! A question, understood.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::{Question, QuestionError, Sni};
use crate::socket_name::SocketName;
use crate::tls::{self, CertificateDer};

/// Longest host name (RFC 1035 §2.3.4).
const MOST_HOST: usize = 253;

/// What is asked, in the types that serve requests.
pub(super) struct Asked {
    pub(super) secure: bool,
    /// A connection is asked about, whatever is sent on it.
    pub(super) raw: bool,
    pub(super) authority: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// Where the connection goes, when not to the URL's port.
    pub(super) unix_socket: Option<SocketName>,
    pub(super) target: String,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) sni: Option<String>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) client: IpAddr,
}

impl Asked {
    pub(super) fn new(question: &Question) -> Result<Self, QuestionError> {
        let wrong = |why: &str| QuestionError::Url { url: question.url.clone(), why: why.to_owned() };
        if !["http://", "https://", "tls://", "tcp://"].iter().any(|scheme| question.url.starts_with(scheme)) {
            return Err(wrong("it does not begin with http://, https://, tls:// or tcp://"));
        }
        let uri: Uri = question.url.parse().map_err(|e: http::uri::InvalidUri| wrong(&e.to_string()))?;
        let secure = matches!(uri.scheme_str(), Some("https" | "tls"));
        let raw = uri.scheme_str() == Some("tcp");
        let authority: &Authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("leave user and password out"));
        }
        let after = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !after.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(wrong("its port is not a number from 1 to 65535"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.len() > MOST_HOST {
            return Err(wrong("its host is longer than a name can be"));
        }
        if raw && authority.port_u16().is_none() && question.unix_socket.is_none() {
            return Err(wrong("it names no port"));
        }
        let method = Method::from_bytes(question.method.as_bytes())
            .map_err(|_| QuestionError::Method(question.method.clone()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &question.headers {
            let wrong = || QuestionError::Header(format!("{name}: {value}"));
            let parsed: HeaderName = name.parse().map_err(|_| wrong())?;
            let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            // A map of headers has an end.
            headers.try_append(parsed, value).map_err(|_| wrong())?;
        }
        let is_name = host.parse::<IpAddr>().is_err();
        let sni = match &question.sni {
            Sni::OfUrl if is_name => Some(&host),
            Sni::OfUrl | Sni::Absent => None,
            Sni::Name(name) => Some(name),
        };
        let sni = sni.filter(|_| secure);
        let sni = sni.map(|name| tls::sni(name).ok_or_else(|| QuestionError::Sni(name.clone()))).transpose()?;
        let chain = question
            .certificates
            .iter()
            .enumerate()
            .map(|(index, text)| STANDARD.decode(text).map_err(|_| QuestionError::Certificate(index + 1)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            secure,
            raw,
            authority: authority.to_string(),
            host,
            port: authority.port_u16(),
            unix_socket: question.unix_socket.as_deref().map(unix_socket),
            target: uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
            method,
            headers,
            sni,
            chain: chain.into_iter().map(Into::into).collect(),
            client: question.client,
        })
    }
}

/// As `bind` of a Gateway has it, or without `unix://`.
fn unix_socket(text: &str) -> SocketName {
    SocketName::Unix(text.strip_prefix("unix://").unwrap_or(text).into())
}
