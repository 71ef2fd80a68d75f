//! GEP-2257 durations: one to four groups of up to five digits and a unit, such as `1h30m` or `100ms`.

use sekisho_sdk::model::Milliseconds;

const GROUPS: usize = 4;
const DIGITS: usize = 5;

/// Reads a duration.
///
/// # Errors
/// A sentence that says what a duration looks like.
pub(crate) fn parse(text: &str) -> Result<Milliseconds, String> {
    read(text).ok_or_else(|| {
        let form = "up to four whole numbers of at most five digits, each with h, m, s or ms, as in `1h30m`";
        format!("`{text}` is not a duration: {form}")
    })
}

fn read(text: &str) -> Option<Milliseconds> {
    let mut rest = text;
    let mut total = 0;
    for _ in 0..GROUPS {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > DIGITS {
            return None;
        }
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        total += number.parse::<Milliseconds>().ok()? * unit;
        if after.is_empty() {
            return Some(total);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_gep_2257() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("30m1h", 5_400_000),
            ("1m0s500ms", 60_500),
            ("99999h1m1s1ms", 359_996_461_001),
        ] {
            assert_eq!(parse(text), Ok(milliseconds), "{text}");
        }
        for text in ["", "1", "s", "1.5s", "-1s", "1d", "100000s", "1h1m1s1ms1ms", "1 s", "1S", "1us"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
