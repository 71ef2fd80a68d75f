//! A place in an object, such as `spec.rules[0].matches[1]`: a chain on the stack that becomes text only when somebody
//! has to read it.

use std::fmt;

/// The spec of any object.
pub(crate) const SPEC: Field<'static> = Field::Root("spec");

/// A place in an object.
#[derive(Clone, Copy)]
pub(crate) enum Field<'p> {
    Root(&'static str),
    Below(&'p Self, &'static str),
    At(&'p Self, usize),
}

impl Field<'_> {
    /// A field of this one.
    pub(crate) fn below(&self, name: &'static str) -> Field<'_> {
        Field::Below(self, name)
    }

    /// An element of this list.
    pub(crate) fn at(&self, index: usize) -> Field<'_> {
        Field::At(self, index)
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => f.write_str(name),
            Self::Below(parent, name) => write!(f, "{parent}.{name}"),
            Self::At(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_operators_write_it() {
        let rule = SPEC.below("rules").at(0).below("matches").at(1).to_string();
        assert_eq!(rule, "spec.rules[0].matches[1]");
    }
}
