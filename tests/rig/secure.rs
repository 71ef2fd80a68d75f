//! A backend that says how it was reached: by which TLS, by whose word.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Pair;

/// A small HTTP/1.1 server. Each answer has a line for each thing that it knows: `instance`, `sni`, `alpn`,
/// `client-certificate`, and `proxy` where the connection began with the PROXY protocol.
#[derive(Debug)]
pub struct Told {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    requests: Arc<AtomicUsize>,
}

impl Told {
    /// In the clear.
    #[must_use]
    pub fn start(instance: &str) -> Self {
        Self::serve(instance, None)
    }

    /// Over TLS with this certificate; clients must show one of `clients`, if given.
    #[must_use]
    pub fn start_tls(instance: &str, shown: &Pair, clients: Option<&Path>) -> Self {
        Self::serve(instance, Some(server_config(shown, clients)))
    }

    fn serve(instance: &str, config: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("127.0.0.1 is everywhere");
        let address = listener.local_addr().expect("it is bound");
        let told = Self { address, status: Arc::new(AtomicU16::new(200)), requests: Arc::default() };
        let (status, requests) = (Arc::clone(&told.status), Arc::clone(&told.requests));
        let instance = instance.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (status, requests) = (Arc::clone(&status), Arc::clone(&requests));
                let (instance, config) = (instance.clone(), config.clone());
                // An error here is the peer's business: the test sees it on its side.
                std::thread::spawn(move || {
                    let count = || {
                        requests.fetch_add(1, Ordering::SeqCst);
                        status.load(Ordering::SeqCst)
                    };
                    drop(match config {
                        None => talk(stream, &format!("instance: {instance}\n"), count),
                        Some(config) => secured(stream, &config, &instance, count),
                    });
                });
            }
        });
        told
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

/// A TLS server that speaks HTTP/1.1; clients must show one of `clients`, if given.
pub(crate) fn server_config(shown: &Pair, clients: Option<&Path>) -> Arc<ServerConfig> {
    let read = |file: &Path| -> Vec<CertificateDer<'static>> {
        let certificates = CertificateDer::pem_file_iter(file).expect("a file of certificates");
        certificates.map(|certificate| certificate.expect("a certificate")).collect()
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has them");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            read(file).into_iter().for_each(|root| roots.add(root).expect("an authority"));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::from_pem_file(&shown.key).expect("a key");
    let mut config = builder.with_single_cert(read(&shown.certificate), key).expect("a pair");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

fn secured(
    mut socket: TcpStream,
    config: &Arc<ServerConfig>,
    instance: &str,
    count: impl Fn() -> u16,
) -> io::Result<()> {
    let mut server = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    while server.is_handshaking() {
        server.complete_io(&mut socket)?;
    }
    let facts = format!(
        "instance: {instance}\nsni: {}\nalpn: {}\nclient-certificate: {}\n",
        server.server_name().unwrap_or("none"),
        String::from_utf8_lossy(server.alpn_protocol().unwrap_or(b"none")),
        server.peer_certificates().is_some(),
    );
    talk(StreamOwned::new(server, socket), &facts, count)
}

fn talk(stream: impl Read + Write, facts: &str, count: impl Fn() -> u16) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut proxy = String::new();
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if head.is_empty() && line.starts_with("PROXY ") {
                proxy = format!("proxy: {}\n", line.trim());
            } else {
                head.push_str(&line);
            }
        }
        let status = count();
        let body = format!("{facts}{proxy}");
        let writer = reader.get_mut();
        write!(writer, "HTTP/1.1 {status} -\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        writer.flush()?;
    }
}
