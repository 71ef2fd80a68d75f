//! A certificate chain and its key, checked and made ready to serve.
//!
//! The parts arrive as DER from a secrets plugin. What stops them from being served is a [`CredentialError`]; what an
//! operator should only know is a [`Lint`]. Certificates of version 1 are welcome, so rustls' own check of the key
//! (`CertifiedKey::from_der`), which reads version 3 only, is not used.

mod lint;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, UnixTime,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{InconsistentKeys, SignatureAlgorithm};

use super::x509::der::{self, Reader, tag};
use super::x509::{Certificate, Malformed, PublicKey, Summary};
use lint::Validity;

pub(crate) use super::x509::names_host;
pub use lint::Lint;

/// The least size of an RSA key, in bits.
pub const MIN_RSA_BITS: usize = 2048;

/// A private key in DER. Its bytes are wiped when it is used.
pub enum Key {
    /// `RSA PRIVATE KEY`.
    Pkcs1(Vec<u8>),
    /// `PRIVATE KEY`.
    Pkcs8(Vec<u8>),
    /// `EC PRIVATE KEY`.
    Sec1(Vec<u8>),
}

impl Key {
    fn encoding(&self) -> &'static str {
        match self {
            Self::Pkcs1(_) => "PKCS #1",
            Self::Pkcs8(_) => "PKCS #8",
            Self::Sec1(_) => "SEC 1",
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.encoding())
    }
}

/// What a listener shows to its clients.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Leaf first, then each issuer as far as the chain has it.
    pub certified: Arc<CertifiedKey>,
    /// Of the leaf.
    pub summary: Summary,
    /// The host names and addresses that the leaf is for, lower case, wildcards as they are.
    pub hosts: Vec<String>,
    /// The URIs among the leaf's names.
    pub uris: Vec<String>,
    lints: Vec<Lint>,
    validity: Vec<Validity>,
}

/// Why a credential cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Nothing to show.
    #[error("there is no certificate")]
    EmptyChain,
    /// One of the chain is not a certificate.
    #[error("certificate {} of the chain cannot be read", .index + 1)]
    UnreadableCertificate {
        /// In the chain, from zero.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// The key is damaged, or not what its label says.
    #[error("the private key cannot be read as {encoding}")]
    UnreadableKey {
        /// The encoding that its label promised.
        encoding: &'static str,
    },
    /// A key of a kind that TLS, or this provider, does not have.
    #[error(
        "the private key is of a kind that cannot be used here: {kind} (RSA, ECDSA P-256, P-384 or P-521, or Ed25519 can)"
    )]
    UnsupportedKey {
        /// Its algorithm or curve: a name, or an object identifier.
        kind: String,
    },
    /// Too small to be safe; clients would refuse it.
    #[error("the RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed")]
    SmallRsa {
        /// Of its modulus.
        bits: usize,
    },
    /// Another certificate's key.
    #[error("the private key does not belong to the certificate of {subject:?}, nor to another of the chain")]
    Mismatch {
        /// Of the first certificate.
        subject: String,
    },
}

impl Credential {
    /// Checks the parts against each other.
    ///
    /// # Errors
    /// When the chain cannot be served with this key.
    pub fn load(
        chain: &[Vec<u8>],
        key: Key,
        ocsp_staple: Option<Vec<u8>>,
        provider: &CryptoProvider,
    ) -> Result<Self, CredentialError> {
        let certificates = chain
            .iter()
            .enumerate()
            .map(|(index, der)| {
                Certificate::parse(der).map_err(|source| CredentialError::UnreadableCertificate { index, source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let first = certificates.first().ok_or(CredentialError::EmptyChain)?;
        let key = load_key(key, provider)?;
        let leaf = certificates
            .iter()
            .position(|certificate| belongs(&key, certificate))
            .ok_or_else(|| CredentialError::Mismatch { subject: first.subject_text() })?;

        let (order, linked) = order(&certificates, leaf);
        let lints = lint::of_chain(&certificates, &order, linked, lint::is_system_root);
        let validity = order.iter().map(|at| Validity::of(&certificates[*at])).collect();
        let mut certified =
            CertifiedKey::new(order.iter().map(|at| CertificateDer::from(chain[*at].clone())).collect(), key);
        certified.ocsp = ocsp_staple;
        let leaf = &certificates[leaf];
        let (hosts, uris) = (leaf.hosts(), leaf.uris());
        Ok(Self { summary: leaf.into(), certified: Arc::new(certified), hosts, uris, lints, validity })
    }

    /// What is worth knowing at this time.
    #[must_use]
    pub fn lints(&self, now: UnixTime) -> Vec<Lint> {
        self.validity.iter().filter_map(|validity| validity.lint(now)).chain(self.lints.iter().cloned()).collect()
    }

    /// How long [`Credential::lints`] stays as it is.
    #[must_use]
    pub fn lints_last(&self, now: UnixTime) -> Option<Duration> {
        let next = self.validity.iter().filter_map(|validity| validity.changes(now)).min()?;
        Some(Duration::from_secs(next - now.as_secs()))
    }
}

/// The leaf, then each issuer that is there, then what fits nowhere; and how many are of the first two.
fn order(chain: &[Certificate<'_>], leaf: usize) -> (Vec<usize>, usize) {
    let mut order = vec![leaf];
    let mut rest: Vec<_> = (0..chain.len()).filter(|at| *at != leaf).collect();
    let mut last = leaf;
    while let Some(next) = rest.iter().position(|at| chain[*at].subject() == chain[last].issuer()) {
        last = rest.remove(next);
        order.push(last);
    }
    let linked = order.len();
    order.extend(rest);
    (order, linked)
}

fn belongs(key: &Arc<dyn SigningKey>, certificate: &Certificate<'_>) -> bool {
    match key.public_key() {
        Some(spki) => spki.as_ref() == certificate.spki(),
        // No provider in use is this silent; rustls then takes what it cannot refute, and so does this.
        None => {
            let der = CertificateDer::from(certificate.der().to_vec());
            let known = CertifiedKey::new(vec![der], Arc::clone(key)).keys_match();
            matches!(known, Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)))
        }
    }
}

fn load_key(key: Key, provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, CredentialError> {
    let encoding = key.encoding();
    let unreadable = || CredentialError::UnreadableKey { encoding };
    match kind(&key).map_err(|_| unreadable())? {
        Kind::Rsa(bits) if bits < MIN_RSA_BITS => return Err(CredentialError::SmallRsa { bits }),
        Kind::Rsa(_) | Kind::Known => {}
        Kind::Other(kind) => return Err(CredentialError::UnsupportedKey { kind }),
    }
    let der = match key {
        Key::Pkcs1(der) => PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
        Key::Pkcs8(der) => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        Key::Sec1(der) => PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
    };
    provider.key_provider.load_private_key(der).map_err(|_| unreadable())
}

enum Kind {
    /// With the bits of its modulus.
    Rsa(usize),
    Known,
    Other(String),
}

const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const USABLE: [&[u8]; 4] = [
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], // P-256
    &[0x2b, 0x81, 0x04, 0, 0x22],             // P-384
    &[0x2b, 0x81, 0x04, 0, 0x23],             // P-521
    &[0x2b, 0x65, 0x70],                      // Ed25519
];
/// ML-DSA-44, -65 and -87, which rustls has too, share this.
const ML_DSA: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03];
const NAMED: [(&[u8], &str); 7] = [
    (&[0x2b, 0x65, 0x71], "Ed448"),
    (&[0x2b, 0x65, 0x6e], "X25519"),
    (&[0x2b, 0x65, 0x6f], "X448"),
    (&[0x2b, 0x81, 0x04, 0, 0x0a], "ECDSA secp256k1"),
    (&[0x2b, 0x81, 0x04, 0, 0x21], "ECDSA P-224"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10], "RSA restricted to PSS"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "DSA"),
];

/// What kind of key it is, as far as its frame says.
fn kind(key: &Key) -> Result<Kind, Malformed> {
    match key {
        Key::Pkcs1(key) => rsa_private(key),
        Key::Sec1(key) => {
            let mut parts = Reader::new(Reader::new(key).only(tag::SEQUENCE)?);
            parts.integer()?;
            parts.expect(tag::OCTET_STRING)?;
            match parts.optional(tag::CONTEXT_0)? {
                Some(curve) => Ok(by_id(Reader::new(curve).expect(tag::OID)?)),
                None => Ok(Kind::Known),
            }
        }
        Key::Pkcs8(key) => {
            let mut parts = Reader::new(Reader::new(key).only(tag::SEQUENCE)?);
            parts.integer()?;
            let mut algorithm = Reader::new(parts.expect(tag::SEQUENCE)?);
            let key = parts.expect(tag::OCTET_STRING)?;
            match algorithm.expect(tag::OID)? {
                PublicKey::RSA => rsa_private(key),
                EC => match algorithm.optional(tag::OID)? {
                    Some(curve) => Ok(by_id(curve)),
                    None => Ok(Kind::Other("ECDSA over a curve without a name".to_owned())),
                },
                other => Ok(by_id(other)),
            }
        }
    }
}

fn rsa_private(key: &[u8]) -> Result<Kind, Malformed> {
    let mut parts = Reader::new(Reader::new(key).only(tag::SEQUENCE)?);
    parts.integer()?;
    Ok(Kind::Rsa(der::bit_length(parts.integer()?).unwrap_or_default()))
}

fn by_id(id: &[u8]) -> Kind {
    if USABLE.contains(&id) || id.starts_with(ML_DSA) {
        return Kind::Known;
    }
    let name = NAMED.iter().find(|(known, _)| *known == id).map(|(_, name)| (*name).to_owned());
    Kind::Other(name.unwrap_or_else(|| der::dotted(id)))
}

/// Shows the first certificate whose key the client can check, ECDSA before others; the listener is chosen already.
#[derive(Debug)]
pub struct CertificateResolver(Vec<Arc<CertifiedKey>>);

impl CertificateResolver {
    /// In order of preference; none when there are none.
    #[must_use]
    pub fn new(keys: Vec<Arc<CertifiedKey>>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }
}

impl ResolvesServerCert for CertificateResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = self.0.as_slice() {
            return Some(Arc::clone(only));
        }
        // rustls has left out the schemes that the client's TLS 1.2 cipher suites exclude.
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let mut usable = self.0.iter().filter(usable);
        let first = usable.next();
        let is_ecdsa = |key: &&Arc<CertifiedKey>| key.key.algorithm() == SignatureAlgorithm::ECDSA;
        let chosen = first.filter(is_ecdsa).or_else(|| usable.find(is_ecdsa)).or(first).or_else(|| self.0.first());
        chosen.map(Arc::clone)
    }
}

#[cfg(test)]
mod tests;
