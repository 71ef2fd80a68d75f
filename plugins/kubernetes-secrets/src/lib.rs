//! Certificates, keys, authorities and revocation lists as Kubernetes holds them: what Istio reads from a Secret or a
//! ConfigMap (`pilot/pkg/credentials/kube/secrets.go`), and the same keys where an object names files.
//!
//! The data keys decide, never the `type`. Whether a key matches its certificate is the host's to check.

mod pem;

use std::fmt::Display;

use sekisho_sdk::secrets::{Credential, Failure, Key, Problem, Secret, Trust};
use sekisho_sdk::{SecretPlugin, export_secrets};

use pem::{Block, Label};

/// The plugin.
pub struct KubernetesSecrets;

export_secrets!(KubernetesSecrets);

type Der = Vec<u8>;

/// Data keys that belong together, in the order of precedence.
struct CredentialKeys {
    cert: &'static str,
    key: &'static str,
    staple: Option<&'static str>,
}

const CREDENTIAL_KEYS: [CredentialKeys; 2] = [
    CredentialKeys { cert: "cert", key: "key", staple: None },
    CredentialKeys { cert: "tls.crt", key: "tls.key", staple: Some("tls.ocsp-staple") },
];

/// Authorities, and the revocation lists that go with them.
const TRUST_KEYS: [(&str, &str); 2] = [("cacert", "crl"), ("ca.crt", "ca.crl")];

impl SecretPlugin for KubernetesSecrets {
    fn decode_credential(secret: Secret) -> Result<Credential, Failure> {
        let noun = noun(&secret)?;
        for CredentialKeys { cert, key, staple } in CREDENTIAL_KEYS {
            if let (Some(chain), Some(private)) = (value(&secret, cert), value(&secret, key)) {
                return Ok(Credential {
                    chain: read_chain(chain).map_err(at(cert))?,
                    chain_field: cert.to_owned(),
                    key: read_key(private).map_err(at(key))?,
                    key_field: key.to_owned(),
                    ocsp_staple: staple.and_then(|staple| value(&secret, staple)).map(<[u8]>::to_vec),
                });
            }
        }
        for CredentialKeys { cert, key, .. } in CREDENTIAL_KEYS {
            if has_key(&secret, cert) && has_key(&secret, key) {
                let empty = if value(&secret, cert).is_none() { cert } else { key };
                return Err(at(empty)(format!("found keys \"{cert}\" and \"{key}\", but they were empty")));
            }
        }
        Err(at("")(format!(
            "found {noun}, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: {}",
            found_keys(&secret)
        )))
    }

    fn decode_trust(secret: Secret) -> Result<Trust, Failure> {
        let noun = noun(&secret)?;
        for (field, crl_field) in TRUST_KEYS {
            if let Some(bundle) = value(&secret, field) {
                let (authorities, mut crls) = read_authorities(bundle).map_err(at(field))?;
                let mut crls_field = (!crls.is_empty()).then_some(field);
                if let Some(lists) = value(&secret, crl_field) {
                    crls.extend(read_crls(lists).map_err(at(crl_field))?);
                    crls_field = Some(crl_field);
                }
                return Ok(Trust {
                    authorities,
                    authorities_field: field.to_owned(),
                    crls,
                    crls_field: crls_field.map(str::to_owned),
                });
            }
        }
        for (field, _) in TRUST_KEYS {
            if has_key(&secret, field) {
                return Err(at(field)(format!("found key \"{field}\", but it was empty")));
            }
        }
        Err(at("")(format!(
            "found {noun}, but didn't have expected keys cacert or ca.crt; found: {}",
            found_keys(&secret)
        )))
    }
}

/// What messages call the object; another kind is another plugin's.
fn noun(secret: &Secret) -> Result<&'static str, Failure> {
    match secret.kind.as_str() {
        "Secret" => Ok("secret"),
        "ConfigMap" => Ok("configmap"),
        "Files" => Ok("files"),
        _ => Err(Failure::NotMine),
    }
}

/// The bytes of a data key; empty is none.
fn value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    secret
        .data
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value.as_slice())
        .filter(|value| !value.is_empty())
}

fn has_key(secret: &Secret, key: &str) -> bool {
    secret.data.iter().any(|(name, _)| name == key)
}

/// The first three data keys, and how many more there are (Istio's words, `and 0 more...` included).
fn found_keys(secret: &Secret) -> String {
    let mut keys: Vec<&str> = secret.data.iter().map(|(name, _)| name.as_str()).collect();
    keys.sort_unstable();
    match keys.as_slice() {
        [first, second, third, more @ ..] => format!("{first}, {second}, {third}, and {} more...", more.len()),
        few => few.join(", "),
    }
}

fn at(field: &'static str) -> impl Fn(String) -> Failure {
    move |message| Failure::Unusable(Problem { field: field.to_owned(), message })
}

fn read_chain(text: &[u8]) -> Result<Vec<Der>, String> {
    let blocks = read(text)?;
    refuse_private_keys(&blocks)?;
    certificates(blocks)
}

/// Certificates, and the revocation lists that OpenSSL and Envoy read from the same file.
fn read_authorities(text: &[u8]) -> Result<(Vec<Der>, Vec<Der>), String> {
    let blocks = read(text)?;
    refuse_private_keys(&blocks)?;
    let (crls, others): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block.label == Label::Crl);
    Ok((certificates(others)?, crls.into_iter().map(|block| block.der).collect()))
}

fn read_crls(text: &[u8]) -> Result<Vec<Der>, String> {
    let blocks = read(text)?;
    refuse_private_keys(&blocks)?;
    let found = list(&blocks);
    let crls: Vec<_> = blocks.into_iter().filter(|block| block.label == Label::Crl).map(|block| block.der).collect();
    if crls.is_empty() { Err(format!("no X509 CRL block; {found}")) } else { Ok(crls) }
}

/// The first private key.
fn read_key(text: &[u8]) -> Result<Key, String> {
    let blocks = read(text)?;
    let found = list(&blocks);
    let Some(block) = blocks.into_iter().find(|block| block.label.is_private_key()) else {
        return Err(format!("no private key block; {found}"));
    };
    if block.encrypted || block.label == Label::EncryptedPkcs8 {
        return Err(format!(
            "{}: the key is encrypted; the gateway has no pass phrase for it: decrypt it with \
             `openssl pkey -in encrypted.key -out plain.key`",
            block.place()
        ));
    }
    match block.label {
        Label::Pkcs1 => Ok(Key::Pkcs1(block.der)),
        Label::Sec1 => Ok(Key::Sec1(block.der)),
        Label::Pkcs8 => Ok(Key::Pkcs8(block.der)),
        Label::OpenSshKey => Err(format!(
            "{}: the key is in OpenSSH's own format: convert it with `ssh-keygen -p -m PKCS8 -f key`",
            block.place()
        )),
        label => {
            Err(format!("{}: {} is not a key that TLS can use (RSA, ECDSA or Ed25519)", block.place(), label.name()))
        }
    }
}

fn certificates(blocks: Vec<Block>) -> Result<Vec<Der>, String> {
    let found = list(&blocks);
    let mut certificates = Vec::new();
    for block in blocks {
        match block.label {
            Label::Certificate => certificates.push(block.der),
            Label::TrustedCertificate => {
                return Err(format!(
                    "{}: TRUSTED CERTIFICATE is OpenSSL's own format: convert it with \
                     `openssl x509 -in trusted.crt -out plain.crt`",
                    block.place()
                ));
            }
            _ => {}
        }
    }
    if certificates.is_empty() { Err(format!("no CERTIFICATE block; {found}")) } else { Ok(certificates) }
}

/// A key beside certificates is most likely in the wrong file, and the wrong file may be a public one.
fn refuse_private_keys(blocks: &[Block]) -> Result<(), String> {
    match blocks.iter().find(|block| block.label.is_private_key()) {
        None => Ok(()),
        Some(block) => Err(format!(
            "{} is a private key; only certificates belong here (are the certificate and the key swapped?)",
            block.place()
        )),
    }
}

/// The blocks of a field; where there are none, the usual reasons for that.
fn read(text: &[u8]) -> Result<Vec<Block>, String> {
    let blocks = pem::read(text)?;
    if blocks.is_empty() {
        let start = text.trim_ascii_start();
        if start.starts_with(b"LS0tLS1CRUdJTi") {
            return Err("it is base64 of PEM: it was encoded twice (use stringData, or encode it once)".to_owned());
        }
        if start.first() == Some(&0x30) {
            return Err("it is binary (DER or PKCS #12), not PEM: convert it with \
                        `openssl x509 -inform DER`, `openssl pkey -inform DER` or `openssl pkcs12 -nodes`"
                .to_owned());
        }
    }
    Ok(blocks)
}

fn list(blocks: &[Block]) -> impl Display + use<> {
    let mut names: Vec<_> = blocks.iter().map(|block| block.label.name()).collect();
    names.dedup();
    if names.is_empty() { "it holds no PEM at all".to_owned() } else { format!("found: {}", names.join(", ")) }
}

#[cfg(test)]
mod tests;
