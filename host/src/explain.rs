//! Why a request goes where it goes: the way of one request through a generation, told instead of gone.
//!
//! Nothing is decided here. Listener, client verification, authority, inputs, route and path come from the functions
//! that serve requests, and the rule from the plugin's own walk.

mod asked;
mod nearest;
mod policies;
mod stream;
mod walk;

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use walk::{View, explain};

/// A request that somebody wonders about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Question {
    /// `http://` or `https://`, with the port that the client would use.
    pub url: String,
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// Headers, in order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The name in the TLS handshake.
    #[serde(default)]
    pub sni: Sni,
    /// The client's certificates, leaf first: DER in base64.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// The Unix socket that it connects to, instead of the URL's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_socket: Option<String>,
    /// The client's address.
    #[serde(default = "loopback")]
    pub client: IpAddr,
}

/// The name in a TLS handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sni {
    /// The URL's host, when that is a name.
    #[default]
    OfUrl,
    /// None.
    Absent,
    /// Another.
    Name(String),
}

fn get() -> String {
    "GET".to_owned()
}

fn loopback() -> IpAddr {
    Ipv4Addr::LOCALHOST.into()
}

/// Why a question cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// Not a URL of HTTP.
    #[error("`{url}` is not a URL that a client can ask for: {why}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Not a method.
    #[error("`{0}` is not a method")]
    Method(String),
    /// Not a header.
    #[error("`{0}` is not a header: write `name: value`")]
    Header(String),
    /// Not a host name.
    #[error("`{0}` is not a name that a TLS handshake can carry")]
    Sni(String),
    /// Not base64.
    #[error("the client certificate {0} is not DER in base64")]
    Certificate(usize),
}

/// The way of a request, as far as it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer {
    /// Of the running gateway that answers; none when the files were read.
    pub generation: Option<u64>,
    /// As asked.
    pub url: String,
    /// As asked.
    pub method: String,
    /// What the client gets.
    pub outcome: Outcome,
    /// The status that the gateway itself answers with.
    pub status: Option<u16>,
    /// What the client gets, in a sentence.
    pub because: String,
    /// Where it connects.
    pub socket: Option<Socket>,
    /// Who serves it there.
    pub listener: Option<Listener>,
    /// Other listeners, nearest first, and why they do not.
    pub other_listeners: Vec<Other>,
    /// What the client is shown.
    pub certificates: Vec<Certificate>,
    /// What becomes of the client's own certificate.
    pub client_certificate: Option<String>,
    /// The listener that serves the authority, when it is not the one that the SNI chose.
    pub authority: Option<String>,
    /// The plugin that chooses the route.
    pub plugin: Option<String>,
    /// The virtual host in which it looked.
    pub virtual_host: Option<String>,
    /// The rule that it chose.
    pub route: Option<Place>,
    /// What that rule asks for.
    pub route_because: Option<String>,
    /// Other rules, nearest first, and why they were not chosen.
    pub other_routes: Vec<Other>,
    /// What is done, a sentence each.
    pub action: Vec<String>,
    /// Where it may go.
    pub backends: Vec<Backend>,
    /// What `check` says of the objects on the way, as `docs/check.md` describes it.
    pub findings: Vec<Value>,
}

/// What a client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// No connection, or a TLS alert.
    #[default]
    NoConnection,
    /// The gateway says no.
    Refused,
    /// An answer that a route gives by itself.
    Answered,
    /// A redirect.
    Redirected,
    /// A backend answers.
    Forwarded,
}

/// Where a client connects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Socket {
    /// Address and port as bound.
    pub address: String,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// Plugin and name.
    pub name: String,
    /// Who says that there is one.
    pub origin: Place,
    /// The names it claims.
    pub hosts: Vec<String>,
    /// As the object says it.
    pub port: u16,
}

/// A place in an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// What stands there.
    pub name: String,
    /// Kind, namespace and name.
    pub object: String,
    /// The field.
    pub field: String,
}

/// What was not chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Other {
    /// Its name, object and field.
    pub what: String,
    /// Why it was not.
    pub because: String,
}

/// A certificate as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The object that it comes from.
    pub source: String,
    /// Its subject.
    pub subject: String,
    /// Hexadecimal.
    pub serial: String,
    /// The names that it holds.
    pub names: Vec<String>,
    /// Its last second, as RFC 3339 writes it.
    pub not_after: String,
    /// Whether it serves for the name that the client asks for.
    pub covers: bool,
}

/// A share of a forward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// The cluster; none when the gateway answers for it.
    pub cluster: Option<String>,
    /// Its weight, of the sum of all.
    pub weight: u32,
    /// The sum.
    pub of: u64,
    /// The host that its endpoints see, when it is another than the client's.
    pub host: Option<String>,
    /// Its endpoints, and what is known of each.
    pub endpoints: Vec<String>,
    /// What its requests get instead of an answer from an endpoint.
    pub refused: Option<String>,
}
