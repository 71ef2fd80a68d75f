//! DER (X.690), as strict as signatures need it: one encoding for each value, nothing left over.

use std::fmt::Write;

/// Why bytes are not what they should be, in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) &'static str);

pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const NUMERIC_STRING: u8 = 0x12;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const VISIBLE_STRING: u8 = 0x1a;
    pub(crate) const UNIVERSAL_STRING: u8 = 0x1c;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    pub(crate) const CONTEXT_3: u8 = 0xa3;
    pub(crate) const CONTEXT_1_PRIMITIVE: u8 = 0x81;
    pub(crate) const CONTEXT_2_PRIMITIVE: u8 = 0x82;
}

/// A cursor over the contents of one value.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes are left over")) }
    }

    /// The next value: its tag and contents.
    pub(crate) fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        const SHORT: Malformed = Malformed("it is cut short");
        let (tag, rest) = self.0.split_first().ok_or(SHORT)?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed("a tag of more than one byte"));
        }
        let (first, mut rest) = rest.split_first().ok_or(SHORT)?;
        let length = match first {
            0..=0x7f => usize::from(*first),
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f)).ok_or(SHORT)?;
                rest = after;
                let length = bytes.iter().fold(0u32, |length, byte| length << 8 | u32::from(*byte));
                if length < 0x80 || bytes[0] == 0 {
                    return Err(Malformed("a length is not in its shortest form"));
                }
                usize::try_from(length).map_err(|_| SHORT)?
            }
            _ => return Err(Malformed("a length that DER does not have")),
        };
        let (value, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok((*tag, value))
    }

    /// The next value with its tag and length.
    pub(crate) fn whole(&mut self) -> Result<&'a [u8], Malformed> {
        let before = self.0;
        self.any()?;
        Ok(&before[..before.len() - self.0.len()])
    }

    /// The contents of the next value, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.any()? {
            (found, value) if found == tag => Ok(value),
            _ => Err(Malformed("a field is missing or of the wrong type")),
        }
    }

    /// As [`Reader::expect`], with tag and length.
    pub(crate) fn expect_whole(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        self.clone().expect(tag)?;
        self.whole()
    }

    /// The contents of the next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.0.first() == Some(&tag) { self.expect(tag).map(Some) } else { Ok(None) }
    }

    /// The contents of the only value, which must have this tag.
    pub(crate) fn only(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        let value = self.expect(tag)?;
        self.end()?;
        Ok(value)
    }

    /// An INTEGER in its shortest form.
    pub(crate) fn integer(&mut self) -> Result<&'a [u8], Malformed> {
        let value = self.expect(tag::INTEGER)?;
        match value {
            [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => {
                Err(Malformed("an integer is not in its shortest form"))
            }
            _ => Ok(value),
        }
    }

    /// A BIT STRING of whole bytes.
    pub(crate) fn bytes_of_bits(&mut self) -> Result<&'a [u8], Malformed> {
        match self.expect(tag::BIT_STRING)? {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(Malformed("a bit string is not of whole bytes")),
        }
    }

    pub(crate) fn has_time(&self) -> bool {
        matches!(self.0.first(), Some(&(tag::UTC_TIME | tag::GENERALIZED_TIME)))
    }

    /// UTCTime or GeneralizedTime, to the second, in UTC; as seconds since 1970.
    pub(crate) fn time(&mut self) -> Result<i64, Malformed> {
        const WRONG: Malformed = Malformed("a time that is none");
        let (tag, value) = self.any()?;
        let (year, rest) = match (tag, value.len()) {
            (tag::UTC_TIME, 13) => {
                let year = number(&value[..2]).ok_or(WRONG)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, &value[2..])
            }
            (tag::GENERALIZED_TIME, 15) => (number(&value[..4]).ok_or(WRONG)?, &value[4..]),
            _ => return Err(WRONG),
        };
        if rest[10] != b'Z' {
            return Err(WRONG);
        }
        let part = |at: usize, range: std::ops::RangeInclusive<i64>| {
            number(&rest[at..at + 2]).filter(|number| range.contains(number)).ok_or(WRONG)
        };
        let month = part(0, 1..=12)?;
        let day = part(2, 1..=days_in(year, month))?;
        let (hour, minute, second) = (part(4, 0..=23)?, part(6, 0..=59)?, part(8, 0..=59)?);
        Ok(((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second)
    }
}

pub(crate) fn boolean(value: &[u8]) -> Result<bool, Malformed> {
    match value {
        [0] => Ok(false),
        [0xff] => Ok(true),
        _ => Err(Malformed("a boolean that DER does not have")),
    }
}

/// The first 16 named bits of a BIT STRING, the first one lowest.
pub(crate) fn flags(value: &[u8]) -> Result<u16, Malformed> {
    const WRONG: Malformed = Malformed("a bit string that DER does not have");
    let (unused, bytes) = value.split_first().ok_or(WRONG)?;
    match bytes.last() {
        None if *unused == 0 => {}
        Some(last) if *unused < 8 && last.trailing_zeros() >= u32::from(*unused) => {}
        _ => return Err(WRONG),
    }
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or_default().reverse_bits());
    Ok(byte(0) | byte(1) << 8)
}

/// The bits of a positive integer.
pub(crate) fn bit_length(integer: &[u8]) -> Option<usize> {
    match integer {
        [0x80..=0xff, ..] => None,
        [0] | [] => Some(0),
        [0, rest @ ..] => Some(rest.len() * 8),
        [first, ..] => Some(integer.len() * 8 - usize::try_from(first.leading_zeros()).ok()?),
    }
}

/// As OpenSSL prints a serial number, in lower case.
pub(crate) fn hex_integer(integer: &[u8]) -> String {
    let mut text = String::new();
    let mut magnitude = integer.to_vec();
    if integer.first().is_some_and(|first| *first >= 0x80) {
        text.push('-');
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
    }
    let skip = usize::from(magnitude.len() > 1 && magnitude[0] == 0);
    for byte in &magnitude[skip..] {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// An object identifier as people write it.
pub(crate) fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut value = 0u128;
    for byte in oid {
        value = value << 7 | u128::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if text.is_empty() {
                let first = (value / 40).min(2);
                let _infallible = write!(text, "{first}.{}", value - 40 * first);
            } else {
                let _infallible = write!(text, ".{value}");
            }
            value = 0;
        }
    }
    text
}

/// A time as people write it: `2026-11-24T20:25:42Z`.
pub(crate) fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970 + days.div_euclid(366).min(days.div_euclid(365));
    while days_before(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_before(year, month + 1) <= days {
        month += 1;
    }
    let day = days - days_before(year, month) + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of the month.
fn days_before(year: i64, month: i64) -> i64 {
    let leap_days = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    years + (1..month).map(|month| days_in(year, month)).sum::<i64>()
}
