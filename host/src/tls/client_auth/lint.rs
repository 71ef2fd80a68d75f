//! What there is to say about trust anchors and revocation lists.

use std::fmt;

use super::super::credential::MIN_RSA_BITS;
use super::super::x509::{Certificate, utc};

/// Why an anchor may not vouch for certificates of version 1. Those of version 3 carry constraints of their own, and
/// webpki takes any anchor for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorFault {
    /// It is not of version 3 itself.
    Version,
    /// basicConstraints does not say CA:TRUE.
    NotAuthority,
    /// keyUsage is there, without keyCertSign.
    KeyUsage,
    /// extendedKeyUsage is there: a certificate of version 1 cannot say that it complies.
    ExtendedKeyUsage,
    /// nameConstraints is there, and a certificate of version 1 has no such names.
    NameConstraints,
    /// A critical extension that is not understood.
    CriticalExtension,
    /// An RSA key under 2048 bits.
    SmallRsa,
}

impl AnchorFault {
    pub(super) fn of(certificate: &Certificate<'_>) -> Option<Self> {
        let extensions = certificate.extensions();
        if certificate.version() != 3 {
            Some(Self::Version)
        } else if !extensions.is_authority {
            Some(Self::NotAuthority)
        } else if extensions.key_usage.is_some_and(|usage| !usage.signs_certificates()) {
            Some(Self::KeyUsage)
        } else if extensions.extended_key_usage.is_some() {
            Some(Self::ExtendedKeyUsage)
        } else if extensions.name_constraints.is_some() {
            Some(Self::NameConstraints)
        } else if extensions.has_unknown_critical {
            Some(Self::CriticalExtension)
        } else if certificate.public_key().rsa_bits().is_some_and(|bits| bits < MIN_RSA_BITS) {
            Some(Self::SmallRsa)
        } else {
            None
        }
    }
}

impl fmt::Display for AnchorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "it is not of X.509 version 3",
            Self::NotAuthority => "it is not marked as a certificate authority (basicConstraints CA:TRUE)",
            Self::KeyUsage => "its keyUsage has no keyCertSign",
            Self::ExtendedKeyUsage => "it has an extendedKeyUsage",
            Self::NameConstraints => "it has nameConstraints",
            Self::CriticalExtension => "it has a critical extension that is not understood",
            Self::SmallRsa => "its RSA key has less than 2048 bits",
        })
    }
}

/// What an operator should know of anchors and revocation lists. Subjects are as RFC 2253 writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustLint {
    /// Left out.
    UnreadableAuthority {
        /// Among those given, from zero.
        index: usize,
    },
    /// Its certificates of version 1 are refused; webpki does not look at an anchor's dates for version 3.
    AuthorityExpired {
        /// Whose certificate.
        subject: String,
        /// Its last second, in seconds since 1970.
        not_after: i64,
    },
    /// As for one that expired.
    AuthorityNotYetValid {
        /// Whose certificate.
        subject: String,
        /// Its first second, in seconds since 1970.
        not_before: i64,
    },
    /// Trusted because it is configured, but its certificate does not call it an authority.
    NotAuthority {
        /// Whose certificate.
        subject: String,
    },
    /// Every certificate that it signed as version 1 is a client, whatever it was made for.
    AcceptsVersion1 {
        /// Whose.
        subject: String,
    },
    /// Certificates of version 1 are accepted, but not of this one.
    RefusesVersion1 {
        /// Whose.
        subject: String,
        /// Why.
        fault: AnchorFault,
    },
    /// There are revocation lists, but none of this authority: every certificate it issued is refused.
    WithoutRevocationList {
        /// Of the authority.
        subject: String,
    },
    /// The list has the name of an authority that did not sign it, and counts for nothing.
    ForeignRevocationList {
        /// As the list says.
        issuer: String,
    },
    /// Every certificate of its issuer is refused.
    RevocationListExpired {
        /// As the list says.
        issuer: String,
        /// When its successor was due, in seconds since 1970.
        next_update: i64,
    },
}

impl fmt::Display for TrustLint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnreadableAuthority { index } => {
                write!(f, "certificate authority {} cannot be read and is left out", index + 1)
            }
            Self::AuthorityExpired { subject, not_after } => {
                write!(f, "the certificate authority {subject:?} expired at {}", utc(*not_after))
            }
            Self::AuthorityNotYetValid { subject, not_before } => {
                write!(f, "the certificate authority {subject:?} is not valid before {}", utc(*not_before))
            }
            Self::NotAuthority { subject } => write!(
                f,
                "{subject:?} is trusted to issue client certificates, but its certificate does not call it an authority"
            ),
            Self::AcceptsVersion1 { subject } => write!(
                f,
                "any certificate of X.509 version 1 by {subject:?} is accepted from clients, those made for servers too"
            ),
            Self::RefusesVersion1 { subject, fault } => {
                write!(f, "client certificates of X.509 version 1 by {subject:?} are refused: {fault}")
            }
            Self::WithoutRevocationList { subject } => write!(
                f,
                "there are revocation lists, but none by {subject:?}: every client certificate it issued is refused"
            ),
            Self::ForeignRevocationList { issuer } => {
                write!(
                    f,
                    "a revocation list names {issuer:?}, which is trusted but did not sign it: it counts for nothing"
                )
            }
            Self::RevocationListExpired { issuer, next_update } => write!(
                f,
                "the revocation list of {issuer:?} expired at {}: every client certificate it issued is refused",
                utc(*next_update)
            ),
        }
    }
}
