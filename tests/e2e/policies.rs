//! What a route does to requests besides sending them on: CORS, faults, mirrors, and what its time counts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rig::http2::{Http2Client, at_once};
use rig::{Backend, Curl, Form, Gateway, Http, Server, Site, endpoints, service};
use serde_json::{Value, json};

use crate::task::*;

const HOST: &str = "web.example.com";

/// The services `web` and `shadow`, and the rule of one VirtualService: these keys, and the route to `web`.
struct Web {
    site: Site,
    web: Backend,
    shadow: Backend,
}

impl Web {
    fn with(keys: &Value) -> Self {
        let (site, web, shadow) = (Site::new(), Backend::start("web"), Backend::start("shadow"));
        for (name, backend) in [("web", &web), ("shadow", &shadow)] {
            site.apply(&service(name, 80));
            site.apply(&endpoints(name, "local", Some(backend.address())));
        }
        let made = Self { site, web, shadow };
        made.gateway(&json!({}));
        made.rule(keys);
        made
    }

    /// Port 80 for every host, with this besides.
    fn gateway(&self, server: &Value) {
        let mut own = json!({ "port": { "number": 80, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] });
        own.as_object_mut().expect("it is one").extend(server.as_object().expect("keys").clone());
        self.site.apply(&json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "mygateway" },
            "spec": { "servers": [own] } }));
    }

    fn rule(&self, keys: &Value) {
        let mut rule = json!({ "name": "web", "route": [{ "destination": { "host": "web" } }] });
        for (key, value) in keys.as_object().expect("keys of a rule") {
            rule[key] = value.clone();
        }
        rule.as_object_mut().expect("it is one").retain(|_, value| !value.is_null());
        self.site.apply(&json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": { "name": "web" },
            "spec": { "hosts": ["*"], "gateways": ["mygateway"], "http": [rule] } }));
    }
}

fn ask(gateway: &Gateway, path: &str) -> Curl {
    gateway.curl_http(HOST, path)
}

/// How many copies came to this.
fn mirrored(gateway: &Gateway, result: &str) -> u64 {
    let page = gateway.page("/metrics").body;
    let wanted = format!("result=\"{result}\"}}");
    let line = page.lines().find(|line| line.starts_with("sekisho_mirrors_total{") && line.contains(&wanted));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[track_caller]
fn comes_to(gateway: &Gateway, result: &str, count: u64) {
    rig::eventually(|| match mirrored(gateway, result) {
        now if now == count => Ok(()),
        now => Err(format!("{now} copies {result} instead of {count}\n{}", gateway.page("/metrics").body)),
    });
}

#[track_caller]
fn reason(gateway: &Gateway, place: usize) -> String {
    let line = gateway.log().wait_since(place, |line| line.is_access());
    line.field("reason").as_str().expect("a word").to_owned()
}

#[test]
fn a_routes_time_is_over() {
    let web = Web::with(&json!({ "timeout": "300ms" }));
    let gateway = web.site.run();
    let place = gateway.log().here();
    let told = ask(&gateway, "/sleeps/1").answers(504).text();
    assert_eq!(told, "upstream request timeout\n");
    assert_eq!(reason(&gateway, place), "upstream-timeout");
    ask(&gateway, "/hello").answers(200);
}

#[test]
fn an_answer_may_be_delayed_on_purpose() {
    let fault = json!({ "delay": { "fixedDelay": "700ms", "percentage": { "value": 100 } } });
    let web = Web::with(&json!({ "fault": fault, "timeout": "400ms" }));
    let gateway = web.site.run();
    let place = gateway.log().here();
    let start = Instant::now();
    // The route's time begins afterwards, and what a client says of faults means nothing.
    ask(&gateway, "/hello").header("x-envoy-fault-delay-request: 0").answers(200);
    assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    assert_eq!(reason(&gateway, place), "delay-injected");
    // It has its time, and no more.
    let place = gateway.log().here();
    ask(&gateway, "/sleeps/1").answers(504);
    assert_eq!(reason(&gateway, place), "upstream-timeout");
    // None for nobody.
    web.site.configure(&json!({ "limits": { "delays": 0 } }));
    gateway.signal("HUP");
    gateway.log().wait(|line| line.is("bootstrap file read again"));
    let start = Instant::now();
    ask(&gateway, "/hello").answers(200);
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
}

/// A client that goes does not leave its delay behind, nor does a drain wait for it longer than it must.
#[test]
fn a_delay_ends_with_its_client_and_with_the_gateway() {
    let fault = json!({ "delay": { "fixedDelay": "1h", "percentage": { "value": 100 } } });
    let web = Web::with(&json!({ "fault": fault }));
    web.site.configure(&json!({ "limits": { "drainTimeout": "500ms" } }));
    let mut gateway = web.site.run();
    let place = gateway.log().here();
    ask(&gateway, "/hello").arg("--max-time").arg("0.3").fails(28, "");
    assert_eq!(reason(&gateway, place), "client-gone");
    let mut waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.http())).expect("it listens");
    waiting.write_all(format!("GET /hello HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).expect("it reads");
    std::thread::sleep(Duration::from_millis(200));
    gateway.signal("TERM");
    assert_eq!(gateway.ended(Duration::from_secs(5)).and_then(|status| status.code()), Some(0));
    assert!(web.web.heads().is_empty(), "the backend was asked all the same");
}

#[test]
fn an_answer_may_fail_on_purpose() {
    let abort = |status: Value| json!({ "fault": { "abort": status } });
    let web = Web::with(&abort(json!({ "httpStatus": 418, "percentage": { "value": 100 } })));
    let gateway = web.site.run();
    let place = gateway.log().here();
    let told = ask(&gateway, "/hello").header("x-envoy-fault-abort-request: 200").answers(418);
    assert_eq!(told.text(), "fault filter abort");
    assert_eq!(reason(&gateway, place), "abort-injected");
    web.rule(&abort(json!({ "grpcStatus": "UNAVAILABLE", "percentage": { "value": 100 } })));
    ask(&gateway, "/hello").soon().answers(200);
    at_once(async {
        let mut client = Http2Client::connect(gateway.http(), HOST).await;
        let (answer, mut body) = client.call("/echo").await.expect("a stream");
        body.send_data(Vec::new().into(), true).expect("it reads");
        let answer = answer.await.expect("an answer");
        assert_eq!((answer.status().as_u16(), &answer.headers()["grpc-status"]), (200, &"14".parse().unwrap()));
        assert_eq!(answer.headers()["grpc-message"], "fault filter abort");
    });
    assert!(web.web.heads().is_empty(), "the backend was asked all the same");
    // Half of the requests, one way or the other.
    web.rule(&abort(json!({ "httpStatus": 503, "percentage": { "value": 50 } })));
    ask(&gateway, "/hello").soon().answers(503);
    let (_, statuses) = ask(&gateway, "/hello?[1-200]").statuses();
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert!((60..140).contains(&failed) && statuses.len() == 200, "{failed} of {}", statuses.len());
}

fn cors(unmatched: &str) -> Value {
    json!({ "corsPolicy": {
        "allowOrigins": [{ "exact": "https://a.example" }, { "regex": "https://[a-z]+\\.b\\.example" }],
        "allowMethods": ["GET", "PUT"], "allowHeaders": ["x-foo", "x-bar"], "exposeHeaders": ["x-instance"],
        "maxAge": "1h", "allowCredentials": true, "unmatchedPreflights": unmatched } })
}

fn preflight(gateway: &Gateway, origin: &str) -> Curl {
    let asks = ask(gateway, "/hello").arg("-X").arg("OPTIONS").header(&format!("origin: {origin}"));
    asks.header("access-control-request-method: PUT").header("access-control-request-headers: x-foo")
}

#[test]
fn preflights_are_answered_here() {
    let web = Web::with(&cors("FORWARD"));
    let gateway = web.site.run();
    for origin in ["https://a.example", "https://sub.b.example"] {
        let told = preflight(&gateway, origin).answers(200);
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-foo,x-bar"),
            ("access-control-max-age", "3600"),
            ("access-control-allow-credentials", "true"),
            ("vary", "Origin"),
        ] {
            assert_eq!(told.header(name).as_deref(), Some(value), "{told}");
        }
        assert_eq!((told.text().as_str(), told.header("x-instance")), ("", None));
    }
    assert!(web.web.heads().is_empty(), "the backend was asked all the same");
    // Whoever is behind the route may have an answer for others.
    let told = preflight(&gateway, "https://sub.b.example.evil").answers(200);
    assert_eq!(told.header("x-instance").as_deref(), Some("web"), "{told}");
    assert_eq!(told.header("access-control-allow-origin"), None);
    assert!(web.web.heads()[0].starts_with("OPTIONS /hello HTTP/1.1\r\n"));
    web.rule(&cors("IGNORE"));
    rig::eventually(|| {
        let told = preflight(&gateway, "https://c.example").answers(200);
        let own = told.header("x-instance").is_none() && told.header("access-control-allow-methods").is_none();
        if own { Ok(()) } else { Err(told.to_string()) }
    });
}

#[test]
fn pages_of_allowed_origins_may_read_every_answer() {
    let web = Web::with(&cors("FORWARD"));
    let gateway = web.site.run();
    let told = ask(&gateway, "/hello").header("origin: https://a.example").answers(200);
    assert_eq!(told.header("access-control-allow-origin").as_deref(), Some("https://a.example"));
    assert_eq!(told.header("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(told.header("access-control-expose-headers").as_deref(), Some("x-instance"));
    for other in [ask(&gateway, "/hello").header("origin: https://c.example"), ask(&gateway, "/hello")] {
        let told = other.answers(200);
        assert_eq!(told.header("access-control-allow-origin"), None, "{told}");
        assert_eq!(told.header("vary").as_deref(), Some("Origin"), "caches must know: {told}");
    }
    // A failure is an answer too, one on purpose or not.
    let mut failing = cors("FORWARD");
    failing["fault"] = json!({ "abort": { "httpStatus": 555, "percentage": { "value": 100 } } });
    web.rule(&failing);
    let told = ask(&gateway, "/hello").header("origin: https://a.example").soon().answers(555);
    assert_eq!(told.header("access-control-allow-origin").as_deref(), Some("https://a.example"));
    preflight(&gateway, "https://a.example").answers(200);
    web.rule(&cors("FORWARD"));
    web.site.delete("EndpointSlice", "web-local");
    let told = ask(&gateway, "/hello").header("origin: https://a.example").soon().answers(503);
    assert_eq!(told.header("access-control-allow-origin").as_deref(), Some("https://a.example"));
}

#[test]
fn the_gateway_explains_its_policies() {
    let mut keys = cors("FORWARD");
    keys["fault"] = json!({ "delay": { "fixedDelay": "5s", "percentage": { "value": 12.5 } } });
    keys["mirror"] = json!({ "host": "shadow" });
    let web = Web::with(&keys);
    let url = format!("http://{HOST}/hello");
    let asked = web.site.explain(&[&url, "-H", "origin: https://a.example"]).exits(0);
    _ = asked.says(&[
        "allows origin https://a.example",
        "12.5% of the requests wait 5s",
        "100% of the requests are copied to",
    ]);
    let preflight = ["-X", "OPTIONS", "-H", "origin: https://a.example", "-H", "access-control-request-method: PUT"];
    let asked = web.site.explain(&[&[&*url][..], &preflight[..]].concat()).exits(0);
    _ = asked.says(&["the gateway answers the preflight"]);
}

#[test]
fn a_mirror_sees_what_the_backend_sees() {
    let web = Web::with(&json!({
        "match": [{ "uri": { "prefix": "/before" } }],
        "rewrite": { "uri": "/head" },
        "headers": { "request": { "set": { "x-added": "by the route" } } },
        "mirror": { "host": "shadow" } }));
    let gateway = web.site.run();
    let body: Vec<u8> = Backend::bytes(100_000).collect();
    for (authority, shadowed) in [(HOST, "web.example.com-shadow"), ("web.example.com:81", "web.example.com-shadow:81")]
    {
        let told = ask(&gateway, "/before?q=1").authority(authority).post(&body).answers(200).text();
        let copy = rig::eventually(|| {
            web.shadow
                .heads()
                .pop()
                .filter(|head| head.contains(shadowed))
                .ok_or_else(|| format!("{:?}", web.shadow.heads()))
        });
        assert_eq!(told.replace(&format!("host: {authority}\r\n"), &format!("host: {shadowed}\r\n")), copy);
        assert!(copy.starts_with("POST /head?q=1 HTTP/1.1\r\n") && copy.contains("x-added: by the route"), "{copy}");
    }
    comes_to(&gateway, "answered", 2);
    assert_eq!((web.web.received(), web.shadow.received()), (200_000, 200_000));
    // A body of unknown length, too.
    ask(&gateway, "/before").header("transfer-encoding: chunked").post(&body).answers(200);
    comes_to(&gateway, "answered", 3);
    assert_eq!(web.shadow.received(), 300_000);
}

#[test]
fn a_share_is_mirrored() {
    let web = Web::with(&json!({
        "mirrors": [{ "destination": { "host": "shadow" }, "percentage": { "value": 50 } }] }));
    let gateway = web.site.run();
    let (_, statuses) = ask(&gateway, "/hello?[1-200]").statuses();
    assert!(statuses.iter().all(|status| *status == 200) && statuses.len() == 200);
    rig::eventually(|| {
        let answered = mirrored(&gateway, "answered");
        if (60..140).contains(&answered) { Ok(()) } else { Err(format!("{answered} of 200")) }
    });
}

/// Whatever becomes of a mirror, the client does not notice.
#[test]
fn a_mirror_never_holds_anybody_back() {
    let web = Web::with(&json!({ "mirror": { "host": "shadow" } }));
    // It takes connections, and nothing more.
    let deaf = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    web.site.apply(&endpoints("shadow", "local", Some(deaf.local_addr().expect("a socket"))));
    let gateway = web.site.run();
    let body: Vec<u8> = Backend::bytes(32 << 20).collect();
    let start = Instant::now();
    ask(&gateway, "/hello").post(&body).answers(200);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    comes_to(&gateway, "cut", 1);
    // One that answers nothing has the time of the route.
    web.rule(&json!({ "mirror": { "host": "shadow" }, "timeout": "300ms" }));
    let start = Instant::now();
    rig::eventually(|| {
        ask(&gateway, "/hello").answers(200);
        if mirrored(&gateway, "timeout") > 0 { Ok(()) } else { Err("no copy had its time".to_owned()) }
    });
    assert!(start.elapsed() < rig::PATIENCE);
    // Nobody there at all.
    let gone = deaf.local_addr().expect("a socket");
    drop(deaf);
    web.site.apply(&endpoints("shadow", "local", Some(gone)));
    let before = mirrored(&gateway, "failed");
    rig::eventually(|| {
        ask(&gateway, "/hello").answers(200);
        if mirrored(&gateway, "failed") > before { Ok(()) } else { Err("no copy failed".to_owned()) }
    });
    web.site.configure(&json!({ "limits": { "mirrors": 0 } }));
    gateway.signal("HUP");
    rig::eventually(|| {
        ask(&gateway, "/hello").answers(200);
        if mirrored(&gateway, "too-many") > 0 { Ok(()) } else { Err("copies are still sent".to_owned()) }
    });
}

/// A drain does not wait for them.
#[test]
fn a_drain_leaves_mirrors_behind() {
    let web = Web::with(&json!({ "mirror": { "host": "shadow" } }));
    let mut gateway = web.site.run();
    let start = Instant::now();
    // Both begin an answer that they do not end.
    let held = std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&gateway, "/held").run());
        rig::eventually(|| if web.shadow.heads().is_empty() { Err("no copy".to_owned()) } else { Ok(()) });
        web.web.release();
        asked.join().expect("it is answered")
    });
    assert_eq!(held.text(), "firstsecond");
    gateway.signal("TERM");
    assert_eq!(gateway.ended(Duration::from_secs(10)).and_then(|status| status.code()), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// A connection that becomes something else goes by the route's policies until then, and is not mirrored.
#[test]
fn a_websocket_passes_policies() {
    let mut keys = cors("FORWARD");
    keys["fault"] = json!({ "delay": { "fixedDelay": "100ms", "percentage": { "value": 100 } } });
    keys["mirror"] = json!({ "host": "shadow" });
    keys["timeout"] = json!("1s");
    keys["retries"] = json!({ "attempts": 2, "retryOn": "5xx" });
    let web = Web::with(&keys);
    let gateway = web.site.run();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, gateway.http())).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let mut writer = &stream;
    let mut reader = BufReader::new(&stream);
    let wish = format!(
        "GET /upgrade HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         origin: https://a.example\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    );
    writer.write_all(wish.as_bytes()).expect("it reads");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("an answer"), 0, "it ended after {head:?}");
    }
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_lowercase().contains("\r\naccess-control-allow-origin: https://a.example\r\n"), "{head}");
    // Longer than the route's time, which ended with the head.
    std::thread::sleep(Duration::from_millis(1500));
    writer.write_all(b"hello").expect("it reads");
    let mut echoed = [0; 5];
    reader.read_exact(&mut echoed).expect("it comes back");
    assert_eq!(&echoed, b"hello");
    assert!(web.shadow.heads().is_empty(), "{:?}", web.shadow.heads());
}

/// The other dialect's filters are the same data.
#[test]
fn filters_of_the_gateway_api_are_executed() {
    let web = Web::with(&json!({}));
    web.site.delete("VirtualService", "web");
    web.site.apply(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": { "name": "mygateway", "namespace": "istio-system" },
        "spec": { "gatewayClassName": "istio", "listeners": [
            { "name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": { "namespaces": { "from": "All" } } }] } }));
    let cors = json!({
        "allowOrigins": ["https://*.b.example"], "allowMethods": ["*"], "allowHeaders": ["x-foo"],
        "allowCredentials": true, "maxAge": 60 });
    web.site.apply(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": { "name": "web" },
        "spec": {
            "parentRefs": [{ "name": "mygateway", "namespace": "istio-system" }],
            "rules": [{
                "filters": [
                    { "type": "CORS", "cors": cors },
                    { "type": "RequestMirror", "requestMirror": { "backendRef": { "name": "shadow", "port": 80 } } }],
                "backendRefs": [{ "name": "web", "port": 80 }] }] } }));
    let gateway = web.site.run();
    let told = preflight(&gateway, "https://sub.b.example").answers(200);
    for (name, value) in [
        ("access-control-allow-origin", "https://sub.b.example"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-max-age", "60"),
    ] {
        assert_eq!(told.header(name).as_deref(), Some(value), "{told}");
    }
    assert!(web.web.heads().is_empty() && web.shadow.heads().is_empty());
    ask(&gateway, "/hello").header("origin: https://sub.b.example").answers(200);
    comes_to(&gateway, "answered", 1);
    assert_eq!(web.web.heads(), web.shadow.heads(), "the host stays as it is");
}

/// What a trusted proxy says of the client's connection counts for redirects too.
#[test]
fn a_redirect_to_https_is_by_how_the_client_came() {
    let web = Web::with(&json!({}));
    web.gateway(&json!({ "tls": { "httpsRedirect": true } }));
    let gateway = web.site.run();
    let secure = || ask(&gateway, "/hello?q=1").header("x-forwarded-proto: https");
    let told = secure().answers(301);
    assert_eq!(
        told.header("location").as_deref(),
        Some("https://web.example.com/hello?q=1"),
        "a stranger's word: {told}"
    );
    web.site.configure(&json!({ "trust": { "proxies": ["127.0.0.0/8"] } }));
    gateway.signal("HUP");
    secure().soon().answers(200);
    ask(&gateway, "/hello").header("x-forwarded-proto: http").answers(301);
    ask(&gateway, "/hello").answers(301);
    // A redirect that names no scheme keeps the client's.
    web.gateway(&json!({}));
    web.rule(&json!({ "route": null, "redirect": { "uri": "/elsewhere" } }));
    let told = secure().soon().answers(301);
    assert_eq!(told.header("location").as_deref(), Some("https://web.example.com/elsewhere?q=1"), "{told}");
}

/// As a browser does that takes a connection for good for another host.
#[test]
fn a_connection_used_for_another_host_is_told_to_open_one() {
    let form = Form::Istio;
    let site = Site::with_httpbin(form);
    site.create_secret(HTTPBIN_CREDENTIAL_MUTUAL);
    site.add_helloworld(form);
    site.create_secret(HELLOWORLD_CREDENTIAL);
    site.apply(&form.gateway(&[Server::mutual("httpbin"), Server::simple("helloworld")]));
    let gateway = site.run();
    for http in Http::BOTH {
        let place = gateway.log().here();
        let resolve = format!("{HELLOWORLD}:{}:127.0.0.1", gateway.https());
        let version = if http == Http::Two { "--http2" } else { "--http1.1" };
        let both = gateway.curl(HELLOWORLD, "/hello").ca(ca()).http(http);
        let both = both.arg(format!("https://{HELLOWORLD}:{}/hello", gateway.https())).arg("--next");
        let both = both.arg("--resolve").arg(resolve).arg(version).ca(ca()).header(&format!("Host: {HTTPBIN}"));
        let told = both.answers(421);
        assert!(told.trace.to_lowercase().contains("re-using existing connection"), "{told}");
        let lines = rig::eventually(|| {
            let lines = gateway.log().requests_since(place);
            if lines.len() >= 2 { Ok(lines) } else { Err(format!("{} lines", lines.len())) }
        });
        assert_eq!(lines.iter().map(|line| line.field("status")).collect::<Vec<_>>(), [200, 421]);
    }
}
