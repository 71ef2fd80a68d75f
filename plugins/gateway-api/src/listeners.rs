//! A Gateway's listeners, checked one by one: what one of them has wrong costs that one only.
//!
//! A listener that is not accepted serves nothing, but it may have to keep its place ([`conflicts::holds_place`]): its
//! traffic must not fall to a wider listener.

pub(crate) mod conflicts;
pub(crate) mod frontend;
pub(crate) mod tls;

use std::collections::HashSet;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::host_name::HostName;

use self::frontend::Referring;
pub(crate) use self::tls::Tls;
use crate::finding::{Fault, Findings, Problem};
use crate::grants::Grants;
use crate::hostname;
use crate::objects::GROUP;
use crate::objects::gateway::{AllowedRoutes, GatewayTls, Listener as Spec, RouteNamespaces};
use crate::selector::Selector;
use crate::snapshot::Namespaces;

/// One listener, as far as the Gateway alone tells.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) name: String,
    /// Such as `spec.listeners[0]`.
    pub(crate) field: String,
    /// A second listener of one name: it has no status of its own and no route can mean it.
    pub(crate) duplicate: bool,
    pub(crate) protocol: Protocol,
    /// None when what is written is no port.
    pub(crate) port: Option<u16>,
    /// None when what is written is no host name; every name when nothing is.
    pub(crate) host: Option<HostName>,
    pub(crate) allowed: Allowed,
    /// Why it is not accepted.
    pub(crate) refused: Option<Problem>,
    /// Which other listener it cannot be told apart from.
    pub(crate) conflict: Option<Problem>,
    /// References that lead nowhere, as far as can be seen without the secrets.
    pub(crate) unresolved: Vec<Problem>,
    /// Other listeners whose host names it shares, on one port with TLS.
    pub(crate) overlap: Option<Problem>,
    pub(crate) emitted: Option<Emitted>,
}

/// What is spoken.
#[derive(Debug)]
pub(crate) enum Protocol {
    Http,
    Https(Tls),
    /// Known to the API or not, but not to us.
    Unserved,
}

/// Where a listener and its secrets are in the translation.
#[derive(Debug)]
pub(crate) struct Emitted {
    pub(crate) listener: u32,
    pub(crate) credentials: Vec<u32>,
    pub(crate) trust: Vec<u32>,
}

/// Which routes may attach.
#[derive(Debug)]
pub(crate) struct Allowed {
    /// HTTPRoute is among the allowed kinds. No other kind is served so far.
    pub(crate) http_routes: bool,
    namespaces: FromNamespaces,
}

#[derive(Debug)]
enum FromNamespaces {
    Same,
    All,
    Selected(Selector),
    /// What is written cannot be understood.
    None,
}

impl Listener {
    /// Whether it serves what attaches to it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.refused.is_none() && self.conflict.is_none()
    }

    /// Its protocol's word, where it is served, with the port and the names it claims.
    pub(crate) fn claim(&self) -> Option<(&'static str, u16, &HostName)> {
        let protocol = match self.protocol {
            Protocol::Http => "HTTP",
            Protocol::Https(_) => "HTTPS",
            Protocol::Unserved => return None,
        };
        Some((protocol, self.port?, self.host.as_ref()?))
    }
}

impl Allowed {
    /// Whether a route of `namespace` may attach to a listener of a Gateway in `own`.
    pub(crate) fn namespace(&self, own: &str, namespace: &str, namespaces: &Namespaces) -> bool {
        match &self.namespaces {
            FromNamespaces::Same => own == namespace,
            FromNamespaces::All => true,
            FromNamespaces::Selected(selector) => {
                namespaces.labels(namespace).is_some_and(|labels| selector.selects(labels))
            }
            FromNamespaces::None => false,
        }
    }
}

/// Reads the listeners of a Gateway.
pub(crate) fn read(
    specs: &[Spec],
    gateway: &ObjectKey,
    gateway_tls: Option<&GatewayTls>,
    grants: &Grants,
    findings: &mut Findings<'_>,
) -> Vec<Listener> {
    let mut names = HashSet::new();
    let listeners = specs.iter().enumerate().map(|(index, spec)| {
        let mut listener = Reader { field: format!("spec.listeners[{index}]"), refused: None, findings }.read(spec);
        if let Protocol::Https(tls) = &mut listener.protocol {
            let secrets = spec.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
            tls.resolve(secrets, &listener.field, gateway, grants, &mut listener.unresolved, findings);
        }
        if let (Protocol::Https(tls), Some(frontend), Some(port)) =
            (&mut listener.protocol, gateway_tls.and_then(|tls| tls.frontend.as_ref()), listener.port)
        {
            let from = Referring { gateway, grants };
            let refused = tls.verify_clients(frontend, port, &from, &mut listener.unresolved, findings);
            listener.refused = listener.refused.take().or(refused);
        }
        if !names.insert(&spec.name) {
            listener.duplicate = true;
            let message = format!("another listener is called `{}` already", spec.name);
            let fault =
                Fault::new("duplicate-listener", format!("{}.name", listener.field), message, "choose another name");
            let problem = findings.refuse(fault);
            listener.refused.get_or_insert(problem);
        }
        listener
    });
    listeners.collect()
}

/// Reads one listener; the first thing wrong is why it is refused.
struct Reader<'r, 'f> {
    field: String,
    refused: Option<Problem>,
    findings: &'r mut Findings<'f>,
}

impl Reader<'_, '_> {
    fn read(mut self, spec: &Spec) -> Listener {
        if spec.name.is_empty() {
            self.refuse("missing-field", "name", "a listener needs a name", "add one, unique within the Gateway");
        }
        let protocol = self.protocol(spec);
        let port = match spec.port.map(u16::try_from) {
            Some(Ok(port)) if port > 0 => Some(port),
            written => {
                let message = match written {
                    None => "a listener needs a port".to_owned(),
                    Some(_) => format!("{} is not a port", spec.port.unwrap_or_default()),
                };
                self.refuse("invalid-port", "port", message, "give a number from 1 to 65535");
                None
            }
        };
        let host = match spec.hostname.as_deref() {
            None | Some("") => Some(HostName::Any),
            Some(text) => match hostname::parse(text) {
                Ok(host) => Some(host),
                Err(why) => {
                    self.refuse(
                        "invalid-hostname",
                        "hostname",
                        why,
                        "give a name such as `www.example.com` or `*.example.com`",
                    );
                    None
                }
            },
        };
        let mut unresolved = Vec::new();
        let allowed = self.allowed(spec.allowed_routes.as_ref(), &protocol, &mut unresolved);
        Listener {
            name: spec.name.clone(),
            field: self.field,
            duplicate: false,
            protocol,
            port,
            host,
            allowed,
            refused: self.refused,
            conflict: None,
            unresolved,
            overlap: None,
            emitted: None,
        }
    }

    fn protocol(&mut self, spec: &Spec) -> Protocol {
        match spec.protocol.to_ascii_uppercase().as_str() {
            "HTTP" => {
                if spec.tls.is_some() {
                    self.refuse(
                        "tls-not-allowed",
                        "tls",
                        "an HTTP listener has no TLS",
                        "remove it, or make the protocol HTTPS",
                    );
                }
                Protocol::Http
            }
            "HTTPS" => {
                let (tls, faults) = Tls::read(spec.tls.as_ref(), &self.field);
                for fault in faults {
                    self.refuse_fault(fault);
                }
                for fault in tls.warnings(spec.tls.as_ref(), &self.field) {
                    self.findings.warn(fault);
                }
                Protocol::Https(tls)
            }
            "" => {
                self.refuse("missing-field", "protocol", "a listener needs a protocol", "give HTTP or HTTPS");
                Protocol::Unserved
            }
            other => {
                let message = match other {
                    "TLS" | "TCP" | "UDP" => format!("{other} listeners are not served yet"),
                    _ => format!("`{}` is not a protocol that this gateway knows", spec.protocol),
                };
                let fault = self.fault(
                    "unsupported-protocol",
                    "protocol",
                    message,
                    "use HTTP or HTTPS, or remove the listener",
                );
                self.refuse_fault(fault.because("UnsupportedProtocol"));
                Protocol::Unserved
            }
        }
    }

    fn allowed(&mut self, spec: Option<&AllowedRoutes>, protocol: &Protocol, unresolved: &mut Vec<Problem>) -> Allowed {
        let namespaces = self.namespaces(spec.and_then(|allowed| allowed.namespaces.as_ref()));
        let served = !matches!(protocol, Protocol::Unserved);
        let Some(kinds) = spec.map(|allowed| &allowed.kinds).filter(|kinds| !kinds.is_empty()) else {
            return Allowed { http_routes: served, namespaces };
        };
        let mut http_routes = false;
        for (index, kind) in kinds.iter().enumerate() {
            let group = kind.group.as_deref().unwrap_or(GROUP);
            if served && group == GROUP && kind.kind == "HTTPRoute" {
                http_routes = true;
                continue;
            }
            let message = format!("routes of kind `{}` in group `{group}` cannot attach here", kind.kind);
            let fault = self.fault(
                "invalid-route-kinds",
                &format!("allowedRoutes.kinds[{index}]"),
                message,
                "name HTTPRoute, on a listener of protocol HTTP or HTTPS",
            );
            unresolved.push(self.findings.refuse(fault.because("InvalidRouteKinds")));
        }
        Allowed { http_routes, namespaces }
    }

    fn namespaces(&mut self, spec: Option<&RouteNamespaces>) -> FromNamespaces {
        let Some(spec) = spec else { return FromNamespaces::Same };
        match (spec.from.as_deref(), &spec.selector) {
            (None | Some("Same"), _) => FromNamespaces::Same,
            (Some("All"), _) => FromNamespaces::All,
            (Some("Selector"), Some(selector)) => match Selector::read(selector) {
                Ok(selector) => FromNamespaces::Selected(selector),
                Err((field, why)) => {
                    let field = format!("allowedRoutes.namespaces.selector.{field}");
                    self.refuse("invalid-selector", &field, why, "correct the selector");
                    FromNamespaces::None
                }
            },
            (Some("Selector"), None) => {
                self.refuse(
                    "missing-field",
                    "allowedRoutes.namespaces.selector",
                    "`from: Selector` needs a selector",
                    "add one",
                );
                FromNamespaces::None
            }
            (Some(other), _) => {
                let message = format!("`{other}` is not one of Same, All and Selector");
                self.refuse("unsupported-value", "allowedRoutes.namespaces.from", message, "use one of them");
                FromNamespaces::None
            }
        }
    }

    fn refuse(&mut self, code: &'static str, below: &str, message: impl Into<String>, remedy: &str) {
        let fault = self.fault(code, below, message, remedy);
        self.refuse_fault(fault);
    }

    fn fault(&self, code: &'static str, below: &str, message: impl Into<String>, remedy: &str) -> Fault {
        Fault::new(code, format!("{}.{below}", self.field), message, remedy)
    }

    fn refuse_fault(&mut self, fault: Fault) {
        let problem = self.findings.refuse(fault);
        self.refused.get_or_insert(problem);
    }
}
