//! TLS: certificates, client verification and the handshake. With `upstream` the only room that moves bytes, and the
//! only one that names rustls.

mod alert;
mod client;
pub mod client_auth;
mod config;
pub mod credential;
mod handshake;
mod plain;
mod server_auth;
mod told;
mod x509;

use rustls::pki_types::DnsName;
use rustls::pki_types::pem::PemObject;

pub use alert::Alert;
pub(crate) use alert::close;
pub(crate) use client::ClientStream;
pub use client::{ClientSpec, Offer, TlsClient, TlsClients};
pub use config::{CredentialMaterial, Shown, Spec, TlsCache, TlsListener, TrustMaterial, Verification};
pub use handshake::{Accepted, Handshake, Refused, Sealed, accept};
pub(crate) use plain::refusal;
pub(crate) use rustls::pki_types::CertificateDer;
pub(crate) use told::Told;
pub use x509::Summary;
pub(crate) use x509::utc;

/// A name as a TLS client sends it; none when it can send no such name.
pub(crate) fn sni(name: &str) -> Option<String> {
    let name = handshake::normalise_sni(name);
    DnsName::try_from(name.as_str()).is_ok().then_some(name)
}

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
