//! Extensions of certificates of version 3, as far as they decide something here.

use super::Malformed;
use super::der::{self, Reader, tag};
use super::name::general_names;

/// The extensions that decide something here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extensions<'a> {
    /// basicConstraints says CA:TRUE.
    pub(crate) is_authority: bool,
    /// keyUsage, where it is present.
    pub(crate) key_usage: Option<KeyUsage>,
    /// extendedKeyUsage, undecoded, where it is present.
    pub(crate) extended_key_usage: Option<&'a [u8]>,
    /// nameConstraints, undecoded, where it is present.
    pub(crate) name_constraints: Option<&'a [u8]>,
    /// A critical extension that is none of those read here.
    pub(crate) has_unknown_critical: bool,
    /// subjectAltName, checked.
    pub(super) names: Option<&'a [u8]>,
    /// authorityInfoAccess, undecoded and unchecked.
    authority_access: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    pub(super) fn parse(list: &'a [u8]) -> Result<Self, Malformed> {
        let mut found = Self::default();
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut list = Reader::new(list);
        while !list.is_empty() {
            let mut extension = Reader::new(list.expect(tag::SEQUENCE)?);
            let id = extension.expect(tag::OID)?;
            let critical = match extension.optional(tag::BOOLEAN)? {
                None => false,
                Some(value) => der::boolean(value)?,
            };
            let value = extension.expect(tag::OCTET_STRING)?;
            extension.end()?;
            if seen.contains(&id) {
                return Err(Malformed("an extension comes twice"));
            }
            seen.push(id);
            let octets = value;
            let mut value = Reader::new(value);
            match id {
                BASIC_CONSTRAINTS => {
                    let mut parts = Reader::new(value.only(tag::SEQUENCE)?);
                    found.is_authority = match parts.optional(tag::BOOLEAN)? {
                        None => false,
                        Some(value) => der::boolean(value)?,
                    };
                    if !parts.is_empty() {
                        parts.integer()?;
                    }
                    parts.end()?;
                }
                KEY_USAGE => found.key_usage = Some(KeyUsage(der::flags(value.only(tag::BIT_STRING)?)?)),
                SUBJECT_ALT_NAME => {
                    let names = value.only(tag::SEQUENCE)?;
                    general_names(names)?;
                    found.names = Some(names);
                }
                EXTENDED_KEY_USAGE => found.extended_key_usage = Some(value.whole()?),
                NAME_CONSTRAINTS => found.name_constraints = Some(value.whole()?),
                AUTHORITY_INFO_ACCESS => {
                    found.authority_access = Some(octets);
                    found.has_unknown_critical |= critical;
                }
                _ => found.has_unknown_critical |= critical,
            }
        }
        Ok(found)
    }

    /// Whether extendedKeyUsage leaves it to servers: absent, or with serverAuth or anyExtendedKeyUsage.
    #[must_use]
    pub(crate) fn serves(&self) -> bool {
        let Some(usage) = self.extended_key_usage else { return true };
        let Ok(mut purposes) = Reader::new(usage).expect(tag::SEQUENCE).map(Reader::new) else { return false };
        std::iter::from_fn(|| purposes.expect(tag::OID).ok()).any(|id| id == SERVER_AUTH || id == ANY_USAGE)
    }

    /// Where the issuer's certificate can be fetched (caIssuers of authorityInfoAccess).
    #[must_use]
    pub(crate) fn issuer_url(&self) -> Option<&'a str> {
        const URI: u8 = 0x86;
        let mut places = Reader::new(Reader::new(self.authority_access?).only(tag::SEQUENCE).ok()?);
        std::iter::from_fn(|| places.expect(tag::SEQUENCE).ok()).find_map(|place| {
            let mut place = Reader::new(place);
            let is_issuer = place.expect(tag::OID).ok()? == CA_ISSUERS;
            let url = std::str::from_utf8(place.expect(URI).ok()?).ok()?;
            (is_issuer && url.bytes().all(|byte| byte.is_ascii_graphic())).then_some(url)
        })
    }
}

/// The bits of keyUsage, the first one lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUsage(u16);

impl KeyUsage {
    /// keyCertSign: may sign certificates.
    #[must_use]
    pub(crate) fn signs_certificates(self) -> bool {
        self.0 & 1 << 5 != 0
    }

    /// cRLSign: may sign revocation lists.
    #[must_use]
    pub(crate) fn signs_revocation_lists(self) -> bool {
        self.0 & 1 << 6 != 0
    }
}

const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 37, 0];
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const CA_ISSUERS: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 2];
