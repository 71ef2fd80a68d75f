//! TLS: certificates, client verification and the handshake. With `upstream` the only room that moves bytes, and the
//! only one that names rustls.

mod alert;
pub mod client_auth;
mod config;
pub mod credential;
mod handshake;
mod x509;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use alert::Alert;
pub use config::{CredentialMaterial, Shown, Spec, TlsCache, TlsListener, TrustMaterial, Verification};
pub(crate) use handshake::normalise_sni;
pub use handshake::{Handshake, Refused, accept};
pub use x509::Summary;
pub(crate) use x509::utc;

/// The certificates in a PEM text, in order.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
