//! What was last read of the cluster, on disk: for a start while the API server is away.
//!
//! Whole with a key, as private keys are in it: AES-256-GCM, so that nobody else can read it or change it unnoticed.
//! Without a key it has no secret in it, and then listeners that terminate TLS have nothing to show before the API server
//! is back.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bootstrap;
use crate::object::{Object, ObjectKey};

/// The first line of a file, which says what follows. It is part of what a key vouches for.
const PLAIN: &[u8] = b"sekisho-snapshot 1 plain\n";
const SEALED: &[u8] = b"sekisho-snapshot 1 aes-256-gcm\n";
/// A key with less is a slip.
const LEAST_KEY: usize = 32;

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why} (correct `kubernetes.snapshot` in the bootstrap file)", path.display())]
pub struct DiskError {
    path: PathBuf,
    why: String,
}

/// The file.
pub(super) struct Disk {
    path: PathBuf,
    key: Option<LessSafeKey>,
    /// Of what was last written.
    digest: Option<[u8; 32]>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    group: String,
    version: String,
    kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    name: String,
    object: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
}

impl Disk {
    /// The file that the bootstrap file names.
    ///
    /// # Errors
    /// When the key cannot be read, or is short.
    pub(super) fn new(kept: &bootstrap::Kept) -> Result<Self, DiskError> {
        let key = kept.key.as_ref().map(|path| {
            let failed = |why: String| DiskError { path: path.clone(), why };
            let bytes = fs::read(path).map_err(|error| failed(format!("cannot read the key: {error}")))?;
            if bytes.trim_ascii().len() < LEAST_KEY {
                return Err(failed(format!(
                    "the key has fewer than {LEAST_KEY} bytes; make one with `openssl rand -hex 32`"
                )));
            }
            let key = UnboundKey::new(&AES_256_GCM, &Sha256::digest(bytes.trim_ascii()));
            Ok(LessSafeKey::new(key.map_err(|_| failed("the key cannot be used".to_owned()))?))
        });
        Ok(Self { path: kept.path.clone(), key: key.transpose()?, digest: None })
    }

    /// The objects that are there; none if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or was not written with this key.
    pub(super) fn load(&self) -> Result<Vec<Object>, DiskError> {
        let failed = |why: String| DiskError { path: self.path.clone(), why };
        let mut bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(format!("cannot read it: {error}"))),
        };
        let text = match &self.key {
            None => bytes.strip_prefix(PLAIN).ok_or_else(|| failed("it was not written without a key".to_owned()))?,
            Some(key) => {
                let foreign = || failed("it was not written with this key".to_owned());
                let sealed = bytes.strip_prefix(SEALED).map(|rest| bytes.len() - rest.len()).ok_or_else(foreign)?;
                let (nonce, sealed) = bytes[sealed..].split_at_mut_checked(NONCE_LEN).ok_or_else(foreign)?;
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| foreign())?;
                &*key.open_in_place(nonce, Aad::from(SEALED), sealed).map_err(|_| foreign())?
            }
        };
        let place: Arc<str> = Arc::from(super::store::PLACE);
        text.split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                let Line { group, version, kind, namespace, name, mut object, status } = serde_json::from_slice(line)?;
                if let (Some(status), Some(fields)) = (status, object.as_object_mut()) {
                    fields.insert("status".to_owned(), status);
                }
                Ok(Object::new(ObjectKey { group, kind, namespace, name }, version, Arc::clone(&place), object))
            })
            .collect::<Result<_, serde_json::Error>>()
            .map_err(|error| failed(format!("it is damaged: {error}")))
    }

    /// Writes these objects in the place of those that are there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&mut self, objects: &[Object]) -> Result<(), DiskError> {
        let failed = |why: String| DiskError { path: self.path.clone(), why };
        let mut text = Vec::new();
        for object in objects {
            let key = &object.key;
            let is_secret = key.group.is_empty() && key.kind == "Secret";
            if is_secret && self.key.is_none() {
                continue;
            }
            // Of statuses only that of a Service means something.
            let status = object.status().filter(|_| key.kind == "Service").map(|status| Value::clone(status));
            let line = Line {
                group: key.group.clone(),
                version: object.version.clone(),
                kind: key.kind.clone(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                object: object.value().into_owned(),
                status,
            };
            serde_json::to_writer(&mut text, &line).map_err(|error| failed(error.to_string()))?;
            text.push(b'\n');
        }
        let digest = Sha256::digest(&text).into();
        if self.digest == Some(digest) && self.path.exists() {
            return Ok(());
        }
        let bytes = match &self.key {
            None => [PLAIN, &text].concat(),
            Some(key) => {
                let mut nonce = [0; NONCE_LEN];
                aws_lc_rs::rand::fill(&mut nonce).map_err(|_| failed("there is no randomness".to_owned()))?;
                key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(SEALED), &mut text)
                    .map_err(|_| failed("it cannot be encrypted".to_owned()))?;
                [SEALED, &nonce, &text].concat()
            }
        };
        self.replace(&bytes).map_err(|error| failed(format!("cannot write it: {error}")))?;
        self.digest = Some(digest);
        Ok(())
    }

    /// All of it or nothing, whenever the power fails.
    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        let aside = self.path.with_extension(format!("{}.new", std::process::id()));
        let write = || {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &self.path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&aside)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn object(kind: &str, value: Value) -> Object {
        Object::new(ObjectKey::core(kind, "n", "x"), "v1".to_owned(), Arc::from("test"), value)
    }

    fn objects() -> Vec<Object> {
        vec![
            object("Secret", json!({"data": {"tls.key": "c2VjcmV0"}})),
            object(
                "Service",
                json!({"spec": {"ports": []}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
            ),
        ]
    }

    fn disk(root: &Path, key: Option<&str>) -> Disk {
        let key = key.map(|key| {
            let path = root.join("key");
            fs::write(&path, key).unwrap();
            path
        });
        Disk::new(&bootstrap::Kept { path: root.join("snapshot"), key }).unwrap()
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef\n";

    #[test]
    fn with_a_key_all_of_it_comes_back_and_nothing_can_be_read() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = disk(root.path(), Some(KEY));
        assert_eq!(disk.load().unwrap(), []);
        disk.save(&objects()).unwrap();
        let loaded = disk.load().unwrap();
        assert_eq!(loaded, objects());
        assert_eq!(loaded[1].status(), objects()[1].status());
        let path = root.path().join("snapshot");
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"c2VjcmV0"[..6].as_ref() || window == b"Secret"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn without_a_key_there_is_no_secret() {
        let root = tempfile::tempdir().unwrap();
        let mut disk = disk(root.path(), None);
        disk.save(&objects()).unwrap();
        assert_eq!(disk.load().unwrap(), objects()[1..]);
    }

    #[test]
    fn what_was_changed_or_has_another_key_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("snapshot");
        let mut sealed = disk(root.path(), Some(KEY));
        sealed.save(&objects()).unwrap();
        let good = fs::read(&path).unwrap();
        for at in [0, SEALED.len(), SEALED.len() + NONCE_LEN, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            assert!(sealed.load().is_err(), "byte {at}");
        }
        fs::write(&path, &good[..SEALED.len() + 3]).unwrap();
        assert!(sealed.load().is_err());
        fs::write(&path, &good).unwrap();
        assert!(sealed.load().is_ok());
        assert!(disk(root.path(), None).load().is_err());
        assert!(disk(root.path(), Some("another key, also of some thirty bytes")).load().is_err());
    }

    #[test]
    fn a_short_key_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let key = root.path().join("key");
        fs::write(&key, "short").unwrap();
        let error = Disk::new(&bootstrap::Kept { path: root.path().join("s"), key: Some(key) }).err().unwrap();
        assert!(error.to_string().contains("fewer than 32 bytes"), "{error}");
    }
}
