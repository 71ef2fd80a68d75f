//! An ordinary route plugin, from which each of `tests/misbehaving/` differs in one thing.
//!
//! It listens on port 80 for the host that its `config` in `sekisho.json` names, and answers 200 by itself. Each function
//! of [`Ordinary`] is given what the ordinary plugin would say, and says it.

use std::marker::PhantomData;

use sekisho_sdk::model::{Action, Address, Binding, HostPattern, Listener, Protocol, Route, Translation};
use sekisho_sdk::{
    ConnectionHead, Description, Environment, Explanation, Finding, Object, ObjectKey, Origin, Outcome, RequestHead,
    RoutePlugin, Router, Status,
};

/// The path on which a plugin misbehaves that otherwise serves.
pub const MISBEHAVE: &str = "/misbehave";

/// What a plugin may do otherwise.
pub trait Ordinary: 'static {
    /// Says what it is.
    fn describe(ordinary: Description) -> Description {
        ordinary
    }

    /// Translates; `what` is the key of that name in its `config`.
    fn translate(ordinary: Translation, what: &str) -> Translation {
        _ = what;
        ordinary
    }

    /// Takes its table.
    fn load() {}

    /// Chooses a route.
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        _ = path;
        ordinary
    }

    /// Renders statuses.
    fn report(ordinary: Vec<Status>) -> Vec<Status> {
        ordinary
    }
}

/// A component that is ordinary but for `P`.
pub struct But<P>(PhantomData<P>);

/// Makes an [`Ordinary`] the component that the gateway loads.
#[macro_export]
macro_rules! export {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        type Plugin = $crate::But<$plugin>;
        sekisho_sdk::export_routes!(Plugin);
    };
}

/// The object that everything in the translation stands in.
#[must_use]
pub fn origin() -> Origin {
    ObjectKey::new("", "Misbehaving", "default", "ordinary").at("")
}

impl<P: Ordinary> RoutePlugin for But<P> {
    type Router = Names<P>;

    fn describe() -> Description {
        P::describe(Description { dialect: "ordinary".to_owned(), reads: Vec::new(), config_schema: None })
    }

    fn translate(environment: Environment, _objects: Vec<Object>) -> Result<(Translation, Self), Vec<Finding>> {
        let config: serde_json::Value = serde_json::from_str(&environment.config).unwrap_or_default();
        let text = |key: &str| config[key].as_str().unwrap_or_default();
        let hosts = vec![HostPattern::Exact(text("host").to_owned())];
        let listener = Listener::new("http", origin(), 80, Protocol::Http, hosts);
        let ordinary = Translation {
            bindings: vec![Binding { origin: origin(), address: Address::Shared, infrastructure: None }],
            listeners: vec![listener],
            routes: vec![Route::new("ordinary", origin(), Action::respond(200)).into()],
            ..Translation::default()
        };
        let mut translation = P::translate(ordinary, text("what"));
        if translation.table.is_empty() {
            let names: Vec<_> = translation.routes.iter().map(|route| route.name.as_str()).collect();
            translation.table = names.join("\n").into_bytes();
        }
        Ok((translation, Self(PhantomData)))
    }

    fn report(&self, _outcome: &Outcome) -> Vec<Status> {
        let json = r#"{"conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted"}]}"#;
        P::report(vec![Status { object: origin().object, json: json.to_owned() }])
    }
}

/// The names of the routes; each is the path that it is for, and the first is for all others.
pub struct Names<P>(Vec<String>, PhantomData<P>);

impl<P: Ordinary> Router for Names<P> {
    fn load(table: &[u8]) -> Result<Self, String> {
        P::load();
        Ok(Self(String::from_utf8_lossy(table).lines().map(str::to_owned).collect(), PhantomData))
    }

    fn route(&self, head: &RequestHead) -> Option<u32> {
        let named = self.0.iter().position(|name| head.path.strip_prefix('/') == Some(name));
        P::route(&head.path, u32::try_from(named.unwrap_or(0)).ok())
    }

    fn route_connection(&self, _head: &ConnectionHead) -> Option<u32> {
        None
    }

    fn explain(&self, head: &RequestHead) -> Explanation {
        Explanation { chosen: self.route(head), because: None, virtual_host: None, rejected: Vec::new() }
    }
}
