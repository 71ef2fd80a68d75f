//! Names in certificates: distinguished names as text, subject alternative names as what they are.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::Malformed;
use super::der::{self, Reader, tag};

/// A subject alternative name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// A host name, perhaps with a wildcard label.
    Dns(&'a str),
    /// A URI, for instance a SPIFFE identity.
    Uri(&'a str),
    /// An e-mail address.
    Email(&'a str),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) | Self::Uri(text) | Self::Email(text) => f.write_str(text),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// Whether a name in a certificate is that of `host` (RFC 9525): equal, or a wildcard for its first label. Both are
/// lower case.
pub(crate) fn names_host(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(suffix) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
        None => name == host,
    }
}

pub(super) const COMMON_NAME: &[u8] = &[0x55, 0x04, 3];

/// The short names that OpenSSL has for the attributes seen in practice.
const ATTRIBUTES: [(&[u8], &str); 16] = [
    (COMMON_NAME, "CN"),
    (&[0x55, 0x04, 4], "SN"),
    (&[0x55, 0x04, 5], "serialNumber"),
    (&[0x55, 0x04, 6], "C"),
    (&[0x55, 0x04, 7], "L"),
    (&[0x55, 0x04, 8], "ST"),
    (&[0x55, 0x04, 9], "street"),
    (&[0x55, 0x04, 10], "O"),
    (&[0x55, 0x04, 11], "OU"),
    (&[0x55, 0x04, 12], "title"),
    (&[0x55, 0x04, 15], "businessCategory"),
    (&[0x55, 0x04, 17], "postalCode"),
    (&[0x55, 0x04, 42], "GN"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

/// GeneralNames; kinds and bytes that cannot be written down as text are left out.
pub(super) fn general_names(names: &[u8]) -> Result<Vec<Name<'_>>, Malformed> {
    let mut names = Reader::new(names);
    let mut found = Vec::new();
    while !names.is_empty() {
        let (kind, value) = names.any()?;
        let text = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
        found.extend(match (kind, text) {
            (0x81, Some(text)) => Some(Name::Email(text)),
            (0x82, Some(text)) => Some(Name::Dns(text)),
            (0x86, Some(text)) => Some(Name::Uri(text)),
            (0x87, _) => match value.len() {
                4 => <[u8; 4]>::try_from(value).ok().map(|octets| Name::Ip(octets.into())),
                16 => <[u8; 16]>::try_from(value).ok().map(|octets| Name::Ip(octets.into())),
                _ => return Err(Malformed("an IP address of the wrong length")),
            },
            _ => None,
        });
    }
    Ok(found)
}

/// One attribute of a distinguished name.
pub(super) struct Part<'a> {
    pub(super) kind: &'a [u8],
    /// The value with its tag and length.
    whole: &'a [u8],
    tag: u8,
    value: &'a [u8],
}

/// The relative names of a distinguished name, each of one or more attributes.
pub(super) fn name_parts(name: &[u8]) -> Result<Vec<Vec<Part<'_>>>, Malformed> {
    let mut name = Reader::new(name);
    let mut sets = Vec::new();
    while !name.is_empty() {
        let mut set = Reader::new(name.expect(tag::SET)?);
        let mut parts = Vec::new();
        while !set.is_empty() {
            let mut part = Reader::new(set.expect(tag::SEQUENCE)?);
            let kind = part.expect(tag::OID)?;
            let whole = part.whole()?;
            part.end()?;
            let (tag, value) = Reader::new(whole).any()?;
            parts.push(Part { kind, whole, tag, value });
        }
        sets.push(parts);
    }
    Ok(sets)
}

impl Part<'_> {
    /// The value, if it is one of ASN.1's strings.
    pub(super) fn text(&self) -> Option<String> {
        match self.tag {
            tag::UTF8_STRING => String::from_utf8(self.value.to_vec()).ok(),
            tag::NUMERIC_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING | tag::VISIBLE_STRING => {
                self.value.is_ascii().then(|| self.value.iter().map(|byte| char::from(*byte)).collect())
            }
            tag::TELETEX_STRING => Some(self.value.iter().map(|byte| char::from(*byte)).collect()),
            tag::BMP_STRING => {
                let (pairs, []) = self.value.as_chunks::<2>() else { return None };
                String::from_utf16(&pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect::<Vec<_>>()).ok()
            }
            tag::UNIVERSAL_STRING => {
                let (groups, []) = self.value.as_chunks::<4>() else { return None };
                groups.iter().map(|group| char::from_u32(u32::from_be_bytes(*group))).collect()
            }
            _ => None,
        }
    }
}

/// RFC 2253, as `openssl x509 -nameopt RFC2253` prints it: last attribute first, unknown ones as `1.2.3=#hex`.
pub(super) fn name_text(name: &[u8]) -> String {
    let mut text = String::new();
    for set in name_parts(name).unwrap_or_default().iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        for (at, part) in set.iter().rev().enumerate() {
            if at > 0 {
                text.push('+');
            }
            let known = ATTRIBUTES.iter().find(|(kind, _)| *kind == part.kind).map(|(_, name)| *name);
            match (known, part.text()) {
                (Some(name), Some(value)) => {
                    text.push_str(name);
                    text.push('=');
                    escape(&value, &mut text);
                }
                (name, _) => {
                    text.push_str(&name.map_or_else(|| der::dotted(part.kind), str::to_owned));
                    text.push_str("=#");
                    for byte in part.whole {
                        let _infallible = write!(text, "{byte:02X}");
                    }
                }
            }
        }
    }
    text
}

fn escape(value: &str, text: &mut String) {
    let bytes = value.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let edge = at == 0 || at + 1 == bytes.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'#' if at == 0 => text.push_str("\\#"),
            b' ' if edge => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _infallible = write!(text, "\\{byte:02X}");
            }
        }
    }
}
