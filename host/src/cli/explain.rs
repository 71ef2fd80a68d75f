//! `sekisho explain`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use super::print::{self, Colours};
use super::{Configuration, Format, client};
use crate::control::{self, Pipeline};
use crate::explain::{Answer, Other, Outcome, Question, Sni, View, explain as walk};
use crate::generation::Generation;

/// What `explain` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The request's URL, with the port that the client uses: https://httpbin.example.com:8443/status/418
    url: String,
    #[command(flatten)]
    config: Configuration,
    /// Ask the running gateway instead of reading the files
    #[arg(long)]
    live: bool,
    /// The same, at this admin endpoint instead of the one in the bootstrap file
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The method
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header; may be given several times, and `host: …` is one too
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The name in the TLS handshake, when it is not the URL's host
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// No name in the TLS handshake
    #[arg(long, conflicts_with = "sni")]
    no_sni: bool,
    /// The client's certificate, with the issuers that it sends along, as PEM
    #[arg(long, visible_alias = "cert", value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// A Unix socket to connect to instead of the URL's port: /run/gateway.sock, or @ and a name
    #[arg(long, value_name = "PATH")]
    unix_socket: Option<String>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    from: IpAddr,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn explain(options: &Options) -> anyhow::Result<ExitCode> {
    let question = options.question()?;
    let answer = if options.live || options.admin.is_some() {
        let address = client::address(options.admin, &options.config.config)?;
        let asked = serde_json::to_string(&question)?;
        serde_json::from_str(&client::post(address, "/explain", asked)?)
            .context("the gateway's answer is not one of this version")?
    } else {
        offline(&question, options)?
    };
    match options.format {
        Format::Json => print::say(&(serde_json::to_string_pretty(&answer)? + "\n"))?,
        Format::Text => {
            let answer = serde_json::from_value(print::harmless(serde_json::to_value(&answer)?))?;
            print::say(&text(&answer, Colours::of_stdout()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn offline(question: &Question, options: &Options) -> anyhow::Result<Answer> {
    let bootstrap = options.config.read()?;
    let mut pipeline = Pipeline::new(bootstrap.clone().only_to_read(), 1, None, || {})?;
    let mut build = pipeline.build_first(control::READ)?;
    build.drop_unbound(&BTreeMap::new());
    let generation = Generation { number: 0, sockets: build.sockets, parts: build.parts };
    let view =
        View { generation: &generation, findings: &build.findings, places: &build.places, bootstrap: &bootstrap };
    let router = |plugin| pipeline.spare(plugin).map(|made| made.map(|(_, router)| router));
    Ok(walk(question, view, router)?)
}

impl Options {
    fn question(&self) -> anyhow::Result<Question> {
        let headers = self
            .headers
            .iter()
            .map(|line| {
                let (name, value) =
                    line.split_once(':').with_context(|| format!("-H `{line}`: write `name: value`"))?;
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect::<anyhow::Result<_>>()?;
        let certificates = match &self.client_cert {
            Some(path) => {
                let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
                let chain = crate::tls::certificates(&pem).with_context(|| format!("{} is not PEM", path.display()))?;
                anyhow::ensure!(!chain.is_empty(), "{} holds no CERTIFICATE", path.display());
                chain.iter().map(|der| STANDARD.encode(der)).collect()
            }
            None => Vec::new(),
        };
        let sni = match (&self.sni, self.no_sni) {
            (Some(name), _) => Sni::Name(name.clone()),
            (None, true) => Sni::Absent,
            (None, false) => Sni::OfUrl,
        };
        let (url, method) = (self.url.clone(), self.method.clone());
        let unix_socket = self.unix_socket.clone();
        Ok(Question { url, method, headers, sni, certificates, unix_socket, client: self.from })
    }
}

fn text(answer: &Answer, colours: Colours) -> String {
    let source = match answer.generation {
        Some(generation) => format!("generation {generation} of the running gateway"),
        None => "the files".to_owned(),
    };
    let mut text = format!("{} {}, by {source}\n", answer.method, answer.url);
    let status = answer.status.map(|status| format!(" {status}")).unwrap_or_default();
    let verdict = match answer.outcome {
        Outcome::NoConnection => "no connection",
        Outcome::Refused => "refused with",
        Outcome::Answered => "answered with",
        Outcome::Redirected => "redirected with",
        Outcome::Forwarded => "forwarded",
    };
    let good = matches!(answer.outcome, Outcome::Forwarded | Outcome::Answered | Outcome::Redirected);
    let verdict = colours.verdict(good, &format!("{verdict}{status}"));
    let _ = writeln!(text, "→ {verdict}: {}\n", answer.because);
    let mut lines = Lines(&mut text);
    if let Some(socket) = &answer.socket {
        let tls = if socket.tls { "TLS" } else { "in the clear" };
        lines.line("socket", &format!("{}, {tls}", socket.address));
    }
    if let Some(listener) = &answer.listener {
        let origin = &listener.origin;
        lines.line("listener", &format!("{} by {} {}", listener.name, origin.object, origin.field));
        // A Unix socket has none.
        let port =
            if listener.port == 0 { String::new() } else { format!(" on port {} of the objects", listener.port) };
        lines.more(&format!("claims {}{port}", listener.hosts.join(", ")));
    }
    lines.others(&answer.other_listeners);
    for certificate in &answer.certificates {
        lines.line("certificate", &format!("{}, serial {}", certificate.subject, certificate.serial));
        lines.more(&format!("from {}, valid until {}", certificate.source, certificate.not_after));
        let covers = if certificate.covers { "" } else { ": not the name asked for, so clients that check it refuse" };
        lines.more(&format!("holds {}{covers}", print::list(&certificate.names, "no names")));
    }
    if let Some(client) = &answer.client_certificate {
        lines.line("client", client);
    }
    if let Some(authority) = &answer.authority {
        lines.line("authority", authority);
    }
    if let Some(plugin) = &answer.plugin {
        lines.line("plugin", plugin);
    }
    if let Some(host) = &answer.virtual_host {
        lines.line("virtual host", host);
    }
    if let Some(route) = &answer.route {
        let because = answer.route_because.as_ref().map(|because| format!(": {because}")).unwrap_or_default();
        lines.line("rule", &format!("{} {}{because}", route.object, route.field));
    }
    lines.others(&answer.other_routes);
    for action in &answer.action {
        lines.line("action", action);
    }
    for backend in &answer.backends {
        let cluster = backend.cluster.as_deref().unwrap_or("(none)");
        let share = if backend.of == u64::from(backend.weight) {
            String::new()
        } else {
            format!(", {} of {}", backend.weight, backend.of)
        };
        let refused = backend.refused.as_ref().map(|why| format!(", {why}")).unwrap_or_default();
        lines.line("backend", &format!("{cluster}{share}{refused}"));
        if let Some(host) = &backend.host {
            lines.more(&format!("as host {host}"));
        }
        for endpoint in &backend.endpoints {
            lines.more(endpoint);
        }
    }
    if !answer.findings.is_empty() {
        text.push_str("\nfindings about this:\n");
        for finding in &answer.findings {
            text.push_str(&print::finding(finding, colours));
            text.push('\n');
        }
    }
    text
}

/// Two columns.
struct Lines<'t>(&'t mut String);

impl Lines<'_> {
    fn line(&mut self, label: &str, what: &str) {
        let _ = writeln!(self.0, "{label:<13}{what}");
    }

    fn more(&mut self, what: &str) {
        self.line("", what);
    }

    fn others(&mut self, others: &[Other]) {
        for Other { what, because } in others {
            self.line("  not", &format!("{what}: {because}"));
        }
    }
}
