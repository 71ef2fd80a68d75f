//! Cases of secret formats: what is taken from a secret's data in each role, or why nothing is.

use std::collections::BTreeMap;

use sekisho::plugin::{self, Decoded, DecodedKey, Engine, SecretBytes, SecretsPlugin};
use sekisho_sdk::SecretPlugin;
use sekisho_sdk::secrets::{Failure, Key, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::case;
use crate::subject::built_in;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "about")]
    _about: String,
    secrets: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    about: String,
    #[serde(default = "secret_kind")]
    kind: String,
    #[serde(default, rename = "type")]
    type_name: String,
    data: BTreeMap<String, Content>,
    #[serde(default)]
    credential: Option<Value>,
    #[serde(default)]
    trust: Option<Value>,
}

/// Text as it stands, or PEM blocks as `LABEL word`, of which the word is the content.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<String>),
}

fn secret_kind() -> String {
    "Secret".to_owned()
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Blocks(blocks) => blocks.iter().map(|block| pem(block)).collect::<String>().into_bytes(),
        }
    }
}

fn pem(block: &str) -> String {
    use base64::Engine as _;
    let (label, word) = block.rsplit_once(' ').unwrap_or_else(|| panic!("`{block}` is not a label and a word"));
    let body = base64::engine::general_purpose::STANDARD.encode(word);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// A format of secrets, natively or in the sandbox; both answer with data.
pub(crate) trait Decoder {
    fn credential(&self, secret: &SecretBytes) -> Value;
    fn trust(&self, secret: &SecretBytes) -> Value;
}

/// Everything that the cases expect and the plugin does not say.
pub(crate) fn check(plugin: &str, decoder: &impl Decoder) {
    let mut differences = Vec::new();
    for path in case::files(plugin) {
        let case: Case = case::parse(&path);
        for (number, row) in case.secrets.iter().enumerate() {
            let secret = SecretBytes {
                kind: row.kind.clone(),
                namespace: "default".to_owned(),
                name: "secret".to_owned(),
                type_name: row.type_name.clone(),
                annotations: Vec::new(),
                data: row.data.iter().map(|(key, content)| (key.clone(), content.bytes())).collect(),
            };
            let place = || format!("{} secret {} ({})", path.display(), number + 1, row.about);
            assert!(row.credential.is_some() || row.trust.is_some(), "{}: nothing is expected", place());
            let asked = [
                ("credential", &row.credential, decoder.credential(&secret)),
                ("trust", &row.trust, decoder.trust(&secret)),
            ];
            for (role, expected, given) in asked {
                if let Some(expected) = expected.as_ref().filter(|expected| **expected != given) {
                    differences.push(format!("{}: {role}: expected {expected}, got {given}", place()));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// In wasmtime, a fresh instance a call.
pub(crate) struct InSandbox(SecretsPlugin);

impl InSandbox {
    pub(crate) fn new(engine: &Engine, builtin: &str) -> Self {
        let config = built_in(builtin);
        let (bytes, sha256) = plugin::read_code(&config, u64::MAX).expect("a built-in plugin");
        Self(SecretsPlugin::load(engine, builtin, &bytes, sha256, config.limits).expect("a plugin that loads"))
    }
}

impl Decoder for InSandbox {
    fn credential(&self, secret: &SecretBytes) -> Value {
        match self.0.credential(secret).expect("a decode that does not trap") {
            Decoded::NotMine => json!("not-mine"),
            Decoded::Unusable { field, message } => problem(&field, &message),
            Decoded::Usable(made) => {
                let (form, key) = match made.key {
                    DecodedKey::Pkcs1(key) => ("PKCS1", key),
                    DecodedKey::Pkcs8(key) => ("PKCS8", key),
                    DecodedKey::Sec1(key) => ("SEC1", key),
                };
                credential(&made.chain, &made.chain_field, (form, &key), &made.key_field, made.ocsp_staple.as_deref())
            }
        }
    }

    fn trust(&self, secret: &SecretBytes) -> Value {
        match self.0.trust(secret).expect("a decode that does not trap") {
            Decoded::NotMine => json!("not-mine"),
            Decoded::Unusable { field, message } => problem(&field, &message),
            Decoded::Usable(made) => {
                trust(&made.authorities, &made.authorities_field, &made.crls, made.crls_field.as_deref())
            }
        }
    }
}

/// The same code, compiled for this machine.
pub(crate) struct Native<P>(std::marker::PhantomData<P>);

impl<P> Native<P> {
    pub(crate) fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<P: SecretPlugin> Decoder for Native<P> {
    fn credential(&self, secret: &SecretBytes) -> Value {
        match P::decode_credential(owned(secret)) {
            Err(failure) => failed(failure),
            Ok(made) => {
                let (form, key) = match made.key {
                    Key::Pkcs1(key) => ("PKCS1", key),
                    Key::Pkcs8(key) => ("PKCS8", key),
                    Key::Sec1(key) => ("SEC1", key),
                };
                credential(&made.chain, &made.chain_field, (form, &key), &made.key_field, made.ocsp_staple.as_deref())
            }
        }
    }

    fn trust(&self, secret: &SecretBytes) -> Value {
        match P::decode_trust(owned(secret)) {
            Err(failure) => failed(failure),
            Ok(made) => trust(&made.authorities, &made.authorities_field, &made.crls, made.crls_field.as_deref()),
        }
    }
}

fn owned(secret: &SecretBytes) -> Secret {
    Secret {
        kind: secret.kind.clone(),
        namespace: secret.namespace.clone(),
        name: secret.name.clone(),
        type_: secret.type_name.clone(),
        annotations: secret.annotations.clone(),
        data: secret.data.clone(),
    }
}

fn failed(failure: Failure) -> Value {
    match failure {
        Failure::NotMine => json!("not-mine"),
        Failure::Unusable(found) => problem(&found.field, &found.message),
    }
}

fn problem(field: &str, message: &str) -> Value {
    json!({"field": field, "problem": message})
}

fn credential(
    chain: &[Vec<u8>],
    chain_field: &str,
    (form, key): (&str, &[u8]),
    key_field: &str,
    staple: Option<&[u8]>,
) -> Value {
    json!({
        "chain": words(chain), "chainField": chain_field,
        "key": format!("{form} {}", word(key)), "keyField": key_field,
        "staple": staple.map(word),
    })
}

fn trust(authorities: &[Vec<u8>], field: &str, crls: &[Vec<u8>], crls_field: Option<&str>) -> Value {
    json!({
        "authorities": words(authorities), "authoritiesField": field, "crls": words(crls), "crlsField": crls_field,
    })
}

fn words(contents: &[Vec<u8>]) -> Vec<String> {
    contents.iter().map(|content| word(content)).collect()
}

fn word(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}
