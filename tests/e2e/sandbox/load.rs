//! What is no plugin, or no plugin for this host, is not loaded, says why, and leaves the one that was.

use rig::misbehaving;
use serde_json::{Value, json};

use super::{Pair, leaves_the_last_good_part, leaves_the_last_good_part_of, site_of_two};

#[track_caller]
fn is_not_loaded(code: &[u8], said: &[&str]) {
    leaves_the_last_good_part(code, "not loaded", said);
}

#[test]
fn garbage() {
    is_not_loaded(b"#!/bin/sh\n", &["it is not WebAssembly"]);
}

#[test]
fn garbage_that_begins_well() {
    is_not_loaded(b"\0asm\x0d\0\x01\0garbage", &["it does not compile"]);
}

#[test]
fn a_file_that_is_too_large() {
    is_not_loaded(&vec![0; (32 << 20) + 1], &["it is larger than 33554432 bytes"]);
}

/// The compiler takes gigabytes for some functions that are not even this large.
#[test]
fn a_function_that_is_too_large() {
    let text = format!("(component (core module (func {})))", "nop ".repeat(600_000));
    let code = wat::parse_str(text).expect("it is well formed");
    is_not_loaded(&code, &["a function of 600002 bytes with 0 locals is too large"]);
}

#[test]
fn a_component_of_another_world() {
    is_not_loaded(&misbehaving("wrong-world"), &["exports no sekisho:gateway/translator", "sekisho-sdk"]);
}

#[test]
fn a_plugin_for_secrets_among_those_for_routes() {
    let secrets = std::fs::read(rig::plugin("kubernetes-secrets")).expect("it is built");
    is_not_loaded(&secrets, &["list it under plugins.secrets"]);
}

#[test]
fn a_plugin_for_routes_among_those_for_secrets() {
    let site = site_of_two(&misbehaving("trap-in-route"), &json!({}));
    site.configure(&json!({ "plugins": { "secrets": [{ "name": "bad", "path": "bad.wasm" }] } }));
    site.check().exits(1).says(&["plugin bad", "list it under plugins.routes"]);
}

#[test]
fn a_plugin_for_another_version() {
    let said = ["built for `sekisho:gateway/translator@0.2.0`", "serves version 0.1.0"];
    is_not_loaded(&misbehaving("wrong-version"), &said);
}

#[test]
fn functions_that_are_missing() {
    is_not_loaded(&misbehaving("wrong-shape"), &["describe"]);
}

#[test]
fn an_import_that_plugins_do_not_get() {
    is_not_loaded(&misbehaving("unknown-import"), &["wasi:clocks/monotonic-clock@0.2.0", "does not give"]);
}

#[test]
fn a_function_that_waits() {
    is_not_loaded(&misbehaving("async-export"), &["asynchronous", "rebuild it without `async`"]);
}

#[test]
fn an_instance_that_never_comes_to_be() {
    let limits = json!({ "limits": { "translate": "200ms" } });
    leaves_the_last_good_part_of(&misbehaving("loop-at-start"), &limits, "describe", &["longer than its 200ms"]);
}

#[test]
fn tables_that_grow() {
    is_not_loaded(&misbehaving("table-growth"), &["describe", "unreachable"]);
}

#[test]
fn memory_that_grows_at_the_start() {
    is_not_loaded(&misbehaving("memory-at-start"), &["describe", "unreachable"]);
}

#[test]
fn memory_in_parts() {
    is_not_loaded(&misbehaving("memory-in-parts"), &["describe", "exceeds memory limits"]);
}

#[test]
fn more_memories_than_anybody_needs() {
    is_not_loaded(&misbehaving("many-memories"), &["describe", "memory count too high"]);
}

#[test]
fn the_same_objects_again_and_again() {
    is_not_loaded(&misbehaving("greedy-describe"), &["it names the kind Service twice"]);
}

/// Where there is no last good one: the others serve, and `check` says what is wrong.
#[test]
fn a_start_with_what_is_no_plugin() {
    let keys: Value = json!({});
    let pair = Pair::configured(b"garbage", &keys);
    pair.names_the_failure(0, "not loaded", &["it is not WebAssembly"]);
    pair.the_good_one_serves();
    pair.ask("/").arg("--max-time").arg("5").fails(7, "");
    pair.site.check().exits(1).says(&["plugin bad", "it is not WebAssembly"]);
}
