//! A directory with everything that one gateway reads.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::gateway::Gateway;
use crate::objects::{Form, Route, Server, endpoints, service};
use crate::program::{Finished, repository, sekisho};
use crate::{Backend, free_port, httpbin};

/// A directory with objects and a `sekisho.json`, removed when dropped.
#[derive(Debug)]
pub struct Site {
    directory: TempDir,
    https: u16,
    http: u16,
    admin: u16,
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// No objects; a `sekisho.json` that serves on free ports of 127.0.0.1.
    #[must_use]
    pub fn new() -> Self {
        // Nobody else's, so that there is nothing to say of keys in it.
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("resources")).expect("its own directory can be written");
        let site = Self { directory, https: free_port(), http: free_port(), admin: free_port() };
        site.configure(&json!({}));
        site
    }

    /// The task's httpbin, ready to be asked: backend, route and gateway, but no secret.
    #[must_use]
    pub fn with_httpbin(form: Form) -> Self {
        let site = Self::new();
        site.apply(&service("httpbin", 8000));
        site.apply(&endpoints("httpbin", "local", Some(httpbin())));
        site.apply(&form.route(&Route::httpbin()));
        site.apply(&form.gateway(&[Server::simple("httpbin").section("https")]));
        site
    }

    /// Adds the task's helloworld: backend and route, but neither secret nor a section of the gateway.
    pub fn add_helloworld(&self, form: Form) {
        self.apply(&service("helloworld", 5000));
        self.apply(&endpoints("helloworld", "local", Some(Backend::start("helloworld-v1").address())));
        self.apply(&form.route(&Route::helloworld()));
    }

    /// Writes `sekisho.json` anew: the rig's own keys, and these.
    pub fn configure(&self, keys: &Value) {
        let mut bootstrap = json!({
            "resources": ["resources/"],
            "addresses": ["127.0.0.1"],
            "ports": { "443": self.https, "80": self.http },
            "admin": { "address": format!("127.0.0.1:{}", self.admin) },
        });
        for (key, value) in keys.as_object().expect("keys of sekisho.json") {
            bootstrap[key] = value.clone();
        }
        self.replace(&self.bootstrap(), bootstrap.to_string());
    }

    /// `sekisho.json`
    #[must_use]
    pub fn bootstrap(&self) -> PathBuf {
        self.directory.path().join("sekisho.json")
    }

    /// The directory itself.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file below `resources/`.
    #[must_use]
    pub fn resource(&self, name: &str) -> PathBuf {
        self.directory.path().join("resources").join(name)
    }

    /// The file in which [`Self::apply`] keeps an object.
    #[must_use]
    pub fn object(&self, kind: &str, name: &str) -> PathBuf {
        self.resource(&format!("{}.{name}.json", kind.to_lowercase()))
    }

    /// `kubectl apply`: the object's file appears, or is replaced, at once.
    pub fn apply(&self, object: &Value) {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).expect("an object has kind and name");
        let file = self.object(text("/kind"), text("/metadata/name"));
        self.replace(&file, format!("{object:#}\n"));
    }

    /// `kubectl delete`
    pub fn delete(&self, kind: &str, name: &str) {
        let file = self.object(kind, name);
        fs::remove_file(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// `kubectl create -n istio-system secret …` with the rest of a line of the task, word for word; paths are those of
    /// the certificates. `scripts/secret.sh` makes the Secret.
    #[track_caller]
    pub fn create_secret(&self, line: &str) {
        self.apply(&Self::secret(line));
    }

    /// The Secret that `scripts/secret.sh` prints for such a line.
    #[track_caller]
    #[must_use]
    pub fn secret(line: &str) -> Value {
        let mut script = Command::new(repository().join("scripts/secret.sh"));
        script.args(["-n", "istio-system", "secret"]).args(line.split_whitespace());
        let printed = Finished::of(script.current_dir(Certificates::shared().directory())).exits(0);
        serde_json::from_slice(&printed.stdout).unwrap_or_else(|e| panic!("no JSON: {e}\n{printed}"))
    }

    /// Puts a file in place in one step, as an editor or `mv` does.
    pub fn replace(&self, file: &Path, content: impl AsRef<[u8]>) {
        let aside = self.directory.path().join("aside");
        fs::write(&aside, content).and_then(|()| fs::rename(&aside, file)).expect("its own directory can be written");
    }

    /// The port of the admin endpoint.
    #[must_use]
    pub fn admin(&self) -> u16 {
        self.admin
    }

    /// `sekisho run`, once it is serving.
    #[track_caller]
    #[must_use]
    pub fn run(&self) -> Gateway {
        self.start().serving()
    }

    /// `sekisho run`, whether it can serve or not.
    #[track_caller]
    #[must_use]
    pub fn start(&self) -> Gateway {
        Gateway::start(&self.bootstrap(), self.https, self.http, self.admin)
    }

    /// `sekisho explain`, from the files.
    #[track_caller]
    #[must_use]
    pub fn explain(&self, arguments: &[&str]) -> Finished {
        let bootstrap = self.bootstrap();
        let config = ["explain".as_ref(), "--config".as_ref(), bootstrap.as_os_str()];
        sekisho(config.into_iter().chain(arguments.iter().map(AsRef::as_ref)))
    }

    /// `sekisho check`
    #[track_caller]
    #[must_use]
    pub fn check(&self) -> Finished {
        sekisho(["check".as_ref(), "--config".as_ref(), self.bootstrap().as_os_str()])
    }
}
