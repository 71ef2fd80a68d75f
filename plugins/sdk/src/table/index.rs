//! Which rules of a virtual host a path can meet at all, so that of ten thousand only a few are tried.

use std::ops::Range;

/// The rules of a virtual host by what a path must begin with for them to match.
#[derive(Debug)]
pub(super) struct Index {
    /// All beginnings, one after the other.
    text: String,
    /// One for each beginning, in the order of their bytes.
    groups: Vec<Group>,
    /// The rules of all groups.
    rules: Vec<u32>,
}

/// The rules of one beginning.
#[derive(Debug)]
struct Group {
    /// In `text`.
    beginning: Range<u32>,
    /// In `rules`; there in their own order.
    rules: Range<u32>,
    /// The group of the longest beginning that this one's itself begins with.
    shorter: Option<u32>,
}

impl Index {
    /// From the beginning of each rule, in the order of the rules.
    pub(super) fn new<'r>(beginnings: impl Iterator<Item = &'r str>) -> Self {
        let mut all: Vec<(&str, u32)> = beginnings.zip(0..).collect();
        all.sort();
        let mut index = Self { text: String::new(), groups: Vec::new(), rules: Vec::with_capacity(all.len()) };
        // The groups whose beginnings lie around the one at hand, shortest first.
        let mut around: Vec<(&str, u32)> = Vec::new();
        for equal in all.chunk_by(|(a, _), (b, _)| a == b) {
            let beginning = equal[0].0;
            while around.last().is_some_and(|(shorter, _)| !beginning.starts_with(shorter)) {
                around.pop();
            }
            let shorter = around.last().map(|(_, group)| *group);
            around.push((beginning, position(index.groups.len())));
            let (text, rules) = (position(index.text.len()), position(index.rules.len()));
            index.text.push_str(beginning);
            index.rules.extend(equal.iter().map(|(_, rule)| *rule));
            index.groups.push(Group {
                beginning: text..position(index.text.len()),
                rules: rules..position(index.rules.len()),
                shorter,
            });
        }
        index
    }

    /// The first rule that `matches`, of those that `path` can meet.
    pub(super) fn first(&self, path: &str, matches: impl Fn(usize) -> bool) -> Option<usize> {
        let mut first: Option<u32> = None;
        let mut next = self.nearest(path);
        while let Some(group) = next {
            if path.as_bytes().starts_with(self.beginning(group)) {
                for rule in &self.rules[range(&group.rules)] {
                    if first.is_some_and(|first| first < *rule) {
                        break;
                    }
                    if matches(*rule as usize) {
                        first = Some(*rule);
                        break;
                    }
                }
            }
            next = group.shorter.map(|shorter| &self.groups[shorter as usize]);
        }
        first.map(|rule| rule as usize)
    }

    /// The last group whose beginning is not behind `path`. Every beginning that `path` has lies between itself and
    /// `path`, so that it is this group's, or among those that are shorter.
    fn nearest(&self, path: &str) -> Option<&Group> {
        let behind = self.groups.partition_point(|group| self.beginning(group) <= path.as_bytes());
        self.groups[..behind].last()
    }

    fn beginning(&self, group: &Group) -> &[u8] {
        &self.text.as_bytes()[range(&group.beginning)]
    }
}

fn position(of: usize) -> u32 {
    u32::try_from(of).expect("a table has less than 4 GiB")
}

fn range(of: &Range<u32>) -> Range<usize> {
    of.start as usize..of.end as usize
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::{Condition, Host, PathRule, Rule, ValueRule};
    use crate::RequestHead;

    const VALUES: [&str; 12] = ["", "/", "/a", "/a/", "/a/b", "/ab", "/A", "/a/b/c", "/b", "/ä", "/a/bc", "/b/a"];
    const PATTERNS: [&str; 12] = [
        ".*",
        "/a",
        "/a/[bc]+",
        "/ab?",
        "/a|/b",
        "/(a|b)/c?",
        "(?i)/a/b",
        "/a{0,2}b",
        "/ä+",
        "/a/b/.*",
        "/[^/]+/b",
        r"/a/\w",
    ];
    const PATHS: [&str; 16] =
        ["", "/", "/a", "/a/", "/a/b", "/ab", "/A", "/a/b/c", "/b", "/ä", "/ää", "/a/bc", "/A/B", "/b/a", "/aab", "/é"];

    fn path() -> impl Strategy<Value = PathRule> {
        let value = || select(&VALUES[..]).prop_map(str::to_owned);
        prop_oneof![
            Just(PathRule::Any),
            (value(), any::<bool>()).prop_map(|(value, ignore_case)| PathRule::Exact { value, ignore_case }),
            (value(), any::<bool>()).prop_map(|(value, ignore_case)| PathRule::Prefix { value, ignore_case }),
            value().prop_map(PathRule::Elements),
            select(&PATTERNS[..]).prop_map(|pattern| PathRule::Regex(pattern.to_owned())),
        ]
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let condition = (select(&["1", "2"][..]), any::<bool>()).prop_map(|(value, negated)| Condition {
            input: 0,
            parameter: None,
            value: ValueRule::Exact(value.to_owned()),
            negated,
        });
        (path(), option::of(condition)).prop_map(|(path, condition)| Rule {
            route: 0,
            path,
            conditions: condition.into_iter().collect(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_of_all_rules_is_found(rules in vec(rule(), 0..24), input in option::of(select(&["1", "2"][..]))) {
            let host = Host::compile(None, rules).unwrap();
            for path in PATHS {
                let inputs = vec![input.map(|value| value.as_bytes().to_vec())];
                let head = RequestHead { listener: 0, host: String::new(), path: path.to_owned(), inputs };
                let plain = host.rules.iter().position(|rule| rule.check(&head).is_ok());
                prop_assert_eq!(host.first(&head), plain, "{:?}", path);
            }
        }
    }
}
