//! The routing table: for each listener the virtual hosts that VirtualServices and servers have in common, and their
//! rules in Istio's order.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use sekisho_sdk::host_name::HostName;
use sekisho_sdk::model::{self, Redirect, Route};
use sekisho_sdk::table::{Condition, ListenerRules, OnMiss, PathRule, ValueRule, VirtualHost};
use sekisho_sdk::{Origin, Severity, table};

use crate::action::OnServer;
use crate::destinations::Destinations;
use crate::findings::Findings;
use crate::gateway::{Gateway, Kind, Server};
use crate::listeners::Listeners;
use crate::virtual_service::{Rule, VirtualService};

/// What requests meet.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) routes: Vec<Route>,
    pub(crate) tables: Vec<ListenerRules>,
    /// The routes of each VirtualService.
    pub(crate) of: Vec<Vec<u32>>,
}

/// Fills every listener's table and inputs.
pub(crate) fn build(
    gateways: &[Gateway],
    listeners: &mut Listeners,
    services: &[VirtualService],
    destinations: &mut Destinations,
    findings: &mut Findings,
) -> Routes {
    let mut bound: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, service) in services.iter().enumerate() {
        let names: HashSet<&str> = service.gateways.iter().map(String::as_str).collect();
        for name in names {
            bound.entry(name).or_default().push(index);
        }
    }
    let routes = Routes { of: vec![Vec::new(); services.len()], ..Routes::default() };
    let mut builder = Builder { services, destinations, findings, routes, known: HashMap::new() };
    for (listener, servers) in listeners.listeners.iter_mut().zip(&listeners.servers) {
        let mut hosts = Hosts::default();
        for id in servers {
            let gateway = &gateways[id.gateway];
            let bound = bound.get(gateway.name.as_str()).map_or(&[][..], Vec::as_slice);
            builder.add(&mut hosts, &gateway.servers[id.server], (id.gateway, &gateway.name), bound);
        }
        let virtual_hosts = hosts.finish(listener.port, services, builder.findings);
        listener.inputs.clone_from(&hosts.inputs.names);
        let inputs = hosts.inputs.names;
        builder.routes.tables.push(ListenerRules {
            on_miss: OnMiss::Stop,
            inputs,
            virtual_hosts,
            server_names: Vec::new(),
        });
    }
    builder.routes
}

struct Builder<'b> {
    services: &'b [VirtualService],
    destinations: &'b mut Destinations,
    findings: &'b mut Findings,
    routes: Routes,
    known: HashMap<RouteKey, u32>,
}

/// A rule of a VirtualService, one of its matches where that changes the action, a server where that does.
type RouteKey = (usize, usize, Option<usize>, Option<OnServer>);

impl Builder<'_> {
    fn add(&mut self, hosts: &mut Hosts, server: &Server, (gateway, name): (usize, &str), bound: &[usize]) {
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
        for index in bound {
            let service = &services[*index];
            let both = service.hosts.iter().flat_map(|(_, host)| server.hosts.intersect(host, &service.key.namespace));
            let mut list = None;
            for host in both {
                let list = list.get_or_insert_with(|| self.rules(*index, (gateway, name), on, hosts));
                if list.is_empty() {
                    break;
                }
                hosts.claim(&host, redirect, (*index, gateway), list);
            }
        }
        if let Some(redirect) = redirect {
            for host in server.hosts.names() {
                hosts.at(host).redirect.get_or_insert(redirect);
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
            for (number, one) in rule.matches.iter().filter(|(_, one)| one.applies(name, on.port)) {
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
        let Origin { object, field } = &server.origin;
        let origin = object.at(format!("{field}.tls.httpsRedirect"));
        let redirect = Redirect { scheme: Some("https".to_owned()), ..Redirect::with_status(301) };
        self.push(Route::new(format!("{}/https-redirect", server.name), origin, model::Action::Redirect(redirect)))
    }

    fn push(&mut self, route: Route) -> u32 {
        let index = u32::try_from(self.routes.routes.len()).unwrap_or(u32::MAX);
        self.routes.routes.push(route);
        index
    }
}

/// The virtual hosts of one listener while they are filled.
#[derive(Default)]
struct Hosts {
    inputs: Inputs,
    hosts: Vec<Host>,
    by_name: HashMap<HostName, usize>,
    /// By VirtualService and Gateway.
    lists: HashMap<(usize, usize), Rc<[Placed]>>,
}

struct Host {
    name: HostName,
    redirect: Option<u32>,
    lists: Vec<Rc<[Placed]>>,
    from: HashSet<(usize, usize)>,
}

/// A rule, and where it comes from.
struct Placed {
    rule: table::Rule,
    catch_all: bool,
    service: usize,
    index: usize,
}

impl Hosts {
    fn at(&mut self, name: &HostName) -> &mut Host {
        let next = self.hosts.len();
        let index = *self.by_name.entry(name.clone()).or_insert(next);
        if index == next {
            self.hosts.push(Host { name: name.clone(), redirect: None, lists: Vec::new(), from: HashSet::new() });
        }
        &mut self.hosts[index]
    }

    fn claim(&mut self, name: &HostName, redirect: Option<u32>, from: (usize, usize), list: &Rc<[Placed]>) {
        let host = self.at(name);
        host.redirect = host.redirect.or(redirect);
        if host.from.insert(from) {
            host.lists.push(Rc::clone(list));
        }
    }

    fn finish(&mut self, port: u16, services: &[VirtualService], findings: &mut Findings) -> Vec<VirtualHost> {
        let hosts = std::mem::take(&mut self.hosts);
        let hosts = hosts.into_iter().map(|host| {
            let mut rules = Vec::with_capacity(host.lists.iter().map(|list| list.len()).sum());
            if let Some(route) = host.redirect {
                let value = ValueRule::Exact("https".to_owned());
                let input = self.inputs.index(":scheme");
                let conditions = vec![Condition { input, parameter: None, value, negated: true }];
                rules.push(table::Rule { route, path: PathRule::Any, conditions });
            }
            let all = || host.lists.iter().flat_map(|list| list.iter());
            rules.extend(all().filter(|placed| !placed.catch_all).map(|placed| placed.rule.clone()));
            let mut taker: Option<&Placed> = None;
            for placed in all().filter(|placed| placed.catch_all) {
                match taker {
                    None => {
                        rules.push(placed.rule.clone());
                        taker = Some(placed);
                    }
                    Some(taker) => report_shadowed(&host.name, taker, placed, services, findings),
                }
            }
            VirtualHost { name: format!("{}:{port}", host.name), host: host.name, rules }
        });
        hosts.collect()
    }
}

/// Two VirtualServices take everything on one host: the later one never gets it.
fn report_shadowed(
    host: &HostName,
    taker: &Placed,
    placed: &Placed,
    services: &[VirtualService],
    findings: &mut Findings,
) {
    if taker.service == placed.service {
        return;
    }
    let key = &services[taker.service].key;
    let message = format!(
        "on `{host}` this is never reached, because VirtualService {}/{} takes every request",
        key.namespace, key.name
    );
    let origin = services[placed.service].rules[placed.index].origin.clone();
    findings.say(
        Severity::Warning,
        origin,
        "unreachable-rule",
        message,
        "match something, or write all rules in one place",
    );
}

/// What a listener's router reads of requests.
#[derive(Debug, Default)]
struct Inputs {
    names: Vec<String>,
    by_name: HashMap<String, u16>,
}

impl Inputs {
    fn index(&mut self, name: &str) -> u16 {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let index = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), index);
        index
    }
}
