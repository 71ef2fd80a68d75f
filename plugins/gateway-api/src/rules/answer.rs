//! What a rule does with a request: forward, redirect or refuse it.

use std::rc::Rc;

use sekisho_sdk::model::{
    Action, Destination, Forward, Fraction, Milliseconds, Mirror, Redirect as ModelRedirect, RedirectPort, Response,
    Retry, RetryOn, Target,
};
use sekisho_sdk::push;

use super::{Entrance, weight};
use crate::backends::{Backend, Backends, Reference, User};
use crate::duration;
use crate::field::Field;
use crate::filters::{Filters, PathChange, Redirect};
use crate::finding::Fault;
use crate::kinds::RouteKind;
use crate::matches::{Match, Path};
use crate::objects::http_route::{BackendRef, Retry as RetrySpec, Rule as Spec, Timeouts};

/// How often to retry when `attempts` is left out.
const DEFAULT_ATTEMPTS: i64 = 1;

/// What a rule does with a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Something is wrong with the rule.
    Refuse,
    Redirect(Redirect),
    /// In place of clusters it has the places of the rule's backends.
    Forward(Box<Forward>, Option<PathChange>),
}

/// Reads what a rule does, and keeps what is wrong with it.
pub(super) struct Reader<'r, 's> {
    pub(super) field: Field<'r>,
    pub(super) user: User<'r>,
    pub(super) backends: &'r mut Backends<'s>,
    pub(super) faults: &'r mut Vec<Fault>,
    pub(super) unresolved: &'r mut Vec<Fault>,
    /// In what is read, backends are called by their places here.
    pub(super) led: Vec<Rc<Backend>>,
}

/// The gRPC status of a backend that is not to be had.
const UNAVAILABLE: u8 = 14;

/// What is said for a backend that leads nowhere.
fn nowhere(kind: RouteKind) -> Response {
    let grpc_status = (kind == RouteKind::Grpc).then_some(UNAVAILABLE);
    Response { grpc_status, ..Response::status(500) }
}

/// Whether there is a cluster that requests are sent to.
fn leads_on(forward: &Forward) -> bool {
    forward.targets.iter().any(|target| matches!(target.to, Destination::Cluster(_)))
}

impl Answer {
    /// Whether the route differs with the prefix that matched.
    pub(super) fn needs_prefix(&self) -> bool {
        self.path().is_some_and(PathChange::needs_prefix)
    }

    fn path(&self) -> Option<&PathChange> {
        match self {
            Self::Refuse => None,
            Self::Redirect(redirect) => redirect.path.as_ref(),
            Self::Forward(_, path) => path.as_ref(),
        }
    }

    /// The port that a redirect names at a listener (HTTPRequestRedirectFilter `port`). Without scheme and port that is
    /// the listener's; when it is the scheme's own, none has to be named, and a client that came by another port (a
    /// port map) is sent back to it.
    pub(super) fn redirect_port(&self, entrance: Entrance) -> Option<RedirectPort> {
        let Self::Redirect(redirect) = self else { return None };
        let https = redirect.scheme.map_or(entrance.https, |scheme| scheme == "https");
        let well_known = if https { 443 } else { 80 };
        Some(match (redirect.port, redirect.scheme) {
            (Some(port), _) if port != well_known => RedirectPort::Number(port),
            (Some(_), _) | (None, Some(_)) => RedirectPort::None,
            (None, None) if entrance.port == well_known => RedirectPort::AsSent,
            (None, None) => RedirectPort::Number(entrance.port),
        })
    }

    /// The backends that requests are led to by the host, by their places.
    pub(super) fn leads(&self) -> impl Iterator<Item = usize> {
        let forward = match self {
            Self::Forward(forward, _) if leads_on(forward) => Some(forward),
            _ => None,
        };
        let targets = forward.into_iter().flat_map(|forward| &forward.targets).filter_map(|target| match target.to {
            Destination::Cluster(backend) => Some(backend),
            Destination::Respond(_) => None,
        });
        let mirrors = forward.into_iter().flat_map(|forward| &forward.mirrors).map(|mirror| mirror.cluster);
        targets.chain(mirrors).map(|backend| backend as usize)
    }

    /// As data for the host, for requests of a match whose prefix is `matched`, leading to these clusters in the order of
    /// [`Answer::leads`].
    pub(super) fn action(
        &self,
        matched: &str,
        port: Option<RedirectPort>,
        clusters: &[u32],
        kind: RouteKind,
    ) -> Action {
        match self {
            Self::Refuse => Action::Respond(nowhere(kind)),
            Self::Forward(forward, path) if leads_on(forward) => {
                let path = path.as_ref().map(|path| path.rewrite(matched));
                let mut forward = Forward { path, ..Forward::clone(forward) };
                let targets = forward.targets.iter_mut().filter_map(|target| match &mut target.to {
                    Destination::Cluster(backend) => Some(backend),
                    Destination::Respond(_) => None,
                });
                let mirrors = forward.mirrors.iter_mut().map(|mirror| &mut mirror.cluster);
                for (backend, cluster) in targets.chain(mirrors).zip(clusters) {
                    *backend = *cluster;
                }
                Action::Forward(forward)
            }
            Self::Forward(..) => Action::Respond(nowhere(kind)),
            Self::Redirect(redirect) => Action::Redirect(ModelRedirect {
                status: redirect.status,
                scheme: redirect.scheme.map(str::to_owned),
                host: redirect.host.clone(),
                port: port.unwrap_or(RedirectPort::None),
                path: redirect.path.as_ref().map(|path| path.rewrite(matched)),
            }),
        }
    }

    /// A prefix can be replaced only where one was matched.
    pub(super) fn check_matches(&self, matches: &[Match], field: Field<'_>) -> Option<Fault> {
        let prefixes = matches.iter().all(|one| matches!(one.path, Path::Prefix(_)));
        (self.needs_prefix() && !prefixes).then(|| {
            let message = "ReplacePrefixMatch needs every match of the rule to be a PathPrefix";
            let remedy = "use ReplaceFullPath, or match by PathPrefix";
            Fault::new("incompatible-filters", format!("{field}.filters"), message, remedy)
                .because("IncompatibleFilters")
        })
    }

    /// What may surprise about a rule that is served.
    pub(super) fn remarks<M>(&self, spec: &Spec<M>, matches: &[Match], field: Field<'_>) -> Vec<Fault> {
        let mut remarks = Vec::new();
        if self.needs_prefix() && matches.len() > 1 {
            let message = "the prefix of whichever match fires is replaced; an API server admits one match only here";
            remarks.push(Fault::new("several-prefixes", format!("{field}.matches"), message, "split the rule"));
        }
        match self {
            Self::Redirect(_) if spec.filters.iter().any(|filter| filter.kind == "RequestMirror") => {
                let message = "requests that are redirected are not mirrored";
                remarks.push(Fault::new("unused-filter", format!("{field}.filters"), message, "remove RequestMirror"));
            }
            Self::Redirect(_)
                if spec.timeouts.is_some() || spec.retry.is_some() || spec.session_persistence.is_some() =>
            {
                let message = "requests that are redirected reach no backend";
                let remedy = "remove `timeouts`, `retry` and `sessionPersistence`";
                remarks.push(Fault::new("unused-field", field, message, remedy));
            }
            Self::Forward(forward, _) if forward.targets.is_empty() => {
                let message = match spec.backend_refs.is_empty() {
                    true => "the rule has no backend and answers 500",
                    false => "all weights are 0, so the rule answers 500",
                };
                remarks.push(Fault::new("no-backend", format!("{field}.backendRefs"), message, "add a backend"));
            }
            _ => {}
        }
        remarks
    }
}

impl Reader<'_, '_> {
    pub(super) fn read<M>(&mut self, spec: &Spec<M>, filters: Filters<'_>) -> Answer {
        let (timeout, per_try) = self.timeouts(spec.timeouts.as_ref());
        let retry = spec.retry.as_ref().and_then(|retry| self.retry(retry, per_try));
        let targets = self.targets(&spec.backend_refs);
        if let Some(redirect) = filters.redirect {
            if !spec.backend_refs.is_empty() {
                let message = "a rule with RequestRedirect cannot have backends";
                let fault = Fault::new(
                    "incompatible-filters",
                    format!("{}.backendRefs", self.field),
                    message,
                    "remove one of the two",
                );
                self.faults.push(fault.because("IncompatibleFilters"));
            }
            return Answer::Redirect(redirect);
        }
        let rule = self.field;
        let list = rule.below("filters");
        let mirrors = filters.mirrors.iter().filter_map(|mirror| {
            let filter = list.at(mirror.index);
            let settings = filter.below("requestMirror");
            match self.lead(mirror.to.into(), settings.below("backendRef")) {
                Ok(cluster) => {
                    let share = Fraction { numerator: mirror.numerator, denominator: mirror.denominator };
                    Some(Mirror { cluster, share, host_suffix: String::new() })
                }
                Err(fault) => {
                    self.unresolved.push(fault);
                    None
                }
            }
        });
        let mirrors = mirrors.collect();
        let (host, path) = filters.rewrite.map_or((None, None), |rewrite| (rewrite.host, rewrite.path));
        // One try is the whole exchange, so without retries the shorter time-out is the only one.
        let timeout = if retry.is_some() { timeout } else { [timeout, per_try].into_iter().flatten().min() };
        Answer::Forward(Box::new(Forward { host, timeout, retry, mirrors, ..Forward::to(targets) }), path)
    }

    /// The place of the backend that the reference at `field` means.
    fn lead(&mut self, reference: Reference<'_>, field: Field<'_>) -> Result<u32, Fault> {
        let backend = self.backends.resolve(reference, self.user, field)?;
        Ok(push(&mut self.led, backend))
    }

    /// The backends with a weight. One that leads nowhere keeps its weight and answers 500.
    fn targets(&mut self, specs: &[BackendRef]) -> Vec<Target> {
        let rule = self.field;
        let list = rule.below("backendRefs");
        let mut targets = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            let field = list.at(index);
            let weight = match weight(spec.weight, field) {
                Ok(weight) => weight,
                Err(fault) => {
                    self.faults.push(fault);
                    continue;
                }
            };
            let filters = Filters::read(&spec.filters, self.user.kind, field.below("filters"), self.faults);
            if let Some(beyond) = filters.beyond_backend() {
                let message = format!("{beyond} is not served on a single backend");
                self.faults.push(Fault::new(
                    "unsupported-filter",
                    format!("{field}.filters"),
                    message,
                    "put the filter on the rule",
                ));
            }
            let known = filters.unresolved.is_empty();
            self.unresolved.extend(filters.unresolved);
            let to = match self.lead(spec.into(), field) {
                Ok(backend) if known => Destination::Cluster(backend),
                Ok(_) => Destination::Respond(nowhere(self.user.kind)),
                Err(fault) => {
                    self.unresolved.push(fault);
                    Destination::Respond(nowhere(self.user.kind))
                }
            };
            if weight > 0 {
                let host = filters.rewrite.and_then(|rewrite| rewrite.host);
                targets.push(Target { headers: filters.headers, host, ..Target::new(weight, to) });
            }
        }
        targets.shrink_to_fit();
        targets
    }

    /// For the whole exchange, and for one try; zero switches a time-out off.
    fn timeouts(&mut self, spec: Option<&Timeouts>) -> (Option<Milliseconds>, Option<Milliseconds>) {
        let Some(spec) = spec else { return (None, None) };
        let request = self.duration(spec.request.as_deref(), "timeouts.request").filter(|time| *time > 0);
        let backend =
            self.duration(spec.backend_request.as_deref(), "timeouts.backendRequest").filter(|time| *time > 0);
        if let (Some(request), Some(backend)) = (request, backend)
            && backend > request
        {
            let message = "one try cannot take longer than the whole request";
            let field = format!("{}.timeouts.backendRequest", self.field);
            self.faults.push(Fault::new("invalid-timeout", field, message, "make it at most `request`"));
        }
        (request, backend)
    }

    fn retry(&mut self, spec: &RetrySpec, per_try: Option<Milliseconds>) -> Option<Retry> {
        let field = format!("{}.retry", self.field);
        let backoff = self.duration(spec.backoff.as_deref(), "retry.backoff");
        let mut statuses = Vec::new();
        for (index, code) in spec.codes.iter().enumerate() {
            match u16::try_from(*code) {
                Ok(status @ 400..=599) => statuses.push(status),
                _ => {
                    let message = format!("{code} is not a status to retry on");
                    self.faults.push(Fault::new(
                        "unsupported-value",
                        format!("{field}.codes[{index}]"),
                        message,
                        "give a number from 400 to 599",
                    ));
                }
            }
        }
        let attempts = match u32::try_from(spec.attempts.unwrap_or(DEFAULT_ATTEMPTS)) {
            Ok(attempts) => attempts,
            Err(_) => {
                let message = "a number of retries cannot be negative, or that great";
                self.faults.push(Fault::new(
                    "unsupported-value",
                    format!("{field}.attempts"),
                    message,
                    "give a small number",
                ));
                0
            }
        };
        let mut on = vec![RetryOn::ConnectFailure, RetryOn::RefusedStream];
        if per_try.is_some() {
            on.push(RetryOn::Timeout);
        }
        let retry = Retry { attempts, on, statuses, per_try, backoff, max_backoff: None, avoid_tried: false };
        (attempts > 0).then_some(retry)
    }

    fn duration(&mut self, text: Option<&str>, below: &str) -> Option<Milliseconds> {
        match duration::parse(text?) {
            Ok(time) => Some(time),
            Err(why) => {
                let field = format!("{}.{below}", self.field);
                self.faults.push(Fault::new("invalid-duration", field, why, "correct it"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(scheme: Option<&'static str>, port: Option<u16>, entrance: (bool, u16)) -> RedirectPort {
        let redirect = Redirect { status: 302, scheme, host: None, port, path: None };
        let entrance = Entrance { gateway: 0, https: entrance.0, port: entrance.1 };
        Answer::Redirect(redirect).redirect_port(entrance).unwrap()
    }

    #[test]
    fn a_redirect_names_a_port_only_when_it_must() {
        use RedirectPort::{AsSent, None as Unnamed, Number};
        let (http, https, http_8080) = ((false, 80), (true, 443), (false, 8080));
        for (scheme, explicit, entrance, expected) in [
            (None, None, http, AsSent),
            (None, None, https, AsSent),
            (None, None, http_8080, Number(8080)),
            (None, Some(80), http, Unnamed),
            (None, Some(80), http_8080, Unnamed),
            (None, Some(8080), http, Number(8080)),
            (Some("https"), None, http, Unnamed),
            (Some("https"), None, http_8080, Unnamed),
            (Some("https"), Some(443), http, Unnamed),
            (Some("https"), Some(8443), http, Number(8443)),
            (Some("http"), None, https, Unnamed),
            (Some("http"), Some(443), https, Number(443)),
        ] {
            assert_eq!(port(scheme, explicit, entrance), expected, "{scheme:?} {explicit:?} at {entrance:?}");
        }
    }
}
