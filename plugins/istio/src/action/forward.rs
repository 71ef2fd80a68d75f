//! `route`, and what goes with it: weights, rewrites, time-outs, retries, mirrors.

use sekisho_sdk::model::{self, Balance, Fraction, HeaderOps, Mirror, PathRewrite, RegexSwap, Response, Retry};
use sekisho_sdk::table::{PathRule, check_regex};

use super::{OnServer, PathChange};
use crate::destinations::{Backend, Destinations};
use crate::duration::{self, milliseconds};
use crate::findings::{Findings, Place};
use crate::objects::virtual_service::{Destination, HttpMatch, HttpRewrite, HttpRoute, RegexRewrite};
use crate::{headers, policies, retries};

/// Forwarding, before it is known from which server.
#[derive(Clone, Debug)]
pub(crate) struct Forward {
    targets: Vec<Target>,
    host: Option<String>,
    pub(super) path: PathChange,
    timeout: Option<u64>,
    retry: Option<Retry>,
    /// Where requests are hashed to one endpoint, they are tried again there.
    may_stay: bool,
    mirrors: Vec<(Backend, Fraction)>,
}

#[derive(Clone, Debug)]
struct Target {
    weight: u32,
    backend: Backend,
    host: Option<String>,
    headers: HeaderOps,
}

/// Reads `route` and its companions; none when they cannot be done as written.
pub(super) fn read(
    said: &HttpRoute,
    namespace: &str,
    destinations: &mut Destinations,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Forward> {
    let targets = targets(said, namespace, destinations, at, findings);
    let rewrite = said.rewrite.as_ref().map(|rewrite| read_rewrite(rewrite, &at.field("rewrite"), findings));
    let timeout = match &said.timeout {
        Some(text) => duration::read(text, &at.field("timeout"), findings).map(Some),
        None => Some(None),
    };
    let retry = retries::read(said.retries.as_ref(), at, findings);
    let mirrors = mirrors(said, namespace, destinations, at, findings);
    let (path, authority) = rewrite.unwrap_or(Some((PathChange::None, None)))?;
    if let PathChange::Matched(replacement) = &path {
        report_slashes(&said.r#match, replacement, at, findings);
    }
    if authority.is_some() && said.headers.as_ref().is_some_and(|headers| headers::authorities(headers) > 0) {
        let message = "the authority is rewritten and set by `headers` at once; the rewrite goes first";
        findings.error(&at.field("rewrite").field("authority"), "conflicting-fields", message, "keep one of the two");
    }
    Some(Forward {
        targets: targets?,
        host: authority,
        path,
        timeout: timeout?.map(milliseconds).filter(|timeout| *timeout > 0),
        retry: retry?,
        may_stay: retries::leaves_hosts_open(said.retries.as_ref()),
        mirrors: mirrors?,
    })
}

fn targets(
    said: &HttpRoute,
    namespace: &str,
    destinations: &mut Destinations,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Vec<Target>> {
    let only = said.route.len() == 1;
    let mut legal = true;
    let mut targets = Vec::with_capacity(said.route.len());
    for (index, share) in said.route.iter().enumerate() {
        let at = at.item("route", index);
        let Ok(weight) = u32::try_from(share.weight) else {
            let message = format!("{} is not a weight; the rule answers 500", share.weight);
            findings.error(&at.field("weight"), "invalid-value", message, "write 0 or more");
            legal = false;
            continue;
        };
        let headers = headers::read(share.headers.as_ref(), &at, findings);
        let Some(destination) = &share.destination else {
            findings.error(&at, "missing-field", "the share has no destination; the rule answers 500", "name one");
            legal = false;
            continue;
        };
        // One destination gets everything, whatever its weight; of several, those without a weight get nothing.
        let weight = if only { 1 } else { weight };
        let backend = destinations.resolve(destination, namespace, &at.field("destination"), findings);
        match headers {
            None => legal = false,
            Some(_) if weight == 0 => {}
            Some(headers) => targets.push(Target { weight, backend, host: headers.host, headers: headers.ops }),
        }
    }
    if legal && targets.is_empty() {
        let message = "none of the destinations has a weight; the rule answers 500";
        findings.error(&at.field("route"), "no-weight", message, "give at least one a weight above 0");
        return None;
    }
    legal.then_some(targets)
}

/// Bytes are replaced, not elements: a prefix without its last slash leaves that of what follows.
fn report_slashes(matches: &[HttpMatch], replacement: &str, at: &Place<'_>, findings: &mut Findings) {
    let prefixes: Vec<&str> = matches.iter().filter_map(|one| one.uri.as_ref()?.prefix.as_deref()).collect();
    // With its slash beside it, what follows is the other's.
    let open =
        |prefix: &&&str| prefix.len() > 1 && !prefix.ends_with('/') && !prefixes.contains(&&*format!("{prefix}/"));
    let Some(prefix) = prefixes.iter().find(open) else { return };
    if replacement.ends_with('/') {
        let message =
            format!("`{prefix}/a` becomes `{replacement}/a`, because just the bytes of the prefix are replaced");
        let remedy = format!("match prefix `{prefix}/` and exact `{prefix}` instead");
        findings.warning(&at.field("rewrite").field("uri"), "double-slash", message, &remedy);
    }
}

/// The path's change and the authority.
fn read_rewrite(said: &HttpRewrite, at: &Place<'_>, findings: &mut Findings) -> Option<(PathChange, Option<String>)> {
    let authority = (!said.authority.is_empty()).then(|| said.authority.clone());
    let path = match (said.uri.as_str(), &said.uri_regex_rewrite) {
        ("", None) if authority.is_none() => {
            let message = "the rewrite changes nothing; the rule answers 500";
            findings.error(at, "missing-field", message, "give `uri`, `uriRegexRewrite` or `authority`");
            return None;
        }
        ("", None) => PathChange::None,
        (uri, None) => PathChange::Matched(uri.to_owned()),
        ("", Some(regex)) => PathChange::Fixed(read_regex(regex, &at.field("uriRegexRewrite"), findings)?),
        (_, Some(_)) => {
            let message = "`uri` and `uriRegexRewrite` exclude each other; the rule answers 500";
            findings.error(at, "conflicting-fields", message, "keep one and remove the other");
            return None;
        }
    };
    Some((path, authority))
}

fn read_regex(said: &RegexRewrite, at: &Place<'_>, findings: &mut Findings) -> Option<PathRewrite> {
    if said.r#match.is_empty() || said.rewrite.is_empty() {
        let message = "a rewrite by regular expression needs `match` and `rewrite`; the rule answers 500";
        findings.error(at, "missing-field", message, "give both");
        return None;
    }
    let remedy = "correct it; every match in the path is replaced";
    let checked = check_regex(&said.r#match);
    checked.map_err(|e| findings.error(&at.field("match"), "invalid-regex", e, remedy)).ok()?;
    let substitution = substitution(&said.rewrite);
    if substitution.is_none() {
        let message = "a backslash is followed by the number of a group, or by another; the rule answers 500";
        findings.error(&at.field("rewrite"), "invalid-value", message, "write `\\1` for the first group");
    }
    Some(PathRewrite::Regex(RegexSwap { pattern: said.r#match.clone(), substitution: substitution? }))
}

/// RE2's `\1` as the model's `${1}`; its dollar signs mean themselves.
fn substitution(re2: &str) -> Option<String> {
    let mut text = String::with_capacity(re2.len() + 4);
    let mut rest = re2.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => match rest.next()? {
                digit if digit.is_ascii_digit() => text.extend(["${", digit.encode_utf8(&mut [0; 4]), "}"]),
                '\\' => text.push('\\'),
                _ => return None,
            },
            '$' => text.push_str("$$"),
            other => text.push(other),
        }
    }
    Some(text)
}

fn mirrors(
    said: &HttpRoute,
    namespace: &str,
    destinations: &mut Destinations,
    at: &Place<'_>,
    findings: &mut Findings,
) -> Option<Vec<(Backend, Fraction)>> {
    if said.mirror.is_some() && !said.mirrors.is_empty() {
        let message = "`mirror` and `mirrors` exclude each other; the rule answers 500";
        findings.error(&at.field("mirrors"), "conflicting-fields", message, "keep `mirrors`");
        return None;
    }
    let mut mirrors = Vec::new();
    let mut add = |destination: &Destination, percent: f64, at: &Place<'_>, findings: &mut Findings| {
        let share = policies::fraction(percent, at, findings)?;
        if share.numerator > 0 {
            mirrors.push((destinations.resolve(destination, namespace, at, findings), share));
        }
        Some(())
    };
    if let Some(destination) = &said.mirror {
        if said.mirror_percent.is_some() {
            let message = "`mirrorPercent` is an old form of `mirrorPercentage`";
            let remedy = "write `mirrorPercentage: { value: … }`";
            findings.info(&at.field("mirrorPercent"), "deprecated-field", message, remedy);
        }
        #[expect(clippy::cast_precision_loss, reason = "percentages are small")]
        let deprecated = said.mirror_percent.map(|percent| percent as f64);
        let percent = said.mirror_percentage.as_ref().map(|percent| percent.value).or(deprecated);
        add(destination, percent.unwrap_or(100.0), &at.field("mirror"), findings)?;
    } else if said.mirror_percent.is_some() || said.mirror_percentage.is_some() {
        let message = "a share is mirrored, but to nowhere; the field has no effect";
        findings.warning(&at.field("mirrorPercentage"), "no-effect", message, "name the destination in `mirror`");
    }
    for (index, mirror) in said.mirrors.iter().enumerate() {
        let at = at.item("mirrors", index);
        let Some(destination) = &mirror.destination else {
            findings.error(&at, "missing-field", "the mirror has no destination; the rule answers 500", "name one");
            return None;
        };
        let percent = mirror.percentage.as_ref().map_or(100.0, |percent| percent.value);
        add(destination, percent, &at.field("destination"), findings)?;
    }
    Some(mirrors)
}

impl Forward {
    /// Takes a host that `headers` of the rule set; `rewrite.authority` goes before it.
    pub(crate) fn with_host(mut self, host: Option<String>) -> Self {
        self.host = self.host.or(host);
        self
    }

    pub(super) fn depends_on_server(&self) -> bool {
        let backends = self.targets.iter().map(|target| &target.backend);
        let mut backends = backends.chain(self.mirrors.iter().map(|(backend, _)| backend));
        backends.any(|backend| matches!(backend, Backend::ServerPort { .. }))
    }

    pub(super) fn on(
        &self,
        path: &PathRule,
        server: OnServer,
        destinations: &mut Destinations,
        findings: &mut Findings,
    ) -> model::Forward {
        let targets = self.targets.iter().map(|target| {
            let to = match destinations.on_server(&target.backend, server.port, findings) {
                Some(cluster) => model::Destination::Cluster(cluster),
                None => model::Destination::Respond(Response::status(503)),
            };
            let mut said = model::Target::new(target.weight, to);
            said.headers = target.headers.clone();
            // The rule's host goes before the destination's, in Istio.
            said.host = target.host.clone().filter(|_| self.host.is_none());
            said
        });
        let mut forward = model::Forward::to(targets.collect());
        let mirrors = self.mirrors.iter().filter_map(|(backend, share)| {
            let cluster = destinations.on_server(backend, server.port, findings)?;
            Some(Mirror { cluster, share: *share, host_suffix: "-shadow".to_owned() })
        });
        forward.mirrors = mirrors.collect();
        forward.host = self.host.clone();
        forward.path = self.path.on(path);
        forward.timeout = self.timeout;
        forward.retry = self.retry.clone();
        if let (Some(retry), [target], true) = (&mut forward.retry, &forward.targets[..], self.may_stay)
            && let model::Destination::Cluster(cluster) = target.to
            && matches!(destinations.clusters[cluster as usize].balance, Balance::Hash(_))
        {
            retry.avoid_tried = false;
        }
        forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_are_translated() {
        for (re2, ours) in [
            (r"/\1/x", Some("/${1}/x")),
            (r"\0", Some("${0}")),
            (r"a$1", Some("a$$1")),
            (r"a\\b", Some(r"a\b")),
            (r"a\x", None),
            (r"a\", None),
        ] {
            assert_eq!(substitution(re2).as_deref(), ours, "{re2}");
        }
    }
}
