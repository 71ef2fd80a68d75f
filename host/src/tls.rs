//! TLS: certificates, client verification and the handshake. With `upstream` the only room that moves bytes, and the
//! only one that names rustls.

mod alert;
pub mod client_auth;
mod config;
pub mod credential;
mod handshake;
mod x509;

pub use alert::Alert;
pub use config::{CredentialMaterial, Spec, TlsCache, TlsListener, TrustMaterial, Verification};
pub use handshake::{Handshake, Refused, accept};
pub use x509::Summary;
