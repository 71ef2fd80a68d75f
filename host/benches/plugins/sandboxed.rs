//! The built-in plugins as the gateway runs them.

use sekisho::bootstrap::{Plugin, PluginCode, PluginLimits};
use sekisho::plugin::{Engine, RoutesPlugin, SecretsPlugin, read_code};
use serde_json::Value;

pub(crate) fn builtin(name: &str) -> Plugin {
    Plugin {
        name: name.to_owned(),
        code: PluginCode::Builtin(name.to_owned()),
        sha256: None,
        config: Value::Null,
        limits: PluginLimits::default(),
    }
}

pub(crate) fn routes(engine: &Engine, name: &str) -> RoutesPlugin {
    let plugin = builtin(name);
    let (bytes, sha256) = read_code(&plugin, u64::MAX).expect("a built-in plugin");
    RoutesPlugin::load(engine, name, &bytes, sha256, plugin.limits).expect("a plugin that loads")
}

pub(crate) fn secrets(engine: &Engine) -> SecretsPlugin {
    let name = "kubernetes-secrets";
    let plugin = builtin(name);
    let (bytes, sha256) = read_code(&plugin, u64::MAX).expect("a built-in plugin");
    SecretsPlugin::load(engine, name, &bytes, sha256, plugin.limits).expect("a plugin that loads")
}
