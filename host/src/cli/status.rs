//! `sekisho status`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::print::{self, Colours, counted};
use super::{Config, Format, client};
use crate::admin::status::{Credential, Listener, Plugin, Status};
use crate::control::conditions;

/// What `status` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    config: Config,
    /// The admin endpoint, when it is not the one of the bootstrap file
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Form of the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) fn status(options: &Options) -> anyhow::Result<ExitCode> {
    let json = client::get(client::address(options.admin, &options.config)?, "/status")?;
    let value = serde_json::from_str(&json).context("the gateway's answer is no JSON")?;
    let value = if options.format == Format::Text { print::harmless(value) } else { value };
    let status: Status = serde_json::from_value(value).context("the gateway's answer is not one of this version")?;
    match options.format {
        Format::Json => print::say(&(serde_json::to_string_pretty(&status)? + "\n"))?,
        Format::Text => print::say(&text(&status, Colours::of_stdout()))?,
    }
    Ok(if status.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(status: &Status, colours: Colours) -> String {
    let mut text = String::new();
    let ready = match &status.not_ready_because {
        None => colours.verdict(true, "ready"),
        Some(why) => format!("{}: {why}", colours.verdict(false, "not ready")),
    };
    let of = |severity: &str| status.findings.iter().filter(|finding| finding["severity"] == severity).count();
    let connections: usize = status.workers.iter().map(|worker| worker.connections).sum();
    let _ = writeln!(
        text,
        "sekisho {}, {ready}; {}, {}\ngeneration {} since {}, in force after {} ms; {}, {}",
        status.version,
        counted(of("error"), "error"),
        counted(of("warning"), "warning"),
        status.generation,
        status.since,
        status.took_ms,
        counted(status.workers.len(), "worker"),
        counted(connections, "connection"),
    );
    section(&mut text, colours, "FINDINGS", &status.findings, |finding| print::finding(finding, colours));
    section(&mut text, colours, "LISTENERS", &status.listeners, |listener| self::listener(listener, colours));
    section(&mut text, colours, "OBJECTS", &status.objects, |object| {
        let conditions = conditions(&object.status);
        let conditions = if conditions.is_empty() { String::new() } else { format!("\n    {}", conditions.join(" ")) };
        format!("{} ({}){conditions}", object.object, object.plugin)
    });
    section(&mut text, colours, "CREDENTIALS", &status.credentials, |secret| credential(secret, colours));
    section(&mut text, colours, "CLUSTERS", &status.clusters, |cluster| {
        let endpoints: Vec<String> = cluster
            .endpoints
            .iter()
            .map(|endpoint| match endpoint.failed_connections {
                _ if endpoint.left_out_ms.is_some() => {
                    let left = endpoint.left_out_ms.unwrap_or_default().div_ceil(1000);
                    colours.verdict(false, &format!("{} (left out for {left} s: it kept failing)", endpoint.address))
                }
                0 => endpoint.address.clone(),
                failed => {
                    let why = endpoint.last_failure.as_deref().unwrap_or_default();
                    let said = format!("{} (last {} failed: {why})", endpoint.address, counted(failed, "connection"));
                    colours.verdict(false, &said)
                }
            })
            .collect();
        let none = colours.verdict(false, "no endpoint: its requests get 503");
        let refused = cluster.refused.as_ref().map(|why| format!("\n    refused: {why}")).unwrap_or_default();
        format!("{} by {}\n    {}{refused}", cluster.name, cluster.wanted_by, print::list(&endpoints, &none))
    });
    section(&mut text, colours, "REFUSED HANDSHAKES, the last ones", &status.refused_handshakes, |refused| {
        format!("{} {}", refused.at, refused.text)
    });
    section(&mut text, colours, "PLUGINS", &status.plugins, |plugin| self::plugin(plugin, colours));
    text
}

fn section<T>(text: &mut String, colours: Colours, title: &str, things: &[T], line: impl Fn(&T) -> String) {
    if things.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{}", colours.title(title));
    for thing in things {
        let _ = writeln!(text, "  {}", line(thing).replace('\n', "\n  "));
    }
}

fn listener(listener: &Listener, colours: Colours) -> String {
    let state = colours.verdict(listener.state == "serving", &listener.state);
    let why = listener.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let protocol = if listener.tls { "TLS" } else { "clear" };
    let mut text = format!(
        "{} on {} ({protocol}), {state}{why}\n    {} by {} {}",
        listener.name,
        print::list(&listener.addresses, "no address"),
        listener.hosts.join(", "),
        listener.object,
        listener.field,
    );
    let counts = |counts: Vec<String>| counts.join(", ");
    if !listener.handshakes.is_empty() {
        let handshakes = listener.handshakes.iter().map(|(result, count)| format!("{result} {count}")).collect();
        let _ = write!(text, "\n    handshakes: {}", counts(handshakes));
    }
    if !listener.requests.is_empty() {
        let requests = listener.requests.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        let _ = write!(text, "\n    requests: {}", counts(requests));
    }
    text
}

fn credential(secret: &Credential, colours: Colours) -> String {
    let state = colours.verdict(secret.state == "ready", &secret.state);
    let why = secret.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let mut text = format!("{} for {}, {state}{why}", secret.source, secret.wanted_by);
    if let (Some(subject), Some(serial), Some(until)) = (&secret.subject, &secret.serial, &secret.not_after) {
        let names = print::list(&secret.names, "no names");
        let _ = write!(text, "\n    {subject}, serial {serial}, until {until}\n    for {names}");
    }
    if let (Some(authorities), Some(lists)) = (secret.authorities, secret.revocation_lists) {
        let authorities =
            if authorities == 1 { "1 authority".to_owned() } else { format!("{authorities} authorities") };
        let _ = write!(text, "\n    {authorities}, {}", counted(lists, "revocation list"));
    }
    text
}

fn plugin(plugin: &Plugin, colours: Colours) -> String {
    let dialect = plugin.dialect.as_ref().map(|dialect| format!(", dialect {dialect}")).unwrap_or_default();
    let loaded = match (&plugin.sha256, &plugin.interface) {
        (Some(sha256), Some(interface)) => {
            format!("interface {interface}, sha256 {}…", &sha256[..12.min(sha256.len())])
        }
        _ => colours.verdict(false, "not loaded"),
    };
    let mut text = format!("{} for {}: {}{dialect}, {loaded}", plugin.name, plugin.kind, plugin.path);
    if let Some(problem) = &plugin.problem {
        let _ = write!(text, "\n    {}", colours.verdict(false, problem));
    }
    if plugin.instances > 0 {
        let mib = plugin.memory_bytes as f64 / f64::from(1 << 20);
        let _ = write!(text, "\n    {}, {mib:.1} MiB", counted(plugin.instances, "instance"));
    }
    let calls: BTreeMap<_, _> = plugin.calls.iter().filter(|(_, calls)| calls.count > 0).collect();
    for (name, calls) in calls {
        let mean = calls.seconds * 1e6 / calls.count as f64;
        let _ = write!(text, "\n    {name}: {}, {mean:.1} µs each", counted_calls(calls.count));
        if calls.traps + calls.overruns > 0 {
            let failed = format!(", {} trapped, {} ran too long", calls.traps, calls.overruns);
            text.push_str(&colours.verdict(false, &failed));
        }
    }
    if plugin.known > 0 {
        let _ = write!(text, "\n    route: {} more times known from before", plugin.known);
    }
    if plugin.breakers_opened > 0 || plugin.unavailable > 0 {
        let _ = write!(
            text,
            "\n    breaker: open on {} now, opened {} times, {} requests not asked",
            counted(plugin.breakers_open, "worker"),
            plugin.breakers_opened,
            plugin.unavailable
        );
    }
    if let Some(failure) = &plugin.last_failure {
        let _ = write!(text, "\n    last failure {} in {}: {}", failure.at, failure.call, failure.cause);
        for frame in &failure.backtrace {
            let _ = write!(text, "\n      at {frame}");
        }
    }
    text
}

fn counted_calls(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} call{plural}")
}
