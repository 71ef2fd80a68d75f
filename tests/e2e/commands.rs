//! The command line: what it says, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rig::{Finished, Form, Server, Site, program, repository, sekisho};
use serde_json::json;

use crate::task::*;

#[test]
fn version() {
    let version = sekisho(["--version"]).exits(0);
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).expect("it is there");
    let number = version.text().trim().strip_prefix("sekisho ").map(str::to_owned).expect("name and version");
    assert!(manifest.contains(&format!("version = \"{number}\"")), "{version}");
}

#[test]
fn help_teaches() {
    sekisho(["--help"]).exits(0).says(&["run", "check", "demo"]);
    for command in ["run", "check"] {
        sekisho([command, "--help"]).exits(0).says(&["--config", "sekisho.json"]);
    }
}

#[test]
fn wrong_usage_is_named() {
    for (arguments, said) in [
        (&["run", "--confg", "a.json"][..], "--confg"),
        (&["rum"], "rum"),
        (&["run", "--config"], "--config"),
        (&["check", "--format", "xml"], "xml"),
        (&[], "Usage"),
    ] {
        sekisho(arguments).exits(2).says(&[said]);
    }
}

/// `run` and `check` of a bootstrap file: both end with 1 and say what is wrong with it.
#[track_caller]
fn is_refused(site: &Site, said: &[&str]) {
    for command in ["run", "check"] {
        let refused = sekisho([command.as_ref(), "--config".as_ref(), site.bootstrap().as_os_str()]);
        refused.exits(1).says(said).says(&["sekisho.json"]);
    }
}

#[test]
fn wrong_bootstrap_file_is_named() {
    let site = Site::new();
    for (text, said) in [
        (r#"{ "resources": ["resources/"], "resurces": [] }"#, &["resurces"][..]),
        (r#"{ "gateway": { "classname": "istio" } }"#, &["classname"]),
        ("{\n  \"workers\": \"two\"\n}", &["2:", "workers"]),
        ("{\n  \"workers\": 2,\n}", &[":3:1"]),
        (r#"{ "ports": { "https": 8443 } }"#, &["ports", "https"]),
        (r#"{ "addresses": ["localhost"] }"#, &["addr"]),
        (r#"{ "limits": { "headerTimeout": "soon" } }"#, &["soon"]),
        (r#"{ "plugins": { "routes": [{ "name": "x", "path": "builtin:traefik" }] } }"#, &["traefik", "istio"]),
        (r#"{ "plugins": { "routes": [{ "name": "x", "path": "nowhere.wasm" }] } }"#, &["nowhere.wasm"]),
        ("", &[":1:"]),
    ] {
        site.replace(&site.bootstrap(), text);
        is_refused(&site, said);
    }
    std::fs::remove_file(site.bootstrap()).expect("it was there");
    is_refused(&site, &["No such file"]);
}

#[test]
fn a_port_in_use_is_named() {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    let gateway = site.run();
    let second = Site::with_httpbin(Form::Istio);
    second.create_secret(HTTPBIN_CREDENTIAL);
    second.configure(&json!({ "ports": { "443": gateway.https(), "80": gateway.http() } }));
    // It may refuse to start or wait for the port; it says which one it is.
    let mut child = Command::new(program())
        .args(["run".as_ref(), "--config".as_ref(), second.bootstrap().as_os_str()])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway can be started");
    let address = format!("127.0.0.1:{}", gateway.https());
    let log = BufReader::new(child.stderr.take().expect("it is a pipe"));
    // The log ends with the gateway, and that at the latest when the patience of the rig's other end is over.
    let named = log.lines().map_while(Result::ok).take(50).any(|line| line.contains(&address));
    _ = child.kill();
    _ = child.wait();
    assert!(named, "nothing was said of {address}");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
}

#[test]
fn check_finds_nothing_in_what_is_good() {
    for form in Form::BOTH {
        let site = Site::with_httpbin(form);
        site.add_helloworld(form);
        site.create_secret(HTTPBIN_CREDENTIAL);
        site.create_secret(HELLOWORLD_CREDENTIAL);
        site.apply(&form.gateway(&[Server::simple("httpbin"), Server::simple("helloworld")]));
        let checked = site.check().exits(0);
        assert_eq!(checked.stderr, "", "{form:?}");
        only_the_tasks_certificates(&checked.text());
    }
}

/// Breaks one thing of a good site and looks for it in what `check` says.
#[track_caller]
fn finds(break_it: impl FnOnce(&Site), code: i32, said: &[&str]) {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    break_it(&site);
    site.check().exits(code).says(said);
}

#[test]
fn check_finds_what_is_broken() {
    finds(
        |site| site.replace(&site.resource("broken.json"), "{\n  \"kind\": \"Gateway\"\n  \"spec\": {}\n}"),
        1,
        &["broken.json", ":3:3"],
    );
    finds(
        |site| {
            let mut gateway = Form::Istio.gateway(&[Server::simple("httpbin")]);
            gateway["spec"]["servers"][0]["tls"]["mode"] = json!("SIMPEL");
            site.apply(&gateway);
        },
        1,
        &["mygateway", "SIMPEL", "mode"],
    );
    finds(|site| site.delete("Secret", "httpbin-credential"), 1, &["httpbin-credential", "mygateway"]);
    finds(
        |site| {
            site.create_secret(
                "generic httpbin-credential --from-file=tls.key=example_certs2/httpbin.example.com.key \
                 --from-file=tls.crt=example_certs1/httpbin.example.com.crt",
            );
        },
        1,
        &["httpbin-credential", "key"],
    );
    // A field that nobody knows is a warning: it may be of a newer version.
    finds(
        |site| {
            let mut gateway = Form::Istio.gateway(&[Server::simple("httpbin")]);
            gateway["spec"]["servers"][0]["tsl"] = json!({});
            site.apply(&gateway);
        },
        0,
        &["mygateway", "tsl"],
    );
}

#[test]
fn check_speaks_json() {
    let site = Site::with_httpbin(Form::Istio);
    let bootstrap = site.bootstrap();
    let checked = sekisho(["check".as_ref(), "--format=json".as_ref(), "--config".as_ref(), bootstrap.as_os_str()]);
    let checked = checked.exits(1);
    let findings: serde_json::Value =
        serde_json::from_slice(&checked.stdout).unwrap_or_else(|e| panic!("{e}\n{checked}"));
    assert!(findings.to_string().contains("httpbin-credential"), "{checked}");
}

/// SIGTERM and SIGINT let a request in flight end, then the exit code is 0.
#[test]
fn signals_drain() {
    for signal in ["TERM", "INT"] {
        let site = Site::with_httpbin(Form::Istio);
        site.create_secret(HTTPBIN_CREDENTIAL);
        let mut gateway = site.run();
        let slow = gateway.curl(HTTPBIN, "/delay/2").ca(ca());
        let answer = std::thread::spawn(move || slow.run());
        std::thread::sleep(std::time::Duration::from_millis(700));
        gateway.signal(signal);
        // Nobody new is let in meanwhile.
        rig::eventually(|| {
            let refused = gateway.curl(HTTPBIN, "/status/418").ca(ca()).run();
            if refused.exit == 7 { Ok(()) } else { Err(format!("still open\n{refused}")) }
        });
        let answer = answer.join().expect("curl runs");
        assert_eq!((answer.exit, answer.status), (0, 200), "{signal}\n{answer}");
        let status = gateway.ended(std::time::Duration::from_secs(5)).expect("it ends once nothing is in flight");
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

/// Every script that a person runs says what it is for.
#[test]
fn make_help_names_every_target() {
    let help = Finished::of(Command::new("make").arg("help").current_dir(repository())).exits(0);
    _ = help.says(&["help", "plugins", "build", "run", "test", "lint", "fmt", "clean"]);
}
