use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::credential::{CertificateResolver, Credential, Key};
use super::super::x509::rig::{files, provider};
use super::*;
use crate::object::ObjectKey;

/// The authorities of the founding task, both of one name.
const CA: &str = "example_certs1/example.com";
const OTHER: &str = "example_certs2/example.com";
/// Of version 1, by the first.
const V1: &str = "example_certs1/httpbin.example.com";
const HOST: &str = "httpbin.example.com";

fn trust(names: &[&str], crls: &[&str]) -> Vec<Arc<TrustMaterial>> {
    let anchors: Vec<CertificateDer<'static>> = names.iter().map(|name| files().certificate(name)).collect();
    let crls: Vec<CertificateRevocationListDer<'static>> = crls.iter().map(|name| files().crl(name)).collect();
    vec![Arc::new(TrustMaterial { source: ObjectKey::core("Secret", "a", "ca"), anchors, crls })]
}

fn spec<'s>(trust: &'s [Arc<TrustMaterial>], identity: &'s UpstreamIdentity) -> ClientSpec<'s> {
    ClientSpec { sni: Some(HOST), trust, identity, credential: None }
}

fn client(spec: &ClientSpec<'_>) -> Arc<TlsClient> {
    TlsClients::default().client(spec).unwrap()
}

/// What a server is: the chain it shows, whether it asks for a client certificate, the newest TLS that it knows.
struct Server<'s> {
    chain: &'s [&'s str],
    key: &'s str,
    clients: Option<ClientVerifier>,
    tls12: bool,
    alpn: &'s [&'s [u8]],
}

fn server<'s>(chain: &'s [&'s str], key: &'s str) -> Server<'s> {
    Server { chain, key, clients: None, tls12: false, alpn: &[] }
}

impl Server<'_> {
    fn config(self) -> Arc<ServerConfig> {
        let chain =
            self.chain.iter().map(|name| if *name == V1 { files().v1(V1, CA) } else { files().certificate(name) });
        let shown = files().certified(chain.collect(), self.key);
        let versions = if self.tls12 { &[&TLS12][..] } else { &[&TLS13, &TLS12] };
        let builder = ServerConfig::builder_with_provider(Arc::clone(provider())).with_protocol_versions(versions);
        let builder = match self.clients {
            Some(verifier) => {
                builder.unwrap().with_client_cert_verifier(Arc::new(verifier) as Arc<dyn ClientCertVerifier>)
            }
            None => builder.unwrap().with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(CertificateResolver::new(vec![shown]).unwrap()));
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

/// What came of some connections one after the other: what was agreed on and whether the session was resumed.
type Met = Result<(Option<Vec<u8>>, Option<String>, bool), String>;

/// What a client knows of that.
type Heard = (Option<Vec<u8>>, bool);

fn meet(client: &TlsClient, server: Arc<ServerConfig>, offer: Offer, times: usize) -> Vec<Met> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut names = Vec::new();
            for _ in 0..times {
                let (stream, _) = listener.accept().await.unwrap();
                let accepted = TlsAcceptor::from(Arc::clone(&server)).accept(stream).await;
                names.push(accepted.as_ref().ok().and_then(|s| s.get_ref().1.server_name().map(str::to_owned)));
                if let Ok(mut stream) = accepted {
                    let _ = stream.write_all(b"hello").await;
                    let _ = stream.shutdown().await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                }
            }
            names
        });
        let mut met: Vec<Result<Heard, String>> = Vec::new();
        for _ in 0..times {
            let stream = Stream::new(TcpStream::connect(address).await.unwrap()).unwrap();
            met.push(match client.connect(stream, address.ip(), offer).await {
                Ok(mut stream) => {
                    let mut hello = Vec::new();
                    let read = stream.read_to_end(&mut hello).await;
                    let connection = stream.get_ref().1;
                    let resumed = connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                    let agreed = connection.alpn_protocol().map(<[u8]>::to_vec);
                    match read {
                        Ok(_) => Ok((agreed, resumed)),
                        Err(error) => Err(error.to_string()),
                    }
                }
                Err(why) => Err(why),
            });
        }
        let names = serving.await.unwrap();
        met.into_iter().zip(names).map(|(met, name)| met.map(|(agreed, resumed)| (agreed, name, resumed))).collect()
    })
}

fn once(client: &TlsClient, server: Arc<ServerConfig>) -> Met {
    meet(client, server, Offer::Nothing, 1).remove(0)
}

#[test]
fn endpoints_are_who_they_must_be() {
    let name = |name: &str| UpstreamIdentity::Name(name.to_owned());
    let any_of = |names: &[&str]| UpstreamIdentity::AnyOf(names.iter().map(|name| (*name).to_owned()).collect());
    let full = "spiffe://cluster.local/ns/a/sa/b";
    for (trusted, identity, chain, key, refused) in [
        (&[CA][..], name(HOST), &["server3"][..], "p256", None),
        (&[CA], UpstreamIdentity::Unchecked, &["server3"], "p256", None),
        (&[CA], any_of(&["x", HOST]), &["server3"], "p256", None),
        (&[CA], name("other.example.com"), &["server3"], "p256", Some("it is for httpbin.example.com, not for other")),
        (&[CA], any_of(&["httpbin.example"]), &["server3"], "p256", Some("not for httpbin.example")),
        (&[CA], any_of(&[full]), &["server3"], "p256", Some(full)),
        // An authority of the same name and with another key.
        (&[OTHER], name(HOST), &["server3"], "p256", Some("its signature is wrong")),
        (&[OTHER], UpstreamIdentity::Unchecked, &["server3"], "p256", Some("its signature is wrong")),
        (&["alone-authority"], name(HOST), &["server3"], "p256", Some("its issuer is none of the authorities")),
        // Made for clients.
        (&[CA], UpstreamIdentity::Unchecked, &["client3"], "p256", Some("serverAuth")),
        (&[CA], UpstreamIdentity::Unchecked, &["server-by-inter", "inter"], "p256", None),
        (&[CA], UpstreamIdentity::Unchecked, &["server-by-inter"], "p256", Some("its issuer is none")),
        // Version 1, which the founding task makes: there is no name in it.
        (&[CA], UpstreamIdentity::Unchecked, &[V1], V1, None),
        (&[OTHER], UpstreamIdentity::Unchecked, &[V1], V1, Some("its issuer is none")),
        (&[CA], name(HOST), &[V1], V1, Some("nobody by name (no subject alternative name)")),
        // One that is trusted by itself.
        (&["alone-authority"], name("a.example.com"), &["alone-authority"], "p256", None),
        (&["alone-authority"], name("b.example.com"), &["alone-authority"], "p256", Some("not for b.example.com")),
    ] {
        let trust = trust(trusted, &[]);
        for tls12 in [false, true] {
            let met = once(&client(&spec(&trust, &identity)), Server { tls12, ..server(chain, key) }.config());
            match (met, refused) {
                (Ok(_), None) => {}
                (Err(why), Some(refused)) if why.contains(refused) => {}
                (met, refused) => panic!("{chain:?} as {identity:?} by {trusted:?}: {met:?}, not {refused:?}"),
            }
        }
    }
}

#[test]
fn without_an_authority_whoever_answers_is_taken() {
    let client = client(&spec(&[], &UpstreamIdentity::Unchecked));
    for (chain, key) in [("server3", "p256"), (V1, V1), ("alone", "p256")] {
        assert!(once(&client, server(&[chain], key).config()).is_ok(), "{chain}");
    }
    let stolen = once(&client, server(&["server3"], "p384").config());
    assert!(stolen.is_err(), "the key must be the certificate's all the same");
}

#[test]
fn revocation_lists_count_for_endpoints_too() {
    let identity = UpstreamIdentity::Unchecked;
    let listed = once(&client(&spec(&trust(&[CA], &["one"]), &identity)), server(&["server3"], "p256").config());
    assert!(listed.is_ok(), "another serial number: {listed:?}");
    let unknown = once(&client(&spec(&trust(&[CA], &["others"]), &identity)), server(&["server3"], "p256").config());
    assert!(unknown.unwrap_err().contains("revocation"));
}

#[test]
fn a_certificate_is_shown_where_one_is_asked_for() {
    let key = Key::Pkcs8(files().key("p256").secret_der().to_vec());
    let credential = Credential::load(&[files().certificate("client3").to_vec()], key, None, provider()).unwrap();
    let material = CredentialMaterial { credential, source: ObjectKey::core("Secret", "a", "client"), digest: [7; 32] };
    let trust = trust(&[CA], &[]);
    let identity = UpstreamIdentity::Unchecked;
    let with = client(&ClientSpec { credential: Some(&material), ..spec(&trust, &identity) });
    let without = client(&spec(&trust, &identity));
    for tls12 in [false, true] {
        let asking = |alpn| {
            let clients = Some(chains(&trust).unwrap());
            Server { clients, tls12, alpn, ..server(&["server3"], "p256") }.config()
        };
        assert!(once(&with, asking(&[])).is_ok());
        let refused = once(&without, asking(&[])).unwrap_err();
        assert!(refused.contains("client certificate") || refused.contains("CertificateRequired"), "{refused}");
    }
}

#[test]
fn what_is_offered_can_be_agreed_on() {
    let identity = UpstreamIdentity::Unchecked;
    let client = client(&spec(&[], &identity));
    let both: &[&[u8]] = &[b"http/1.1", b"h2"];
    for (offer, agreed) in [
        (Offer::Nothing, None),
        (Offer::Http1, Some(&b"http/1.1"[..])),
        (Offer::Http2, Some(b"h2")),
        // The server chooses.
        (Offer::Either, Some(b"http/1.1")),
    ] {
        let config = Server { alpn: both, ..server(&["server3"], "p256") }.config();
        let (got, name, _) = meet(&client, config, offer, 1).remove(0).unwrap();
        assert_eq!(got.as_deref(), agreed, "{offer:?}");
        assert_eq!(name.as_deref(), Some(HOST));
    }
    let only1 = Server { alpn: &[b"http/1.1"], ..server(&["server3"], "p256") }.config();
    assert!(meet(&client, only1, Offer::Http2, 1).remove(0).is_err());
}

#[test]
fn sessions_are_resumed_and_no_name_is_sent_where_none_is_wanted() {
    let identity = UpstreamIdentity::Unchecked;
    let trust = trust(&[CA], &[]);
    let client = client(&ClientSpec { sni: None, ..spec(&trust, &identity) });
    let met = meet(&client, server(&["server3"], "p256").config(), Offer::Nothing, 2);
    let resumed: Vec<bool> = met
        .into_iter()
        .map(|met| met.unwrap())
        .map(|(_, name, resumed)| {
            assert_eq!(name, None);
            resumed
        })
        .collect();
    assert_eq!(resumed, [false, true]);
}

#[test]
fn the_same_content_is_the_same_client_for_as_long_as_it_is_used() {
    let mut clients = TlsClients::default();
    let (first, second) = (trust(&[CA], &[]), trust(&[OTHER], &[]));
    let identity = UpstreamIdentity::Unchecked;
    let named = UpstreamIdentity::Name(HOST.to_owned());
    clients.begin();
    let one = clients.client(&spec(&first, &identity)).unwrap();
    assert!(Arc::ptr_eq(&one, &clients.client(&spec(&first, &identity)).unwrap()));
    let ids = [
        one.id,
        clients.client(&spec(&second, &identity)).unwrap().id,
        clients.client(&spec(&first, &named)).unwrap().id,
        clients.client(&spec(&[], &identity)).unwrap().id,
        clients.client(&ClientSpec { sni: None, ..spec(&first, &identity) }).unwrap().id,
    ];
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    clients.finish();
    clients.begin();
    clients.finish();
    clients.begin();
    assert_ne!(clients.client(&spec(&first, &identity)).unwrap().id, one.id, "what is not used is forgotten");
}

#[test]
fn what_cannot_be_is_told() {
    let mut clients = TlsClients::default();
    let trust = trust(&[CA], &[]);
    let identity = UpstreamIdentity::Name("not a host".to_owned());
    assert!(clients.client(&spec(&trust, &identity)).unwrap_err().contains("`not a host` is no host name"));
    let identity = UpstreamIdentity::Unchecked;
    let odd = ClientSpec { sni: Some("a b"), ..spec(&trust, &identity) };
    assert!(clients.client(&odd).unwrap_err().contains("`a b` is no host name"));
    let none = self::trust(&[], &[]);
    assert!(clients.client(&spec(&none, &identity)).unwrap_err().contains("no certificate authority"));
}

#[test]
fn an_endpoint_in_the_clear_is_told_from_others() {
    let client = client(&spec(&[], &UpstreamIdentity::Unchecked));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let why = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let stream = Stream::new(TcpStream::connect(address).await.unwrap()).unwrap();
        client.connect(stream, address.ip(), Offer::Http1).await.unwrap_err()
    });
    assert!(why.contains("no TLS"), "{why}");
}
