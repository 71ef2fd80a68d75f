//! A bounded number of things at a time.

use std::cell::Cell;
use std::rc::Rc;

/// How many there are now.
#[derive(Debug, Default)]
pub struct Places(Rc<Cell<usize>>);

/// One of them, for as long as it lives.
#[derive(Debug)]
pub struct Place(Rc<Cell<usize>>);

impl Places {
    /// A place for one more, if there are fewer than `most`.
    #[must_use]
    pub fn take(&self, most: usize) -> Option<Place> {
        let taken = self.0.get();
        (taken < most).then(|| {
            self.0.set(taken + 1);
            Place(Rc::clone(&self.0))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let places = Places::default();
        let (first, second) = (places.take(2), places.take(2));
        assert!(first.is_some() && second.is_some() && places.take(2).is_none());
        drop(first);
        assert!(places.take(2).is_some());
        assert!(places.take(0).is_none());
    }
}
