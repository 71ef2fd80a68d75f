//! `sekisho demo`: sample backends, development certificates and the gateway in one process.

mod backends;
mod certificates;

use std::fs::Permissions;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::{Log, run};
use crate::bootstrap::Bootstrap;
use crate::telemetry;
use certificates::Certificates;

/// What `demo` is told.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Which API the objects are written in
    #[arg(long, value_enum, default_value_t = Api::Istio)]
    api: Api,
    /// Ask clients of httpbin.example.com for a certificate
    #[arg(long)]
    mutual: bool,
    #[command(flatten)]
    log: Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Api {
    /// Gateway and VirtualService
    Istio,
    /// Gateway and HTTPRoute
    GatewayApi,
}

macro_rules! sample {
    ($path:literal) => {
        ($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../sample-configs/secure-gateway/", $path)))
    };
}

/// The sample configuration, so that the binary alone shows it.
const SERVICES: [(&str, &str); 2] = [sample!("services/httpbin.json"), sample!("services/helloworld.json")];
const ISTIO: [(&str, &str); 3] =
    [sample!("istio/gateway.json"), sample!("istio/httpbin.json"), sample!("istio/helloworld.json")];
const GATEWAY_API: [(&str, &str); 3] =
    [sample!("gateway-api/gateway.json"), sample!("gateway-api/httpbin.json"), sample!("gateway-api/helloworld.json")];
const MUTUAL: [(&str, &str); 2] = [sample!("mutual/istio.json"), sample!("mutual/gateway-api.json")];
const BOOTSTRAP: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../sample-configs/secure-gateway/sekisho.json"));

/// The port that the sample's bootstrap file gives to 443.
const SECURE_PORT: u16 = 8443;

pub(super) fn demo(options: &Options) -> anyhow::Result<ExitCode> {
    // Private keys will be in it.
    let private = Permissions::from_mode(0o700);
    let directory = tempfile::Builder::new()
        .prefix("sekisho-demo-")
        .permissions(private)
        .tempdir()
        .context("no directory for the demo")?;
    let certificates = Certificates::make().context("cannot make certificates")?;
    let config = write(directory.path(), options, &certificates)?;
    let bootstrap = Bootstrap::read(&config)?;
    for address in
        [SocketAddr::from((Ipv4Addr::LOCALHOST, SECURE_PORT)), SocketAddr::from((Ipv6Addr::LOCALHOST, SECURE_PORT))]
    {
        // Where there is no IPv6, the gateway says so itself and serves the other.
        if let Err(error) = TcpListener::bind(address)
            && error.kind() == ErrorKind::AddrInUse
        {
            return Err(error).with_context(|| format!("the demo needs {address}: free that port"));
        }
    }
    backends::start()?;
    println!("{}", introduction(directory.path(), options));
    let _log = telemetry::start(options.log.log);
    run::serve(bootstrap)?;
    Ok(ExitCode::SUCCESS)
}

/// Lays the configuration out as `sample-configs/secure-gateway` does, with secrets.
fn write(root: &Path, options: &Options, certificates: &Certificates) -> anyhow::Result<PathBuf> {
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, text)).with_context(|| format!("cannot write {}", path.display()))
    };
    let objects = match options.api {
        Api::Istio => ISTIO,
        Api::GatewayApi => GATEWAY_API,
    };
    for (path, text) in SERVICES.into_iter().chain(objects) {
        put(path, text)?;
    }
    let bootstrap = match options.api {
        Api::Istio => BOOTSTRAP.to_owned(),
        Api::GatewayApi => BOOTSTRAP.replace("\"istio/\"", "\"gateway-api/\""),
    };
    if options.mutual {
        let (gateway, mutual) = match options.api {
            Api::Istio => (ISTIO[0].0, MUTUAL[0].1),
            Api::GatewayApi => (GATEWAY_API[0].0, MUTUAL[1].1),
        };
        put(gateway, mutual)?;
    }
    for (path, text) in certificates.files(options.mutual) {
        put(&path, &text)?;
    }
    put("sekisho.json", &bootstrap)?;
    Ok(root.join("sekisho.json"))
}

fn introduction(root: &Path, options: &Options) -> String {
    let ca = root.join("ca.crt");
    let curl = |host: &str, path: &str, more: &str| {
        format!(
            "curl -i --resolve {host}:{SECURE_PORT}:127.0.0.1 --cacert {}{more} https://{host}:{SECURE_PORT}{path}",
            ca.display()
        )
    };
    let client = format!(" --cert {0}/client.crt --key {0}/client.key", root.display());
    let httpbin = "httpbin.example.com";
    let mut lines =
        vec!["Sekisho runs on port 8443 with sample backends. Try in another terminal:".to_owned(), String::new()];
    let mut line = |command: String, answer: &str| lines.extend([format!("  {command}"), format!("      → {answer}")]);
    if options.mutual {
        line(curl(httpbin, "/status/418", ""), "alert: certificate required");
        line(curl(httpbin, "/status/418", &client), "HTTP/2 418, I'm a teapot!");
    } else {
        line(curl(httpbin, "/status/418", ""), "HTTP/2 418, I'm a teapot!");
    }
    let known = if options.mutual { client.as_str() } else { "" };
    line(curl(httpbin, "/nothing", known), "HTTP/2 404: no route matches");
    line(curl("helloworld.example.com", "/hello", ""), "HTTP/2 200, with another certificate on the same port");
    line(curl("unknown.example.com", "/", ""), "alert: unrecognized name");
    lines.extend([
        String::new(),
        format!("Its configuration is in {}: edit, add or delete a file and it is in force at once.", root.display()),
        "Ctrl-C ends it and removes the directory.".to_owned(),
    ]);
    lines.join("\n")
}
