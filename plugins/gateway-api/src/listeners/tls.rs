//! TLS of an HTTPS listener: which secrets are its certificates, and whether clients must show one.
//!
//! Clients are verified as the Gateway says for the port (`spec.tls.frontend`, in `frontend`) or as the listener's
//! option says, which is Istio's.
//!
//! A reference that leads nowhere does not remove the listener. It gets a source without candidates, which no secret
//! can fill: the listener keeps its names and refuses every handshake.

use std::collections::BTreeMap;

use sekisho_sdk::model::{Locator, Role, Source, Verdict, WhenDeleted};
use sekisho_sdk::{ObjectKey, Origin};

use crate::finding::{Fault, Findings, Problem};
use crate::grants::{Grants, Referrer};
use crate::objects::gateway::{ListenerTls, SecretRef};

/// Istio's option, and its values that are served.
pub(super) const TERMINATE_MODE: &str = "gateway.istio.io/tls-terminate-mode";

/// What a CA of its own is called (Istio): the certificate's secret and this.
const CA_SUFFIX: &str = "-cacert";

/// TLS of a listener.
#[derive(Debug, Default)]
pub(crate) struct Tls {
    /// At least one when resolved, though perhaps one that can never be had.
    pub(crate) credentials: Vec<Source>,
    pub(crate) client: Client,
    /// Authorities for clients, united; empty when they are not asked.
    pub(crate) trust: Vec<Source>,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Client {
    #[default]
    NotAsked,
    /// Without one they are served too; one that does not verify is refused.
    Optional,
    /// All are served, whatever they show: the backend is to judge (`AllowInsecureFallback`).
    Anybody,
    Required,
}

impl Client {
    /// What becomes of a client without a certificate.
    pub(crate) fn without_certificate(self) -> Verdict {
        match self {
            Self::Required => Verdict::Refuse,
            Self::Optional | Self::Anybody | Self::NotAsked => Verdict::Accept,
        }
    }

    /// What becomes of a client whose certificate does not verify.
    pub(crate) fn untrusted(self) -> Verdict {
        match self {
            Self::Anybody => Verdict::Accept,
            Self::Required | Self::Optional | Self::NotAsked => Verdict::Refuse,
        }
    }
}

impl Tls {
    /// Reads what does not depend on other objects. Each fault refuses the listener: serving it anyway could mean a
    /// client that is not verified.
    pub(crate) fn read(spec: Option<&ListenerTls>, field: &str) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let Some(spec) = spec else { return (Self::default(), faults) };
        match spec.mode.as_deref() {
            None | Some("" | "Terminate") => {}
            Some(other) => {
                let message = format!("`{other}` is not a mode of an HTTPS listener");
                faults.push(Fault::new("unsupported-value", format!("{field}.tls.mode"), message, "use Terminate"));
            }
        }
        if spec.frontend_validation.is_some() {
            let message = "client validation is not served in this place, which the API has given up";
            let remedy =
                format!("remove it, or ask for client certificates with the option `{TERMINATE_MODE}: MUTUAL`");
            faults.push(Fault::new("unsupported-field", format!("{field}.tls.frontendValidation"), message, remedy));
        }
        let client = client(&spec.options, field, &mut faults);
        (Self { client, ..Self::default() }, faults)
    }

    /// Options of somebody else's, which have no effect here.
    pub(crate) fn warnings(&self, spec: Option<&ListenerTls>, field: &str) -> Vec<Fault> {
        let keys = spec.into_iter().flat_map(|spec| spec.options.keys()).filter(|key| !is_ours(key));
        let warning = |key: &String| {
            let message = "this option belongs to another implementation and has no effect here";
            Fault::new("unknown-option", format!("{field}.tls.options[{key}]"), message, "remove it")
        };
        keys.map(warning).collect()
    }

    /// Follows the references to secrets, as far as names go.
    pub(crate) fn resolve(
        &mut self,
        refs: &[SecretRef],
        field: &str,
        gateway: &ObjectKey,
        grants: &Grants,
        unresolved: &mut Vec<Problem>,
        findings: &mut Findings<'_>,
    ) {
        if refs.is_empty() {
            let message = "an HTTPS listener needs a certificate";
            let fault = Fault::new(
                "invalid-certificate-ref",
                format!("{field}.tls.certificateRefs"),
                message,
                "name a Secret of type kubernetes.io/tls",
            );
            unresolved.push(findings.refuse(fault.because("InvalidCertificateRef")));
        }
        for (index, reference) in refs.iter().enumerate() {
            let place = format!("{field}.tls.certificateRefs[{index}]");
            match secret(reference, &place, gateway, grants) {
                Ok(secret) => self.credentials.push(source(gateway.at(&place), Role::Credential, vec![secret])),
                Err(fault) => unresolved.push(findings.refuse(fault)),
            }
        }
        let first = gateway.at(format!("{field}.tls.certificateRefs[0]"));
        if self.client != Client::NotAsked {
            let candidates = refs.first().map_or_else(Vec::new, |first| authorities(first, gateway, grants));
            self.trust.push(source(first.clone(), Role::Trust, candidates));
        }
        if self.credentials.is_empty() {
            self.credentials.push(source(first, Role::Credential, Vec::new()));
        }
    }

    /// TLS that nobody can shake hands with: what keeps the place of a listener that is not accepted.
    pub(crate) fn refusing(origin: Origin) -> Self {
        let credentials = vec![source(origin, Role::Credential, Vec::new())];
        Self { credentials, ..Self::default() }
    }
}

fn client(options: &BTreeMap<String, String>, field: &str, faults: &mut Vec<Fault>) -> Client {
    let mut client = Client::NotAsked;
    for (key, value) in options.iter().filter(|(key, _)| is_ours(key)) {
        let place = format!("{field}.tls.options[{key}]");
        match (key.as_str(), value.as_str()) {
            (TERMINATE_MODE, "SIMPLE") => {}
            (TERMINATE_MODE, "MUTUAL") => client = Client::Required,
            (TERMINATE_MODE, "OPTIONAL_MUTUAL") => client = Client::Optional,
            (TERMINATE_MODE, other) => {
                let message = format!("`{other}` is not a mode that is served");
                faults.push(Fault::new("unsupported-option", place, message, "use SIMPLE, MUTUAL or OPTIONAL_MUTUAL"));
            }
            _ => {
                let message = "there is no such option";
                let remedy = format!("check its spelling (`{TERMINATE_MODE}` is known), or remove it");
                faults.push(Fault::new("unsupported-option", place, message, remedy));
            }
        }
    }
    client
}

/// Whether an option speaks to us: Istio's, our own, and those without a domain, which are the API's. Options of other
/// domains are addressed to other implementations.
pub(crate) fn is_ours(key: &str) -> bool {
    match key.split_once('/') {
        None => true,
        Some((domain, _)) => ["gateway.istio.io", "sekisho.dev"].contains(&domain),
    }
}

/// The Secret that a Gateway means by a reference, if it may.
pub(crate) fn secret(
    reference: &SecretRef,
    field: &str,
    gateway: &ObjectKey,
    grants: &Grants,
) -> Result<ObjectKey, Fault> {
    let group = reference.group.as_deref().unwrap_or("");
    let kind = reference.kind.as_deref().unwrap_or("Secret");
    if !group.is_empty() || kind != "Secret" {
        let message = format!("kind `{kind}` in group `{group}` holds no certificates");
        return Err(
            Fault::new("invalid-certificate-ref", field, message, "refer to a Secret").because("InvalidCertificateRef")
        );
    }
    if reference.name.is_empty() {
        let message = "the reference needs a name";
        return Err(
            Fault::new("invalid-certificate-ref", field, message, "name a Secret").because("InvalidCertificateRef")
        );
    }
    let key = key(reference, gateway, "");
    if grants.permit(Referrer::Gateway, &gateway.namespace, &key) {
        return Ok(key);
    }
    Err(not_permitted(&key, field, gateway))
}

/// A reference out of the Gateway's namespace that nobody there allows.
pub(super) fn not_permitted(to: &ObjectKey, field: &str, gateway: &ObjectKey) -> Fault {
    let message = format!(
        "no ReferenceGrant in namespace `{}` lets Gateways of `{}` use {} `{}`",
        to.namespace, gateway.namespace, to.kind, to.name
    );
    let remedy =
        format!("add a ReferenceGrant in `{}`, or move the {} to `{}`", to.namespace, to.kind, gateway.namespace);
    Fault::new("ref-not-permitted", field, message, remedy).because("RefNotPermitted")
}

/// `x-cacert`, then `x`: what Istio reads authorities from. A grant for one is none for the other.
fn authorities(reference: &SecretRef, gateway: &ObjectKey, grants: &Grants) -> Vec<ObjectKey> {
    if secret(reference, "", gateway, grants).is_err() {
        return Vec::new();
    }
    let candidates = [key(reference, gateway, CA_SUFFIX), key(reference, gateway, "")];
    candidates.into_iter().filter(|key| grants.permit(Referrer::Gateway, &gateway.namespace, key)).collect()
}

fn key(reference: &SecretRef, gateway: &ObjectKey, suffix: &str) -> ObjectKey {
    let namespace = reference.namespace.as_deref().unwrap_or(&gateway.namespace);
    ObjectKey::new("", "Secret", namespace, &format!("{}{suffix}", reference.name))
}

/// A source that is one of these objects, and nothing once they are gone.
pub(crate) fn source(origin: Origin, role: Role, candidates: Vec<ObjectKey>) -> Source {
    let candidates = candidates.into_iter().map(Locator::Object).collect();
    Source { origin, role, candidates, when_deleted: WhenDeleted::Refuse }
}
