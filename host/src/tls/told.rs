//! What a backend is told of a client's certificate: an element of `x-forwarded-client-cert`, as Envoy writes it.
//!
//! Names in it are the certificate's, so that whoever had it signed chose them: none of them may look like another
//! field. Subject and names are quoted where the format asks for it, and what could end a quotation is written otherwise.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};

use super::config::TlsListener;
use super::x509::{Certificate, Name};

/// What there is to say of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The element.
    pub(crate) text: String,
    /// Whether the certificate verifies, and was not only accepted.
    pub(crate) verified: bool,
}

/// Of a client that came with this chain to a listener; none when it showed nothing or nothing was asked for.
pub(super) fn told(chain: &[CertificateDer<'static>], listener: &TlsListener) -> Option<Told> {
    let (leaf, others) = chain.split_first()?;
    let verification = listener.verification.as_ref()?;
    let text = element(leaf, listener.uris())?;
    Some(Told { text, verified: verification.vouches_for(leaf, others, UnixTime::now()) })
}

fn element(leaf: &CertificateDer<'_>, own_uris: &[String]) -> Option<String> {
    let certificate = Certificate::parse(leaf).ok()?;
    let mut text = String::new();
    for uri in own_uris {
        push(&mut text, "By", uri);
    }
    text.push_str("Hash=");
    for byte in Sha256::digest(leaf) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text.push_str(";Cert=\"");
    push_pem(&mut text, leaf);
    text.push_str("\";Subject=\"");
    push_subject(&mut text, &certificate.subject_text());
    text.push('"');
    let names = certificate.names();
    let uris = names.iter().filter_map(|name| if let Name::Uri(uri) = name { Some(*uri) } else { None });
    let mut any = false;
    for uri in uris {
        any = true;
        text.push(';');
        push_name(&mut text, "URI", uri);
    }
    if !any {
        text.push_str(";URI=");
    }
    for name in &names {
        if let Name::Dns(name) = name {
            text.push(';');
            push_name(&mut text, "DNS", name);
        }
    }
    Some(text)
}

fn push(text: &mut String, key: &str, value: &str) {
    push_name(text, key, value);
    text.push(';');
}

/// Quoted where it holds what separates. Names are of visible ASCII alone; neither quotation mark nor backslash is legal in
/// a URI or a host name, and they are written as a URI would have them.
fn push_name(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    text.push('=');
    let quoted = value.contains([',', ';', '=', '"', '\\']);
    if quoted {
        text.push('"');
    }
    for character in value.chars() {
        match character {
            '"' => text.push_str("%22"),
            '\\' => text.push_str("%5C"),
            other => text.push(other),
        }
    }
    if quoted {
        text.push('"');
    }
}

/// RFC 2253 escapes a quotation mark and a backslash by a backslash, or by one and two digits: the latter leaves nobody
/// in doubt where the quotation ends.
fn push_subject(text: &mut String, subject: &str) {
    let mut characters = subject.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('"') => text.push_str("\\22"),
                Some('\\') | None => text.push_str("\\5C"),
                Some(other) => text.extend(['\\', other]),
            },
            '"' => text.push_str("\\22"),
            other => text.push(other),
        }
    }
}

/// PEM, with what a URL cannot hold escaped.
fn push_pem(text: &mut String, der: &[u8]) {
    let base64 = STANDARD.encode(der);
    text.push_str("-----BEGIN%20CERTIFICATE-----%0A");
    for (at, character) in base64.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push_str("%0A");
        }
        match character {
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            other => text.push(other),
        }
    }
    text.push_str("%0A-----END%20CERTIFICATE-----%0A");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_looks_like_another_field() {
        let name = |value: &str| {
            let mut text = String::new();
            push_name(&mut text, "URI", value);
            text
        };
        assert_eq!(name("spiffe://a/b"), "URI=spiffe://a/b");
        assert_eq!(name("spiffe://a;Hash=0"), r#"URI="spiffe://a;Hash=0""#);
        assert_eq!(name(r#"a";Hash=0;X=""#), r#"URI="a%22;Hash=0;X=%22""#);
        assert_eq!(name(r"a,b\"), r#"URI="a,b%5C""#);
    }

    #[test]
    fn a_subject_cannot_end_its_quotation() {
        let subject = |value: &str| {
            let mut text = String::new();
            push_subject(&mut text, value);
            text
        };
        assert_eq!(subject(r"CN=a\,b,O=c"), r"CN=a\,b,O=c");
        assert_eq!(subject(r#"CN=a\";Hash=0"#), r"CN=a\22;Hash=0");
        assert_eq!(subject(r"CN=a\\"), r"CN=a\5C");
        assert_eq!(subject(r#"CN=a\\\""#), r"CN=a\5C\22");
    }

    #[test]
    fn pem_has_lines_of_64() {
        let mut text = String::new();
        push_pem(&mut text, &[0xff; 50]);
        let lines: Vec<&str> = text.split("%0A").collect();
        assert_eq!(lines[0], "-----BEGIN%20CERTIFICATE-----");
        assert_eq!(lines[1].replace("%2F", "/").len(), 64);
        assert!(lines[2].ends_with("%3D"), "{text}");
        assert_eq!(lines[3..], ["-----END%20CERTIFICATE-----", ""]);
    }

    #[test]
    fn everything_is_in_its_place() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut said = rcgen::CertificateParams::new(vec!["a.example".to_owned(), "b.example".to_owned()]).unwrap();
        said.subject_alt_names.push(rcgen::SanType::URI("spiffe://c/d".try_into().unwrap()));
        said.distinguished_name = rcgen::DistinguishedName::new();
        said.distinguished_name.push(rcgen::DnType::CommonName, "client");
        let der = said.self_signed(&key).unwrap().der().clone();
        let text = element(&der, &["spiffe://own".to_owned()]).unwrap();
        let fields: Vec<(&str, &str)> = text.split(';').filter_map(|field| field.split_once('=')).collect();
        let keys: Vec<&str> = fields.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["By", "Hash", "Cert", "Subject", "URI", "DNS", "DNS"]);
        assert_eq!(fields[0].1, "spiffe://own");
        assert_eq!(fields[1].1.len(), 64);
        assert_eq!(fields[3].1, "\"CN=client\"");
        assert_eq!((fields[4].1, fields[5].1, fields[6].1), ("spiffe://c/d", "a.example", "b.example"));
        // Nothing to say is said too, as Envoy does.
        said.subject_alt_names.clear();
        let der = said.self_signed(&key).unwrap().der().clone();
        assert!(element(&der, &[]).unwrap().ends_with(";Subject=\"CN=client\";URI="));
    }
}
