//! From a file's bytes to a compiled component that may be instantiated.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wasmtime::component::Component;

use super::builtin;
use super::cache::Compiled;
use super::engine::Engine;
use crate::bootstrap::{Plugin, PluginCode};

/// The package that this host serves; a component may import and export its interfaces of any `0.1.x`.
const PACKAGE: &str = "sekisho:gateway/";
/// The host's own version of it.
const VERSION: &str = "0.1.0";
/// What a plugin may import: `log`, and the interfaces that hold nothing but types.
const IMPORTS: [&str; 3] = ["log", "types", "model"];

/// How long a compilation may take. Nothing can stop one that takes longer, but nobody waits for it.
const COMPILATION: Duration = Duration::from_secs(30);
/// Threads of one compilation: each may take as much memory as the largest function makes the compiler take.
const COMPILERS: usize = 2;
/// Bytes of a function times its locals, of which few count as [`FEW_LOCALS`]. What the compiler takes grows with both;
/// this much made it take half a gigabyte. The largest function of the built-in plugins has 59 KB.
const MOST_FUNCTION: u64 = 1 << 28;
/// See [`MOST_FUNCTION`].
const FEW_LOCALS: u64 = 512;

/// Why a plugin is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not the file that was meant.
    #[error("its sha256 is {found}, but the bootstrap file asks for {expected}")]
    WrongDigest {
        /// Asked for.
        expected: String,
        /// Found.
        found: String,
    },
    /// Not WebAssembly.
    #[error("it is not WebAssembly: give a component, or a core module that carries its component type")]
    NotWasm,
    /// A core module without, or with a wrong component type.
    #[error("it is a core module that cannot be made a component: {0}")]
    NotEncodable(String),
    /// wasmtime does not take it.
    #[error("it does not compile: {0}")]
    NotCompilable(String),
    /// A function of it would take the compiler too much memory.
    #[error(
        "a function of {bytes} bytes with {locals} locals is too large to be compiled; build it with less inlining"
    )]
    LargeFunction {
        /// Its size.
        bytes: usize,
        /// Its locals.
        locals: u64,
    },
    /// It would take the compiler for longer than control can wait.
    #[error("it does not compile within {0:?}; split its largest functions, or build it with less inlining")]
    SlowToCompile(Duration),
    /// A function of it may wait.
    #[error("it has asynchronous functions, but a plugin answers at once; rebuild it without `async`")]
    Asynchronous,
    /// It wants something that plugins do not get.
    #[error(
        "it imports `{0}`, which this gateway does not give; plugins get sekisho:gateway/log@{VERSION} and nothing else"
    )]
    UnknownImport(String),
    /// It was built for another version.
    #[error("it was built for `{found}`, but this gateway serves version {VERSION}; rebuild it against that")]
    WrongVersion {
        /// The name with its version.
        found: String,
    },
    /// It is not a plugin of the kind asked for.
    #[error("it exports no {PACKAGE}{missing}@{VERSION}; {hint}")]
    WrongWorld {
        /// What is missing.
        missing: &'static str,
        /// What it might be instead.
        hint: &'static str,
    },
    /// It reads what plugins are not given.
    #[error("it wants to read objects of kind {0}, which stay in the host")]
    ForbiddenKind(String),
    /// It would be given the same objects twice.
    #[error("it names the kind {0} twice among what it reads; name it once, with all versions")]
    KindTwice(String),
    /// It failed when it was tried.
    #[error(transparent)]
    Failed(#[from] super::Failure),
}

/// The bytes of a plugin and their SHA-256.
///
/// # Errors
/// When the file cannot be read, is too large or is not the one that the bootstrap file asks for.
pub fn read_code(plugin: &Plugin, most_bytes: u64) -> Result<(Vec<u8>, String), LoadError> {
    let bytes = match &plugin.code {
        PluginCode::Builtin(name) => builtin::code(name).ok_or(LoadError::NotWasm)?.to_vec(),
        PluginCode::File(path) => read_file(path, most_bytes)?,
    };
    let found = hex(&Sha256::digest(&bytes));
    match &plugin.sha256 {
        Some(expected) if *expected != found => Err(LoadError::WrongDigest { expected: expected.clone(), found }),
        _ => Ok((bytes, found)),
    }
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, LoadError> {
    crate::file::read(path, most).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compiles a plugin that exports the interfaces named, and imports nothing that plugins do not get.
pub(super) fn compile(engine: &Engine, bytes: &[u8], exports: &[&'static str]) -> Result<Component, LoadError> {
    if let Some(component) = engine.cache.load(&engine.inner, bytes) {
        check(engine, &component, exports)?;
        return Ok(component);
    }
    let compiled = compile_within(COMPILATION, engine, bytes)?;
    let component = compiled.load(&engine.inner).map_err(|e| LoadError::NotCompilable(format!("{e:#}")))?;
    check(engine, &component, exports)?;
    Ok(component)
}

/// Compiles on threads of its own, which a function that takes the compiler minutes can keep; what comes of that still
/// goes into the cache.
fn compile_within(most: Duration, engine: &Engine, bytes: &[u8]) -> Result<Compiled, LoadError> {
    let compiler = rayon::ThreadPoolBuilder::new()
        .num_threads(COMPILERS)
        .thread_name(|index| format!("compiler-{index}"))
        .panic_handler(|_| tracing::error!("compiling a plugin failed by a defect of the compiler"))
        .build()
        .map_err(|e| LoadError::NotCompilable(e.to_string()))?;
    let (done, compiled) = mpsc::sync_channel(1);
    let (engine, wasm) = (engine.clone(), bytes.to_vec());
    compiler.spawn(move || {
        let compiled = compile_now(&engine, &wasm);
        if let Ok(compiled) = &compiled {
            engine.cache.store(&engine.inner, &wasm, compiled);
        }
        let _ = done.send(compiled);
    });
    compiled.recv_timeout(most).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(LoadError::SlowToCompile(most)),
        RecvTimeoutError::Disconnected => Err(LoadError::NotCompilable("the compiler failed".to_owned())),
    })
}

/// Whether the compiler can take each function. What does not parse is the compiler's to refuse.
fn check_functions(wasm: &[u8]) -> Result<(), LoadError> {
    for payload in Parser::new(0).parse_all(wasm) {
        let Ok(Payload::CodeSectionEntry(body)) = payload else { continue };
        let bytes = body.range().len();
        let declared = body.get_locals_reader().into_iter().flatten();
        let locals = declared.filter_map(Result::ok).map(|(count, _)| u64::from(count)).sum();
        if bytes as u64 * FEW_LOCALS.max(locals) > MOST_FUNCTION {
            return Err(LoadError::LargeFunction { bytes, locals });
        }
    }
    Ok(())
}

fn compile_now(engine: &Engine, bytes: &[u8]) -> Result<Compiled, LoadError> {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    check_functions(bytes)?;
    let compiled = if bytes.starts_with(COMPONENT) {
        Compiled::new(&engine.inner, bytes)
    } else if bytes.starts_with(MODULE) {
        let encoded = encode(bytes)?;
        Compiled::new(&engine.inner, &encoded)
    } else {
        return Err(LoadError::NotWasm);
    };
    compiled.map_err(|e| match format!("{e:#}") {
        // wasmtime has no other word for it.
        text if text.contains("component model async") => LoadError::Asynchronous,
        text => LoadError::NotCompilable(text),
    })
}

fn encode(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let encode = || wit_component::ComponentEncoder::default().validate(true).module(module)?.encode();
    encode().map_err(|e| LoadError::NotEncodable(format!("{e:#}")))
}

fn check(engine: &Engine, component: &Component, exports: &[&'static str]) -> Result<(), LoadError> {
    let ty = component.component_type();
    for (name, _) in ty.imports(&engine.inner) {
        let Some(interface) = name.strip_prefix(PACKAGE) else { return Err(LoadError::UnknownImport(name.to_owned())) };
        let (interface, version) = interface.split_once('@').unwrap_or((interface, ""));
        if !is_served(version) {
            return Err(LoadError::WrongVersion { found: name.to_owned() });
        }
        if !IMPORTS.contains(&interface) {
            return Err(LoadError::UnknownImport(name.to_owned()));
        }
    }
    let exported: Vec<(&str, &str, String)> = ty
        .exports(&engine.inner)
        .filter_map(|(name, _)| {
            let (interface, version) = name.strip_prefix(PACKAGE)?.split_once('@')?;
            Some((interface, version, name.to_owned()))
        })
        .collect();
    for missing in exports {
        match exported.iter().find(|(interface, _, _)| interface == missing) {
            Some((_, version, _)) if is_served(version) => {}
            Some((_, _, found)) => return Err(LoadError::WrongVersion { found: found.clone() }),
            None => {
                let has = |interface| exported.iter().any(|(exported, _, _)| *exported == interface);
                let hint = if has("decoder") {
                    "it is a plugin for secrets: list it under plugins.secrets"
                } else if has("router") {
                    "it is a plugin for routes: list it under plugins.routes"
                } else {
                    "build it with the sekisho-sdk, or against the package's WIT"
                };
                return Err(LoadError::WrongWorld { missing, hint });
            }
        }
    }
    Ok(())
}

/// Version of the package that a component was built against, by what it exports.
pub(super) fn interface(engine: &Engine, component: &Component) -> String {
    let ty = component.component_type();
    let version = |(name, _): (&str, _)| Some(name.strip_prefix(PACKAGE)?.split_once('@')?.1.to_owned());
    ty.exports(&engine.inner).find_map(version).unwrap_or_default()
}

/// Below 1.0 the minor version is the one that must be equal.
fn is_served(version: &str) -> bool {
    let series = |version: &str| version.rsplit_once('.').map(|(series, _)| series.to_owned());
    series(version).is_some() && series(version) == series(VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_series_are_served() {
        assert!(is_served("0.1.0") && is_served("0.1.7"));
        assert!(!is_served("0.2.0") && !is_served("1.1.0") && !is_served(""));
    }

    #[test]
    fn nobody_waits_for_a_compilation_without_end() {
        let engine = Engine::new().unwrap();
        let code = builtin::code("istio").unwrap();
        let error = compile_within(Duration::from_millis(1), &engine, code).unwrap_err();
        assert!(error.to_string().contains("does not compile within 1ms"), "{error}");
    }

    #[test]
    fn what_is_not_a_plugin_says_so() {
        let engine = Engine::new().unwrap();
        let error = |bytes: &[u8]| compile(&engine, bytes, &["router"]).unwrap_err().to_string();
        assert!(error(b"#!/bin/sh").contains("not WebAssembly"));
        assert!(error(b"\0asm\x01\0\0\0garbage").contains("cannot be made a component"));
        assert!(error(b"\0asm\x0d\0\x01\0garbage").contains("does not compile"));
        assert!(error(b"\0asm\x0d\0\x01\0").contains("exports no sekisho:gateway/router"));
    }
}
