//! The sandbox: the only room that names wasmtime.
//!
//! A plugin has no ambient authority (no WASI, no clock, no network, no files); its one import is `log`. Every call has
//! a deadline and a memory cap, and a trap costs that one instance. What comes back is checked and turned into the
//! host's own [`crate::model`] before anything else sees it.

mod bindings;
mod builtin;
mod cache;
mod calls;
mod convert;
mod engine;
mod failure;
mod load;
mod routes;
mod secrets;
mod store;

pub use builtin::{is_builtin, names as builtin_names};
pub use calls::{Call, Calls, Counted};
pub use convert::{outcome_as_data, translation_from};
pub use engine::Engine;
pub use failure::Failure;
pub use load::{LoadError, read_code};
pub use routes::{
    ConnectionHead, Environment, Explanation, Head, ListenerState, Outcome, Router, RoutesPlugin, SourceState, Status,
    TranslateError, Translator,
};
pub use secrets::{Decoded, DecodedCredential, DecodedKey, DecodedTrust, SecretBytes, SecretsPlugin};
