use std::sync::atomic::{AtomicUsize, Ordering};

use kube::discovery::ApiResource;
use serde_json::json;

use super::*;

fn served(kind: &str) -> Served {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".to_owned(),
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        plural: format!("{}s", kind.to_lowercase()),
    };
    Served { resource, namespaced: true }
}

fn service(version: &str, port: u16, address: Option<&str>) -> Seen {
    let key = ObjectKey::core("Service", "n", "s");
    let mut value = json!({"spec": {"ports": [{"port": port}]}});
    if let Some(ip) = address {
        value["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
    }
    Seen { object: Object::new(key, "v1".to_owned(), Arc::from("test"), value), version: version.to_owned() }
}

fn of(seen: Seen) -> BTreeMap<ObjectKey, Seen> {
    BTreeMap::from([(seen.object.key.clone(), seen)])
}

struct Rig {
    store: Store,
    hints: Arc<AtomicUsize>,
    services: Watched,
}

fn rig() -> Rig {
    let hints = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hints);
    let store = Store::new(SecretsBy::Name, move || _ = counted.fetch_add(1, Ordering::Relaxed));
    let mut wants = Wants::default();
    wants.kind("", "Service", &["v1".to_owned()]);
    let services = store.want(&wants).pop_first().unwrap();
    Rig { store, hints, services }
}

#[test]
fn nothing_is_read_before_everything_was() {
    let Rig { store, hints, services } = rig();
    let mut wants = Wants::default();
    wants.kind("", "Service", &["v1".to_owned()]);
    wants.object(&ObjectKey::core("Secret", "n", "s"));
    let secret = store.want(&wants).into_iter().find(|watched| matches!(watched, Watched::Object(_))).unwrap();
    store.replace(&services, served("Service"), BTreeMap::new());
    assert!(store.read().is_none() && !store.is_due(Instant::now()) && !store.wait(Instant::now()));
    assert_eq!(hints.load(Ordering::Relaxed), 0);
    store.refuse(&secret, Problem::Forbidden("no".to_owned()));
    assert!(store.wait(Instant::now()) && store.is_due(Instant::now()));
    assert_eq!(hints.load(Ordering::Relaxed), 1, "once all is known");
    let findings = store.read().unwrap().findings;
    assert_eq!(findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(), ["access-forbidden"]);
    assert!(!store.is_due(Instant::now()));
}

#[test]
fn only_what_matters_is_a_change() {
    let Rig { store, hints, services } = rig();
    store.replace(&services, served("Service"), of(service("1", 80, None)));
    store.read().unwrap();
    store.take_hint();
    store.apply(&services, service("2", 80, None));
    store.replace(&services, served("Service"), of(service("3", 80, None)));
    assert!(!store.is_due(Instant::now()));
    store.apply(&services, service("4", 80, Some("192.0.2.1")));
    assert!(store.is_due(Instant::now()), "another address");
    store.apply(&services, service("5", 81, Some("192.0.2.1")));
    assert_eq!(hints.load(Ordering::Relaxed), 2, "one until it is taken");
    assert!(store.is_stirred() && !store.is_stirred());
    let version = store.look(|view| view.find(&ObjectKey::core("Service", "n", "s")).unwrap().1.version.clone());
    assert_eq!(version, "5");
}

#[test]
fn endpoints_that_nothing_leads_to_are_kept_for_later() {
    let store = Store::new(SecretsBy::Name, || {});
    let mut wants = Wants::default();
    wants.kind("discovery.k8s.io", "EndpointSlice", &["v1".to_owned()]);
    let slices = store.want(&wants).pop_first().unwrap();
    let slice = |version: &str, address: &str| {
        let key = ObjectKey {
            group: "discovery.k8s.io".to_owned(),
            kind: "EndpointSlice".to_owned(),
            namespace: "n".to_owned(),
            name: "s-1".to_owned(),
        };
        let value = json!({"metadata": {"labels": {SERVICE_NAME: "s"}}, "endpoints": [{"addresses": [address]}]});
        Seen { object: Object::new(key, "v1".to_owned(), Arc::from("test"), value), version: version.to_owned() }
    };
    store.replace(&slices, served("EndpointSlice"), BTreeMap::new());
    store.read().unwrap();
    store.apply(&slices, slice("1", "10.0.0.1"));
    assert!(!store.is_due(Instant::now()));
    wants.endpoints("n", "s");
    store.want(&wants);
    assert!(store.is_due(Instant::now()), "it changed after it was read, and matters now");
    assert_eq!(store.read().unwrap().objects.iter().count(), 1);
    store.apply(&slices, slice("2", "10.0.0.1"));
    assert!(!store.is_due(Instant::now()));
    store.apply(&slices, slice("3", "10.0.0.2"));
    assert!(store.is_due(Instant::now()));
}

#[test]
fn a_list_without_an_object_and_a_kind_without_a_definition_have_none() {
    let Rig { store, services, .. } = rig();
    store.replace(&services, served("Service"), of(service("1", 80, None)));
    assert_eq!(store.read().unwrap().objects.iter().count(), 1);
    store.refuse(&services, Problem::Forbidden("no".to_owned()));
    assert_eq!(store.read().unwrap().objects.iter().count(), 1, "what was read stays");
    store.replace(&services, served("Service"), BTreeMap::new());
    assert!(store.is_due(Instant::now()));
    assert_eq!(store.read().unwrap().objects.iter().count(), 0);
    store.apply(&services, service("2", 80, None));
    store.refuse(&services, Problem::NotServed);
    assert_eq!(store.read().unwrap().objects.iter().count(), 0);
}

#[test]
fn a_failure_is_told_when_it_lasts_and_changes_nothing_else() {
    let Rig { store, services, .. } = rig();
    store.replace(&services, served("Service"), of(service("1", 80, None)));
    store.read().unwrap();
    store.fail(&services, "refused".to_owned());
    assert!(!store.is_due(Instant::now()));
    let began = Instant::now().checked_sub(PATIENCE).unwrap();
    store.lock().held.get_mut(&services).unwrap().failing = Some((began, "refused".to_owned()));
    store.fail(&services, "refused".to_owned());
    assert!(store.is_due(Instant::now()));
    let snapshot = store.read().unwrap();
    assert_eq!((snapshot.objects.iter().count(), snapshot.findings.len()), (1, 1), "{:?}", snapshot.findings);
    store.apply(&services, service("2", 80, None));
    assert!(store.is_due(Instant::now()), "that it is over");
    assert_eq!(store.read().unwrap().findings, []);
}

#[test]
fn what_is_not_wanted_any_more_is_gone() {
    let Rig { store, services, .. } = rig();
    store.replace(&services, served("Service"), of(service("1", 80, None)));
    let mut wants = Wants::default();
    wants.kind("", "Namespace", &["v1".to_owned()]);
    store.want(&wants);
    store.apply(&services, service("2", 80, None));
    assert!(store.look(|view| view.find(&ObjectKey::core("Service", "n", "s")).is_none()));
}

#[test]
fn what_is_wanted_in_another_version_stays_until_it_is_read() {
    let Rig { store, services, .. } = rig();
    store.replace(&services, served("Service"), of(service("1", 80, None)));
    let mut wants = Wants::default();
    wants.kind("", "Service", &["v2".to_owned(), "v1".to_owned()]);
    store.want(&wants);
    assert_eq!(store.read().unwrap().objects.iter().count(), 1);
}

#[test]
fn secrets_are_watched_by_name_or_by_namespace() {
    let mut wants = Wants::default();
    for name in ["a", "b"] {
        wants.object(&ObjectKey::core("Secret", "n", name));
    }
    wants.object(&ObjectKey::core("Service", "n", "a"));
    assert_eq!(wants.watched(SecretsBy::Name).len(), 2);
    assert_eq!(wants.watched(SecretsBy::Namespace).len(), 1);
}
