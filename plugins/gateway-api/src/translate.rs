//! From objects to the translation, in one direction: classes, Gateways and their listeners, then route by route.

use std::collections::HashSet;

use sekisho_sdk::model::{
    Binding, ClientVerification, Listener as ModelListener, Protocol as ModelProtocol, Termination, Translation,
};
use sekisho_sdk::objects::Basis;
use sekisho_sdk::{Environment, Map, Object, ObjectKey, push, table};

use crate::attachment::Directory;
use crate::backends::Backends;
use crate::classes::{Class, Classes};
use crate::clusters::Clusters;
use crate::gateways::{self, Gateway};
use crate::host::Host;
use crate::listeners::{Emitted, Listener, Protocol, Tls, conflicts};
use crate::policies::{Policies, Policy};
use crate::routes::{Growing, PlacedRoute, Reading, Surroundings};
use crate::snapshot::Snapshot;
use crate::table::Rows;

/// The dialect, and what one translation leaves behind for its reports.
#[derive(Debug)]
pub struct GatewayApi {
    pub(crate) controller: String,
    pub(crate) host: Host,
    pub(crate) classes: Vec<Class>,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) routes: Vec<PlacedRoute>,
    pub(crate) policies: Vec<Policy>,
    /// The policies that are about a cluster's port, by index of the cluster in the translation.
    pub(crate) concerns: Map<u32, Vec<usize>>,
    /// Where the authorities of a policy are among the translation's sources, by policy, if a cluster needs them.
    pub(crate) trust: Map<usize, Vec<u32>>,
}

pub(crate) fn translate(environment: &Environment, objects: Vec<Object>) -> (Translation, GatewayApi) {
    let mut findings = Vec::from_iter(environment.unknown_config("gateway-api"));
    let snapshot = Snapshot::read(objects, &mut findings);
    let Snapshot { classes, gateways, listener_sets, routes, policies, grants, services, namespaces, besides } =
        snapshot;
    let basis = Basis::new(environment, &besides);
    let classes = Classes::read(&classes, environment, &mut findings);
    let known = gateways.iter().chain(&listener_sets).map(|object| object.key.clone()).collect();
    let host = Host::of(environment);
    let mut gateways = gateways::read(&gateways, &listener_sets, &classes, host, &grants, &namespaces, &mut findings);
    let mut translation = Translation::default();
    emit(&mut gateways, &mut translation);
    let controller = environment.controller_name.clone();
    let policies = Policies::read(&policies, &services, &mut findings);
    let sources = std::mem::take(&mut translation.sources);
    let directory = Directory::of(&gateways, &namespaces);
    let surroundings = Surroundings { basis, services: &services, gateways: &gateways, directory, known };
    let mut backends = Backends::new(&services, &grants, &policies);
    let tables = translation.listeners.iter().map(|_| Rows::default()).collect();
    let clusters = Clusters::new(&gateways, &policies, sources);
    let mut growing = Growing { clusters, routes: Vec::new(), streams: Vec::new(), tables, findings };
    let put =
        |(kind, object)| Reading::of(kind, &object, &surroundings, &mut backends).put(&surroundings, &mut growing);
    let routes = routes.into_iter().filter_map(put).collect();

    let Growing { clusters, routes: model_routes, streams, tables, findings } = growing;
    let (inputs, rules): (Vec<_>, Vec<_>) = tables.into_iter().map(Rows::finish).unzip();
    for (listener, inputs) in translation.listeners.iter_mut().zip(inputs) {
        listener.inputs = inputs;
    }
    translation.table = table::encode(&rules);
    let Clusters { sources, list, concerns, trust, .. } = clusters;
    (translation.sources, translation.clusters) = (sources, list.into_list());
    translation.routes = model_routes;
    translation.streams = streams;
    translation.findings = findings;
    let (classes, policies) = (classes.ours, policies.list);
    (translation, GatewayApi { controller, host, classes, gateways, routes, policies, concerns, trust })
}

/// Puts bindings, listeners and sources into the translation, and notes in the Gateways where they are.
fn emit(gateways: &mut [Gateway], translation: &mut Translation) {
    let places: HashSet<_> = conflicts::holds_place(gateways).into_iter().collect();
    for (index, gateway) in gateways.iter_mut().enumerate() {
        let Some(address) = gateway.address.clone() else { continue };
        let binding = count(&translation.bindings);
        gateway.binding = Some(binding);
        let (origin, infrastructure) = (gateway.key.at("spec.addresses"), gateway.infrastructure.take());
        translation.bindings.push(Binding { origin, address, infrastructure });
        let Gateway { key, sets, listeners, refused, client_certificate, .. } = gateway;
        if let Some(certificate) = client_certificate {
            certificate.emitted = Some(push(&mut translation.sources, certificate.source.clone()));
        }
        for (nth, listener) in listeners.iter_mut().enumerate() {
            let set = listener.set.map(|set| &sets[set].key);
            let home = Home { gateway: key, set, binding };
            if refused.is_none() && listener.is_accepted() {
                listener.emitted = emit_listener(listener, home, translation);
            } else if places.contains(&(index, nth)) {
                emit_place(listener, home, translation);
            }
        }
    }
}

/// Where a listener is at home.
#[derive(Clone, Copy)]
struct Home<'h> {
    gateway: &'h ObjectKey,
    /// The ListenerSet that it stands in.
    set: Option<&'h ObjectKey>,
    binding: u32,
}

fn emit_listener(listener: &Listener, home: Home<'_>, translation: &mut Translation) -> Option<Emitted> {
    let mut emitted = Emitted { listener: count(&translation.listeners), credentials: Vec::new(), trust: Vec::new() };
    let mut terminated = |tls: &Tls| {
        emitted.credentials =
            tls.credentials.iter().map(|source| push(&mut translation.sources, source.clone())).collect();
        emitted.trust = tls.trust.iter().map(|source| push(&mut translation.sources, source.clone())).collect();
        let client = (!emitted.trust.is_empty()).then(|| ClientVerification {
            trust: emitted.trust.clone(),
            no_certificate: tls.client.without_certificate(),
            untrusted: tls.client.untrusted(),
            names: Vec::new(),
            pins: Vec::new(),
            max_depth: None,
        });
        (emitted.credentials.clone(), client)
    };
    let protocol = match &listener.protocol {
        Protocol::Http => ModelProtocol::Http,
        Protocol::Https(tls) => {
            let (credentials, client) = terminated(tls);
            ModelProtocol::Https(Termination { client, ..Termination::http(credentials) })
        }
        Protocol::Tls(tls) => {
            let (credentials, client) = terminated(tls);
            ModelProtocol::Tls(Termination { client, alpn: Vec::new(), ..Termination::http(credentials) })
        }
        Protocol::Passthrough => ModelProtocol::Passthrough,
        Protocol::Tcp => ModelProtocol::Tcp,
        Protocol::Unserved => return None,
    };
    add(listener, &listener.name, protocol, home, translation);
    Some(emitted)
}

/// Keeps the place of a listener that is not accepted: nothing is served there.
fn emit_place(listener: &Listener, home: Home<'_>, translation: &mut Translation) {
    let protocol = match &listener.protocol {
        Protocol::Http => ModelProtocol::Http,
        Protocol::Https(_) | Protocol::Tls(_) | Protocol::Passthrough => {
            let refusing = Tls::refusing(home.set.unwrap_or(home.gateway).at(&listener.field));
            let credentials =
                refusing.credentials.iter().map(|source| push(&mut translation.sources, source.clone())).collect();
            ModelProtocol::https(credentials)
        }
        Protocol::Tcp | Protocol::Unserved => return,
    };
    // A second listener of one name must not be called like the first.
    let name = if listener.duplicate { &format!("{} at {}", listener.name, listener.field) } else { &listener.name };
    add(listener, name, protocol, home, translation);
}

fn add(listener: &Listener, name: &str, protocol: ModelProtocol, home: Home<'_>, translation: &mut Translation) {
    let (Some(port), Some(host)) = (listener.port, &listener.host) else { return };
    let Home { gateway, set, binding } = home;
    let set_name = set.map_or_else(String::new, |set| format!("{}/{}/", set.namespace, set.name));
    let name = format!("{}/{}/{set_name}{name}", gateway.namespace, gateway.name);
    let origin = set.unwrap_or(gateway).at(&listener.field);
    let listener = ModelListener::new(name, origin, port, protocol, vec![host.to_pattern()]);
    translation.listeners.push(ModelListener { binding, ..listener });
}

fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("fewer entries than bytes of memory")
}
