//! Certificates for the tests of this folder: made by the real `openssl`, once per process, and bent where OpenSSL would
//! not bend them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, Signer};
use rustls::{ClientConnection, DigitallySignedStruct, Error, ServerConnection, SignatureScheme};

use super::Certificate;
use super::der::tag;

/// The files that the commands left, by path.
pub(crate) struct Files(BTreeMap<String, Vec<u8>>);

/// All of them; made at the first call.
pub(crate) fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("bash")
            .args(["-euc", include_str!("rig.sh")])
            .current_dir(folder.path())
            .output()
            .expect("these tests need bash and openssl");
        assert!(output.status.success(), "openssl failed:\n{}", String::from_utf8_lossy(&output.stderr));
        let mut files = BTreeMap::new();
        collect(folder.path(), "", &mut files);
        Files(files)
    })
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in folder.read_dir().unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => collect(&entry.path(), &format!("{name}/"), files),
            false => drop(files.insert(name, std::fs::read(entry.path()).unwrap())),
        }
    }
}

impl Files {
    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no file {name}"))
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        std::str::from_utf8(self.bytes(name)).unwrap()
    }

    /// `NAME.crt`, as it is.
    pub(crate) fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.bytes(&format!("{name}.crt"))).unwrap()
    }

    /// `NAME.crt` as version 1, signed by `ISSUER.key` again if OpenSSL made it version 3.
    pub(crate) fn v1(&self, name: &str, issuer: &str) -> CertificateDer<'static> {
        let der = self.certificate(name);
        if Certificate::parse(&der).unwrap().is_v1() {
            return der;
        }
        let serial = v1_contents(&der)[0].clone();
        self.bent(&der, issuer, 0, serial)
    }

    /// A certificate made version 1, with one part changed (see [`v1_contents`]), and signed by `ISSUER.key`.
    pub(crate) fn bent(&self, der: &[u8], issuer: &str, part: usize, value: Vec<u8>) -> CertificateDer<'static> {
        let mut contents = v1_contents(der);
        contents[1] = algorithm(&*self.signer(issuer));
        contents[part] = value;
        self.signed(&contents.concat(), issuer)
    }

    /// Every certificate.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        self.0.keys().filter_map(|name| name.strip_suffix(".crt")).map(|name| self.certificate(name))
    }

    pub(crate) fn crl(&self, name: &str) -> CertificateRevocationListDer<'static> {
        CertificateRevocationListDer::from_pem_slice(self.bytes(&format!("{name}.crl"))).unwrap()
    }

    /// `NAME.key`.
    pub(crate) fn key(&self, name: &str) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.bytes(&format!("{name}.key"))).unwrap()
    }

    /// A chain with the key `NAME.key`, whether they match or not.
    pub(crate) fn certified(&self, chain: Vec<CertificateDer<'static>>, key: &str) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(chain, provider().key_provider.load_private_key(self.key(key)).unwrap()))
    }

    /// A certificate made of these contents of a TBSCertificate, signed by `ISSUER.key`.
    pub(crate) fn signed(&self, contents: &[u8], issuer: &str) -> CertificateDer<'static> {
        let signer = self.signer(issuer);
        let signature = signer.sign(&value(tag::SEQUENCE, contents)).unwrap();
        frame(contents, &algorithm(&*signer), &signature)
    }

    fn signer(&self, issuer: &str) -> Box<dyn Signer> {
        let key = provider().key_provider.load_private_key(self.key(issuer)).unwrap();
        key.choose_scheme(&ALGORITHMS.map(|(scheme, _)| scheme)).unwrap()
    }
}

const ALGORITHMS: [(SignatureScheme, &[u8]); 4] = [
    (SignatureScheme::RSA_PKCS1_SHA256, &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0]),
    (SignatureScheme::ECDSA_NISTP256_SHA256, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]),
    (SignatureScheme::ED25519, &[6, 3, 0x2b, 0x65, 0x70]),
];

fn algorithm(signer: &dyn Signer) -> Vec<u8> {
    let (_, id) = ALGORITHMS.iter().find(|(scheme, _)| *scheme == signer.scheme()).unwrap();
    value(tag::SEQUENCE, id)
}

/// A certificate, whatever the signature is worth.
pub(crate) fn frame(contents: &[u8], algorithm: &[u8], signature: &[u8]) -> CertificateDer<'static> {
    let bits = value(tag::BIT_STRING, &[&[0], signature].concat());
    value(tag::SEQUENCE, &[&value(tag::SEQUENCE, contents), algorithm, &bits].concat()).into()
}

/// The parts of a TBSCertificate without version and extensions: serial number, algorithm, issuer, validity, subject,
/// key.
pub(crate) fn v1_contents(der: &[u8]) -> [Vec<u8>; 6] {
    use super::der::Reader;
    let message = Certificate::parse(der).unwrap().signed().message.to_vec();
    let mut contents = Reader::new(Reader::new(&message).only(tag::SEQUENCE).unwrap());
    contents.optional(tag::CONTEXT_0).unwrap();
    [(); 6].map(|()| contents.whole().unwrap().to_vec())
}

/// One DER value.
pub(crate) fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut bytes = match length {
        0..=0x7f => vec![tag, length as u8],
        0x80..=0xff => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    bytes.extend_from_slice(contents);
    bytes
}

pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// Now, and so many days.
pub(crate) fn after(days: i64) -> UnixTime {
    let now = UnixTime::now().as_secs();
    UnixTime::since_unix_epoch(Duration::from_secs(now.checked_add_signed(days * 86_400).unwrap()))
}

/// xorshift64*: enough to wander through a parser.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Changes one to three places.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 => drop(bytes.remove(at)),
                3 => bytes[at] ^= 1 << self.below(8),
                _ => bytes[at] = self.next() as u8,
            }
        }
    }
}

/// Handshakes in memory until nothing more is said: what became of the server, and of the client.
pub(crate) fn connect(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> (Result<(), Error>, Result<(), Error>) {
    let (mut served, mut heard) = (Ok(()), Ok(()));
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        if served.is_ok() {
            feed(&bytes, |part| server.read_tls(part));
            served = server.process_new_packets().map(|_| ());
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        if heard.is_ok() {
            feed(&bytes, |part| client.read_tls(part));
            heard = client.process_new_packets().map(|_| ());
        }
    }
    (served, heard)
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
    while !bytes.is_empty() {
        read(&mut bytes).unwrap();
    }
}

/// A client's verifier that takes any certificate, and signatures of these schemes unseen.
pub(crate) fn trusting_anything(schemes: &[SignatureScheme]) -> Arc<dyn ServerCertVerifier> {
    Arc::new(TrustingAnything(schemes.to_vec()))
}

#[derive(Debug)]
struct TrustingAnything(Vec<SignatureScheme>);

impl ServerCertVerifier for TrustingAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
