//! Objects as the host hands them over.

use std::ops::Deref;
use std::rc::Rc;

use crate::ObjectKey;
use crate::bindings::routes::exports::sekisho::gateway::translator;

/// An object: its `key`, its `version` (of `apiVersion`, without the group) and its `json`. Cheap to clone, and the very
/// same one in the next translation if nothing about it changed.
#[derive(Clone, Debug)]
pub struct Object(Rc<translator::Object>);

impl Object {
    /// An object of this key.
    #[must_use]
    pub fn new(key: ObjectKey, version: &str, json: Vec<u8>) -> Self {
        translator::Object { key, version: version.to_owned(), json }.into()
    }

    /// What tells it from every other one that is held at the same time.
    pub(crate) fn identity(&self) -> *const translator::Object {
        Rc::as_ptr(&self.0)
    }
}

impl From<translator::Object> for Object {
    fn from(object: translator::Object) -> Self {
        Self(Rc::new(object))
    }
}

impl Deref for Object {
    type Target = translator::Object;

    fn deref(&self) -> &translator::Object {
        &self.0
    }
}
