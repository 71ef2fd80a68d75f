//! Text from outside as it may stand in a log or on a terminal.

/// Longest sentence, in bytes; what is longer is cut.
pub(crate) const SENTENCE: usize = 4 << 10;
/// Longest name.
pub(crate) const NAME: usize = 512;

/// The text cut to `most` bytes, and with everything escaped that would do more on a terminal than stand there.
pub(crate) fn printable(text: impl Into<String>, most: usize) -> String {
    let text = text.into();
    if text.len() <= most && !text.contains(acts) {
        return text;
    }
    let mut printable = String::new();
    for c in text.chars() {
        if printable.len() >= most {
            printable.push('…');
            break;
        }
        if acts(c) { printable.extend(c.escape_default()) } else { printable.push(c) }
    }
    printable
}

/// Control characters, and those that change the direction of what follows.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_and_escaped() {
        assert_eq!(printable("a\u{1b}[31mb\n\u{9b}1m", NAME), "a\\u{1b}[31mb\\n\\u{9b}1m");
        assert_eq!(printable("\u{202e}sdrawkcab", NAME), "\\u{202e}sdrawkcab");
        assert_eq!(printable("関所 é", NAME), "関所 é");
        assert!(printable("é".repeat(SENTENCE), SENTENCE).len() <= SENTENCE + "é…".len());
        assert!(printable("\u{1b}".repeat(SENTENCE), SENTENCE).len() <= SENTENCE + "\\u{1b}…".len());
    }
}
