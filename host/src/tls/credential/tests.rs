use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, SignatureScheme};

use super::super::x509::rig::{Random, after, connect, files, provider, trusting_anything};
use super::*;

const CA: &str = "example_certs1/example.com";
const SERVER: &str = "example_certs1/httpbin.example.com";

fn key(name: &str) -> Key {
    match files().key(name) {
        PrivateKeyDer::Pkcs1(der) => Key::Pkcs1(der.secret_pkcs1_der().to_vec()),
        PrivateKeyDer::Pkcs8(der) => Key::Pkcs8(der.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Sec1(der) => Key::Sec1(der.secret_sec1_der().to_vec()),
        _ => panic!("a new kind of key"),
    }
}

fn v1(name: &str) -> Vec<u8> {
    files().v1(name, CA).to_vec()
}

fn v3(name: &str) -> Vec<u8> {
    files().certificate(name).to_vec()
}

fn load(chain: &[Vec<u8>], key: Key) -> Result<Credential, CredentialError> {
    Credential::load(chain, key, None, provider())
}

fn fault(chain: &[Vec<u8>], key: Key) -> String {
    load(chain, key).unwrap_err().to_string()
}

#[test]
fn the_founding_credential() {
    let made = Credential::load(&[v1(SERVER)], key(SERVER), Some(b"staple".to_vec()), provider()).unwrap();
    assert_eq!(made.certified.cert[0].to_vec(), v1(SERVER));
    assert_eq!(made.certified.ocsp.as_deref(), Some(&b"staple"[..]));
    assert_eq!(made.summary.names, ["httpbin.example.com"]);
    assert_eq!(made.lints(after(0)), [Lint::Version1]);
}

#[test]
fn every_kind_of_key_and_encoding() {
    for name in ["p256", "p384", "p521", "ed25519"] {
        load(&[v1(name)], key(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    load(&[v1("p256")], key("p256.sec1")).unwrap();
    load(&[v1("example_certs1/client.example.com")], key("client.pkcs1")).unwrap();
    load(&[v3("client3")], key("p256")).unwrap();
}

#[test]
fn what_cannot_be_served_says_why() {
    assert_eq!(fault(&[], key("p256")), "there is no certificate");
    assert_eq!(fault(&[v3("client3"), vec![0x30, 0]], key("p256")), "certificate 2 of the chain cannot be read");
    assert_eq!(
        fault(&[v1(SERVER)], key("p256")),
        "the private key does not belong to the certificate of \"O=httpbin organization,CN=httpbin.example.com\", nor to \
         another of the chain"
    );
    assert!(fault(&[v1(SERVER)], key("example_certs2/httpbin.example.com")).contains("does not belong"));
    for name in ["rsa1024", "rsa1024.pkcs1"] {
        assert_eq!(fault(&[v1("rsa1024")], key(name)), "the RSA key has 1024 bits; at least 2048 are needed");
    }
    for (name, kind) in [("ed448", "Ed448"), ("secp256k1", "ECDSA secp256k1"), ("secp256k1.sec1", "ECDSA secp256k1")] {
        let text = fault(&[v1(SERVER)], key(name));
        assert!(
            text.starts_with(&format!("the private key is of a kind that cannot be used here: {kind} (")),
            "{text}"
        );
    }
    for (key, encoding) in [
        (Key::Pkcs1(b"no".to_vec()), "PKCS #1"),
        (Key::Pkcs8(Vec::new()), "PKCS #8"),
        (Key::Sec1(vec![0x30, 0]), "SEC 1"),
        (Key::Pkcs8(relabel(key("client.pkcs1"))), "PKCS #8"),
        (Key::Sec1(relabel(key("p256"))), "SEC 1"),
    ] {
        assert_eq!(fault(&[v1(SERVER)], key), format!("the private key cannot be read as {encoding}"));
    }
}

fn relabel(key: Key) -> Vec<u8> {
    match key {
        Key::Pkcs1(der) | Key::Pkcs8(der) | Key::Sec1(der) => der,
    }
}

#[test]
fn a_key_never_shows_itself() {
    assert_eq!(format!("{:?}", key("p256")), "Key(PKCS #8)");
    let random: String = (0..32).map(|_| 'k').collect();
    let text = fault(&[v1(SERVER)], Key::Pkcs8(random.into_bytes()));
    assert!(!text.contains("kkk"));
}

#[test]
fn mutated_keys_never_panic() {
    let mut random = Random(5);
    for name in ["p256", "p256.sec1", "ed25519", "client.pkcs1"] {
        for _ in 0..300 {
            let mut key = key(name);
            let (Key::Pkcs1(der) | Key::Pkcs8(der) | Key::Sec1(der)) = &mut key;
            random.mutate(der);
            let _ = load(&[v3("client3")], key);
        }
    }
}

#[test]
fn dates_are_lints() {
    let made = load(&[v3("client3"), v3("inter")], key("p256")).unwrap();
    let is_date =
        |lint: &Lint| matches!(lint, Lint::NotYetValid { .. } | Lint::ExpiresSoon { .. } | Lint::Expired { .. });
    let dates = |days| made.lints(after(days)).into_iter().filter(is_date);
    assert_eq!(dates(1).count(), 0);
    assert!(dates(-1).all(|lint| matches!(lint, Lint::NotYetValid { .. })) && dates(-1).count() == 2);
    assert!(dates(340).all(|lint| matches!(lint, Lint::ExpiresSoon { .. })) && dates(340).count() == 2);
    assert!(dates(366).all(|lint| matches!(lint, Lint::Expired { .. })) && dates(366).count() == 2);
    let lasts = |days| made.lints_last(after(days)).map(|lasts| (lasts.as_secs() + 43_200) / 86_400);
    assert_eq!([-1, 1, 340, 366].map(lasts), [Some(1), Some(334), Some(25), None]);
    let text = dates(366).next().unwrap().to_string();
    assert!(text.starts_with("the certificate of \"CN=p256\" expired at 20"), "{text}");
}

#[test]
fn the_chain_is_put_in_order() {
    let leaf = || v3("server-by-inter");
    let sent = |chain: &[Vec<u8>]| {
        let made = load(chain, key("p256")).unwrap();
        (made.certified.cert.iter().map(|der| der.to_vec()).collect::<Vec<_>>(), made.lints(after(1)))
    };
    let right = [leaf(), v3("inter"), v3(CA)];
    assert_eq!(sent(&right), (right.to_vec(), vec![]));
    assert_eq!(sent(&right[..2]), (right[..2].to_vec(), vec![]));
    assert_eq!(sent(&[v3(CA), v3("inter"), leaf()]), (right.to_vec(), vec![Lint::LeafNotFirst { index: 2 }]));
    assert_eq!(sent(&[leaf(), v3(CA), v3("inter")]), (right.to_vec(), vec![Lint::ChainOrder { index: 1 }]));
    let stranger = [leaf(), v3("inter"), v3("good")];
    let gap = |index, subject: &str, end: &str, issuer: &str| {
        let (subject, end, issuer) = (subject.to_owned(), end.to_owned(), issuer.to_owned());
        vec![Lint::ChainGap { index, subject, end, issuer }]
    };
    let root = "CN=example.com,O=example Inc.";
    assert_eq!(sent(&stranger), (stranger.to_vec(), gap(2, "CN=odd", "CN=inter", root)));
    assert_eq!(sent(&[leaf(), v3(CA)]).1, gap(1, root, "CN=p256", "CN=inter"));
    let twice = [leaf(), leaf()];
    assert_eq!(sent(&twice).0, twice);
}

/// What is said of a chain whose leaf has the key of `p256`, but for dates.
fn lints(chain: &[&str]) -> Vec<Lint> {
    let chain: Vec<_> = chain.iter().map(|name| v3(name)).collect();
    load(&chain, key("p256")).unwrap().lints(after(1))
}

#[test]
fn what_clients_refuse_is_said_once() {
    let none: [Lint; 0] = [];
    let subject = || "CN=p256".to_owned();
    assert_eq!(lints(&["server3"]), none, "by a private authority that need not be sent");
    assert_eq!(lints(&["server3", CA]), none);
    assert_eq!(lints(&["any"]), [Lint::WithoutNames { common_name: None }], "for any purpose, but no host");
    assert_eq!(lints(&["nameless"]), [Lint::WithoutNames { common_name: Some("p256".to_owned()) }]);
    assert_eq!(lints(&["client3"]), [Lint::NotForServers]);
    assert_eq!(lints(&["authority"]), [Lint::Authority]);
    assert_eq!(lints(&["alone"]), [Lint::SelfSigned]);
    assert_eq!(lints(&["alone-authority"]), [Lint::Authority]);
    assert_eq!(lints(&["alone-sha1"]), [Lint::SelfSigned], "nobody verifies what a root says of itself");
    assert_eq!(lints(&["sha1-3"]), [Lint::BrokenHash { subject: subject(), hash: "SHA-1" }]);
    let inter = [Lint::BrokenHash { subject: "CN=inter".to_owned(), hash: "SHA-1" }];
    assert_eq!(lints(&["server-by-inter", "inter-sha1", CA]), inter);
    let small = "CN=rsa1024".to_owned();
    assert_eq!(lints(&["server-by-small", "rsa1024"]), [Lint::SmallRsa { subject: small, bits: 1024 }]);
}

#[test]
fn an_intermediate_is_missed_where_it_can_be_fetched() {
    let missing = Lint::MissingIntermediate { issuer: "CN=inter".to_owned(), url: "http://ca.example/".to_owned() };
    assert_eq!(lints(&["fetchable"]), [missing]);
    assert_eq!(lints(&["fetchable", "inter"]), []);
    let fetchable = v3("fetchable");
    let leaf = [Certificate::parse(&fetchable).unwrap()];
    let known = |name: &[u8]| name == Certificate::parse(&v3("inter")).unwrap().subject();
    assert_eq!(lint::of_chain(&leaf, &[0], 1, known), [], "clients know an authority of the system");
}

#[test]
fn hosts_are_names_or_else_the_common_name() {
    let hosts = |chain: &[Vec<u8>], key| load(chain, key).unwrap().hosts;
    let full = ["client.example.com", "*.example.net", "192.0.2.7", "2001:db8::7"];
    assert_eq!(hosts(&[v3("full")], key("p256")), full);
    assert_eq!(hosts(&[v1(SERVER)], key(SERVER)), ["httpbin.example.com"]);
    assert!(hosts(&[v3("any")], key("p256")).is_empty(), "names of another kind leave the common name out");
}

/// The leaf that a client of these abilities is shown.
fn shown(names: &[&str], schemes: &[SignatureScheme], version: &'static rustls::SupportedProtocolVersion) -> Vec<u8> {
    let keys = names.iter().map(|name| load(&[v1(name)], key(name)).unwrap().certified).collect();
    let server = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(CertificateResolver::new(keys).unwrap()));
    let client = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(trusting_anything(schemes))
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    assert_eq!(connect(&mut client, &mut server), (Ok(()), Ok(())));
    client.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn the_certificate_follows_the_client() {
    use SignatureScheme as S;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let rsa_first = [SERVER, "p256"];
        assert_eq!(shown(&rsa_first, &[S::RSA_PSS_SHA256, S::ECDSA_NISTP256_SHA256], version), v1("p256"));
        assert_eq!(shown(&rsa_first, &[S::RSA_PSS_SHA256], version), v1(SERVER));
        assert_eq!(shown(&["p384", "p256"], &[S::ECDSA_NISTP256_SHA256], version), v1("p256"));
        assert_eq!(
            shown(&["p384", "p256"], &[S::ECDSA_NISTP256_SHA256, S::ECDSA_NISTP384_SHA384], version),
            v1("p384")
        );
        assert_eq!(shown(&[SERVER], &[S::RSA_PSS_SHA512, S::ECDSA_NISTP256_SHA256], version), v1(SERVER));
    }
    assert!(CertificateResolver::new(Vec::new()).is_none());
}

#[test]
fn rcgen_and_openssl_agree() {
    let pair = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from_pem_slice(pair.signing_key.serialize_pem().as_bytes()).unwrap();
    let made = load(&[pair.cert.der().to_vec()], Key::Pkcs8(key.secret_pkcs8_der().to_vec())).unwrap();
    assert_eq!((made.summary.names.as_slice(), made.summary.version), (&["a.example.com".to_owned()][..], 3));
}
