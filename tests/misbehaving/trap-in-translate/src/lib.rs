//! `translate` traps.

use sekisho_ordinary::Ordinary;
use sekisho_sdk::model::Translation;

/// The plugin.
#[derive(Debug)]
pub struct TrapInTranslate;

impl Ordinary for TrapInTranslate {
    fn translate(_ordinary: Translation, _what: &str) -> Translation {
        panic!("it translates nothing")
    }
}

sekisho_ordinary::export!(TrapInTranslate);
