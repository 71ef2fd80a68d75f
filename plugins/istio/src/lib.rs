//! Istio's ingress gateway as a dialect: `networking.istio.io` Gateway, VirtualService, DestinationRule and
//! ServiceEntry.
//!
//! From left to right, each part reading only what stands before it:
//! `objects` (as written) → `gateway` with `tls` and `hosts`, `destination_rule`, `destinations`, `virtual_service` with
//! `matching` and `action` (checked, `tenancy` says what may be claimed) → `listeners`, `bound`, `routes` and `streams` (merged)
//! → `translate` (the whole). `sources` are gathered on the way, `meeting` adds findings, `status` renders what became of it
//! all.
//!
//! The semantics are those of Istio's own translation together with Envoy's matching, not of the API's comments alone.

mod action;
mod analysis;
mod bound;
mod destination_rule;
mod destinations;
mod duration;
mod findings;
mod gateway;
mod headers;
mod hosts;
mod listeners;
mod matching;
mod meeting;
mod names;
mod objects;
mod policies;
mod retries;
mod routes;
mod sources;
mod status;
mod streams;
mod tenancy;
mod tls;
mod translate;
mod virtual_service;

pub use translate::Istio;

sekisho_sdk::export_routes!(Istio);
