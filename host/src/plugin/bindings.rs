//! What wasmtime's `bindgen!` makes of `wit/`. Nothing else lives here; only this room's files name it.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::use_self,
    clippy::needless_pass_by_value,
    clippy::struct_excessive_bools,
    clippy::uninlined_format_args,
    clippy::fn_params_excessive_bools,
    clippy::or_fun_call,
    clippy::unwrap_used,
    reason = "generated code"
)]

/// All of the world, with owned values: control work.
pub mod routes {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "sekisho:gateway/routes",
        additional_derives: [PartialEq, Clone, serde::Serialize, serde::Deserialize],
    });
}

/// The router alone, with borrowed arguments: what a worker calls for each request, without an allocation in the host.
pub mod request {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "package sekisho:host; world request { export sekisho:gateway/router@0.1.0; }",
        world: "sekisho:host/request",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// The decoder.
pub mod secrets {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "sekisho:gateway/secrets",
    });
}
