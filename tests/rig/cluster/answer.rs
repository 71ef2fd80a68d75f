//! From a request to its answer: who asks, what about, whether it may, what goes wrong with it, what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Shared;
use super::call::{Call, Query, Verb};
use super::discovery;
use super::faults::Trouble;
use super::journal::Request;
use super::patch::Form;
use super::refusal::Refusal;
use super::store::{Key, Store};
use super::view::View;
use super::watch::Watch;
use super::writes::Preconditions;

/// A request as it came in.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) token: String,
    pub(super) accept: String,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// What is sent back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Text(&'static str),
    Document(Value),
    Watch(Box<Watch>),
}

impl Reply {
    fn document(code: u16, document: Value) -> Self {
        Self { code, headers: Vec::new(), content: Content::Document(document) }
    }

    fn refusal(refusal: &Refusal) -> Self {
        let mut reply = Self::document(refusal.code, refusal.status());
        if let Some(seconds) = refusal.retry_after_seconds {
            // Said before the request is looked at, and not as an object.
            reply.content = Content::Text("Too many requests, please try again later.\n");
            reply.headers.push(("retry-after", seconds.to_string()));
        }
        reply
    }
}

/// Answers, and notes that it did.
pub(super) async fn answer(shared: &Shared, asked: Asked) -> Reply {
    let mut request = Request {
        at: Instant::now(),
        user: shared.lock().access.holder(&asked.token).unwrap_or_default().to_owned(),
        method: asked.method.clone(),
        path: asked.path.clone(),
        query: asked.query.clone(),
        verb: "get".to_owned(),
        resource: String::new(),
        namespace: String::new(),
        name: String::new(),
        body: serde_json::from_slice(&asked.body).unwrap_or(Value::Null),
        status: 0,
    };
    let reply = attempt(shared, &asked, &mut request).await.unwrap_or_else(|refusal| Reply::refusal(&refusal));
    request.status = reply.code;
    shared.journal.add(request);
    reply
}

async fn attempt(shared: &Shared, asked: &Asked, request: &mut Request) -> Result<Reply, Refusal> {
    if matches!(asked.path.as_str(), "/readyz" | "/livez" | "/healthz") {
        return Ok(Reply { code: 200, headers: Vec::new(), content: Content::Text("ok") });
    }
    if request.user.is_empty() {
        return Err(Refusal::unauthorized());
    }
    let query = Query::read(&asked.query);
    let call = Call::read(&shared.lock().store, &asked.method, &asked.path, &query).transpose()?;
    if let Some(call) = &call {
        call.verb.name().clone_into(&mut request.verb);
        request.resource = call.resource();
        request.namespace = call.namespace.clone().unwrap_or_default();
        request.name.clone_from(&call.name);
        if matches!(call.verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
            && let Some(name) = call.selection(&query)?.name()
        {
            name.clone_into(&mut request.name);
        }
        if let Some(objection) = shared.lock().access.objection(request) {
            return Err(Refusal::forbidden(call.kind, &request.name, &objection));
        }
    }
    let troubles = shared.lock().faults.meet(request);
    let mut expired = false;
    for trouble in troubles {
        match trouble {
            Trouble::Delay(time) => tokio::time::sleep(time).await,
            Trouble::Refuse(refusal) => return Err(refusal),
            Trouble::Expire => expired = true,
            Trouble::Interfere => {
                if let Some(call) = &call {
                    shared.change(|state| state.store.interfere(&call.key()));
                }
            }
        }
    }
    match call {
        Some(call) => act(shared, asked, &call, &query, expired),
        None => match discovery::document(&shared.lock().store, &asked.path) {
            Some(document) => Ok(Reply::document(200, document)),
            // A group that is not there is not said as an object.
            None => Ok(Reply { code: 404, headers: Vec::new(), content: Content::Text("404 page not found\n") }),
        },
    }
}

fn act(shared: &Shared, asked: &Asked, call: &Call, query: &Query, expired: bool) -> Result<Reply, Refusal> {
    let view = View::new(call.kind, call.version, &asked.accept);
    let is_write = !matches!(call.verb, Verb::Get | Verb::List | Verb::Watch);
    if is_write && query.get("dryRun").is_some() {
        return Err(Refusal::bad_request("the test's cluster does no dry runs"));
    }
    let reply = |code, object: &Value| Reply::document(code, view.object(object));
    match call.verb {
        Verb::Get => {
            let found = shared.lock().store.get(&call.key()).map(Arc::clone);
            found.map(|object| reply(200, &object)).ok_or_else(|| Refusal::not_found(call.kind, &call.name))
        }
        Verb::List => list(&mut shared.lock().store, call, query, &view),
        Verb::Watch => watch(shared, call, query, view, expired),
        Verb::Create => {
            let object = body(asked)?;
            let namespace = call.namespace.as_deref().unwrap_or_default();
            shared.change(|state| state.store.create(call.kind, namespace, object)).map(|object| reply(201, &object))
        }
        Verb::Update => {
            let object = body(asked)?;
            shared.change(|state| state.store.update(&call.key(), call.part, object)).map(|object| reply(200, &object))
        }
        Verb::Patch => {
            let form = form(asked, call, query)?;
            let patch = body(asked)?;
            let (is_new, patched) = shared.change(|state| {
                let is_new = state.store.get(&call.key()).is_none();
                (is_new, state.store.patch(&call.key(), call.part, form, &patch))
            });
            let mut reply = reply(if is_new { 201 } else { 200 }, &*patched?);
            if form == Form::Apply {
                let warning = r#"299 - "this server merges what is applied; it keeps no field managers apart""#;
                reply.headers.push(("warning", warning.to_owned()));
            }
            Ok(reply)
        }
        Verb::Delete => {
            let options = serde_json::from_slice(&asked.body).unwrap_or(Value::Null);
            let text = |field: &str| options["preconditions"][field].as_str().map(str::to_owned);
            let expected = Preconditions { uid: text("uid"), resource_version: text("resourceVersion") };
            let (key, expected) = (call.key(), &expected);
            let deleted = shared.change(|state| state.store.delete(&key, expected))?;
            Ok(Reply::document(200, done(&key, &deleted)))
        }
        Verb::DeleteCollection => {
            let selection = call.selection(query)?;
            let listed = shared.change(|state| {
                let listed = state.store.list(&selection, None);
                for object in &listed.items {
                    let key = Key::of(object).expect("it is stored");
                    _ = state.store.delete(&key, &Preconditions::default());
                }
                listed
            });
            Ok(Reply::document(200, view.list(&listed, false)))
        }
    }
}

fn list(store: &mut Store, call: &Call, query: &Query, view: &View) -> Result<Reply, Refusal> {
    let selection = call.selection(query)?;
    let limit = query.number("limit").map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let listed = match query.get("continue").filter(|token| !token.is_empty()) {
        Some(token) => store.list_on(token, limit)?,
        None => store.list(&selection, limit),
    };
    Ok(Reply::document(200, view.list(&listed, !selection.is_narrowed())))
}

fn watch(shared: &Shared, call: &Call, query: &Query, view: View, expired: bool) -> Result<Reply, Refusal> {
    if query.is_set("sendInitialEvents") {
        return Err(Refusal::no_watch_list());
    }
    let watch = Watch {
        selection: call.selection(query)?,
        view,
        from: query.number("resourceVersion"),
        bookmarks: query.is_set("allowWatchBookmarks"),
        duration: query.number("timeoutSeconds").map(Duration::from_secs),
        expired,
        changed: shared.changed.subscribe(),
        ended: shared.ended.subscribe(),
    };
    Ok(Reply { code: 200, headers: Vec::new(), content: Content::Watch(Box::new(watch)) })
}

fn body(asked: &Asked) -> Result<Value, Refusal> {
    if !asked.content_type.contains("json") && !asked.content_type.contains("yaml") {
        return Err(Refusal::unsupported_media_type("application/json"));
    }
    let body: Value = serde_json::from_slice(&asked.body)
        .map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))?;
    if body.is_object() || body.is_array() { Ok(body) } else { Err(Refusal::bad_request("the body is no object")) }
}

fn form(asked: &Asked, call: &Call, query: &Query) -> Result<Form, Refusal> {
    let form = Form::of(&asked.content_type);
    match form {
        Some(Form::StrategicMerge) if call.kind.is_custom() => None,
        Some(Form::Apply) if query.get("fieldManager").is_none_or(str::is_empty) => {
            return Err(Refusal::no_field_manager());
        }
        other => other,
    }
    .ok_or_else(|| Refusal::unsupported_media_type("application/json-patch+json, application/merge-patch+json"))
}

/// What is said of a deletion.
fn done(key: &Key, object: &Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": { "name": key.name, "group": key.kind.group, "kind": key.kind.plural, "uid": object["metadata"]["uid"] },
    })
}
