//! What was read of objects in the translation before, so that of ten thousand objects only those that changed are read
//! again.
//!
//! It answers only for the very objects that it was made of, and therefore makes a translation faster, never another. The
//! first translation of an instance remembers nothing: most instances are never asked again.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::Strictness;
use crate::bindings::routes::exports::sekisho::gateway::translator;
use crate::{Finding, Object};

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// What was read of the objects of one instance.
#[derive(Default)]
struct Memory {
    /// How often objects were translated.
    translations: u64,
    read: HashMap<(TypeId, Strictness), HashMap<*const translator::Object, Read>>,
}

struct Read {
    /// Held, so that no other object takes its place in memory.
    _object: Object,
    /// None where the object cannot be read.
    value: Option<Rc<dyn Any>>,
    findings: Vec<Finding>,
    /// The translation that last asked for it.
    used: u64,
}

/// Makes one translation with what is remembered; what it does not ask for is forgotten.
pub(crate) fn translating<R>(translate: impl FnOnce() -> R) -> R {
    MEMORY.with_borrow_mut(|memory| memory.translations += 1);
    let translated = translate();
    MEMORY.with_borrow_mut(|memory| {
        let now = memory.translations;
        memory.read.values_mut().for_each(|read| read.retain(|_, read| read.used == now));
    });
    translated
}

/// Whether what would only be remembered may take memory. That of an instance is bounded (64 MiB, unless the operator says
/// otherwise), and what it needs for a translation comes first.
pub(crate) fn has_room() -> bool {
    #[cfg(target_family = "wasm")]
    const MOST_PAGES: usize = 40 * 16;
    #[cfg(target_family = "wasm")]
    return core::arch::wasm32::memory_size::<0>() < MOST_PAGES;
    #[cfg(not(target_family = "wasm"))]
    true
}

/// What `read` makes of an object, or made of it before.
pub(super) fn recall<T: 'static>(
    object: &Object,
    strictness: Strictness,
    findings: &mut Vec<Finding>,
    read: impl FnOnce(&mut Vec<Finding>) -> Option<T>,
) -> Option<Rc<T>> {
    let of = (TypeId::of::<T>(), strictness);
    let recalled = MEMORY.with_borrow_mut(|memory| {
        let now = memory.translations;
        let known = memory.read.get_mut(&of)?.get_mut(&object.identity())?;
        known.used = now;
        findings.extend(known.findings.iter().cloned());
        Some(known.value.clone())
    });
    if let Some(value) = recalled {
        return value.and_then(|value| value.downcast().ok());
    }
    let mut said = Vec::new();
    let value = read(&mut said).map(Rc::new);
    findings.extend(said.iter().cloned());
    MEMORY.with_borrow_mut(|memory| {
        if memory.translations > 1 && has_room() {
            let any = value.clone().map(|value| value as Rc<dyn Any>);
            let read = Read { _object: object.clone(), value: any, findings: said, used: memory.translations };
            memory.read.entry(of).or_default().insert(object.identity(), read);
        }
    });
    value
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::objects::finding;
    use crate::{ObjectKey, Severity};

    struct Length(usize);

    fn object(name: &str, json: &str) -> Object {
        Object::new(ObjectKey::new("example.com", "Thing", "default", name), "v1", json.as_bytes().to_vec())
    }

    /// Reads them in a translation; their lengths, how many had to be read, and what was said.
    fn translate(objects: &[Object]) -> (Vec<Option<usize>>, usize, usize) {
        let (read, mut findings) = (Cell::new(0), Vec::new());
        let lengths = translating(|| {
            let mut length = |object: &Object| {
                recall(object, Strictness::Whole, &mut findings, |findings| {
                    read.set(read.get() + 1);
                    findings.push(finding(Severity::Info, "read", &object.key, "", ""));
                    (!object.json.is_empty()).then_some(Length(object.json.len()))
                })
            };
            objects.iter().map(|object| length(object).map(|length| length.0)).collect()
        });
        (lengths, read.get(), findings.len())
    }

    #[test]
    fn what_did_not_change_is_not_read_again() {
        let (a, b, changed) = (object("a", "1"), object("b", ""), object("a", "22"));
        let both = [a, b.clone()];
        assert_eq!(translate(&both), (vec![Some(1), None], 2, 2));
        assert_eq!(translate(&both), (vec![Some(1), None], 2, 2), "the first leaves nothing behind");
        assert_eq!(translate(&both), (vec![Some(1), None], 0, 2), "but what was said is said again");
        assert_eq!(translate(&[changed.clone(), b]), (vec![Some(2), None], 1, 2));
        assert_eq!(translate(std::slice::from_ref(&changed)), (vec![Some(2)], 0, 1));
        assert_eq!(translate(&both), (vec![Some(1), None], 2, 2), "what nobody asked for is forgotten");
    }
}
