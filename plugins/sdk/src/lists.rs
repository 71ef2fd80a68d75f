//! Lists of the translation, to whose entries its other parts refer by index.

use std::collections::HashMap;
use std::ops::Index;
use std::rc::Rc;

use crate::model::Cluster;

/// A map of thousands of entries, such as names of objects, in a fraction of the time that the standard library's takes.
/// Its hashes are the same everywhere; in the sandbox, where nothing is random, the standard library's are so too.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// Adds an entry and gives its index.
///
/// # Panics
/// When there are more entries than an index can name, which is more than a plugin has memory for.
pub fn push<T>(list: &mut Vec<T>, entry: impl Into<T>) -> u32 {
    let index = u32::try_from(list.len()).expect("fewer entries than bytes of memory");
    list.push(entry.into());
    index
}

/// The clusters of a translation. Each has a name of its own, so that whoever leads to the same one shares it.
#[derive(Clone, Debug, Default)]
pub struct Clusters {
    list: Vec<Rc<Cluster>>,
    by_name: Map<String, u32>,
}

impl Clusters {
    /// The index of the cluster of this name, if there is one already.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The index of a cluster, which is added unless there is one of its name.
    pub fn add(&mut self, cluster: impl Into<Rc<Cluster>>) -> u32 {
        let cluster = cluster.into();
        if let Some(known) = self.find(&cluster.name) {
            return known;
        }
        let name = cluster.name.clone();
        let index = push(&mut self.list, cluster);
        self.by_name.insert(name, index);
        index
    }

    /// As the translation has them.
    #[must_use]
    pub fn into_list(self) -> Vec<Rc<Cluster>> {
        self.list
    }
}

impl Index<u32> for Clusters {
    type Output = Cluster;

    fn index(&self, index: u32) -> &Cluster {
        &self.list[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ObjectKey;

    #[test]
    fn a_cluster_of_a_known_name_keeps_its_index() {
        let service = |name| ObjectKey::new("", "Service", "default", name);
        let mut clusters = Clusters::default();
        let added = [("a", 80), ("b", 80), ("a", 80), ("a", 81)];
        let added = added.map(|(name, port)| clusters.add(Cluster::of_service(&service(name), port)));
        assert_eq!(added, [0, 1, 0, 2]);
        assert_eq!((clusters.find("default/b:80"), clusters.find("default/b:81")), (Some(1), None));
        assert_eq!(clusters[2].name, "default/a:81");
        assert_eq!(clusters.into_list().len(), 3);
    }
}
