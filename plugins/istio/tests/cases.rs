//! Runs `tests/cases/istio` natively: objects are translated, requests are routed, answers, findings and statuses are
//! compared. Only what the cases of this dialect need of a host is imitated here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sekisho_istio::Istio;
use sekisho_sdk::model::{
    Action, Destination, Forward, HeaderOp, HostPattern, Listener, Locator, PathRewrite, Protocol, Redirect,
    RedirectPort, Text, Translation, Verdict,
};
use sekisho_sdk::table::Table;
use sekisho_sdk::{
    Environment, ListenerState, Object, ObjectKey, Outcome, RequestHead, RoutePlugin, Router, Severity, SourceState,
};
use serde_json::{Map, Value, json};

#[test]
fn every_case_answers_as_written() {
    let mut files = Vec::new();
    find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/istio"), &mut files);
    files.sort();
    assert!(files.len() >= 30, "only {} cases were found", files.len());
    let failures: Vec<String> = files.iter().flat_map(|file| run(file)).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), files.len(), failures.join("\n"));
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder of cases").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}

fn run(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).expect("a case");
    let case: Value = match serde_saphyr::from_str(&text) {
        Ok(case) => case,
        Err(error) => return vec![format!("{}: {error}", file.display())],
    };
    let mut failures = Vec::new();
    let known = ["about", "environment", "objects", "outcome", "requests", "findings", "status"];
    failures.extend(unknown(&case, &known));
    let (translation, plugin) = match Istio::translate(environment(&case["environment"]), objects(&case["objects"])) {
        Ok(translated) => translated,
        Err(findings) => return vec![format!("{}: {findings:?}", file.display())],
    };
    let table = Table::decode(&translation.table).expect("the plugin's own table");
    for request in list(&case["requests"]) {
        for failure in check_request(request, &translation, &table) {
            failures.push(format!("{} {}: {failure}", request["url"].as_str().unwrap_or_default(), request["headers"]));
        }
    }
    check_findings(list(&case["findings"]), &translation, &mut failures);
    check_statuses(&case, &translation, &plugin, &mut failures);
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    failures.into_iter().map(|failure| format!("  {name}: {failure}")).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn unknown(value: &Value, known: &[&str]) -> Option<String> {
    let keys = value.as_object()?;
    keys.keys().find(|key| !known.contains(&key.as_str())).map(|key| format!("`{key}` is not a key of a case"))
}

fn environment(said: &Value) -> Environment {
    let labels = match said["labels"].as_object() {
        Some(labels) => labels.clone(),
        None => Map::from_iter([("istio".to_owned(), json!("ingressgateway"))]),
    };
    Environment {
        namespace: said["namespace"].as_str().unwrap_or("istio-system").to_owned(),
        labels: labels
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        class_name: "istio".to_owned(),
        controller_name: "sekisho.dev/gateway-controller".to_owned(),
        capabilities: Vec::new(),
        config: "null".to_owned(),
    }
}

fn objects(said: &Value) -> Vec<Object> {
    list(said)
        .iter()
        .cloned()
        .map(|mut object| {
            let metadata = &mut object["metadata"];
            for (field, default) in [("namespace", json!("default")), ("generation", json!(1))] {
                if metadata[field].is_null() {
                    metadata[field] = default;
                }
            }
            let text = |value: &Value| value.as_str().expect("text").to_owned();
            let api_version = text(&object["apiVersion"]);
            let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
            let metadata = &object["metadata"];
            let (namespace, name) = (text(&metadata["namespace"]), text(&metadata["name"]));
            let key = ObjectKey::new(group, &text(&object["kind"]), &namespace, &name);
            Object { key, version: version.to_owned(), json: object.to_string().into_bytes() }
        })
        .collect()
}

/// A request, taken apart.
struct Request<'r> {
    said: &'r Value,
    scheme: &'r str,
    authority: &'r str,
    host: String,
    port: u16,
    path: &'r str,
    query: Option<&'r str>,
}

impl<'r> Request<'r> {
    fn new(said: &'r Value) -> Self {
        let url = said["url"].as_str().expect("a URL");
        let (scheme, rest) = url.split_once("://").expect("a scheme");
        let (authority, target) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().expect("a port")),
            None => (authority, if scheme == "https" { 443 } else { 80 }),
        };
        let host = host.to_ascii_lowercase();
        Self { said, scheme, authority, host, port, path, query }
    }

    fn input(&self, name: &str) -> Option<Vec<u8>> {
        let text = match name {
            ":method" => self.said["method"].as_str().unwrap_or("GET"),
            ":scheme" => self.scheme,
            ":authority" => self.authority,
            ":query" => self.query?,
            header => {
                let headers = self.said["headers"].as_object()?;
                headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(header))?.1.as_str()?
            }
        };
        Some(text.as_bytes().to_vec())
    }
}

fn claim(listener: &Listener, host: Option<&str>) -> Option<(u8, usize)> {
    let rank = |pattern: &HostPattern| match (pattern, host) {
        (HostPattern::Any, _) => Some((0, 0)),
        (HostPattern::Exact(name), Some(host)) => (name == host).then_some((2, 0)),
        (HostPattern::Subdomains(suffix), Some(host)) => {
            host.strip_suffix(suffix.as_str())?.strip_suffix('.').map(|_| (1, suffix.len()))
        }
        _ => None,
    };
    listener.hosts.iter().filter_map(rank).max()
}

fn choose<'t>(translation: &'t Translation, request: &Request<'_>, host: Option<&str>) -> Option<(u32, &'t Listener)> {
    let tls = request.scheme == "https";
    let listeners = translation.listeners.iter().enumerate();
    let here = listeners.filter(|(_, listener)| {
        let speaks_tls = !matches!(listener.protocol, Protocol::Http | Protocol::Tcp | Protocol::Udp);
        listener.port == request.port && speaks_tls == tls
    });
    let (index, listener) = here.max_by_key(|(_, listener)| claim(listener, host))?;
    claim(listener, host)?;
    Some((u32::try_from(index).expect("few listeners"), listener))
}

/// The answer as the case could name it.
fn answer(request: &Request<'_>, translation: &Translation, table: &Table) -> Value {
    let sni = match &request.said["sni"] {
        Value::Null if request.said.get("sni").is_some() => None,
        Value::Null => Some(request.host.as_str()),
        name => name.as_str(),
    };
    let mut answer = json!({});
    let by_authority = choose(translation, request, Some(&request.host));
    let chosen = if request.scheme == "https" { choose(translation, request, sni) } else { by_authority };
    let Some((mut index, mut listener)) = chosen else {
        return if request.scheme == "https" {
            json!({ "alert": "unrecognized_name" })
        } else {
            json!({ "status": 404 })
        };
    };
    let termination = |listener: &Listener| match &listener.protocol {
        Protocol::Https(tls) | Protocol::Tls(tls) => Some(tls.clone()),
        _ => None,
    };
    if let Some(tls) = termination(listener) {
        answer["credentials"] =
            tls.credentials.iter().map(|source| candidates(translation, *source)[0].clone()).collect();
        answer["client"] = json!(match &tls.client {
            None => "none",
            Some(client) if client.no_certificate == Verdict::Accept => "optional",
            Some(_) => "required",
        });
        let trust = tls.client.iter().flat_map(|client| &client.trust);
        answer["trust"] = trust.flat_map(|source| candidates(translation, *source)).collect();
        match by_authority {
            None => {
                answer["status"] = json!(404);
                return answer;
            }
            Some((other, _)) if other == index => {}
            Some((other, followed)) => {
                let policy = |listener| termination(listener).map(|tls| tls.client);
                if policy(followed) != policy(listener) {
                    answer["status"] = json!(421);
                    return answer;
                }
                (index, listener) = (other, followed);
            }
        }
    }
    answer["listener"] = json!(listener.name);
    let inputs = listener.inputs.iter().map(|name| request.input(name)).collect();
    let head = RequestHead { listener: index, host: request.host.clone(), path: request.path.to_owned(), inputs };
    let Some(route) = table.route(&head) else {
        answer["status"] = json!(404);
        return answer;
    };
    assert_eq!(table.explain(&head).chosen, Some(route), "an explanation must walk as `route` does");
    let route = &translation.routes[route as usize];
    answer["route"] = json!(route.name);
    match &route.action {
        Action::Respond(response) => answer["status"] = json!(response.status),
        Action::Redirect(redirect) => {
            answer["status"] = json!(redirect.status);
            answer["location"] = json!(location(request, redirect));
        }
        Action::Forward(forward) => {
            answer_forward(request, translation, forward, &route.headers.request, &mut answer);
        }
    }
    answer
}

fn candidates(translation: &Translation, source: u32) -> Vec<Value> {
    let candidates = translation.sources[source as usize].candidates.iter();
    let names = candidates.map(|candidate| match candidate {
        Locator::Object(key) => format!("{}/{}", key.namespace, key.name),
        Locator::Files(files) => files[0].1.clone(),
        Locator::SystemRoots => "system".to_owned(),
    });
    names.map(Value::from).collect()
}

fn answer_forward(
    request: &Request<'_>,
    translation: &Translation,
    forward: &Forward,
    ops: &[HeaderOp],
    answer: &mut Value,
) {
    let mut clusters = Map::new();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in request.said["headers"].as_object().into_iter().flatten() {
        headers.insert(name.to_ascii_lowercase(), value.as_str().unwrap_or_default().to_owned());
    }
    apply(ops, &mut headers);
    for target in &forward.targets {
        match &target.to {
            Destination::Cluster(index) => {
                let name = translation.clusters[*index as usize].name.clone();
                let weight = clusters.get(&name).and_then(Value::as_u64).unwrap_or(0) + u64::from(target.weight);
                clusters.insert(name, json!(weight));
            }
            Destination::Respond(response) => answer["status"] = json!(response.status),
        }
    }
    let first = &forward.targets[0];
    apply(&first.headers.request, &mut headers);
    let path = forward.path.as_ref().map_or_else(|| request.path.to_owned(), |path| rewrite(path, request.path));
    answer["clusters"] = Value::Object(clusters);
    answer["path"] = json!(request.query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")));
    answer["host"] = json!(first.host.as_ref().or(forward.host.as_ref()).map_or(request.authority, String::as_str));
    answer["requestHeaders"] = json!(headers);
    answer["timeout"] = json!(forward.timeout.map(|milliseconds| match milliseconds % 1000 {
        0 => format!("{}s", milliseconds / 1000),
        _ => format!("{milliseconds}ms"),
    }));
}

fn apply(ops: &[HeaderOp], headers: &mut BTreeMap<String, String>) {
    let text = |pieces: &[Text]| -> String {
        let pieces = pieces.iter().map(|piece| match piece {
            Text::Literal(text) => text.clone(),
            Text::Variable(name) => format!("<{name}>"),
        });
        pieces.collect()
    };
    for op in ops {
        match op {
            HeaderOp::Set((name, value)) => drop(headers.insert(name.clone(), text(value))),
            HeaderOp::Add((name, value)) => {
                let before = headers.get(name).map_or_else(String::new, |before| format!("{before},"));
                headers.insert(name.clone(), before + &text(value));
            }
            HeaderOp::Remove(name) => drop(headers.remove(name)),
        }
    }
}

fn rewrite(rewrite: &PathRewrite, path: &str) -> String {
    match rewrite {
        PathRewrite::Whole(whole) => whole.clone(),
        PathRewrite::Bytes(swap) => format!("{}{}", swap.replacement, &path[swap.matched.len()..]),
        PathRewrite::Elements(_) => unreachable!("not Istio's"),
        PathRewrite::Regex(swap) => {
            let pattern = regex_lite::Regex::new(&swap.pattern).expect("a checked pattern");
            pattern.replace_all(path, swap.substitution.as_str()).into_owned()
        }
    }
}

fn location(request: &Request<'_>, redirect: &Redirect) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
    let host = redirect.host.clone().unwrap_or_else(|| request.host.clone());
    let sent = request.authority.rsplit_once(':').map(|(_, port)| port.to_owned());
    let port = match redirect.port {
        RedirectPort::AsSent => sent,
        RedirectPort::None => None,
        RedirectPort::Number(port) => Some(port.to_string()),
    };
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    let path = redirect.path.as_ref().map_or_else(|| request.path.to_owned(), |path| rewrite(path, request.path));
    let query = request.query.map_or_else(String::new, |query| format!("?{query}"));
    format!("{scheme}://{host}{port}{path}{query}")
}

fn check_request(said: &Value, translation: &Translation, table: &Table) -> Vec<String> {
    let mut failures: Vec<String> = unknown(said, &["url", "sni", "method", "headers", "answer"]).into_iter().collect();
    let answer = answer(&Request::new(said), translation, table);
    let expected = said["answer"].as_object().expect("an answer");
    for (field, expected) in expected {
        let given = &answer[field];
        let same = if field == "requestHeaders" {
            expected.as_object().is_some_and(|all| all.iter().all(|(name, value)| given[name] == *value))
        } else {
            given == expected
        };
        if !same {
            failures.push(format!("`{field}` should be {expected}, the answer is {answer}"));
        }
    }
    failures
}

fn check_findings(expected: &[Value], translation: &Translation, failures: &mut Vec<String>) {
    let mut given: Vec<_> = translation.findings.iter().filter(|finding| finding.severity != Severity::Info).collect();
    for expected in expected {
        failures.extend(unknown(expected, &["severity", "code", "object", "field", "message"]));
        let is = |field: &str, value: &str| expected[field].as_str() == Some(value);
        let found = given.iter().position(|finding| {
            let key = &finding.origin.object;
            let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
            is("severity", severity)
                && is("code", &finding.code)
                && is("object", &format!("{}/{}/{}", key.kind, key.namespace, key.name))
                && is("field", &finding.origin.field)
                && expected["message"].as_str().is_none_or(|part| finding.message.contains(part))
        });
        match found {
            Some(index) => {
                let finding = given.swap_remove(index);
                if finding.remedy.is_empty() {
                    failures.push(format!("no remedy in {finding:?}"));
                }
            }
            None => failures.push(format!("no finding {expected}")),
        }
    }
    failures.extend(given.iter().map(|finding| {
        format!("unexpected {:?} {} {}: {}", finding.severity, finding.code, finding.origin.field, finding.message)
    }));
}

fn check_statuses(case: &Value, translation: &Translation, plugin: &Istio, failures: &mut Vec<String>) {
    let said = &case["outcome"];
    let sources: Vec<SourceState> = translation
        .sources
        .iter()
        .map(|source| {
            let keys: Vec<ObjectKey> = source
                .candidates
                .iter()
                .filter_map(|candidate| match candidate {
                    Locator::Object(key) => Some(key.clone()),
                    _ => None,
                })
                .collect();
            let name = keys.first().map_or("", |key| key.name.as_str());
            match said["sources"][name].as_str() {
                Some("missing") => SourceState::Missing(keys),
                Some("stale") => SourceState::Stale("it is gone".to_owned()),
                Some("unusable") => SourceState::Unusable("it is broken".to_owned()),
                _ => SourceState::Ready,
            }
        })
        .collect();
    let usable = |index: &u32| matches!(sources[*index as usize], SourceState::Ready | SourceState::Stale(_));
    let state = |listener: &Listener| match &listener.protocol {
        Protocol::Https(tls) | Protocol::Tls(tls) if !tls.credentials.iter().any(usable) => ListenerState::NoCredential,
        Protocol::Passthrough => ListenerState::Unsupported("TLS passthrough is not served".to_owned()),
        _ => ListenerState::Serving,
    };
    let outcome = Outcome {
        live: said["live"].as_bool().unwrap_or(true),
        bindings: translation.bindings.iter().map(|_| Ok(vec!["127.0.0.1".to_owned()])).collect(),
        listeners: translation.listeners.iter().map(state).collect(),
        sources: sources.clone(),
        refused_routes: Vec::new(),
        refused_clusters: Vec::new(),
    };
    let statuses = plugin.report(&outcome);
    for expected in list(&case["status"]) {
        let object = expected["object"].as_str().unwrap_or_default();
        let status = statuses.iter().find(|status| {
            let key = &status.object;
            format!("{}/{}/{}", key.kind, key.namespace, key.name) == object
        });
        let Some(status) = status else {
            failures.push(format!("no status of {object}"));
            continue;
        };
        let status: Value = serde_json::from_str(&status.json).expect("JSON");
        if !contains(&status, &expected["contains"]) {
            failures.push(format!("status of {object} is {status}"));
        }
    }
}

fn contains(given: &Value, expected: &Value) -> bool {
    match (given, expected) {
        (Value::Object(given), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| given.get(name).is_some_and(|given| contains(given, value)))
        }
        (Value::Array(given), Value::Array(expected)) => {
            given.len() == expected.len()
                && given.iter().zip(expected).all(|(given, expected)| contains(given, expected))
        }
        _ => given == expected,
    }
}
