//! A plugin that misbehaves costs what it was asked for, and nothing else: `tests/misbehaving/` beside a good plugin.

mod load;
mod request;
mod text;
mod translation;

use rig::{Curl, Form, Gateway, Http, Site, eventually, misbehaving};
use serde_json::{Value, json};

use crate::task::*;

/// The bootstrap name of the misbehaving plugin.
const BAD: &str = "bad";
/// The host that it serves, as long as it serves.
const HOST: &str = "misbehaving.example.com";
/// One that serves as long as nobody asks for its trap.
const GOOD_AT_FIRST: &str = "trap-in-route";

/// A gateway of one worker, so that every request meets the same instances, with two plugins: one to misbehave, and a
/// good one that serves httpbin.
struct Pair {
    gateway: Gateway,
    site: Site,
}

impl Pair {
    fn with(code: &[u8]) -> Self {
        Self::configured(code, &json!({}))
    }

    /// The same with these keys in the plugin's entry of `sekisho.json`.
    fn configured(code: &[u8], keys: &Value) -> Self {
        let site = site_of_two(code, keys);
        let gateway = site.run();
        Self { gateway, site }
    }

    /// Asks the plugin that misbehaves.
    fn ask(&self, path: &str) -> Curl {
        self.gateway.curl_http(HOST, path).http(Http::One)
    }

    #[track_caller]
    fn the_good_one_serves(&self) {
        self.gateway.curl(HTTPBIN, "/status/418").ca(ca()).answers(418);
    }

    /// Puts other code in the place of the plugin's.
    fn replace(&self, code: &[u8]) {
        put(&self.site, code);
    }

    fn here(&self) -> usize {
        self.gateway.log().here()
    }

    #[track_caller]
    fn names_the_failure(&self, since: usize, call: &str, said: &[&str]) {
        names_the_failure(&self.gateway, since, BAD, call, said);
    }
}

fn site_of_two(code: &[u8], keys: &Value) -> Site {
    let site = Site::with_httpbin(Form::Istio);
    site.create_secret(HTTPBIN_CREDENTIAL);
    put(&site, code);
    let mut bad = json!({ "name": BAD, "path": "bad.wasm", "config": { "host": HOST } });
    for (key, value) in keys.as_object().expect("keys of a plugin") {
        bad[key] = value.clone();
    }
    let routes = [bad, json!({ "name": "istio", "path": "builtin:istio" })];
    site.configure(&json!({ "workers": 1, "plugins": { "routes": routes } }));
    site
}

fn put(site: &Site, code: &[u8]) {
    let aside = site.directory().join("bad.aside");
    std::fs::write(&aside, code).expect("its own directory can be written");
    std::fs::rename(&aside, site.directory().join("bad.wasm")).expect("its own directory can be written");
}

/// Where an operator looks, it says which plugin failed, in which call, and how.
#[track_caller]
fn names_the_failure(gateway: &Gateway, since: usize, plugin: &str, call: &str, said: &[&str]) {
    gateway.log().wait_since(since, |line| line.is_complaint() && line.has(&[plugin, call]) && line.has(said));
    eventually(|| {
        let told = told_by_status(gateway, plugin);
        let missing = [call].into_iter().chain(said.iter().copied()).find(|part| !told.contains(part));
        missing.map_or(Ok(()), |part| Err(format!("`sekisho status` says nothing of {part:?}:\n{told}")))
    });
}

/// What `sekisho status` says of a plugin's failures, in the log's own form.
fn told_by_status(gateway: &Gateway, plugin: &str) -> String {
    let status = gateway.status();
    let entries = |part: &str| status[part].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut told: Vec<String> = entries("findings").iter().map(ToString::to_string).collect();
    for plugin in entries("plugins").iter().filter(|entry| entry["name"] == plugin) {
        let failure = &plugin["lastFailure"];
        let frames: Vec<String> = failure["backtrace"].as_array().into_iter().flatten().map(text).collect();
        told.push(text(&plugin["problem"]));
        told.push(format!("{}: {} at {}", text(&failure["call"]), text(&failure["cause"]), frames.join(" < ")));
    }
    told.join("\n")
}

/// A plugin that went on well is replaced by one that cannot be used: it serves on as it was, and the new code is taken
/// once it is good again.
#[track_caller]
fn leaves_the_last_good_part(bad: &[u8], call: &str, said: &[&str]) {
    leaves_the_last_good_part_of(bad, &json!({}), call, said);
}

#[track_caller]
fn leaves_the_last_good_part_of(bad: &[u8], keys: &Value, call: &str, said: &[&str]) {
    let good = misbehaving(GOOD_AT_FIRST);
    let pair = Pair::configured(&good, keys);
    pair.ask("/").answers(200);
    let place = pair.here();
    pair.replace(bad);
    pair.names_the_failure(place, call, said);
    pair.ask("/").answers(200);
    pair.the_good_one_serves();
    let place = pair.here();
    pair.replace(&good);
    pair.gateway.log().wait_since(place, |line| line.has(&["resolved", BAD]));
    pair.ask("/").answers(200);
}
