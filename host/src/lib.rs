//! Sekisho, a secure gateway whose semantics are plugins: the library behind the `sekisho` command.
//!
//! One direction of flow. `source` reads objects, of files or of the `kubernetes` API, into a `snapshot`; `plugin` has a sandboxed dialect translate them into
//! the `model` and a sandboxed format decode secrets; `control` joins the newest good parts into a `generation` and
//! publishes it to every `worker`. There a connection goes through `tls` and `http`, which asks the plugin's router for a
//! route, and on through `upstream`. ARCHITECTURE.md draws it.

pub mod admin;
pub mod bootstrap;
pub mod cli;
pub mod control;
pub mod explain;
mod file;
pub mod finding;
pub mod generation;
pub mod host_pattern;
pub mod http;
pub mod kubernetes;
mod memory;
pub mod model;
pub mod object;
pub mod plugin;
mod printable;
mod pump;
pub mod snapshot;
pub mod socket_name;
pub mod source;
pub mod stream;
pub mod tally;
mod tcp;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod worker;
