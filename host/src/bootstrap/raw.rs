//! The bootstrap file as it is written, and the step from there to checked values.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::headers::RawHeaders;
use super::kubernetes::{self, RawKubernetes, Resources};
use super::{
    Bootstrap, BootstrapError, CLUSTER_CLASS, DEFAULT_ADMIN, Gateway, Limits, Plugin, PluginCode, PluginLimits,
    Published, Tls, Trust, duration, without_place,
};

/// More threads than any machine has cores are a slip.
const MOST_WORKERS: usize = 1024;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct Raw {
    /// For editors; it has no effect.
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    resources: Option<Vec<PathBuf>>,
    kubernetes: Option<RawKubernetes>,
    plugins: RawPlugins,
    addresses: Option<Vec<IpAddr>>,
    ports: BTreeMap<String, u16>,
    workers: Option<u16>,
    gateway: RawGateway,
    admin: RawAdmin,
    limits: RawLimits,
    trust: RawTrust,
    headers: RawHeaders,
    tls: RawTls,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPlugins {
    routes: Option<Vec<RawPlugin>>,
    secrets: Option<Vec<RawPlugin>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlugin {
    name: String,
    path: String,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    config: serde_json::Value,
    #[serde(default)]
    limits: RawPluginLimits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawPluginLimits {
    memory: Option<usize>,
    #[serde(deserialize_with = "duration::optional")]
    route: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    translate: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    decode: Option<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct RawGateway {
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    class_name: Option<String>,
    controller_name: Option<String>,
    published: Option<Vec<String>>,
    service: Option<String>,
    pool: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawAdmin {
    address: Option<SocketAddr>,
    probes: Option<SocketAddr>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct RawLimits {
    #[serde(deserialize_with = "duration::optional")]
    handshake_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    header_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    body_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    response_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    drain_timeout: Option<Duration>,
    header_bytes: Option<usize>,
    header_count: Option<usize>,
    path_bytes: Option<usize>,
    streams: Option<u32>,
    connections: Option<usize>,
    handshakes: Option<usize>,
    delays: Option<usize>,
    mirrors: Option<usize>,
    mirror_buffer: Option<usize>,
    upstream_idle_connections: Option<usize>,
    #[serde(deserialize_with = "duration::optional")]
    upstream_idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    upstream_age: Option<Duration>,
    #[serde(deserialize_with = "duration::optional")]
    stream_idle_timeout: Option<Duration>,
    route_decisions: Option<usize>,
    resource_bytes: Option<u64>,
    plugin_bytes: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawTrust {
    proxies: Vec<IpNet>,
    hops: usize,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct RawTls {
    default_credential: Option<String>,
    v1_client_certificates: Option<bool>,
    files: Vec<PathBuf>,
}

impl Raw {
    /// The file, before anything in it is checked.
    pub(super) fn read(path: &Path) -> Result<Self, BootstrapError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| BootstrapError::Unreadable { path: path.to_owned(), source })?;
        parse(&text).map_err(|(key, error)| BootstrapError::Syntax {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            message: format!("{key}{}", without_place(&error.to_string())),
        })
    }

    /// The same with the Kubernetes API as the source.
    pub(super) fn for_kubernetes(self) -> Self {
        Self { resources: Some(vec![PathBuf::from(kubernetes::RESOURCE)]), ..self }
    }
}

/// The file's text, or what is wrong with it and under which key.
fn parse(text: &str) -> Result<Raw, (String, serde_json::Error)> {
    // serde would take a list of values for the same in order.
    if text.trim_start().starts_with('[') {
        return Err((String::new(), serde::de::Error::custom("it must be an object of keys and values")));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let raw: Raw = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let key = error.path().to_string();
        let key = if key == "." { String::new() } else { format!("{key}: ") };
        (key, error.into_inner())
    })?;
    json.end().map_err(|error| (String::new(), error))?;
    Ok(raw)
}

impl Raw {
    /// All that does not fit is collected before anything is refused.
    pub(super) fn check(self, path: &Path) -> Result<Bootstrap, Vec<String>> {
        let mut problems = Vec::new();
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let services = self.kubernetes.as_ref().is_some_and(RawKubernetes::keeps_services);
        let resources = kubernetes::resources(self.resources, self.kubernetes, directory, &mut problems);
        let mut names = HashSet::new();
        let mut plugins = |list: Option<Vec<RawPlugin>>, kind: &str, default: &[(&str, &str)]| {
            let list =
                list.unwrap_or_else(|| default.iter().map(|(name, code)| RawPlugin::builtin(name, code)).collect());
            let checked: Vec<Plugin> = list
                .into_iter()
                .enumerate()
                .map(|(at, raw)| raw.check(&format!("plugins.{kind}[{at}]"), directory, &mut names, &mut problems))
                .collect();
            checked
        };
        let routes = plugins(self.plugins.routes, "routes", &[("istio", "istio"), ("gateway-api", "gateway-api")]);
        let secrets = plugins(self.plugins.secrets, "secrets", &[("kubernetes", "kubernetes-secrets")]);
        let ports = check_ports(self.ports, &mut problems);
        let addresses =
            self.addresses.unwrap_or_else(|| vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]);
        let mut seen = HashSet::new();
        let addresses: Vec<IpAddr> = addresses.into_iter().filter(|address| seen.insert(*address)).collect();
        if addresses.is_empty() {
            problems.push("addresses: give at least one, such as \"0.0.0.0\"".to_owned());
        }
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = self.workers.map_or_else(cores, usize::from);
        if !(1..=MOST_WORKERS).contains(&workers) {
            problems.push(format!("workers: {workers} is not between 1 and {MOST_WORKERS}"));
        }
        let limits = self.limits.check(&mut problems);
        let headers = self.headers.check(&mut problems);
        let trust = self.trust.check(&mut problems);
        let tls = self.tls.check(directory, &mut problems);
        let admin = self.admin.address.unwrap_or(DEFAULT_ADMIN);
        if !admin.ip().is_loopback() {
            problems.push(format!("admin.address: {admin} must be of the loopback interface, such as 127.0.0.1:15000"));
        }
        let gateway = Gateway { services, ..self.gateway.check(&resources, &mut problems) };
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Bootstrap {
            path: Some(path.to_owned()),
            resources,
            kubernetes_asked: false,
            routes,
            secrets,
            addresses,
            ports,
            workers,
            gateway,
            admin,
            probes: self.admin.probes,
            limits,
            trust,
            headers,
            tls,
        })
    }
}

/// Addresses of a pool, so that they can be gone through.
const MOST_POOL: usize = 1 << 16;

impl RawGateway {
    fn check(self, resources: &Resources, problems: &mut Vec<String>) -> Gateway {
        let defaults = Gateway::default();
        let class = match resources {
            Resources::Files(_) => defaults.class_name,
            Resources::Kubernetes(_) => CLUSTER_CLASS.to_owned(),
        };
        if self.published.is_some() && self.service.is_some() {
            problems
                .push("gateway.published: name addresses here or a Service in gateway.service, not both".to_owned());
        }
        let published = match (self.published, self.service) {
            (Some(addresses), _) => {
                if addresses.is_empty() || addresses.iter().any(String::is_empty) {
                    problems.push("gateway.published: give at least one IP address or host name".to_owned());
                }
                Published::Addresses(addresses)
            }
            (None, Some(text)) => match namespaced(&text) {
                Some((namespace, name)) => Published::Service { namespace, name },
                None => {
                    problems.push(format!("gateway.service: write `namespace/name` of a Service, not `{text}`"));
                    Published::Bound
                }
            },
            (None, None) => Published::Bound,
        };
        let mut pool = Vec::new();
        for (at, text) in self.pool.iter().enumerate() {
            match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
                Ok(net) => pool.push(net),
                Err(_) => problems
                    .push(format!("gateway.pool[{at}]: `{text}` is no address, and no net such as 192.0.2.0/28")),
            }
        }
        if pool.iter().flat_map(IpNet::hosts).take(MOST_POOL + 1).count() > MOST_POOL {
            problems.push(format!("gateway.pool: it has more than {MOST_POOL} addresses"));
        }
        Gateway {
            namespace: self.namespace.unwrap_or(defaults.namespace),
            labels: self.labels.unwrap_or(defaults.labels),
            class_name: self.class_name.unwrap_or(class),
            controller_name: self.controller_name.unwrap_or(defaults.controller_name),
            published,
            pool,
            services: defaults.services,
        }
    }
}

/// Of an object: `namespace/name`.
fn namespaced(text: &str) -> Option<(String, String)> {
    let (namespace, name) = text.split_once('/')?;
    let fits = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    fits.then(|| (namespace.to_owned(), name.to_owned()))
}

impl RawPlugin {
    fn builtin(name: &str, code: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: format!("builtin:{code}"),
            sha256: None,
            config: serde_json::Value::Null,
            limits: RawPluginLimits::default(),
        }
    }

    fn check(self, key: &str, directory: &Path, names: &mut HashSet<String>, problems: &mut Vec<String>) -> Plugin {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.name.is_empty() || !self.name.bytes().all(legal) {
            problems.push(format!("{key}.name: `{}` must be letters, digits, `-` and `_`", self.name));
        }
        if !names.insert(self.name.clone()) {
            problems.push(format!("{key}.name: another plugin is called `{}` too", self.name));
        }
        if let Some(sha256) = &self.sha256
            && (sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            problems.push(format!("{key}.sha256: give 64 hexadecimal digits, as sha256sum prints them"));
        }
        let code = match self.path.strip_prefix("builtin:") {
            Some(name) => {
                if !crate::plugin::is_builtin(name) {
                    let known = crate::plugin::builtin_names().collect::<Vec<_>>().join(", ");
                    problems.push(format!("{key}.path: no plugin `{name}` is built in; there are {known}"));
                }
                PluginCode::Builtin(name.to_owned())
            }
            None => {
                let path = directory.join(&self.path);
                if !path.is_file() {
                    problems.push(format!("{key}.path: there is no file {}", path.display()));
                }
                PluginCode::File(path)
            }
        };
        let defaults = PluginLimits::default();
        Plugin {
            name: self.name,
            code,
            sha256: self.sha256.map(|sha256| sha256.to_ascii_lowercase()),
            config: self.config,
            limits: PluginLimits {
                memory: self.limits.memory.unwrap_or(defaults.memory),
                route: self.limits.route.unwrap_or(defaults.route),
                translate: self.limits.translate.unwrap_or(defaults.translate),
                decode: self.limits.decode.unwrap_or(defaults.decode),
            },
        }
    }
}

impl RawLimits {
    fn check(self, problems: &mut Vec<String>) -> Limits {
        let defaults = Limits::default();
        let limits = Limits {
            handshake_timeout: self.handshake_timeout.unwrap_or(defaults.handshake_timeout),
            header_timeout: self.header_timeout.unwrap_or(defaults.header_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(defaults.idle_timeout),
            body_timeout: self.body_timeout.unwrap_or(defaults.body_timeout),
            response_timeout: self.response_timeout.unwrap_or(defaults.response_timeout),
            connect_timeout: self.connect_timeout.unwrap_or(defaults.connect_timeout),
            drain_timeout: self.drain_timeout.unwrap_or(defaults.drain_timeout),
            header_bytes: self.header_bytes.unwrap_or(defaults.header_bytes),
            header_count: self.header_count.unwrap_or(defaults.header_count),
            path_bytes: self.path_bytes.unwrap_or(defaults.path_bytes),
            streams: self.streams.unwrap_or(defaults.streams),
            connections: self.connections.unwrap_or(defaults.connections),
            handshakes: self.handshakes.unwrap_or(defaults.handshakes),
            delays: self.delays.unwrap_or(defaults.delays),
            mirrors: self.mirrors.unwrap_or(defaults.mirrors),
            mirror_buffer: self.mirror_buffer.unwrap_or(defaults.mirror_buffer),
            upstream_idle_connections: self.upstream_idle_connections.unwrap_or(defaults.upstream_idle_connections),
            upstream_idle_timeout: self.upstream_idle_timeout.unwrap_or(defaults.upstream_idle_timeout),
            upstream_age: self.upstream_age.unwrap_or(defaults.upstream_age),
            stream_idle_timeout: self.stream_idle_timeout.unwrap_or(defaults.stream_idle_timeout),
            route_decisions: self.route_decisions.unwrap_or(defaults.route_decisions),
            resource_bytes: self.resource_bytes.unwrap_or(defaults.resource_bytes),
            plugin_bytes: self.plugin_bytes.unwrap_or(defaults.plugin_bytes),
        };
        let mut between = |key: &str, value: usize, least: usize, most: usize| {
            if value < least || value > most {
                problems.push(format!("limits.{key}: {value} is not between {least} and {most}"));
            }
        };
        between("headerBytes", limits.header_bytes, 8 << 10, 1 << 20);
        between("headerCount", limits.header_count, 1, 4096);
        between("pathBytes", limits.path_bytes, 256, 64 << 10);
        between("streams", limits.streams as usize, 1, 10_000);
        between("connections", limits.connections, 1, 1 << 24);
        between("handshakes", limits.handshakes, 1, 1 << 24);
        between("delays", limits.delays, 0, 1 << 24);
        between("mirrors", limits.mirrors, 0, 1 << 24);
        between("mirrorBuffer", limits.mirror_buffer, 0, 1 << 30);
        between("routeDecisions", limits.route_decisions, 0, 1 << 20);
        limits
    }
}

/// More proxies one behind another are a slip.
const MOST_HOPS: usize = 32;

impl RawTrust {
    fn check(self, problems: &mut Vec<String>) -> Trust {
        if self.hops > MOST_HOPS {
            problems.push(format!("trust.hops: {} is not between 0 and {MOST_HOPS}", self.hops));
        }
        if self.hops > 0 && self.proxies.is_empty() {
            problems.push("trust.hops: name the proxies' networks in trust.proxies too".to_owned());
        }
        Trust { proxies: self.proxies, hops: self.hops }
    }
}

impl RawTls {
    fn check(self, directory: &Path, problems: &mut Vec<String>) -> Tls {
        let defaults = Tls::default();
        let default_credential = self.default_credential.and_then(|text| {
            let named = namespaced(&text);
            if named.is_none() {
                problems.push(format!("tls.defaultCredential: write `namespace/name` of a secret, not `{text}`"));
            }
            named
        });
        Tls {
            default_credential,
            v1_client_certificates: self.v1_client_certificates.unwrap_or(defaults.v1_client_certificates),
            files: self.files.into_iter().map(|file| directory.join(file)).collect(),
        }
    }
}

fn check_ports(ports: BTreeMap<String, u16>, problems: &mut Vec<String>) -> BTreeMap<u16, u16> {
    let mut checked = BTreeMap::new();
    for (from, to) in ports {
        match from.parse::<u16>() {
            Ok(port) if port != 0 && to != 0 => drop(checked.insert(port, to)),
            _ => problems.push(format!("ports.{from}: a port is a number from 1 to 65535, on both sides")),
        }
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::super::{ClientCertificate, Extra, SecretsBy, Server};
    use super::*;

    fn check(json: &str) -> Result<Bootstrap, String> {
        let raw = parse(json).map_err(|(key, error)| format!("{key}{error}"))?;
        raw.check(Path::new("/etc/sekisho/sekisho.json")).map_err(|problems| problems.join("; "))
    }

    #[test]
    fn every_key_has_a_default() {
        let bootstrap = check("{}").unwrap();
        assert_eq!(bootstrap.resources, Resources::Files(vec![PathBuf::from("/etc/sekisho/resources")]));
        assert_eq!(bootstrap.routes.len(), 2);
        assert_eq!(bootstrap.limits, Limits::default());
        assert_eq!(bootstrap.bound_port(443), 443);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let error = check(
            r#"{"ports": {"x": 1}, "limits": {"streams": 0}, "tls": {"defaultCredential": "x"},
                "plugins": {"routes": [{"name": "a b", "path": "builtin:nothing", "sha256": "12"}]}}"#,
        )
        .unwrap_err();
        for part in [
            "ports.x",
            "limits.streams",
            "tls.defaultCredential",
            "plugins.routes[0].name",
            "plugins.routes[0].path",
            "sha256",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn the_kubernetes_api_stands_alone_and_has_a_class_of_its_own() {
        let bootstrap = check(r#"{"resources": ["kubernetes:"], "kubernetes": {"kubeconfig": "config"}}"#).unwrap();
        let Resources::Kubernetes(api) = &bootstrap.resources else { panic!("{:?}", bootstrap.resources) };
        assert_eq!(api.kubeconfig.as_deref(), Some(Path::new("/etc/sekisho/config")));
        assert_eq!((api.secrets, api.status, api.lease.as_str()), (SecretsBy::Name, true, "sekisho"));
        assert_eq!(bootstrap.gateway.class_name, "sekisho");
        let plain = check(r#"{"resources": ["kubernetes:"]}"#).unwrap();
        let kept = check(r#"{"resources": ["kubernetes:"], "kubernetes": {"gatewayServices": true}}"#).unwrap();
        assert!(kept.gateway.services && !plain.gateway.services);
        assert_eq!(plain.needs_restart(&kept), [""; 0]);
        let taken = check(r#"{"resources": ["kubernetes:"], "gateway": {"className": "istio"}}"#).unwrap();
        assert_eq!(taken.gateway.class_name, "istio", "which is deliberate");
        for (json, part) in [
            (r#"{"resources": ["kubernetes:", "resources"]}"#, "only entry"),
            (r#"{"kubernetes": {}}"#, "no effect"),
            (r#"{"resources": ["kubernetes:"], "kubernetes": {"secrets": "all"}}"#, "kubernetes.secrets"),
            (r#"{"resources": ["kubernetes:"], "kubernetes": {"lease": "A b"}}"#, "kubernetes.lease"),
            (
                r#"{"resources": ["kubernetes:"], "kubernetes": {"gatewayServices": true, "status": false}}"#,
                "kubernetes.gatewayServices",
            ),
        ] {
            let error = check(json).unwrap_err();
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn what_is_published_is_checked() {
        let gateway = |json: &str| check(&format!(r#"{{"gateway": {json}}}"#)).map(|bootstrap| bootstrap.gateway);
        let named = Published::Service { namespace: "a".to_owned(), name: "b".to_owned() };
        assert_eq!(gateway(r#"{"service": "a/b"}"#).unwrap().published, named);
        let pool = gateway(r#"{"pool": ["127.0.1.0/30", "::1"]}"#).unwrap().pool;
        assert_eq!(pool, ["127.0.1.0/30".parse().unwrap(), "::1/128".parse::<IpNet>().unwrap()]);
        for (json, part) in [
            (r#"{"service": "b"}"#, "gateway.service"),
            (r#"{"service": "a/b", "published": ["192.0.2.1"]}"#, "not both"),
            (r#"{"published": []}"#, "gateway.published"),
            (r#"{"pool": ["127.0.1"]}"#, "gateway.pool[0]"),
            (r#"{"pool": ["10.0.0.0/8"]}"#, "gateway.pool"),
        ] {
            let error = gateway(json).unwrap_err();
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    /// The published schema says of every key what the gateway takes, and gives the defaults that it has.
    #[test]
    fn the_schema_is_true() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../docs/sekisho.schema.json")).unwrap();
        let mut defaults = serde_json::Map::new();
        let mut keys = Vec::new();
        for (key, said) in schema["properties"].as_object().unwrap() {
            let mut section = said["default"].clone();
            for (inner, said) in said["properties"].as_object().into_iter().flatten() {
                keys.push(inner.clone());
                if !said["default"].is_null() {
                    section[inner] = said["default"].clone();
                }
            }
            keys.push(key.clone());
            if !section.is_null() {
                defaults.insert(key.clone(), section);
            }
        }
        let with_defaults = check(&serde_json::Value::Object(defaults).to_string()).unwrap();
        assert_eq!(with_defaults, check("{}").unwrap());
        // serde names all keys that it knows in its complaint about one that it does not.
        let complaints = [
            check(r#"{"?": 0}"#),
            check(r#"{"limits": {"?": 0}}"#),
            check(r#"{"gateway": {"?": 0}}"#),
            check(r#"{"kubernetes": {"?": 0}}"#),
            check(r#"{"tls": {"?": 0}}"#),
            check(r#"{"trust": {"?": 0}}"#),
            check(r#"{"headers": {"?": 0}}"#),
            check(r#"{"admin": {"?": 0}}"#),
            check(r#"{"plugins": {"?": 0}}"#),
        ];
        for complaint in complaints {
            let complaint = complaint.unwrap_err();
            let known = complaint.split_once("expected").unwrap().1;
            for key in known.split('`').skip(1).step_by(2) {
                assert!(keys.iter().any(|said| said == key), "the schema does not know `{key}`");
            }
        }
    }

    #[test]
    fn headers_are_named_as_they_are_sent() {
        let said = r#"{"headers": {"clientCertificate": "always-forward", "server": "if-absent", "serverName": "x",
            "add": ["x-envoy-original-path"]}, "trust": {"proxies": ["10.0.0.0/8"], "hops": 2}}"#;
        let bootstrap = check(said).unwrap();
        assert_eq!(bootstrap.headers.client_certificate, ClientCertificate::AlwaysForward);
        assert_eq!(bootstrap.headers.server, Server::IfAbsent(http::HeaderValue::from_static("x")));
        assert_eq!(bootstrap.headers.add, [Extra::OriginalPath]);
        assert_eq!(bootstrap.trust.hops, 2);
        for (said, problem) in [
            (r#"{"headers": {"add": ["x-other"]}}"#, "x-envoy-attempt-count"),
            (r#"{"headers": {"server": "overwrite", "serverName": "\n"}}"#, "headers.serverName"),
            (r#"{"trust": {"hops": 1}}"#, "trust.proxies"),
        ] {
            assert!(check(said).unwrap_err().contains(problem), "{said}");
        }
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(check(r#"{"resource": []}"#).unwrap_err().contains("unknown field `resource`"));
        assert!(check(r#"{"limits": {"idleTimeout": "5"}}"#).unwrap_err().contains("10s"));
    }
}
