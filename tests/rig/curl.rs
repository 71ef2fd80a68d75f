//! The real curl, called as the task calls it.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::certificates::Pair;
use crate::program::Finished;

/// An HTTP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1
    One,
    /// HTTP/2
    Two,
}

impl Http {
    /// Both, for a loop.
    pub const BOTH: [Self; 2] = [Self::Two, Self::One];
}

/// One call of curl: over TLS with HTTP/2 offered by ALPN, unless told otherwise.
#[derive(Clone, Debug)]
#[must_use]
pub struct Curl {
    scheme: &'static str,
    host: String,
    port: u16,
    path: String,
    header: String,
    version: Http,
    arguments: Vec<OsString>,
    input: Vec<u8>,
    soon: bool,
}

impl Curl {
    /// The task's line up to `--cacert`, for `https` or `http`; the host is at 127.0.0.1.
    pub fn new(scheme: &'static str, host: &str, port: u16, path: &str) -> Self {
        Self {
            scheme,
            host: host.to_owned(),
            port,
            path: path.to_owned(),
            header: host.to_owned(),
            version: if scheme == "https" { Http::Two } else { Http::One },
            arguments: Vec::new(),
            input: Vec::new(),
            soon: false,
        }
    }

    /// The CA whose servers are trusted: `--cacert`.
    pub fn ca(self, ca: impl AsRef<Path>) -> Self {
        self.arg("--cacert").arg(ca.as_ref())
    }

    /// The client's own certificate and key: `--cert` and `--key`.
    pub fn client(self, pair: &Pair) -> Self {
        self.arg("--cert").arg(&pair.certificate).arg("--key").arg(&pair.key)
    }

    /// The HTTP version that is offered, and must be used.
    pub fn http(mut self, version: Http) -> Self {
        self.version = version;
        self
    }

    /// TLS 1.2 and no newer.
    pub fn tls12(self) -> Self {
        self.arg("--tls-max").arg("1.2")
    }

    /// Another authority than the host that is connected to, and named by SNI.
    pub fn authority(mut self, authority: &str) -> Self {
        authority.clone_into(&mut self.header);
        self
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A request header.
    pub fn header(self, header: &str) -> Self {
        self.arg("-H").arg(header)
    }

    /// POST with this body, its length announced.
    pub fn post(mut self, body: &[u8]) -> Self {
        self.input = body.to_vec();
        self.arg("--data-binary").arg("@-").header("content-type: application/octet-stream")
    }

    /// Ask again until the answer is as expected: after a change.
    pub fn soon(mut self) -> Self {
        self.soon = true;
        self
    }

    /// Asks, and panics unless the answer has this status and the HTTP version that was offered.
    #[track_caller]
    pub fn answers(self, status: u16) -> Answer {
        self.expect(|answer| answer.exit == 0 && answer.status == status && answer.version == self.version.name())
            .unwrap_or_else(|answer| panic!("expected HTTP/{} {status}\n{answer}", self.version.name()))
    }

    /// Asks, and panics unless curl fails with this exit code and says this.
    #[track_caller]
    pub fn fails(self, exit: i32, text: &str) -> Answer {
        self.expect(|answer| answer.exit == exit && answer.trace.contains(text))
            .unwrap_or_else(|answer| panic!("expected curl to fail with {exit}, {text:?}\n{answer}"))
    }

    /// Asks, and panics unless curl refuses the certificate. Two authorities of one name, as the task makes them, differ in
    /// their keys alone; whether OpenSSL takes that for a wrong certificate (60) or for a broken handshake (35) depends
    /// on what the one key makes of the other's signature.
    #[track_caller]
    pub fn refuses_the_certificate(self) -> Answer {
        self.expect(|answer| matches!(answer.exit, 35 | 60))
            .unwrap_or_else(|answer| panic!("expected curl to refuse the certificate\n{answer}"))
    }

    /// Asks once.
    #[track_caller]
    #[must_use]
    pub fn run(&self) -> Answer {
        // After the body, on a line of its own: what curl knows of the answer.
        let mut curl = self.command();
        curl.args(["--write-out", "\n%{http_version} %{response_code}"]);
        let finished = Finished::with_input(&mut curl, &self.input);
        let at = finished.stdout.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let summary = String::from_utf8_lossy(&finished.stdout[at..]).trim().to_owned();
        let (version, status) = summary.split_once(' ').unwrap_or(("", "0"));
        Answer {
            command: finished.command,
            exit: finished.code,
            status: status.parse().unwrap_or(0),
            version: version.to_owned(),
            body: finished.stdout[..at].to_vec(),
            trace: finished.stderr,
        }
    }

    /// Asks once for a path with a range such as `?[1-20]`, many requests on one connection: curl's exit code and every
    /// status.
    #[track_caller]
    #[must_use]
    pub fn statuses(&self) -> (i32, Vec<u16>) {
        let mut curl = self.command();
        let finished = Finished::of(curl.args(["-o", "/dev/null", "--write-out", "%{response_code}\n"]));
        let statuses = finished.text().lines().filter_map(|line| line.parse().ok()).collect();
        (finished.code, statuses)
    }

    /// The command, so that a test can talk with it while it runs.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut curl = Command::new("curl");
        // Nothing of the machine's own: no curlrc, no proxy.
        curl.args(["-q", "--noproxy", "*", "-sS", "-v", "--max-time", "30"]);
        curl.arg(match self.version {
            Http::One => "--http1.1",
            Http::Two => "--http2",
        });
        curl.arg(format!("-HHost:{}", self.header));
        curl.args(["--resolve", &format!("{}:{}:127.0.0.1", self.host, self.port)]);
        curl.args(&self.arguments);
        curl.arg(format!("{}://{}:{}{}", self.scheme, self.host, self.port, self.path));
        curl
    }

    #[track_caller]
    fn expect(&self, expected: impl Fn(&Answer) -> bool) -> Result<Answer, Answer> {
        let deadline = std::time::Instant::now() + crate::PATIENCE;
        loop {
            let answer = self.run();
            if expected(&answer) {
                return Ok(answer);
            }
            if !self.soon || std::time::Instant::now() > deadline {
                return Err(answer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Http {
    fn name(self) -> &'static str {
        match self {
            Self::One => "1.1",
            Self::Two => "2",
        }
    }
}

/// What curl made of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How curl was called.
    pub command: String,
    /// curl's exit code: 0, or why there is no answer.
    pub exit: i32,
    /// The status; 0 when there was no answer.
    pub status: u16,
    /// `2` or `1.1`.
    pub version: String,
    /// The body.
    pub body: Vec<u8>,
    /// What `-v` shows: handshake, heads, alerts.
    pub trace: String,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON: {e}\n{self}"))
    }

    /// A header of the response.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let heads = self.trace.lines().filter_map(|line| line.strip_prefix("< ")?.split_once(':'));
        heads
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
            .next_back()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(500)]);
        write!(f, "$ {}\n{}{body}\n", self.command, self.trace)?;
        write!(f, "exit code {}, HTTP/{} {}", self.exit, self.version, self.status)
    }
}
