//! A running gateway.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::curl::Curl;
use crate::log::Log;
use crate::program::{Finished, ended_within, program, sekisho};
use crate::s_client::SClient;

/// How long a gateway may take to serve.
const FIRST_START: Duration = Duration::from_secs(60);

/// `sekisho run`, as a process of its own. Dropping it stops it as an operator would, and the exit code must be 0.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    log: Log,
    https: u16,
    http: u16,
    admin: u16,
}

impl Gateway {
    /// Starts it, and waits for nothing.
    #[track_caller]
    pub(crate) fn start(bootstrap: &Path, https: u16, http: u16, admin: u16) -> Self {
        let mut child = Command::new(program())
            .args(["run".as_ref(), "--config".as_ref(), bootstrap.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway can be started");
        let log = Log::of(child.stderr.take().expect("it is a pipe"));
        Self { child, log, https, http, admin }
    }

    /// Waits until it says that it is serving.
    #[track_caller]
    #[must_use]
    pub fn serving(self) -> Self {
        // The first ones on a machine compile the plugins, several at once.
        self.log.wait_within(0, FIRST_START, |line| line.is("serving"));
        self
    }

    /// The task's curl line for a host and a path, up to `--cacert`.
    pub fn curl(&self, host: &str, path: &str) -> Curl {
        Curl::new("https", host, self.https, path)
    }

    /// The same in clear text, to port 80.
    pub fn curl_http(&self, host: &str, path: &str) -> Curl {
        Curl::new("http", host, self.http, path)
    }

    /// A TLS handshake with this SNI, or none.
    pub fn s_client(&self, sni: Option<&str>) -> SClient {
        SClient::new(self.https, sni, "h2,http/1.1")
    }

    /// The same, to talk HTTP/1.1 by hand.
    pub fn s_client_http1(&self, sni: &str) -> SClient {
        SClient::new(self.https, Some(sni), "http/1.1")
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The port bound for 443.
    #[must_use]
    pub fn https(&self) -> u16 {
        self.https
    }

    /// The port bound for 80.
    #[must_use]
    pub fn http(&self) -> u16 {
        self.http
    }

    /// The port of the admin endpoint.
    #[must_use]
    pub fn admin(&self) -> u16 {
        self.admin
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// A page of the admin endpoint, whatever its status.
    #[must_use]
    pub fn page(&self, path: &str) -> Page {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let asked = Finished::of(Command::new("curl").args(["-sS", "-m", "20", "-w", "\n%{http_code}", &url])).exits(0);
        let text = asked.text();
        let (body, status) = text.rsplit_once('\n').expect("curl writes the status last");
        Page { status: status.parse().expect("a number"), body: body.to_owned() }
    }

    /// `sekisho status --format json`
    #[must_use]
    pub fn status(&self) -> Value {
        let asked = sekisho(["status", "--format=json", "--admin", &format!("127.0.0.1:{}", self.admin)]);
        serde_json::from_slice(&asked.stdout).unwrap_or_else(|e| panic!("{e}\n{asked}"))
    }

    /// `sekisho explain --admin=…`
    #[must_use]
    pub fn explain(&self, arguments: &[&str]) -> Finished {
        let admin = format!("127.0.0.1:{}", self.admin);
        sekisho([&["explain", "--admin", &admin], arguments].concat())
    }

    /// Sends a signal: `HUP`, `TERM`, `INT`.
    pub fn signal(&self, name: &str) {
        let kill = r#"kill -s "$1" "$2""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", kill, "kill", name, &self.child.id().to_string()]);
        // One that has ended is sent nothing, which nobody has to hear of.
        _ = shell.stderr(Stdio::null()).status();
    }

    /// Waits for its end.
    #[must_use]
    pub fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        ended_within(&mut self.child, patience)
    }
}

/// What the admin endpoint answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.signal("TERM");
        let status = self.ended(crate::PATIENCE);
        if status.is_none() {
            _ = self.child.kill();
            _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log.tail());
        } else {
            assert_eq!(status.and_then(|status| status.code()), Some(0), "exit code\n{}", self.log.tail());
        }
    }
}
