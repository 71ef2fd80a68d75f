//! The listeners of a Gateway and of the ListenerSets attached to it, checked one by one: what one of them has wrong
//! costs that one only.
//!
//! A listener that is not accepted serves nothing, but it may have to keep its place ([`conflicts::holds_place`]): its
//! traffic must not fall to a wider listener.

pub(crate) mod conflicts;
pub(crate) mod frontend;
pub(crate) mod tls;

use std::collections::HashSet;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::host_name::HostName;

pub(crate) use self::tls::Tls;
use crate::finding::{Fault, Findings, Problem};
use crate::grants::{Grants, Referrer};
use crate::hostname;
use crate::kinds::RouteKind;
use crate::objects::GROUP;
use crate::objects::gateway::{AllowedRoutes, GatewayTls, Listener as Spec, RouteNamespaces};
use crate::selector::Selector;
use crate::snapshot::Namespaces;

/// One listener, as far as the Gateway alone tells.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Index in the Gateway's `sets`; none for its own.
    pub(crate) set: Option<usize>,
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
    /// TLS that ends here, and then bytes.
    Tls(Tls),
    /// TLS that ends at the backend.
    Passthrough,
    Tcp,
    /// Known to the API or not, but not to us.
    Unserved,
}

/// Protocols that can share a port: they tell listeners apart by the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    /// By the authority of a request.
    Http,
    /// By the name that a client asks for (SNI).
    Tls,
    /// By nothing: a port has one listener.
    Tcp,
}

/// What a listener claims for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'l> {
    pub(crate) family: Family,
    /// The protocol, as objects call it.
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
    pub(crate) host: &'l HostName,
}

impl Protocol {
    fn served(&self) -> Option<(Family, &'static str)> {
        match self {
            Self::Http => Some((Family::Http, "HTTP")),
            Self::Https(_) => Some((Family::Tls, "HTTPS")),
            Self::Tls(_) | Self::Passthrough => Some((Family::Tls, "TLS")),
            Self::Tcp => Some((Family::Tcp, "TCP")),
            Self::Unserved => None,
        }
    }

    /// TLS, where it ends here.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Https(tls) | Self::Tls(tls) => Some(tls),
            Self::Http | Self::Passthrough | Self::Tcp | Self::Unserved => None,
        }
    }

    fn tls_mut(&mut self) -> Option<&mut Tls> {
        match self {
            Self::Https(tls) | Self::Tls(tls) => Some(tls),
            Self::Http | Self::Passthrough | Self::Tcp | Self::Unserved => None,
        }
    }

    /// The kinds of routes that can attach.
    fn kinds(&self) -> &'static [RouteKind] {
        match self {
            Self::Http | Self::Https(_) => &[RouteKind::Http, RouteKind::Grpc],
            Self::Tls(_) | Self::Passthrough => &[RouteKind::Tls],
            Self::Tcp => &[RouteKind::Tcp],
            Self::Unserved => &[],
        }
    }
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
    /// Of those that the protocol takes.
    pub(crate) kinds: Vec<RouteKind>,
    pub(crate) namespaces: FromNamespaces,
}

/// Which namespaces something may come from.
#[derive(Debug)]
pub(crate) enum FromNamespaces {
    Same,
    All,
    Selected(Selector),
    /// From none, or what is written cannot be understood.
    None,
}

impl Listener {
    /// Whether it serves what attaches to it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.refused.is_none() && self.conflict.is_none()
    }

    /// What it claims, where its protocol is served.
    pub(crate) fn claim(&self) -> Option<Claim<'_>> {
        let (family, protocol) = self.protocol.served()?;
        Some(Claim { family, protocol, port: self.port?, host: self.host.as_ref()? })
    }
}

impl FromNamespaces {
    /// Reads what stands at `field`, where nothing stands for `default`.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub(crate) fn read(spec: Option<&RouteNamespaces>, field: &str, default: Self) -> Result<Self, Fault> {
        let Some(spec) = spec else { return Ok(default) };
        match (spec.from.as_deref(), &spec.selector) {
            (None, _) => Ok(default),
            (Some("Same"), _) => Ok(Self::Same),
            (Some("All"), _) => Ok(Self::All),
            (Some("None"), _) => Ok(Self::None),
            (Some("Selector"), Some(selector)) => {
                Selector::read(selector).map(Self::Selected).map_err(|(below, why)| {
                    Fault::new("invalid-selector", format!("{field}.selector.{below}"), why, "correct the selector")
                })
            }
            (Some("Selector"), None) => {
                let message = "`from: Selector` needs a selector";
                Err(Fault::new("missing-field", format!("{field}.selector"), message, "add one"))
            }
            (Some(other), _) => {
                let message = format!("`{other}` is not one of Same, All, Selector and None");
                Err(Fault::new("unsupported-value", format!("{field}.from"), message, "use one of them"))
            }
        }
    }

    /// Whether an object of `namespace` may attach to one in `own`.
    pub(crate) fn include(&self, own: &str, namespace: &str, namespaces: &Namespaces) -> bool {
        match self {
            Self::Same => own == namespace,
            Self::All => true,
            Self::Selected(selector) => namespaces.labels(namespace).is_some_and(|labels| selector.selects(labels)),
            Self::None => false,
        }
    }
}

/// Who has listeners: a Gateway, or a set that is attached to it, by index in the Gateway's `sets`.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'o> {
    pub(crate) key: &'o ObjectKey,
    pub(crate) gateway: &'o ObjectKey,
    pub(crate) set: Option<usize>,
}

impl Owner<'_> {
    fn referrer(&self) -> Referrer {
        if self.set.is_none() { Referrer::Gateway } else { Referrer::ListenerSet }
    }
}

/// Reads the listeners of a Gateway or of a ListenerSet, which are served under the Gateway's `tls`.
pub(crate) fn read(
    specs: &[Spec],
    owner: Owner<'_>,
    gateway_tls: Option<&GatewayTls>,
    grants: &Grants,
    findings: &mut Findings<'_>,
) -> Vec<Listener> {
    let mut names = HashSet::new();
    let listeners = specs.iter().enumerate().map(|(index, spec)| {
        let reader = Reader { set: owner.set, field: format!("spec.listeners[{index}]"), refused: None, findings };
        let mut listener = reader.read(spec);
        if let Some(tls) = listener.protocol.tls_mut() {
            let secrets = spec.tls.as_ref().map_or(&[][..], |tls| &tls.certificate_refs);
            let from = tls::Referring { key: owner.key, referrer: owner.referrer(), grants };
            tls.resolve(secrets, &listener.field, from, &mut listener.unresolved, findings);
        }
        if let (Protocol::Https(tls), Some(frontend), Some(port)) =
            (&mut listener.protocol, gateway_tls.and_then(|tls| tls.frontend.as_ref()), listener.port)
        {
            // What is wrong there is the Gateway's, whosever listener it is.
            let mut findings = findings.of(owner.gateway);
            let from = tls::Referring { key: owner.gateway, referrer: Referrer::Gateway, grants };
            let refused = tls.verify_clients(frontend, port, from, &mut listener.unresolved, &mut findings);
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

/// The API's `SectionName`.
fn is_section_name(name: &str) -> bool {
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
            && bytes.first().is_some_and(|b| *b != b'-')
            && bytes.last().is_some_and(|b| *b != b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Reads one listener; the first thing wrong is why it is refused.
struct Reader<'r, 'f> {
    set: Option<usize>,
    field: String,
    refused: Option<Problem>,
    findings: &'r mut Findings<'f>,
}

impl Reader<'_, '_> {
    fn read(mut self, spec: &Spec) -> Listener {
        if spec.name.is_empty() {
            self.refuse("missing-field", "name", "a listener needs a name", "add one, unique within the Gateway");
        } else if !is_section_name(&spec.name) {
            let message = format!("`{}` is not a name for a listener", spec.name);
            let remedy = "use up to 253 lower-case letters, digits, `-` and `.`";
            self.refuse("invalid-name", "name", message, remedy);
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
            Some(_) if matches!(protocol, Protocol::Tcp) => {
                let message = "TCP has no host names";
                self.refuse(
                    "unsupported-value",
                    "hostname",
                    message,
                    "remove it; the port alone tells listeners apart",
                );
                None
            }
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
            set: self.set,
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
                self.without_tls(spec, "an HTTP listener has no TLS", "remove it, or make the protocol HTTPS");
                Protocol::Http
            }
            "HTTPS" => Protocol::Https(self.tls(spec, "HTTPS")),
            // Terminate is the API's default, where `tls` is there at all.
            "TLS" => match spec.tls.as_ref().map(|tls| tls.mode.as_deref().unwrap_or("Terminate")) {
                Some("Passthrough") => {
                    self.sealed(spec);
                    Protocol::Passthrough
                }
                Some(mode) if !mode.is_empty() => Protocol::Tls(self.tls(spec, "TLS")),
                _ => {
                    let message = "a TLS listener has to say where TLS ends";
                    self.refuse("missing-field", "tls.mode", message, "give Passthrough or Terminate");
                    Protocol::Tls(Tls::default())
                }
            },
            "TCP" => {
                self.without_tls(spec, "a TCP listener has no TLS", "remove it, or make the protocol TLS");
                Protocol::Tcp
            }
            "" => {
                let remedy = "give HTTP, HTTPS, TLS or TCP";
                self.refuse("missing-field", "protocol", "a listener needs a protocol", remedy);
                Protocol::Unserved
            }
            other => {
                let message = match other {
                    "UDP" => "UDP is not served".to_owned(),
                    _ => format!("`{}` is not a protocol that this gateway knows", spec.protocol),
                };
                let remedy = "use HTTP, HTTPS, TLS or TCP, or remove the listener";
                let fault = self.fault("unsupported-protocol", "protocol", message, remedy);
                self.refuse_fault(fault.because("UnsupportedProtocol"));
                Protocol::Unserved
            }
        }
    }

    fn without_tls(&mut self, spec: &Spec, message: &str, remedy: &str) {
        if spec.tls.is_some() {
            self.refuse("tls-not-allowed", "tls", message, remedy);
        }
    }

    /// TLS that ends here.
    fn tls(&mut self, spec: &Spec, protocol: &str) -> Tls {
        let (tls, faults) = Tls::read(spec.tls.as_ref(), &self.field, protocol);
        for fault in faults {
            self.refuse_fault(fault);
        }
        for fault in tls.warnings(spec.tls.as_ref(), &self.field) {
            self.findings.warn(fault);
        }
        tls
    }

    /// Nothing of TLS is ours where it ends at the backend.
    fn sealed(&mut self, spec: &Spec) {
        let Some(tls) = &spec.tls else { return };
        if !tls.certificate_refs.is_empty() || !tls.options.is_empty() {
            let message = "TLS ends at the backend, so certificates and options have no effect here";
            let remedy = "remove them, or make the mode Terminate";
            let fault = self.fault("unused-field", "tls", message, remedy);
            self.findings.warn(fault);
        }
    }

    fn allowed(&mut self, spec: Option<&AllowedRoutes>, protocol: &Protocol, unresolved: &mut Vec<Problem>) -> Allowed {
        let namespaces = self.namespaces(spec.and_then(|allowed| allowed.namespaces.as_ref()));
        let known = protocol.kinds();
        let Some(specs) = spec.map(|allowed| &allowed.kinds).filter(|kinds| !kinds.is_empty()) else {
            return Allowed { kinds: known.to_vec(), namespaces };
        };
        let mut kinds = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let group = spec.group.as_deref().unwrap_or(GROUP);
            match RouteKind::of(group, &spec.kind).filter(|kind| known.contains(kind)) {
                Some(kind) if kinds.contains(&kind) => {}
                Some(kind) => kinds.push(kind),
                None => {
                    let message = format!("routes of kind `{}` in group `{group}` cannot attach here", spec.kind);
                    let names = known.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
                    let remedy = match names.as_str() {
                        "" => "remove it".to_owned(),
                        names => format!("name {names}, or change the listener's protocol"),
                    };
                    let field = format!("allowedRoutes.kinds[{index}]");
                    let fault = self.fault("invalid-route-kinds", &field, message, remedy);
                    unresolved.push(self.findings.refuse(fault.because("InvalidRouteKinds")));
                }
            }
        }
        Allowed { kinds, namespaces }
    }

    fn namespaces(&mut self, spec: Option<&RouteNamespaces>) -> FromNamespaces {
        let field = format!("{}.allowedRoutes.namespaces", self.field);
        FromNamespaces::read(spec, &field, FromNamespaces::Same).unwrap_or_else(|fault| {
            self.refuse_fault(fault);
            FromNamespaces::None
        })
    }

    fn refuse(&mut self, code: &'static str, below: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let fault = self.fault(code, below, message, remedy);
        self.refuse_fault(fault);
    }

    fn fault(&self, code: &'static str, below: &str, message: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault::new(code, format!("{}.{below}", self.field), message, remedy)
    }

    fn refuse_fault(&mut self, fault: Fault) {
        let problem = self.findings.refuse(fault);
        self.refused.get_or_insert(problem);
    }
}
