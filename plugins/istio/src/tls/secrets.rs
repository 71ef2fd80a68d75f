//! Where certificates, keys and authorities are: secrets by name, or files.

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::{Locator, Role, Source, WhenDeleted};

use crate::findings::{Findings, Place};
use crate::names::is_object_name;
use crate::objects::ServerTls;

/// What Istio appends to a credential's name to find its authorities.
const CA_SUFFIX: &str = "-cacert";

/// The certificates of a server; none when they are missing or misnamed.
pub(super) fn credentials(
    tls: &ServerTls,
    namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Vec<Source>> {
    let by_name = !tls.credential_names.is_empty() || !tls.credential_name.is_empty();
    let (cert, key) = (!tls.server_certificate.is_empty(), !tls.private_key.is_empty());
    if by_name && cert != key {
        let field = if cert { "serverCertificate" } else { "privateKey" };
        let message = "the certificate comes from the secret; this file is not read";
        findings.warning(&at.field(field), "no-effect", message, "remove the field");
    }
    // Half a pair beside a secret is passed over, as Istio does.
    let files = if by_name { cert && key } else { cert || key };
    let given = [
        (!tls.credential_names.is_empty(), "credentialNames"),
        (!tls.credential_name.is_empty(), "credentialName"),
        (!tls.tls_certificates.is_empty(), "tlsCertificates"),
        (files, "serverCertificate"),
    ];
    let given: Vec<&str> = given.iter().filter(|(given, _)| *given).map(|(_, field)| *field).collect();
    match given[..] {
        [] => {
            let message = "the server has no certificate";
            let remedy = "name a secret in `credentialName`, or files in `serverCertificate` and `privateKey`";
            findings.error(at, "missing-credential", message, remedy);
            None
        }
        ["credentialName"] => {
            let at = at.field("credentialName");
            Some(vec![named(&tls.credential_name, namespace, &at, findings)?])
        }
        ["credentialNames"] => by_names(tls, namespace, at, findings),
        ["tlsCertificates"] => by_file_pairs(tls, at, findings),
        ["serverCertificate"] => Some(vec![file_pair(&tls.server_certificate, &tls.private_key, at, findings)?]),
        _ => {
            let message = format!("only one of these can be: {}", given.join(", "));
            findings.error(at, "conflicting-fields", message, "keep one and remove the others");
            None
        }
    }
}

fn by_names(tls: &ServerTls, namespace: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Vec<Source>> {
    if tls.credential_names.len() > 2 {
        let message = "at most two credentials can be named: one with an RSA and one with an ECDSA key";
        findings.error(&at.field("credentialNames"), "invalid-value", message, "remove the others");
        return None;
    }
    let names = tls.credential_names.iter().enumerate();
    let sources: Vec<_> =
        names.map(|(index, name)| named(name, namespace, &at.item("credentialNames", index), findings)).collect();
    sources.into_iter().collect()
}

fn by_file_pairs(tls: &ServerTls, at: &Place<'_>, findings: &mut Findings) -> Option<Vec<Source>> {
    if tls.tls_certificates.len() > 2 {
        let message = "at most two certificates can be given: one with an RSA and one with an ECDSA key";
        findings.error(&at.field("tlsCertificates"), "invalid-value", message, "remove the others");
        return None;
    }
    let pairs = tls.tls_certificates.iter().enumerate();
    let sources: Vec<_> = pairs
        .map(|(index, pair)| {
            let at = at.item("tlsCertificates", index);
            file_pair(&pair.server_certificate, &pair.private_key, &at, findings)
        })
        .collect();
    sources.into_iter().collect()
}

fn named(name: &str, namespace: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Source> {
    let name = secret_name(name, namespace, at, findings)?;
    if name.ends_with(CA_SUFFIX) {
        let message = format!("a name that ends in `{CA_SUFFIX}` is where Istio looks for authorities");
        findings.warning(at, "misleading-name", message, "call the secret otherwise");
    }
    Some(source(at, Role::Credential, vec![secret(namespace, name)]))
}

/// A secret's name without what may stand before it: the word for secrets, and the gateway's own namespace.
pub(crate) fn plain_name<'n>(name: &'n str, namespace: &str) -> &'n str {
    let path = name.strip_prefix("kubernetes://").unwrap_or(name);
    path.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

/// The plain name of a secret in the gateway's namespace.
pub(crate) fn secret_name<'n>(
    name: &'n str,
    namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<&'n str> {
    let plain = plain_name(name, namespace);
    if is_object_name(plain) {
        return Some(plain);
    }
    let remedy = format!("put the secret into namespace {namespace} and write its name alone");
    let message = if plain.contains("://") {
        format!("`{name}`: only secrets are read, by their name")
    } else if plain.contains('/') {
        format!("`{name}`: secrets are looked up in the gateway's own namespace, {namespace}, alone")
    } else {
        format!("`{name}` is not a secret's name")
    };
    findings.error(at, "invalid-credential-name", message, &remedy);
    None
}

fn file_pair(certificate: &str, key: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Source> {
    if certificate.is_empty() || key.is_empty() {
        let message = "`serverCertificate` and `privateKey` belong together";
        findings.error(at, "missing-credential", message, "give both paths");
        return None;
    }
    let files = vec![("cert".to_owned(), certificate.to_owned()), ("key".to_owned(), key.to_owned())];
    Some(source(&at.field("serverCertificate"), Role::Credential, vec![Locator::Files(files)]))
}

/// The authorities that client certificates are verified with; an error when there are none.
pub(super) fn trust(tls: &ServerTls, namespace: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Vec<Source>> {
    let first_name = tls.credential_names.first().unwrap_or(&tls.credential_name);
    let by_name = !first_name.is_empty() || !tls.ca_cert_credential_name.is_empty();
    if by_name && !tls.ca_crl.is_empty() {
        let message = "a revocation list cannot be a file when the authorities are in a secret";
        let remedy = "put it into the secret, under `crl` or `ca.crl`";
        findings.error(&at.field("caCrl"), "conflicting-fields", message, remedy);
        return None;
    }
    if by_name && !tls.ca_certificates.is_empty() {
        let message = "the authorities come from the secret; this file is not read";
        findings.warning(&at.field("caCertificates"), "no-effect", message, "remove the field");
    }
    if !tls.ca_cert_credential_name.is_empty() {
        return Some(vec![explicit_trust(&tls.ca_cert_credential_name, namespace, at, findings)?]);
    }
    if !first_name.is_empty() {
        // What is wrong with the name has been said of the certificate.
        let name = plain_name(first_name, namespace);
        let field = if tls.credential_names.is_empty() { "credentialName" } else { "credentialNames[0]" };
        return Some(vec![source(&at.field(field), Role::Trust, authorities_of(namespace, name))]);
    }
    let in_pairs = tls.tls_certificates.iter().map(|pair| &pair.ca_certificates);
    let Some(path) = [&tls.ca_certificates].into_iter().chain(in_pairs).find(|path| !path.is_empty()) else {
        let message = "client certificates are to be verified, but no authorities are given";
        findings.error(at, "missing-credential", message, "name a file in `caCertificates`");
        return None;
    };
    let mut files = vec![("cacert".to_owned(), path.clone())];
    if !tls.ca_crl.is_empty() {
        files.push(("crl".to_owned(), tls.ca_crl.clone()));
    }
    Some(vec![source(&at.field("caCertificates"), Role::Trust, vec![Locator::Files(files)])])
}

/// `caCertCredentialName`: a secret's name, or `configmap://namespace/name`.
fn explicit_trust(name: &str, namespace: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Source> {
    let at = at.field("caCertCredentialName");
    let locator = match name.strip_prefix("configmap://").map(|path| path.split_once('/')) {
        Some(Some((namespace, name))) if is_object_name(namespace) && is_object_name(name) => {
            Locator::Object(ObjectKey::new("", "ConfigMap", namespace, name))
        }
        Some(_) => {
            let message = format!("`{name}` does not name a ConfigMap");
            findings.error(&at, "invalid-credential-name", message, "write `configmap://namespace/name`");
            return None;
        }
        None => secret(namespace, secret_name(name, namespace, &at, findings)?),
    };
    Some(source(&at, Role::Trust, vec![locator]))
}

/// A secret by its name.
pub(crate) fn secret(namespace: &str, name: &str) -> Locator {
    Locator::Object(ObjectKey::new("", "Secret", namespace, name))
}

/// Where the authorities of a credential are: in a secret of their own, else in its own.
pub(crate) fn authorities_of(namespace: &str, name: &str) -> Vec<Locator> {
    vec![secret(namespace, &format!("{name}{CA_SUFFIX}")), secret(namespace, name)]
}

/// Istio keeps serving what was deleted.
pub(crate) fn source(at: &Place<'_>, role: Role, candidates: Vec<Locator>) -> Source {
    Source { origin: at.origin(), role, candidates, when_deleted: WhenDeleted::KeepLast }
}
