//! Secrets by reference: those of servers and those of backends, each once.

use std::collections::HashMap;

use sekisho_sdk::model::Source;

/// The sources of a translation. Whoever names the same secret shares its source.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    list: Vec<Source>,
    known: HashMap<String, u32>,
}

impl Sources {
    /// Its place in the translation.
    pub(crate) fn index(&mut self, source: &Source) -> u32 {
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let key = format!("{:?} {:?}", source.role, source.candidates);
        *self.known.entry(key).or_insert_with(|| {
            self.list.push(source.clone());
            next
        })
    }

    /// The places of several.
    pub(crate) fn indices(&mut self, sources: &[Source]) -> Vec<u32> {
        sources.iter().map(|source| self.index(source)).collect()
    }

    pub(crate) fn list(&self) -> &[Source] {
        &self.list
    }

    pub(crate) fn into_list(self) -> Vec<Source> {
        self.list
    }
}
