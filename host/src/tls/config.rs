//! A listener's TLS, built once for each content and carried over while that does not change.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};

use super::client_auth::{self, ClientVerifier, TrustLint, Verdict};
use super::credential::{CertificateResolver, Credential};
use super::x509::{Summary, names_host};
use crate::model::{self, TlsVersions};
use crate::object::ObjectKey;

/// A certificate chain with its key, ready to be shown.
#[derive(Debug)]
pub struct CredentialMaterial {
    /// What is shown.
    pub credential: Credential,
    /// The object that it came from.
    pub source: ObjectKey,
    /// Of that object's content.
    pub digest: [u8; 32],
}

/// Authorities and revocation lists.
#[derive(Debug)]
pub struct TrustMaterial {
    /// The object that they came from.
    pub source: ObjectKey,
    /// The authorities.
    pub anchors: Vec<CertificateDer<'static>>,
    /// Revocation lists.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

/// A listener's TLS.
#[derive(Debug)]
pub struct TlsListener {
    /// For handshakes; or why there can be none.
    pub config: Result<Arc<ServerConfig>, String>,
    /// How clients are verified.
    pub verification: Option<Verification>,
    /// The certificates that may be shown.
    pub shown: Vec<Shown>,
}

/// A certificate that a listener shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The object that it came from.
    pub source: ObjectKey,
    /// Of the leaf.
    pub summary: Summary,
    /// The hosts that it is for.
    hosts: Vec<String>,
    /// The URIs among its names.
    uris: Vec<String>,
}

impl Shown {
    /// Whether the certificate serves for `host`.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        self.hosts.iter().any(|name| names_host(name, host))
    }
}

/// How clients are verified.
#[derive(Debug)]
pub struct Verification {
    /// Of everything that decides.
    pub digest: [u8; 32],
    /// The objects that its authorities came from.
    pub sources: Vec<ObjectKey>,
    verifier: Arc<ClientVerifier>,
}

impl Verification {
    /// What there is to know of authorities and revocation lists now.
    #[must_use]
    pub fn lints(&self) -> Vec<TrustLint> {
        self.verifier.lints(UnixTime::now())
    }

    /// Whose certificates are accepted, as RFC 2253 writes it.
    #[must_use]
    pub fn authorities(&self) -> Vec<String> {
        self.verifier.authorities()
    }

    /// Whether a client with this chain would be accepted now.
    ///
    /// # Errors
    /// Why it would not.
    pub fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<(), rustls::Error> {
        self.verifier.verify(chain, UnixTime::now())
    }

    /// Whether a client's chain, which was accepted, leads to an authority.
    pub(super) fn vouches_for(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> bool {
        self.verifier.vouches_for(leaf, others, now)
    }

    /// The digest that tells one verification from another; none is one too.
    #[must_use]
    pub fn digest(verification: &Option<Self>) -> Option<[u8; 32]> {
        verification.as_ref().map(|verification| verification.digest)
    }
}

impl TlsListener {
    /// Whether every certificate that may have been shown serves for `host`.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        !self.shown.is_empty() && self.shown.iter().all(|shown| shown.covers(host))
    }

    /// The URIs that clients know it by, if all its certificates have the same: nobody tells which one a client saw.
    pub(super) fn uris(&self) -> &[String] {
        match self.shown.split_first() {
            Some((first, others)) if others.iter().all(|other| other.uris == first.uris) => &first.uris,
            _ => &[],
        }
    }
}

/// What a listener's TLS is made of.
#[derive(Debug)]
pub struct Spec<'s> {
    /// The listener's name, which scopes its session tickets.
    pub listener: &'s Arc<str>,
    /// Certificates; chosen among by what the client supports.
    pub credentials: &'s [Arc<CredentialMaterial>],
    /// Why a secret that it asks for is not among its material.
    pub lacking: Option<&'s str>,
    /// How clients are verified, and by which authorities.
    pub client: Option<(&'s model::ClientPolicy, &'s [Arc<TrustMaterial>])>,
    /// Whether client certificates of X.509 version 1 are verified or refused.
    pub v1_clients: bool,
    /// Protocol versions.
    pub versions: TlsVersions,
    /// IANA names for TLS 1.2; empty for all.
    pub cipher_suites: &'s [String],
    /// Application protocols.
    pub alpn: &'s [Vec<u8>],
}

/// What was built, by content.
#[derive(Debug, Default)]
pub struct TlsCache {
    listeners: HashMap<[u8; 32], (Arc<TlsListener>, u64)>,
    tickets: HashMap<TicketScope, (Arc<dyn ProducesTickets>, u64)>,
    verifiers: HashMap<[u8; 32], (Arc<ClientVerifier>, u64)>,
    round: u64,
}

/// Session tickets never cross listeners nor client verifications (decision 10); workers and reloads share them.
type TicketScope = (Arc<str>, Option<[u8; 32]>);

impl TlsCache {
    /// Begins a generation: whatever [`TlsCache::finish`] then finds unused is dropped.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// Drops what the generation did not use. A ticket key goes with its scope: a changed verification retires it.
    pub fn finish(&mut self) {
        let round = self.round;
        self.listeners.retain(|_, (_, used)| *used == round);
        self.tickets.retain(|_, (_, used)| *used == round);
        self.verifiers.retain(|_, (_, used)| *used == round);
    }

    /// The TLS of a listener.
    pub fn listener(&mut self, spec: &Spec<'_>) -> Arc<TlsListener> {
        let verification = match spec.client.map(|client| self.verification(client, spec.v1_clients)).transpose() {
            Ok(verification) => verification,
            Err(why) => {
                let why = spec.lacking.map_or(why, str::to_owned);
                return Arc::new(TlsListener { config: Err(why), verification: None, shown: shown(spec) });
            }
        };
        let key = digest(spec, verification.as_ref());
        let round = self.round;
        if let Some((listener, used)) = self.listeners.get_mut(&key) {
            *used = round;
            let listener = Arc::clone(listener);
            let scope = (Arc::clone(spec.listener), Verification::digest(&listener.verification));
            if let Some((_, used)) = self.tickets.get_mut(&scope) {
                *used = round;
            }
            return listener;
        }
        let scope = (Arc::clone(spec.listener), Verification::digest(&verification));
        let config = self.tickets(scope).and_then(|tickets| server_config(spec, verification.as_ref(), tickets));
        let listener = Arc::new(TlsListener { config: config.map(Arc::new), verification, shown: shown(spec) });
        self.listeners.insert(key, (Arc::clone(&listener), round));
        listener
    }

    fn verification(
        &mut self,
        (policy, trust): (&model::ClientPolicy, &[Arc<TrustMaterial>]),
        v1_clients: bool,
    ) -> Result<Verification, String> {
        let verifier = verifier(policy, trust, v1_clients)?;
        let digest = verifier.digest();
        let (verifier, used) = self.verifiers.entry(digest).or_insert_with(|| (Arc::new(verifier), 0));
        *used = self.round;
        let sources = trust.iter().map(|material| material.source.clone()).collect();
        Ok(Verification { digest, sources, verifier: Arc::clone(verifier) })
    }

    fn tickets(&mut self, scope: TicketScope) -> Result<Arc<dyn ProducesTickets>, String> {
        if let Some((tickets, used)) = self.tickets.get_mut(&scope) {
            *used = self.round;
            return Ok(Arc::clone(tickets));
        }
        let tickets = aws_lc_rs::Ticketer::new().map_err(|e| format!("no key for session tickets: {e}"))?;
        self.tickets.insert(scope, (Arc::clone(&tickets), self.round));
        Ok(tickets)
    }
}

fn shown(spec: &Spec<'_>) -> Vec<Shown> {
    let one = |material: &Arc<CredentialMaterial>| Shown {
        source: material.source.clone(),
        summary: material.credential.summary.clone(),
        hosts: material.credential.hosts.clone(),
        uris: material.credential.uris.clone(),
    };
    spec.credentials.iter().map(one).collect()
}

fn verifier(
    policy: &model::ClientPolicy,
    trust: &[Arc<TrustMaterial>],
    v1_clients: bool,
) -> Result<ClientVerifier, String> {
    if trust.is_empty() {
        return Err("its clients cannot be verified: none of its authorities is to be had".to_owned());
    }
    let anchors: Vec<_> = trust.iter().flat_map(|material| &material.anchors).cloned().collect();
    let crls: Vec<_> = trust.iter().flat_map(|material| &material.crls).cloned().collect();
    let verdict = |accept| if accept { Verdict::Accept } else { Verdict::Refuse };
    let pin = |pin: &model::Pin| match pin {
        model::Pin::Certificate(digest) => client_auth::Pin::Certificate(*digest),
        model::Pin::Spki(digest) => client_auth::Pin::PublicKey(*digest),
    };
    let policy = client_auth::ClientPolicy {
        no_certificate: verdict(policy.accept_missing),
        untrusted: verdict(policy.accept_untrusted),
        names: policy.names.clone(),
        pins: policy.pins.iter().map(pin).collect(),
        max_depth: policy.max_depth,
        version1: verdict(v1_clients),
    };
    ClientVerifier::new(&anchors, &crls, policy, &Arc::new(aws_lc_rs::default_provider()))
        .map_err(|e| format!("its clients cannot be verified: {e}"))
}

fn digest(spec: &Spec<'_>, verification: Option<&Verification>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(spec.listener.as_bytes());
    part(&verification.map_or([0; 32], |verification| verification.digest));
    part(&[match spec.versions {
        TlsVersions::Both => 0,
        TlsVersions::Only12 => 1,
        TlsVersions::Only13 => 2,
    }]);
    for credential in spec.credentials {
        part(&credential.digest);
    }
    part(spec.lacking.unwrap_or_default().as_bytes());
    part(b"suites");
    for suite in spec.cipher_suites {
        part(suite.as_bytes());
    }
    part(b"alpn");
    for protocol in spec.alpn {
        part(protocol);
    }
    hash.finalize().into()
}

fn server_config(
    spec: &Spec<'_>,
    verification: Option<&Verification>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, String> {
    let shown = spec.credentials.iter().map(|material| Arc::clone(&material.credential.certified)).collect();
    let resolver =
        CertificateResolver::new(shown).ok_or_else(|| spec.lacking.unwrap_or("it has no certificate").to_owned())?;
    let versions = match spec.versions {
        TlsVersions::Both => &[&TLS13, &TLS12][..],
        TlsVersions::Only12 => &[&TLS12],
        TlsVersions::Only13 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(provider(spec.cipher_suites)))
        .with_protocol_versions(versions)
        .map_err(|e| format!("its TLS versions and cipher suites do not fit together: {e}"))?;
    let builder = match verification {
        Some(verification) => builder.with_client_cert_verifier(Arc::clone(&verification.verifier) as _),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = spec.alpn.to_vec();
    config.ticketer = tickets;
    // Tickets alone: a session cache would be per process memory that anybody can fill.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Suites of TLS 1.3 are never restricted, as in Istio.
fn provider(suites: &[String]) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            let name = suite.suite().as_str();
            suite.tls13().is_some() || suites.iter().any(|wanted| Some(wanted.as_str()) == name)
        });
    }
    provider
}
