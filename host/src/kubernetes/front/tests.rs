use std::sync::Arc;

use super::*;

const US: &str = "sekisho.dev/gateway-controller";

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// With port 80 bound as 8080 and port 443 as 8443, at these addresses.
fn front(addresses: &[(&str, &[u16])]) -> Front {
    let at = |(ip, ports): &(&str, &[u16])| (ip.parse().unwrap(), ports.iter().copied().collect());
    Front {
        owner: Owner {
            key: ObjectKey {
                group: "gateway.networking.k8s.io".to_owned(),
                kind: "Gateway".to_owned(),
                namespace: "shop".to_owned(),
                name: "edge".to_owned(),
            },
            version: "v1".to_owned(),
            uid: "u-1".to_owned(),
        },
        name: "edge-sekisho".to_owned(),
        labels: pairs(&[("team", "web")]),
        annotations: pairs(&[("a/b", "c")]),
        ports: BTreeMap::from([
            (80, Port { bound: 8080, speaks: Some("http") }),
            (443, Port { bound: 8443, speaks: None }),
        ]),
        addresses: addresses.iter().map(at).collect(),
    }
}

const BOTH: &[u16] = &[80, 443];

fn service(of: &Front) -> Kept {
    of.kept(&Mark::of(US)).0
}

fn slices(of: &Front) -> Vec<Value> {
    of.kept(&Mark::of(US)).1.iter().map(Kept::anew).collect()
}

/// Pairs of a slice's addresses and its ports.
fn behind(slice: &Value) -> (Vec<&str>, Vec<u64>) {
    let list = |value: &'_ Value| value.as_array().unwrap().clone();
    let ports = list(&slice["ports"]).iter().map(|port| port["port"].as_u64().unwrap()).collect();
    let endpoints = slice["endpoints"].as_array().unwrap();
    (endpoints.iter().map(|endpoint| endpoint["addresses"][0].as_str().unwrap()).collect(), ports)
}

#[test]
fn the_service_has_the_ports_that_clients_name() {
    let made = service(&front(&[("192.0.2.1", BOTH)])).anew();
    assert_eq!(
        made,
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "edge-sekisho",
                "namespace": "shop",
                "labels": {"team": "web", "app.kubernetes.io/managed-by": "sekisho.dev_gateway-controller"},
                "annotations": {
                    "a/b": "c", "sekisho.dev/propagated": r#"{"annotations":["a/b"],"labels":["team"]}"#,
                },
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "edge", "uid": "u-1",
                    "controller": true,
                }],
            },
            "spec": {
                "type": "ClusterIP",
                "ipFamilyPolicy": "SingleStack",
                "ipFamilies": ["IPv4"],
                "ports": [
                    {"name": "port-80", "port": 80, "protocol": "TCP", "targetPort": 8080, "appProtocol": "http"},
                    {"name": "port-443", "port": 443, "protocol": "TCP", "targetPort": 8443},
                ],
            },
        })
    );
}

#[test]
fn the_slices_have_the_ports_that_are_bound() {
    let made = slices(&front(&[("192.0.2.1", BOTH), ("192.0.2.2", BOTH)]));
    assert_eq!(
        made[0],
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "edge-sekisho-ipv4",
                "namespace": "shop",
                "labels": {
                    "team": "web",
                    "app.kubernetes.io/managed-by": "sekisho.dev_gateway-controller",
                    "endpointslice.kubernetes.io/managed-by": "sekisho.dev_gateway-controller",
                    "kubernetes.io/service-name": "edge-sekisho",
                },
                "annotations": {
                    "a/b": "c", "sekisho.dev/propagated": r#"{"annotations":["a/b"],"labels":["team"]}"#,
                },
                "ownerReferences": [{
                    "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "name": "edge", "uid": "u-1",
                    "controller": true,
                }],
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["192.0.2.1"], "conditions": {"ready": true}},
                {"addresses": ["192.0.2.2"], "conditions": {"ready": true}},
            ],
            "ports": [
                {"name": "port-80", "port": 8080, "protocol": "TCP", "appProtocol": "http"},
                {"name": "port-443", "port": 8443, "protocol": "TCP"},
            ],
        })
    );
    assert_eq!(made.len(), 1);
}

#[test]
fn each_family_has_slices_and_so_has_each_set_of_ports() {
    let made = slices(&front(&[
        ("192.0.2.1", BOTH),
        ("192.0.2.2", &[80]),
        ("192.0.2.3", &[]),
        ("2001:db8::1", BOTH),
        ("192.0.2.4", BOTH),
    ]));
    let mut found: Vec<_> =
        made.iter().map(|slice| (slice["metadata"]["name"].as_str().unwrap(), behind(slice))).collect();
    found.sort();
    assert_eq!(
        found,
        [
            ("edge-sekisho-ipv4", (vec!["192.0.2.2"], vec![8080])),
            ("edge-sekisho-ipv4-2", (vec!["192.0.2.1", "192.0.2.4"], vec![8080, 8443])),
            ("edge-sekisho-ipv6", (vec!["2001:db8::1"], vec![8080, 8443])),
        ]
    );
}

#[test]
fn the_families_are_those_of_the_addresses() {
    let families = |addresses: &[(&str, &[u16])]| {
        let spec = service(&front(addresses)).anew()["spec"].clone();
        (spec["ipFamilyPolicy"].clone(), spec["ipFamilies"].clone())
    };
    assert_eq!(families(&[]), (Value::Null, Value::Null));
    assert_eq!(families(&[("2001:db8::1", BOTH)]), (json!("SingleStack"), json!(["IPv6"])));
    assert_eq!(families(&[("2001:db8::1", &[])]), (json!("SingleStack"), json!(["IPv6"])), "not bound yet");
    assert_eq!(
        families(&[("2001:db8::1", BOTH), ("192.0.2.1", BOTH)]),
        (json!("PreferDualStack"), Value::Null),
        "of which a cluster may have but one"
    );
    let wanted = service(&front(&[("2001:db8::1", BOTH)]));
    assert!(wanted.needs_another(&json!({"spec": {"ipFamilies": ["IPv4", "IPv6"]}})));
    assert!(!wanted.needs_another(&json!({"spec": {"ipFamilies": ["IPv6"]}})));
    assert!(!service(&front(&[])).needs_another(&json!({"spec": {"ipFamilies": ["IPv4"]}})));
}

/// What the API server adds, and what others do, is no difference.
#[test]
fn what_others_add_stays() {
    let wanted = service(&front(&[("192.0.2.1", BOTH)]));
    let mut there = wanted.anew();
    there["metadata"]["uid"] = json!("u-2");
    there["metadata"]["labels"]["theirs"] = json!("1");
    there["metadata"]["annotations"]["example.com/theirs"] = json!("1");
    there["spec"]["clusterIP"] = json!("10.96.0.7");
    there["spec"]["sessionAffinity"] = json!("None");
    assert_eq!(wanted.difference(&there), None);
}

#[test]
fn what_was_changed_is_changed_back() {
    let wanted = service(&front(&[("192.0.2.1", BOTH)]));
    let mut there = wanted.anew();
    there["metadata"]["labels"]["team"] = json!("other");
    there["spec"]["selector"] = json!({"app": "theirs"});
    there["spec"]["ports"].as_array_mut().unwrap().pop();
    assert_eq!(
        wanted.difference(&there),
        Some(json!({
            "metadata": {"labels": {"team": "web"}},
            "spec": {"selector": null, "ports": wanted.anew()["spec"]["ports"]},
        }))
    );
}

#[test]
fn labels_that_the_owner_asks_for_no_more_are_taken_back() {
    let before = front(&[("192.0.2.1", BOTH)]);
    let mut there = service(&before).anew();
    there["metadata"]["labels"]["theirs"] = json!("1");
    let after = Front { labels: pairs(&[("tier", "front")]), annotations: BTreeMap::new(), ..before };
    assert_eq!(
        service(&after).difference(&there),
        Some(json!({"metadata": {
            "labels": {"team": null, "tier": "front"},
            "annotations": {"a/b": null, "sekisho.dev/propagated": r#"{"annotations":[],"labels":["tier"]}"#},
        }}))
    );
}

/// Whatever the owner asks for, it does not make its Service another controller's.
#[test]
fn our_own_label_goes_before_the_owners() {
    let mut greedy = front(&[("192.0.2.1", BOTH)]);
    greedy.labels = pairs(&[("app.kubernetes.io/managed-by", "Helm"), ("kubernetes.io/service-name", "other")]);
    let (service, slices) = greedy.kept(&Mark::of(US));
    assert_eq!(service.anew()["metadata"]["labels"]["app.kubernetes.io/managed-by"], "sekisho.dev_gateway-controller");
    assert_eq!(slices[0].anew()["metadata"]["labels"]["kubernetes.io/service-name"], "edge-sekisho");
    // Nor when it asks for that no more.
    let after = Front { labels: BTreeMap::new(), ..greedy };
    let patch = after.kept(&Mark::of(US)).0.difference(&service.anew()).unwrap();
    assert_eq!(patch["metadata"]["labels"], json!({"kubernetes.io/service-name": null}));
}

#[test]
fn ours_is_what_carries_our_label() {
    let made = service(&front(&[]));
    let object = |value: Value| Object::new(made.key.clone(), "v1".to_owned(), Arc::from("test"), value);
    assert!(Mark::of(US).is_on(&object(made.anew())));
    assert!(!Mark::of("example.com/other").is_on(&object(made.anew())));
    assert!(!Mark::of(US).is_on(&object(json!({"metadata": {"name": "edge-sekisho"}}))));
}

#[test]
fn a_controllers_name_becomes_a_label() {
    let legal = |label: &str| {
        label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !label.ends_with('/')
    };
    let long = format!("example.com/{}", "a".repeat(80));
    let mut seen = BTreeSet::new();
    for controller in
        [US, &long, &format!("{long}b"), "example.com/a/b", "example.com/a_b", "example.com/a_", "é/ü", ""]
    {
        let Mark(label) = Mark::of(controller);
        assert!(legal(&label), "{label}");
        assert!(seen.insert(label), "{controller}");
    }
}

#[test]
fn addresses_that_only_this_machine_knows_are_no_endpoints() {
    for ip in ["127.0.1.1", "::1", "0.0.0.0", "::", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1"] {
        assert!(!may_be_endpoint(ip.parse().unwrap()), "{ip}");
    }
    for ip in ["10.0.0.1", "192.0.2.1", "2001:db8::1", "fd00::1"] {
        assert!(may_be_endpoint(ip.parse().unwrap()), "{ip}");
    }
}
