//! TLS towards endpoints, built once for each content and carried over while that does not change.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{DnsName, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;

use super::client_auth::{self, ClientVerifier, TrustLint, Verdict};
use super::config::{CredentialMaterial, TrustMaterial};
use super::plain::endpoint_refusal;
use super::server_auth::{Identity, ServerVerifier};
use crate::model::UpstreamIdentity;
use crate::stream::Stream;

/// Sessions that are kept for resumption, of all endpoints of a cluster.
const SESSIONS: usize = 256;

/// A connection to an endpoint after its handshake.
pub(crate) type ClientStream = tokio_rustls::client::TlsStream<Stream>;

/// What is offered to speak after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing is said: bytes.
    Nothing,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Both.
    Either,
}

/// TLS towards the endpoints of a cluster.
#[derive(Debug)]
pub struct TlsClient {
    /// Differs from that of every other content, as long as the process lives.
    pub id: u64,
    digest: [u8; 32],
    verifier: Arc<ServerVerifier>,
    sni: Option<ServerName<'static>>,
    silent: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    either: Arc<ClientConfig>,
}

impl TlsClient {
    /// What there is to know of authorities and revocation lists now.
    #[must_use]
    pub fn lints(&self) -> Vec<TrustLint> {
        self.verifier.chains.lints(UnixTime::now())
    }

    /// The handshake on a new connection.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn connect(&self, stream: Stream, address: IpAddr, offer: Offer) -> Result<ClientStream, String> {
        let config = match offer {
            Offer::Nothing => &self.silent,
            Offer::Http1 => &self.http1,
            Offer::Http2 => &self.http2,
            Offer::Either => &self.either,
        };
        // The name of an address keeps sessions apart, and is not sent.
        let name = self.sni.clone().unwrap_or_else(|| ServerName::IpAddress(address.into()));
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        connecting.await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => endpoint_refusal(error),
                None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    "it closed the connection during the handshake".to_owned()
                }
                None => format!("the handshake broke off: {error}"),
            }
        })
    }
}

/// What a cluster's TLS is made of.
#[derive(Debug)]
pub struct ClientSpec<'s> {
    /// The name that endpoints are asked for.
    pub sni: Option<&'s str>,
    /// Authorities, united; none where whoever answers is taken.
    pub trust: &'s [Arc<TrustMaterial>],
    /// Who endpoints must be.
    pub identity: &'s UpstreamIdentity,
    /// What they are shown.
    pub credential: Option<&'s CredentialMaterial>,
}

/// What was built, by content.
#[derive(Debug, Default)]
pub struct TlsClients {
    known: HashMap<[u8; 32], (Arc<TlsClient>, u64)>,
    /// The same by where the authorities are in memory, so that they are not read again where nothing changed.
    seen: HashMap<Seen, Kept>,
    built: u64,
    round: u64,
}

/// What was built of it, what it points to, and when it was last used.
type Kept = (Arc<TlsClient>, Vec<Arc<TrustMaterial>>, u64);

/// A [`ClientSpec`] as it was seen. What it points to is kept beside it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Seen {
    sni: Option<String>,
    /// Addresses.
    trust: Vec<usize>,
    identity: UpstreamIdentity,
    credential: Option<[u8; 32]>,
}

impl TlsClients {
    /// Begins a generation: whatever [`TlsClients::finish`] then finds unused is dropped.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// Drops what the generation did not use.
    pub fn finish(&mut self) {
        let round = self.round;
        self.known.retain(|_, (_, used)| *used == round);
        self.seen.retain(|_, (_, _, used)| *used == round);
    }

    /// The TLS of a cluster.
    ///
    /// # Errors
    /// Why its endpoints cannot be spoken to.
    pub fn client(&mut self, spec: &ClientSpec<'_>) -> Result<Arc<TlsClient>, String> {
        let seen = Seen {
            sni: spec.sni.map(str::to_owned),
            trust: spec.trust.iter().map(|trust| Arc::as_ptr(trust).addr()).collect(),
            identity: spec.identity.clone(),
            credential: spec.credential.map(|credential| credential.digest),
        };
        let client = match self.seen.get(&seen) {
            Some((client, _, _)) => Arc::clone(client),
            None => self.build(spec)?,
        };
        if let Some((_, used)) = self.known.get_mut(&client.digest) {
            *used = self.round;
        }
        self.seen.insert(seen, (Arc::clone(&client), spec.trust.to_vec(), self.round));
        Ok(client)
    }

    fn build(&mut self, spec: &ClientSpec<'_>) -> Result<Arc<TlsClient>, String> {
        let chains = chains(spec.trust)?;
        let digest = digest(spec, &chains);
        if let Some((client, _)) = self.known.get(&digest) {
            return Ok(Arc::clone(client));
        }
        self.built += 1;
        let client = Arc::new(build(self.built, digest, spec, chains)?);
        self.known.insert(digest, (Arc::clone(&client), self.round));
        Ok(client)
    }
}

fn chains(trust: &[Arc<TrustMaterial>]) -> Result<ClientVerifier, String> {
    let anchors: Vec<_> = trust.iter().flat_map(|material| &material.anchors).cloned().collect();
    let crls: Vec<_> = trust.iter().flat_map(|material| &material.crls).cloned().collect();
    if anchors.is_empty() && !trust.is_empty() {
        return Err("its endpoints cannot be verified: there is no certificate authority to trust".to_owned());
    }
    let policy = client_auth::ClientPolicy {
        no_certificate: Verdict::Refuse,
        untrusted: if trust.is_empty() { Verdict::Accept } else { Verdict::Refuse },
        names: Vec::new(),
        pins: Vec::new(),
        max_depth: None,
        version1: Verdict::Accept,
    };
    ClientVerifier::new(&anchors, &crls, policy, &Arc::new(aws_lc_rs::default_provider()))
        .map_err(|error| format!("its endpoints cannot be verified: {error}"))
}

fn digest(spec: &ClientSpec<'_>, chains: &ClientVerifier) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"sekisho upstream tls 1\0");
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(&chains.digest());
    part(&[u8::from(spec.trust.is_empty())]);
    part(spec.sni.map_or(b"", |_| b"sni"));
    part(spec.sni.unwrap_or_default().as_bytes());
    match spec.identity {
        UpstreamIdentity::Unchecked => part(b"unchecked"),
        UpstreamIdentity::Name(name) => {
            part(b"name");
            part(name.as_bytes());
        }
        UpstreamIdentity::AnyOf(names) => {
            part(b"any of");
            names.iter().for_each(|name| part(name.as_bytes()));
        }
    }
    part(&spec.credential.map_or([0; 32], |credential| credential.digest));
    hash.finalize().into()
}

/// An address is never sent as SNI (RFC 6066 §3).
fn sni(said: Option<&str>) -> Result<Option<ServerName<'static>>, String> {
    let Some(name) = said.filter(|name| name.parse::<IpAddr>().is_err()) else { return Ok(None) };
    let name = DnsName::try_from(name.trim_end_matches('.').to_owned())
        .map_err(|_| format!("`{name}` is no host name, and cannot be sent as SNI"))?;
    Ok(Some(ServerName::DnsName(name)))
}

fn build(id: u64, digest: [u8; 32], spec: &ClientSpec<'_>, chains: ClientVerifier) -> Result<TlsClient, String> {
    let sni = sni(spec.sni)?;
    let identity = match spec.identity {
        UpstreamIdentity::Unchecked => Identity::Unchecked,
        UpstreamIdentity::Name(name) => Identity::Name(
            ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| format!("`{name}` is no host name that a certificate could have"))?,
        ),
        UpstreamIdentity::AnyOf(names) => Identity::AnyOf(names.clone()),
    };
    let verifier = Arc::new(ServerVerifier { chains, trusting: !spec.trust.is_empty(), identity });
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| format!("its endpoints cannot be spoken to: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&verifier) as _);
    let mut silent = match spec.credential {
        None => builder.with_no_client_auth(),
        Some(material) => {
            let shown = SingleCertAndKey::from(Arc::clone(&material.credential.certified));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
    };
    // Of this content alone: a session that was verified otherwise is never resumed.
    silent.resumption = Resumption::in_memory_sessions(SESSIONS);
    let offering = |protocols: &[&[u8]]| {
        let mut config = silent.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    };
    Ok(TlsClient {
        id,
        digest,
        verifier,
        sni,
        http1: offering(&[b"http/1.1"]),
        http2: offering(&[b"h2"]),
        either: offering(&[b"h2", b"http/1.1"]),
        silent: Arc::new(silent),
    })
}
