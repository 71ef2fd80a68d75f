//! `headers`: what the gateway says of its clients to backends, and of itself to clients.

use http::HeaderValue;
use serde::Deserialize;

/// What the gateway says of its clients to backends, and of itself to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `x-forwarded-client-cert`.
    pub client_certificate: ClientCertificate,
    /// Whether it is said of certificates too that do not verify, where a listener accepts them.
    pub untrusted_client_certificate: bool,
    /// `server`.
    pub server: Server,
    /// Headers that are not there unless they are asked for.
    pub add: Vec<Extra>,
    /// Headers that are there unless they are not wanted.
    pub leave_out: Vec<Usual>,
}

/// What becomes of `x-forwarded-client-cert`. Only a trusted proxy's is ever forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientCertificate {
    /// Nobody says anything (Envoy's SANITIZE).
    Drop,
    /// The gateway says what it verified itself (SANITIZE_SET).
    #[default]
    Set,
    /// The proxy's word, if it showed a certificate of its own (FORWARD_ONLY).
    Forward,
    /// The proxy's word, and behind it what the gateway verified of the proxy (APPEND_FORWARD).
    Append,
    /// The proxy's word (ALWAYS_FORWARD_ONLY).
    AlwaysForward,
}

/// What becomes of the `server` header of answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// The backend's is passed on; the gateway's own answers have none.
    #[default]
    Pass,
    /// All answers have this one.
    Overwrite(HeaderValue),
    /// Answers that have none get this one.
    IfAbsent(HeaderValue),
    /// No answer has one.
    Remove,
}

/// A header that the gateway adds when it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Extra {
    /// To backends: which try of the request it is.
    #[serde(rename = "x-envoy-attempt-count")]
    AttemptCount,
    /// To backends: the client's address.
    #[serde(rename = "x-envoy-external-address")]
    ExternalAddress,
    /// To backends: path and query before they were rewritten.
    #[serde(rename = "x-envoy-original-path")]
    OriginalPath,
    /// To clients: for how many milliseconds the backend was waited for.
    #[serde(rename = "x-envoy-upstream-service-time")]
    UpstreamServiceTime,
}

/// A header that the gateway adds for backends unless it is told not to. What a trusted proxy says in it stays either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Usual {
    /// The peer's address, behind those that a trusted proxy names.
    #[serde(rename = "x-forwarded-for")]
    ForwardedFor,
    /// `http` or `https`.
    #[serde(rename = "x-forwarded-proto")]
    ForwardedProto,
    /// The name that the log has for the request.
    #[serde(rename = "x-request-id")]
    RequestId,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct RawHeaders {
    client_certificate: ClientCertificate,
    untrusted_client_certificate: bool,
    server: RawServer,
    server_name: Option<String>,
    add: Vec<Extra>,
    leave_out: Vec<Usual>,
}

#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum RawServer {
    #[default]
    Pass,
    Overwrite,
    IfAbsent,
    Remove,
}

impl RawHeaders {
    pub(super) fn check(self, problems: &mut Vec<String>) -> Headers {
        let name = self.server_name.as_deref().unwrap_or("sekisho");
        let name = HeaderValue::try_from(name).ok().filter(|name| !name.is_empty()).unwrap_or_else(|| {
            problems.push(format!("headers.serverName: {name:?} cannot stand in a header"));
            HeaderValue::from_static("sekisho")
        });
        Headers {
            client_certificate: self.client_certificate,
            untrusted_client_certificate: self.untrusted_client_certificate,
            server: match self.server {
                RawServer::Pass => Server::Pass,
                RawServer::Overwrite => Server::Overwrite(name),
                RawServer::IfAbsent => Server::IfAbsent(name),
                RawServer::Remove => Server::Remove,
            },
            add: self.add,
            leave_out: self.leave_out,
        }
    }
}
