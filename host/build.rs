//! Finds the plugins to embed. The Makefile builds them first (`make plugins`).

use std::path::{Path, PathBuf};

const PLUGINS: [&str; 3] = ["istio.wasm", "gateway-api.wasm", "kubernetes-secrets.wasm"];

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let complete = |folder: &Path| PLUGINS.iter().all(|plugin| folder.join(plugin).is_file());
    let folder = out.ancestors().map(|ancestor| ancestor.join("plugins")).find(|folder| complete(folder));
    let Some(folder) = folder else {
        println!("cargo::error=the plugins that are embedded in the gateway are not built: run `make plugins`");
        return;
    };
    for plugin in PLUGINS {
        println!("cargo::rerun-if-changed={}", folder.join(plugin).display());
    }
    println!("cargo::rustc-env=SEKISHO_PLUGINS={}", folder.display());
}
