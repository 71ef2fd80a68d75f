//! Which of several matches takes a request (HTTPRoute and GRPCRoute, `hostnames` and `matches`): a value with an order,
//! greater wins.

use std::cmp::Reverse;
use std::rc::Rc;

use sekisho_sdk::Age;
use sekisho_sdk::host_name::HostName;

/// The rank of one match among all matches of a virtual host. Fields count from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    /// Of the host name as the route says it: two routes may meet in one virtual host because the listener narrows
    /// both, and then the one that was more specific goes first.
    pub(crate) hostname: Specificity,
    pub(crate) path: PathRank,
    pub(crate) method: bool,
    pub(crate) headers: usize,
    pub(crate) query_params: usize,
    pub(crate) route: Reverse<Rc<Seniority>>,
    pub(crate) rule: Reverse<usize>,
    pub(crate) nth_match: Reverse<usize>,
}

/// How specific a route's host name is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Specificity {
    /// It names none and takes the listener's.
    Inherited,
    Wildcard(usize),
    Exact(usize),
}

/// How specific a path match is, in characters. The place of regular expressions is left to implementations: here they
/// go before prefixes, because behind them a prefix `/` would leave them nothing. So is the place of GRPCRoutes beside
/// HTTPRoutes of the same name: they go first, as they take nothing but gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PathRank {
    Prefix(usize),
    Regex(usize),
    Exact,
    Call { service: usize, method: usize },
}

/// The order of routes that are equal otherwise; the least goes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seniority {
    pub(crate) age: Age,
    /// `namespace/name`, compared as one text as the API says.
    pub(crate) name: String,
}

impl Specificity {
    pub(crate) fn of(host: &HostName) -> Self {
        match host {
            HostName::Any => Self::Inherited,
            HostName::Exact(name) => Self::Exact(name.len()),
            HostName::Subdomains(suffix) | HostName::OneLabel(suffix) => Self::Wildcard(suffix.len()),
        }
    }
}

impl Seniority {
    pub(crate) fn new(created: Option<String>, namespace: &str, name: &str) -> Self {
        Self { age: Age::of(created), name: format!("{namespace}/{name}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Precedence {
        Precedence {
            hostname: Specificity::Exact(7),
            path: PathRank::Prefix(4),
            method: false,
            headers: 0,
            query_params: 0,
            route: Reverse(Rc::new(Seniority::new(Some("2024-01-01T00:00:00Z".to_owned()), "b", "b"))),
            rule: Reverse(1),
            nth_match: Reverse(1),
        }
    }

    fn with(change: impl FnOnce(&mut Precedence)) -> Precedence {
        let mut precedence = base();
        change(&mut precedence);
        precedence
    }

    fn route(created: Option<&str>, namespace: &str, name: &str) -> Reverse<Rc<Seniority>> {
        Reverse(Rc::new(Seniority::new(created.map(str::to_owned), namespace, name)))
    }

    #[test]
    fn each_criterion_beats_all_that_follow() {
        // Each line is better than `base` in one way and worse in the next.
        let better = [
            with(|p| (p.hostname, p.path) = (Specificity::Exact(8), PathRank::Prefix(0))),
            with(|p| (p.path, p.method) = (PathRank::Exact, false)),
            with(|p| p.path = PathRank::Regex(1)),
            with(|p| p.path = PathRank::Prefix(5)),
            with(|p| (p.method, p.headers) = (true, 0)),
            with(|p| (p.headers, p.query_params) = (1, 0)),
            with(|p| (p.query_params, p.route) = (1, route(None, "z", "z"))),
            with(|p| (p.route, p.rule) = (route(Some("2023-12-31T23:59:59Z"), "z", "z"), Reverse(9))),
            with(|p| (p.route, p.rule) = (route(Some("2024-01-01T00:00:00Z"), "b", "a"), Reverse(9))),
            with(|p| (p.rule, p.nth_match) = (Reverse(0), Reverse(9))),
            with(|p| p.nth_match = Reverse(0)),
        ];
        for precedence in better {
            assert!(precedence > base(), "{precedence:?}");
        }
    }

    #[test]
    fn host_names_of_routes_rank_before_paths() {
        let order = [
            Specificity::Inherited,
            Specificity::Wildcard(3),
            Specificity::Wildcard(11),
            Specificity::Exact(3),
            Specificity::Exact(11),
        ];
        assert!(order.is_sorted());
        assert!(with(|p| (p.hostname, p.path) = (Specificity::Wildcard(40), PathRank::Exact)) < base());
    }

    #[test]
    fn paths_rank_by_kind_then_characters() {
        let call = |service, method| PathRank::Call { service, method };
        let order = [PathRank::Prefix(0), PathRank::Prefix(9), PathRank::Regex(2), PathRank::Exact, call(0, 0)];
        assert!(order.is_sorted());
        assert!([call(0, 0), call(0, 9), call(1, 0), call(1, 2)].is_sorted());
    }

    #[test]
    fn routes_that_were_never_in_a_cluster_are_the_youngest() {
        let cluster = Seniority::new(Some("2024-01-01T00:00:00Z".to_owned()), "z", "z");
        let file = Seniority::new(None, "a", "a");
        assert!(cluster < file);
        assert!(Seniority::new(None, "a-b", "x") < Seniority::new(None, "a", "x"), "`-` sorts before `/`");
    }
}
