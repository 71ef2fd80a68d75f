//! Gateways: which are ours, and what each of their servers asks for, checked.
//!
//! How servers of several Gateways share a port is decided in `listeners`.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::rc::Rc;

use sekisho_sdk::objects::read;
use sekisho_sdk::{Environment, Object, ObjectKey, Origin};

use crate::findings::{Findings, Place};
use crate::hosts::ServerHosts;
use crate::names::port_number;
use crate::objects;
use crate::tenancy::Tenants;
use crate::tls::{self, Termination};

/// A Gateway that selects this gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) key: ObjectKey,
    /// `namespace/name`, as VirtualServices are bound by it.
    pub(crate) name: String,
    pub(crate) generation: i64,
    created: Option<String>,
    pub(crate) servers: Vec<Server>,
}

/// One of its servers.
#[derive(Debug)]
pub(crate) struct Server {
    /// `spec.servers[i]`.
    pub(crate) origin: Origin,
    /// The name of a listener of its own.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) bind: Bind,
    pub(crate) hosts: ServerHosts,
    pub(crate) kind: Kind,
}

/// Which address a server is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Bind {
    /// The gateway's own.
    Shared,
    Ip(IpAddr),
    Unix(String),
}

/// What a server does with a connection.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Http {
        /// Every request is sent to https.
        redirect: bool,
    },
    Https(Termination),
    Tls(Termination),
    Passthrough,
    Tcp,
}

/// The Gateways that select this gateway, in Istio's order of precedence: age, name, namespace.
pub(crate) fn read_all(
    objects: &[Object],
    environment: &Environment,
    tenants: &Tenants,
    findings: &mut Findings,
) -> Vec<Gateway> {
    let mut gateways: Vec<Gateway> = objects
        .iter()
        .filter_map(|object| {
            let mut said = Vec::new();
            let gateway: Option<Rc<objects::Gateway>> = read(object, &mut said);
            let Some(gateway) = gateway else {
                findings.list().append(&mut said);
                return None;
            };
            if !selects(&gateway.spec.selector, &object.key, environment, findings) {
                return None;
            }
            findings.list().append(&mut said);
            Some(check(&object.key, &gateway, environment, tenants, findings))
        })
        .collect();
    gateways.sort_by(|a, b| {
        let order = |g: &Gateway| (g.created.clone(), g.key.name.clone(), g.key.namespace.clone());
        order(a).cmp(&order(b))
    });
    gateways
}

/// Whether a Gateway is for this gateway; another one may serve it.
fn selects(
    selector: &BTreeMap<String, String>,
    key: &ObjectKey,
    environment: &Environment,
    findings: &mut Findings,
) -> bool {
    let lacks = |(name, value): &(&String, &String)| {
        !environment.labels.iter().any(|(ours, label)| ours == *name && label == *value)
    };
    let Some((name, value)) = selector.iter().find(lacks) else { return true };
    let message = format!("it selects gateways with the label `{name}: {value}`, which this one does not have");
    let remedy =
        "nothing, if another gateway serves it; else correct `selector`, or `gateway.labels` in the bootstrap file";
    findings.info(&Place::root(key, "spec").field("selector"), "not-selected", message, remedy);
    false
}

fn check(
    key: &ObjectKey,
    said: &objects::Gateway,
    environment: &Environment,
    tenants: &Tenants,
    findings: &mut Findings,
) -> Gateway {
    let spec = Place::root(key, "spec");
    if said.spec.servers.is_empty() {
        findings.error(&spec.field("servers"), "missing-field", "the Gateway has no server", "add one");
    }
    let mut names = HashSet::new();
    let servers = said.spec.servers.iter().enumerate();
    let servers = servers
        .filter_map(|(index, server)| {
            let at = spec.item("servers", index);
            let reader = Reader { key, environment, tenants, at, index, names: &mut names };
            reader.server(server, findings)
        })
        .collect();
    Gateway {
        key: key.clone(),
        name: format!("{}/{}", key.namespace, key.name),
        generation: said.metadata.generation,
        created: said.metadata.creation_timestamp.clone(),
        servers,
    }
}

/// Reads one server.
struct Reader<'r> {
    key: &'r ObjectKey,
    environment: &'r Environment,
    tenants: &'r Tenants,
    at: Place<'r>,
    index: usize,
    /// The port names of the servers before it.
    names: &'r mut HashSet<String>,
}

impl Reader<'_> {
    /// None when it cannot be placed at all. A TLS server with another mistake keeps its hosts and refuses, so that
    /// their traffic does not fall to a wider server.
    fn server(mut self, said: &objects::Server, findings: &mut Findings) -> Option<Server> {
        let at = self.at;
        let Some(port) = &said.port else {
            findings.error(
                &at.field("port"),
                "missing-field",
                "the server has no port",
                "give its number and protocol",
            );
            return None;
        };
        let bind = self.bind(&said.bind, findings);
        let number = self.number(port.number, bind.as_ref(), findings);
        let protocol = Protocol::read(&port.protocol, &at.field("port").field("protocol"), findings);
        self.remark(said, port, findings);
        let mut hosts = ServerHosts::read(&said.hosts, &self.key.namespace, &at, findings);
        let kind = protocol.and_then(|protocol| kind(protocol, said.tls.as_ref(), self.environment, &at, findings));
        let name = self.name(&port.name, findings);
        let (number, bind, protocol) = (number?, bind?, protocol?);
        self.keep_allowed(&mut hosts, number, findings);
        if hosts.names().is_empty() {
            return None;
        }
        let (name, kind) = match (name, kind) {
            (Some(name), Some(kind)) => (name, kind),
            (name, _) => {
                let position = || format!("{}/{}/servers[{}]", self.key.namespace, self.key.name, self.index);
                (name.unwrap_or_else(position), protocol.refusing()?)
            }
        };
        Some(Server { origin: at.origin(), name, port: number, bind, hosts, kind })
    }

    /// Leaves out the hosts that another tenant's server may have, so that nobody's traffic is taken from them.
    fn keep_allowed(&self, hosts: &mut ServerHosts, port: u16, findings: &mut Findings) {
        let namespace = &self.key.namespace;
        hosts.retain(|host| {
            let allowed = self.tenants.allow(namespace, host, Some(port));
            if !allowed {
                let message =
                    format!("namespace {namespace} may not claim `{host}` on port {port}; the host is left out");
                let remedy = "add it to a tenant of the namespace in the bootstrap file, or remove it here";
                findings.error(&self.at.field("hosts"), "not-allowed", message, remedy);
            }
            allowed
        });
    }

    fn bind(&self, bind: &str, findings: &mut Findings) -> Option<Bind> {
        if bind.is_empty() {
            return Some(Bind::Shared);
        }
        if let Some(path) = bind.strip_prefix("unix://").filter(|path| is_socket(path)) {
            return Some(Bind::Unix(path.to_owned()));
        }
        if let Ok(ip) = bind.parse() {
            return Some(Bind::Ip(ip));
        }
        let message = format!("`{}` is no address to bind to", bind.escape_debug());
        let remedy = "write an IP address, `unix:///path` or `unix://@name`, or remove the field";
        findings.error(&self.at.field("bind"), "invalid-value", message, remedy);
        None
    }

    fn number(&self, number: i64, bind: Option<&Bind>, findings: &mut Findings) -> Option<u16> {
        let at = self.at.field("port");
        let at = at.field("number");
        if let Some(Bind::Unix(_)) = bind {
            if number != 0 {
                findings.error(&at, "invalid-value", "a Unix socket has no port", "write 0");
                return None;
            }
            return Some(0);
        }
        let port = port_number(number);
        if port.is_none() {
            findings.error(&at, "invalid-value", format!("{number} is not a port"), "write a number from 1 to 65535");
        }
        port
    }

    /// `namespace/gateway/port`, when the port has a name of its own.
    fn name(&mut self, name: &str, findings: &mut Findings) -> Option<String> {
        let at = self.at.field("port");
        let at = at.field("name");
        if name.is_empty() {
            findings.error(&at, "missing-field", "the port has no name", "name it; names are unique in a Gateway");
            return None;
        }
        if !self.names.insert(name.to_owned()) {
            let message = format!("another server's port is called `{name}`, so that this server is not used");
            findings.error(&at, "duplicate-port-name", message, "give each port of a Gateway its own name");
            return None;
        }
        Some(format!("{}/{}/{name}", self.key.namespace, self.key.name))
    }

    /// Fields that change nothing.
    fn remark(&self, said: &objects::Server, port: &objects::Port, findings: &mut Findings) {
        let at = self.at;
        if port.target_port != 0 {
            let message = "`targetPort` has no meaning in a Gateway";
            findings.error(&at.field("port").field("targetPort"), "invalid-value", message, "remove the field");
        }
        if said.hosts.is_empty() {
            let message = "the server has no hosts";
            findings.error(&at.field("hosts"), "missing-field", message, "name the hosts it serves, or `*`");
        }
        if !said.default_endpoint.is_empty() {
            let message = "`defaultEndpoint` has no effect, as in Istio";
            findings.warning(&at.field("defaultEndpoint"), "no-effect", message, "remove the field");
        }
        if !said.name.is_empty() {
            let message = "a server's name has no effect here; the port's name stands in metrics";
            findings.info(&at.field("name"), "no-effect", message, "remove the field");
        }
    }
}

/// A file by its absolute path, or a name in the abstract namespace. The kernel ends a path at a NUL, and a log shows no
/// other control character as it is.
fn is_socket(path: &str) -> bool {
    let placed = path.starts_with('@') || path.starts_with('/') && !path.ends_with('/');
    placed && !path.contains(char::is_control)
}

/// The protocols of ports, as far as they differ here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http,
    Https,
    Tls,
    Tcp,
}

impl Protocol {
    fn read(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Self> {
        let remedy = "write one of HTTP, HTTPS, HTTP2, GRPC, TLS and TCP";
        Some(match text.to_ascii_uppercase().as_str() {
            "HTTP" | "HTTP2" | "GRPC" | "HTTP_PROXY" => Self::Http,
            "GRPC-WEB" => {
                let message = "gRPC-Web is not translated to gRPC; the requests are forwarded as they are";
                findings.warning(at, "unsupported", message, "put a translating proxy before the backend");
                Self::Http
            }
            "HTTPS" => Self::Https,
            "TLS" => Self::Tls,
            "TCP" | "MONGO" | "REDIS" | "MYSQL" => Self::Tcp,
            "" => {
                findings.error(at, "missing-field", "the port has no protocol", remedy);
                return None;
            }
            _ => {
                findings.error(at, "invalid-value", format!("`{text}` is not a protocol of a Gateway"), remedy);
                return None;
            }
        })
    }

    /// A server of this protocol that keeps its hosts and serves nobody; only TLS has such.
    fn refusing(self) -> Option<Kind> {
        match self {
            Self::Https => Some(Kind::Https(Termination::refusing())),
            Self::Tls => Some(Kind::Tls(Termination::refusing())),
            Self::Http | Self::Tcp => None,
        }
    }
}

/// What the protocol and the TLS settings make of a server.
fn kind(
    protocol: Protocol,
    tls: Option<&objects::ServerTls>,
    environment: &Environment,
    server: &Place<'_>,
    findings: &mut Findings,
) -> Option<Kind> {
    let at = server.field("tls");
    match (protocol, tls) {
        (Protocol::Http, None) => Some(Kind::Http { redirect: false }),
        (Protocol::Tcp, None) => Some(Kind::Tcp),
        (Protocol::Http, Some(tls)) => {
            if !is_passthrough(tls) || names_certificate(tls) {
                let message = "an HTTP server cannot have TLS settings; only `httpsRedirect` may stand here";
                findings.error(&at, "conflicting-fields", message, "write protocol HTTPS, or remove the settings");
                return None;
            }
            Some(Kind::Http { redirect: tls.https_redirect })
        }
        (Protocol::Tcp, Some(_)) => {
            let message = "a TCP server cannot have TLS settings";
            findings.error(&at, "conflicting-fields", message, "write protocol TLS, or remove the settings");
            None
        }
        (Protocol::Https | Protocol::Tls, None) => {
            let message = "an HTTPS or TLS server needs TLS settings";
            findings.error(&at, "missing-field", message, "give `mode` and `credentialName`");
            None
        }
        (Protocol::Https | Protocol::Tls, Some(tls)) => {
            if tls.https_redirect {
                let message = "a server of this protocol has nothing to redirect to https; the field has no effect";
                let remedy = "put it on the HTTP server of the same hosts";
                findings.warning(&at.field("httpsRedirect"), "no-effect", message, remedy);
            }
            let termination = match mode(tls, &at, findings)? {
                None => return Some(Kind::Passthrough),
                Some(mode) => tls::read(tls, mode, &environment.namespace, &at, findings)?,
            };
            Some(if protocol == Protocol::Https { Kind::Https(termination) } else { Kind::Tls(termination) })
        }
    }
}

/// The mode of a TLS server: none when it cannot be served, `Some(None)` when nothing is decrypted.
fn mode(tls: &objects::ServerTls, at: &Place<'_>, findings: &mut Findings) -> Option<Option<tls::Mode>> {
    let here = at.field("mode");
    Some(match tls.mode.as_deref() {
        None if names_certificate(tls) => {
            let message =
                "without `mode`, Istio means PASSTHROUGH: nothing is decrypted and the certificate is not used";
            findings.error(&here, "mode-omitted", message, "write `mode: SIMPLE`");
            None
        }
        None => {
            let message = "without `mode`, Istio means PASSTHROUGH: nothing is decrypted";
            findings.warning(&here, "mode-omitted", message, "write `mode: PASSTHROUGH`, or SIMPLE and a credential");
            None
        }
        Some("PASSTHROUGH") => {
            if names_certificate(tls) || !tls.ca_crl.is_empty() {
                let message = "nothing is decrypted in mode PASSTHROUGH, so that the certificate is not used";
                findings.warning(at, "no-effect", message, "write `mode: SIMPLE`, or remove the certificate");
            }
            None
        }
        Some("SIMPLE") => Some(tls::Mode::Simple),
        Some("MUTUAL") => Some(tls::Mode::Mutual),
        Some("OPTIONAL_MUTUAL") => Some(tls::Mode::OptionalMutual),
        Some(mesh @ ("AUTO_PASSTHROUGH" | "ISTIO_MUTUAL")) => {
            let message = format!("{mesh} needs Istio's mesh, so that this server refuses all connections");
            findings.error(&here, "unsupported", message, "write SIMPLE, MUTUAL, OPTIONAL_MUTUAL or PASSTHROUGH");
            return None;
        }
        Some(other) => {
            let remedy = "write SIMPLE, MUTUAL, OPTIONAL_MUTUAL or PASSTHROUGH";
            findings.error(&here, "invalid-value", format!("`{other}` is not a TLS mode"), remedy);
            return None;
        }
    })
}

fn is_passthrough(tls: &objects::ServerTls) -> bool {
    tls.mode.as_deref().is_none_or(|mode| mode == "PASSTHROUGH")
}

fn names_certificate(tls: &objects::ServerTls) -> bool {
    let paths = [&tls.credential_name, &tls.ca_cert_credential_name, &tls.server_certificate, &tls.private_key];
    paths.iter().any(|path| !path.is_empty())
        || !tls.ca_certificates.is_empty()
        || !tls.credential_names.is_empty()
        || !tls.tls_certificates.is_empty()
}
