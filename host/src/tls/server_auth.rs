//! Which endpoints may be spoken to: the verification of servers' certificates.
//!
//! Chains are verified as those of clients are ([`ClientVerifier`]), with servers' key usage. Names come after: a host by
//! rustls' rules for servers, or any subject alternative name to the letter. Without authorities every certificate is
//! taken, and all that is proved is that the endpoint has its key.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::client_auth::{ClientVerifier, is};
use super::x509::Certificate;

/// Who an endpoint must be.
#[derive(Debug)]
pub(super) enum Identity {
    /// Anybody whom the authorities vouch for.
    Unchecked,
    /// A host.
    Name(ServerName<'static>),
    /// Any subject alternative name.
    AnyOf(Vec<String>),
}

/// Verifies the endpoints of a cluster.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// Chains and signatures; none of its names.
    pub(super) chains: ClientVerifier,
    /// Whether there is an authority to lead to.
    pub(super) trusting: bool,
    pub(super) identity: Identity,
}

/// A certificate that verifies is another's.
#[derive(Debug, thiserror::Error)]
#[error("it is for {}, not for {wanted}", names(.has))]
struct WrongName {
    wanted: String,
    has: Vec<String>,
}

fn names(has: &[String]) -> String {
    if has.is_empty() { "nobody by name (no subject alternative name)".to_owned() } else { has.join(", ") }
}

impl ServerVerifier {
    fn verify_identity(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let wanted = match &self.identity {
            Identity::Unchecked => return Ok(()),
            Identity::Name(name) => {
                // webpki reads version 3 alone, and version 1 has no name in any case.
                let named = ParsedCertificate::try_from(leaf).and_then(|leaf| verify_server_name(&leaf, name));
                if named.is_ok() {
                    return Ok(());
                }
                name.to_str().into_owned()
            }
            Identity::AnyOf(allowed) => {
                let leaf = Certificate::parse(leaf).map_err(|_| CertificateError::BadEncoding)?;
                if leaf.names().iter().any(|name| allowed.iter().any(|allowed| is(name, allowed))) {
                    return Ok(());
                }
                allowed.join(" or ")
            }
        };
        let has = Certificate::parse(leaf).map(|leaf| leaf.names().iter().map(ToString::to_string).collect());
        let wrong = WrongName { wanted, has: has.unwrap_or_default() };
        Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked_for: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.trusting {
            self.chains.verify_server(end_entity, intermediates, now)?;
            self.verify_identity(end_entity)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(&self.chains, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(&self.chains, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ClientCertVerifier::supported_verify_schemes(&self.chains)
    }
}
