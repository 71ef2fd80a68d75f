//! `sekisho check`: what it finds beyond what is plainly broken, and how programs read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::OnceLock;

use rig::{Certificates, Finished, Form, Site, program};
use serde_json::{Value, json};

use crate::task::*;

/// Certificates with something about them each, all but one for httpbin, in `lint/` beside the task's.
fn certificates() {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        Certificates::shared().sh(r#"
mkdir lint
cd lint
san='subjectAltName=DNS:httpbin.example.com'
issue() {
  name=$1 ca=$2 extensions=$3
  shift 3
  openssl req -new -newkey rsa:2048 -nodes -keyout $name.key -subj "/CN=$name" -out $name.csr
  printf "$extensions\n" > $name.ext
  openssl x509 -req -in $name.csr -CA $ca.crt -CAkey $ca.key -set_serial 9 -days 365 -extfile $name.ext "$@" -out $name.crt
}
root=../example_certs1/example.com
issue good $root "$san\nextendedKeyUsage=serverAuth"
issue other $root 'subjectAltName=DNS:other.example.com,DNS:*.other.example.com'
issue wildcard $root 'subjectAltName=DNS:*.example.com'
issue nameless $root 'extendedKeyUsage=serverAuth'
issue client $root "$san\nextendedKeyUsage=clientAuth"
issue sha1 $root "$san" -sha1
issue soon $root "$san" -days 10
issue expired $root "$san" -days -1
issue inter $root 'basicConstraints=critical,CA:TRUE'
issue leaf inter "$san\nauthorityInfoAccess=caIssuers;URI:http://ca.example.com/inter.crt"
cat leaf.crt inter.crt > full.crt
cat leaf.crt $root.crt > gap.crt
cat inter.crt leaf.crt > order.crt
openssl req -x509 -days 365 -newkey rsa:2048 -nodes -keyout self.key -subj /CN=self -addext "$san" -addext basicConstraints=critical,CA:FALSE -out self.crt
openssl req -x509 -days 365 -newkey rsa:2048 -nodes -keyout authority.key -subj /CN=authority -addext "$san" -out authority.crt
"#);
    });
}

/// A good site but for the certificate `lint/CHAIN.crt` with the key `lint/KEY.key`.
fn site(chain: &str, key: &str) -> Site {
    certificates();
    let site = Site::with_httpbin(Form::Istio);
    // The script would refuse a chain whose leaf is not first as `tls`.
    site.create_secret(&format!(
        "generic httpbin-credential --from-file=tls.key=lint/{key}.key --from-file=tls.crt=lint/{chain}.crt"
    ));
    site
}

/// `check` with more arguments.
fn check(site: &Site, arguments: &[&str]) -> Finished {
    Finished::of(Command::new(program()).args(["check", "--config"]).arg(site.bootstrap()).args(arguments))
}

fn checked_json(site: &Site, code: i32) -> Value {
    let checked = check(site, &["--format", "json"]).exits(code);
    serde_json::from_slice(&checked.stdout).unwrap_or_else(|e| panic!("{e}\n{checked}"))
}

/// The codes of all findings, in order.
fn codes(site: &Site) -> Vec<String> {
    let checked = checked_json(site, 0);
    let findings = checked["findings"].as_array().expect("a list");
    findings.iter().map(|finding| finding["code"].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn what_clients_refuse_is_one_finding() {
    for (chain, key, found) in [
        ("good", "good", &[][..]),
        ("wildcard", "wildcard", &[]),
        ("full", "leaf", &[]),
        ("other", "other", &["host-not-covered"]),
        ("nameless", "nameless", &["certificate-without-names", "host-not-covered"]),
        ("client", "client", &["certificate-not-for-servers"]),
        ("sha1", "sha1", &["weak-certificate"]),
        ("soon", "soon", &["certificate-expires-soon"]),
        ("leaf", "leaf", &["missing-intermediate"]),
        ("gap", "leaf", &["chain-gap"]),
        ("order", "leaf", &["certificate-order"]),
        ("self", "self", &["self-signed-certificate"]),
        ("authority", "authority", &["authority-as-server"]),
    ] {
        let mut codes = codes(&site(chain, key));
        codes.sort();
        assert_eq!(codes, found, "{chain}");
    }
}

#[test]
fn what_is_out_of_date_is_an_error() {
    check(&site("expired", "expired"), &[]).exits(1).says(&["error[expired-certificate]", "CN=expired", "renew it"]);
}

/// Nothing else changes meanwhile: it is the clock that makes the gateway look.
#[test]
fn a_certificate_expires_while_the_gateway_runs() {
    let site = site("good", "good");
    Certificates::shared().sh(r#"
cd lint
cat > brief.cnf <<END
[ca]
default_ca=d
[d]
database=brief.txt
new_certs_dir=.
rand_serial=yes
default_md=sha256
policy=p
[p]
commonName=supplied
END
: > brief.txt
end=$(date -u -d '6 seconds' +%Y%m%d%H%M%SZ)
openssl ca -batch -notext -config brief.cnf -in good.csr -cert ../example_certs1/example.com.crt \
  -keyfile ../example_certs1/example.com.key -extfile good.ext -enddate $end -out brief.crt
"#);
    site.create_secret("tls httpbin-credential --key=lint/good.key --cert=lint/brief.crt");
    let gateway = site.run();
    gateway.log().wait(|line| line.is_complaint() && line.has(&["expired-certificate"]));
}

#[test]
fn a_host_that_no_certificate_has_is_named() {
    for form in Form::BOTH {
        certificates();
        let site = Site::with_httpbin(form);
        site.create_secret("tls httpbin-credential --key=lint/other.key --cert=lint/other.crt");
        let said = [
            "host-not-covered",
            "Gateway",
            "mygateway",
            "httpbin-credential",
            "is for `other.example.com` and `*.other.example.com`",
            "clients that ask for `httpbin.example.com` refuse it",
        ];
        check(&site, &[]).exits(0).says(&said);
    }
}

#[test]
fn an_issuer_among_the_systems_authorities_is_not_missed() {
    let site = site("leaf", "leaf");
    let trusting = |file: &str| {
        let mut command = Command::new(program());
        command.args(["check", "--config"]).arg(site.bootstrap());
        Finished::of(command.env("SSL_CERT_FILE", Certificates::shared().directory().join(file))).exits(0)
    };
    trusting("example_certs1/example.com.crt").says(&["missing-intermediate", "CN=inter", "http://ca.example.com/"]);
    assert_eq!(trusting("lint/inter.crt").text(), "0 errors, 0 warnings\n");
}

#[test]
fn a_key_that_everybody_can_read_is_named() {
    let site = site("good", "good");
    let open = tempfile::tempdir_in("/tmp").expect("/tmp can be written");
    let file = open.path().join("secret.json");
    fs::rename(site.object("Secret", "httpbin-credential"), &file).expect("one file system");
    site.configure(&json!({ "resources": ["resources/", open.path()] }));
    let set = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its own file");
    set(open.path(), 0o755);
    set(&file, 0o644);
    let path = file.to_str().expect("a path of letters");
    check(&site, &[]).exits(0).says(&["warning[readable-key]", path, "chmod 600"]);
    set(&file, 0o640);
    assert!(codes(&site).is_empty(), "a group is let in on purpose");
    set(&file, 0o644);
    set(open.path(), 0o700);
    assert!(codes(&site).is_empty(), "nobody gets to it");
}

#[test]
fn addresses_are_tried() {
    let site = site("good", "good");
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = other.local_addr().expect("it is bound").port();
    site.configure(&json!({ "ports": { "443": port } }));
    let said = format!("info[address-in-use]: socket 127.0.0.1:{port}");
    check(&site, &[]).exits(0).says(&[&said, "0 errors, 0 warnings"]);
    // An address for documentation (RFC 5737) is nobody's.
    site.configure(&json!({ "addresses": ["127.0.0.1", "192.0.2.1"] }));
    let checked = checked_json(&site, 1);
    assert_eq!(checked["errors"], 1, "{checked:#}");
    assert_eq!(checked["findings"][0]["code"], "cannot-bind");
    assert!(checked["findings"][0]["socket"].as_str().is_some_and(|socket| socket.starts_with("192.0.2.1:")));
}

#[test]
fn a_running_gateway_is_left_alone() {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    site.check().exits(0).says(&["address-in-use", &gateway.admin().to_string()]);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
}

#[test]
fn names_of_endpoints_are_looked_up() {
    let entry = |host: &str| {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "name": "outside" },
            "spec": {
                "hosts": ["httpbin.example.org"],
                "ports": [{ "number": 8000, "name": "http", "protocol": "HTTP" }],
                "resolution": "DNS",
                "endpoints": [{ "address": host }],
            }
        })
    };
    let site = site("good", "good");
    site.apply(&Form::Istio.route(&rig::Route::httpbin().to("httpbin.example.org", 8000)));
    site.apply(&entry("localhost"));
    assert!(codes(&site).is_empty());
    site.apply(&entry("nowhere.invalid"));
    check(&site, &[]).exits(0).says(&["warning[no-endpoints]", "`nowhere.invalid` cannot be looked up"]);
}

#[test]
fn warnings_fail_where_that_is_asked_for() {
    let site = site("other", "other");
    check(&site, &[]).exits(0);
    check(&site, &["--fail-on", "error"]).exits(0);
    check(&site, &["--fail-on", "warning"]).exits(1).says(&["0 errors, 1 warning\n"]);
    check(&site, &["--fail-on", "info"]).exits(2).says(&["error", "warning"]);
    let good = self::site("self", "self");
    check(&good, &["--fail-on", "warning"]).exits(0);
}

#[test]
fn json_is_as_documented() {
    let site = Site::with_httpbin(Form::Istio);
    let checked = checked_json(&site, 1);
    let expected = json!({
        "version": 1,
        "errors": 1,
        "warnings": 0,
        "infos": 0,
        "findings": [{
            "severity": "error",
            "code": "secret-not-found",
            "message": "secret istio-system/httpbin-credential not found; the listener refuses its clients",
            "remedy": "create it",
            "object": {
                "group": "networking.istio.io", "kind": "Gateway", "namespace": "default", "name": "mygateway",
            },
            "field": "spec.servers[0].tls.credentialName",
            "file": site.object("Gateway", "mygateway"),
        }],
    });
    assert_eq!(checked, expected, "{checked:#}");

    site.replace(&site.bootstrap(), "{\n  \"workers\": \"two\"\n}");
    let checked = checked_json(&site, 1);
    let finding = &checked["findings"][0];
    assert_eq!((&finding["code"], &finding["line"]), (&json!("bootstrap-file"), &json!(2)), "{checked:#}");
    assert_eq!(finding["file"], json!(site.bootstrap()));
}

#[test]
fn texts_from_objects_do_nothing_to_a_terminal() {
    let site = site("good", "good");
    let mut gateway = Form::Istio.gateway(&[rig::Server::simple("httpbin")]);
    gateway["spec"]["servers"][0]["tls"]["mode"] = json!("\u{1b}[2J\u{7}\u{202e}");
    site.apply(&gateway);
    let checked = check(&site, &[]).exits(1).says(&["\\u{1b}[2J\\u{7}\\u{202e}"]);
    let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(checked.text().chars().all(harmless), "{:?}", checked.text());
}

#[test]
fn who_has_read_enough_may_leave() {
    let site = Site::with_httpbin(Form::Istio);
    let shell = r#"{ "$0" check --config "$1"; echo "exit $?" >&2; } | exec true"#;
    let said = Finished::of(Command::new("sh").args(["-c", shell]).arg(program()).arg(site.bootstrap())).exits(0);
    assert_eq!(said.stderr, "exit 1\n", "its own exit code, and no complaint");
}
