//! TLS: certificates, client verification and the handshake. With `upstream` the only room that moves bytes, and the
//! only one that names rustls.

mod alert;
pub mod client_auth;
mod config;
pub mod credential;
mod handshake;
mod plain;
mod x509;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use alert::Alert;
pub use config::{CredentialMaterial, Shown, Spec, TlsCache, TlsListener, TrustMaterial, Verification};
pub(crate) use handshake::normalise_sni;
pub use handshake::{Handshake, Refused, accept};
pub(crate) use plain::refusal;
pub use x509::Summary;
pub(crate) use x509::utc;

/// A certificate in a sentence: whose, by whom, until when.
pub(crate) fn describe(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = x509::Certificate::parse(der).ok()?;
    let (subject, issuer) = (certificate.subject_text(), certificate.issuer_text());
    Some(format!("{subject:?}, issued by {issuer:?}, valid until {}", utc(certificate.not_after())))
}

/// The certificates in a PEM text, in order.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
