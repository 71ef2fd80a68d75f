//! The tests' own API server: that it does what clients of a real one rely on. Where it were wrong, so would be what the
//! other tests say of the gateway.

use std::process::Command;
use std::time::{Duration, Instant};

use rig::{Calls, Cluster, Finished};
use serde_json::{Value, json};

const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// What `curl` got.
struct Reply {
    code: u16,
    headers: String,
    body: Value,
}

impl Reply {
    #[track_caller]
    fn is(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}\n{:#}", self.headers, self.body);
        self.body
    }

    #[track_caller]
    fn refuses(self, code: u16, reason: &str, said: &str) {
        let body = self.is(code);
        assert_eq!(body["reason"], reason, "{body:#}");
        assert!(body["message"].as_str().is_some_and(|message| message.contains(said)), "{body:#}");
    }
}

fn curl(cluster: &Cluster, user: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-q", "--noproxy", "*", "-sS", "-N", "--max-time", "20", "--cacert"]).arg(cluster.ca());
    curl.arg(format!("-HAuthorization: Bearer {}", cluster.token(user)));
    curl
}

#[track_caller]
fn send(cluster: &Cluster, method: &str, path: &str, content_type: &str, body: &Value) -> Reply {
    let mut curl = curl(cluster, "tester");
    curl.args(["-i", "-X", method, &format!("-HContent-Type: {content_type}")]);
    if !body.is_null() {
        curl.args(["--data-binary", "@-"]);
    }
    curl.arg(format!("{}{path}", cluster.url()));
    let input = if body.is_null() { String::new() } else { body.to_string() };
    read(&Finished::with_input(&mut curl, input.as_bytes()).exits(0))
}

#[track_caller]
fn read(finished: &Finished) -> Reply {
    let text = finished.text();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer\n{finished}"));
    let code = headers.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Reply { code, headers: headers.to_lowercase(), body: serde_json::from_str(body).unwrap_or_else(|_| json!(body)) }
}

#[track_caller]
fn get(cluster: &Cluster, path: &str) -> Reply {
    send(cluster, "GET", path, "", &Value::Null)
}

#[track_caller]
fn post(cluster: &Cluster, path: &str, object: &Value) -> Reply {
    send(cluster, "POST", path, "application/json", object)
}

#[track_caller]
fn patch(cluster: &Cluster, path: &str, body: &Value) -> Reply {
    send(cluster, "PATCH", path, MERGE, body)
}

fn route(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "hostnames": ["a.example.com", "b.example.com"] },
    })
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).expect("a version")
}

fn generation(object: &Value) -> u64 {
    object["metadata"]["generation"].as_u64().expect("a generation")
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("a list");
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

/// What a watch of these parameters tells while something is done, up to its end after a second; and how curl ended.
fn watched(cluster: &Cluster, path: &str, parameters: &str, act: impl FnOnce()) -> (i32, Vec<Value>) {
    let place = cluster.here();
    let mut curl = curl(cluster, "tester");
    curl.arg(format!("{}{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&{parameters}", cluster.url()));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| Finished::of(&mut curl));
        cluster.wait_for_requests(place, &Calls::of("watch", "*"), 1);
        act();
        let finished = watching.join().expect("curl runs");
        let lines = finished.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        (finished.code, lines)
    })
}

fn told(events: &[Value]) -> Vec<(&str, &str)> {
    let of = |event| -> (&str, &str) { (field(event, "/type"), field(event, "/object/metadata/name")) };
    events.iter().map(of).filter(|(kind, _)| *kind != "BOOKMARK").collect()
}

fn field<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn objects_have_versions_and_writes_with_old_ones_conflict() {
    let cluster = Cluster::start();
    let first = post(&cluster, ROUTES, &route("one")).is(201);
    assert_eq!(first["metadata"]["namespace"], "default");
    assert_eq!(generation(&first), 1);
    for field in ["uid", "creationTimestamp"] {
        assert!(first["metadata"][field].is_string(), "{first:#}");
    }
    let known = r#"httproutes.gateway.networking.k8s.io "one" already exists"#;
    post(&cluster, ROUTES, &route("one")).refuses(409, "AlreadyExists", known);
    let elsewhere = ROUTES.replace("default", "nowhere");
    post(&cluster, &elsewhere, &route("one")).refuses(404, "NotFound", r#"namespaces "nowhere" not found"#);

    let path = format!("{ROUTES}/one");
    let put = |object: &Value| send(&cluster, "PUT", &path, "application/json", object);
    let mut changed = first.clone();
    changed["spec"]["hostnames"] = json!(["c.example.com"]);
    let second = put(&changed).is(200);
    assert!(version(&second) > version(&first), "{second:#}");
    put(&changed).refuses(409, "Conflict", "the object has been modified; please apply your changes");
    put(&route("one")).refuses(422, "Invalid", "must be specified for an update");
    put(&route("two")).refuses(400, "BadRequest", "does not match");

    // One that changes nothing is none.
    assert_eq!(put(&second).is(200), second);
    send(&cluster, "DELETE", &path, "", &Value::Null).is(200);
    get(&cluster, &path).refuses(404, "NotFound", r#"httproutes.gateway.networking.k8s.io "one" not found"#);
}

#[test]
fn the_status_is_a_resource_of_its_own() {
    let cluster = Cluster::start();
    let mut given = route("one");
    given["status"] = json!({ "parents": [] });
    let first = post(&cluster, ROUTES, &given).is(201);
    assert!(first["status"].is_null(), "{first:#}");

    let path = format!("{ROUTES}/one");
    let both =
        json!({ "spec": { "hostnames": ["c.example.com"] }, "status": { "parents": [{ "controllerName": "me" }] } });
    let status = patch(&cluster, &format!("{path}/status"), &both).is(200);
    assert_eq!(status["spec"], first["spec"]);
    assert_eq!(status["status"], both["status"]);
    assert_eq!(generation(&status), 1);
    assert!(version(&status) > version(&first));
    let spec = patch(&cluster, &path, &json!({ "spec": { "hostnames": [] }, "status": null })).is(200);
    assert_eq!(spec["status"], both["status"]);
    assert_eq!(generation(&spec), 2);
    let labels = patch(&cluster, &path, &json!({ "metadata": { "labels": { "a": "b" } } })).is(200);
    assert_eq!(generation(&labels), 2);

    let gateway = cluster.apply(&rig::Form::GatewayApi.gateway(&[]));
    assert_eq!(gateway["status"]["conditions"][1]["reason"], "Pending", "as its definition says\n{gateway:#}");
    let grants = "/apis/gateway.networking.k8s.io/v1/namespaces/default/referencegrants";
    let grant =
        json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "ReferenceGrant", "metadata": { "name": "a" } });
    post(&cluster, grants, &grant).is(201);
    patch(&cluster, &format!("{grants}/a/status"), &json!({ "status": {} })).refuses(404, "NotFound", "could not find");
}

#[test]
fn what_a_definition_does_not_know_is_left_out() {
    let cluster = Cluster::start();
    cluster.know_nothing_of("httproutes", "/status/new");
    let first = post(&cluster, ROUTES, &route("one")).is(201);
    let status = |status| patch(&cluster, &format!("{ROUTES}/one/status"), &json!({ "status": status })).is(200);
    assert_eq!(version(&status(json!({ "new": 1 }))), version(&status(json!({}))), "nothing to write");
    let written = status(json!({ "new": 1, "parents": [] }));
    assert_eq!(written["status"], json!({ "parents": [] }));
    assert!(version(&written) > version(&first));
}

#[test]
fn patches_in_every_form() {
    let cluster = Cluster::start();
    let first = post(&cluster, ROUTES, &route("one")).is(201);
    let path = format!("{ROUTES}/one");
    // Lists replace, null deletes.
    let merged =
        json!({ "metadata": { "labels": { "app": null, "b": "c" } }, "spec": { "hostnames": ["c.example.com"] } });
    let second = patch(&cluster, &path, &merged).is(200);
    assert_eq!(second["metadata"]["labels"], json!({ "b": "c" }));
    assert_eq!(second["spec"]["hostnames"], json!(["c.example.com"]));
    let old = json!({ "metadata": { "resourceVersion": first["metadata"]["resourceVersion"] }, "spec": {} });
    patch(&cluster, &path, &old).refuses(409, "Conflict", "the object has been modified");

    let operations = json!([
        { "op": "test", "path": "/metadata/labels/b", "value": "c" },
        { "op": "add", "path": "/metadata/annotations", "value": { "example.com/x": "1" } },
        { "op": "replace", "path": "/metadata/annotations/example.com~1x", "value": "2" },
        { "op": "add", "path": "/spec/hostnames/-", "value": "d.example.com" },
        { "op": "add", "path": "/spec/hostnames/0", "value": "b.example.com" },
        { "op": "remove", "path": "/metadata/labels/b" },
        { "op": "copy", "from": "/spec/hostnames/1", "path": "/metadata/labels/host" },
    ]);
    let third = send(&cluster, "PATCH", &path, JSON_PATCH, &operations).is(200);
    assert_eq!(third["spec"]["hostnames"], json!(["b.example.com", "c.example.com", "d.example.com"]));
    assert_eq!(third["metadata"]["annotations"], json!({ "example.com/x": "2" }));
    assert_eq!(third["metadata"]["labels"], json!({ "host": "c.example.com" }));
    let failing = json!([{ "op": "test", "path": "/spec/hostnames/0", "value": "other" }]);
    send(&cluster, "PATCH", &path, JSON_PATCH, &failing).refuses(422, "Invalid", "testing value");

    let strategic = "application/strategic-merge-patch+json";
    send(&cluster, "PATCH", &path, strategic, &json!({})).refuses(415, "UnsupportedMediaType", "unknown format");
    cluster.apply(&rig::service("a", 80));
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    send(&cluster, "PATCH", "/api/v1/namespaces/default/services/a", strategic, &label).is(200);

    let apply = |parameters: &str| {
        send(&cluster, "PATCH", &format!("{ROUTES}/two?{parameters}"), "application/apply-patch+yaml", &route("two"))
    };
    apply("force=true").refuses(422, "Invalid", "fieldManager");
    let applied = apply("fieldManager=tester&force=true");
    assert!(applied.headers.contains("warning: 299"), "{}", applied.headers);
    assert_eq!(generation(&applied.is(201)), 1);
    apply("fieldManager=tester").is(200);
}

#[test]
fn lists_by_pages_and_selectors() {
    let cluster = Cluster::start();
    for name in ["a", "b", "c", "d", "e"] {
        cluster.apply(&route(name));
    }
    let mut elsewhere = route("f");
    elsewhere["metadata"]["namespace"] = json!("istio-system");
    cluster.apply(&elsewhere);
    let all = get(&cluster, "/apis/gateway.networking.k8s.io/v1/httproutes").is(200);
    assert_eq!(names(&all), ["a", "b", "c", "d", "e", "f"]);
    assert_eq!(all["kind"], "HTTPRouteList");
    assert_eq!(all["items"][0]["kind"], "HTTPRoute");

    let first = get(&cluster, &format!("{ROUTES}?limit=2")).is(200);
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    let next = |page: &Value| {
        let token = page["metadata"]["continue"].as_str().expect("there is more");
        get(&cluster, &format!("{ROUTES}?limit=2&continue={token}"))
    };
    // The pages are of one moment.
    cluster.delete("httproutes", "default", "d");
    let second = next(&first).is(200);
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(version(&second), version(&first));
    let third = next(&second).is(200);
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"]["continue"].is_null());
    let first = get(&cluster, &format!("{ROUTES}?limit=1")).is(200);
    cluster.compact();
    next(&first).refuses(410, "Expired", "too old");

    let selected = |parameters: &str| {
        let list = get(&cluster, &format!("{ROUTES}?{parameters}")).is(200);
        names(&list).join(" ")
    };
    assert_eq!(selected("labelSelector=app%3Db"), "b");
    assert_eq!(selected("labelSelector=app!%3Db"), "a c e");
    assert_eq!(selected("labelSelector=app+in+(a,c),app"), "a c");
    assert_eq!(selected("labelSelector=app+notin+(a,c)"), "b e");
    assert_eq!(selected("labelSelector=!app"), "");
    assert_eq!(selected("fieldSelector=metadata.name%3De"), "e");
    get(&cluster, &format!("{ROUTES}?fieldSelector=spec.a%3De")).refuses(
        400,
        "BadRequest",
        "field label not supported",
    );

    // Objects of built-in kinds do not repeat in a list what they are.
    let namespaces = get(&cluster, "/api/v1/namespaces").is(200);
    assert_eq!(names(&namespaces), ["default", "istio-system", "kube-system"]);
    assert!(namespaces["items"][0]["kind"].is_null());
    assert_eq!(namespaces["items"][0]["metadata"]["labels"]["kubernetes.io/metadata.name"], "default");
}

#[test]
fn metadata_alone() {
    let cluster = Cluster::start();
    cluster.apply(&route("one"));
    let mut curl = curl(&cluster, "tester");
    curl.args(["-i", "-HAccept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"]);
    let list = read(&Finished::of(curl.arg(format!("{}{ROUTES}", cluster.url())))).is(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(list["items"][0]["metadata"]["name"], "one");
    assert!(list["items"][0]["spec"].is_null());
}

#[test]
fn watches_tell_what_becomes_of_what_is_selected() {
    let cluster = Cluster::start();
    let one = cluster.apply(&route("one"));
    let act = || {
        let mut changed = route("one");
        changed["spec"]["hostnames"] = json!([]);
        cluster.apply(&changed);
        cluster.apply(&changed); // nothing new
        cluster.apply(&route("two"));
        // What loses the label is gone for whoever asks for it.
        changed["metadata"]["labels"] = json!({});
        cluster.apply(&changed);
        cluster.delete("httproutes", "default", "two");
    };
    let from = |object: &Value| format!("resourceVersion={}", version(object));
    let (code, events) = watched(&cluster, ROUTES, &from(&one), act);
    let all = [("MODIFIED", "one"), ("ADDED", "two"), ("MODIFIED", "one"), ("DELETED", "two")];
    assert_eq!((code, told(&events)), (0, all.to_vec()));
    let last = events.last().expect("there are some");
    assert_eq!(
        (&last["type"], version(&last["object"])),
        (&json!("BOOKMARK"), version(&events[3]["object"])),
        "{events:#?}"
    );

    // The same again, from the past.
    let labelled = format!("{}&labelSelector=app%3Done", from(&one));
    assert_eq!(told(&watched(&cluster, ROUTES, &labelled, || ()).1), [("MODIFIED", "one"), ("DELETED", "one")]);
    let named = format!("{}&fieldSelector=metadata.name%3Dtwo", from(&one));
    assert_eq!(told(&watched(&cluster, ROUTES, &named, || ()).1), [("ADDED", "two"), ("DELETED", "two")]);
    assert!(told(&watched(&cluster, &ROUTES.replace("default", "istio-system"), &from(&one), || ()).1).is_empty());
    // And from nowhere: what there is.
    assert_eq!(told(&watched(&cluster, ROUTES, "", || ()).1), [("ADDED", "one")]);

    cluster.compact();
    let (code, events) = watched(&cluster, ROUTES, &from(&one), || ());
    assert_eq!((code, &events[0]["type"], &events[0]["object"]["code"]), (0, &json!("ERROR"), &json!(410)));
}

#[test]
fn watches_end_when_a_test_wants_it() {
    let cluster = Cluster::start();
    let start = Instant::now();
    let (code, _) = watched(&cluster, ROUTES, "", || cluster.end_watches());
    assert_eq!(code, 0);
    let (code, _) = watched(&cluster, ROUTES, "", || cluster.cut_watches());
    assert_ne!(code, 0);
    assert!(start.elapsed() < Duration::from_secs(2));
    cluster.expire(Calls::of("watch", "httproutes"), 1);
    assert_eq!(watched(&cluster, ROUTES, "resourceVersion=2", || ()).1[0]["object"]["code"], 410);
    assert_eq!(watched(&cluster, ROUTES, "resourceVersion=2", || ()).1[0]["type"], "BOOKMARK");
    let refused = get(&cluster, &format!("{ROUTES}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true"));
    refused.refuses(422, "Invalid", "sendInitialEvents is forbidden");
}

#[test]
fn who_may_what() {
    let cluster = Cluster::start();
    cluster.apply(&rig::service("a", 80));
    let ask =
        |path: &str| read(&Finished::of(curl(&cluster, "sekisho").arg("-i").arg(format!("{}{path}", cluster.url()))));
    ask("/api/v1/secrets").is(200);
    cluster.forbid("sekisho", Calls::of("*", "secrets"));
    cluster.permit("sekisho", Calls::of("get list watch", "secrets").named(&["mine"]).in_namespace("default"));
    let all =
        r#"secrets is forbidden: User "sekisho" cannot list resource "secrets" in API group "" at the cluster scope"#;
    ask("/api/v1/secrets").refuses(403, "Forbidden", all);
    let there = r#"cannot list resource "secrets" in API group "" in the namespace "default""#;
    ask("/api/v1/namespaces/default/secrets").refuses(403, "Forbidden", there);
    let other = r#"secrets "other" is forbidden: User "sekisho" cannot get resource "secrets""#;
    ask("/api/v1/namespaces/default/secrets/other").refuses(403, "Forbidden", other);
    // Who asks for one name only is asked for that name only.
    ask("/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dmine").is(200);
    ask("/api/v1/namespaces/default/secrets/mine").is(404);
    get(&cluster, "/api/v1/secrets").is(200);
    cluster.forbid("tester", Calls::of("patch", "gateways.gateway.networking.k8s.io/status"));
    let gateways = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways/a";
    let said = r#"cannot patch resource "gateways/status" in API group "gateway.networking.k8s.io" in the namespace "default""#;
    patch(&cluster, &format!("{gateways}/status"), &json!({})).refuses(403, "Forbidden", said);
    patch(&cluster, gateways, &json!({})).is(404);

    let mut nobody = Command::new("curl");
    nobody.args(["-q", "-sSik", "-HAuthorization: Bearer wrong"]).arg(format!("{}/api", cluster.url()));
    read(&Finished::of(&mut nobody)).refuses(401, "Unauthorized", "Unauthorized");
    cluster.renew_token("tester");
    get(&cluster, "/api").is(200);
}

#[test]
fn troubles_on_demand() {
    let cluster = Cluster::start();
    cluster.apply(&route("one"));
    let path = format!("{ROUTES}/one");
    cluster.throttle(Calls::of("get", "httproutes").named(&["one"]), 1, 3);
    cluster.fail(Calls::of("get", "httproutes"), 1, 500);
    let throttled = get(&cluster, &path);
    assert!(throttled.code == 429 && throttled.headers.contains("retry-after: 3"), "{}", throttled.headers);
    get(&cluster, &path).refuses(500, "InternalError", "a test wants it");
    let seen = get(&cluster, &path).is(200);

    cluster.interfere(Calls::of("patch", "httproutes/status"), 1);
    let mut write = json!({ "metadata": { "resourceVersion": seen["metadata"]["resourceVersion"] }, "status": {} });
    patch(&cluster, &format!("{path}/status"), &write).refuses(409, "Conflict", "the object has been modified");
    write["metadata"]["resourceVersion"] = get(&cluster, &path).is(200)["metadata"]["resourceVersion"].clone();
    patch(&cluster, &format!("{path}/status"), &write).is(200);

    cluster.delay(Calls::of("*", "*"), 1, Duration::from_millis(300));
    let start = Instant::now();
    get(&cluster, &path).is(200);
    assert!(start.elapsed() > Duration::from_millis(300));
    let place = cluster.here();
    cluster.fail(Calls::of("get", "*"), 9, 503);
    cluster.calm();
    get(&cluster, &path).is(200);
    assert_eq!(cluster.requests_since(place, &Calls::of("get", "httproutes")).len(), 1);
}

#[test]
fn it_goes_and_comes_back() {
    let cluster = Cluster::start();
    cluster.apply(&route("one"));
    let (code, _) = watched(&cluster, ROUTES, "", || cluster.stop());
    assert_ne!(code, 0);
    let url = format!("{}{ROUTES}/one", cluster.url());
    assert_eq!(Finished::of(curl(&cluster, "tester").arg(&url)).code, 7);
    cluster.apply(&route("two"));
    cluster.resume();
    assert_eq!(names(&get(&cluster, ROUTES).is(200)), ["one", "two"]);
}

#[test]
fn kinds_come_and_go() {
    let cluster = Cluster::start();
    let listed = |path: &str, list: &str, name: &str| {
        let found = get(&cluster, path).is(200);
        let items = found[list].as_array().expect("a list").clone();
        items.iter().any(|item| item["name"] == name)
    };
    let group = "/apis/gateway.networking.k8s.io/v1";
    assert!(listed("/apis", "groups", "gateway.networking.k8s.io"));
    assert!(listed(group, "resources", "httproutes/status"));
    assert!(listed("/api/v1", "resources", "secrets"));
    assert!(!listed("/apis/gateway.networking.k8s.io/v1beta1", "resources", "tlsroutes"));
    assert_eq!(get(&cluster, "/apis/networking.istio.io").is(200)["preferredVersion"]["version"], "v1");
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io";
    get(&cluster, definition).is(200);

    let from = format!("resourceVersion={}", version(&cluster.apply(&route("one"))));
    let old = get(&cluster, &format!("{}/one", ROUTES.replace("v1", "v1beta1"))).is(200);
    assert_eq!(old["apiVersion"], "gateway.networking.k8s.io/v1beta1");
    let (code, events) = watched(&cluster, ROUTES, &from, || cluster.withhold("httproutes"));
    assert_eq!((code, told(&events)), (0, vec![("DELETED", "one")]));
    get(&cluster, ROUTES).refuses(404, "NotFound", "the server could not find the requested resource");
    get(&cluster, definition).is(404);
    assert!(!listed(group, "resources", "httproutes"));
    cluster.install("httproutes");
    assert_eq!(names(&get(&cluster, ROUTES).is(200)), Vec::<&str>::new());
}

/// A client that was not written by us.
#[test]
fn kubectl_is_at_home() {
    if !Command::new("kubectl").arg("version").arg("--client").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no kubectl");
        return;
    }
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let kubectl = |arguments: &str, input: &Value| {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(cluster.kubeconfig_of("admin")).arg("--cache-dir").arg(directory.path());
        Finished::with_input(kubectl.args(arguments.split_whitespace()), input.to_string().as_bytes())
    };
    let apply = "apply --validate=false -f -";
    kubectl(apply, &route("one")).exits(0).says(&["httproute.gateway.networking.k8s.io/one created"]);
    kubectl(apply, &route("one")).exits(0).says(&["one unchanged"]);
    let mut changed = route("one");
    changed["spec"]["hostnames"] = json!(["c.example.com"]);
    kubectl(apply, &changed).exits(0).says(&["one configured"]);
    assert_eq!(cluster.get("httproutes", "default", "one").expect("it is there")["spec"], changed["spec"]);
    kubectl(apply, &rig::service("a", 80)).exits(0).says(&["service/a created"]);
    kubectl(apply, &rig::service("a", 81)).exits(0).says(&["service/a configured"]);
    kubectl("apply --server-side --validate=false -f -", &route("two")).exits(0).says(&["two serverside-applied"]);
    kubectl("get httproutes -A", &Value::Null).exits(0).says(&["one", "two"]);
    // Sent by itself it would be protobuf, which this server does not speak.
    let secret = kubectl("create secret generic a --from-literal=b=c --dry-run=client -o json", &Value::Null).exits(0);
    let secret = serde_json::from_slice(&secret.stdout).expect("JSON");
    kubectl(apply, &secret).exits(0).says(&["secret/a created"]);
    assert_eq!(cluster.get("secrets", "default", "a").expect("it is there")["data"]["b"], "Yw==");
    kubectl("label httproute one a=b", &Value::Null).exits(0).says(&["labeled"]);
    kubectl("wait --for=condition=Accepted=Unknown gateway/a", &Value::Null).exits(1).says(&["not found"]);
    kubectl("delete httproutes --all", &Value::Null).exits(0).says(&["\"one\" deleted"]);
    assert_eq!(cluster.get("httproutes", "default", "one"), None);
}
