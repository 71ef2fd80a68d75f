//! How a Gateway verifies clients, by port (`spec.tls.frontend`, GEP-91). What it says for a port replaces its default
//! there, and holds for every HTTPS listener of the port: clients reuse a connection of one for another.
//!
//! A listener whose authorities all lead nowhere is refused. It falls back neither to the default nor to clients that
//! nobody verifies. Where a port is none, any listener may be meant, and all are refused.

use std::collections::HashSet;

use sekisho_sdk::model::{Role, Source};
use sekisho_sdk::{Finding, ObjectKey};

use super::tls::{Client, Referring, TERMINATE_MODE, Tls};
use super::{Listener, Protocol};
use crate::finding::{Fault, Findings, Problem};
use crate::gateways::Gateway;
use crate::objects::gateway::{AuthorityRef, Frontend, FrontendValidation};

/// The kinds that hold authorities.
const KINDS: [&str; 2] = ["ConfigMap", "Secret"];

/// Why a listener is not accepted when it has no authority to verify clients with.
pub(crate) const NO_AUTHORITY: &str = "NoValidCACertificate";

impl Frontend {
    /// Whether clients of some port are served whatever they show.
    pub(crate) fn serves_anybody(&self) -> bool {
        let ports = self.per_port.iter().map(|config| &config.tls);
        let mut validations = [&self.everywhere].into_iter().chain(ports).filter_map(|tls| tls.validation.as_ref());
        validations.any(|validation| validation.mode.as_deref() == Some(INSECURE_FALLBACK))
    }

    /// The first port that is none.
    fn port_fault(&self) -> Option<Fault> {
        let legal = |port: &Option<i64>| port.is_some_and(|port| (1..=i64::from(u16::MAX)).contains(&port));
        let index = self.per_port.iter().position(|config| !legal(&config.port))?;
        let message = match self.per_port[index].port {
            None => "a configuration for a port needs the port; until then no HTTPS listener is served".to_owned(),
            Some(port) => format!("{port} is not a port; until it is, no HTTPS listener is served"),
        };
        let field = format!("spec.tls.frontend.perPort[{index}].port");
        Some(Fault::new("invalid-port", field, message, "give a number from 1 to 65535"))
    }

    /// Says once what concerns all listeners of the Gateway and its sets.
    pub(crate) fn check(&self, gateway: &Gateway, list: &mut Vec<Finding>) {
        let mut findings = Findings::about(&gateway.key, list);
        if let Some(fault) = self.port_fault() {
            findings.refuse(fault);
            return;
        }
        let https = |listener: &&Listener| matches!(listener.protocol, Protocol::Https(_));
        let served: HashSet<_> =
            gateway.listeners.iter().filter(https).filter_map(|listener| listener.port.map(i64::from)).collect();
        for (index, config) in self.per_port.iter().enumerate() {
            if let Some(port) = config.port.filter(|port| !served.contains(port)) {
                let message = format!("no HTTPS listener has port {port}");
                let field = format!("spec.tls.frontend.perPort[{index}].port");
                findings.warn(Fault::new("unused-field", field, message, "give the port of one, or remove it"));
            }
        }
        for listener in gateway.listeners.iter().filter(|listener| listener.is_accepted()) {
            let (Protocol::Tls(tls), Some(port)) = (&listener.protocol, listener.port) else { continue };
            if tls.client == Client::NotAsked && !matches!(self.at(port), Ok(None)) {
                let message =
                    "`spec.tls.frontend` of the Gateway is for HTTPS listeners: clients are not verified here";
                let field = format!("{}.protocol", listener.field);
                let remedy = format!("set the listener's option `{TERMINATE_MODE}: MUTUAL`, or use another port");
                let owner = listener.set.map_or(&gateway.key, |set| &gateway.sets[set].key);
                findings.of(owner).warn(Fault::new("unverified-clients", field, message, remedy));
            }
        }
    }

    /// What is said for a port, and where.
    fn at(&self, port: u16) -> Result<Option<(&FrontendValidation, String)>, Fault> {
        let mut said = self.per_port.iter().enumerate().filter(|(_, config)| config.port == Some(i64::from(port)));
        let (tls, place) = match (said.next(), said.next()) {
            (_, Some((second, _))) => {
                let message = format!("port {port} is spoken of twice");
                let field = format!("spec.tls.frontend.perPort[{second}].port");
                return Err(Fault::new("duplicate-port", field, message, "keep one of the two"));
            }
            (Some((index, config)), None) => (&config.tls, format!("perPort[{index}].tls")),
            (None, None) => (&self.everywhere, "default".to_owned()),
        };
        Ok(tls.validation.as_ref().map(|validation| (validation, format!("spec.tls.frontend.{place}.validation"))))
    }
}

const INSECURE_FALLBACK: &str = "AllowInsecureFallback";

impl Tls {
    /// Verifies the clients of a listener on `port` as its Gateway says; gives why it is refused.
    pub(super) fn verify_clients(
        &mut self,
        frontend: &Frontend,
        port: u16,
        from: Referring<'_>,
        unresolved: &mut Vec<Problem>,
        findings: &mut Findings<'_>,
    ) -> Option<Problem> {
        if let Some(fault) = frontend.port_fault() {
            return Some(fault.problem());
        }
        let (validation, field) = match frontend.at(port) {
            Ok(said) => said?,
            Err(fault) => return Some(findings.refuse(fault)),
        };
        if self.client != Client::NotAsked {
            let message = format!("clients are verified by the port and by the listener's `{TERMINATE_MODE}` too");
            let fault = Fault::new("unsupported-option", field, message, "remove one of the two");
            return Some(findings.refuse(fault));
        }
        self.client = match validation.mode.as_deref().unwrap_or_default() {
            "" | "AllowValidOnly" => Client::Required,
            INSECURE_FALLBACK => Client::Anybody,
            other => {
                let message = format!("`{other}` is not a mode of client validation");
                let remedy = "use AllowValidOnly or AllowInsecureFallback";
                let fault = Fault::new("unsupported-value", format!("{field}.mode"), message, remedy);
                return Some(findings.refuse(fault));
            }
        };
        let list = format!("{field}.caCertificateRefs");
        for (index, reference) in validation.ca_certificate_refs.iter().enumerate() {
            let place = format!("{list}[{index}]");
            match authority(reference, &place, from) {
                Ok(key) => self.trust.push(Source::new(from.key.at(&place), Role::Trust, vec![key])),
                Err(fault) => unresolved.push(findings.refuse(fault)),
            }
        }
        if validation.ca_certificate_refs.is_empty() {
            let message = "clients cannot be verified without an authority";
            let fault = Fault::new("invalid-ca-certificate-ref", &list, message, "name a ConfigMap with a key ca.crt");
            unresolved.push(findings.refuse(fault.because("InvalidCACertificateRef")));
        }
        self.trust
            .is_empty()
            .then(|| Problem::new(NO_AUTHORITY, format!("{list}: not one of them can be used to verify clients with")))
    }
}

impl AuthorityRef {
    /// What is wrong with its kind.
    pub(crate) fn kind_fault(&self, field: &str) -> Option<Fault> {
        let Self { group, kind, .. } = self;
        (!group.is_empty() || !KINDS.contains(&kind.as_str())).then(|| {
            let message = format!("kind `{kind}` in group `{group}` holds no authorities");
            Fault::new("invalid-ca-certificate-ref", field, message, "refer to a ConfigMap or a Secret")
        })
    }
}

fn authority(reference: &AuthorityRef, field: &str, from: Referring<'_>) -> Result<ObjectKey, Fault> {
    let AuthorityRef { kind, namespace, name, .. } = reference;
    if let Some(fault) = reference.kind_fault(field) {
        return Err(fault.because("InvalidCACertificateKind"));
    }
    if name.is_empty() {
        let fault = Fault::new("invalid-ca-certificate-ref", field, "the reference needs a name", "name a ConfigMap");
        return Err(fault.because("InvalidCACertificateRef"));
    }
    from.permitted(ObjectKey::new("", kind, namespace.as_deref().unwrap_or(&from.key.namespace), name), field)
}
