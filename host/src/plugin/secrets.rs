//! Secret plugins: each decode runs in a fresh instance without imports, which is dropped afterwards.

use std::sync::Arc;

use wasmtime::component::{InstancePre, Linker};

use super::bindings::secrets as world;
use super::bindings::secrets::exports::sekisho::gateway::decoder;
use super::store::{self, HostState, PluginLog};
use super::{Calls, Engine, Failure, LoadError, load};
use crate::bootstrap::PluginLimits;
use crate::printable::{self, printable};

/// What one decode may hand over, in bytes (decision 16).
const DECODE_BYTES: usize = 1 << 20;

/// A compiled secret plugin.
pub struct SecretsPlugin {
    /// Its bootstrap name.
    pub name: Arc<str>,
    /// SHA-256 of its file.
    pub sha256: String,
    /// Version of the WIT package that it was built against.
    pub interface: String,
    /// What is counted of its calls.
    pub calls: Arc<Calls>,
    engine: Engine,
    pre: InstancePre<HostState>,
    log: Arc<PluginLog>,
    limits: PluginLimits,
}

/// One object that holds a secret.
#[derive(Clone, Debug)]
pub struct SecretBytes {
    /// `Secret`, `ConfigMap` or `Files`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Secret type.
    pub type_name: String,
    /// Annotations.
    pub annotations: Vec<(String, String)>,
    /// Data keys and what they hold.
    pub data: Vec<(String, Vec<u8>)>,
}

/// What a plugin says of a secret.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// This.
    Usable(T),
    /// The next plugin is asked.
    NotMine,
    /// The field at fault (empty for the whole) and a sentence.
    Unusable {
        /// Data key.
        field: String,
        /// What is wrong.
        message: String,
    },
}

/// A certificate chain and its key, in DER.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodedCredential {
    /// Leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The data key it came from.
    pub chain_field: String,
    /// The private key.
    pub key: DecodedKey,
    /// The data key it came from.
    pub key_field: String,
    /// An OCSP response to staple.
    pub ocsp_staple: Option<Vec<u8>>,
}

/// A private key, in DER.
#[derive(Clone, PartialEq, Eq)]
pub enum DecodedKey {
    /// RSA of its own form.
    Pkcs1(Vec<u8>),
    /// Any.
    Pkcs8(Vec<u8>),
    /// Elliptic curves of their own form.
    Sec1(Vec<u8>),
}

/// Certificate authorities, in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedTrust {
    /// The authorities.
    pub authorities: Vec<Vec<u8>>,
    /// The data key they came from.
    pub authorities_field: String,
    /// Revocation lists.
    pub crls: Vec<Vec<u8>>,
    /// The data key they came from.
    pub crls_field: Option<String>,
}

impl SecretsPlugin {
    /// Compiles a plugin.
    ///
    /// # Errors
    /// When the bytes are not a secret plugin for this host.
    pub fn load(
        engine: &Engine,
        name: &str,
        bytes: &[u8],
        sha256: String,
        limits: PluginLimits,
    ) -> Result<Self, LoadError> {
        let component = load::compile(engine, bytes, &["decoder"])?;
        // No imports at all: whoever sees keys can tell nobody.
        if let Some((import, _)) = component.component_type().imports(&engine.inner).next() {
            return Err(LoadError::UnknownImport(import.to_owned()));
        }
        let pre = Linker::<HostState>::new(&engine.inner)
            .instantiate_pre(&component)
            .map_err(|e| LoadError::NotCompilable(format!("{e:#}")))?;
        let name: Arc<str> = name.into();
        let log = PluginLog::new(Arc::clone(&name));
        let interface = load::interface(engine, &component);
        Ok(Self { name, sha256, interface, calls: Calls::new(), engine: engine.clone(), pre, log, limits })
    }

    /// A certificate chain and its key.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn credential(&self, secret: &SecretBytes) -> Result<Decoded<DecodedCredential>, Failure> {
        let decoded =
            self.call("decode-credential", |guest, store| guest.call_decode_credential(store, &secret.into()))?;
        Ok(decoded_from(decoded, |credential| DecodedCredential {
            chain: credential.chain,
            chain_field: name(credential.chain_field),
            key: match credential.key {
                decoder::Key::Pkcs1(der) => DecodedKey::Pkcs1(der),
                decoder::Key::Pkcs8(der) => DecodedKey::Pkcs8(der),
                decoder::Key::Sec1(der) => DecodedKey::Sec1(der),
            },
            key_field: name(credential.key_field),
            ocsp_staple: credential.ocsp_staple,
        }))
    }

    /// Certificate authorities and revocation lists.
    ///
    /// # Errors
    /// When the plugin fails.
    pub fn trust(&self, secret: &SecretBytes) -> Result<Decoded<DecodedTrust>, Failure> {
        let decoded = self.call("decode-trust", |guest, store| guest.call_decode_trust(store, &secret.into()))?;
        Ok(decoded_from(decoded, |trust| DecodedTrust {
            authorities: trust.authorities,
            authorities_field: name(trust.authorities_field),
            crls: trust.crls,
            crls_field: trust.crls_field.map(name),
        }))
    }

    fn call<T>(
        &self,
        call: &'static str,
        run: impl FnOnce(&decoder::Guest, &mut wasmtime::Store<HostState>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.calls.count(call, || {
            let mut store = store::new(&self.engine, &self.log, self.limits.memory);
            store::arm(&mut store, self.limits.decode, DECODE_BYTES);
            self.pre
                .instantiate(&mut store)
                .and_then(|instance| world::Secrets::new(&mut store, &instance))
                .and_then(|secrets| run(secrets.sekisho_gateway_decoder(), &mut store))
                .map_err(|e| Failure::new(&self.name, call, &e))
        })
    }
}

/// A data key as a plugin names it, for logs and terminals.
fn name(said: String) -> String {
    printable(said, printable::NAME)
}

fn decoded_from<T, U>(decoded: Result<T, decoder::Failure>, convert: impl FnOnce(T) -> U) -> Decoded<U> {
    match decoded {
        Ok(value) => Decoded::Usable(convert(value)),
        Err(decoder::Failure::NotMine) => Decoded::NotMine,
        Err(decoder::Failure::Unusable(problem)) => {
            Decoded::Unusable { field: name(problem.field), message: printable(problem.message, printable::SENTENCE) }
        }
    }
}

impl From<&SecretBytes> for decoder::Secret {
    fn from(secret: &SecretBytes) -> Self {
        Self {
            kind: secret.kind.clone(),
            namespace: secret.namespace.clone(),
            name: secret.name.clone(),
            type_: secret.type_name.clone(),
            annotations: secret.annotations.clone(),
            data: secret.data.clone(),
        }
    }
}

impl std::fmt::Debug for SecretsPlugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretsPlugin").field("name", &self.name).field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DecodedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecodedCredential").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}
