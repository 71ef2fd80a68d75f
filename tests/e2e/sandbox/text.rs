//! What plugins say for people to read.

use rig::{Line, Site, misbehaving};
use serde_json::json;

use super::{HOST, Pair, site_of_two};

/// What does more on a terminal than stand there.
fn acts(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}')
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    // Lines are written on the plugin's time, and a busy machine writes slowly: what is tried here is their number.
    let pair = Pair::configured(&misbehaving("log-flood"), &json!({ "limits": { "route": "10s" } }));
    let place = pair.here();
    pair.ask("/misbehave").answers(200);
    pair.gateway.log().wait_since(place, |line| line.has(&["bad", "logs too much"]));
    let flood = pair.gateway.log().since(place).iter().filter(|line| line.is("flood")).count();
    assert!((1..=100).contains(&flood), "{flood} lines of the flood are in the log");
    pair.the_good_one_serves();
}

#[test]
fn terminal_escapes_are_shown_not_sent() {
    let pair = Pair::with(&misbehaving("terminal-escapes"));
    pair.ask("/").answers(200);
    pair.ask("/refused").answers(500);
    pair.ask("/misbehave").answers(503);
    let log = pair.gateway.log();
    for said in ["message", "logged", "panic", "status", "type", "route", "listener"] {
        log.wait(|line| line.text.contains(&format!("{said}\\\\u{{1b}}[31m")));
    }
    let lines = log.since(0);
    let sent: Vec<&Line> = lines.iter().filter(|line| strings(&line.text).iter().any(|text| acts(text))).collect();
    assert!(sent.is_empty(), "{sent:#?}");
    pair.the_good_one_serves();
}

/// Every string in a line of the log, as whoever reads the JSON gets it.
fn strings(line: &str) -> Vec<String> {
    fn walk(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => found.push(text.clone()),
            serde_json::Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            serde_json::Value::Object(fields) => fields.values().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::from_str(line).expect("the log is JSON"), &mut found);
    found
}

#[test]
fn terminal_escapes_in_findings_are_not_printed() {
    let site: Site = site_of_two(&misbehaving("terminal-escapes"), &json!({ "config": { "host": HOST } }));
    let checked =
        site.check().says(&["message\\u{1b}[31m", "remedy\\u{1b}[31m", "object\\u{1b}[31m", "code\\u{1b}[31m"]);
    assert!(!acts(&checked.text()) && !acts(&checked.stderr), "{checked}");
}
