//! What a Sekisho plugin is written with: the types of `wit/`, the traits to implement, and the parts most dialects
//! share (host names, a routing table, typed reading of objects, Services).
//!
//! A dialect of routes implements [`RoutePlugin`] and says `sekisho_sdk::export_routes!(MyPlugin);`, a secret format
//! implements [`SecretPlugin`] and says `sekisho_sdk::export_secrets!(MyFormat);`. Both compile natively too, so that
//! `cargo test` needs no sandbox.

#[doc(hidden)]
pub mod bindings;
mod export;
pub mod host_name;
mod hosts;
mod last;
mod lists;
pub mod log;
mod model_ext;
mod object;
pub mod objects;
pub mod secrets;
mod services;
pub mod table;
mod typed;

pub use bindings::routes::exports::sekisho::gateway::router::{Candidate, ConnectionHead, Explanation, RequestHead};
pub use bindings::routes::exports::sekisho::gateway::translator::{
    Description, Environment, Kind, ListenerState, Outcome, SourceState, Status,
};
pub use bindings::routes::sekisho::gateway::types::{Extension, Finding, ObjectKey, Origin, Severity};
#[doc(hidden)]
pub use export::{Routes, Secrets};
pub use hosts::Hosts;
#[doc(hidden)]
pub use last::records;
pub use lists::{Clusters, Map, push};
pub use object::Object;
pub use secrets::SecretPlugin;
pub use services::{BackendPort, ServicePort, ServiceSpec, Services};
pub use typed::{Age, Typed};

/// The translation: what a configuration means, as data that the host executes (`model.wit`).
pub mod model {
    use std::rc::Rc;

    pub use crate::bindings::routes::sekisho::gateway::model::*;

    /// What a configuration means. Which of its routes and clusters the host knows already is found out when it is handed
    /// over, at once for those that are shared with the translation before.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Translation {
        /// Where traffic enters.
        pub bindings: Vec<Binding>,
        /// What is served there.
        pub listeners: Vec<Listener>,
        /// Secrets by reference.
        pub sources: Vec<Source>,
        /// Where requests go.
        pub clusters: Vec<Rc<Cluster>>,
        /// What is done with requests.
        pub routes: Vec<Rc<Route>>,
        /// What is done with connections that are not read as requests.
        pub streams: Vec<StreamRoute>,
        /// What the operator should know.
        pub findings: Vec<Finding>,
        /// For the router of this very plugin.
        pub table: Vec<u8>,
    }
}

/// A dialect of routes.
///
/// The value is what one translation leaves behind for its reports; the routing table travels as bytes.
pub trait RoutePlugin: Sized + 'static {
    /// What answers `route`; [`table::Table`] serves most dialects.
    type Router: Router;

    /// The dialect's name and the kinds of objects it reads.
    fn describe() -> Description;

    /// What the objects mean. Pure: the same arguments give the same translation.
    ///
    /// # Errors
    /// Only when nothing can be translated at all; the host then keeps the last good translation. One bad object is a
    /// finding in the translation.
    fn translate(environment: Environment, objects: Vec<Object>) -> Result<(model::Translation, Self), Vec<Finding>>;

    /// The whole `.status` of this dialect's objects, from the translation and what became of it in the host.
    fn report(&self, outcome: &Outcome) -> Vec<Status>;
}

/// The request side of a dialect: pure functions of the table and the argument.
pub trait Router: 'static {
    /// Reads the `table` of the translation that the same plugin made.
    ///
    /// # Errors
    /// When the bytes are not such a table.
    fn load(table: &[u8]) -> Result<Self, String>
    where
        Self: Sized;

    /// The route for a request, by index; none is 404.
    fn route(&self, head: &RequestHead) -> Option<u32>;

    /// The stream route for a connection, by index; none closes it.
    fn route_connection(&self, head: &ConnectionHead) -> Option<u32>;

    /// The same walk as [`Router::route`], talking.
    fn explain(&self, head: &RequestHead) -> Explanation;
}

/// Makes a [`RoutePlugin`] the component that the gateway loads; does nothing in a native build.
#[macro_export]
macro_rules! export_routes {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "generated code")]
        mod exported {
            type Exported = $crate::Routes<super::$plugin>;
            $crate::bindings::routes::export!(Exported with_types_in $crate::bindings::routes);
        }
    };
}

/// Makes a [`SecretPlugin`] the component that the gateway loads; does nothing in a native build.
#[macro_export]
macro_rules! export_secrets {
    ($plugin:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "generated code")]
        mod exported {
            type Exported = $crate::Secrets<super::$plugin>;
            $crate::bindings::secrets::export!(Exported with_types_in $crate::bindings::secrets);
        }
    };
}
