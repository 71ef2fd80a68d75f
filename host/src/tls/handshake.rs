//! From accepted bytes to a TLS connection: the SNI chooses the listener, the listener's configuration does the rest.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::HandshakeKind;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, ClientHello};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::alert::{Alert, close, drain};
use super::config::{TlsListener, Verification};
use super::told::{self, Told};
use crate::generation::{Socket, Traffic};
use crate::stream::Stream;

/// How long a verification of a client's chain holds on an open connection.
const VERIFIED_FOR: Duration = Duration::from_secs(60);

/// What a handshake established. It stays with its connection, whatever the configuration becomes.
#[derive(Debug)]
pub struct Handshake {
    /// As sent, in lower case without a trailing dot.
    pub sni: Option<Rc<str>>,
    /// The name of the listener that the SNI chose; none when the default credential was shown.
    pub listener: Option<Arc<str>>,
    /// The client's certificates, leaf first.
    chain: Vec<CertificateDer<'static>>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// What backends may be told of the client's certificate.
    pub(crate) told: Option<Told>,
    /// The digest of the verification that they last passed, and when.
    verified: Cell<Option<([u8; 32], Instant)>>,
}

/// What a TLS client turned out to be.
#[derive(Debug)]
pub enum Accepted {
    /// Its TLS ends here.
    Opened(Box<TlsStream<Stream>>, Handshake),
    /// Its TLS ends elsewhere.
    Sealed(Sealed),
}

/// A TLS connection that was looked at and not answered.
#[derive(Debug)]
pub struct Sealed {
    /// The client's.
    pub stream: Stream,
    /// What it sent so far.
    pub sent: Vec<u8>,
    /// As sent, in lower case without a trailing dot.
    pub sni: Option<Rc<str>>,
    /// The name of the listener that the SNI chose.
    pub listener: Arc<str>,
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// What came was no TLS, or broke off.
    #[error("{0}")]
    NoHello(std::io::Error),
    /// No listener claims the name.
    #[error("no listener for SNI {}; hosts configured here: {hosts}", sni.as_deref().unwrap_or("(none)"))]
    UnknownName {
        /// What the client asked for.
        sni: Option<String>,
        /// What there is.
        hosts: String,
    },
    /// The listener is there and cannot serve.
    #[error("listener {listener} refuses SNI {}: {why}", sni.as_deref().unwrap_or("(none)"))]
    Unable {
        /// Which one.
        listener: Arc<str>,
        /// What the client asked for.
        sni: Option<String>,
        /// Why.
        why: String,
    },
    /// The handshake failed.
    #[error("handshake for SNI {} failed: {}", sni.as_deref().unwrap_or("(none)"), plain(error))]
    Failed {
        /// Which listener it was for.
        listener: Option<Arc<str>>,
        /// What the client asked for.
        sni: Option<String>,
        /// Why.
        error: std::io::Error,
    },
}

fn plain(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => super::plain::refusal(error),
        None => error.to_string(),
    }
}

impl Refused {
    /// The listener that was meant.
    #[must_use]
    pub fn listener(&self) -> Option<&Arc<str>> {
        match self {
            Self::NoHello(_) | Self::UnknownName { .. } => None,
            Self::Unable { listener, .. } => Some(listener),
            Self::Failed { listener, .. } => listener.as_ref(),
        }
    }

    /// A word for metrics.
    #[must_use]
    pub fn result(&self) -> &'static str {
        use rustls::{CertificateError, Error};
        let error = match self {
            Self::NoHello(_) => return "no-hello",
            Self::UnknownName { .. } => return "unknown-name",
            Self::Unable { .. } => return "listener-refuses",
            Self::Failed { error, .. } => error,
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::NoCertificatesPresented) => "client-certificate-missing",
            Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
                "client-certificate-expired"
            }
            Some(Error::InvalidCertificate(CertificateError::Revoked)) => "client-certificate-revoked",
            Some(Error::InvalidCertificate(_)) => "client-certificate-refused",
            // The client does not like what it was shown.
            Some(Error::AlertReceived(_)) => "client-alert",
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "nothing-in-common",
            Some(_) => "protocol-error",
            None => "broken-off",
        }
    }
}

impl Handshake {
    /// A handshake as it would be, for explanations; none of the listener's when the default credential is shown.
    pub(crate) fn assumed(
        sni: Option<&str>,
        listener: Option<(Arc<str>, &TlsListener)>,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        let told = listener.as_ref().and_then(|(_, tls)| told::told(&chain, tls));
        let listener = listener.map(|(name, _)| name);
        Self { sni: sni.map(Rc::from), listener, chain, resumed: false, told, verified: Cell::new(None) }
    }

    /// Whether the client would be accepted today (decision 3). A chain that passed is verified again when the
    /// verification changes, and now and then, as certificates and revocation lists expire.
    #[must_use]
    pub fn still_satisfies(&self, verification: &Option<Verification>) -> bool {
        let Some(verification) = verification else { return true };
        let fresh =
            |(digest, when): ([u8; 32], Instant)| digest == verification.digest && when.elapsed() < VERIFIED_FOR;
        if self.verified.get().is_some_and(fresh) {
            return true;
        }
        let accepted = verification.verify(&self.chain).is_ok();
        if accepted {
            self.verified.set(Some((verification.digest, Instant::now())));
        }
        accepted
    }
}

/// Does a server's handshake on `stream`, unless its TLS is for somebody else.
///
/// # Errors
/// [`Refused`]; the client has been told by an alert.
pub async fn accept(socket: &Socket, mut stream: Stream) -> Result<Accepted, Refused> {
    if socket.some_sealed {
        stream.keep();
    }
    let mut acceptor = Box::pin(LazyConfigAcceptor::new(Acceptor::default(), stream));
    let mut start = match acceptor.as_mut().await {
        Ok(start) => start,
        Err(error) => {
            if let Some(mut stream) = acceptor.take_io() {
                drain(&mut stream).await;
            }
            return Err(Refused::NoHello(error));
        }
    };
    let sni = start.client_hello().server_name().map(normalise_sni);
    let listener = socket.for_sni(sni.as_deref());
    if socket.some_sealed {
        let sent = start.io.take_kept();
        if let Some(listener) = listener.filter(|listener| listener.traffic == Traffic::Sealed) {
            let name = Arc::clone(&listener.name);
            if let Some(why) = &listener.refused {
                close(&mut start.io).await;
                return Err(Refused::Unable { listener: name, sni, why: why.clone() });
            }
            return Ok(Accepted::Sealed(Sealed { stream: start.io, sent, sni: sni.map(Rc::from), listener: name }));
        }
    }
    let (config, name, verification) = match listener {
        Some(listener) => match listener.tls_config() {
            Ok(config) => {
                let verification = listener.tls.as_ref().and_then(|tls| tls.verification.as_ref());
                (config, Some(Arc::clone(&listener.name)), verification.map(|verification| verification.digest))
            }
            Err(why) => {
                Alert::InternalError.send(&mut start.io).await;
                return Err(Refused::Unable { listener: Arc::clone(&listener.name), sni, why });
            }
        },
        None => match &socket.default_tls {
            Some(config) => (Arc::clone(config), None, None),
            None => {
                if socket.some_http {
                    Alert::UnrecognizedName.send(&mut start.io).await;
                } else {
                    close(&mut start.io).await;
                }
                return Err(Refused::UnknownName { sni, hosts: socket.names() });
            }
        },
    };
    let config = match listener {
        Some(listener) if listener.traffic == Traffic::Bytes => without_alpn(config, &start.client_hello()),
        _ => config,
    };
    match start.into_stream(config).into_fallible().await {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let chain: Vec<_> =
                session.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
            let told = listener.and_then(|listener| told::told(&chain, listener.tls.as_ref()?));
            let sni = sni.map(Rc::from);
            // A resumed session brings the chain along without verifying it: the first request does.
            let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
            let verified = verification.filter(|_| !resumed).map(|digest| (digest, Instant::now()));
            let handshake = Handshake { sni, listener: name, chain, resumed, told, verified: Cell::new(verified) };
            Ok(Accepted::Opened(Box::new(stream), handshake))
        }
        Err((error, mut stream)) => {
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            drain(&mut stream).await;
            Err(Refused::Failed { listener: name, sni, error })
        }
    }
}

/// A client whose bytes are nobody's concern here may speak what nobody here knows: it is not refused for that.
fn without_alpn(config: Arc<ServerConfig>, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
    let known = |name: &[u8]| config.alpn_protocols.iter().any(|known| known == name);
    if hello.alpn().is_none_or(|mut offered| offered.any(known)) {
        return config;
    }
    let mut config = ServerConfig::clone(&config);
    config.alpn_protocols.clear();
    Arc::new(config)
}

/// Lower case, without a trailing dot.
pub(super) fn normalise_sni(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}
