use sekisho_sdk::SecretPlugin;
use sekisho_sdk::secrets::{Credential, Failure, Key, Secret, Trust};

use crate::KubernetesSecrets;
use crate::pem::tests::{Random, pem};

fn secret<V: AsRef<[u8]>>(data: &[(&str, V)]) -> Secret {
    Secret {
        kind: "Secret".to_owned(),
        namespace: "istio-system".to_owned(),
        name: "httpbin-credential".to_owned(),
        type_: "Opaque".to_owned(),
        annotations: Vec::new(),
        data: data.iter().map(|(key, value)| ((*key).to_owned(), value.as_ref().to_vec())).collect(),
    }
}

fn credential<V: AsRef<[u8]>>(data: &[(&str, V)]) -> Credential {
    KubernetesSecrets::decode_credential(secret(data)).unwrap()
}

fn trust<V: AsRef<[u8]>>(data: &[(&str, V)]) -> Trust {
    KubernetesSecrets::decode_trust(secret(data)).unwrap()
}

fn problem<T: std::fmt::Debug>(result: Result<T, Failure>) -> (String, String) {
    match result.unwrap_err() {
        Failure::Unusable(problem) => (problem.field, problem.message),
        Failure::NotMine => panic!("not mine"),
    }
}

fn credential_problem<V: AsRef<[u8]>>(data: &[(&str, V)]) -> (String, String) {
    problem(KubernetesSecrets::decode_credential(secret(data)))
}

fn trust_problem<V: AsRef<[u8]>>(data: &[(&str, V)]) -> (String, String) {
    problem(KubernetesSecrets::decode_trust(secret(data)))
}

fn cert(name: &str) -> String {
    pem("CERTIFICATE", name.as_bytes())
}

fn key(name: &str) -> String {
    pem("PRIVATE KEY", name.as_bytes())
}

fn crl(name: &str) -> String {
    pem("X509 CRL", name.as_bytes())
}

fn pair(field: &str, message: &str) -> (String, String) {
    (field.to_owned(), message.to_owned())
}

#[test]
fn a_tls_secret() {
    let made = credential(&[
        ("ca.crt", cert("ca")),
        ("tls.crt", cert("leaf") + &cert("intermediate")),
        ("tls.key", key("key")),
        ("tls.ocsp-staple", "staple".to_owned()),
    ]);
    assert_eq!(made.chain, [b"leaf".to_vec(), b"intermediate".to_vec()]);
    assert_eq!((made.chain_field.as_str(), made.key_field.as_str()), ("tls.crt", "tls.key"));
    assert_eq!((made.key, made.ocsp_staple), (Key::Pkcs8(b"key".to_vec()), Some(b"staple".to_vec())));
}

#[test]
fn a_generic_secret_comes_first_and_has_no_staple() {
    let made = credential(&[
        ("tls.crt", cert("tls leaf")),
        ("tls.key", key("tls key")),
        ("tls.ocsp-staple", "staple".to_owned()),
        ("cert", cert("generic leaf")),
        ("key", key("generic key")),
    ]);
    assert_eq!(made.chain, [b"generic leaf".to_vec()]);
    assert_eq!((made.chain_field.as_str(), made.key_field.as_str()), ("cert", "key"));
    assert_eq!((made.key, made.ocsp_staple), (Key::Pkcs8(b"generic key".to_vec()), None));
}

#[test]
fn an_empty_value_is_no_value() {
    let made = credential(&[
        ("cert", String::new()),
        ("key", key("generic key")),
        ("tls.crt", cert("leaf")),
        ("tls.key", key("key")),
        ("tls.ocsp-staple", String::new()),
    ]);
    assert_eq!((made.chain_field.as_str(), made.ocsp_staple), ("tls.crt", None));
    let made = trust(&[("cacert", String::new()), ("ca.crt", cert("ca")), ("ca.crl", String::new())]);
    assert_eq!((made.authorities_field.as_str(), made.crls_field), ("ca.crt", None));
}

#[test]
fn kinds_are_read_alike_and_others_are_not_ours() {
    let data = [("cert", cert("leaf")), ("key", key("key")), ("cacert", cert("ca")), ("crl", crl("crl"))];
    for kind in ["Secret", "ConfigMap", "Files"] {
        let secret = Secret { kind: kind.to_owned(), ..secret(&data) };
        assert!(KubernetesSecrets::decode_credential(secret.clone()).is_ok());
        assert!(KubernetesSecrets::decode_trust(secret).is_ok());
    }
    let secret = Secret { kind: "ClusterTrustBundle".to_owned(), ..secret(&data) };
    assert!(matches!(KubernetesSecrets::decode_credential(secret.clone()), Err(Failure::NotMine)));
    assert!(matches!(KubernetesSecrets::decode_trust(secret), Err(Failure::NotMine)));
}

/// `TestSecretsController` of Istio's secrets_test.go.
#[test]
fn missing_keys_in_the_words_of_istio() {
    const CREDENTIAL: &str =
        "found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: ";
    const TRUST: &str = "found secret, but didn't have expected keys cacert or ca.crt; found: ";
    let (cert, key) = (cert("c"), key("k"));
    for (data, found) in [
        (vec![("cacert", &cert)], "cacert"),
        (vec![("ca.crt", &cert)], "ca.crt"),
        (vec![("ca.crt", &cert), ("ca.crl", &cert)], "ca.crl, ca.crt"),
        (vec![("tls.key", &key), ("foo-bar", &cert)], "foo-bar, tls.key"),
        (vec![("cert", &cert), ("tls.key", &key)], "cert, tls.key"),
        (vec![("c", &cert), ("b", &cert), ("a", &cert)], "a, b, c, and 0 more..."),
        (vec![("d", &cert), ("c", &cert), ("b", &cert), ("a", &cert), ("e", &cert)], "a, b, c, and 2 more..."),
        (vec![], ""),
    ] {
        assert_eq!(credential_problem(&data), pair("", &format!("{CREDENTIAL}{found}")));
    }
    for (data, found) in [
        (vec![("cert", &cert), ("key", &key)], "cert, key"),
        (vec![("tls.crt", &cert), ("tls.key", &key)], "tls.crt, tls.key"),
        (
            vec![("tls.crt", &cert), ("tls.key", &key), ("tls.ocsp-staple", &cert)],
            "tls.crt, tls.key, tls.ocsp-staple, and 0 more...",
        ),
    ] {
        assert_eq!(trust_problem(&data), pair("", &format!("{TRUST}{found}")));
    }
}

#[test]
fn empty_keys_in_the_words_of_istio() {
    let (none, some) = ("", "x");
    assert_eq!(
        credential_problem(&[("tls.crt", none), ("tls.key", some)]),
        pair("tls.crt", r#"found keys "tls.crt" and "tls.key", but they were empty"#)
    );
    assert_eq!(
        credential_problem(&[("cert", some), ("key", none)]),
        pair("key", r#"found keys "cert" and "key", but they were empty"#)
    );
    assert_eq!(trust_problem(&[("ca.crt", none)]), pair("ca.crt", r#"found key "ca.crt", but it was empty"#));
    assert_eq!(trust_problem(&[("cacert", none)]), pair("cacert", r#"found key "cacert", but it was empty"#));
}

#[test]
fn authorities_and_their_lists() {
    let made = trust(&[
        ("cacert", cert("one") + &crl("inside") + &cert("two")),
        ("crl", crl("beside")),
        ("ca.crt", cert("other")),
        ("ca.crl", crl("other")),
    ]);
    assert_eq!(made.authorities, [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(made.crls, [b"inside".to_vec(), b"beside".to_vec()]);
    assert_eq!((made.authorities_field.as_str(), made.crls_field.as_deref()), ("cacert", Some("crl")));

    let made = trust(&[("ca.crt", cert("one")), ("ca.crl", crl("list")), ("crl", crl("not this"))]);
    assert_eq!((made.crls, made.crls_field.as_deref()), (vec![b"list".to_vec()], Some("ca.crl")));

    let made = trust(&[("ca.crt", crl("inside") + &cert("one"))]);
    assert_eq!((made.crls.len(), made.crls_field.as_deref()), (1, Some("ca.crt")));

    let made = trust(&[("ca.crt", cert("one"))]);
    assert_eq!((made.crls.len(), made.crls_field), (0, None));
}

#[test]
fn the_first_key_counts() {
    let chain = cert("leaf");
    let read = |text: &str| credential(&[("cert", chain.as_str()), ("key", text)]).key;
    assert_eq!(read(&pem("RSA PRIVATE KEY", b"one")), Key::Pkcs1(b"one".to_vec()));
    let curve_first = pem("EC PARAMETERS", b"curve") + &pem("EC PRIVATE KEY", b"two") + &key("three");
    assert_eq!(read(&curve_first), Key::Sec1(b"two".to_vec()));
    assert_eq!(read(&(cert("leaf") + &key("three"))), Key::Pkcs8(b"three".to_vec()));
}

#[test]
fn a_key_that_cannot_be_used_says_why() {
    let fault = |text: &str| credential_problem(&[("cert", cert("leaf").as_str()), ("key", text)]);
    let encrypted = "block 1 (line 1): the key is encrypted; the gateway has no pass phrase for it: decrypt it with \
                     `openssl pkey -in encrypted.key -out plain.key`";
    assert_eq!(fault(&pem("ENCRYPTED PRIVATE KEY", b"x")), pair("key", encrypted));
    let traditional = pem("EC PRIVATE KEY", b"x").replacen('\n', "\nProc-Type: 4,ENCRYPTED\nDEK-Info: A,B\n\n", 1);
    assert_eq!(fault(&traditional), pair("key", encrypted));
    assert_eq!(fault(&cert("leaf")), pair("key", "no private key block; found: CERTIFICATE"));
    assert_eq!(fault(&pem("PUBLIC KEY", b"x")), pair("key", "no private key block; found: PUBLIC KEY"));
    assert_eq!(fault("hello"), pair("key", "no private key block; it holds no PEM at all"));
    assert!(fault(&pem("OPENSSH PRIVATE KEY", b"x")).1.contains("ssh-keygen -p -m PKCS8"));
    assert!(fault(&pem("DSA PRIVATE KEY", b"x")).1.contains("DSA PRIVATE KEY is not a key that TLS can use"));
}

#[test]
fn certificates_that_cannot_be_used_say_why() {
    let fault = |text: &str| credential_problem(&[("tls.crt", text), ("tls.key", key("key").as_str())]);
    assert_eq!(
        fault(&(cert("leaf") + &key("key"))),
        pair(
            "tls.crt",
            "block 2 (line 4) is a private key; only certificates belong here (are the certificate and the key swapped?)"
        )
    );
    assert_eq!(
        fault(&pem("CERTIFICATE REQUEST", b"x")),
        pair("tls.crt", "no CERTIFICATE block; found: CERTIFICATE REQUEST")
    );
    assert_eq!(fault(&pem("SECRET WORD", b"x")), pair("tls.crt", "no CERTIFICATE block; found: something unknown"));
    assert!(fault(&pem("TRUSTED CERTIFICATE", b"x")).1.contains("openssl x509 -in trusted.crt"));
    assert!(fault("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t").1.contains("encoded twice"));
    assert!(fault("0\u{1}").1.contains("not PEM"));
    assert_eq!(
        fault("-----BEGIN CERTIFICATE-----\nAAAA"),
        pair("tls.crt", "block 1 (line 1): its END line is missing")
    );
    assert_eq!(trust_problem(&[("ca.crt", &key("key"))]).0, "ca.crt");
    assert_eq!(
        trust_problem(&[("ca.crt", &cert("ca")), ("ca.crl", &cert("ca"))]),
        pair("ca.crl", "no X509 CRL block; found: CERTIFICATE")
    );
}

#[test]
fn random_bytes_never_panic_and_never_come_back() {
    const SECRET: &str = "c2VjcmV0IHNlY3JldCBz";
    let good = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n");
    let mut random = Random(1);
    for _ in 0..5_000 {
        let mut field = || {
            let mut bytes = good.clone().into_bytes();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len());
                match random.below(3) {
                    0 => bytes.truncate(at + 1),
                    1 => bytes[at] = random.next() as u8,
                    _ => bytes.insert(at, b"-\n= :\\"[random.below(6)]),
                }
            }
            bytes
        };
        let data = [("tls.crt", field()), ("tls.key", field()), ("ca.crt", field()), ("ca.crl", field())];
        for failure in [
            KubernetesSecrets::decode_credential(secret(&data)).err(),
            KubernetesSecrets::decode_trust(secret(&data)).err(),
        ] {
            let Some(Failure::Unusable(problem)) = failure else { continue };
            assert!(!problem.message.contains(&SECRET[..6]), "{}", problem.message);
        }
    }
}
