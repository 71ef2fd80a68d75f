use std::slice;

use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use super::super::credential::CertificateResolver;
use super::super::x509::der::tag;
use super::super::x509::rig::{Random, after, connect, files, frame, provider, trusting_anything, v1_contents, value};
use super::*;

type Der = CertificateDer<'static>;

/// The authorities of the founding task, both of one name.
const CA: &str = "example_certs1/example.com";
const OTHER: &str = "example_certs2/example.com";
const CLIENT: &str = "example_certs1/client.example.com";
const SERVER: &str = "example_certs1/httpbin.example.com";
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn policy() -> ClientPolicy {
    ClientPolicy {
        no_certificate: Verdict::Refuse,
        untrusted: Verdict::Refuse,
        names: Vec::new(),
        pins: Vec::new(),
        max_depth: None,
        version1: Verdict::Accept,
    }
}

fn make(anchors: &[Der], crls: &[&str], policy: ClientPolicy) -> Result<ClientVerifier, TrustError> {
    let crls: Vec<_> = crls.iter().map(|name| files().crl(name)).collect();
    ClientVerifier::new(anchors, &crls, policy, provider())
}

fn trusting(anchors: &[&str], crls: &[&str]) -> ClientVerifier {
    make(&ders(anchors), crls, policy()).unwrap()
}

fn ders(names: &[&str]) -> Vec<Der> {
    names.iter().map(|name| files().certificate(name)).collect()
}

/// The version 1 leaf of an authority.
fn v1(name: &str, issuer: &str) -> Der {
    files().v1(name, issuer)
}

fn client() -> Der {
    v1(CLIENT, CA)
}

/// What both ways of asking say, in a word: `Ok`, or the alert that a client would get.
fn judge_at(verifier: &ClientVerifier, chain: &[Der], now: UnixTime) -> String {
    let direct = verifier.verify_client_cert(&chain[0], &chain[1..], now).map(|_| ());
    assert_eq!(format!("{direct:?}"), format!("{:?}", verifier.verify(chain, now)));
    match direct {
        Ok(()) => "Ok".to_owned(),
        Err(Error::InvalidCertificate(error)) => format!("{:?}", AlertDescription::from(error)),
        Err(other) => panic!("an error without an alert of its own: {other}"),
    }
}

fn judge(verifier: &ClientVerifier, chain: &[Der]) -> String {
    judge_at(verifier, chain, after(0))
}

/// A whole handshake: the server's error, and the alert that the client heard.
fn shake(
    verifier: ClientVerifier,
    key: Option<Arc<CertifiedKey>>,
    version: &'static SupportedProtocolVersion,
) -> Result<(), (Error, AlertDescription)> {
    let shown = files().certified(vec![v1(SERVER, CA)], SERVER);
    let server = ServerConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(CertificateResolver::new(vec![shown]).unwrap()));
    let client = ClientConfig::builder_with_provider(Arc::clone(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(trusting_anything(
            &provider().signature_verification_algorithms.supported_schemes(),
        ));
    let client = match key {
        Some(key) => client.with_client_cert_resolver(Arc::new(Stubborn(key.into()))),
        None => client.with_no_client_auth(),
    };
    let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    match connect(&mut client, &mut server) {
        (Ok(()), Ok(())) => {
            assert!(!client.is_handshaking() && !server.is_handshaking());
            Ok(())
        }
        (Err(error), Err(Error::AlertReceived(alert))) => Err((error, alert)),
        other => panic!("{other:?}"),
    }
}

/// Shows its certificate whoever the server says it trusts.
#[derive(Debug)]
struct Stubborn(SingleCertAndKey);

impl ResolvesClientCert for Stubborn {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn alert(verifier: impl Fn() -> ClientVerifier, chain: &[Der], key: &str) -> String {
    let alerts =
        VERSIONS.map(|version| match shake(verifier(), Some(files().certified(chain.to_vec(), key)), version) {
            Ok(()) => "Ok".to_owned(),
            Err((_, alert)) => format!("{alert:?}"),
        });
    assert_eq!(alerts[0], alerts[1], "TLS 1.2 and 1.3 differ");
    alerts[0].clone()
}

/// The founding client with another validity, in whole days.
fn bent(from: &str, to: &str) -> Der {
    files().bent(&client(), CA, 3, valid(from, to))
}

fn valid(from: &str, to: &str) -> Vec<u8> {
    let time = |text: &str| value(tag::UTC_TIME, text.as_bytes());
    value(tag::SEQUENCE, &[time(from), time(to)].concat())
}

// ---- the founding task ----

#[test]
fn the_founding_client_is_let_in() {
    let trusting = || trusting(&[CA], &[]);
    let root = files().certificate(CA);
    for chain in [vec![client()], vec![client(), root.clone()], vec![client(), root.clone(), root]] {
        assert_eq!(judge(&trusting(), &chain), "Ok");
        assert_eq!(alert(trusting, &chain, CLIENT), "Ok");
    }
    // The server's certificate is one of version 1 too, so nothing says that it is no client's.
    assert_eq!(judge(&trusting(), &[v1(SERVER, CA)]), "Ok");
}

#[test]
fn no_certificate() {
    for version in VERSIONS {
        let (error, heard) = shake(trusting(&[CA], &[]), None, version).unwrap_err();
        assert_eq!((error, heard), (Error::NoCertificatesPresented, AlertDescription::CertificateRequired));
        let optional =
            || make(&ders(&[CA]), &[], ClientPolicy { no_certificate: Verdict::Accept, ..policy() }).unwrap();
        assert_eq!(shake(optional(), None, version), Ok(()));
        assert_eq!(optional().verify(&[], after(0)), Ok(()));
        let untrusted = files().certified(vec![v1("impostor", OTHER)], CLIENT);
        let (_, heard) = shake(optional(), Some(untrusted), version).unwrap_err();
        assert_eq!(heard, AlertDescription::UnknownCA);
    }
    assert_eq!(trusting(&[CA], &[]).verify(&[], after(0)), Err(Error::NoCertificatesPresented));
}

#[test]
fn every_key_of_version_1_signs_in_both_versions() {
    for (name, wrong) in [(CLIENT, SERVER), ("p256", CLIENT), ("p384", "p256"), ("p521", "p384"), ("ed25519", "inter")]
    {
        let chain = [v1(name, CA)];
        assert_eq!(alert(|| trusting(&[CA], &[]), &chain, name), "Ok", "{name}");
        assert_eq!(alert(|| trusting(&[CA], &[]), &chain, wrong), "DecryptError", "{name}");
    }
}

// ---- hostile version 1 ----

#[test]
fn impostors_and_strangers() {
    let trusting = || trusting(&[CA], &[]);
    let other = files().certificate(OTHER);
    for (chain, key) in [
        (vec![v1("impostor", OTHER)], CLIENT),
        (vec![v1("impostor", OTHER), other.clone()], CLIENT),
        (vec![v1("self-signed", "p256")], "p256"),
        (vec![v1("odd", "good")], "p256"),
        (vec![client(), other], CLIENT),
        (vec![client(), files().certificate("client3")], CLIENT),
        (vec![client(), client()], CLIENT),
    ] {
        assert_eq!(judge(&trusting(), &chain), "UnknownCA");
        assert_eq!(alert(trusting, &chain, key), "UnknownCA");
    }
}

#[test]
fn both_authorities_of_one_name() {
    for anchors in [[CA, OTHER], [OTHER, CA]] {
        let trusting = trusting(&anchors, &[]);
        for chain in [client(), v1("impostor", OTHER), files().certificate("client3"), files().certificate("impostor3")]
        {
            assert_eq!(judge(&trusting, &[chain]), "Ok");
        }
        assert_eq!(trusting.root_hint_subjects().len(), 1);
    }
}

#[test]
fn dates_of_the_leaf() {
    let trusting = || trusting(&[CA], &[]);
    for (from, to) in
        [("200101000000Z", "210101000000Z"), ("490101000000Z", "491231000000Z"), ("490101000000Z", "200101000000Z")]
    {
        let chain = [bent(from, to)];
        assert_eq!(judge(&trusting(), &chain), "CertificateExpired");
        assert_eq!(alert(trusting, &chain, CLIENT), "CertificateExpired");
    }
    assert_eq!(judge(&trusting(), &[bent("200101000000Z", "491231000000Z")]), "Ok");
    let short = [v1("short", CA)];
    assert_eq!(judge(&trusting(), &short), "Ok");
    assert_eq!(judge_at(&trusting(), &short, after(2)), "CertificateExpired");
    assert_eq!(judge_at(&trusting(), &[client()], after(-1)), "CertificateExpired");
    let exact = [files().bent(&v1("odd", "good"), "good", 3, valid("300101000000Z", "300102000000Z"))];
    let long = trusting_der(&[files().certificate("good")]);
    for (at, expected) in [
        (1_893_455_999, "CertificateExpired"),
        (1_893_456_000, "Ok"),
        (1_893_542_400, "Ok"),
        (1_893_542_401, "CertificateExpired"),
    ] {
        assert_eq!(judge_at(&long, &exact, unix(at)), expected, "{at}");
    }
}

#[test]
fn weak_signatures_and_keys() {
    let trusting = || trusting(&[CA], &[]);
    let sha1 = value(tag::SEQUENCE, &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0]);
    let mut contents = v1_contents(&v1("p256", CA));
    contents[1].clone_from(&sha1);
    let mut chains =
        vec![(vec![frame(&contents.concat(), &sha1, &[0; 256])], "p256"), (vec![v1("rsa1024", CA)], "rsa1024")];
    let real = files().certificate("sha1");
    if Certificate::parse(&real).unwrap().is_v1() {
        chains.push((vec![real], "p256"));
    }
    for (chain, _) in &chains {
        assert_eq!(judge(&trusting(), chain), "DecryptError");
    }
    assert_eq!(alert(trusting, &chains[0].0, "p256"), "DecryptError");
    assert_eq!(judge(&trusting(), &[v1("secp256k1", CA)]), "DecryptError");
    assert_eq!(judge(&trusting(), &[v1("ed448", CA)]), "DecryptError");
    assert_eq!(judge(&trusting_der(&[files().certificate("small")]), &[files().certificate("by-small")]), "UnknownCA");
}

fn trusting_der(anchors: &[Der]) -> ClientVerifier {
    make(anchors, &[], policy()).unwrap()
}

#[test]
fn only_a_configured_root_of_version_3_issues_version_1() {
    let issuer = v1("p256", CA);
    let leaf = v1("by-v1", "p256");
    // A client that makes itself an authority.
    assert_eq!(judge(&trusting(&[CA], &[]), &[leaf.clone(), issuer.clone()]), "UnknownCA");
    assert_eq!(judge(&trusting(&[CA], &[]), &[leaf.clone(), issuer.clone(), files().certificate(CA)]), "UnknownCA");
    // Even a configured one.
    assert_eq!(judge(&trusting_der(slice::from_ref(&issuer)), slice::from_ref(&leaf)), "UnknownCA");
    assert_eq!(judge(&trusting_der(&[v1("self-signed", "p256")]), &[v1("self-signed", "p256")]), "UnknownCA");
    assert_eq!(judge(&trusting_der(&[v1("v1-root", "p384")]), &[v1("odd", "good")]), "UnknownCA");
    // An intermediate has to be configured itself.
    let leaf = v1("v1-by-inter", "inter");
    assert_eq!(judge(&trusting(&[CA], &[]), &[leaf.clone(), files().certificate("inter")]), "UnknownCA");
    assert_eq!(judge(&trusting(&["inter"], &[]), slice::from_ref(&leaf)), "Ok");
    assert_eq!(judge(&trusting(&[CA, "inter"], &[]), &[leaf, files().certificate("inter")]), "Ok");
}

#[test]
fn anchors_that_may_not_vouch_for_version_1() {
    let leaf = [v1("odd", "good")];
    for (name, fault) in [
        ("good", None),
        ("bare", None),
        ("no-crl-sign", None),
        ("no-ca", Some(AnchorFault::NotAuthority)),
        ("no-sign", Some(AnchorFault::KeyUsage)),
        ("eku", Some(AnchorFault::ExtendedKeyUsage)),
        ("constrained", Some(AnchorFault::NameConstraints)),
        ("critical", Some(AnchorFault::CriticalExtension)),
    ] {
        let trusting = trusting(&[name], &[]);
        assert_eq!(judge(&trusting, &leaf), if fault.is_some() { "UnknownCA" } else { "Ok" }, "{name}");
        let lints = trusting.lints(after(1));
        let subject = "CN=odd".to_owned();
        let expected = match fault {
            None => TrustLint::AcceptsVersion1 { subject },
            Some(fault) => TrustLint::RefusesVersion1 { subject, fault },
        };
        assert!(lints.contains(&expected), "{name}: {lints:?}");
        assert_eq!(lints.len(), if name == "no-ca" { 2 } else { 1 }, "{name}: {lints:?}");
    }
    for (anchor, fault) in
        [(v1("v1-root", "p384"), AnchorFault::Version), (files().certificate("small"), AnchorFault::SmallRsa)]
    {
        let lints = trusting_der(&[anchor]).lints(after(1));
        let refuses =
            |lint: &TrustLint| matches!(lint, TrustLint::RefusesVersion1 { fault: found, .. } if *found == fault);
        assert!(lints.iter().any(refuses), "{lints:?}");
    }
    // A renewed authority, both of one key: the old one neither serves nor stands in the way.
    for anchors in [&["old"][..], &["old", "good"], &["good", "old"]] {
        let trusting = trusting(anchors, &[]);
        assert_eq!(judge(&trusting, &leaf), "Ok");
        let expected = if anchors.len() == 1 { "CertificateExpired" } else { "Ok" };
        assert_eq!(judge_at(&trusting, &leaf, after(2)), expected);
        assert!(trusting.lints(after(2)).iter().any(|lint| matches!(lint, TrustLint::AuthorityExpired { .. })));
    }
    assert_eq!(judge(&trusting(&["no-ca", "eku", "good"], &[]), &leaf), "Ok");
    // As the leaf itself.
    assert_ne!(judge(&trusting(&["good"], &[]), &[files().certificate("good")]), "Ok");
}

#[test]
fn almost_version_1() {
    let trusting = || trusting(&[CA], &[]);
    let contents = v1_contents(&client()).concat();
    let trailing = [&client()[..], &[0]].concat();
    let extensions = value(tag::CONTEXT_3, &value(tag::SEQUENCE, &[]));
    for der in [
        Der::from(trailing),
        files().signed(&[&contents[..], &extensions].concat(), CA),
        files().signed(&[&contents[..], &[0x81, 2, 0, 0]].concat(), CA),
        files().signed(&[&[0xa0, 3, 2, 1, 0][..], &contents].concat(), CA),
        files().signed(&[&[0xa0, 3, 2, 1, 1][..], &contents].concat(), CA),
    ] {
        let verdict = judge(&trusting(), slice::from_ref(&der));
        assert!(["BadCertificate", "CertificateUnknown"].contains(&verdict.as_str()), "{verdict}");
        assert_eq!(alert(trusting, &[der], CLIENT), verdict);
    }
    // Version 3 without extensions is webpki's, and good.
    assert_eq!(judge(&trusting(), &[files().signed(&[&[0xa0, 3, 2, 1, 2][..], &contents].concat(), CA)]), "Ok");
}

#[test]
fn no_mutation_gets_in() {
    let trusting = trusting(&[CA], &[]);
    let now = after(0);
    let mut random = Random(9);
    for good in [client(), files().certificate("client3")] {
        for _ in 0..2_000 {
            let mut bytes = good.to_vec();
            random.mutate(&mut bytes);
            let verdict = trusting.verify(&[Der::from(bytes.clone())], now);
            assert!(verdict.is_err() || bytes == good.to_vec());
        }
    }
}

// ---- version 3 ----

#[test]
fn version_3_is_webpkis() {
    let trusting = || trusting(&[CA], &[]);
    let der = |name| files().certificate(name);
    assert_eq!(alert(trusting, &[der("client3")], "p256"), "Ok");
    assert_eq!(alert(trusting, &[der("client3"), der(CA)], "p256"), "Ok");
    assert_eq!(alert(trusting, &[der("client3")], "p384"), "DecryptError");
    assert_eq!(alert(trusting, &[der("server3")], "p256"), "UnsupportedCertificate");
    // What Istio's own tests expect of an authority of the same name, too.
    assert_eq!(alert(trusting, &[der("impostor3")], "p256"), "DecryptError");
    assert_eq!(alert(trusting, &[der("odd3")], "p256"), "UnknownCA");
    assert_eq!(alert(trusting, &[der("by-inter"), der("inter")], "p256"), "Ok");
    assert_eq!(alert(trusting, &[der("by-inter")], "p256"), "UnknownCA");
    assert_eq!(judge_at(&trusting(), &[der("short3")], after(2)), "CertificateExpired");
    assert_eq!(judge(&trusting_der(&[v1("v1-root", "p384")]), &[der("odd3")]), "Ok");
}

#[test]
fn version_1_can_be_turned_off() {
    let refusing = || make(&ders(&[CA]), &[], ClientPolicy { version1: Verdict::Refuse, ..policy() }).unwrap();
    assert_eq!(alert(refusing, &[client()], CLIENT), "CertificateUnknown");
    assert_eq!(alert(refusing, &[files().certificate("client3")], "p256"), "Ok");
    assert_eq!(refusing().lints(after(1)), []);
}

// ---- revocation ----

#[test]
fn revoked_serial_numbers() {
    let (v1_leaf, v3_leaf) = ([client()], [files().certificate("client3")]);
    for (lists, now, expected) in [
        (&["none"][..], 0, "Ok"),
        (&["one"], 0, "CertificateRevoked"),
        (&["short"], 0, "Ok"),
        (&["short"], 2, "UnknownCA"),
        // The newest list counts, wherever it stands.
        (&["former"], 0, "Ok"),
        (&["former", "one"], 0, "CertificateRevoked"),
        (&["one", "former"], 0, "CertificateRevoked"),
        // Somebody else's, of the same name or of another: nothing is known, so nobody gets in.
        (&["others"], 0, "UnknownCA"),
        (&["odd"], 0, "UnknownCA"),
        (&["others", "odd", "none"], 0, "Ok"),
        (&["others", "odd", "one"], 0, "CertificateRevoked"),
    ] {
        let trusting = trusting(&[CA], lists);
        assert_eq!(judge_at(&trusting, &v1_leaf, after(now)), expected, "version 1: {lists:?}");
        assert_eq!(judge_at(&trusting, &v3_leaf, after(now)), expected, "version 3: {lists:?}");
    }
    for (chain, key) in [(v1_leaf, CLIENT), (v3_leaf, "p256")] {
        assert_eq!(alert(|| trusting(&[CA], &["one"]), &chain, key), "CertificateRevoked");
        assert_eq!(alert(|| trusting(&[CA], &["others"]), &chain, key), "UnknownCA");
        assert_eq!(alert(|| trusting(&[CA], &["none"]), &chain, key), "Ok");
    }
}

#[test]
fn lists_of_two_authorities_of_one_name() {
    let der = |name| files().certificate(name);
    for anchors in [[CA, OTHER], [OTHER, CA]] {
        for lists in [["none", "others"], ["others", "none"]] {
            let trusting = trusting(&anchors, &lists);
            assert_eq!(judge(&trusting, &[client()]), "Ok");
            assert_eq!(judge(&trusting, &[der("client3")]), "Ok");
            assert_eq!(judge(&trusting, &[der("impostor3")]), "Ok");
            assert_eq!(judge(&trusting, &[v1("impostor", OTHER)]), "CertificateRevoked");
            assert_eq!(trusting.lints(after(1)).len(), 2);
        }
        // One without a list of its own is not spared by the other's.
        let trusting = trusting(&anchors, &["others"]);
        assert_eq!(judge(&trusting, &[client()]), "UnknownCA");
        assert_eq!(judge(&trusting, &[der("client3")]), "UnknownCA");
        assert_eq!(judge(&trusting, &[der("impostor3")]), "Ok");
    }
}

#[test]
fn every_authority_of_a_chain_needs_a_list() {
    let chain = [files().certificate("by-inter"), files().certificate("inter")];
    for (lists, expected) in [
        (&["none"][..], "UnknownCA"),
        (&["inter"], "UnknownCA"),
        (&["none", "inter"], "Ok"),
        (&["none", "inter-2001"], "CertificateRevoked"),
    ] {
        for max_depth in [None, Some(1)] {
            let trusting = make(&ders(&[CA]), lists, ClientPolicy { max_depth, ..policy() }).unwrap();
            assert_eq!(judge(&trusting, &chain), expected, "{lists:?}");
        }
    }
}

#[test]
fn who_may_sign_a_list() {
    let leaf = [v1("odd", "good")];
    assert_eq!(judge(&trusting(&["good"], &["odd"]), &leaf), "Ok");
    assert_eq!(judge(&trusting(&["bare"], &["odd"]), &leaf), "Ok");
    assert_eq!(judge(&trusting(&["good"], &["odd-five"]), &leaf), "CertificateRevoked");
    assert_eq!(judge(&trusting(&["no-crl-sign"], &["odd"]), &leaf), "UnknownCA");
    assert_eq!(judge(&trusting(&["no-crl-sign", "good"], &["odd"]), &leaf), "Ok");
    // One that covers a part of what its issuer issued says nothing of version 1.
    assert_eq!(judge(&trusting(&[CA], &["partial"]), &[client()]), "UnknownCA");
    assert_eq!(judge(&trusting(&[CA], &["partial", "none"]), &[client()]), "Ok");
}

#[test]
fn unusable_trust() {
    let says = |anchors: &[Der], lists: &[CertificateRevocationListDer<'static>]| {
        ClientVerifier::new(anchors, lists, policy(), provider()).unwrap_err().to_string()
    };
    assert_eq!(says(&[], &[]), "there is no certificate authority to trust");
    let junk = Der::from(b"junk".to_vec());
    assert_eq!(says(&[junk.clone(), junk.clone()], &[]), "none of the 2 certificate authorities can be read");
    let root = files().certificate(CA);
    let good = files().crl("none");
    let bad = CertificateRevocationListDer::from(good[..good.len() - 1].to_vec());
    assert_eq!(says(slice::from_ref(&root), &[good, bad]), "revocation list 2 cannot be used: it is cut short");
    assert_eq!(
        says(slice::from_ref(&root), &[files().crl("v1")]),
        "revocation list 1 cannot be used: it is of version 1; make it of version 2 (with OpenSSL, set crlnumber in the \
         section of the CA)"
    );
    let partly = make(&[junk, root.clone(), root], &[], policy()).unwrap();
    assert_eq!(judge(&partly, &[client()]), "Ok");
    assert!(partly.lints(after(1)).contains(&TrustLint::UnreadableAuthority { index: 0 }));
    let open = ClientPolicy { untrusted: Verdict::Accept, ..policy() };
    assert_eq!(judge(&make(&[], &[], open).unwrap(), &[client()]), "Ok");
}

#[test]
fn lints() {
    let ca = "CN=example.com,O=example Inc.".to_owned();
    let lints = trusting(&[CA], &["others", "odd"]).lints(after(1));
    assert_eq!(
        lints,
        [
            TrustLint::AcceptsVersion1 { subject: ca.clone() },
            TrustLint::WithoutRevocationList { subject: ca.clone() },
            TrustLint::ForeignRevocationList { issuer: ca.clone() },
        ]
    );
    let stale = trusting(&[CA], &["short"]).lints(after(2));
    assert!(matches!(&stale[..], [_, TrustLint::RevocationListExpired { issuer, .. }] if *issuer == ca), "{stale:?}");
    assert!(matches!(&trusting(&[CA], &[]).lints(after(-1))[..], [TrustLint::AuthorityNotYetValid { .. }, _]));
    for lint in lints {
        assert!(lint.to_string().contains("\"CN=example.com,O=example Inc.\""), "{lint}");
    }
}

// ---- policy ----

#[test]
fn names() {
    let with = |name: &str| {
        let names = vec!["not.this.example.com".to_owned(), name.to_owned()];
        make(&ders(&[CA]), &[], ClientPolicy { names, ..policy() }).unwrap()
    };
    let full = [files().certificate("full")];
    for name in [
        "Client.example.com",
        "client.EXAMPLE.com",
        "*.example.net",
        "spiffe://cluster.local/ns/a/sa/b",
        "ops@example.com",
        "192.0.2.7",
        "2001:db8::7",
        "2001:DB8:0::7",
    ] {
        assert_eq!(judge(&with(name), &full), "Ok", "{name}");
    }
    for name in ["example.com", "a.example.net", "spiffe://cluster.local/ns/a/sa/B", "192.0.2.8", "p256", "CN=p256", ""]
    {
        assert_eq!(judge(&with(name), &full), "CertificateUnknown", "{name}");
    }
    // A common name is no alternative name.
    assert_eq!(judge(&with("client.example.com"), &[client()]), "CertificateUnknown");
    assert_eq!(alert(|| with("client.example.com"), &[client()], CLIENT), "CertificateUnknown");
    // Whom nobody trusts has no name at all.
    assert_eq!(judge(&with("client.example.com"), &[files().certificate("impostor3")]), "DecryptError");
}

#[test]
fn pins() {
    let with = |pins: Vec<Pin>| make(&ders(&[CA]), &[], ClientPolicy { pins, ..policy() }).unwrap();
    let digest = |bytes: &[u8]| <[u8; 32]>::from(Sha256::digest(bytes));
    for leaf in [client(), files().certificate("client3")] {
        let whole = Pin::Certificate(digest(&leaf));
        let spki = digest(Certificate::parse(&leaf).unwrap().spki());
        let chain = [leaf];
        assert_eq!(judge(&with(vec![whole]), &chain), "Ok");
        assert_eq!(judge(&with(vec![Pin::PublicKey(spki)]), &chain), "Ok");
        assert_eq!(judge(&with(vec![Pin::PublicKey([0; 32]), whole]), &chain), "Ok");
        assert_eq!(judge(&with(vec![Pin::Certificate(spki)]), &chain), "CertificateUnknown");
        assert_eq!(judge(&with(vec![Pin::PublicKey([0; 32])]), &chain), "CertificateUnknown");
    }
}

#[test]
fn depth() {
    let with = |depth| make(&ders(&[CA]), &[], ClientPolicy { max_depth: Some(depth), ..policy() }).unwrap();
    let chain = [files().certificate("by-inter"), files().certificate("inter")];
    assert_eq!(judge(&with(0), &chain), "UnknownCA");
    assert_eq!(judge(&with(1), &chain), "Ok");
    assert_eq!(judge(&with(0), &[client()]), "Ok");
    assert_eq!(judge(&with(0), &[files().certificate("client3")]), "Ok");
    assert_eq!(judge(&with(0), &[files().certificate("server3")]), "UnsupportedCertificate");
}

#[test]
fn untrusted_clients_may_be_accepted() {
    let open = || make(&ders(&[CA]), &[], ClientPolicy { untrusted: Verdict::Accept, ..policy() }).unwrap();
    let der = |name| files().certificate(name);
    for (chain, key) in [
        (vec![v1("impostor", OTHER)], CLIENT),
        (vec![v1("self-signed", "p256")], "p256"),
        (vec![bent("200101000000Z", "210101000000Z")], CLIENT),
        (vec![der("impostor3"), der("good")], "p256"),
        (vec![der("server3")], "p256"),
    ] {
        assert_eq!(alert(open, &chain, key), "Ok");
        assert!(open().verify_trust(&chain[0], &chain[1..], after(0)).is_err());
    }
    // The key must be theirs all the same, and names and pins hold.
    assert_eq!(alert(open, &[v1("self-signed", "p256")], "p384"), "DecryptError");
    assert_eq!(alert(open, &[der("impostor3")], "p384"), "DecryptError");
    let open = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        make(&ders(&[CA]), &[], ClientPolicy { untrusted: Verdict::Accept, names, ..policy() }).unwrap()
    };
    assert_eq!(judge(&open(&["client.example.com"]), &[v1("impostor", OTHER)]), "CertificateUnknown");
    assert_eq!(judge(&open(&["client.example.com"]), &[der("impostor3")]), "Ok");
    assert!(open(&[]).root_hint_subjects().is_empty());
}

#[test]
fn many_authorities_are_not_listed() {
    let authority = |number: usize| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, format!("Authority {number:0200}"));
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    };
    let mut anchors: Vec<Der> = (0..20).map(authority).collect();
    assert_eq!(trusting_der(&anchors).root_hint_subjects().len(), 20);
    anchors.extend((20..100).map(authority));
    anchors.push(files().certificate(CA));
    assert!(trusting_der(&anchors).root_hint_subjects().is_empty());
    assert_eq!(judge(&trusting_der(&anchors), &[client()]), "Ok");
}

#[test]
fn the_digest_is_everything_that_decides() {
    let base = || (ders(&[CA, OTHER]), vec!["none", "others"], policy());
    let digest = |(anchors, lists, policy): (Vec<Der>, Vec<&str>, ClientPolicy)| {
        make(&anchors, &lists, policy).unwrap().digest()
    };
    let same = digest(base());
    // Order and repetition do not count.
    assert_eq!(digest((ders(&[OTHER, CA, OTHER]), vec!["others", "none", "none"], policy())), same);
    let named = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        digest((ders(&[CA]), vec![], ClientPolicy { names, ..policy() }))
    };
    assert_eq!(named(&["a", "b"]), named(&["b", "a"]));
    let mut all = vec![same, named(&[]), named(&["a"]), named(&["ab"]), named(&["a", "b"]), named(&["A"])];
    all.push(digest((ders(&[CA]), base().1, policy())));
    all.push(digest((base().0, vec!["none"], policy())));
    all.push(digest((base().0, vec!["one", "others"], policy())));
    let policies: [fn(&mut ClientPolicy); 9] = [
        |policy| policy.no_certificate = Verdict::Accept,
        |policy| policy.untrusted = Verdict::Accept,
        |policy| policy.version1 = Verdict::Refuse,
        |policy| policy.max_depth = Some(0),
        |policy| policy.max_depth = Some(1),
        |policy| policy.pins = vec![Pin::Certificate([0; 32])],
        |policy| policy.pins = vec![Pin::PublicKey([0; 32])],
        |policy| policy.pins = vec![Pin::PublicKey([0; 32]), Pin::PublicKey([1; 32])],
        |policy| policy.names = vec![String::new()],
    ];
    for change in policies {
        let (anchors, lists, mut policy) = base();
        change(&mut policy);
        all.push(digest((anchors, lists, policy)));
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "two policies share a digest");
}
