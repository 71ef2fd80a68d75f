//! The translation is larger than any that the host takes.

use sekisho_ordinary::Ordinary;
use sekisho_sdk::model::Translation;

/// The plugin.
#[derive(Debug)]
pub struct HugeTranslation;

impl Ordinary for HugeTranslation {
    fn translate(ordinary: Translation, _what: &str) -> Translation {
        Translation { table: vec![b'a'; 65 << 20], ..ordinary }
    }
}

sekisho_ordinary::export!(HugeTranslation);
