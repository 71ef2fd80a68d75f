//! Certificates for development: an authority, two servers and a client, new for every demo.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

/// Long enough for a demo, too short to be left in use.
const VALID_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Certificates and keys, in PEM.
pub(super) struct Certificates {
    authority: String,
    httpbin: Pair,
    helloworld: Pair,
    client: Pair,
}

struct Pair {
    certificate: String,
    key: String,
}

impl Certificates {
    pub(super) fn make() -> Result<Self, rcgen::Error> {
        let mut params = named("Sekisho demo authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        Ok(Self {
            authority,
            httpbin: issue("httpbin.example.com", server.clone(), &issuer)?,
            helloworld: issue("helloworld.example.com", server, &issuer)?,
            client: issue("client.example.com", ExtendedKeyUsagePurpose::ClientAuth, &issuer)?,
        })
    }

    /// What is written, by path: secrets for the gateway, the authority and the client's pair for curl.
    pub(super) fn files(&self, mutual: bool) -> Vec<(String, String)> {
        let authority = mutual.then_some(self.authority.as_str());
        vec![
            ("ca.crt".to_owned(), self.authority.clone()),
            ("client.crt".to_owned(), self.client.certificate.clone()),
            ("client.key".to_owned(), self.client.key.clone()),
            ("secrets/httpbin-credential.json".to_owned(), secret("httpbin-credential", &self.httpbin, authority)),
            ("secrets/helloworld-credential.json".to_owned(), secret("helloworld-credential", &self.helloworld, None)),
        ]
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Sekisho demo");
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + VALID_FOR).into();
    params
}

fn issue(name: &str, usage: ExtendedKeyUsagePurpose, issuer: &Issuer<'_, KeyPair>) -> Result<Pair, rcgen::Error> {
    let mut params = named(name);
    params.subject_alt_names = CertificateParams::new(vec![name.to_owned()])?.subject_alt_names;
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?.pem();
    Ok(Pair { certificate, key: key.serialize_pem() })
}

fn secret(name: &str, pair: &Pair, authority: Option<&str>) -> String {
    let mut data = json!({"tls.crt": STANDARD.encode(&pair.certificate), "tls.key": STANDARD.encode(&pair.key)});
    if let Some(authority) = authority {
        data["ca.crt"] = Value::String(STANDARD.encode(authority));
    }
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "istio-system"},
        "type": if authority.is_some() { "Opaque" } else { "kubernetes.io/tls" },
        "data": data,
    });
    format!("{secret:#}\n")
}
