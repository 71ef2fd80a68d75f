//! VirtualServices without hosts, whose rules stand in the place of the rules of others that delegate to them.
//!
//! A match of the delegate must be part of one of the root's; the two are joined. What a rule of the delegate does not
//! say it has from the root.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use sekisho_sdk::objects::read_part;
use sekisho_sdk::{Object, ObjectKey};

use crate::names::{Exports, full_host, gateway_reference};
use crate::objects::virtual_service::{
    Destination, HttpMatch, HttpMirror, HttpRoute, Percent, StringMatch, VirtualService,
};

/// Why a rule cannot delegate: code, message and remedy.
type Problem = (&'static str, String, &'static str);

/// All VirtualServices by namespace and name.
pub(super) type Objects<'o> = HashMap<(&'o str, &'o str), &'o Object>;

/// Those that others delegate to, read when the first one does.
#[derive(Default)]
pub(super) struct Delegates(HashMap<(String, String), Rc<Delegate>>);

/// One that is delegated to.
#[derive(Debug)]
pub(super) struct Delegate {
    pub(super) key: ObjectKey,
    pub(super) rules: Vec<HttpRoute>,
    exports: Exports,
}

/// A rule of a delegate with what it has from the root.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) rule: HttpRoute,
    /// The fields that it has from the root.
    pub(super) inherited: Vec<&'static str>,
    pub(super) matches: Vec<Merged>,
}

/// A match, and which ones of the root and of the delegate it was joined from.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) root: Option<usize>,
    pub(super) leaf: Option<usize>,
    pub(super) said: HttpMatch,
}

impl Delegates {
    /// Whether one was delegated to.
    pub(super) fn are_followed(&self, key: &ObjectKey) -> bool {
        self.0.contains_key(&(key.namespace.clone(), key.name.clone()))
    }

    /// The VirtualService of that namespace and name, for a root in `viewer`.
    pub(super) fn follow(
        &mut self,
        objects: &Objects<'_>,
        (namespace, name): (&str, &str),
        viewer: &str,
    ) -> Result<Rc<Delegate>, Problem> {
        let key = (namespace.to_owned(), name.to_owned());
        let delegate = match self.0.get(&key) {
            Some(known) => Rc::clone(known),
            None => {
                let delegate = Rc::new(Delegate::read(objects, (namespace, name))?);
                self.0.insert(key, Rc::clone(&delegate));
                delegate
            }
        };
        if !delegate.exports.reach(viewer, namespace) {
            let message = format!(
                "VirtualService {namespace}/{name} is not exported to namespace {viewer}; the rule answers 500"
            );
            return Err(refusal("not-exported", message, "add the namespace to its `exportTo`"));
        }
        Ok(delegate)
    }
}

impl Delegate {
    fn read(objects: &Objects<'_>, (namespace, name): (&str, &str)) -> Result<Self, Problem> {
        let Some(object) = objects.get(&(namespace, name)) else {
            let message = format!("there is no VirtualService {namespace}/{name}; the rule answers 500");
            return Err(refusal("delegate-not-found", message, "create it, or correct the name"));
        };
        // What is wrong with it is said where all objects are read.
        let Some(written) = read_part(object, &mut Vec::new()) else {
            let message = format!("VirtualService {namespace}/{name} cannot be read; the rule answers 500");
            return Err(refusal("delegate-not-found", message, "correct it"));
        };
        let VirtualService { spec, .. } = &*written;
        if !spec.hosts.is_empty() {
            let message = format!(
                "VirtualService {namespace}/{name} has hosts, so that it cannot be delegated to; the rule answers 500"
            );
            return Err(refusal("delegate-not-found", message, "remove its `hosts`, or write its rules here"));
        }
        let exports = Exports::read(spec.export_to.iter().map(String::as_str), namespace);
        Ok(Self { key: object.key.clone(), rules: spec.http.clone(), exports })
    }

    /// A rule of this delegate under a rule of a root; the position of its match that is not part of the root's, if one
    /// is not.
    pub(super) fn merge(
        &self,
        (root, key): (&HttpRoute, &ObjectKey),
        rule: &HttpRoute,
        domain: &str,
    ) -> Result<Said, usize> {
        let own = normalised(&rule.r#match, &self.key.namespace);
        let matches = merge_all(&normalised(&root.r#match, &key.namespace), &own)?;
        let mut rule = rule.clone();
        rule.r#match = matches.iter().map(|merged| merged.said.clone()).collect();
        let inherited = inherit(root, &mut rule, |host| full_host(host, &key.namespace, domain));
        Ok(Said { rule, inherited, matches })
    }
}

fn refusal(code: &'static str, message: String, remedy: &'static str) -> Problem {
    (code, message, remedy)
}

/// Gateways as `namespace/name`, as they are named relative to the object that they stand in.
fn normalised(matches: &[HttpMatch], namespace: &str) -> Vec<HttpMatch> {
    let mut matches = matches.to_vec();
    for gateway in matches.iter_mut().flat_map(|one| &mut one.gateways) {
        *gateway = gateway_reference(gateway, namespace);
    }
    matches
}

fn merge_all(root: &[HttpMatch], leaves: &[HttpMatch]) -> Result<Vec<Merged>, usize> {
    let whole = |(index, said): (usize, &HttpMatch)| (index, said.clone());
    if root.is_empty() {
        let leaves = leaves.iter().enumerate().map(whole);
        return Ok(leaves.map(|(index, said)| Merged { root: None, leaf: Some(index), said }).collect());
    }
    if leaves.is_empty() {
        let root = root.iter().enumerate().map(whole);
        return Ok(root.map(|(index, said)| Merged { root: Some(index), leaf: None, said }).collect());
    }
    let mut all = Vec::new();
    for (index, leaf) in leaves.iter().enumerate() {
        let before = all.len();
        let wider = root.iter().enumerate().filter(|(_, root)| is_part(leaf, root));
        all.extend(wider.map(|(number, root)| Merged {
            root: Some(number),
            leaf: Some(index),
            said: join(root, leaf),
        }));
        if all.len() == before {
            return Err(index);
        }
    }
    Ok(all)
}

/// Whether a match of a delegate is part of one of the root's, as Istio decides it: without looking into regular
/// expressions, and more strictly than need be where one side asks for mere presence.
fn is_part(leaf: &HttpMatch, root: &HttpMatch) -> bool {
    let single = [
        (&leaf.uri, &root.uri),
        (&leaf.scheme, &root.scheme),
        (&leaf.method, &root.method),
        (&leaf.authority, &root.authority),
    ];
    let maps = [
        (&leaf.headers, &root.headers),
        (&leaf.without_headers, &root.without_headers),
        (&leaf.query_params, &root.query_params),
    ];
    let named = |(leaf, root): (&BTreeMap<String, StringMatch>, &BTreeMap<String, StringMatch>)| {
        leaf.iter().all(|(name, leaf)| root.get(name).is_none_or(|root| is_narrower(leaf, root)))
    };
    single.into_iter().all(|(leaf, root)| both(leaf, root).is_none_or(|(leaf, root)| is_narrower(leaf, root)))
        && maps.into_iter().all(named)
        && leaf.ignore_uri_case == root.ignore_uri_case
        && (root.port == 0 || leaf.port == 0 || root.port == leaf.port)
        && (root.source_namespace.is_empty() || leaf.source_namespace == root.source_namespace)
        && leaf.source_labels.iter().all(|(name, leaf)| root.source_labels.get(name).is_none_or(|root| root == leaf))
        && (root.gateways.is_empty() || leaf.gateways.iter().all(|gateway| root.gateways.contains(gateway)))
}

fn both<'m>(
    leaf: &'m Option<StringMatch>,
    root: &'m Option<StringMatch>,
) -> Option<(&'m StringMatch, &'m StringMatch)> {
    leaf.as_ref().zip(root.as_ref())
}

fn is_narrower(leaf: &StringMatch, root: &StringMatch) -> bool {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (leaf_exact, leaf_prefix) = (said(&leaf.exact), said(&leaf.prefix));
    let has_regex = said(&leaf.regex).is_some() || said(&root.regex).is_some();
    match (said(&root.exact), said(&root.prefix)) {
        _ if has_regex => false,
        (Some(exact), _) => leaf_prefix.is_none() && leaf_exact == Some(exact),
        (None, Some(prefix)) => leaf_prefix.or(leaf_exact).is_some_and(|leaf| leaf.starts_with(&prefix)),
        (None, None) => false,
    }
}

/// All that either side asks for, the delegate's word before the root's.
fn join(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    let mut both = leaf.clone();
    both.uri = both.uri.or_else(|| root.uri.clone());
    both.scheme = both.scheme.or_else(|| root.scheme.clone());
    both.method = both.method.or_else(|| root.method.clone());
    both.authority = both.authority.or_else(|| root.authority.clone());
    add(&mut both.headers, &root.headers);
    add(&mut both.without_headers, &root.without_headers);
    add(&mut both.query_params, &root.query_params);
    add(&mut both.source_labels, &root.source_labels);
    if both.port == 0 {
        both.port = root.port;
    }
    if both.source_namespace.is_empty() {
        both.source_namespace.clone_from(&root.source_namespace);
    }
    if both.gateways.is_empty() {
        both.gateways.clone_from(&root.gateways);
    }
    both
}

fn add<T: Clone>(to: &mut BTreeMap<String, T>, more: &BTreeMap<String, T>) {
    for (name, value) in more {
        to.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

/// Gives a rule what it does not say itself, and names those fields. An answer of the gateway's own has no use for what
/// is about forwarding.
fn inherit(root: &HttpRoute, rule: &mut HttpRoute, full_host: impl Fn(&str) -> String) -> Vec<&'static str> {
    let mut inherited = Vec::new();
    let mut take = |taken: bool, field: &'static str| inherited.extend(taken.then_some(field));
    take(fill(&mut rule.cors_policy, &root.cors_policy), "corsPolicy");
    take(fill(&mut rule.headers, &root.headers), "headers");
    // A redirect goes before an answer, and that before forwarding.
    let is_open = rule.redirect.is_none() && rule.delegate.is_none();
    let answered = is_open && fill(&mut rule.direct_response, &root.direct_response);
    take(answered, "directResponse");
    if answered {
        forget_forwarding(rule);
    }
    if rule.redirect.is_some() || rule.direct_response.is_some() {
        return inherited;
    }
    take(fill(&mut rule.rewrite, &root.rewrite), "rewrite");
    take(fill(&mut rule.timeout, &root.timeout), "timeout");
    take(fill(&mut rule.retries, &root.retries), "retries");
    take(fill(&mut rule.fault, &root.fault), "fault");
    // Short names are completed relative to the object that they stand in.
    let full = |destination: &mut Destination| destination.host = full_host(&destination.host);
    let mirror = fill(&mut rule.mirror, &root.mirror);
    take(mirror, "mirror");
    rule.mirror.iter_mut().filter(|_| mirror).for_each(full);
    let mirrors = rule.mirrors.is_empty() && !root.mirrors.is_empty();
    take(mirrors, "mirrors");
    if mirrors {
        rule.mirrors.clone_from(&root.mirrors);
        rule.mirrors.iter_mut().filter_map(|mirror| mirror.destination.as_mut()).for_each(full);
    }
    if rule.mirror.is_some() && rule.mirror_percent.is_none() && rule.mirror_percentage.is_none() {
        take(fill(&mut rule.mirror_percentage, &root.mirror_percentage), "mirrorPercentage");
        take(fill(&mut rule.mirror_percent, &root.mirror_percent), "mirrorPercent");
    }
    // In one rule the two exclude each other, but not when each of them is another's.
    if mirror != mirrors {
        join_mirrors(rule);
    }
    inherited
}

/// What a rule says of forwarding, which its root's answer leaves without effect.
fn forget_forwarding(rule: &mut HttpRoute) {
    *rule = HttpRoute {
        name: std::mem::take(&mut rule.name),
        r#match: std::mem::take(&mut rule.r#match),
        direct_response: rule.direct_response.take(),
        cors_policy: rule.cors_policy.take(),
        headers: rule.headers.take(),
        ..HttpRoute::default()
    };
}

/// Puts `mirror` behind `mirrors`, if there are both.
fn join_mirrors(rule: &mut HttpRoute) {
    if rule.mirrors.is_empty() {
        return;
    }
    if let Some(destination) = rule.mirror.take() {
        #[expect(clippy::cast_precision_loss, reason = "percentages are small")]
        let deprecated = rule.mirror_percent.take().map(|percent| Percent { value: percent as f64 });
        let percentage = rule.mirror_percentage.take().or(deprecated);
        rule.mirrors.push(HttpMirror { destination: Some(destination), percentage });
    }
}

fn fill<T: Clone>(own: &mut Option<T>, root: &Option<T>) -> bool {
    let taken = own.is_none() && root.is_some();
    if taken {
        own.clone_from(root);
    }
    taken
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn matches(said: Value) -> Vec<HttpMatch> {
        serde_json::from_value(said).expect("legal matches")
    }

    /// Positions of the matches that one was joined from.
    type From = (Option<usize>, Option<usize>);

    fn merged(root: Value, leaves: Value) -> Result<Vec<From>, usize> {
        let all = merge_all(&normalised(&matches(root), "default"), &normalised(&matches(leaves), "default"))?;
        Ok(all.iter().map(|merged| (merged.root, merged.leaf)).collect())
    }

    #[test]
    fn a_delegates_match_must_be_part_of_one_of_the_roots() {
        let page = || json!([{ "uri": { "prefix": "/page" } }]);
        let two = || json!([{ "uri": { "prefix": "/page" } }, { "uri": { "prefix": "/reviews" } }]);
        let one = |root, leaf| Ok(vec![(root, leaf)]);
        assert_eq!(merged(json!([]), json!([])), Ok(vec![]));
        assert_eq!(merged(page(), json!([])), one(Some(0), None));
        assert_eq!(merged(json!([]), page()), one(None, Some(0)));
        assert_eq!(merged(page(), json!([{ "uri": { "exact": "/page/v1" } }])), one(Some(0), Some(0)));
        assert_eq!(merged(page(), json!([{ "uri": { "prefix": "/pages" } }])), one(Some(0), Some(0)));
        assert_eq!(merged(page(), json!([{ "uri": { "prefix": "/pa" } }])), Err(0));
        assert_eq!(merged(page(), json!([{ "uri": { "exact": "/page/v1" } }, { "uri": { "exact": "/x" } }])), Err(1));
        assert_eq!(
            merged(two(), json!([{ "uri": { "exact": "/page/v1" } }, { "uri": { "exact": "/reviews/v1" } }])),
            Ok(vec![(Some(0), Some(0)), (Some(1), Some(1))])
        );
        assert_eq!(
            merged(two(), json!([{ "method": { "exact": "GET" } }])),
            Ok(vec![(Some(0), Some(0)), (Some(1), Some(0))])
        );
        let exact = || json!([{ "uri": { "exact": "/page" } }]);
        assert_eq!(merged(exact(), exact()), one(Some(0), Some(0)));
        assert_eq!(merged(exact(), page()), Err(0));
        let header = |value: &str| json!([{ "headers": { "h": { "exact": value } } }]);
        assert_eq!(merged(header("1"), header("2")), Err(0));
        assert_eq!(merged(header("1"), json!([{ "headers": { "g": { "exact": "2" } } }])), one(Some(0), Some(0)));
        assert_eq!(merged(json!([{ "port": 80 }]), json!([{ "port": 90 }])), Err(0));
        assert_eq!(merged(json!([{ "port": 80 }]), page()), one(Some(0), Some(0)));
        assert_eq!(merged(page(), json!([{ "uri": { "exact": "/page" }, "ignoreUriCase": true }])), Err(0));
        let regex = || json!([{ "uri": { "regex": "/page.*" } }]);
        assert_eq!(merged(regex(), json!([{ "uri": { "prefix": "/page" } }])), Err(0));
        assert_eq!(merged(page(), regex()), Err(0));
        assert_eq!(merged(regex(), json!([{ "method": { "exact": "GET" } }])), one(Some(0), Some(0)));
        assert_eq!(
            merged(json!([{ "gateways": ["a", "mesh"] }]), json!([{ "gateways": ["default/a"] }])),
            one(Some(0), Some(0))
        );
        assert_eq!(merged(json!([{ "gateways": ["a"] }]), json!([{ "gateways": ["b"] }])), Err(0));
        assert_eq!(merged(json!([{ "sourceNamespace": "a" }]), page()), Err(0));
        assert_eq!(
            merged(json!([{ "sourceLabels": { "a": "1" } }]), json!([{ "sourceLabels": { "a": "2" } }])),
            Err(0)
        );
    }

    #[test]
    fn the_two_are_joined() {
        let root = json!([{ "uri": { "prefix": "/page" }, "headers": { "h": { "exact": "1" } }, "port": 8080,
            "authority": { "exact": "a.test" }, "queryParams": { "q": { "exact": "1" } } }]);
        let leaf = json!([{ "uri": { "exact": "/page/v1" }, "headers": { "g": {} }, "withoutHeaders": { "w": {} } }]);
        let all = merge_all(&matches(root), &matches(leaf)).unwrap();
        let joined = &all[0].said;
        assert_eq!(joined.uri.as_ref().unwrap().exact.as_deref(), Some("/page/v1"));
        assert_eq!(joined.authority.as_ref().unwrap().exact.as_deref(), Some("a.test"));
        assert_eq!((joined.headers.len(), joined.without_headers.len(), joined.query_params.len()), (2, 1, 1));
        assert_eq!(joined.port, 8080);
    }

    #[test]
    fn what_is_unsaid_comes_from_the_root() {
        let read = |said: Value| serde_json::from_value::<HttpRoute>(said).expect("a legal rule");
        let root = read(json!({ "timeout": "10s", "retries": { "attempts": 1 }, "mirror": { "host": "shadow" },
            "mirrorPercentage": { "value": 5.0 }, "rewrite": { "uri": "/" }, "delegate": { "name": "d" } }));
        let inherited = |said: Value| {
            let mut rule = read(said);
            let fields = inherit(&root, &mut rule, |host| format!("{host}.full"));
            (fields, rule)
        };
        let (fields, rule) = inherited(json!({ "timeout": "1s", "route": [{}] }));
        assert_eq!(fields, ["rewrite", "retries", "mirror", "mirrorPercentage"]);
        assert_eq!((rule.timeout.as_deref(), rule.mirror.unwrap().host.as_str()), (Some("1s"), "shadow.full"));
        let (fields, rule) = inherited(json!({ "mirrors": [{}], "rewrite": {}, "retries": {} }));
        assert_eq!(fields, ["timeout", "mirror", "mirrorPercentage"]);
        assert_eq!((rule.mirror.is_none(), rule.mirrors.len(), rule.mirror_percentage.is_none()), (true, 2, true));
        assert!(inherited(json!({ "redirect": {} })).0.is_empty());
    }
}
