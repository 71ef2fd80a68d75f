//! The real `openssl s_client`: a handshake, looked at closely.

use std::fmt;
use std::process::Command;

use crate::program::Finished;

/// One call of `openssl s_client`.
#[derive(Debug)]
#[must_use]
pub struct SClient {
    openssl: Command,
    input: Vec<u8>,
}

impl SClient {
    /// `sni`: the name sent, or none.
    pub(crate) fn new(port: u16, sni: Option<&str>, alpn: &str) -> Self {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-alpn", alpn]);
        match sni {
            Some(name) => openssl.args(["-servername", name]),
            None => openssl.arg("-noservername"),
        };
        Self { openssl, input: Vec::new() }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.openssl.arg(argument);
        self
    }

    /// Sends an HTTP/1.1 request and reads until the server hangs up.
    pub fn get(mut self, host: &str, path: &str) -> Self {
        self.input = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").into_bytes();
        self.arg("-ign_eof")
    }

    /// The command, so that a test can talk with it while it runs.
    #[must_use]
    pub fn command(self) -> Command {
        self.openssl
    }

    /// Shakes hands and hangs up, or sends what it was given.
    #[track_caller]
    #[must_use]
    pub fn run(mut self) -> Handshake {
        let finished = Finished::with_input(&mut self.openssl, &self.input);
        let trace = format!("{}{}", finished.text(), finished.stderr);
        let after = |label: &str| trace.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
        // OpenSSL 3.0 writes `CN = name, O = organization`, later ones `CN=name, O=organization`.
        let name = |label: &str| after(label).map(|name| name.replace(" = ", "="));
        Handshake {
            subject: name("subject="),
            issuer: name("issuer="),
            alpn: after("ALPN protocol: ").map(str::to_owned),
            alert: after_number(&trace),
            command: finished.command,
            trace,
        }
    }
}

/// The number in `SSL alert number 112`.
fn after_number(trace: &str) -> Option<u8> {
    let (_, rest) = trace.split_once("SSL alert number ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// How openssl was called.
    pub command: String,
    /// Whom the server's certificate names: `CN=httpbin.example.com, O=httpbin organization`.
    pub subject: Option<String>,
    /// Who signed it.
    pub issuer: Option<String>,
    /// The protocol chosen.
    pub alpn: Option<String>,
    /// The alert received.
    pub alert: Option<u8>,
    /// All that openssl printed.
    pub trace: String,
}

impl Handshake {
    /// Panics unless the certificate shown is for this common name.
    #[track_caller]
    pub fn shows(self, common_name: &str) -> Self {
        let shown = self.subject.as_deref().and_then(|subject| subject.split(", ").find_map(|p| p.strip_prefix("CN=")));
        assert_eq!(shown, Some(common_name), "the certificate shown\n{self}");
        self
    }

    /// Panics unless the server refused with this alert.
    #[track_caller]
    pub fn is_refused_with(self, alert: u8) -> Self {
        assert_eq!(self.alert, Some(alert), "the alert received\n{self}");
        self
    }

    /// Whether the connection ended without an alert, and without a certificate before.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.alert.is_none() && self.subject.is_none()
    }
}

impl fmt::Display for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n{}", self.command, self.trace)
    }
}
