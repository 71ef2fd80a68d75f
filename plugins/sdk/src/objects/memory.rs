//! What was made of objects in the translation before, so that of ten thousand objects only those that changed are read and
//! understood again.
//!
//! It answers only for the very objects that it was made of, and therefore makes a translation faster, never another. The
//! first translation of an instance remembers nothing: most instances are never asked again.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::rc::Rc;

use crate::bindings::routes::exports::sekisho::gateway::translator;
use crate::{Environment, Map, Object};

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// What was made of the objects of one instance.
#[derive(Default)]
struct Memory {
    /// How often objects were translated.
    translations: u64,
    basis: Option<Basis>,
    /// How many values are being made, one for the other.
    making: usize,
    kept: Map<TypeId, Map<*const translator::Object, Kept>>,
}

struct Kept {
    /// Held, so that no other object takes its place in memory.
    _object: Object,
    value: Rc<dyn Any>,
    /// The translation that last asked for it.
    used: u64,
}

/// What a translation looks at besides the object in hand. Two are equal when they are of the very same objects, in an
/// environment that says the same.
#[derive(Clone, Debug)]
pub struct Basis(Rc<Ground>);

#[derive(Debug)]
struct Ground {
    environment: Environment,
    objects: Vec<Object>,
}

impl Basis {
    /// The basis of these objects, in their order. A translation has one: it is compared with the one before.
    pub fn new<'o>(environment: &Environment, objects: impl IntoIterator<Item = &'o Object>) -> Self {
        let objects: Vec<_> = objects.into_iter().cloned().collect();
        MEMORY.with_borrow_mut(|memory| {
            let known = memory.basis.take().filter(|Self(before)| {
                let same = |(a, b): (&Object, &Object)| a.identity() == b.identity();
                before.environment == *environment
                    && before.objects.len() == objects.len()
                    && before.objects.iter().zip(&objects).all(same)
            });
            let ground = || Self(Rc::new(Ground { environment: environment.clone(), objects }));
            memory.basis.insert(known.unwrap_or_else(ground)).clone()
        })
    }
}

impl PartialEq for Basis {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// Makes one translation with what is remembered; what it does not ask for is forgotten.
pub(crate) fn translating<R>(translate: impl FnOnce() -> R) -> R {
    MEMORY.with_borrow_mut(|memory| memory.translations += 1);
    let translated = translate();
    MEMORY.with_borrow_mut(|memory| {
        let now = memory.translations;
        memory.kept.values_mut().for_each(|kept| kept.retain(|_, kept| kept.used == now));
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

/// What `make` makes of an object, or made of it in the translation before, if that `holds` still.
///
/// Besides the object, `make` may look at nothing that `holds` does not see to: that everything else is the same can be
/// told by a [`Basis`]. What `make` itself asks for here or reads is remembered only as a part of what it makes.
pub fn remember<T: 'static>(object: &Object, holds: impl FnOnce(&T) -> bool, make: impl FnOnce() -> T) -> Rc<T> {
    let of = TypeId::of::<T>();
    let known = MEMORY.with_borrow_mut(|memory| {
        let now = memory.translations;
        let kept = memory.kept.get_mut(&of)?.get_mut(&object.identity())?;
        kept.used = now;
        Rc::clone(&kept.value).downcast().ok()
    });
    if let Some(known) = known.filter(|known| holds(known)) {
        return known;
    }
    MEMORY.with_borrow_mut(|memory| memory.making += 1);
    let value = Rc::new(make());
    MEMORY.with_borrow_mut(|memory| {
        memory.making -= 1;
        let of = memory.kept.entry(of).or_default();
        if memory.making == 0 && memory.translations > 1 && has_room() {
            let kept = Kept { _object: object.clone(), value: Rc::clone(&value) as _, used: memory.translations };
            of.insert(object.identity(), kept);
        } else {
            of.remove(&object.identity());
        }
    });
    value
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::ObjectKey;

    struct Length(usize);

    fn object(name: &str, json: &str) -> Object {
        Object::new(ObjectKey::new("example.com", "Thing", "default", name), "v1", json.as_bytes().to_vec())
    }

    /// Their lengths in a translation, and how many had to be measured.
    fn translate(objects: &[Object], holds: bool) -> (Vec<usize>, usize) {
        let measured = Cell::new(0);
        let measure = |object: &Object| {
            measured.set(measured.get() + 1);
            Length(object.json.len())
        };
        let lengths = translating(|| {
            let length = |object: &Object| remember(object, |_: &Length| holds, || measure(object)).0;
            objects.iter().map(length).collect()
        });
        (lengths, measured.get())
    }

    #[test]
    fn what_did_not_change_is_not_made_again() {
        let (a, b, changed) = (object("a", "1"), object("b", ""), object("a", "22"));
        let both = [a, b.clone()];
        assert_eq!(translate(&both, true), (vec![1, 0], 2));
        assert_eq!(translate(&both, true), (vec![1, 0], 2), "the first leaves nothing behind");
        assert_eq!(translate(&both, true), (vec![1, 0], 0));
        assert_eq!(translate(&[changed.clone(), b], true), (vec![2, 0], 1));
        assert_eq!(translate(std::slice::from_ref(&changed), true), (vec![2], 0));
        assert_eq!(translate(&both, true), (vec![1, 0], 2), "what nobody asked for is forgotten");
        assert_eq!(translate(&both, false), (vec![1, 0], 2), "and what does not hold is made again");
        assert_eq!(translate(&both, true), (vec![1, 0], 0));
    }

    #[test]
    fn a_part_is_remembered_with_the_whole_alone() {
        struct Twice(usize);
        let (object, parts) = (object("a", "1"), Cell::new(0));
        let part = || {
            parts.set(parts.get() + 1);
            Length(object.json.len())
        };
        let whole = || Twice(2 * remember(&object, |_| true, part).0);
        for _ in 0..3 {
            assert_eq!(translating(|| remember(&object, |_| true, whole).0), 2);
        }
        assert_eq!(parts.get(), 2, "the first leaves nothing behind");
        translating(|| remember(&object, |_| true, part));
        assert_eq!(parts.get(), 3);
    }

    #[test]
    fn a_basis_is_the_same_while_all_of_it_is() {
        let (a, b) = (object("a", "1"), object("b", "2"));
        let environment = |class: &str| Environment {
            namespace: "default".to_owned(),
            labels: Vec::new(),
            class_name: class.to_owned(),
            controller_name: "example.com/controller".to_owned(),
            capabilities: Vec::new(),
            config: "null".to_owned(),
        };
        let basis = Basis::new(&environment("a"), [&a, &b]);
        assert_eq!(Basis::new(&environment("a"), [&a, &b]), basis);
        for (environment, objects) in [
            (environment("b"), vec![&a, &b]),
            (environment("a"), vec![&b, &a]),
            (environment("a"), vec![&a]),
            (environment("a"), vec![&a, &object("b", "2")]),
        ] {
            assert_ne!(Basis::new(&environment, objects), basis);
        }
        assert_ne!(Basis::new(&environment("a"), [&a, &b]), basis, "it is compared with the one before only");
    }
}
