//! The tools that the other tests and the users lean on: certificates, `scripts/secret.sh`, the backends.

use std::process::Command;

use rig::{Backend, Certificates, Curl, Finished, Http, Set, Site, httpbin, repository};
use serde_json::json;

use crate::task::*;

/// A command in the directory of the certificates.
fn finished(program: impl AsRef<std::ffi::OsStr>, arguments: &str) -> Finished {
    let mut command = Command::new(program);
    Finished::of(command.args(arguments.split_whitespace()).current_dir(Certificates::shared().directory()))
}

fn secret(arguments: &str) -> Finished {
    finished(repository().join("scripts/secret.sh"), arguments)
}

#[test]
fn certificates_are_signed_by_their_own_root_only() {
    let certificates = Certificates::shared();
    for name in ["httpbin", "helloworld", "client", "wildcard", "client-v3"] {
        let leaf = certificates.pair(Set::First, name).certificate;
        let verify = |ca| Finished::of(Command::new("openssl").arg("verify").arg("-CAfile").arg(ca).arg(&leaf));
        _ = verify(certificates.ca(Set::First)).exits(0);
        assert_ne!(verify(certificates.ca(Set::Second)).code, 0, "{name} under the other root of the same name");
    }
}

#[test]
fn secret_sh_makes_what_kubectl_makes() {
    let secret = Site::secret(HTTPBIN_CREDENTIAL);
    assert_eq!(secret["apiVersion"], "v1");
    assert_eq!(secret["kind"], "Secret");
    assert_eq!(secret["metadata"], json!({ "name": "httpbin-credential", "namespace": "istio-system" }));
    assert_eq!(secret["type"], "kubernetes.io/tls");
    let pair = Certificates::shared().pair(Set::First, "httpbin");
    let base64 = |file| Finished::of(Command::new("base64").arg("-w0").arg(file)).text();
    assert_eq!(secret["data"], json!({ "tls.crt": base64(pair.certificate), "tls.key": base64(pair.key) }));

    let secret = Site::secret(HTTPBIN_CREDENTIAL_MUTUAL);
    assert_eq!(secret["type"], "Opaque");
    assert_eq!(secret["data"]["ca.crt"], base64(ca()));
    assert_eq!(secret["data"].as_object().map(serde_json::Map::len), Some(3));
}

#[test]
fn secret_sh_takes_flags_as_kubectl_does() {
    let one = "generic things --from-file=example_certs1/example.com.crt --from-literal=a=b=c -n istio-system";
    let two = "--namespace istio-system secret generic things --from-file example.com.crt=example_certs1/example.com.crt \
               --from-literal a=b=c --dry-run=client -ojson";
    let [one, two] = [one, two].map(|arguments| secret(arguments).exits(0).text());
    assert_eq!(one, two);
    assert!(one.contains(r#""a": "Yj1j""#), "{one}");
    assert!(secret("generic things --from-literal=a=b").exits(0).text().contains(r#""namespace": "default""#));
}

#[test]
fn secret_sh_says_what_is_wrong() {
    let key = "--key=example_certs1/httpbin.example.com.key";
    let certificate = "--cert=example_certs1/httpbin.example.com.crt";
    for (arguments, code, parts) in [
        (String::new(), 2, ["tls", "generic"]),
        ("opaque name".to_owned(), 2, ["`opaque`", "tls"]),
        (format!("tls {key} {certificate}"), 2, ["name", "--help"]),
        (format!("tls name {key}"), 2, ["--cert", "needs"]),
        (format!("tls name {key} {certificate} extra"), 2, ["`extra`", "too many"]),
        (format!("tls name {key} {certificate} --colour=red"), 2, ["--colour", "unknown"]),
        (format!("tls name {key} {certificate} -o yaml"), 2, ["yaml", "JSON"]),
        (format!("tls Name {key} {certificate}"), 1, ["`Name`", "lower-case"]),
        (format!("tls name {key} --cert=nowhere.crt"), 1, ["--cert", "no file nowhere.crt"]),
        (format!("tls name --key=example_certs2/httpbin.example.com.key {certificate}"), 1, ["key", "does not belong"]),
        (format!("tls name --key=example_certs1/example.com.crt {certificate}"), 1, ["--key", "private key"]),
        ("generic name".to_owned(), 2, ["--from-file", "needs"]),
        ("generic name --from-file=a=nowhere".to_owned(), 1, ["a=nowhere", "no file nowhere"]),
        ("generic name --from-literal=a=1 --from-literal=a=2".to_owned(), 1, ["`a`", "twice"]),
    ] {
        let refused = secret(&arguments).exits(code).says(&parts);
        assert_eq!(refused.text(), "", "half a secret may not be printed\n{refused}");
    }
}

#[test]
fn httpbin_is_the_real_one() {
    let address = httpbin();
    let ask = |path| Curl::new("http", "httpbin.test", address.port(), path);
    assert!(ask("/status/418").answers(418).text().contains("teapot"));
    assert_eq!(ask("/post").post(b"some text").answers(200).json()["data"], "some text");
}

#[test]
fn the_backend_answers_as_its_table_says() {
    let backend = Backend::start("one");
    let ask = |path| Curl::new("http", "backend.test", backend.address().port(), path).http(Http::One);
    let hello = ask("/hello").answers(200);
    assert_eq!(hello.text(), "Hello version: v1, instance: one\n");
    assert_eq!(hello.header("X-Instance").as_deref(), Some("one"));
    ask("/status/204").answers(204);
    ask("/nothing").answers(404);
    assert!(ask("/head").header("x-seen: 1").answers(200).text().contains("\r\nx-seen: 1\r\n"));
    let bytes: Vec<u8> = Backend::bytes(3_000_000).collect();
    assert!(ask("/bytes/3000000").answers(200).body == bytes);
    assert!(ask("/echo").post(&bytes).answers(200).body == bytes, "with a length and 100-continue");
    assert!(ask("/echo").post(&bytes).header("transfer-encoding: chunked").answers(200).body == bytes, "chunked");
    assert_eq!(ask("/hello?[1-3]").statuses(), (0, vec![200; 3]));
}
