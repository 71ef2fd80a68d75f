//! Runs one case and says everything that differs.

use std::collections::BTreeMap;

use http::Uri;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use sekisho::bootstrap::{Gateway, Limits};
use sekisho::finding::{Severity, Subject as About};
use sekisho::host_pattern::HostIndex;
use sekisho::http::cors::{self, Asked};
use sekisho::http::{Head as RequestHead, location, normalise_host, rewritten};
use sekisho::model::{
    Action, Address, Destination, Forward, HeaderOp, Input, Listener, Locator, Mirror, Misdirected, Protocol, Retry,
    Route, Session, SessionBy, Template, Termination, Translation, Transport,
};
use sekisho::object::Object;
use sekisho::plugin::{ConnectionHead, Environment, Head, ListenerState, Outcome, SourceState};
use sekisho::snapshot::Snapshot;
use sekisho::source::directory::Directory;
use serde_json::{Map, Value, json};

use crate::case::{Addresses, Case, Request};
use crate::cluster;
use crate::subject::Subject;

/// All differences between what a case expects and what the plugin gives.
pub(crate) fn run(case: &Case, subject: &mut dyn Subject) -> Vec<String> {
    let gateway = gateway(case);
    let snapshot = snapshot(case, &gateway);
    let objects: Vec<Object> = subject
        .reads()
        .iter()
        .flat_map(|(group, kind, versions)| {
            snapshot
                .of_kind(group, kind)
                .filter(|object| versions.contains(&object.version))
                .cloned()
                .collect::<Vec<_>>()
        })
        .collect();
    let environment = Environment { gateway, config: case.environment.config.clone() };
    let translation = match subject.translate(&environment, &objects) {
        Ok(translation) => translation,
        Err(error) => return vec![format!("it does not translate: {error}")],
    };
    let mut differences = Vec::new();
    compare_findings(case, &translation, &mut differences);
    for request in &case.requests {
        let answer = match request.url.split_once("://") {
            Some((scheme @ ("tls" | "tcp"), authority)) => {
                connection_answer(request, scheme == "tls", authority, &translation, subject)
            }
            _ => answer(request, &translation, subject),
        };
        for (name, expected) in &request.answer {
            let given = answer.get(name).unwrap_or(&Value::Null);
            if !contains(given, expected) {
                differences.push(format!("{} {name}: expected {expected}, got {given}", request.url));
            }
        }
    }
    compare_status(case, &translation, subject, &mut differences);
    differences
}

fn gateway(case: &Case) -> Gateway {
    let defaults = Gateway::default();
    let environment = &case.environment;
    Gateway {
        namespace: environment.namespace.clone().unwrap_or(defaults.namespace),
        labels: environment.labels.clone().unwrap_or(defaults.labels),
        class_name: environment.class_name.clone().unwrap_or(defaults.class_name),
        controller_name: environment.controller_name.clone().unwrap_or(defaults.controller_name),
        pool: environment.pool.clone(),
        services: environment.services,
        ..defaults
    }
}

/// Through the real source, which fills in what an API server would.
fn snapshot(case: &Case, gateway: &Gateway) -> Snapshot {
    let directory = tempfile::tempdir().expect("a directory");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": case.objects});
    std::fs::write(directory.path().join("objects.json"), list.to_string()).expect("a file");
    let snapshot = Directory::new(vec![directory.path().to_owned()], gateway.clone(), u64::MAX).read();
    assert!(snapshot.findings.is_empty(), "{}: {:?}", case.path.display(), snapshot.findings);
    snapshot
}

fn compare_findings(case: &Case, translation: &Translation, differences: &mut Vec<String>) {
    let mut left: Vec<_> = translation.findings.iter().collect();
    for expected in &case.findings {
        let found = left.iter().position(|finding| {
            let About::Object { key, field } = &finding.subject else { return false };
            finding.severity.name() == expected.severity
                && finding.code == expected.code
                && key.to_string() == expected.object
                && expected.field.as_ref().is_none_or(|expected| expected == field)
                && expected.message.as_ref().is_none_or(|part| finding.message.contains(part.as_str()))
        });
        match found {
            Some(index) => drop(left.remove(index)),
            None => differences.push(format!(
                "no finding {} {} on {} {} with {:?}",
                expected.severity,
                expected.code,
                expected.object,
                expected.field.as_deref().unwrap_or("(any field)"),
                expected.message.as_deref().unwrap_or_default()
            )),
        }
    }
    // That this version of the host does not serve something is not what a case of a plugin is about.
    let own = |code: &str| matches!(code, "listener-refused" | "route-refused" | "cluster-refused");
    for finding in left.into_iter().filter(|finding| finding.severity != Severity::Info && !own(&finding.code)) {
        differences.push(format!("unexpected {} {}: {finding}", finding.severity.name(), finding.code));
    }
}

/// Everything there is to say about a request.
fn answer(request: &Request, translation: &Translation, subject: &mut dyn Subject) -> Map<String, Value> {
    let uri: Uri = request.url.parse().unwrap_or_else(|e| panic!("{}: {e}", request.url));
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let authority = uri.authority().expect("a URL with a host").as_str().to_owned();
    let host = normalise_host(&authority).expect("a host");
    let mut answer = Map::new();
    let Some((number, listener)) = choose(request, translation, &host, port, secure, &mut answer) else {
        return answer;
    };
    answer.insert("listener".to_owned(), json!(listener.name));
    if let Some(termination) = listener.protocol.termination() {
        describe_tls(termination, translation, &mut answer);
    }
    if listener.refused.is_some() {
        answer.insert("status".to_owned(), json!(503));
        return answer;
    }
    let mut builder = http::Request::builder().uri(&request.url).method(request.method.as_deref().unwrap_or("GET"));
    builder.headers_mut().expect("a request").extend(headers(&request.headers));
    let (parts, ()) = builder.body(()).expect("a request").into_parts();
    let head = RequestHead::new(&parts, &Limits::default()).expect("a head");
    let gathered: Vec<Option<Vec<u8>>> = listener.inputs.iter().map(|i| input(i, &parts, &head, secure)).collect();
    let inputs: Vec<Option<&[u8]>> = gathered.iter().map(Option::as_deref).collect();
    let asked = Head { listener: number, host: &head.host, path: &head.path, inputs: &inputs };
    let chosen = subject.route(asked);
    if subject.explain(asked) != chosen {
        answer.insert("explained".to_owned(), json!("explain and route differ"));
    }
    let Some(chosen) = chosen else {
        answer.insert("status".to_owned(), json!(404));
        return answer;
    };
    let route = &translation.routes[chosen as usize];
    let mut answered = headers(&request.answered);
    let asked = route.cors.as_ref().map(|policy| cors::asked(policy, &parts.method, &parts.headers));
    if let Some(Asked::Preflight(response)) = asked {
        answer.insert("route".to_owned(), json!(route.name));
        answer.insert("status".to_owned(), json!(response.status().as_u16()));
        answer.insert("responseHeaders".to_owned(), as_data(response.headers()));
        return answer;
    }
    describe_route(route, translation, &head, &parts.headers, &mut answered, secure, &mut answer);
    if let Some(policy) = &route.cors {
        let origin = match &asked {
            Some(Asked::Allowed(origin)) => Some(origin),
            _ => None,
        };
        cors::tell(&mut answered, policy, origin);
    }
    answer.insert("responseHeaders".to_owned(), as_data(&answered));
    answer
}

fn headers(lines: &BTreeMap<String, String>) -> HeaderMap {
    let line = |(name, value): (&String, &String)| {
        (name.parse::<HeaderName>().expect("a header's name"), value.parse::<HeaderValue>().expect("a header's value"))
    };
    lines.iter().map(line).collect()
}

/// Everything there is to say about a connection that is not read as requests.
fn connection_answer(
    request: &Request,
    secure: bool,
    authority: &str,
    translation: &Translation,
    subject: &mut dyn Subject,
) -> Map<String, Value> {
    let (host, port) = authority.rsplit_once(':').expect("`tls` and `tcp` URLs have a port");
    let port: u16 = port.parse().unwrap_or_else(|e| panic!("{}: {e}", request.url));
    let sni = match &request.sni {
        None if secure => Some(host.to_owned()),
        None => None,
        Some(sni) => sni.clone(),
    };
    let transport = if secure { Transport::Tls } else { Transport::Tcp };
    let index = listeners_of(translation, port, transport);
    let number = match &sni {
        Some(sni) => index.find(sni),
        None => index.nameless(),
    };
    let mut answer = Map::new();
    let Some(number) = number else {
        let http = |listener: &Listener| matches!(listener.protocol, Protocol::Https(_)) && listener.port == port;
        let alert = secure && translation.listeners.iter().any(http);
        let (name, value) = if alert { ("alert", json!("unrecognized_name")) } else { ("closed", json!(true)) };
        answer.insert(name.to_owned(), value);
        return answer;
    };
    let listener = &translation.listeners[number as usize];
    answer.insert("listener".to_owned(), json!(listener.name));
    if let Some(termination) = listener.protocol.termination() {
        describe_tls(termination, translation, &mut answer);
    }
    let head = ConnectionHead {
        listener: number,
        sni: sni.as_deref(),
        source: request.source.as_deref().unwrap_or("127.0.0.1"),
        destination: request.destination.as_deref().unwrap_or("127.0.0.1"),
    };
    let chosen = match listener.refused {
        Some(_) => None,
        None => subject.route_connection(head),
    };
    let Some(stream) = chosen.map(|stream| &translation.streams[stream as usize]) else {
        answer.insert("closed".to_owned(), json!(true));
        return answer;
    };
    answer.insert("stream".to_owned(), json!(stream.name));
    let mut weights: BTreeMap<&str, u32> = BTreeMap::new();
    for target in stream.targets.iter().filter(|target| target.weight > 0) {
        let name = target.cluster.map_or("", |cluster| &*translation.clusters[cluster].name);
        *weights.entry(name).or_insert(0) += target.weight;
    }
    // The share that leads nowhere.
    if weights.keys().all(|name| name.is_empty()) {
        answer.insert("closed".to_owned(), json!(true));
    }
    answer.insert("clusters".to_owned(), json!(weights));
    answer
}

/// Which listeners of a port and a kind claim a name.
fn listeners_of(translation: &Translation, port: u16, transport: Transport) -> HostIndex<u32> {
    let mut index = HostIndex::new();
    for (number, listener) in (0_u32..).zip(&translation.listeners) {
        if listener.port == port && listener.protocol.transport() == transport {
            for pattern in &listener.hosts {
                index.insert(pattern, number);
            }
        }
    }
    index
}

/// As the host chooses; a certificate is taken to cover another listener's names where both show the same.
fn choose<'t>(
    request: &Request,
    translation: &'t Translation,
    host: &str,
    port: u16,
    secure: bool,
    answer: &mut Map<String, Value>,
) -> Option<(u32, &'t Listener)> {
    let transport = if secure { Transport::Tls } else { Transport::Http };
    let index = listeners_of(translation, port, transport);
    let by_name = |number: Option<u32>| number.map(|number| (number, &translation.listeners[number as usize]));
    let best = by_name(index.find(host));
    if secure {
        let sni = match &request.sni {
            None => Some(host.to_owned()),
            Some(sni) => sni.clone(),
        };
        let own = match sni {
            Some(sni) => index.find(&sni),
            None => index.nameless(),
        };
        let Some(own) = own else {
            answer.insert("alert".to_owned(), json!("unrecognized_name"));
            return None;
        };
        let own_listener = &translation.listeners[own as usize];
        if best.is_some_and(|(number, best)| number != own && !follows(own_listener, best, translation)) {
            answer.insert("status".to_owned(), json!(421));
            return None;
        }
    }
    if best.is_none() {
        answer.insert("status".to_owned(), json!(404));
    }
    best
}

fn follows(own: &Listener, best: &Listener, translation: &Translation) -> bool {
    let (Protocol::Https(own_tls), Protocol::Https(best_tls)) = (&own.protocol, &best.protocol) else { return false };
    let shown = |tls: &Termination| -> Vec<Vec<Locator>> {
        tls.credentials.iter().map(|source| translation.sources[*source].candidates.clone()).collect()
    };
    own.misdirected == Misdirected::Follow
        && best.misdirected == Misdirected::Follow
        && own_tls.client == best_tls.client
        && shown(own_tls) == shown(best_tls)
}

fn describe_tls(termination: &Termination, translation: &Translation, answer: &mut Map<String, Value>) {
    let names = |locators: &[Locator]| -> Vec<String> { locators.iter().map(locator).collect() };
    let firsts: Vec<String> = termination
        .credentials
        .iter()
        .filter_map(|source| translation.sources[*source].candidates.first().map(locator))
        .collect();
    answer.insert("credentials".to_owned(), json!(firsts));
    let client = match &termination.client {
        None => "none",
        Some(policy) if policy.accept_untrusted => "anybody",
        Some(policy) if policy.accept_missing => "optional",
        Some(_) => "required",
    };
    answer.insert("client".to_owned(), json!(client));
    let trust: Vec<String> = termination
        .client
        .iter()
        .flat_map(|policy| &policy.trust)
        .flat_map(|source| names(&translation.sources[*source].candidates))
        .collect();
    answer.insert("trust".to_owned(), json!(trust));
}

pub(crate) fn locator(locator: &Locator) -> String {
    match locator {
        Locator::Object(key) => format!("{}/{}", key.namespace, key.name),
        Locator::Files(files) => files.iter().map(|(key, path)| format!("{key}={path}")).collect::<Vec<_>>().join(","),
        Locator::SystemRoots => "system".to_owned(),
    }
}

fn input(input: &Input, parts: &http::request::Parts, head: &RequestHead, secure: bool) -> Option<Vec<u8>> {
    match input {
        Input::Method => Some(parts.method.as_str().as_bytes().to_vec()),
        Input::Scheme => Some(if secure { b"https".to_vec() } else { b"http".to_vec() }),
        Input::Authority => Some(head.authority.clone().into_bytes()),
        Input::Query => head.query.clone().map(String::into_bytes),
        Input::SourceIp => Some(b"127.0.0.1".to_vec()),
        Input::Header(name) => parts.headers.get(name).map(|value| value.as_bytes().to_vec()),
    }
}

fn describe_route(
    route: &Route,
    translation: &Translation,
    head: &RequestHead,
    headers: &HeaderMap,
    answered: &mut HeaderMap,
    secure: bool,
    answer: &mut Map<String, Value>,
) {
    let mut say = |name: &str, value: Value| drop(answer.insert(name.to_owned(), value));
    say("route", json!(route.name));
    match &route.action {
        Action::Refused(why) => {
            say("status", json!(500));
            say("refused", json!(why));
        }
        Action::Respond(response) => {
            say("status", json!(response.status.as_u16()));
            say("body", json!(String::from_utf8_lossy(&response.body)));
            say("grpcStatus", json!(response.grpc_status));
        }
        Action::Redirect(redirect) => {
            say("status", json!(redirect.status.as_u16()));
            say("location", json!(location(redirect, head, if secure { "https" } else { "http" })));
        }
        Action::Forward(forward) => {
            say("clusters", json!(clusters(forward, translation)));
            let own = own_shares(forward);
            if let (1, Some(status), true) = (own.len(), own.keys().next(), clusters(forward, translation).is_empty()) {
                say("status", json!(status));
            }
            say("ownShares", own.iter().map(|(status, weight)| (status.to_string(), json!(weight))).collect());
            let cluster =
                forward.targets.iter().filter(|target| target.weight > 0).find_map(|target| match &target.to {
                    Destination::Cluster(cluster) => Some(&translation.clusters[*cluster]),
                    Destination::Respond(_) => None,
                });
            say("cluster", json!(cluster.map(|cluster| cluster::describe(cluster, translation))));
            let path = rewritten(&head.path, forward.path.as_ref());
            let forwarded = RequestHead::path_and_query(&path, head.query.as_deref());
            say("path", json!(forwarded.as_ref().map(|path| path.as_str())));
            let first = forward.targets.iter().find(|target| target.weight > 0);
            let host = first.and_then(|target| target.host.as_ref()).or(forward.host.as_ref());
            say("host", json!(host.map_or(head.authority.as_str(), |host| host.to_str().unwrap_or_default())));
            let mut seen = headers.clone();
            change(&mut seen, &route.headers.request);
            first.iter().for_each(|target| change(&mut seen, &target.headers.request));
            say("requestHeaders", as_data(&seen));
            change(answered, &route.headers.response);
            first.iter().for_each(|target| change(answered, &target.headers.response));
            say("timeout", json!(forward.timeout.map(|timeout| format!("{timeout:?}"))));
            say("session", forward.session.as_deref().map_or(Value::Null, session));
            say("retries", json!(forward.retry.as_ref().map(|retry| retry.attempts)));
            say("retry", forward.retry.as_ref().map_or(Value::Null, retry));
            say("mirrors", mirrors(forward, translation));
        }
    }
}

fn retry(said: &Retry) -> Value {
    let statuses: Vec<u16> = said.statuses.iter().map(|status| status.as_u16()).collect();
    let per_try = said.per_try.map(|time| format!("{time:?}"));
    json!({ "attempts": said.attempts, "statuses": statuses, "perTry": per_try, "backoff": format!("{:?}", said.backoff) })
}

fn mirrors(forward: &Forward, translation: &Translation) -> Value {
    let share = |mirror: &Mirror| json!(format!("{}/{}", mirror.share.numerator, mirror.share.denominator));
    let name = |mirror: &Mirror| translation.clusters[mirror.cluster].name.clone();
    forward.mirrors.iter().map(|mirror| (name(mirror), share(mirror))).collect::<Map<_, _>>().into()
}

/// The weights of what the gateway answers itself, by status.
fn own_shares(forward: &Forward) -> BTreeMap<u16, u32> {
    let mut shares = BTreeMap::new();
    for target in forward.targets.iter().filter(|target| target.weight > 0) {
        if let Destination::Respond(response) = &target.to {
            *shares.entry(response.status.as_u16()).or_insert(0) += target.weight;
        }
    }
    shares
}

/// What carries a client's token.
fn session(said: &Session) -> Value {
    let lasts = said.lasts.map(|lasts| format!("{lasts:?}"));
    match &said.by {
        SessionBy::Header(name) => json!({ "header": name.as_str(), "lasts": lasts }),
        SessionBy::Cookie(cookie) => json!({
            "cookie": cookie.name,
            "path": cookie.path,
            "ttl": cookie.ttl.map(|ttl| format!("{ttl:?}")),
            "lasts": lasts,
        }),
    }
}

fn clusters(forward: &Forward, translation: &Translation) -> BTreeMap<String, u32> {
    let mut weights = BTreeMap::new();
    for target in forward.targets.iter().filter(|target| target.weight > 0) {
        if let Destination::Cluster(cluster) = &target.to {
            *weights.entry(translation.clusters[*cluster].name.clone()).or_insert(0) += target.weight;
        }
    }
    weights
}

fn change(headers: &mut HeaderMap, changes: &[HeaderOp]) {
    let value = |template: &Template| match template {
        Template::Literal(value) => value.clone(),
        Template::Pieces(_) => HeaderValue::from_static("(variable)"),
    };
    for change in changes {
        match change {
            HeaderOp::Set(name, template) => drop(headers.insert(name, value(template))),
            HeaderOp::Add(name, template) => drop(headers.append(name, value(template))),
            HeaderOp::Remove(name) => drop(headers.remove(name)),
        }
    }
}

fn as_data(headers: &HeaderMap) -> Value {
    let lines = |name: &HeaderName| {
        let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        lines.join(",")
    };
    headers.keys().map(|name| (name.to_string(), json!(lines(name)))).collect::<Map<_, _>>().into()
}

fn compare_status(case: &Case, translation: &Translation, subject: &mut dyn Subject, differences: &mut Vec<String>) {
    let outcome = outcome(case, translation);
    let statuses = subject.report(&outcome);
    for expected in &case.status {
        match statuses.iter().find(|(key, _)| key.to_string() == expected.object) {
            None => differences.push(format!("no status for {}", expected.object)),
            Some((_, given)) if contains(given, &expected.contains) => {}
            Some((_, given)) => {
                differences.push(format!("status of {}: expected {}, got {given}", expected.object, expected.contains));
            }
        }
    }
}

fn outcome(case: &Case, translation: &Translation) -> Outcome {
    let sources: Vec<SourceState> = translation
        .sources
        .iter()
        .map(|source| {
            let first = source.candidates.first().map(locator).unwrap_or_default();
            let short = first.rsplit('/').next().unwrap_or_default();
            let keys = source.candidates.iter().filter_map(|locator| match locator {
                Locator::Object(key) => Some(key.clone()),
                _ => None,
            });
            let said = case.outcome.sources.get(&first).or_else(|| case.outcome.sources.get(short));
            match said.map(String::as_str) {
                None if source.candidates.is_empty() => SourceState::Missing(Vec::new()),
                None | Some("ready") => SourceState::Ready,
                Some("missing") => SourceState::Missing(keys.collect()),
                Some("stale") => SourceState::Stale("it was deleted".to_owned()),
                Some("unusable") => SourceState::Unusable("it cannot be used".to_owned()),
                Some(other) => panic!("{}: no state `{other}` of a source", case.path.display()),
            }
        })
        .collect();
    let usable = |source: &usize| matches!(sources[*source], SourceState::Ready | SourceState::Stale(_));
    let listeners = translation
        .listeners
        .iter()
        .map(|listener| match case.outcome.listeners.get(&listener.name).map(String::as_str) {
            Some("unbound") => ListenerState::Unbound("the address is in use".to_owned()),
            Some("conflict") => ListenerState::Conflict(listener.origin.object.clone()),
            Some("no-credential") => ListenerState::NoCredential,
            Some(other) if other != "serving" => ListenerState::Unsupported(other.to_owned()),
            _ => match (&listener.refused, &listener.protocol) {
                (Some(why), _) => ListenerState::Unsupported(why.clone()),
                (None, Protocol::Https(termination) | Protocol::Tls(termination))
                    if !termination.credentials.iter().any(usable) =>
                {
                    ListenerState::NoCredential
                }
                _ => ListenerState::Serving,
            },
        })
        .collect();
    Outcome {
        live: case.outcome.live,
        bindings: translation
            .bindings
            .iter()
            .map(|binding| {
                let key = &binding.origin.object;
                match case.outcome.addresses.get(&format!("{}/{}", key.namespace, key.name)) {
                    Some(Addresses::None(why)) => Err(why.clone()),
                    Some(Addresses::InUse(addresses)) => Ok(addresses.clone()),
                    None => Ok(match &binding.address {
                        Address::Dedicated(wanted) if !wanted.is_empty() => wanted.clone(),
                        _ => vec!["127.0.0.1".to_owned()],
                    }),
                }
            })
            .collect(),
        listeners,
        sources,
        refused_routes: translation.refused_routes.clone(),
        refused_clusters: translation.refused_clusters.clone(),
    }
}

/// Maps are subsets, lists have the same length.
fn contains(given: &Value, expected: &Value) -> bool {
    match (given, expected) {
        (Value::Object(given), Value::Object(expected)) => {
            expected.iter().all(|(name, expected)| contains(given.get(name).unwrap_or(&Value::Null), expected))
        }
        (Value::Array(given), Value::Array(expected)) => {
            given.len() == expected.len()
                && given.iter().zip(expected).all(|(given, expected)| contains(given, expected))
        }
        _ => given == expected,
    }
}
