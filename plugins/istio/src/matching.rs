//! `http[].match[]`: conditions of the routing table, and the ones that are decided before any request comes.

use std::collections::BTreeMap;

use sekisho_sdk::Environment;
use sekisho_sdk::table::{PathRule, ValueRule, check_regex};

use crate::findings::{Findings, Place};
use crate::names::{gateway_reference, is_dns_label, is_header_name, port_number};
use crate::objects::virtual_service::{HttpMatch, StringMatch};

/// One entry of `match`: all of it must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Match {
    pub(crate) path: PathRule,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) servers: Servers,
}

/// Which servers a match is for, of those that its VirtualService is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Servers {
    /// Only of this port.
    port: Option<u16>,
    /// Only of these Gateways; of all when empty.
    gateways: Vec<String>,
    /// `sourceLabels` and `sourceNamespace` describe this gateway.
    here: bool,
}

/// A condition on something of the request besides its path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Condition {
    /// The router's input: `:method`, a header's name.
    pub(crate) input: String,
    /// The query parameter in it.
    pub(crate) parameter: Option<String>,
    pub(crate) value: ValueRule,
    pub(crate) negated: bool,
}

impl Match {
    /// What a rule without `match` says.
    pub(crate) fn everything() -> Self {
        Self { path: PathRule::Any, conditions: Vec::new(), servers: Servers::every() }
    }

    /// Istio's catch-all, which is sorted behind the others: any path and no condition. An empty prefix is none.
    pub(crate) fn is_catch_all(&self) -> bool {
        let any_path = match &self.path {
            PathRule::Any => true,
            PathRule::Prefix { value, .. } => value == "/",
            PathRule::Regex(pattern) => pattern == ".*",
            PathRule::Exact { .. } | PathRule::Elements(_) => false,
        };
        any_path && self.conditions.is_empty()
    }
}

impl Servers {
    pub(crate) fn every() -> Self {
        Self { port: None, gateways: Vec::new(), here: true }
    }

    /// None when `port` is none.
    pub(crate) fn read(
        port: i64,
        gateways: &[String],
        (labels, from): (&BTreeMap<String, String>, &str),
        (namespace, environment): (&str, &Environment),
        at: &Place<'_>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let number = match port {
            0 => Some(None),
            number => port_number(number).map(Some),
        };
        if number.is_none() {
            let message = format!("{port} is not a port");
            findings.error(&at.field("port"), "invalid-value", message, "write a number from 1 to 65535");
        }
        let has_label = |(name, value): (&String, &String)| {
            environment.labels.iter().any(|(own, label)| own == name && label == value)
        };
        let here = labels.iter().all(has_label) && (from.is_empty() || from == environment.namespace);
        let gateways = gateways.iter().map(|gateway| gateway_reference(gateway, namespace)).collect();
        Some(Self { port: number?, gateways, here })
    }

    /// Whether it is for every server.
    pub(crate) fn are_all(&self) -> bool {
        self.port.is_none() && self.gateways.is_empty() && self.here
    }

    /// Whether it is for any server at all, as far as labels tell.
    pub(crate) fn are_any(&self) -> bool {
        self.here || !self.gateways.is_empty()
    }

    /// Whether it is for a server of that Gateway and port. Where Gateways are named, labels do not count.
    pub(crate) fn include(&self, gateway: &str, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
            && if self.gateways.is_empty() { self.here } else { self.gateways.iter().any(|own| own == gateway) }
    }
}

/// Reads one entry; none when a condition in it cannot be read, because without it more would match than was meant.
pub(crate) fn read(
    said: &HttpMatch,
    namespace: &str,
    environment: &Environment,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Match> {
    let mut reader = Reader { conditions: Vec::new(), legal: true, findings };
    let path = reader.path(said, at);
    reader.value(":method", said.method.as_ref(), &at.field("method"));
    reader.value(":scheme", said.scheme.as_ref(), &at.field("scheme"));
    reader.value(":authority", said.authority.as_ref(), &at.field("authority"));
    reader.headers(&said.headers, false, &at.field("headers"));
    reader.headers(&said.without_headers, true, &at.field("withoutHeaders"));
    reader.query(&said.query_params, &at.field("queryParams"));
    let Reader { conditions, legal, findings } = reader;
    let sources = (&said.source_labels, said.source_namespace.as_str());
    let servers = Servers::read(said.port, &said.gateways, sources, (namespace, environment), at, findings);
    if !said.stat_prefix.is_empty() || !said.name.is_empty() {
        let message = "`name` and `statPrefix` of a match have no effect; metrics carry the rule's name";
        findings.info(at, "no-effect", message, "name the rule instead");
    }
    let legal = legal && source_namespace(&said.source_namespace, at, findings);
    match (path, servers, legal) {
        (Some(path), Some(servers), true) => Some(Match { path, conditions, servers }),
        _ => None,
    }
}

fn source_namespace(name: &str, at: &Place<'_>, findings: &mut Findings) -> bool {
    let legal = name.is_empty() || is_dns_label(name);
    if !legal {
        let message = format!("`{name}` cannot be a namespace, so that this match never holds");
        findings.error(&at.field("sourceNamespace"), "invalid-value", message, "correct it, or remove the field");
    }
    legal
}

struct Reader<'f> {
    conditions: Vec<Condition>,
    legal: bool,
    findings: &'f mut Findings,
}

impl Reader<'_> {
    fn path(&mut self, said: &HttpMatch, at: &Place<'_>) -> Option<PathRule> {
        let Some(uri) = &said.uri else { return Some(PathRule::Any) };
        let at = at.field("uri");
        let ignore_case = said.ignore_uri_case;
        // Envoy takes an empty prefix of a path, and of nothing else.
        let rule = match uri.prefix.as_deref() {
            Some("") if uri.exact.is_none() && uri.regex.is_none() => ValueRule::Prefix(String::new()),
            _ => self.rule(uri, &at)?,
        };
        Some(match rule {
            ValueRule::Present => PathRule::Any,
            ValueRule::Exact(value) => PathRule::Exact { value, ignore_case },
            ValueRule::Prefix(value) => PathRule::Prefix { value, ignore_case },
            ValueRule::Regex(pattern) => {
                if ignore_case {
                    let message = "`ignoreUriCase` has no effect on a regular expression";
                    self.findings.warning(&at, "no-effect", message, "begin the expression with `(?i)`");
                }
                PathRule::Regex(pattern)
            }
        })
    }

    /// A single value that every request has.
    fn value(&mut self, input: &str, said: Option<&StringMatch>, at: &Place<'_>) {
        let Some(said) = said else { return };
        match self.rule(said, at) {
            None => self.legal = false,
            Some(ValueRule::Present) => {}
            Some(value) => self.push(input, None, value, false),
        }
    }

    fn headers(&mut self, said: &BTreeMap<String, StringMatch>, negated: bool, at: &Place<'_>) {
        for (name, value) in said {
            let at = at.field(name);
            if name.starts_with('@') {
                let message = format!("`{name}`: claims of tokens are not known here, so that this match never holds");
                self.findings.error(&at, "jwt-claims", message, "remove the match");
                self.legal = false;
            } else if name.starts_with(':') && !matches!(name.as_str(), ":method" | ":scheme" | ":authority")
                || !name.starts_with(':') && !is_header_name(name)
            {
                let message = format!("`{name}` is not a header name");
                self.findings.error(
                    &at,
                    "invalid-header-name",
                    message,
                    "correct it, or use `uri`, `method`, `scheme`",
                );
                self.legal = false;
            } else if let Some(value) = self.present_or_rule(value, &at) {
                // Envoy keeps both under one name.
                let name = if name.eq_ignore_ascii_case("host") { ":authority" } else { name };
                self.push(&name.to_ascii_lowercase(), None, value, negated);
            } else {
                self.legal = false;
            }
        }
    }

    fn query(&mut self, said: &BTreeMap<String, StringMatch>, at: &Place<'_>) {
        for (name, value) in said {
            match self.present_or_rule(value, &at.field(name)) {
                Some(value) => self.push(":query", Some(name.clone()), value, false),
                None => self.legal = false,
            }
        }
    }

    fn push(&mut self, input: &str, parameter: Option<String>, value: ValueRule, negated: bool) {
        self.conditions.push(Condition { input: input.to_owned(), parameter, value, negated });
    }

    /// The regular expression `*` is Istio's way to ask for presence.
    fn present_or_rule(&mut self, said: &StringMatch, at: &Place<'_>) -> Option<ValueRule> {
        if said.regex.as_deref() == Some("*") && said.exact.is_none() && said.prefix.is_none() {
            return Some(ValueRule::Present);
        }
        self.rule(said, at)
    }

    fn rule(&mut self, said: &StringMatch, at: &Place<'_>) -> Option<ValueRule> {
        let StringMatch { exact, prefix, regex } = said;
        let rule = match (exact, prefix, regex) {
            (None, None, None) => ValueRule::Present,
            (Some(exact), None, None) => ValueRule::Exact(exact.clone()),
            (None, Some(prefix), None) => {
                self.not_empty(prefix, "prefix", at)?;
                ValueRule::Prefix(prefix.clone())
            }
            (None, None, Some(pattern)) => {
                self.not_empty(pattern, "regex", at)?;
                self.regex(pattern, at)?;
                ValueRule::Regex(pattern.clone())
            }
            _ => {
                let message = "only one of `exact`, `prefix` and `regex` can be given";
                self.findings.error(at, "conflicting-fields", message, "keep one and remove the others");
                return None;
            }
        };
        Some(rule)
    }

    /// What Istio refuses, as it hardly means anything.
    fn not_empty(&mut self, text: &str, field: &str, at: &Place<'_>) -> Option<()> {
        if text.is_empty() {
            let message = format!("an empty `{field}` cannot be matched with");
            self.findings.error(&at.field(field), "invalid-value", message, "write `{}` to ask for presence alone");
            return None;
        }
        Some(())
    }

    fn regex(&mut self, pattern: &str, at: &Place<'_>) -> Option<()> {
        let checked = if pattern.len() > MOST_REGEX {
            Err(format!("the regular expression is longer than {MOST_REGEX} bytes"))
        } else {
            check_regex(pattern)
        };
        let remedy = "correct it; it must match the whole value, in linear time";
        checked.map_err(|problem| self.findings.error(&at.field("regex"), "invalid-regex", problem, remedy)).ok()
    }
}

/// Istio's limit, in bytes.
const MOST_REGEX: usize = 1024;
