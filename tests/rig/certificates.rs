//! The certificates of the founding task, made by its own commands, word for word; and a few that it does not have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::program::Finished;

/// One of the task's two sets: each has a root of its own, with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// `example_certs1`
    First,
    /// `example_certs2`
    Second,
}

/// A certificate (or chain) and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// A directory with the certificates of all tests of this process.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Made once for all tests of this process.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Certificates> = OnceLock::new();
        SHARED.get_or_init(|| {
            let directory = tempfile::tempdir().expect("a temporary directory").keep();
            crate::guard::until_exit(r#"cat; rm -rf "$1""#, |shell| _ = shell.arg(&directory));
            let certificates = Self { directory };
            certificates.root();
            certificates.httpbin();
            certificates.second_set();
            certificates.helloworld();
            certificates.client();
            certificates.version_3();
            certificates
        })
    }

    /// Where they are: paths in the task's commands are relative to it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The root certificate of a set.
    #[must_use]
    pub fn ca(&self, set: Set) -> PathBuf {
        self.directory.join(set.directory()).join("example.com.crt")
    }

    /// A leaf of the set by its name: `httpbin`, and in the first set `helloworld`, `client`, `wildcard`, `workload` (which
    /// has a URI), `client-v3`, `api-server` (of 127.0.0.1).
    #[must_use]
    pub fn pair(&self, set: Set, name: &str) -> Pair {
        let file = |kind: &str| self.directory.join(set.directory()).join(format!("{name}.example.com.{kind}"));
        Pair { certificate: file("crt"), key: file("key") }
    }

    /// 「サービスの証明書に署名するためのルート証明書と秘密鍵を作成します。」
    fn root(&self) {
        self.sh(
            r#"mkdir example_certs1
openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj '/O=example Inc./CN=example.com' -keyout example_certs1/example.com.key -out example_certs1/example.com.crt"#,
        );
    }

    /// 「`httpbin.example.com`の証明書と秘密鍵を生成します。」
    fn httpbin(&self) {
        self.sh(
            r#"openssl req -out example_certs1/httpbin.example.com.csr -newkey rsa:2048 -nodes -keyout example_certs1/httpbin.example.com.key -subj "/CN=httpbin.example.com/O=httpbin organization"
openssl x509 -req -sha256 -days 365 -CA example_certs1/example.com.crt -CAkey example_certs1/example.com.key -set_serial 0 -in example_certs1/httpbin.example.com.csr -out example_certs1/httpbin.example.com.crt"#,
        );
    }

    /// 「同じ種類の証明書と鍵の2番目のセットを作成します。」
    fn second_set(&self) {
        self.sh(
            r#"mkdir example_certs2
openssl req -x509 -sha256 -nodes -days 365 -newkey rsa:2048 -subj '/O=example Inc./CN=example.com' -keyout example_certs2/example.com.key -out example_certs2/example.com.crt
openssl req -out example_certs2/httpbin.example.com.csr -newkey rsa:2048 -nodes -keyout example_certs2/httpbin.example.com.key -subj "/CN=httpbin.example.com/O=httpbin organization"
openssl x509 -req -sha256 -days 365 -CA example_certs2/example.com.crt -CAkey example_certs2/example.com.key -set_serial 0 -in example_certs2/httpbin.example.com.csr -out example_certs2/httpbin.example.com.crt"#,
        );
    }

    /// 「`helloworld.example.com`の証明書と秘密鍵を生成します。」
    fn helloworld(&self) {
        self.sh(
            r#"openssl req -out example_certs1/helloworld.example.com.csr -newkey rsa:2048 -nodes -keyout example_certs1/helloworld.example.com.key -subj "/CN=helloworld.example.com/O=helloworld organization"
openssl x509 -req -sha256 -days 365 -CA example_certs1/example.com.crt -CAkey example_certs1/example.com.key -set_serial 1 -in example_certs1/helloworld.example.com.csr -out example_certs1/helloworld.example.com.crt"#,
        );
    }

    /// 「クライアント証明書と秘密鍵を生成します。」
    fn client(&self) {
        self.sh(
            r#"openssl req -out example_certs1/client.example.com.csr -newkey rsa:2048 -nodes -keyout example_certs1/client.example.com.key -subj "/CN=client.example.com/O=client organization"
openssl x509 -req -sha256 -days 365 -CA example_certs1/example.com.crt -CAkey example_certs1/example.com.key -set_serial 1 -in example_certs1/client.example.com.csr -out example_certs1/client.example.com.crt"#,
        );
    }

    /// What a real authority would make of the same names: X.509 v3 with extensions. Not in the task, whose commands
    /// make v1 with OpenSSL 3.0.
    fn version_3(&self) {
        self.leaf("wildcard", "*.example.com", "subjectAltName=DNS:*.example.com\nextendedKeyUsage=serverAuth");
        self.leaf(
            "workload",
            "workload",
            "subjectAltName=URI:spiffe://example.com/workload,DNS:workload.example.com\nextendedKeyUsage=serverAuth",
        );
        self.leaf("api-server", "api-server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth");
        self.leaf("client-v3", "client", "subjectAltName=DNS:client.example.com\nextendedKeyUsage=clientAuth");
    }

    fn leaf(&self, name: &str, common_name: &str, extensions: &str) {
        self.sh(&format!(
            r#"cd example_certs1
openssl ecparam -name prime256v1 -genkey -noout -out {name}.example.com.key
openssl req -new -key {name}.example.com.key -subj "/CN={common_name}" -out {name}.csr
printf '%s\n' '{extensions}' > {name}.ext
openssl x509 -req -sha256 -days 365 -CA example.com.crt -CAkey example.com.key -set_serial 7 -extfile {name}.ext -in {name}.csr -out {name}.example.com.crt"#
        ));
    }

    /// Runs commands as a person would who stands in the directory of the certificates.
    #[track_caller]
    pub fn sh(&self, commands: &str) {
        _ = Finished::of(Command::new("sh").args(["-ec", commands]).current_dir(&self.directory)).exits(0);
    }
}

impl Set {
    fn directory(self) -> &'static str {
        match self {
            Self::First => "example_certs1",
            Self::Second => "example_certs2",
        }
    }
}
