//! The gateway from outside: the real binary, curl, openssl and httpbin. One module an area, one test for each step of
//! the founding task or each promise.

/// Makes of each function `fn step(form: Form)` two tests, `istio::step` and `gateway_api::step`.
macro_rules! in_both_forms {
    ($($step:ident),+ $(,)?) => {
        mod istio {
            $(#[test] fn $step() { super::$step(rig::Form::Istio); })+
        }
        mod gateway_api {
            $(#[test] fn $step() { super::$step(rig::Form::GatewayApi); })+
        }
    };
}

mod admin;
mod backend_tls;
mod backends;
mod bodies;
mod check;
mod commands;
mod destinations;
mod dialects;
mod endurance;
mod explain;
mod identity;
mod ingress;
mod kubernetes;
mod limits;
mod policies;
mod protocols;
mod reload;
mod requests;
mod retries;
mod samples;
mod sandbox;
mod secrets;
mod sessions;
mod sni;
mod storm;
mod streams;
mod task;
mod tools;
mod unix_sockets;
mod upgrades;
mod walk_through;
