//! `route` calls itself until there is no stack.

use sekisho_ordinary::{MISBEHAVE, Ordinary};

/// The plugin.
#[derive(Debug)]
pub struct DeepRecursion;

impl Ordinary for DeepRecursion {
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        if path == MISBEHAVE { Some(recurse(0)) } else { ordinary }
    }
}

fn recurse(depth: u32) -> u32 {
    // Never, which the compiler is not told.
    if std::hint::black_box(depth) == u32::MAX {
        return depth;
    }
    recurse(depth + 1).wrapping_add(std::hint::black_box(depth))
}

sekisho_ordinary::export!(DeepRecursion);
