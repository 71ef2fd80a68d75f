//! The cases: `call/dialect/shape/routes/where`, for `route` also which request.

use std::collections::HashMap;
use std::hint::black_box;

use sekisho::bootstrap::Gateway;
use sekisho::model::{Input, Translation};
use sekisho::object::Object;
use sekisho::plugin::{self, Engine, Head, ListenerState, Outcome, SecretBytes, SourceState};
use sekisho_gateway_api::GatewayApi;
use sekisho_istio::Istio;
use sekisho_kubernetes_secrets::KubernetesSecrets;
use sekisho_sdk::secrets::Secret;
use sekisho_sdk::{ObjectKey, RequestHead, RoutePlugin, Router, SecretPlugin};
use serde_json::Value;

use crate::estate::{self, Asked, Dialect, Shape};
use crate::{Meter, sandboxed};

const SIZES: [usize; 3] = [10, 1_000, 10_000];

/// How many calls of `route` are measured at a time where one is too short.
const ROUTE_CALLS: u32 = 100;

pub(crate) fn all(meter: &mut dyn Meter) {
    let engine = Engine::new().expect("an engine");
    secret(&engine, meter);
    for dialect in Dialect::ALL {
        let plugin = sandboxed::routes(&engine, dialect.name());
        let mut translator = plugin.translator().expect("an instance");
        let empty = translator.translate(&environment(), &[]).expect("a translation of nothing").table;
        meter.measure(&format!("instance/{}", dialect.name()), 1, &mut || {
            black_box(plugin.router(&empty).expect("a router"));
        });
        for estate in Estate::all_of(dialect) {
            estate.in_sandbox(&plugin, meter);
            estate.natively(meter);
        }
    }
}

/// Those that need no sandbox.
pub(crate) fn native(meter: &mut dyn Meter) {
    Dialect::ALL.into_iter().flat_map(Estate::all_of).for_each(|estate| estate.natively(meter));
}

/// One configuration.
pub(crate) struct Estate {
    pub(crate) dialect: Dialect,
    shape: Shape,
    routes: usize,
    pub(crate) objects: Vec<Object>,
}

impl Estate {
    pub(crate) fn all_of(dialect: Dialect) -> impl Iterator<Item = Self> {
        let new = move |shape, routes| {
            let objects = estate::objects(dialect, shape, routes);
            Self { dialect, shape, routes, objects }
        };
        Shape::ALL.into_iter().flat_map(move |shape| SIZES.map(|routes| new(shape, routes)))
    }

    pub(crate) fn name(&self, call: &str, subject: &str) -> String {
        format!("{call}/{}/{}/{}/{subject}", self.dialect.name(), self.shape.name(), self.routes)
    }

    fn natively(&self, meter: &mut dyn Meter) {
        match self.dialect {
            Dialect::Istio => self.natively_as::<Istio>(meter),
            Dialect::GatewayApi => self.natively_as::<GatewayApi>(meter),
        }
    }

    fn in_sandbox(&self, plugin: &plugin::RoutesPlugin, meter: &mut dyn Meter) {
        let environment = environment();
        let name = |call| self.name(call, "sandboxed");
        meter.measure(&name("translate"), 1, &mut || {
            let mut translator = plugin.translator().expect("an instance");
            drop(black_box(translator.translate(&environment, &self.objects).expect("a translation")));
        });
        let mut translator = plugin.translator().expect("an instance");
        let mut translate = || translator.translate(&environment, &self.objects).expect("a translation");
        // Only the second is remembered.
        drop((translate(), translate()));
        meter.measure(&name("translate-again"), 1, &mut || drop(black_box(translate())));
        let translation = translate();
        self.check(&translation);
        let outcome = all_is_well(&translation);
        meter.measure(&name("report"), 1, &mut || {
            drop(black_box(translator.report(&outcome, &HashMap::new()).expect("a report")));
        });
        meter.measure(&name("load"), 1, &mut || {
            black_box(plugin.router(&translation.table).expect("a router"));
        });
        let mut router = plugin.router(&translation.table).expect("a router");
        for asked in Asked::ALL {
            let head = Asking::new(asked, self, &translation);
            let inputs: Vec<_> = head.inputs.iter().map(Option::as_deref).collect();
            let head = Head { listener: 0, host: &head.host, path: &head.path, inputs: &inputs };
            let answer = router.route(head).expect("an answer");
            assert_eq!(answer.is_none(), matches!(asked, Asked::Miss), "{asked:?}");
            meter.measure(&format!("{}/{}", name("route"), asked.name()), ROUTE_CALLS, &mut || {
                black_box(router.route(black_box(head)).expect("an answer"));
            });
        }
    }

    fn natively_as<P: RoutePlugin>(&self, meter: &mut dyn Meter) {
        let gateway = Gateway::default();
        let environment = || sekisho_sdk::Environment {
            namespace: gateway.namespace.clone(),
            labels: gateway.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            class_name: gateway.class_name.clone(),
            controller_name: gateway.controller_name.clone(),
            capabilities: Vec::new(),
            config: "null".to_owned(),
        };
        // The copies are part of it: the sandbox is given some too.
        let objects = || self.objects.iter().map(sdk_object).collect();
        let name = |call| self.name(call, "native");
        meter.measure(&name("translate"), 1, &mut || {
            drop(black_box(P::translate(environment(), objects())));
        });
        let Ok((said, plugin)) = P::translate(environment(), objects()) else { panic!("no translation") };
        let data = serde_json::to_value(sekisho_sdk::records(said.clone())).expect("records are data");
        let translation = plugin::translation_from(data).expect("a translation");
        let outcome = plugin::outcome_as_data(&all_is_well(&translation));
        let outcome = serde_json::from_value(outcome).expect("the same record on both sides");
        meter.measure(&name("report"), 1, &mut || drop(black_box(plugin.report(&outcome))));
        meter.measure(&name("load"), 1, &mut || drop(black_box(P::Router::load(&said.table))));
        let router = P::Router::load(&said.table).expect("a router");
        for asked in Asked::ALL {
            let Asking { host, path, inputs } = Asking::new(asked, self, &translation);
            let head = RequestHead { listener: 0, host, path, inputs };
            meter.measure(&format!("{}/{}", name("route"), asked.name()), ROUTE_CALLS, &mut || {
                black_box(router.route(black_box(&head)));
            });
        }
    }

    /// What is measured must be what was meant.
    fn check(&self, translation: &Translation) {
        assert!(translation.findings.is_empty(), "{:?}", translation.findings.first());
        assert!(translation.routes.len() >= self.routes && translation.listeners.len() == 1);
    }
}

/// A request as a router is asked about it.
pub(crate) struct Asking {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) inputs: Vec<Option<Vec<u8>>>,
}

impl Asking {
    pub(crate) fn new(asked: Asked, estate: &Estate, translation: &Translation) -> Self {
        let (host, path) = asked.of(estate.shape, estate.routes);
        let input = |input: &Input| match input {
            Input::Method => Some(b"GET".to_vec()),
            Input::Scheme => Some(b"https".to_vec()),
            _ => None,
        };
        Self { host, path, inputs: translation.listeners[0].inputs.iter().map(input).collect() }
    }
}

fn secret(engine: &Engine, meter: &mut dyn Meter) {
    let pair = rcgen::generate_simple_self_signed(["www.example.com".to_owned()]).expect("a certificate");
    let data = [("tls.crt", pair.cert.pem()), ("tls.key", pair.signing_key.serialize_pem())];
    let data: Vec<_> = data.map(|(key, pem)| (key.to_owned(), pem.into_bytes())).into();
    let given = SecretBytes {
        kind: "Secret".to_owned(),
        namespace: "istio-system".to_owned(),
        name: "public".to_owned(),
        type_name: "kubernetes.io/tls".to_owned(),
        annotations: Vec::new(),
        data,
    };
    let plugin = sandboxed::secrets(engine);
    meter.measure("secret/sandboxed", 1, &mut || drop(black_box(plugin.credential(&given).expect("an answer"))));
    meter.measure("secret/native", 1, &mut || {
        let secret = Secret {
            kind: given.kind.clone(),
            namespace: given.namespace.clone(),
            name: given.name.clone(),
            type_: given.type_name.clone(),
            annotations: Vec::new(),
            data: given.data.clone(),
        };
        drop(black_box(KubernetesSecrets::decode_credential(secret)));
    });
}

pub(crate) fn environment() -> plugin::Environment {
    plugin::Environment { gateway: Gateway::default(), config: Value::Null }
}

fn sdk_object(object: &Object) -> sekisho_sdk::Object {
    let key = &object.key;
    let key = ObjectKey::new(&key.group, &key.kind, &key.namespace, &key.name);
    sekisho_sdk::Object::new(key, &object.version, object.json.to_vec())
}

fn all_is_well(translation: &Translation) -> Outcome {
    Outcome {
        live: true,
        bindings: translation.bindings.iter().map(|_| Ok(vec!["192.0.2.1".to_owned()])).collect(),
        listeners: translation.listeners.iter().map(|_| ListenerState::Serving).collect(),
        sources: translation.sources.iter().map(|_| SourceState::Ready).collect(),
        refused_routes: Vec::new(),
        refused_clusters: Vec::new(),
    }
}
