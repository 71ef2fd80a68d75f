//! TLS that ends at a listener: which secrets are its certificates, and whether clients must show one.
//!
//! Clients are verified as the Gateway says for the port (`spec.tls.frontend`, in `frontend`) or as the listener's
//! option says, which is Istio's.
//!
//! A reference that leads nowhere does not remove the listener. It gets a source without candidates, which no secret
//! can fill: the listener keeps its names and refuses every handshake.

use std::collections::BTreeMap;

use sekisho_sdk::model::{Role, Source, Verdict};
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
    pub(crate) fn read(spec: Option<&ListenerTls>, field: &str, protocol: &str) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let Some(spec) = spec else { return (Self::default(), faults) };
        match spec.mode.as_deref() {
            None | Some("" | "Terminate") => {}
            Some(other) => {
                let message = format!("`{other}` is not a mode of a listener of protocol {protocol}");
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
        from: Referring<'_>,
        unresolved: &mut Vec<Problem>,
        findings: &mut Findings<'_>,
    ) {
        if refs.is_empty() {
            let message = "a listener where TLS ends needs a certificate";
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
            match from.secret(reference, &place) {
                Ok(secret) => self.credentials.push(Source::new(from.key.at(&place), Role::Credential, vec![secret])),
                Err(fault) => unresolved.push(findings.refuse(fault)),
            }
        }
        let first = from.key.at(format!("{field}.tls.certificateRefs[0]"));
        if self.client != Client::NotAsked {
            let candidates = refs.first().map_or_else(Vec::new, |first| from.authorities(first));
            self.trust.push(Source::new(first.clone(), Role::Trust, candidates));
        }
        if self.credentials.is_empty() {
            self.credentials.push(Source::new(first, Role::Credential, Vec::new()));
        }
    }

    /// TLS that nobody can shake hands with: what keeps the place of a listener that is not accepted.
    pub(crate) fn refusing(origin: Origin) -> Self {
        let credentials = vec![Source::new(origin, Role::Credential, Vec::new())];
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

/// Who refers to secrets and authorities.
#[derive(Clone, Copy)]
pub(crate) struct Referring<'g> {
    pub(crate) key: &'g ObjectKey,
    pub(crate) referrer: Referrer,
    pub(crate) grants: &'g Grants,
}

impl Referring<'_> {
    /// The Secret that a reference means, if it may.
    pub(crate) fn secret(&self, reference: &SecretRef, field: &str) -> Result<ObjectKey, Fault> {
        let group = reference.group.as_deref().unwrap_or("");
        let kind = reference.kind.as_deref().unwrap_or("Secret");
        let fault = |message: String, remedy: &str| {
            Fault::new("invalid-certificate-ref", field, message, remedy).because("InvalidCertificateRef")
        };
        if !group.is_empty() || kind != "Secret" {
            let message = format!("kind `{kind}` in group `{group}` holds no certificates");
            return Err(fault(message, "refer to a Secret"));
        }
        if reference.name.is_empty() {
            return Err(fault("the reference needs a name".to_owned(), "name a Secret"));
        }
        self.permitted(self.named(reference, ""), field)
    }

    /// What a reference means, if a grant lets it leave its namespace.
    pub(super) fn permitted(&self, to: ObjectKey, field: &str) -> Result<ObjectKey, Fault> {
        if self.grants.permit(self.referrer, &self.key.namespace, &to) {
            return Ok(to);
        }
        let (there, here) = (&to.namespace, &self.key.namespace);
        let message = format!(
            "no ReferenceGrant in namespace `{there}` lets {}s of `{here}` use {} `{}`",
            self.referrer.kind(),
            to.kind,
            to.name
        );
        let remedy = format!("add a ReferenceGrant in `{there}`, or move the {} to `{here}`", to.kind);
        Err(Fault::new("ref-not-permitted", field, message, remedy).because("RefNotPermitted"))
    }

    /// `x-cacert`, then `x`: what Istio reads authorities from. A grant for one is none for the other.
    fn authorities(&self, reference: &SecretRef) -> Vec<ObjectKey> {
        if self.secret(reference, "").is_err() {
            return Vec::new();
        }
        let candidates = [self.named(reference, CA_SUFFIX), self.named(reference, "")];
        let granted = |key: &ObjectKey| self.grants.permit(self.referrer, &self.key.namespace, key);
        candidates.into_iter().filter(granted).collect()
    }

    fn named(&self, reference: &SecretRef, suffix: &str) -> ObjectKey {
        let namespace = reference.namespace.as_deref().unwrap_or(&self.key.namespace);
        ObjectKey::new("", "Secret", namespace, &format!("{}{suffix}", reference.name))
    }
}
