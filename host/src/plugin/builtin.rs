//! The plugins embedded in this binary: `sekisho` alone is a whole gateway.

/// `make plugins` builds them; the build script found the folder.
const BUILTIN: [(&str, &[u8]); 3] = [
    ("istio", include_bytes!(concat!(env!("SEKISHO_PLUGINS"), "/istio.wasm"))),
    ("gateway-api", include_bytes!(concat!(env!("SEKISHO_PLUGINS"), "/gateway-api.wasm"))),
    ("kubernetes-secrets", include_bytes!(concat!(env!("SEKISHO_PLUGINS"), "/kubernetes-secrets.wasm"))),
];

/// Whether a plugin of that name is built in.
#[must_use]
pub fn is_builtin(name: &str) -> bool {
    code(name).is_some()
}

/// The names of the plugins that are built in.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// The code of a plugin that is built in.
pub(super) fn code(name: &str) -> Option<&'static [u8]> {
    BUILTIN.iter().find(|(builtin, _)| *builtin == name).map(|(_, code)| *code)
}
