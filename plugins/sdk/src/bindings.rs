//! What wit-bindgen makes of `wit/`. Nothing else lives here; the rest of the SDK re-exports it by name.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::use_self,
    clippy::needless_pass_by_value,
    clippy::struct_excessive_bools,
    clippy::fn_params_excessive_bools,
    reason = "generated code"
)]

pub mod routes {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "routes",
        pub_export_macro: true,
        default_bindings_module: "sekisho_sdk::bindings::routes",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}

pub mod secrets {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "secrets",
        pub_export_macro: true,
        default_bindings_module: "sekisho_sdk::bindings::secrets",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
    });
}
