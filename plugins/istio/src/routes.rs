//! The routing table: for each listener the virtual hosts that VirtualServices and servers have in common, and their
//! rules in Istio's order.

mod hosts;
mod shadows;

use std::collections::HashMap;
use std::rc::Rc;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{self, Redirect, Route};
use sekisho_sdk::push;
use sekisho_sdk::table::{self, Condition, ListenerRules, OnMiss, PathRule};

use self::hosts::{Hosts, Placed};
use crate::action::OnServer;
use crate::bound::Bound;
use crate::destinations::Destinations;
use crate::findings::{Findings, Place};
use crate::gateway::{Gateway, Kind, Server};
use crate::listeners::Listeners;
use crate::tenancy::Tenants;
use crate::virtual_service::{Rule, VirtualService};

/// What requests meet.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) routes: Vec<Rc<Route>>,
    pub(crate) tables: Vec<ListenerRules>,
    /// The routes of each VirtualService.
    pub(crate) of: Vec<Vec<u32>>,
}

/// What the rules of VirtualServices lead to, and where.
pub(crate) struct Places<'p> {
    pub(crate) gateways: &'p [Gateway],
    pub(crate) bound: &'p Bound<'p>,
    pub(crate) tenants: &'p Tenants,
    pub(crate) destinations: &'p mut Destinations,
}

/// Fills every listener's table and inputs.
pub(crate) fn build(
    places: &mut Places<'_>,
    listeners: &mut Listeners,
    services: &[VirtualService],
    findings: &mut Findings,
) -> Routes {
    let routes = Routes { of: vec![Vec::new(); services.len()], ..Routes::default() };
    let Places { gateways, bound, tenants, destinations } = places;
    let mut builder = Builder { services, bound, tenants, destinations, findings, routes, known: HashMap::new() };
    for (listener, servers) in listeners.listeners.iter_mut().zip(&listeners.servers) {
        let mut hosts = Hosts::default();
        for id in servers {
            let gateway = &gateways[id.gateway];
            builder.add(&mut hosts, &gateway.servers[id.server], (id.gateway, &gateway.name));
        }
        let virtual_hosts = hosts.finish(listener.port, services, builder.findings);
        listener.inputs.clone_from(&hosts.inputs.names);
        let inputs = hosts.inputs.names;
        let server_names = Vec::new();
        builder.routes.tables.push(ListenerRules { on_miss: OnMiss::Stop, inputs, virtual_hosts, server_names });
    }
    builder.routes
}

/// Says that a VirtualService may not claim a host on a port. Where no port of its Gateways is its own, that was said of
/// the host already.
pub(crate) fn report_not_allowed(
    service: &VirtualService,
    index: usize,
    host: &HostName,
    port: u16,
    findings: &mut Findings,
) {
    let spec = Place::root(&service.key, "spec");
    let message =
        format!("namespace {} may not claim `{host}` on port {port}; it is not served there", service.key.namespace);
    let remedy = "add the port to a tenant of the namespace in the bootstrap file, or bind to another Gateway";
    findings.error(&spec.item("hosts", index), "not-allowed", message, remedy);
}

struct Builder<'b> {
    services: &'b [VirtualService],
    bound: &'b Bound<'b>,
    tenants: &'b Tenants,
    destinations: &'b mut Destinations,
    findings: &'b mut Findings,
    routes: Routes,
    known: HashMap<RouteKey, u32>,
}

/// A rule of a VirtualService, one of its matches where that changes the action, a server where that does.
type RouteKey = (usize, usize, Option<usize>, Option<OnServer>);

impl Builder<'_> {
    fn add(&mut self, hosts: &mut Hosts, server: &Server, (gateway, name): (usize, &str)) {
        let tls = match server.kind {
            Kind::Http { .. } => false,
            Kind::Https(_) => true,
            Kind::Tls(_) | Kind::Passthrough | Kind::Tcp => return,
        };
        let redirect = match server.kind {
            Kind::Http { redirect: true } => Some(self.https_redirect(server)),
            _ => None,
        };
        let on = OnServer { port: server.port, tls };
        let services = self.services;
        for index in self.bound.near(name, &server.hosts) {
            let service = &services[index];
            let namespace = &service.key.namespace;
            let mut list = None;
            for (position, said) in &service.hosts {
                for host in server.hosts.intersect(said, namespace) {
                    if !self.tenants.allow(namespace, &host, Some(server.port)) {
                        report_not_allowed(service, *position, &host, server.port, self.findings);
                        continue;
                    }
                    let list = list.get_or_insert_with(|| self.rules(index, (gateway, name), on, hosts));
                    if !list.is_empty() {
                        hosts.claim(&host, redirect, (index, gateway), list);
                    }
                }
            }
        }
        if let Some(redirect) = redirect {
            for host in server.hosts.names() {
                hosts.redirect(host, redirect);
            }
        }
    }

    /// The rules of a VirtualService on a server of a Gateway, up to the first that takes everything.
    fn rules(
        &mut self,
        service: usize,
        (gateway, name): (usize, &str),
        on: OnServer,
        hosts: &mut Hosts,
    ) -> Rc<[Placed]> {
        if let Some(known) = hosts.lists.get(&(service, gateway)) {
            return Rc::clone(known);
        }
        let mut placed = Vec::new();
        let services = self.services;
        'rules: for (index, rule) in services[service].rules.iter().enumerate() {
            for (number, one) in rule.matches.iter().filter(|(_, one)| one.servers.include(name, on.port)) {
                let route = self.route(service, index, rule, (*number, &one.path), on);
                let conditions = one.conditions.iter().map(|condition| Condition {
                    input: hosts.inputs.index(&condition.input),
                    parameter: condition.parameter.clone(),
                    value: condition.value.clone(),
                    negated: condition.negated,
                });
                let catch_all = one.is_catch_all();
                let rule = table::Rule { route, path: one.path.clone(), conditions: conditions.collect() };
                placed.push(Placed { rule, catch_all, service, index });
                if catch_all {
                    break 'rules;
                }
            }
        }
        let placed: Rc<[Placed]> = placed.into();
        hosts.lists.insert((service, gateway), Rc::clone(&placed));
        placed
    }

    fn route(
        &mut self,
        service: usize,
        index: usize,
        rule: &Rule,
        (number, path): (usize, &PathRule),
        on: OnServer,
    ) -> u32 {
        let by_match = rule.action.depends_on_match().then_some(number);
        let by_server = rule.action.depends_on_server().then_some(on);
        let key = (service, index, by_match, by_server);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let action = rule.action.on(path, on, self.destinations, self.findings);
        let name = match by_match {
            Some(number) => format!("{}.{number}", rule.name),
            None => rule.name.clone(),
        };
        let mut route = Route::new(name, rule.origin.clone(), action);
        route.headers = rule.headers.clone();
        route.cors = rule.cors.clone();
        route.fault = rule.fault;
        let route = self.push(route);
        self.known.insert(key, route);
        self.routes.of[service].push(route);
        route
    }

    fn https_redirect(&mut self, server: &Server) -> u32 {
        let origin = server.origin.below("tls.httpsRedirect");
        let redirect = Redirect { scheme: Some("https".to_owned()), ..Redirect::with_status(301) };
        self.push(Route::new(format!("{}/https-redirect", server.name), origin, model::Action::Redirect(redirect)))
    }

    fn push(&mut self, route: Route) -> u32 {
        push(&mut self.routes.routes, route)
    }
}
