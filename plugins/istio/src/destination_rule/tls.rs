//! `tls`: what backends are spoken to in, and whom they must prove to be.
//!
//! Secrets are named, never read: their names are looked up in the namespace of the gateway itself.

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{Locator, Role, Source, UpstreamIdentity, UpstreamTls};
use sekisho_sdk::{ObjectKey, Origin, Severity};

use super::refusal::Refusal;
use crate::findings::{Findings, Place};
use crate::names::is_object_name;
use crate::objects::destination_rule::ClientTls;
use crate::sources::Sources;
use crate::tls::{authorities_of, plain_name, secret, secret_name, source};

/// The word for the operating system's authorities where a file could be named.
const SYSTEM: &str = "system";

/// What is spoken over connections to a backend.
#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Clear,
    Tls(Box<Tls>),
}

/// TLS, before it is known towards which host.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    at: Origin,
    sni: Option<String>,
    names: Vec<String>,
    trust: Trust,
    credential: Option<Source>,
}

#[derive(Clone, Debug)]
enum Trust {
    /// Whoever answers.
    Anybody,
    /// Those whom these vouch for.
    Authorities(Source),
    /// Those whom the operating system's authorities vouch for.
    System(Source),
}

/// Reads `tls`, written in a DestinationRule of `namespace`.
pub(super) fn read(
    said: &ClientTls,
    namespace: &str,
    gateway_namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Result<Transport, Box<Refusal>> {
    let mode = at.field("mode");
    let mutual = match said.mode.as_deref() {
        None if is_given(said) => {
            let message = "without `mode`, Istio means DISABLE: the backend is spoken to in the clear";
            findings.error(&mode, "mode-omitted", message, "write `mode: SIMPLE`");
            return Ok(Transport::Clear);
        }
        None => return Ok(Transport::Clear),
        Some("DISABLE") => {
            if is_given(said) {
                let message = "the backend is spoken to in the clear, so that the other fields have no effect";
                findings.warning(at, "no-effect", message, "write `mode: SIMPLE`, or remove them");
            }
            return Ok(Transport::Clear);
        }
        Some("SIMPLE") => false,
        Some("MUTUAL") => true,
        Some("ISTIO_MUTUAL") => {
            let message = "ISTIO_MUTUAL needs the certificates of a mesh, which this gateway has not";
            return Err(Refusal::unsupported(&mode, message, "write SIMPLE, or MUTUAL and a credential"));
        }
        Some(other) => {
            let message = format!("`{other}` is not a mode");
            let remedy = "write DISABLE, SIMPLE or MUTUAL";
            return Err(Refusal::mistake(&mode, "invalid-value", message, remedy, findings));
        }
    };
    check_skipping(said, mutual, at, findings)?;
    let shown = [&said.client_certificate, &said.private_key].iter().any(|path| !path.is_empty());
    if shown && !mutual {
        let message = "in mode SIMPLE no certificate is shown; `clientCertificate` and `privateKey` have no effect";
        findings.warning(at, "no-effect", message, "write mode MUTUAL, or remove them");
    }
    let sni = sni(&said.sni, at, findings)?;
    let trust = trust(said, mutual, namespace, gateway_namespace, at, findings)?;
    let credential = if mutual { Some(credential(said, gateway_namespace, at, findings)?) } else { None };
    let names = said.subject_alt_names.clone();
    Ok(Transport::Tls(Box::new(Tls { at: at.origin(), sni, names, trust, credential })))
}

fn is_given(said: &ClientTls) -> bool {
    let texts = [
        &said.client_certificate,
        &said.private_key,
        &said.ca_certificates,
        &said.credential_name,
        &said.sni,
        &said.ca_crl,
    ];
    texts.iter().any(|text| !text.is_empty()) || !said.subject_alt_names.is_empty() || said.insecure_skip_verify
}

/// Who is not verified has no authorities and no names.
fn check_skipping(said: &ClientTls, mutual: bool, at: &Place<'_>, findings: &mut Findings) -> Result<(), Box<Refusal>> {
    if !said.insecure_skip_verify {
        return Ok(());
    }
    let verified = !said.ca_certificates.is_empty()
        || !said.subject_alt_names.is_empty()
        || (!mutual && !said.credential_name.is_empty());
    let at = at.field("insecureSkipVerify");
    if verified {
        let message = "backends are not to be verified, but authorities or names are given";
        let remedy = "remove `insecureSkipVerify`, or what backends are verified by";
        return Err(Refusal::mistake(&at, "conflicting-fields", message, remedy, findings));
    }
    let message = "backends are not verified: whoever answers at their address is taken for them";
    findings.warning(&at, "unverified-backend", message, "remove the field, and name authorities in `caCertificates`");
    Ok(())
}

fn sni(name: &str, at: &Place<'_>, findings: &mut Findings) -> Result<Option<String>, Box<Refusal>> {
    match HostName::parse(name) {
        _ if name.is_empty() => Ok(None),
        Ok(HostName::Exact(name)) => Ok(Some(name)),
        _ => {
            let message = format!("`{name}` is not a name that a server can be asked for");
            Err(Refusal::mistake(&at.field("sni"), "invalid-value", message, "write a DNS name", findings))
        }
    }
}

fn trust(
    said: &ClientTls,
    mutual: bool,
    namespace: &str,
    gateway_namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Result<Trust, Box<Refusal>> {
    if !said.credential_name.is_empty() {
        let files = [&said.client_certificate, &said.private_key, &said.ca_certificates, &said.ca_crl];
        let at = at.field("credentialName");
        if files.iter().any(|path| !path.is_empty()) {
            let message = "certificates and authorities come from the secret, but files are named as well";
            let remedy = "remove `credentialName`, or the paths";
            return Err(Refusal::mistake(&at, "conflicting-fields", message, remedy, findings));
        }
        let candidates = candidates(&said.credential_name, mutual, namespace, gateway_namespace, &at, findings)?;
        if said.insecure_skip_verify {
            return Ok(Trust::Anybody);
        }
        return Ok(Trust::Authorities(source(&at, Role::Trust, candidates)));
    }
    if said.insecure_skip_verify {
        return Ok(Trust::Anybody);
    }
    let here = at.field("caCertificates");
    if said.ca_certificates.is_empty() || said.ca_certificates == SYSTEM {
        if !said.ca_crl.is_empty() {
            let message = "the list of what is revoked is none of the system's authorities";
            let remedy = "name the authorities that it is of in `caCertificates`";
            return Err(Refusal::mistake(&at.field("caCrl"), "conflicting-fields", message, remedy, findings));
        }
        let message = "the operating system's authorities vouch for backends";
        findings.info(&here, "system-authorities", message, "name a file, or a secret in `credentialName`");
        return Ok(Trust::System(source(&here, Role::Trust, vec![Locator::SystemRoots])));
    }
    let mut files = vec![("cacert".to_owned(), said.ca_certificates.clone())];
    if !said.ca_crl.is_empty() {
        files.push(("crl".to_owned(), said.ca_crl.clone()));
    }
    Ok(Trust::Authorities(source(&here, Role::Trust, vec![Locator::Files(files)])))
}

/// Where authorities are, by `credentialName`.
fn candidates(
    name: &str,
    mutual: bool,
    namespace: &str,
    gateway_namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Result<Vec<Locator>, Box<Refusal>> {
    let Some(path) = name.strip_prefix("configmap://") else {
        let plain = secret_name(name, gateway_namespace, at, findings);
        return plain.map(|plain| authorities_of(gateway_namespace, plain)).ok_or_else(|| {
            let message = "without its secret nothing is sent to the backend";
            Refusal::unsupported(at, message, "write the name of a secret in the gateway's namespace")
        });
    };
    let remedy = "write `configmap://namespace/name`, with the namespace of the DestinationRule";
    match path.split_once('/') {
        Some((other, name)) if other == namespace && is_object_name(name) && !mutual => {
            Ok(vec![Locator::Object(ObjectKey::new("", "ConfigMap", namespace, name))])
        }
        Some(_) if mutual => {
            let message = "a ConfigMap has no private key";
            let remedy = "name a secret";
            Err(Refusal::mistake(at, "invalid-credential-name", message, remedy, findings))
        }
        _ => {
            let message = format!("`{name}` does not name a ConfigMap of namespace {namespace}");
            Err(Refusal::mistake(at, "invalid-credential-name", message, remedy, findings))
        }
    }
}

/// What the gateway shows of itself.
fn credential(
    said: &ClientTls,
    gateway_namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Result<Source, Box<Refusal>> {
    if !said.credential_name.is_empty() {
        let at = at.field("credentialName");
        // What is wrong with the name has been said of its authorities.
        let name = plain_name(&said.credential_name, gateway_namespace);
        return Ok(source(&at, Role::Credential, vec![secret(gateway_namespace, name)]));
    }
    if said.client_certificate.is_empty() || said.private_key.is_empty() {
        let message = "mode MUTUAL shows a certificate, and none is given";
        let remedy = "name a secret in `credentialName`, or files in `clientCertificate` and `privateKey`";
        return Err(Refusal::mistake(at, "missing-credential", message, remedy, findings));
    }
    let files =
        vec![("cert".to_owned(), said.client_certificate.clone()), ("key".to_owned(), said.private_key.clone())];
    Ok(source(&at.field("clientCertificate"), Role::Credential, vec![Locator::Files(files)]))
}

impl Tls {
    /// Towards `host`, whose ServiceEntry says `names` of its certificate.
    ///
    /// Istio asks for the name that the request has, when none is written. A connection of this gateway is for many
    /// requests, so that the destination's own host is asked for, and must be proven.
    pub(crate) fn towards(
        &self,
        host: &str,
        names: &[String],
        sources: &mut Sources,
        findings: &mut Findings,
    ) -> UpstreamTls {
        let own = matches!(HostName::parse(host), Ok(HostName::Exact(_)));
        let sni = self.sni.clone().or_else(|| own.then(|| host.to_owned()));
        if self.sni.is_none() && own {
            let message = format!("`{host}` is asked for, where Istio asks for the host of each request");
            let remedy = "write the name that the backend has";
            findings.say(Severity::Info, self.field("sni"), "assumed-name", message, remedy);
        }
        let names = if self.names.is_empty() { names } else { &self.names };
        // Istio takes the certificate of anybody whom the authorities vouch for when a name is asked for, and none must
        // be proven. That is everybody where they are the system's: there the name counts.
        let proven = match &self.trust {
            Trust::Authorities(_) if self.sni.is_some() => None,
            _ => sni.clone(),
        };
        let identity = match (&self.trust, proven) {
            (Trust::Anybody, _) => UpstreamIdentity::Unchecked,
            _ if !names.is_empty() => UpstreamIdentity::AnyOf(names.to_vec()),
            (_, Some(name)) => UpstreamIdentity::Name(name),
            (_, None) => {
                let name = sni.as_deref().unwrap_or(host);
                let message = format!("every certificate of its authorities is taken, not only one of `{name}`");
                let remedy = "name what must be in it";
                findings.say(Severity::Warning, self.field("subjectAltNames"), "unchecked-name", message, remedy);
                UpstreamIdentity::Unchecked
            }
        };
        let trust = match &self.trust {
            Trust::Anybody => Vec::new(),
            Trust::Authorities(source) | Trust::System(source) => vec![sources.index(source)],
        };
        let credential = self.credential.as_ref().map(|source| sources.index(source));
        UpstreamTls { sni, trust, identity, credential }
    }

    fn field(&self, name: &str) -> Origin {
        self.at.object.at(format!("{}.{name}", self.at.field))
    }
}
