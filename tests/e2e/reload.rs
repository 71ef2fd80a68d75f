//! Changes while it runs: in force soon, whole, and at nobody's expense.

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use rig::{Backend, Form, Gateway, Http, Match, Route, Server, Site, endpoints, eventually, plugin, service};
use serde_json::json;

use crate::task::*;

in_both_forms!(a_change_is_in_force_within_a_second, no_request_fails_during_route_changes);

/// A gateway with the task's httpbin and helloworld's route, on a small backend.
fn site(form: Form) -> Site {
    let site = Site::with_httpbin(form);
    site.create_secret(HTTPBIN_CREDENTIAL);
    site
}

/// A route of httpbin's host that serves one status only.
fn only(form: Form, path: &'static str) -> serde_json::Value {
    form.route(&Route::new("httpbin", 8000, &[Match::Exact(path)]))
}

#[track_caller]
fn serves(gateway: &Gateway, path: &str) {
    let status = path.rsplit('/').next().and_then(|status| status.parse().ok()).expect("a path ends in its status");
    gateway.curl(HTTPBIN, path).ca(ca()).soon().answers(status);
}

fn a_change_is_in_force_within_a_second(form: Form) {
    let site = site(form);
    let gateway = site.run();
    site.apply(&only(form, "/status/200"));
    gateway.curl(HTTPBIN, "/status/201").ca(ca()).soon().answers(404);
    let mut times: Vec<_> = ["/status/201", "/status/202", "/status/203", "/status/206", "/status/418"]
        .into_iter()
        .map(|path| {
            let start = Instant::now();
            site.apply(&only(form, path));
            serves(&gateway, path);
            start.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_secs(1), "the median of {times:?}");
    gateway.curl(HTTPBIN, "/status/201").ca(ca()).answers(404);
}

fn no_request_fails_during_route_changes(form: Form) {
    let site = site(form);
    site.apply(&service("teapot", 80));
    site.apply(&endpoints("teapot", "local", Some(Backend::start("teapot").address())));
    let gateway = site.run();
    let to = |service, port| form.route(&Route::httpbin().to(service, port));
    std::thread::scope(|scope| {
        let asking = Http::BOTH.map(|http| {
            // One connection, on which the requests come faster than the changes; and one connection for each few.
            let steady = gateway.curl(HTTPBIN, "/status/418?[1-100]").ca(ca()).http(http).arg("--rate").arg("40/s");
            let fresh = gateway.curl(HTTPBIN, "/status/418?[1-5]").ca(ca()).http(http);
            let steady = scope.spawn(move || steady.statuses());
            let fresh = scope.spawn(move || (0..15).map(|_| fresh.statuses()).collect::<Vec<_>>());
            (steady, fresh)
        });
        for change in 0..20 {
            site.apply(&if change % 2 == 0 { to("teapot", 80) } else { to("httpbin", 8000) });
            std::thread::sleep(Duration::from_millis(100));
        }
        for (steady, fresh) in asking {
            assert_eq!(steady.join().expect("curl runs"), (0, vec![418; 100]));
            for round in fresh.join().expect("curl runs") {
                assert_eq!(round, (0, vec![418; 5]));
            }
        }
    });
    site.apply(&to("teapot", 80));
    eventually(|| {
        let answer = gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
        answer.header("x-instance").map(drop).ok_or_else(|| format!("not the last route\n{answer}"))
    });
}

#[test]
fn an_open_connection_outlives_a_new_certificate() {
    let site = site(Form::Istio);
    let gateway = site.run();
    std::thread::scope(|scope| {
        let ask = gateway.curl(HTTPBIN, "/status/418?[1-40]").ca(ca()).arg("--rate").arg("20/s");
        let open = scope.spawn(move || ask.statuses());
        std::thread::sleep(Duration::from_millis(300));
        site.create_secret(HTTPBIN_CREDENTIAL_2);
        gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
        assert_eq!(open.join().expect("curl runs"), (0, vec![418; 40]));
    });
}

#[test]
fn a_file_edited_in_place() {
    let site = site(Form::Istio);
    let gateway = site.run();
    let file = site.object("VirtualService", "httpbin");
    let mut file = fs::OpenOptions::new().write(true).open(file).expect("the file is there");
    // As some editors do: cut to nothing, then written in pieces.
    let text = only(Form::Istio, "/status/201").to_string();
    let (first, second) = text.split_at(text.len() / 2);
    file.set_len(0).and_then(|()| file.rewind()).expect("it can be cut");
    file.write_all(first.as_bytes()).expect("it can be written");
    serves_nothing_else(&gateway);
    file.write_all(second.as_bytes()).expect("it can be written");
    serves(&gateway, "/status/201");
}

/// While a file is broken what was good goes on.
#[track_caller]
fn serves_nothing_else(gateway: &Gateway) {
    for _ in 0..10 {
        gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
        std::thread::sleep(Duration::from_millis(30));
    }
}

#[test]
fn a_file_moved_in_and_out() {
    let site = site(Form::Istio);
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    let (inside, outside) = (site.object("VirtualService", "httpbin"), site.directory().join("outside.json"));
    fs::rename(&inside, &outside).expect("one file system");
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);
    fs::rename(&outside, site.resource("under another name.json")).expect("one file system");
    serves(&gateway, "/status/418");
}

#[test]
fn a_broken_file_changes_nothing_and_is_reported() {
    let site = site(Form::Istio);
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    let file = site.object("VirtualService", "httpbin");
    let place = gateway.log().here();
    site.replace(&file, "{\n  \"apiVersion\": \"networking.istio.io/v1\",\n  \"kind\" \"VirtualService\"\n}\n");
    let line =
        gateway.log().wait_since(place, |line| line.is_complaint() && line.has(&["virtualservice.httpbin.json"]));
    // Either as `file:3:10` or in words; the colon is missing in the third line.
    assert!(line.has(&[":3:"]) || line.has(&["line", "3", "column"]), "line and column: {}", line.text);
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);

    // It holds up nothing else, and is said once.
    site.create_secret(HTTPBIN_CREDENTIAL_2);
    gateway.curl(HTTPBIN, "/status/418").ca(ca_2()).soon().answers(418);
    let complaints = gateway.log().since(place).into_iter().filter(|line| line.has(&["virtualservice.httpbin.json"]));
    assert_eq!(complaints.count(), 1, "{}", gateway.log().tail());

    site.replace(&file, only(Form::Istio, "/status/201").to_string());
    gateway.curl(HTTPBIN, "/status/201").ca(ca_2()).soon().answers(201);
}

#[test]
fn an_unknown_kind_or_an_empty_file_harms_nobody() {
    let site = site(Form::Istio);
    let gateway = site.run();
    site.apply(&json!({ "apiVersion": "example.com/v1", "kind": "Teapot", "metadata": { "name": "short-and-stout" } }));
    site.replace(&site.resource("empty.json"), "");
    site.replace(&site.resource("README"), "no objects here");
    site.apply(&only(Form::Istio, "/status/201"));
    serves(&gateway, "/status/201");
}

/// A volume as the kubelet mounts it: files are links through `..data`, which is swapped.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn show(&self, version: &str, files: &[(&str, String)]) {
        let fresh = self.0.join(format!("..{version}"));
        fs::create_dir(&fresh).expect("a new version");
        for (name, text) in files {
            fs::write(fresh.join(name), text).expect("its own directory can be written");
            let link = self.0.join(name);
            if fs::symlink_metadata(&link).is_err() {
                symlink(Path::new("..data").join(name), link).expect("links can be made");
            }
        }
        let old = fs::read_link(self.0.join("..data")).ok();
        symlink(format!("..{version}"), self.0.join("..data_tmp")).expect("links can be made");
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).expect("one file system");
        if let Some(old) = old {
            fs::remove_dir_all(self.0.join(old)).expect("the old version goes");
        }
    }
}

#[test]
fn a_volume_swapped_as_kubernetes_does() {
    let site = site(Form::Istio);
    site.delete("VirtualService", "httpbin");
    let directory = site.directory().join("mounted");
    fs::create_dir(&directory).expect("its own directory can be written");
    site.configure(&json!({ "resources": ["resources/", "mounted/"] }));
    let mount = Mount(&directory);
    let version = |path| [("route.json", only(Form::Istio, path).to_string())];
    mount.show("one", &version("/status/201"));
    let gateway = site.run();
    serves(&gateway, "/status/201");
    for (name, path) in [("two", "/status/202"), ("three", "/status/203"), ("four", "/status/418")] {
        mount.show(name, &version(path));
        serves(&gateway, path);
    }
    let again = gateway.log().since(0).into_iter().filter(|line| line.is_complaint() && line.has(&["route.json"]));
    assert_eq!(again.count(), 0, "one object is not two\n{}", gateway.log().tail());
}

#[test]
fn a_linked_directory_swapped() {
    let site = site(Form::Istio);
    let file = site.object("VirtualService", "httpbin");
    fs::remove_file(file).expect("it was there");
    for (version, path) in [("v1", "/status/201"), ("v2", "/status/202")] {
        let directory = site.directory().join(version);
        fs::create_dir(&directory).expect("its own directory can be written");
        fs::write(directory.join("route.json"), only(Form::Istio, path).to_string()).expect("it can be written");
    }
    let current = site.directory().join("current");
    symlink("v1", &current).expect("links can be made");
    site.configure(&json!({ "resources": ["resources/", "current"] }));
    let gateway = site.run();
    serves(&gateway, "/status/201");
    let next = site.directory().join("next");
    symlink("v2", &next).and_then(|()| fs::rename(&next, &current)).expect("one file system");
    serves(&gateway, "/status/202");
    gateway.curl(HTTPBIN, "/status/201").ca(ca()).answers(404);
}

#[test]
fn hup_reads_the_bootstrap_file_again() {
    let site = site(Form::Istio);
    let other = site.directory().join("other");
    fs::create_dir(&other).expect("its own directory can be written");
    fs::rename(site.object("VirtualService", "httpbin"), other.join("route.json")).expect("one file system");
    let gateway = site.run();
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(404);

    site.configure(&json!({ "resources": ["resources/", "other/"] }));
    gateway.signal("HUP");
    serves(&gateway, "/status/418");

    // What only a restart brings into force is named, and the rest is in force all the same.
    let place = gateway.log().here();
    site.configure(&json!({ "resources": ["resources/"], "workers": 1 }));
    gateway.signal("HUP");
    gateway.log().wait_since(place, |line| line.has(&["workers", "restart"]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(404);

    // A broken one changes nothing.
    let place = gateway.log().here();
    site.replace(&site.bootstrap(), r#"{ "resource": ["other/"] }"#);
    gateway.signal("HUP");
    gateway.log().wait_since(place, |line| line.is_complaint() && line.has(&["sekisho.json", "resource"]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(404);
}

#[test]
fn a_plugin_file_swapped() {
    let site = site(Form::Istio);
    let file = site.directory().join("istio.wasm");
    fs::copy(plugin("istio"), &file).expect("the plugin is built");
    site.configure(&json!({ "plugins": { "routes": [{ "name": "mine", "path": "istio.wasm" }] } }));
    let gateway = site.run();
    serves(&gateway, "/status/418");

    let place = gateway.log().here();
    site.replace(&file, "not WebAssembly");
    gateway.log().wait_since(place, |line| line.is_complaint() && line.has(&["mine"]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);

    // What the old one knew is still in force, and the next good one goes on from there.
    let place = gateway.log().here();
    let aside = site.directory().join("aside");
    fs::copy(plugin("istio"), &aside).and_then(|_| fs::rename(&aside, &file)).expect("one file system");
    gateway.log().wait_since(place, |line| line.is("serving") || line.has(&["mine"]));
    site.apply(&only(Form::Istio, "/status/201"));
    serves(&gateway, "/status/201");
}

#[test]
fn a_gateway_may_start_with_nothing() {
    let site = Site::new();
    let gateway = site.run();
    site.apply(&service("httpbin", 8000));
    site.apply(&endpoints("httpbin", "local", Some(rig::httpbin())));
    site.create_secret(HTTPBIN_CREDENTIAL);
    site.apply(&only(Form::Istio, "/status/418"));
    site.apply(&Form::Istio.gateway(&[Server::simple("httpbin")]));
    gateway.curl(HTTPBIN, "/status/418").ca(ca()).soon().answers(418);
}
