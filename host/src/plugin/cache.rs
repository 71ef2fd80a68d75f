//! Compiled plugins, kept from one start to the next in a directory that nobody else can write.
//!
//! A compiled plugin is machine code that runs as it is: whoever can put a file here owns the process. So the directory
//! must belong to this user alone, each file carries the digest of its content, and none is ever taken from elsewhere.
#![allow(unsafe_code, reason = "loading compiled code is unsafe by nature; see `load` for what makes it sound here")]

use std::fs::{self, DirBuilder};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::load::hex;

/// A file that was not used for so long is removed when another is written.
const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Length of the digest that each file begins with.
const DIGEST: usize = 32;

/// What this process compiled, as bytes: an engine that has compiled keeps the compiler's memory, which is many times the
/// code's.
pub(super) struct Compiled(Vec<u8>);

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("bytes", &self.0.len()).finish()
    }
}

impl Compiled {
    /// Compiles a component for an engine, by one of its kind that ends with this.
    pub(super) fn new(engine: &wasmtime::Engine, component: &[u8]) -> wasmtime::Result<Self> {
        wasmtime::Engine::new(engine.config())?.precompile_component(component).map(Self)
    }

    /// The component.
    pub(super) fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are what the compiler of this process has just made; nobody else had them.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}

/// The directory, when there is one that can be trusted.
#[derive(Clone, Debug)]
pub(super) struct Cache(Option<PathBuf>);

impl Cache {
    /// `$XDG_CACHE_HOME/sekisho`, or the usual place for that; none where there is no home.
    pub(super) fn of_user() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        let directory = base.filter(|base| base.is_absolute()).map(|base| base.join("sekisho"));
        Self(directory.filter(|directory| prepare(directory)))
    }

    /// The compiled form of `wasm`, if it is here and whole.
    pub(super) fn load(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> Option<Component> {
        let path = self.path(engine, wasm)?;
        let bytes = fs::read(&path).ok()?;
        let (digest, code) = bytes.split_at_checked(DIGEST)?;
        if Sha256::digest(code)[..] != *digest {
            let _ = fs::remove_file(&path);
            return None;
        }
        // SAFETY: the bytes are what `store` wrote: the directory belongs to this user alone (`prepare`), and the digest
        // has just shown them to be whole. wasmtime itself refuses those of another version or configuration.
        let component = unsafe { Component::deserialize(engine, code) }.ok()?;
        // Used now; `store` removes what was not for long.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(component)
    }

    /// Keeps the compiled form of `wasm`; that it cannot be kept costs nothing but time.
    pub(super) fn store(&self, engine: &wasmtime::Engine, wasm: &[u8], compiled: &Compiled) {
        let Some(path) = self.path(engine, wasm) else { return };
        let Compiled(code) = compiled;
        let mut bytes = Sha256::digest(code).to_vec();
        bytes.extend_from_slice(code);
        let aside = path.with_extension(std::process::id().to_string());
        if fs::write(&aside, &bytes).and_then(|()| fs::rename(&aside, &path)).is_err() {
            let _ = fs::remove_file(&aside);
        }
        self.prune();
    }

    fn path(&self, engine: &wasmtime::Engine, wasm: &[u8]) -> Option<PathBuf> {
        let mut compatibility = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compatibility);
        let name = format!("{}-{:016x}.compiled", hex(&Sha256::digest(wasm)), compatibility.finish());
        Some(self.0.as_ref()?.join(name))
    }

    fn prune(&self) {
        let entries = self.0.as_ref().and_then(|directory| fs::read_dir(directory).ok());
        for entry in entries.into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            if modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > KEEP)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// Makes the directory if need be; whether it belongs to this user alone.
fn prepare(directory: &Path) -> bool {
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        tracing::debug!(directory = %directory.display(), %error, "compiled plugins are not kept");
        return false;
    }
    let private = fs::symlink_metadata(directory).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o077 == 0
    });
    if !private {
        let directory = directory.display();
        tracing::warn!("compiled plugins are not kept: {directory} must be a directory that only this user can enter");
    }
    private
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_damaged_or_not_private_is_not_loaded() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("sekisho");
        assert!(prepare(&directory));
        let cache = Cache(Some(directory.clone()));
        let engine = wasmtime::Engine::default();
        let wasm = b"\0asm\x0d\0\x01\0";
        assert!(cache.load(&engine, wasm).is_none());
        let compiled = Compiled::new(&engine, wasm).unwrap();
        assert!(compiled.load(&engine).is_ok());
        cache.store(&engine, wasm, &compiled);
        assert!(cache.load(&engine, wasm).is_some());
        let path = cache.path(&engine, wasm).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(cache.load(&engine, wasm).is_none());
        assert!(!path.exists(), "a damaged file is removed");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(!prepare(&directory));
    }
}
