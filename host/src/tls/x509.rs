//! What a certificate says (X.509, RFC 5280), read strictly: DER only, nothing left over, no field out of place.
//!
//! Not a verifier. It serves what rustls-webpki does not: certificates of version 1, names for logs and status, the
//! judgement of trust anchors, and the frame of a revocation list. Reading never panics and copies nothing.

pub(crate) mod der;
mod extensions;
mod name;
#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod tests;

use der::{Reader, tag};
use extensions::Extensions;
use name::{COMMON_NAME, Part, general_names, name_parts, name_text};

pub(crate) use der::Malformed;
pub(crate) use name::{Name, names_host};

/// A certificate, borrowed from its DER.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    der: &'a [u8],
    signed: Signed<'a>,
    version: u8,
    serial: &'a [u8],
    issuer: &'a [u8],
    not_before: i64,
    not_after: i64,
    subject: &'a [u8],
    spki: &'a [u8],
    key: PublicKey<'a>,
    extensions: Extensions<'a>,
}

impl<'a> Certificate<'a> {
    /// Reads one certificate.
    ///
    /// Versions 1 and 2 must end at the public key, but for the unique identifiers of version 2; the signature
    /// algorithm must be the same inside and outside of what is signed; no extension may come twice.
    ///
    /// # Errors
    /// When the bytes are not exactly one such certificate.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let signed = Signed::parse(der)?;
        let mut tbs = Reader::new(signed.contents);
        let version = match tbs.optional(tag::CONTEXT_0)? {
            None => 1,
            Some(version) => match Reader::new(version).only(tag::INTEGER)? {
                [1] => 2,
                [2] => 3,
                _ => return Err(Malformed("the version is not 1, 2 or 3")),
            },
        };
        let serial = tbs.integer()?;
        if tbs.expect(tag::SEQUENCE)? != signed.algorithm {
            return Err(Malformed("the signature algorithm differs inside and outside of what is signed"));
        }
        let issuer = tbs.expect(tag::SEQUENCE)?;
        let mut validity = Reader::new(tbs.expect(tag::SEQUENCE)?);
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        validity.end()?;
        let subject = tbs.expect(tag::SEQUENCE)?;
        let spki = tbs.expect_whole(tag::SEQUENCE)?;
        let mut extensions = Extensions::default();
        if version > 1 {
            tbs.optional(tag::CONTEXT_1_PRIMITIVE)?;
            tbs.optional(tag::CONTEXT_2_PRIMITIVE)?;
        }
        if version == 3
            && let Some(list) = tbs.optional(tag::CONTEXT_3)?
        {
            extensions = Extensions::parse(Reader::new(list).only(tag::SEQUENCE)?)?;
        }
        tbs.end()?;
        name_parts(issuer)?;
        name_parts(subject)?;
        let key = PublicKey::parse(spki)?;
        Ok(Self { der, signed, version, serial, issuer, not_before, not_after, subject, spki, key, extensions })
    }

    /// The whole certificate.
    #[must_use]
    pub(crate) fn der(&self) -> &'a [u8] {
        self.der
    }

    /// 1, 2 or 3.
    #[must_use]
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// Whether it is of version 1: no version field, nothing behind the public key.
    #[must_use]
    pub(crate) fn is_v1(&self) -> bool {
        self.version == 1
    }

    /// The bytes of the INTEGER: big-endian, two's complement.
    #[must_use]
    pub(crate) fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// What was signed, how, and the signature.
    #[must_use]
    pub(crate) fn signed(&self) -> &Signed<'a> {
        &self.signed
    }

    /// The issuer's name, without the outer SEQUENCE.
    #[must_use]
    pub(crate) fn issuer(&self) -> &'a [u8] {
        self.issuer
    }

    /// The subject's name, without the outer SEQUENCE.
    #[must_use]
    pub(crate) fn subject(&self) -> &'a [u8] {
        self.subject
    }

    /// First second of validity, in seconds since 1970.
    #[must_use]
    pub(crate) fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last second of validity, in seconds since 1970.
    #[must_use]
    pub(crate) fn not_after(&self) -> i64 {
        self.not_after
    }

    /// SubjectPublicKeyInfo, whole: with its SEQUENCE.
    #[must_use]
    pub(crate) fn spki(&self) -> &'a [u8] {
        self.spki
    }

    /// The public key, taken apart.
    #[must_use]
    pub(crate) fn public_key(&self) -> &PublicKey<'a> {
        &self.key
    }

    /// Extensions; all absent below version 3.
    #[must_use]
    pub(crate) fn extensions(&self) -> &Extensions<'a> {
        &self.extensions
    }

    /// The subject alternative names that can be written down: DNS, URI, e-mail and IP, in order.
    #[must_use]
    pub(crate) fn names(&self) -> Vec<Name<'a>> {
        self.extensions.names.map_or_else(Vec::new, |names| general_names(names).unwrap_or_default())
    }

    /// The host names and addresses that it is for, lower case: its subject alternative names, or the common name of one
    /// without any.
    #[must_use]
    pub(crate) fn hosts(&self) -> Vec<String> {
        if !self.has_names() {
            return self.common_name().map(|name| name.to_ascii_lowercase()).into_iter().collect();
        }
        let host = |name: Name<'_>| match name {
            Name::Dns(text) => Some(text.to_ascii_lowercase()),
            Name::Ip(address) => Some(address.to_string()),
            Name::Uri(_) | Name::Email(_) => None,
        };
        self.names().into_iter().filter_map(host).collect()
    }

    /// The URIs among its subject alternative names.
    #[must_use]
    pub(crate) fn uris(&self) -> Vec<String> {
        let uri = |name: Name<'_>| if let Name::Uri(uri) = name { Some(uri.to_owned()) } else { None };
        self.names().into_iter().filter_map(uri).collect()
    }

    /// Whether there are subject alternative names, of whatever kind.
    #[must_use]
    pub(crate) fn has_names(&self) -> bool {
        self.extensions.names.is_some()
    }

    /// Whether its issuer has the name of its subject.
    #[must_use]
    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// The issuer as RFC 2253 and OpenSSL write it.
    #[must_use]
    pub(crate) fn issuer_text(&self) -> String {
        name_text(self.issuer)
    }

    /// The most specific common name of the subject.
    #[must_use]
    pub(crate) fn common_name(&self) -> Option<String> {
        let parts = name_parts(self.subject).unwrap_or_default();
        parts.iter().flatten().rev().find(|part| part.kind == COMMON_NAME).and_then(Part::text)
    }

    /// The subject as RFC 2253 and OpenSSL write it; ASCII only, the rest escaped.
    #[must_use]
    pub(crate) fn subject_text(&self) -> String {
        name_text(self.subject)
    }
}

/// The frame of certificates and revocation lists: contents, algorithm, signature.
#[derive(Clone, Debug)]
pub(crate) struct Signed<'a> {
    /// What is signed, with its SEQUENCE.
    pub(crate) message: &'a [u8],
    contents: &'a [u8],
    /// AlgorithmIdentifier, without its SEQUENCE.
    pub(crate) algorithm: &'a [u8],
    /// The signature's bits, a whole number of bytes.
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut outer = Reader::new(Reader::new(der).only(tag::SEQUENCE)?);
        let message = outer.expect_whole(tag::SEQUENCE)?;
        let contents = Reader::new(message).only(tag::SEQUENCE)?;
        let algorithm = outer.expect(tag::SEQUENCE)?;
        let signature = outer.bytes_of_bits()?;
        outer.end()?;
        Ok(Self { message, contents, algorithm, signature })
    }
}

impl Signed<'_> {
    /// The name of its hash, if that is one that signatures can be forged over.
    #[must_use]
    pub(crate) fn broken_hash(&self) -> Option<&'static str> {
        let id = Reader::new(self.algorithm).expect(tag::OID).ok()?;
        BROKEN.iter().find(|(broken, _)| *broken == id).map(|(_, hash)| *hash)
    }
}

/// Signature algorithms over hashes that are broken.
const BROKEN: [(&[u8], &str); 5] = [
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 2], "MD2"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4], "MD5"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], "SHA-1"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], "SHA-1"),
    (&[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3], "SHA-1"),
];

/// A public key, as SubjectPublicKeyInfo has it.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey<'a> {
    /// AlgorithmIdentifier, without its SEQUENCE.
    pub(crate) algorithm: &'a [u8],
    /// The key's bits, a whole number of bytes.
    pub(crate) bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// rsaEncryption, as the contents of an object identifier.
    pub(crate) const RSA: &'static [u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];

    fn parse(spki: &'a [u8]) -> Result<Self, Malformed> {
        let mut parts = Reader::new(Reader::new(spki).only(tag::SEQUENCE)?);
        let key = Self { algorithm: parts.expect(tag::SEQUENCE)?, bits: parts.bytes_of_bits()? };
        parts.end()?;
        Ok(key)
    }

    /// The bits of the modulus if this is an RSA key; none at all in one that cannot be read.
    #[must_use]
    pub(crate) fn rsa_bits(&self) -> Option<usize> {
        let is_rsa = Reader::new(self.algorithm).expect(tag::OID).is_ok_and(|id| id == Self::RSA);
        let modulus = || {
            let mut key = Reader::new(Reader::new(self.bits).only(tag::SEQUENCE).ok()?);
            der::bit_length(key.integer().ok()?)
        };
        is_rsa.then(|| modulus().unwrap_or_default())
    }
}

/// The frame of a certificate revocation list: who issued it and when. Its entries are rustls-webpki's to read.
#[derive(Clone, Debug)]
pub(crate) struct RevocationList<'a> {
    /// 1 or 2.
    pub(crate) version: u8,
    /// What was signed, how, and the signature.
    pub(crate) signed: Signed<'a>,
    /// The issuer's name, without the outer SEQUENCE.
    pub(crate) issuer: &'a [u8],
    /// When it was made, in seconds since 1970.
    pub(crate) this_update: i64,
    /// When the next one is due, in seconds since 1970.
    pub(crate) next_update: Option<i64>,
}

impl<'a> RevocationList<'a> {
    /// Reads the frame.
    ///
    /// # Errors
    /// When the bytes are not one such list, as far as the frame goes.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, Malformed> {
        let signed = Signed::parse(der)?;
        let mut list = Reader::new(signed.contents);
        let version = match list.optional(tag::INTEGER)? {
            None => 1,
            Some([1]) => 2,
            Some(_) => return Err(Malformed("the version is not 1 or 2")),
        };
        if list.expect(tag::SEQUENCE)? != signed.algorithm {
            return Err(Malformed("the signature algorithm differs inside and outside of what is signed"));
        }
        let issuer = list.expect(tag::SEQUENCE)?;
        name_parts(issuer)?;
        let this_update = list.time()?;
        let next_update = list.has_time().then(|| list.time()).transpose()?;
        Ok(Self { version, signed, issuer, this_update, next_update })
    }

    /// The issuer as RFC 2253 and OpenSSL write it.
    #[must_use]
    pub(crate) fn issuer_text(&self) -> String {
        name_text(self.issuer)
    }
}

/// What status and logs say of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// As RFC 2253 writes it.
    pub subject: String,
    /// Hexadecimal, lower case.
    pub serial: String,
    /// Subject alternative names, or else the common name.
    pub names: Vec<String>,
    /// First second of validity, in seconds since 1970.
    pub not_before: i64,
    /// Last second of validity, in seconds since 1970.
    pub not_after: i64,
    /// 1, 2 or 3.
    pub version: u8,
}

impl From<&Certificate<'_>> for Summary {
    fn from(certificate: &Certificate<'_>) -> Self {
        let mut names: Vec<_> = certificate.names().iter().map(Name::to_string).collect();
        if certificate.extensions.names.is_none() {
            names.extend(certificate.common_name());
        }
        Self {
            subject: certificate.subject_text(),
            serial: der::hex_integer(certificate.serial),
            names,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            version: certificate.version,
        }
    }
}

/// A time as people write it: `2026-11-24T20:25:42Z`.
#[must_use]
pub(crate) fn utc(seconds: i64) -> String {
    der::utc(seconds)
}
