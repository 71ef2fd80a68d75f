//! Which clients may connect: the verification of client certificates.
//!
//! Certificates of version 3 are rustls-webpki's to judge, by rustls' own `WebPkiClientVerifier`. What this adds is the
//! rest of a listener's policy (names, pins, depth, what happens without a trusted certificate) and leaves of X.509
//! version 1, which webpki does not read and which `openssl x509 -req` without extensions makes.
//!
//! A version 1 leaf carries no constraint at all, so everything rests on its issuer, which must be a configured anchor,
//! of version 3, and fit to issue ([`AnchorFault`]); nothing else of version 1 is ever an issuer. Whatever such an anchor
//! signed as version 1 is a client, a server's certificate included ([`TrustLint::AcceptsVersion1`]).

mod anchor;
mod digest;
mod lint;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tracing::debug;
use webpki::RawPublicKeyEntity;

use super::credential::MIN_RSA_BITS;
use super::x509::{Certificate, Name};
use anchor::{Anchors, SignatureFault, check_signature};

pub use anchor::TrustError;
pub use lint::{AnchorFault, TrustLint};

/// What is done with a client that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may connect.
    Accept,
    /// The handshake fails.
    Refuse,
}

/// A certificate, or the key of one, by its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pin {
    /// Of the whole certificate.
    Certificate([u8; 32]),
    /// Of its SubjectPublicKeyInfo.
    PublicKey([u8; 32]),
}

/// What a listener asks of its clients, besides trust anchors and revocation lists.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// When the client shows none.
    pub no_certificate: Verdict,
    /// When the client's does not verify. `names` and `pins` hold in any case; names that nobody trusted has signed prove
    /// nothing, pins do.
    pub untrusted: Verdict,
    /// Any subject alternative name must equal any of these; DNS names without regard to case. Empty for no such check.
    pub names: Vec<String>,
    /// Any must match. Empty for no such check.
    pub pins: Vec<Pin>,
    /// The most certificates between the client's and the anchor.
    pub max_depth: Option<u8>,
    /// Client certificates of X.509 version 1.
    pub version1: Verdict,
}

/// Why a certificate that verifies is refused all the same.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// None of its names is allowed.
    #[error("no subject alternative name of the client certificate is allowed")]
    Name,
    /// None of the pins matches.
    #[error("neither the client certificate nor its key is pinned")]
    Pin,
}

impl From<Refusal> for Error {
    /// `certificate_unknown`: what Envoy sends for names; for pins it has an alert that rustls never sends.
    fn from(refusal: Refusal) -> Self {
        CertificateError::Other(OtherError(Arc::new(refusal))).into()
    }
}

/// Verifies the clients of a listener. Immutable: a change of policy makes a new one, with another [`digest`].
///
/// [`digest`]: ClientVerifier::digest
#[derive(Debug)]
pub struct ClientVerifier {
    policy: ClientPolicy,
    anchors: Anchors,
    algorithms: WebPkiSupportedAlgorithms,
    hints: Vec<DistinguishedName>,
    digest: [u8; 32],
}

/// A list of names longer than this tells clients nothing that is worth its bytes (and the field ends at 64 KiB).
const MAX_HINT_BYTES: usize = 16 * 1024;

impl ClientVerifier {
    /// Makes the verifier of one policy.
    ///
    /// Anchors that cannot be read are left out with a lint, as long as one remains. There may be none at all only where
    /// untrusted certificates are accepted.
    ///
    /// # Errors
    /// When there is nothing to trust, or a revocation list cannot be read: leaving one out would let revoked
    /// certificates in.
    pub fn new(
        anchors: &[CertificateDer<'_>],
        crls: &[CertificateRevocationListDer<'_>],
        policy: ClientPolicy,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TrustError> {
        if anchors.is_empty() && policy.untrusted == Verdict::Refuse {
            return Err(TrustError::NoAnchor);
        }
        let anchors = Anchors::new(anchors, crls, provider)?;
        let hints = match policy.untrusted {
            Verdict::Accept => Vec::new(),
            Verdict::Refuse => hints(&anchors),
        };
        Ok(Self {
            digest: digest::of(&anchors, &policy),
            algorithms: provider.signature_verification_algorithms,
            hints,
            anchors,
            policy,
        })
    }

    /// Everything that decides, as one number: two verifiers of one digest accept the same clients. Sessions may be
    /// resumed only between equals.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Judges a chain, leaf first, as a handshake would, but for the proof that the client has the key: for a connection
    /// that gave that proof when another policy was in force.
    ///
    /// # Errors
    /// What the handshake would fail with.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        match (chain.split_first(), self.policy.no_certificate) {
            (Some((leaf, others)), _) => self.verify_shown(leaf, others, now),
            (None, Verdict::Accept) => Ok(()),
            (None, Verdict::Refuse) => Err(Error::NoCertificatesPresented),
        }
    }

    /// Whether a chain, leaf first, leads to an anchor, whatever becomes of those that do not.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify_trust(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let depth = self.policy.max_depth;
        self.verify_chain(leaf, others, now, || self.anchors.verify_v3(leaf, others, now, depth, &self.algorithms))
    }

    /// Whether a chain that was accepted is one that leads to an anchor.
    pub(super) fn vouches_for(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> bool {
        self.policy.untrusted == Verdict::Refuse || self.verify_trust(leaf, others, now).is_ok()
    }

    /// Whether a server's chain, leaf first, leads to an anchor, whatever its names; version 1 as for clients.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.verify_chain(leaf, others, now, || self.anchors.verify_server(leaf, others, now, &self.algorithms))
    }

    /// By our own code where the leaf is of version 1 and such are accepted, and by `version3` otherwise.
    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        version3: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        match v1(leaf) {
            Some(leaf) if self.policy.version1 == Verdict::Accept => self.verify_v1(&leaf, others, now),
            _ => version3(),
        }
    }

    /// Whose certificates are accepted.
    pub(super) fn authorities(&self) -> Vec<String> {
        self.anchors.texts().map(str::to_owned).collect()
    }

    /// What there is to know of anchors and revocation lists at this time.
    #[must_use]
    pub fn lints(&self, now: UnixTime) -> Vec<TrustLint> {
        self.anchors.lints(now, self.policy.version1)
    }

    fn verify_shown(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if let Err(error) = self.verify_trust(leaf, others, now) {
            if self.policy.untrusted == Verdict::Refuse {
                debug!(%error, "client certificate refused");
                return Err(error);
            }
            debug!(%error, "untrusted client certificate accepted");
        }
        self.verify_policy(leaf).inspect_err(|error| debug!(%error, "client certificate refused"))
    }

    fn verify_policy(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let ClientPolicy { names, pins, .. } = &self.policy;
        if names.is_empty() && pins.is_empty() {
            return Ok(());
        }
        let certificate = Certificate::parse(leaf).map_err(|_| CertificateError::BadEncoding)?;
        if !names.is_empty() && !certificate.names().iter().any(|name| names.iter().any(|allowed| is(name, allowed))) {
            return Err(Refusal::Name.into());
        }
        let matches = |pin: &Pin| match pin {
            Pin::Certificate(digest) => Sha256::digest(leaf)[..] == digest[..],
            Pin::PublicKey(digest) => Sha256::digest(certificate.spki())[..] == digest[..],
        };
        if !pins.is_empty() && !pins.iter().any(matches) {
            return Err(Refusal::Pin.into());
        }
        Ok(())
    }

    /// The leaf must be the direct issue of an anchor; others may come along only if they are anchors themselves (OpenSSL
    /// clients send the root that they were given).
    fn verify_v1(&self, leaf: &Certificate<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        if !others.iter().all(|other| self.anchors.contains(other)) {
            debug!("a version 1 certificate came with another that is not a configured anchor");
            return Err(CertificateError::UnknownIssuer.into());
        }
        let mut error = CertificateError::UnknownIssuer;
        for anchor in self.anchors.named(leaf.issuer()) {
            if let Some(fault) = anchor.fault {
                debug!(anchor = anchor.text, %fault, "an anchor cannot vouch for version 1");
                continue;
            }
            match check_signature(leaf.signed(), &anchor.spki, &self.algorithms) {
                Ok(()) => {}
                Err(SignatureFault::Unsupported(unsupported)) => {
                    error = unsupported;
                    continue;
                }
                // An impostor of the same name, most likely.
                Err(SignatureFault::Wrong) => continue,
            }
            match check_dates(anchor.not_before, anchor.not_after, now)
                .and_then(|()| check_dates(leaf.not_before(), leaf.not_after(), now))
                .and_then(|()| self.check_key(leaf))
                .and_then(|()| self.anchors.check_revocation(anchor, leaf.serial(), now))
            {
                Ok(()) => return Ok(()),
                Err(found) => error = found,
            }
        }
        Err(error.into())
    }

    /// A key that the handshake can prove, and an RSA key that is large enough.
    fn check_key(&self, leaf: &Certificate<'_>) -> Result<(), CertificateError> {
        let key = leaf.public_key();
        let known = self.algorithms.all.iter().any(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm);
        if !known || key.rsa_bits().is_some_and(|bits| bits < MIN_RSA_BITS) {
            debug!(rsa_bits = key.rsa_bits(), "the key of a version 1 certificate is too small or of an unknown kind");
            return Err(CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: leaf.signed().algorithm.to_vec(),
                public_key_algorithm_id: key.algorithm.to_vec(),
            });
        }
        Ok(())
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.policy.no_certificate == Verdict::Refuse
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_shown(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match v1(cert) {
            Some(leaf) => verify_tls12_signature_v1(message, &leaf, dss, &self.algorithms),
            None => verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match v1(cert) {
            Some(leaf) => verify_tls13_signature_with_raw_key(message, &leaf.spki().into(), dss, &self.algorithms),
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn v1<'a>(der: &'a CertificateDer<'_>) -> Option<Certificate<'a>> {
    Certificate::parse(der).ok().filter(Certificate::is_v1)
}

/// The schemes that TLS 1.2 signs with. One may stand for several curves; the key decides.
const TLS12_SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// What rustls does for version 3 in `verify_tls12_signature`, and does not offer for a bare key.
fn verify_tls12_signature_v1(
    message: &[u8],
    leaf: &Certificate<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let candidates = algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme).map(|(_, list)| *list);
    let candidates = candidates.filter(|_| TLS12_SCHEMES.contains(&dss.scheme));
    let candidates = candidates.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let spki = SubjectPublicKeyInfoDer::from(leaf.spki());
    let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| CertificateError::BadEncoding)?;
    for algorithm in candidates {
        match key.verify_signature(*algorithm, message, dss.signature()) {
            Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
            Err(_) => return Err(CertificateError::BadSignature.into()),
        }
    }
    Err(CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
        signature_algorithm_id: Vec::new(),
        public_key_algorithm_id: leaf.public_key().algorithm.to_vec(),
    }
    .into())
}

fn check_dates(not_before: i64, not_after: i64, now: UnixTime) -> Result<(), CertificateError> {
    let time = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if time < not_before {
        Err(CertificateError::NotValidYetContext { time: now, not_before: unix(not_before) })
    } else if time > not_after {
        Err(CertificateError::ExpiredContext { time: now, not_after: unix(not_after) })
    } else {
        Ok(())
    }
}

/// Times before 1970 are 1970.
fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// Whether a name is this one: DNS names without regard to case, others to the letter.
pub(super) fn is(name: &Name<'_>, allowed: &str) -> bool {
    match name {
        Name::Dns(name) => name.eq_ignore_ascii_case(allowed),
        Name::Uri(name) | Name::Email(name) => *name == allowed,
        Name::Ip(address) => allowed.parse::<IpAddr>().is_ok_and(|allowed| allowed == *address),
    }
}

fn hints(anchors: &Anchors) -> Vec<DistinguishedName> {
    let mut subjects: Vec<_> = anchors.subjects().collect();
    subjects.sort_unstable();
    subjects.dedup();
    let hints: Vec<_> = subjects.into_iter().map(DistinguishedName::in_sequence).collect();
    let bytes: usize = hints.iter().map(|hint| hint.as_ref().len() + 2).sum();
    if bytes > MAX_HINT_BYTES { Vec::new() } else { hints }
}
