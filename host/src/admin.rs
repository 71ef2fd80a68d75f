//! The admin endpoint: what the gateway says of itself, on the loopback interface only; how it does, also elsewhere.
//!
//! `/livez` and `/readyz` for whoever starts and stops it, `/metrics` for Prometheus, `/status` and `/explain` for
//! `sekisho status` and `sekisho explain --admin`. One thread serves it, beside control and workers.

mod metrics;
mod server;
pub mod status;

pub use server::start;
