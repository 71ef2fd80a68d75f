//! Client verification of a server: whether a certificate is asked for, and which ones do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sekisho_sdk::model::{Pin, Source, Verdict};

use super::{Mode, secrets};
use crate::findings::{Findings, Place};
use crate::objects::ServerTls;

/// How clients are verified.
#[derive(Clone, Debug)]
pub(crate) struct ClientPolicy {
    pub(crate) trust: Vec<Source>,
    pub(crate) no_certificate: Verdict,
    pub(crate) untrusted: Verdict,
    pub(crate) names: Vec<String>,
    pub(crate) pins: Vec<Pin>,
}

/// What the mode and its companions ask of clients. The outer none is an error, the inner one asks nothing.
pub(super) fn read(
    tls: &ServerTls,
    mode: Mode,
    namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Option<ClientPolicy>> {
    let pins = pins(tls, at, findings);
    if mode == Mode::Simple {
        pins?;
        return asks_nothing(tls, at, findings).then_some(None);
    }
    let trust = secrets::trust(tls, namespace, at, findings)?;
    let pins = pins?;
    let narrowed = !tls.subject_alt_names.is_empty() || !pins.is_empty();
    let mut no_certificate = Verdict::Refuse;
    if mode == Mode::OptionalMutual {
        if narrowed {
            let message =
                "names or digests of certificates are asked for, so that Istio requires a certificate after all";
            let remedy = "write MUTUAL if that is meant, or remove `subjectAltNames` and `verifyCertificate…`";
            findings.warning(&at.field("mode"), "certificate-required", message, remedy);
        } else {
            no_certificate = Verdict::Accept;
        }
    }
    let untrusted = if tls.insecure_skip_verify { Verdict::Accept } else { Verdict::Refuse };
    Some(Some(ClientPolicy { trust, no_certificate, untrusted, names: tls.subject_alt_names.clone(), pins }))
}

/// Whether a SIMPLE server really asks nothing of its clients. What would restrict them is an error, because it would
/// be taken for a protection.
fn asks_nothing(tls: &ServerTls, at: &Place<'_>, findings: &mut Findings) -> bool {
    // Beside a secret, Istio looks no further, and the list is idle as it is here.
    let by_name = !tls.credential_names.is_empty() || !tls.credential_name.is_empty();
    let restricting = [
        (!tls.ca_crl.is_empty() && !by_name, "caCrl"),
        (!tls.subject_alt_names.is_empty(), "subjectAltNames"),
        (!tls.verify_certificate_spki.is_empty(), "verifyCertificateSpki"),
        (!tls.verify_certificate_hash.is_empty(), "verifyCertificateHash"),
    ];
    let mut nothing = true;
    for (_, field) in restricting.iter().filter(|(given, _)| *given) {
        let message = "clients show no certificate in mode SIMPLE, so that this cannot be checked";
        findings.error(&at.field(field), "conflicting-fields", message, "write mode MUTUAL, or remove the field");
        nothing = false;
    }
    let idle = [
        (!tls.ca_certificates.is_empty(), "caCertificates"),
        (!tls.ca_crl.is_empty() && by_name, "caCrl"),
        (!tls.ca_cert_credential_name.is_empty(), "caCertCredentialName"),
        (tls.insecure_skip_verify, "insecureSkipVerify"),
    ];
    for (_, field) in idle.iter().filter(|(given, _)| *given) {
        let message = "clients are not verified in mode SIMPLE; the field has no effect";
        findings.warning(&at.field(field), "no-effect", message, "write mode MUTUAL, or remove the field");
    }
    nothing
}

/// Digests of certificates and of public keys; any of them will do.
fn pins(tls: &ServerTls, at: &Place<'_>, findings: &mut Findings) -> Option<Vec<Pin>> {
    let mut pins = Vec::new();
    let mut legal = true;
    for (index, text) in tls.verify_certificate_spki.iter().enumerate() {
        match STANDARD.decode(text).ok().filter(|digest| digest.len() == 32) {
            Some(digest) => pins.push(Pin::SpkiSha256(digest)),
            None => {
                let message = format!("`{text}` is not a SHA-256 in Base64");
                let remedy = "take `openssl x509 -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64`";
                findings.error(&at.item("verifyCertificateSpki", index), "invalid-value", message, remedy);
                legal = false;
            }
        }
    }
    for (index, text) in tls.verify_certificate_hash.iter().enumerate() {
        match hex(text).filter(|digest| digest.len() == 32) {
            Some(digest) => pins.push(Pin::CertificateSha256(digest)),
            None => {
                let message = format!("`{text}` is not a SHA-256 in hexadecimal");
                let remedy = "take `openssl x509 -outform der | openssl dgst -sha256`, with or without colons";
                findings.error(&at.item("verifyCertificateHash", index), "invalid-value", message, remedy);
                legal = false;
            }
        }
    }
    legal.then_some(pins)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_may_have_colons() {
        assert_eq!(hex("0a:FF").as_deref(), Some(&[0x0a, 0xff][..]));
        assert_eq!(hex("0aff").as_deref(), Some(&[0x0a, 0xff][..]));
        assert!(hex("0af").is_none() && hex("zz").is_none());
    }
}
