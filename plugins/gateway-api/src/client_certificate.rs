//! What the backends of a Gateway are shown (`spec.tls.backend.clientCertificateRef`).
//!
//! It is shown wherever TLS is spoken to a backend through that Gateway. Where it is not to be had, such a backend is
//! not spoken to at all: it may serve those without a certificate otherwise.

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::{Role, Source};

use crate::finding::{Fault, Findings, Problem};
use crate::grants::{Grants, Referrer};
use crate::listeners::tls;
use crate::objects::gateway::SecretRef;

/// A client certificate, as far as the Gateway alone tells.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// Without candidates when the reference leads nowhere.
    pub(crate) source: Source,
    /// Why it leads nowhere.
    pub(crate) unresolved: Option<Problem>,
    /// Where it is in the translation.
    pub(crate) emitted: Option<u32>,
}

impl ClientCertificate {
    pub(crate) fn read(
        reference: &SecretRef,
        gateway: &ObjectKey,
        grants: &Grants,
        findings: &mut Findings<'_>,
    ) -> Self {
        let field = "spec.tls.backend.clientCertificateRef";
        let from = tls::Referring { key: gateway, referrer: Referrer::Gateway, grants };
        let secret = from.secret(reference, field);
        let (candidates, unresolved) = match secret {
            Ok(secret) => (vec![secret], None),
            Err(fault) => (Vec::new(), Some(findings.refuse(in_gateway_words(fault)))),
        };
        Self { source: Source::new(gateway.at(field), Role::Credential, candidates), unresolved, emitted: None }
    }
}

/// What a listener calls an invalid certificate has another name on a Gateway.
fn in_gateway_words(fault: Fault) -> Fault {
    if fault.reason() == "RefNotPermitted" { fault } else { fault.because("InvalidClientCertificateRef") }
}
