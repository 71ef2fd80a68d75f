//! What a router answered, kept: `route` is pure (decision 14), so that the same bytes have the same answer for as long
//! as the table is loaded, and a call need not be made twice.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::plugin::Head;

/// Longest question that is kept, in bytes; what is longer seldom comes again.
const MOST_BYTES: usize = 1 << 10;

/// A bounded number of questions with their answers. Two share two places, of which the first is for the one that was
/// asked last: what is asked often stays while others come and go.
#[derive(Default)]
pub(super) struct Decisions {
    /// How many; a power of two, or none.
    most: usize,
    /// None before the first question: most plugins of most gateways are never asked.
    places: Vec<Decision>,
    /// The question that was last looked for.
    asked: Vec<u8>,
    /// The first of its two places.
    at: usize,
    hashing: RandomState,
}

#[derive(Clone, Default)]
struct Decision {
    /// Every byte that the router was given; empty in a place that nothing was put in.
    question: Vec<u8>,
    answer: Option<u32>,
}

impl Decisions {
    /// Room for at least so many answers, which is none for 0.
    pub(super) fn new(most: usize) -> Self {
        Self { most: if most == 0 { 0 } else { most.next_power_of_two().max(2) }, ..Self::default() }
    }

    /// The answer to a question that was asked before.
    pub(super) fn find(&mut self, head: Head<'_>) -> Option<Option<u32>> {
        self.asked.clear();
        if self.most == 0 || !write(head, &mut self.asked) {
            self.asked.clear();
            return None;
        }
        if self.places.is_empty() {
            self.places.resize(self.most, Decision::default());
        }
        let mut hasher = self.hashing.build_hasher();
        hasher.write(&self.asked);
        self.at = usize::try_from(hasher.finish()).unwrap_or(0) & (self.most - 2);
        if self.places[self.at].question != self.asked {
            if self.places[self.at + 1].question != self.asked {
                return None;
            }
            self.places.swap(self.at, self.at + 1);
        }
        Some(self.places[self.at].answer)
    }

    /// Keeps the answer to the question that [`Decisions::find`] did not find just now.
    pub(super) fn keep(&mut self, answer: Option<u32>) {
        if self.asked.is_empty() {
            return;
        }
        // The first becomes the second, and the second is forgotten.
        self.places.swap(self.at, self.at + 1);
        let place = &mut self.places[self.at];
        place.question.clone_from(&self.asked);
        place.answer = answer;
    }
}

/// Every byte of a question, so that no two have the same; false when it is too long.
fn write(head: Head<'_>, to: &mut Vec<u8>) -> bool {
    let Head { listener, host, path, inputs } = head;
    let values = || [host.as_bytes(), path.as_bytes()].into_iter().map(Some).chain(inputs.iter().copied());
    if values().map(|value| value.map_or(0, <[u8]>::len)).sum::<usize>() > MOST_BYTES {
        return false;
    }
    to.extend_from_slice(&listener.to_le_bytes());
    for value in values() {
        // Absent and empty differ.
        let length = value.map_or(u16::MAX, |value| u16::try_from(value.len()).unwrap_or(u16::MAX));
        to.extend_from_slice(&length.to_le_bytes());
        to.extend_from_slice(value.unwrap_or_default());
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    struct Question {
        listener: u32,
        host: String,
        path: String,
        inputs: Vec<Option<Vec<u8>>>,
    }

    /// Few enough values that questions come again, and that one's bytes may be another's with the cuts elsewhere.
    fn question() -> impl Strategy<Value = Question> {
        let value = "[ab]{0,3}";
        let inputs = prop::collection::vec(prop::option::of(prop::collection::vec(0_u8..2, 0..3)), 0..3);
        (0_u32..2, value, value, inputs).prop_map(|(listener, host, path, inputs)| Question {
            listener,
            host,
            path,
            inputs,
        })
    }

    /// A pure router that tells all questions apart.
    #[derive(Default)]
    struct Plain(Vec<String>);

    impl Plain {
        fn route(&mut self, question: &Question) -> Option<u32> {
            let said = format!("{question:?}");
            let at = self.0.iter().position(|known| *known == said).unwrap_or_else(|| {
                self.0.push(said);
                self.0.len() - 1
            });
            // Nothing is an answer too.
            u32::try_from(at).ok().filter(|at| at % 5 != 0)
        }
    }

    proptest! {
        #[test]
        fn answers_are_those_of_the_router(most in 0_usize..40, questions in prop::collection::vec(question(), 1..300)) {
            let (mut decisions, mut plain) = (Decisions::new(most), Plain::default());
            for question in &questions {
                let inputs: Vec<Option<&[u8]>> = question.inputs.iter().map(Option::as_deref).collect();
                let head = Head { listener: question.listener, host: &question.host, path: &question.path, inputs: &inputs };
                let right = plain.route(question);
                match decisions.find(head) {
                    Some(kept) => prop_assert_eq!(kept, right),
                    None => decisions.keep(right),
                }
                prop_assert!(decisions.places.len() <= most.next_power_of_two().max(2));
            }
        }
    }

    fn head(path: &str) -> Head<'_> {
        Head { listener: 0, host: "h", path, inputs: &[] }
    }

    #[test]
    fn what_was_asked_is_not_asked_again() {
        let mut decisions = Decisions::new(8);
        assert_eq!(decisions.find(head("/a")), None);
        decisions.keep(Some(7));
        assert_eq!(decisions.find(head("/a")), Some(Some(7)));
        assert_eq!(decisions.find(head("/b")), None);
        decisions.keep(None);
        assert_eq!(decisions.find(head("/b")), Some(None), "no route is an answer");
    }

    #[test]
    fn what_is_asked_often_stays() {
        let mut decisions = Decisions::new(2);
        assert_eq!(decisions.find(head("/often")), None);
        decisions.keep(Some(1));
        for path in ["/a", "/b", "/c", "/d"] {
            assert_eq!(decisions.find(head(path)), None);
            decisions.keep(None);
            assert_eq!(decisions.find(head("/often")), Some(Some(1)), "after {path}");
        }
    }

    #[test]
    fn what_is_long_is_not_kept() {
        let mut decisions = Decisions::new(8);
        let long = "/".repeat(MOST_BYTES);
        assert_eq!(decisions.find(head(&long)), None);
        decisions.keep(Some(7));
        assert_eq!(decisions.find(head(&long)), None);
        assert_eq!(decisions.find(head("/a")), None, "nor taken for another's");
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let mut decisions = Decisions::new(0);
        assert_eq!(decisions.find(head("/a")), None);
        decisions.keep(Some(7));
        assert_eq!(decisions.find(head("/a")), None);
    }
}
