//! `servers[].tls` of a terminating server: certificates, client verification, protocol versions.
//!
//! Secrets are named, never read: their names are looked up in the namespace of the gateway itself.

mod client;
mod secrets;

use sekisho_sdk::model::{Source, TlsVersion};

use crate::findings::{Findings, Place};
use crate::objects::ServerTls;

pub(crate) use client::ClientPolicy;
pub(crate) use secrets::{authorities_of, plain_name, secret, secret_name, source};

/// How a server terminates TLS.
#[derive(Clone, Debug)]
pub(crate) struct Termination {
    /// Certificates; none refuses every handshake.
    pub(crate) credentials: Vec<Source>,
    pub(crate) client: Option<ClientPolicy>,
    pub(crate) min_version: TlsVersion,
    pub(crate) max_version: TlsVersion,
    pub(crate) cipher_suites: Vec<String>,
}

impl Termination {
    /// What a server with a mistake in it gets: it keeps its hosts, so that their traffic does not fall to a wider
    /// server, and refuses.
    pub(crate) fn refusing() -> Self {
        Self {
            credentials: Vec::new(),
            client: None,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
        }
    }
}

/// The modes that terminate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `SIMPLE`
    Simple,
    /// `MUTUAL`
    Mutual,
    /// `OPTIONAL_MUTUAL`
    OptionalMutual,
}

/// Reads the settings of a terminating server; none when they have an error.
pub(crate) fn read(
    tls: &ServerTls,
    mode: Mode,
    gateway_namespace: &str,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Termination> {
    let credentials = secrets::credentials(tls, gateway_namespace, at, findings);
    let client = client::read(tls, mode, gateway_namespace, at, findings);
    let versions = versions(tls, at, findings);
    let (min_version, max_version) = versions?;
    let (cipher_suites, min_version) = cipher_suites(tls, min_version, max_version, at, findings)?;
    if !tls.ecdh_curves.is_empty() {
        let message = "the key exchange groups cannot be chosen here; the gateway's own are used";
        findings.warning(&at.field("ecdhCurves"), "unsupported", message, "remove the field");
    }
    Some(Termination { credentials: credentials?, client: client?, min_version, max_version, cipher_suites })
}

fn versions(tls: &ServerTls, at: &Place<'_>, findings: &mut Findings) -> Option<(TlsVersion, TlsVersion)> {
    let min = version(&tls.min_protocol_version, &at.field("minProtocolVersion"), findings)?;
    let max = version(&tls.max_protocol_version, &at.field("maxProtocolVersion"), findings)?;
    if min == Some(Version::Old) {
        let message = format!("{} is not served any more; the lowest version is TLS 1.2", tls.min_protocol_version);
        findings.warning(&at.field("minProtocolVersion"), "unsupported", message, "write TLSV1_2 or remove the field");
    }
    if max == Some(Version::Old) {
        let message = format!("{} is not served any more, so that no version is left", tls.max_protocol_version);
        findings.error(&at.field("maxProtocolVersion"), "unsupported", message, "write TLSV1_2 or TLSV1_3");
        return None;
    }
    let lowest = if min == Some(Version::Tls13) { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
    let highest = if max == Some(Version::Tls12) { TlsVersion::Tls12 } else { TlsVersion::Tls13 };
    if (lowest, highest) == (TlsVersion::Tls13, TlsVersion::Tls12) {
        let message = "the lowest version is above the highest";
        findings.error(&at.field("minProtocolVersion"), "invalid-value", message, "exchange the two or remove one");
        return None;
    }
    Some((lowest, highest))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Old,
    Tls12,
    Tls13,
}

/// None when it is not a version, `Some(None)` when the default is meant.
fn version(text: &str, at: &Place<'_>, findings: &mut Findings) -> Option<Option<Version>> {
    Some(match text {
        "" | "TLS_AUTO" => None,
        "TLSV1_0" | "TLSV1_1" => Some(Version::Old),
        "TLSV1_2" => Some(Version::Tls12),
        "TLSV1_3" => Some(Version::Tls13),
        other => {
            let remedy = "write one of TLS_AUTO, TLSV1_2 and TLSV1_3";
            findings.error(at, "invalid-value", format!("`{other}` is not a protocol version"), remedy);
            return None;
        }
    })
}

/// Istio's names of the suites that this gateway's TLS library has, and IANA's.
const CIPHER_SUITES: [(&str, &str); 6] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// `cipherSuites` never touches TLS 1.3.
const TLS13_SUITES: [&str; 3] = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

/// The suites and the lowest version that they leave.
fn cipher_suites(
    tls: &ServerTls,
    min: TlsVersion,
    max: TlsVersion,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<(Vec<String>, TlsVersion)> {
    let mut suites = Vec::new();
    for (index, name) in tls.cipher_suites.iter().enumerate() {
        let at = at.item("cipherSuites", index);
        match CIPHER_SUITES.iter().find(|(ours, _)| ours == name) {
            Some((_, iana)) if suites.iter().any(|known| known == iana) => {
                findings.warning(&at, "no-effect", format!("`{name}` stands twice"), "remove one");
            }
            Some((_, iana)) => suites.push((*iana).to_owned()),
            None => {
                let message = format!("the cipher suite `{name}` is not served; it is left out");
                let remedy = "only the ECDHE suites with AES-GCM or CHACHA20-POLY1305 are served";
                findings.warning(&at, "unsupported", message, remedy);
            }
        }
    }
    if tls.cipher_suites.is_empty() {
        return Some((suites, min));
    }
    let mut lowest = min;
    if suites.is_empty() && min == TlsVersion::Tls12 {
        if max == TlsVersion::Tls12 {
            let message = "none of these cipher suites is served, and TLS 1.3 is excluded";
            findings.error(&at.field("cipherSuites"), "unsupported", message, "name an ECDHE suite or allow TLS 1.3");
            return None;
        }
        let message = "none of these cipher suites is served, so that only TLS 1.3 is left";
        findings.warning(&at.field("cipherSuites"), "unsupported", message, "name an ECDHE suite to serve TLS 1.2");
        lowest = TlsVersion::Tls13;
    }
    suites.extend(TLS13_SUITES.map(str::to_owned));
    Some((suites, lowest))
}
