//! What the host and this instance have in common from the call before: the objects that it gave, and what it was told of
//! them, so that neither hands over again what did not change.

use std::rc::Rc;

use crate::bindings::routes::exports::sekisho::gateway::translator::Given;
use crate::bindings::routes::sekisho::gateway::model as wit;
use crate::model::{Cluster, Route, Translation};
use crate::objects::memory::has_room;
use crate::{Map, Object};

/// The call before.
#[derive(Default)]
pub(crate) struct Last {
    calls: u64,
    objects: Vec<Object>,
    /// Empty where they are not remembered.
    routes: Vec<Rc<Route>>,
    clusters: Vec<Rc<Cluster>>,
}

impl Last {
    /// The objects of a call.
    pub(crate) fn objects(&mut self, given: Vec<Given>) -> Vec<Object> {
        let objects: Vec<Object> = given
            .into_iter()
            .map(|given| match given {
                Given::Same(index) => self.objects[index as usize].clone(),
                Given::New(object) => object.into(),
            })
            .collect();
        self.objects.clone_from(&objects);
        objects
    }

    /// A translation as the host takes it.
    pub(crate) fn record(&mut self, translation: Translation) -> wit::Translation {
        self.calls += 1;
        // The first call of an instance is most often its last.
        let remember = self.calls > 1 && has_room();
        let Translation { bindings, listeners, sources, clusters, routes, streams, findings, table } = translation;
        let routes = listed(&mut self.routes, routes, remember, |route| &route.name);
        let clusters = listed(&mut self.clusters, clusters, remember, |cluster| &cluster.name);
        let routes = routes.into_iter().map(|route| match route {
            Listed::Same(index) => wit::ListedRoute::Same(index),
            Listed::New(route) => wit::ListedRoute::New(Rc::unwrap_or_clone(route)),
        });
        let clusters = clusters.into_iter().map(|cluster| match cluster {
            Listed::Same(index) => wit::ListedCluster::Same(index),
            Listed::New(cluster) => wit::ListedCluster::New(Rc::unwrap_or_clone(cluster)),
        });
        let (routes, clusters) = (routes.collect(), clusters.collect());
        wit::Translation { bindings, listeners, sources, clusters, routes, streams, findings, table }
    }
}

/// A translation as the host takes it from an instance that remembers nothing.
#[doc(hidden)]
#[must_use]
pub fn records(translation: Translation) -> wit::Translation {
    Last::default().record(translation)
}

/// An entry of a list, or the index of one that is equal in the list before.
#[derive(Debug, PartialEq)]
enum Listed<T> {
    Same(u32),
    New(Rc<T>),
}

/// What of a list is not in the one before, in whose place it is remembered; a longer one only where there is room.
fn listed<T: PartialEq>(
    before: &mut Vec<Rc<T>>,
    list: Vec<Rc<T>>,
    remember: bool,
    name: impl Fn(&T) -> &str,
) -> Vec<Listed<T>> {
    if before.is_empty() {
        if remember {
            before.clone_from(&list);
        }
        return list.into_iter().map(Listed::New).collect();
    }
    // Built only where an entry is not where it was.
    let mut by_name: Option<Map<&str, usize>> = None;
    // How far entries have moved.
    let mut moved = 0_isize;
    let mut listed = Vec::with_capacity(list.len());
    for (at, entry) in list.iter().enumerate() {
        let expected = at.checked_add_signed(moved);
        let same = |index: usize| before.get(index).is_some_and(|before| Rc::ptr_eq(before, entry) || before == entry);
        let mut found = expected.filter(|index| same(*index));
        if found.is_none()
            && expected.and_then(|index| before.get(index)).is_none_or(|other| name(other) != name(entry))
        {
            let names = || before.iter().enumerate().map(|(index, before)| (name(before), index)).collect();
            let index = by_name.get_or_insert_with(names).get(name(entry)).copied();
            if let Some(index) = index {
                moved = index.cast_signed() - at.cast_signed();
            }
            found = index.filter(|index| same(*index));
        }
        listed.push(found.and_then(|index| u32::try_from(index).ok()));
    }
    let entries = list.iter().zip(listed).map(|(entry, found)| match found {
        Some(index) => Listed::Same(index),
        None => Listed::New(Rc::clone(entry)),
    });
    let entries = entries.collect();
    *before = if remember || list.len() <= before.len() { list } else { Vec::new() };
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entry = (&'static str, u32);

    fn shared(list: &[Entry]) -> Vec<Rc<Entry>> {
        list.iter().copied().map(Rc::new).collect()
    }

    fn next(before: &mut Vec<Rc<Entry>>, list: &[Entry]) -> Vec<Listed<Entry>> {
        listed(before, shared(list), true, |entry| entry.0)
    }

    #[test]
    fn what_was_there_before_is_named_by_where_it_was() {
        use Listed::Same;
        let new = |name, value| Listed::New(Rc::new((name, value)));
        let mut before = Vec::new();
        assert_eq!(next(&mut before, &[("a", 1), ("b", 2), ("c", 3)]), [new("a", 1), new("b", 2), new("c", 3)]);
        assert_eq!(next(&mut before, &[("a", 1), ("b", 9), ("c", 3)]), [Same(0), new("b", 9), Same(2)]);
        assert_eq!(next(&mut before, &[("b", 9), ("c", 3)]), [Same(1), Same(2)], "one is gone");
        assert_eq!(next(&mut before, &[("x", 0), ("b", 9), ("c", 3)]), [new("x", 0), Same(0), Same(1)]);
        assert_eq!(next(&mut before, &[("c", 3), ("x", 0), ("b", 9)]), [Same(2), Same(0), Same(1)], "in any order");
        assert_eq!(next(&mut before, &[("c", 4), ("c", 3)]), [new("c", 4), Same(0)], "names need not be unique");
        assert_eq!(next(&mut before, &[]), []);
    }

    #[test]
    fn without_room_no_more_is_remembered() {
        let without_room = |before: &mut Vec<Rc<Entry>>, list: &[Entry]| {
            let same = listed(before, shared(list), false, |entry| entry.0);
            same.iter().filter(|listed| matches!(listed, Listed::Same(_))).count()
        };
        let mut before = shared(&[("a", 1), ("b", 2)]);
        assert_eq!(without_room(&mut before, &[("a", 1), ("b", 3)]), 1);
        assert_eq!(without_room(&mut before, &[("a", 1), ("b", 3), ("c", 4)]), 2);
        assert_eq!(without_room(&mut before, &[("a", 1), ("b", 3)]), 0, "that was too long to be remembered");
    }

    #[test]
    fn nothing_is_remembered_of_the_first() {
        let mut before: Vec<Rc<Entry>> = Vec::new();
        assert_eq!(listed(&mut before, shared(&[("a", 1)]), false, |entry| entry.0), [Listed::New(Rc::new(("a", 1)))]);
        assert!(before.is_empty());
    }
}
