//! A route plugin that does, when it is asked for a route, what the path says: `/trap`, `/loop`, `/hog`, `/recurse`,
//! `/flood` of log lines, `/wild` for a route that does not exist. On every other path it answers 200 by itself.

use sekisho_sdk::model::{
    Action, Address, Binding, HostPattern, Listener, Misdirected, Protocol, Response, Route, Translation,
};
use sekisho_sdk::{
    ConnectionHead, Description, Environment, Explanation, Finding, Object, ObjectKey, Outcome, RequestHead,
    RoutePlugin, Router, Status,
};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct InRoute;

impl RoutePlugin for InRoute {
    type Router = Self;

    fn describe() -> Description {
        Description { dialect: "misbehaving".to_owned(), reads: Vec::new(), config_schema: None }
    }

    fn translate(_environment: Environment, _objects: Vec<Object>) -> Result<(Translation, Self), Vec<Finding>> {
        let origin = ObjectKey::new("", "Misbehaving", "default", "in-route").at("");
        let listener = Listener {
            name: "http".to_owned(),
            origin: origin.clone(),
            binding: 0,
            port: 80,
            protocol: Protocol::Http,
            hosts: vec![HostPattern::Exact("misbehaving.example.com".to_owned())],
            misdirected: Misdirected::Refuse,
            inputs: Vec::new(),
            filters: Vec::new(),
            extensions: Vec::new(),
        };
        let translation = Translation {
            bindings: vec![Binding { origin: origin.clone(), address: Address::Shared }],
            listeners: vec![listener],
            routes: vec![Route::new("well", origin, Action::Respond(Response::status(200)))],
            ..Translation::default()
        };
        Ok((translation, Self))
    }

    fn report(&self, _outcome: &Outcome) -> Vec<Status> {
        Vec::new()
    }
}

impl Router for InRoute {
    fn load(_table: &[u8]) -> Result<Self, String> {
        Ok(Self)
    }

    fn route(&self, head: &RequestHead) -> Option<u32> {
        match head.path.as_str() {
            "/trap" => panic!("as the path says"),
            "/loop" => {
                // Never zero, which the compiler is not told.
                let mut beat = 1_u64;
                while std::hint::black_box(beat) != 0 {
                    beat = beat.rotate_left(1);
                }
                None
            }
            "/hog" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            "/recurse" => Some(recurse(&head.path, 0)),
            "/flood" => {
                (0..10_000).for_each(|_| sekisho_sdk::log::info("\u{1b}[31mflood\u{7}"));
                Some(0)
            }
            "/wild" => Some(7),
            _ => Some(0),
        }
        .map(|route| u32::try_from(route).unwrap_or(0))
    }

    fn route_connection(&self, _head: &ConnectionHead) -> Option<u32> {
        None
    }

    fn explain(&self, _head: &RequestHead) -> Explanation {
        Explanation { chosen: Some(0), virtual_host: None, rejected: Vec::new() }
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(path: &str, depth: u64) -> u64 {
    let here = std::hint::black_box(path.len() as u64 + depth);
    recurse(path, depth + 1) + here
}

sekisho_sdk::export_routes!(InRoute);
