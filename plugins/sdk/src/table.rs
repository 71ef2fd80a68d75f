//! A routing table: per listener virtual hosts, per virtual host rules in order, the first that matches wins; the same
//! for connections that are forwarded as bytes, by server name.
//!
//! A plugin fills [`ListenerRules`] at `translate`, hands [`encode`]d bytes to the host, and answers `route` from the
//! [`Table`] that `load` makes of them. A dialect that needs another shape implements [`crate::Router`] itself.

mod connections;
mod index;
mod names;

use std::rc::Rc;

use regex::Regex;
use regex_syntax::hir::literal::Extractor;
use serde::{Deserialize, Serialize};

use self::connections::Connections;
pub use self::connections::{ConnectionRule, ServerName, Subnet};
use self::index::Index;
use self::names::Names;
use crate::host_name::HostName;
use crate::{Candidate, ConnectionHead, Explanation, RequestHead, Router};

/// More rules than so many are worth an index. Most hosts have one or two, and there are thousands of hosts.
const FEW: usize = 4;

/// How many rejected candidates an explanation carries (`router.explain`).
const MOST_REJECTED: usize = 10;

/// The rules of one listener of the translation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerRules {
    /// What happens when the most specific virtual host has no rule for the request.
    pub on_miss: OnMiss,
    /// The listener's `inputs`, so that explanations can name them.
    pub inputs: Vec<String>,
    /// For requests; at most one per host name.
    pub virtual_hosts: Vec<VirtualHost>,
    /// For connections that are forwarded as bytes; at most one per name.
    pub server_names: Vec<ServerName>,
}

/// What happens when the most specific virtual host has no rule for the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMiss {
    /// Nothing serves it (Istio).
    #[default]
    Stop,
    /// The next less specific virtual host is asked (Gateway API).
    Widen,
}

/// Rules for one host name or wildcard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// What explanations call it, if not by its host.
    pub name: Option<String>,
    /// What it claims.
    pub host: HostName,
    /// In order: the first that matches wins.
    pub rules: Vec<Rule>,
}

/// Conditions that lead to one route; all of them must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Index into the translation's routes.
    pub route: u32,
    /// On the path.
    pub path: PathRule,
    /// On the declared inputs.
    pub conditions: Vec<Condition>,
}

impl VirtualHost {
    /// Called as its host.
    #[must_use]
    pub fn new(host: HostName, rules: Vec<Rule>) -> Self {
        Self { name: None, host, rules }
    }
}

impl Rule {
    /// By path alone.
    #[must_use]
    pub fn new(route: u32, path: PathRule) -> Self {
        Self { route, path, conditions: Vec::new() }
    }
}

/// A condition on the path (without query).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PathRule {
    /// Every path.
    Any,
    /// The whole path.
    Exact {
        /// The path.
        value: String,
        /// ASCII case does not count.
        ignore_case: bool,
    },
    /// The path's first bytes (Istio): `/a` matches `/ab`.
    Prefix {
        /// The bytes.
        value: String,
        /// ASCII case does not count.
        ignore_case: bool,
    },
    /// The path's first elements (Gateway API, Ingress): `/a` and `/a/` match `/a`, `/a/` and `/a/b`, not `/ab`.
    Elements(String),
    /// The whole path by a linear-time regular expression.
    Regex(String),
}

/// A condition on one declared input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Index into the listener's `inputs`.
    pub input: u16,
    /// The query parameter of that name inside the input, which is then `:query`; the first of that name counts.
    pub parameter: Option<String>,
    /// What is asked of the value.
    pub value: ValueRule,
    /// The condition must not hold. A missing value then counts as empty (Istio's `withoutHeaders`).
    pub negated: bool,
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ValueRule {
    /// That there is one.
    Present,
    /// That it is this.
    Exact(String),
    /// That it begins so.
    Prefix(String),
    /// That a linear-time regular expression matches the whole of it.
    Regex(String),
}

/// The bytes for `translation.table`, one entry a listener, in the listeners' order.
#[must_use]
pub fn encode(listeners: &[ListenerRules]) -> Vec<u8> {
    postcard::to_allocvec(listeners).expect("plain data always encodes")
}

/// Whether `pattern` can stand in a rule.
///
/// # Errors
/// What the regular expression engine says of it.
pub fn check_regex(pattern: &str) -> Result<(), String> {
    whole(pattern).map(|_| ())
}

/// A loaded table.
#[derive(Debug)]
pub struct Table {
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    on_miss: OnMiss,
    inputs: Vec<String>,
    hosts: Vec<Host>,
    names: Names,
    connections: Connections,
}

#[derive(Debug)]
struct Host {
    name: Option<String>,
    rules: Vec<CompiledRule>,
    /// None where all rules are tried as soon as some.
    index: Option<Index>,
}

#[derive(Debug)]
struct CompiledRule {
    route: u32,
    path: Path,
    conditions: Vec<CompiledCondition>,
}

#[derive(Debug)]
enum Path {
    Any,
    Exact {
        value: String,
        ignore_case: bool,
    },
    Prefix {
        value: String,
        ignore_case: bool,
    },
    Elements(String),
    /// With what it begins with as long as it is literal.
    Regex(Regex, String),
}

#[derive(Debug)]
struct CompiledCondition {
    input: usize,
    parameter: Option<String>,
    value: Value,
    negated: bool,
}

#[derive(Debug)]
enum Value {
    Present,
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

/// Why a rule did not match, told only when somebody asks.
enum Miss<'r> {
    Path(&'r Path),
    Condition(&'r CompiledCondition),
}

impl Table {
    /// Reads what [`encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are not a table or a regular expression in it does not compile.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let listeners: Vec<ListenerRules> =
            postcard::from_bytes(bytes).map_err(|e| format!("the bytes are not a routing table: {e}"))?;
        let listeners = listeners.into_iter().map(Listener::compile).collect::<Result<_, _>>()?;
        Ok(Self { listeners })
    }
}

impl Router for Table {
    fn load(table: &[u8]) -> Result<Self, String> {
        Self::decode(table)
    }

    fn route(&self, head: &RequestHead) -> Option<u32> {
        let listener = self.listeners.get(head.listener as usize)?;
        for (_, host) in listener.hosts_for(&head.host) {
            if let Some(rule) = host.first(head) {
                return Some(host.rules[rule].route);
            }
            if listener.on_miss == OnMiss::Stop {
                return None;
            }
        }
        None
    }

    fn route_connection(&self, head: &ConnectionHead) -> Option<u32> {
        let listener = self.listeners.get(head.listener as usize)?;
        listener.connections.first(head, listener.on_miss)
    }

    fn explain(&self, head: &RequestHead) -> Explanation {
        let mut explanation = Explanation { chosen: None, because: None, virtual_host: None, rejected: Vec::new() };
        let Some(listener) = self.listeners.get(head.listener as usize) else { return explanation };
        let mut over = false;
        let mut passed: Vec<Passed<'_>> = Vec::new();
        for (position, host) in listener.hosts_for(&head.host) {
            let name = host.name.clone().unwrap_or_else(|| listener.names.name(position));
            let name: Rc<str> = name.into();
            if !over {
                explanation.virtual_host = Some(name.to_string());
            }
            for rule in &host.rules {
                match (rule.check(head), over) {
                    (Ok(()), false) => {
                        explanation.chosen = Some(rule.route);
                        explanation.because = Some(rule.told(&listener.inputs));
                        over = true;
                    }
                    (Ok(()), true) => passed.push(Passed { rule, host: Rc::clone(&name), why: Why::Late }),
                    (Err(miss), false) => passed.push(Passed { rule, host: Rc::clone(&name), why: Why::Miss(miss) }),
                    (Err(_), true) => {}
                }
            }
            over |= listener.on_miss == OnMiss::Stop;
        }
        passed.sort_by_key(|passed| passed.why.distance());
        let served = explanation.virtual_host.as_deref().unwrap_or_default();
        explanation.rejected =
            passed.iter().take(MOST_REJECTED).map(|passed| passed.candidate(served, &listener.inputs)).collect();
        explanation
    }
}

/// A rule that was not chosen.
struct Passed<'t> {
    rule: &'t CompiledRule,
    host: Rc<str>,
    why: Why<'t>,
}

enum Why<'t> {
    /// It does not match.
    Miss(Miss<'t>),
    /// It matches, but another was asked first.
    Late,
}

impl Why<'_> {
    /// How near the rule was to being chosen; 0 is nearest.
    fn distance(&self) -> u8 {
        match self {
            Self::Late => 0,
            Self::Miss(Miss::Condition(_)) => 1,
            Self::Miss(Miss::Path(_)) => 2,
        }
    }
}

impl Passed<'_> {
    fn candidate(&self, served: &str, inputs: &[String]) -> Candidate {
        let because = match &self.why {
            Why::Late if *self.host == *served => {
                format!("{}: it matches too, but comes after the one chosen", self.rule.told(inputs))
            }
            Why::Late => format!("it matches too, but its host `{}` is less specific than `{served}`", self.host),
            Why::Miss(Miss::Path(path)) => path.told(false),
            Why::Miss(Miss::Condition(condition)) => condition.told(condition.negated, inputs),
        };
        Candidate { route: self.rule.route, because }
    }
}

impl Listener {
    fn compile(rules: ListenerRules) -> Result<Self, String> {
        let mut listener = Self {
            on_miss: rules.on_miss,
            inputs: rules.inputs,
            hosts: Vec::with_capacity(rules.virtual_hosts.len()),
            names: Names::with_capacity(rules.virtual_hosts.len()),
            connections: Connections::compile(rules.server_names),
        };
        for virtual_host in rules.virtual_hosts {
            listener.names.insert(virtual_host.host, listener.hosts.len());
            listener.hosts.push(Host::compile(virtual_host.name, virtual_host.rules)?);
        }
        Ok(listener)
    }

    /// The virtual hosts that claim `host`, most specific first.
    fn hosts_for<'t>(&'t self, host: &'t str) -> impl Iterator<Item = (usize, &'t Host)> {
        self.names.claiming(host).map(|position| (position, &self.hosts[position]))
    }
}

impl Host {
    fn compile(name: Option<String>, rules: Vec<Rule>) -> Result<Self, String> {
        let mut compiled = Vec::with_capacity(rules.len());
        for rule in rules {
            compiled.push(CompiledRule::compile(rule)?);
        }
        let index = (compiled.len() > FEW).then(|| Index::new(compiled.iter().map(|rule| rule.path.beginning())));
        Ok(Self { name, rules: compiled, index })
    }

    /// The first rule that matches.
    fn first(&self, head: &RequestHead) -> Option<usize> {
        let matches = |rule: &CompiledRule| rule.check(head).is_ok();
        match &self.index {
            Some(index) => index.first(&head.path, |rule| matches(&self.rules[rule])),
            None => self.rules.iter().position(matches),
        }
    }
}

impl CompiledRule {
    fn compile(rule: Rule) -> Result<Self, String> {
        let path = match rule.path {
            PathRule::Any => Path::Any,
            PathRule::Exact { value, ignore_case } => Path::Exact { value, ignore_case },
            PathRule::Prefix { value, ignore_case } => Path::Prefix { value, ignore_case },
            PathRule::Elements(value) => Path::Elements(value.trim_end_matches('/').to_owned()),
            PathRule::Regex(pattern) => Path::Regex(whole(&pattern)?, literal_beginning(&pattern)),
        };
        let conditions = rule.conditions.into_iter().map(CompiledCondition::compile).collect::<Result<_, _>>()?;
        Ok(Self { route: rule.route, path, conditions })
    }

    fn check(&self, head: &RequestHead) -> Result<(), Miss<'_>> {
        if !self.path.matches(&head.path) {
            return Err(Miss::Path(&self.path));
        }
        match self.conditions.iter().find(|condition| !condition.holds(head)) {
            Some(condition) => Err(Miss::Condition(condition)),
            None => Ok(()),
        }
    }
}

impl Path {
    /// Every path that matches begins with this.
    fn beginning(&self) -> &str {
        match self {
            Self::Exact { value, ignore_case: false } | Self::Prefix { value, ignore_case: false } => value,
            Self::Elements(value) | Self::Regex(_, value) => value,
            Self::Any | Self::Exact { .. } | Self::Prefix { .. } => "",
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact { value, ignore_case: false } => path == value,
            Self::Exact { value, ignore_case: true } => path.eq_ignore_ascii_case(value),
            Self::Prefix { value, ignore_case: false } => path.starts_with(value.as_str()),
            Self::Prefix { value, ignore_case: true } => {
                path.as_bytes().get(..value.len()).is_some_and(|start| start.eq_ignore_ascii_case(value.as_bytes()))
            }
            Self::Elements(value) => {
                path.strip_prefix(value.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex, _) => regex.is_match(path),
        }
    }
}

impl CompiledCondition {
    fn compile(condition: Condition) -> Result<Self, String> {
        let value = match condition.value {
            ValueRule::Present => Value::Present,
            ValueRule::Exact(text) => Value::Exact(text),
            ValueRule::Prefix(text) => Value::Prefix(text),
            ValueRule::Regex(pattern) => Value::Regex(whole(&pattern)?),
        };
        let Condition { input, parameter, negated, .. } = condition;
        Ok(Self { input: usize::from(input), parameter, value, negated })
    }

    fn holds(&self, head: &RequestHead) -> bool {
        let input = head.inputs.get(self.input).and_then(Option::as_deref);
        let value = match &self.parameter {
            None => input,
            Some(name) => input.and_then(|query| parameter(query, name)),
        };
        match (value, self.negated) {
            (Some(value), negated) => self.value.matches(value) != negated,
            (None, false) => false,
            (None, true) => matches!(self.value, Value::Present) || !self.value.matches(b""),
        }
    }
}

impl Value {
    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(text) => value == text.as_bytes(),
            Self::Prefix(text) => value.starts_with(text.as_bytes()),
            Self::Regex(regex) => regex.is_match(&String::from_utf8_lossy(value)),
        }
    }
}

impl CompiledRule {
    /// What it asks for, where inputs are called so.
    fn told(&self, inputs: &[String]) -> String {
        let conditions = self.conditions.iter().map(|condition| condition.told(!condition.negated, inputs));
        std::iter::once(self.path.told(true)).chain(conditions).collect::<Vec<_>>().join(" and ")
    }
}

impl Path {
    /// That the path is so, or that it is not.
    fn told(&self, so: bool) -> String {
        let (is, begins, matches) =
            if so { ("is", "begins", "matches") } else { ("is not", "does not begin", "does not match") };
        match self {
            Self::Any => "every path".to_owned(),
            Self::Exact { value, .. } => format!("the path {is} `{value}`"),
            Self::Prefix { value, .. } => format!("the path {begins} with `{value}`"),
            Self::Elements(value) => format!("the path {is} below `{value}/`"),
            Self::Regex(regex, _) => format!("the path {matches} `{}`", regex.as_str()),
        }
    }
}

impl CompiledCondition {
    /// That the input is so, or that it is not, where inputs are called so.
    fn told(&self, so: bool, inputs: &[String]) -> String {
        let name = inputs.get(self.input).map_or("?", String::as_str);
        let what = match (&self.parameter, name.strip_prefix(':')) {
            (Some(parameter), _) => format!("query parameter `{parameter}`"),
            (None, Some(pseudo)) => format!("the {pseudo}"),
            (None, None) => format!("header `{name}`"),
        };
        let is = if so { "is" } else { "is not" };
        match &self.value {
            Value::Present => format!("{what} {is} present"),
            Value::Exact(text) => format!("{what} {is} `{text}`"),
            Value::Prefix(text) => format!("{what} {is} `{text}…`"),
            Value::Regex(regex) => format!("{what} {is} like `{}`", regex.as_str()),
        }
    }
}

/// The first value of a query parameter, undecoded; a parameter without `=` has the empty value.
fn parameter<'q>(query: &'q [u8], name: &str) -> Option<&'q [u8]> {
    query.split(|b| *b == b'&').find_map(|pair| match pair.iter().position(|b| *b == b'=') {
        Some(equals) => (&pair[..equals] == name.as_bytes()).then(|| &pair[equals + 1..]),
        None => (pair == name.as_bytes()).then_some(&pair[pair.len()..]),
    })
}

fn whole(pattern: &str) -> Result<Regex, String> {
    // By itself: `a)|(b` must not become something else in the parentheses.
    regex_syntax::parse(pattern).map_err(|e| format!("regular expression `{pattern}`: {e}"))?;
    Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|e| format!("regular expression `{pattern}`: {e}"))
}

/// What everything begins with that the pattern matches; empty when that is nothing in particular.
fn literal_beginning(pattern: &str) -> String {
    let beginnings = regex_syntax::parse(pattern).map(|parsed| Extractor::new().extract(&parsed));
    let common = beginnings.ok().and_then(|beginnings| beginnings.longest_common_prefix().map(<[u8]>::to_vec));
    // It may end within a character.
    common.and_then(|bytes| bytes.utf8_chunks().next().map(|chunk| chunk.valid().to_owned())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(route: u32, path: PathRule) -> Rule {
        Rule { route, path, conditions: Vec::new() }
    }

    fn prefix(value: &str) -> PathRule {
        PathRule::Prefix { value: value.to_owned(), ignore_case: false }
    }

    fn host(name: &str, rules: Vec<Rule>) -> VirtualHost {
        VirtualHost::new(HostName::parse(name).unwrap(), rules)
    }

    fn table(on_miss: OnMiss, virtual_hosts: Vec<VirtualHost>) -> Table {
        let inputs = vec!["x-user".to_owned()];
        Table::decode(&encode(&[ListenerRules { on_miss, inputs, virtual_hosts, server_names: Vec::new() }])).unwrap()
    }

    fn head(host: &str, path: &str, inputs: &[Option<&str>]) -> RequestHead {
        let inputs = inputs.iter().map(|i| i.map(|i| i.as_bytes().to_vec())).collect();
        RequestHead { listener: 0, host: host.to_owned(), path: path.to_owned(), inputs }
    }

    #[test]
    fn the_most_specific_host_serves_and_only_widen_falls_through() {
        let hosts = || {
            vec![
                host("*", vec![rule(0, PathRule::Any)]),
                host("*.example.com", vec![rule(1, prefix("/"))]),
                host("a.example.com", vec![rule(2, prefix("/a"))]),
            ]
        };
        let stop = table(OnMiss::Stop, hosts());
        let widen = table(OnMiss::Widen, hosts());
        assert_eq!(stop.route(&head("a.example.com", "/a", &[])), Some(2));
        assert_eq!(stop.route(&head("a.example.com", "/b", &[])), None);
        assert_eq!(widen.route(&head("a.example.com", "/b", &[])), Some(1));
        assert_eq!(stop.route(&head("x.y.example.com", "/b", &[])), Some(1));
        assert_eq!(stop.route(&head("example.com", "/b", &[])), Some(0));
    }

    #[test]
    fn elements_are_whole() {
        for (value, path, matched) in [
            ("/v2", "/v2", true),
            ("/v2", "/v2/", true),
            ("/v2/", "/v2", true),
            ("/v2", "/v2/x", true),
            ("/v2", "/v2x", false),
            ("/", "/anything", true),
        ] {
            let table = table(OnMiss::Stop, vec![host("*", vec![rule(7, PathRule::Elements(value.to_owned()))])]);
            assert_eq!(table.route(&head("h", path, &[])).is_some(), matched, "{value} on {path}");
        }
    }

    #[test]
    fn negated_conditions_take_a_missing_value_for_empty() {
        let condition = |value, negated| Condition { input: 0, parameter: None, value, negated };
        let exact = || ValueRule::Exact("jason".to_owned());
        for (condition, value, holds) in [
            (condition(exact(), false), Some("jason"), true),
            (condition(exact(), false), None, false),
            (condition(exact(), true), None, true),
            (condition(exact(), true), Some("jason"), false),
            (condition(ValueRule::Present, true), None, true),
            (condition(ValueRule::Present, true), Some(""), false),
            (condition(ValueRule::Regex(".*".to_owned()), true), None, false),
        ] {
            let rules = vec![Rule { route: 1, path: PathRule::Any, conditions: vec![condition.clone()] }];
            let table = table(OnMiss::Stop, vec![host("*", rules)]);
            assert_eq!(table.route(&head("h", "/", &[value])).is_some(), holds, "{condition:?} on {value:?}");
        }
    }

    #[test]
    fn the_first_query_parameter_of_a_name_counts() {
        let condition = Condition {
            input: 0,
            parameter: Some("id".to_owned()),
            value: ValueRule::Regex(r"\d+".to_owned()),
            negated: false,
        };
        let table = table(
            OnMiss::Stop,
            vec![host("*", vec![Rule { route: 1, path: PathRule::Any, conditions: vec![condition] }])],
        );
        for (query, matched) in
            [("id=12", true), ("a=b&id=1&id=x", true), ("id=x&id=1", false), ("id", false), ("xid=1", false)]
        {
            assert_eq!(table.route(&head("h", "/", &[Some(query)])).is_some(), matched, "{query}");
        }
    }

    #[test]
    fn an_explanation_walks_as_route_does_and_names_the_nearest_first() {
        let user = Condition { input: 0, parameter: None, value: ValueRule::Exact("jason".to_owned()), negated: false };
        let rules = vec![
            rule(0, prefix("/a")),
            Rule { route: 1, path: prefix("/b"), conditions: vec![user] },
            rule(2, prefix("/b")),
            rule(3, prefix("/b/c")),
        ];
        let wide = host("*", vec![rule(4, PathRule::Any)]);
        let table = table(OnMiss::Stop, vec![host("h", rules), wide]);
        let head = head("h", "/b/c", &[None]);
        let explanation = table.explain(&head);
        assert_eq!(explanation.chosen, table.route(&head));
        assert_eq!(explanation.virtual_host.as_deref(), Some("h"));
        assert_eq!(explanation.because.as_deref(), Some("the path begins with `/b`"));
        let rejected: Vec<(u32, &str)> =
            explanation.rejected.iter().map(|candidate| (candidate.route, candidate.because.as_str())).collect();
        assert_eq!(
            rejected,
            [
                (3, "the path begins with `/b/c`: it matches too, but comes after the one chosen"),
                (4, "it matches too, but its host `*` is less specific than `h`"),
                (1, "header `x-user` is not `jason`"),
                (0, "the path does not begin with `/a`"),
            ]
        );
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        assert!(Table::decode(&[0xff; 9]).is_err());
        assert!(check_regex("(").is_err());
        assert!(check_regex("a)|(b").is_err());
    }
}
