//! The routing table in the sandbox, the same code natively, and a naive reading of the objects agree on every request.
//!
//! The naive reading is written here from the API's text and shares no code with the plugins: for Istio the first
//! matching entry of the first matching rule, for the Gateway API the best of all matches by its precedence.

use std::cmp::Reverse;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use sekisho::bootstrap::Gateway;
use sekisho::model::Input;
use sekisho::plugin::{Environment, Head};
use sekisho::source::directory::Directory;
use serde_json::{Value, json};

use crate::subject::{InSandbox, Native, Subject, built_in, engine};

/// Configurations that are tried.
const CONFIGURATIONS: u32 = 60;
/// Requests that each is asked.
const REQUESTS: usize = 40;

const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/b", "/A"];
const HOSTS: [&str; 4] = ["x.test", "y.test", "a.x.test", "b.a.x.test"];
const PATTERNS: [&str; 5] = ["x.test", "y.test", "*.x.test", "*.a.x.test", "*"];
const METHODS: [&str; 2] = ["GET", "POST"];
const VALUES: [&str; 3] = ["1", "2", "3"];

#[derive(Clone, Debug)]
struct Match {
    exact: bool,
    path: &'static str,
    method: Option<&'static str>,
    header: Option<&'static str>,
    query: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Rule {
    matches: Vec<Match>,
}

#[derive(Clone, Debug)]
struct Asked {
    host: &'static str,
    path: &'static str,
    method: &'static str,
    header: Option<&'static str>,
    query: Option<&'static str>,
}

fn a_match() -> impl Strategy<Value = Match> {
    (
        any::<bool>(),
        select(&PATHS[..]),
        option::of(select(&METHODS[..])),
        option::of(select(&VALUES[..])),
        option::of(select(&VALUES[..])),
    )
        .prop_map(|(exact, path, method, header, query)| Match { exact, path, method, header, query })
}

fn rules() -> impl Strategy<Value = Vec<(&'static str, Vec<Rule>)>> {
    let rule = vec(a_match(), 1..3).prop_map(|matches| Rule { matches });
    vec((select(&PATTERNS[..]), vec(rule, 1..5)), 1..4).prop_map(|mut routes| {
        // One object a pattern: what several of one pattern become is the cases' to say.
        let mut seen = std::collections::HashSet::new();
        routes.retain(|(pattern, _)| seen.insert(*pattern));
        routes
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        select(&HOSTS[..]),
        select(&PATHS[..]),
        select(&METHODS[..]),
        option::of(select(&VALUES[..])),
        option::of(select(&VALUES[..])),
    )
        .prop_map(|(host, path, method, header, query)| Asked { host, path, method, header, query })
}

impl Match {
    fn conditions_hold(&self, asked: &Asked) -> bool {
        self.method.is_none_or(|method| method == asked.method)
            && self.header.is_none_or(|value| asked.header == Some(value))
            && self.query.is_none_or(|value| asked.query == Some(value))
    }
}

fn claims(pattern: &str, host: &str) -> bool {
    pattern == "*" || pattern == host || pattern.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
}

/// Exact, then the longest wildcard, then any.
fn specificity(pattern: &str) -> (bool, usize) {
    (!pattern.starts_with('*'), pattern.len())
}

fn naive_istio<'r>(routes: &'r [(&str, Vec<Rule>)], asked: &Asked) -> Option<(&'r str, usize)> {
    let (pattern, rules) = routes
        .iter()
        .filter(|(pattern, _)| claims(pattern, asked.host))
        .max_by_key(|(pattern, _)| specificity(pattern))?;
    let path_matches =
        |m: &Match| if m.exact { asked.path == m.path } else { asked.path.as_bytes().starts_with(m.path.as_bytes()) };
    let matched = |rule: &Rule| rule.matches.iter().any(|m| path_matches(m) && m.conditions_hold(asked));
    rules.iter().position(matched).map(|rule| (*pattern, rule))
}

fn naive_gateway_api<'r>(routes: &'r [(&str, Vec<Rule>)], asked: &Asked) -> Option<(&'r str, usize)> {
    let path_matches = |m: &Match| {
        if m.exact {
            return asked.path == m.path;
        }
        let prefix: Vec<&str> = m.path.split('/').filter(|element| !element.is_empty()).collect();
        let path: Vec<&str> = asked.path.split('/').skip(1).collect();
        path.starts_with(&prefix)
    };
    routes
        .iter()
        .enumerate()
        .filter(|(_, (pattern, _))| claims(pattern, asked.host))
        .flat_map(|(order, (pattern, rules))| {
            rules
                .iter()
                .enumerate()
                .flat_map(move |(number, rule)| rule.matches.iter().map(move |m| (order, *pattern, number, m)))
        })
        .filter(|(_, _, _, m)| path_matches(m) && m.conditions_hold(asked))
        .max_by_key(|(order, pattern, number, m)| {
            let path = (m.exact, m.path.trim_end_matches('/').len().max(1));
            let counted = (m.method.is_some(), m.header.is_some(), m.query.is_some());
            (specificity(pattern), path, counted, Reverse(*order), Reverse(*number))
        })
        .map(|(_, pattern, number, _)| (pattern, number))
}

/// A valid object name that tells the pattern.
fn name(pattern: &str) -> String {
    pattern.replace('*', "any").replace('.', "-")
}

fn istio_objects(routes: &[(&str, Vec<Rule>)]) -> Vec<Value> {
    let gateway = json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g"},
        "spec": {"servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}});
    let virtual_services = routes.iter().map(|(pattern, rules)| {
        let http: Vec<Value> = rules
            .iter()
            .map(|rule| {
                let matches: Vec<Value> = rule
                    .matches
                    .iter()
                    .map(|m| {
                        let mut said = json!({"uri": {if m.exact { "exact" } else { "prefix" }: m.path}});
                        if let Some(method) = m.method {
                            said["method"] = json!({"exact": method});
                        }
                        if let Some(value) = m.header {
                            said["headers"] = json!({"x-h": {"exact": value}});
                        }
                        if let Some(value) = m.query {
                            said["queryParams"] = json!({"q": {"exact": value}});
                        }
                        said
                    })
                    .collect();
                json!({"match": matches, "directResponse": {"status": 200}})
            })
            .collect();
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name(pattern)},
            "spec": {"hosts": [pattern], "gateways": ["g"], "http": http}})
    });
    std::iter::once(gateway).chain(virtual_services).collect()
}

fn gateway_api_objects(routes: &[(&str, Vec<Rule>)]) -> Vec<Value> {
    let gateway = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g"},
        "spec": {"gatewayClassName": "istio", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}});
    // Equals are told apart by age; the naive reading takes them in this order.
    let http_routes = routes.iter().enumerate().map(|(order, (pattern, rules))| {
        let rules: Vec<Value> = rules
            .iter()
            .map(|rule| {
                let matches: Vec<Value> = rule
                    .matches
                    .iter()
                    .map(|m| {
                        let kind = if m.exact { "Exact" } else { "PathPrefix" };
                        let mut said = json!({"path": {"type": kind, "value": m.path}});
                        if let Some(method) = m.method {
                            said["method"] = json!(method);
                        }
                        if let Some(value) = m.header {
                            said["headers"] = json!([{"name": "x-h", "value": value}]);
                        }
                        if let Some(value) = m.query {
                            said["queryParams"] = json!([{"name": "q", "value": value}]);
                        }
                        said
                    })
                    .collect();
                json!({"matches": matches, "filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 302}}]})
            })
            .collect();
        let hostnames = if *pattern == "*" { json!([]) } else { json!([pattern]) };
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name(pattern), "creationTimestamp": format!("2026-01-01T00:00:{order:02}Z")},
            "spec": {"parentRefs": [{"name": "g"}], "hostnames": hostnames, "rules": rules}})
    });
    std::iter::once(gateway).chain(http_routes).collect()
}

/// What a subject answers: the route's name.
fn ask(subject: &mut dyn Subject, objects: &[Value], requests: &[Asked]) -> Vec<Option<String>> {
    let gateway = Gateway::default();
    let directory = tempfile::tempdir().expect("a directory");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(directory.path().join("objects.json"), list.to_string()).expect("a file");
    let snapshot = Directory::new(vec![directory.path().to_owned()], gateway.clone(), u64::MAX).read();
    let objects: Vec<_> = subject
        .reads()
        .iter()
        .flat_map(|(group, kind, _)| snapshot.of_kind(group, kind).cloned().collect::<Vec<_>>())
        .collect();
    let translation =
        subject.translate(&Environment { gateway, config: Value::Null }, &objects).expect("a translation");
    let listener = &translation.listeners[0];
    requests
        .iter()
        .map(|asked| {
            let query = asked.query.map(|value| format!("q={value}"));
            let inputs: Vec<Option<&[u8]>> = listener
                .inputs
                .iter()
                .map(|input| match input {
                    Input::Method => Some(asked.method.as_bytes()),
                    Input::Query => query.as_deref().map(str::as_bytes),
                    Input::Header(name) if name == "x-h" => asked.header.map(str::as_bytes),
                    other => panic!("nothing reads {other:?}"),
                })
                .collect();
            let head = Head { listener: 0, host: asked.host, path: asked.path, inputs: &inputs };
            let route = subject.route(head)?;
            Some(translation.routes[route as usize].name.clone())
        })
        .collect()
}

type Routes = Vec<(&'static str, Vec<Rule>)>;
type Written = fn(&[(&str, Vec<Rule>)]) -> Vec<Value>;
type Naive = for<'r> fn(&'r [(&str, Vec<Rule>)], &Asked) -> Option<(&'r str, usize)>;

fn agree(native: &mut dyn Subject, sandboxed: &mut dyn Subject, objects: Written, naive: Naive) {
    let mut runner = TestRunner::new(Config { cases: CONFIGURATIONS, failure_persistence: None, ..Config::default() });
    let native = std::cell::RefCell::new(native);
    let sandboxed = std::cell::RefCell::new(sandboxed);
    let property = |(routes, requests): (Routes, Vec<Asked>)| {
        let objects = objects(&routes);
        let natively = ask(&mut **native.borrow_mut(), &objects, &requests);
        let in_sandbox = ask(&mut **sandboxed.borrow_mut(), &objects, &requests);
        prop_assert_eq!(&natively, &in_sandbox);
        for (asked, answered) in requests.iter().zip(natively) {
            let expected = naive(&routes, asked).map(|(pattern, rule)| format!("default/{}/{rule}", name(pattern)));
            // A rule with several actions may give its routes longer names.
            let same = match (&expected, &answered) {
                (Some(expected), Some(answered)) => {
                    answered == expected
                        || answered.strip_prefix(expected.as_str()).is_some_and(|rest| rest.starts_with(['/', '.']))
                }
                (None, None) => true,
                _ => false,
            };
            prop_assert!(same, "{asked:?}: the naive reading says {expected:?}, the table {answered:?}");
        }
        Ok(())
    };
    runner.run(&(rules(), vec(asked(), REQUESTS)), property).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn istio_agrees_with_a_naive_reading() {
    let mut sandboxed = InSandbox::new(&engine(), built_in("istio"));
    agree(&mut Native::<sekisho_istio::Istio>::new(), &mut sandboxed, istio_objects, naive_istio);
}

#[test]
fn gateway_api_agrees_with_a_naive_reading() {
    let mut sandboxed = InSandbox::new(&engine(), built_in("gateway-api"));
    let native = &mut Native::<sekisho_gateway_api::GatewayApi>::new();
    agree(native, &mut sandboxed, gateway_api_objects, naive_gateway_api);
}
