//! Gateways of our classes: their addresses, what concerns them as a whole, and their listeners, those of attached
//! ListenerSets among them.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use sekisho_sdk::model::{Address, Infrastructure};
use sekisho_sdk::{Finding, Object, ObjectKey, Typed};
use serde::Deserialize;

use crate::classes::Classes;
use crate::client_certificate::ClientCertificate;
use crate::finding::{Fault, Findings, Problem};
use crate::grants::Grants;
use crate::host::Host;
use crate::infrastructure::infrastructure;
use crate::listener_sets::{self, ListenerSet};
use crate::listeners::{self, FromNamespaces, Listener, Owner, conflicts};
use crate::objects::gateway::{Address as AddressSpec, Frontend, GatewaySpec, GatewayTls};
use crate::precedence::Seniority;
use crate::snapshot::Namespaces;

/// A Gateway that is ours.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) key: ObjectKey,
    pub(crate) generation: i64,
    pub(crate) seniority: Seniority,
    /// Why nothing of it is served.
    pub(crate) refused: Option<Problem>,
    /// None when the addresses it wants cannot be understood.
    pub(crate) address: Option<Address>,
    /// What is to be kept for it; the translation takes it.
    pub(crate) infrastructure: Option<Infrastructure>,
    pub(crate) binding: Option<u32>,
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// Clients of some port are served whatever they show.
    pub(crate) serves_anybody: bool,
    /// Which ListenerSets may attach.
    pub(crate) allowed_sets: FromNamespaces,
    /// The ListenerSets that name it, in the order of their precedence.
    pub(crate) sets: Vec<ListenerSet>,
    /// Its own, and behind them those of each attached set.
    pub(crate) listeners: Vec<Listener>,
}

impl Gateway {
    /// A name for the sockets it listens on; equal names are equal sockets.
    pub(crate) fn sockets(&self) -> Option<String> {
        match self.address.as_ref()? {
            Address::Dedicated(addresses) if addresses.is_empty() => {
                Some(format!("any of {}/{}", self.key.namespace, self.key.name))
            }
            Address::Dedicated(addresses) => Some(addresses.join(" ")),
            _ => Some(String::new()),
        }
    }

    /// The listeners of the Gateway's own or of one of its sets that have a status and that routes may mean.
    pub(crate) fn listed(&self, set: Option<usize>) -> impl Iterator<Item = (usize, &Listener)> {
        let places = match set {
            None => 0..self.sets.first().map_or(self.listeners.len(), |set| set.listeners.start),
            Some(set) => self.sets[set].listeners.clone(),
        };
        let first = places.start;
        let listeners = self.listeners[places].iter().enumerate().map(move |(index, one)| (first + index, one));
        listeners.filter(|(_, listener)| !listener.duplicate)
    }
}

/// Reads the Gateways of our classes, oldest first, and the ListenerSets that name them, with the conflicts between their
/// listeners resolved.
pub(crate) fn read(
    objects: &[Object],
    sets: &[Object],
    classes: &Classes,
    host: Host,
    grants: &Grants,
    namespaces: &Namespaces,
    list: &mut Vec<Finding>,
) -> Vec<Gateway> {
    let known: HashSet<_> = objects.iter().map(|object| object.key.clone()).collect();
    let mut written = HashMap::new();
    let ours = objects.iter().filter_map(|object| {
        let class = classes.find(&class(object, list)?)?;
        let typed = sekisho_sdk::objects::read::<Typed<GatewaySpec>>(object, list)?;
        let Typed { metadata, spec } = &*typed;
        let seniority = Seniority::new(metadata.creation_timestamp.clone(), &object.key.namespace, &object.key.name);
        let mut findings = Findings::about(&object.key, list);
        let mut refused = class.err().cloned();
        let address = address(&spec.addresses, host, &mut findings).unwrap_or_else(|problem| {
            refused.get_or_insert(problem);
            None
        });
        let kept =
            address.as_ref().filter(|address| host.keeps_for(address)).map(|_| infrastructure(&object.key, spec));
        if let Some(problem) = whole(spec, kept.is_some(), &mut findings) {
            refused.get_or_insert(problem);
        }
        let allowed = spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        let allowed_sets = FromNamespaces::read(allowed, "spec.allowedListeners.namespaces", FromNamespaces::None)
            .unwrap_or_else(|fault| {
                let problem = findings.refuse(fault);
                refused.get_or_insert(problem);
                FromNamespaces::None
            });
        let tls = spec.tls.as_ref();
        let client_certificate = tls.and_then(|tls| tls.backend.as_ref()?.client_certificate_ref.as_ref());
        let client_certificate =
            client_certificate.map(|reference| ClientCertificate::read(reference, &object.key, grants, &mut findings));
        let serves_anybody = serves_anybody(tls, &mut findings);
        let owner = Owner { key: &object.key, gateway: &object.key, set: None };
        let mut listeners = listeners::read(&spec.listeners, owner, tls, grants, &mut findings);
        conflicts::within(&mut listeners.iter_mut().collect::<Vec<_>>(), &mut findings);
        let generation = metadata.generation;
        written.insert(object.key.clone(), typed);
        Some(Gateway {
            key: object.key.clone(),
            generation,
            seniority,
            refused,
            address,
            infrastructure: kept,
            binding: None,
            client_certificate,
            serves_anybody,
            allowed_sets,
            sets: Vec::new(),
            listeners,
        })
    });
    let mut gateways: Vec<_> = ours.collect();
    gateways.sort_by(|a, b| a.seniority.cmp(&b.seniority));
    let around = listener_sets::Surroundings { known: &known, written: &written, grants, namespaces };
    listener_sets::attach(sets, &mut gateways, &around, list);
    for gateway in &gateways {
        if let Some(frontend) =
            written.get(&gateway.key).and_then(|gateway| gateway.spec.tls.as_ref()?.frontend.as_ref())
        {
            frontend.check(gateway, list);
        }
    }
    conflicts::across(&mut gateways, list);
    conflicts::overlaps(&mut gateways);
    gateways
}

fn serves_anybody(tls: Option<&GatewayTls>, findings: &mut Findings<'_>) -> bool {
    let serves_anybody = tls.and_then(|tls| tls.frontend.as_ref()).is_some_and(Frontend::serves_anybody);
    if serves_anybody {
        let message = "clients are served whatever certificate they show, and without one";
        let remedy = "use AllowValidOnly, unless every backend judges its clients itself";
        findings.warn(Fault::new("insecure-validation", "spec.tls.frontend", message, remedy));
    }
    serves_anybody
}

/// The class of a Gateway, read before all else: another class is another controller's, and then not a word is said
/// about the rest, not even if it cannot be read.
fn class(object: &Object, list: &mut Vec<Finding>) -> Option<String> {
    #[derive(Deserialize)]
    struct Peek {
        spec: PeekSpec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PeekSpec {
        gateway_class_name: String,
    }
    match serde_json::from_slice::<Peek>(&object.json) {
        Ok(Peek { spec }) if !spec.gateway_class_name.is_empty() => Some(spec.gateway_class_name),
        _ => {
            let message = "a Gateway needs a class; without one it is nobody's";
            let fault = Fault::new("missing-field", "spec.gatewayClassName", message, "name a GatewayClass");
            Findings::about(&object.key, list).refuse(fault);
            None
        }
    }
}

/// The addresses it asks for, or those of a Gateway that does not care.
fn address(specs: &[AddressSpec], host: Host, findings: &mut Findings<'_>) -> Result<Option<Address>, Problem> {
    let mut addresses = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let field = format!("spec.addresses[{index}]");
        match (spec.kind.as_deref().unwrap_or("IPAddress"), spec.value.as_deref().unwrap_or("")) {
            ("IPAddress", "") => {}
            ("IPAddress", text) => match text.parse::<IpAddr>() {
                Ok(address) => addresses.push(address.to_string()),
                Err(_) => {
                    let message = format!("`{text}` is not an IP address");
                    let fault = Fault::new(
                        "invalid-address",
                        format!("{field}.value"),
                        message,
                        "give an address such as 192.0.2.1 or 2001:db8::1",
                    );
                    return Err(findings.refuse(fault.because("Invalid")));
                }
            },
            (other, _) => {
                let message = format!("addresses of type `{other}` are not served");
                let fault = Fault::new(
                    "unsupported-address",
                    format!("{field}.type"),
                    message,
                    "use IPAddress, or leave `addresses` out",
                );
                return Err(findings.refuse(fault.because("UnsupportedAddress")));
            }
        }
    }
    if !addresses.is_empty() && addresses.len() < specs.len() {
        let message = "the addresses without a value are left out, as others are named";
        findings.warn(Fault::new("address-without-value", "spec.addresses", message, "name them all, or none"));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(Some(if specs.is_empty() { host.unasked() } else { Address::Dedicated(addresses) }))
}

/// What concerns the Gateway as a whole; gives why it is refused.
fn whole(spec: &GatewaySpec, kept: bool, findings: &mut Findings<'_>) -> Option<Problem> {
    if let Some(scope) = spec.default_scope.as_deref()
        && !["", "None"].contains(&scope)
    {
        let message = "routes attach by `parentRefs` only";
        findings.warn(Fault::new("unsupported-field", "spec.defaultScope", message, "name this Gateway in the routes"));
    }
    if spec.listeners.is_empty() {
        findings.refuse(Fault::new("missing-field", "spec.listeners", "a Gateway needs a listener", "add one"));
    }
    let infrastructure = spec.infrastructure.as_ref()?;
    if !kept && (!infrastructure.labels.is_empty() || !infrastructure.annotations.is_empty()) {
        let message = "no object is made for this Gateway, so there is none to carry these labels and annotations";
        let remedy = "nothing needs to be done, unless a Service is wanted: then see `kubernetes.gatewayServices` in the \
                      bootstrap file, and give the Gateway an address of its own";
        findings.info(Fault::new("no-infrastructure", "spec.infrastructure", message, remedy));
    }
    infrastructure.parameters_ref.as_ref().map(|_| {
        let message = "this controller has no parameters, so the reference leads nowhere";
        let fault = Fault::new("invalid-parameters", "spec.infrastructure.parametersRef", message, "remove it");
        findings.refuse(fault.because("InvalidParameters"))
    })
}
