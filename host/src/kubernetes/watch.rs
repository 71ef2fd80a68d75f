//! One watch: a kind, a secret, or the pods of a namespace, from the API server into the store.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::discovery::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::object::Seen;
use super::resource::{self, Served};
use super::store::{Problem, Store};
use super::wants::Watched;

/// How long the API server may be silent; then the watch is begun again. A connection that was lost on the way is noticed
/// after so long.
const SILENCE_SECONDS: u32 = 60;
/// A watch that has not failed again for so long goes well: longer than it takes to find out that nobody is there.
const RECOVERED: Duration = Duration::from_secs(15);
/// How soon what failed is tried again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// For the API server to say where a kind is.
const FIND: Duration = Duration::from_secs(15);
/// How soon it is looked whether a kind is there now, or may be read now.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Brings what is watched into the store, until it is aborted.
pub(super) async fn watch(client: Client, store: Arc<Store>, watched: Watched) {
    let versions = match &watched {
        Watched::Kind(kind) => kind.versions.clone(),
        Watched::Object(_) | Watched::Namespace { .. } | Watched::Pods(_) => vec!["v1".to_owned()],
    };
    let mut pause = Pause::default();
    loop {
        let found = tokio::time::timeout(FIND, resource::find(&client, watched.kind(), &versions)).await;
        let found = found.unwrap_or_else(|_| Err(kube::Error::Service("there was no answer".into())));
        match found {
            Ok(Some(served)) => {
                let ended = match &watched {
                    Watched::Pods(namespace) => {
                        let api: Api<PartialObjectMeta<DynamicObject>> =
                            Api::namespaced_with(client.clone(), namespace, &served.resource);
                        follow(api, None, &served, &store, &watched).await
                    }
                    Watched::Kind(_) => {
                        let api: Api<DynamicObject> = Api::all_with(client.clone(), &served.resource);
                        follow(api, None, &served, &store, &watched).await
                    }
                    Watched::Namespace { namespace, .. } => {
                        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &served.resource);
                        follow(api, None, &served, &store, &watched).await
                    }
                    Watched::Object(key) => {
                        let api: Api<DynamicObject> =
                            Api::namespaced_with(client.clone(), &key.namespace, &served.resource);
                        follow(api, Some(&key.name), &served, &store, &watched).await
                    }
                };
                match ended {
                    Ended::Forbidden(why) => {
                        store.refuse(&watched, Problem::Forbidden(why));
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                    Ended::NotFound => {
                        pause.wait().await;
                        continue;
                    }
                }
            }
            Ok(None) => {
                store.refuse(&watched, Problem::NotServed);
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => {
                store.fail(&watched, sentence(&error));
                pause.wait().await;
                continue;
            }
        }
        pause = Pause::default();
    }
}

/// Follows a list and what happens after it, over every failure; ends when there is nothing to follow.
async fn follow<K>(api: Api<K>, name: Option<&str>, served: &Served, store: &Store, watched: &Watched) -> Ended
where
    K: Resource<DynamicType = ApiResource> + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let mut config = watcher::Config::default().timeout(SILENCE_SECONDS);
    if let Some(name) = name {
        config = config.fields(&format!("metadata.name={name}"));
    }
    let seen = |object: &K| Seen::new(object, &served.resource, &store.place);
    let mut stream = pin!(watcher(api, config));
    let mut listed = BTreeMap::new();
    let mut pause = Pause::default();
    let mut fails = false;
    loop {
        // A watch that goes on where it was says nothing of it.
        let event = match tokio::time::timeout(RECOVERED, stream.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(_) => {
                if std::mem::take(&mut fails) {
                    store.recover(watched);
                }
                continue;
            }
        };
        fails = event.is_err();
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.extend(seen(&object).map(|seen| (seen.object.key.clone(), seen)));
            }
            Ok(Event::InitDone) => {
                store.replace(watched, served.clone(), std::mem::take(&mut listed));
                pause = Pause::default();
            }
            Ok(Event::Apply(object)) => {
                if let Some(seen) = seen(&object) {
                    store.apply(watched, seen);
                }
                pause = Pause::default();
            }
            Ok(Event::Delete(object)) => {
                if let Some(seen) = seen(&object) {
                    store.remove(watched, &seen.object.key);
                }
                pause = Pause::default();
            }
            Err(error) => {
                if let Some(ended) = ended(&error) {
                    return ended;
                }
                tracing::debug!(kind = watched.kind().1, "watch: {}", sentence(&error));
                store.fail(watched, sentence(&error));
                pause.wait().await;
            }
        }
    }
    // A watcher has no end of its own.
    Ended::NotFound
}

/// Why a watch has to be begun from nothing.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Forbidden(String),
    /// The kind may be gone, or somebody on the way says so.
    NotFound,
}

/// What going on does not help against.
fn ended(error: &watcher::Error) -> Option<Ended> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    match status.code {
        403 => Some(Ended::Forbidden(status.message.clone())),
        404 => Some(Ended::NotFound),
        _ => None,
    }
}

/// An error with its causes, in one line.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some say their cause themselves.
        if !sentence.contains(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
        cause = error.source();
    }
    sentence
}

/// The time between two tries, which grows.
#[derive(Debug, Default)]
pub(super) struct Pause {
    last: Option<Duration>,
}

impl Pause {
    /// Sleeps, somewhat more or less than it was meant to, so that replicas do not come all at once.
    pub(super) async fn wait(&mut self) {
        let (first, most) = AGAIN;
        let next = self.last.map_or(first, |last| (last * 2).min(most));
        self.last = Some(next);
        tokio::time::sleep(next.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16) -> watcher::Error {
        let status = Status { code, message: format!("said {code}"), ..Status::default() };
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn what_lasts_is_told_from_what_passes() {
        assert_eq!(ended(&answered(403)), Some(Ended::Forbidden("said 403".to_owned())));
        assert_eq!(ended(&answered(404)), Some(Ended::NotFound));
        for code in [410, 429, 500, 503] {
            assert_eq!(ended(&answered(code)), None, "{code}");
        }
        assert_eq!(ended(&watcher::Error::NoResourceVersion), None);
    }
}
