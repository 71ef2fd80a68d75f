//! What an operator should know of a credential that is served all the same.

use std::collections::HashSet;
use std::fmt;
use std::sync::OnceLock;

use rustls::pki_types::UnixTime;

use super::super::x509::{Certificate, utc};
use super::MIN_RSA_BITS;

const SOON: i64 = 30 * 86_400;

/// One thing to know. Subjects and issuers are as RFC 2253 writes them, indices in the chain count from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lint {
    /// Clients refuse it, or soon will when it is the clock that is wrong.
    Expired {
        /// Whose certificate.
        subject: String,
        /// Its last second, in seconds since 1970.
        not_after: i64,
    },
    /// Clients refuse it until then.
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// Its first second, in seconds since 1970.
        not_before: i64,
    },
    /// Within 30 days.
    ExpiresSoon {
        /// Whose certificate.
        subject: String,
        /// Its last second, in seconds since 1970.
        not_after: i64,
    },
    /// Without a subject alternative name, too: many clients refuse it.
    Version1,
    /// No host among its subject alternative names, although its version has them.
    WithoutNames {
        /// The common name, which few clients still look at, and none where there are other alternative names.
        common_name: Option<String>,
    },
    /// By itself: only who was given it trusts it.
    SelfSigned,
    /// An authority's own certificate, with its key on a gateway.
    Authority,
    /// extendedKeyUsage without serverAuth.
    NotForServers,
    /// Anybody could have made it.
    BrokenHash {
        /// Whose certificate.
        subject: String,
        /// The hash.
        hash: &'static str,
    },
    /// Of an issuer; the leaf's own would be refused.
    SmallRsa {
        /// Whose certificate.
        subject: String,
        /// Of its modulus.
        bits: usize,
    },
    /// The key belongs to a later certificate, which is sent first instead.
    LeafNotFirst {
        /// Where it stood in the chain.
        index: usize,
    },
    /// A certificate was not followed by its issuer. They are sent in order.
    ChainOrder {
        /// The first one out of place.
        index: usize,
    },
    /// A certificate that issued none of the others: one between is missing, or it does not belong there.
    ChainGap {
        /// The first such one.
        index: usize,
        /// Whose it is.
        subject: String,
        /// Whose issuer is not there.
        end: String,
        /// That issuer.
        issuer: String,
    },
    /// The leaf alone, by an issuer that clients can hardly know.
    MissingIntermediate {
        /// The issuer.
        issuer: String,
        /// Where its certificate can be fetched.
        url: String,
    },
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { subject, not_after } => {
                write!(f, "the certificate of {subject:?} expired at {}", utc(*not_after))
            }
            Self::NotYetValid { subject, not_before } => {
                write!(f, "the certificate of {subject:?} is not valid before {}", utc(*not_before))
            }
            Self::ExpiresSoon { subject, not_after } => {
                write!(f, "the certificate of {subject:?} expires at {}", utc(*not_after))
            }
            Self::Version1 => f.write_str(
                "the certificate is of X.509 version 1, without subject alternative names: many clients refuse it",
            ),
            Self::WithoutNames { common_name: Some(name) } => write!(
                f,
                "the certificate has no subject alternative names, only the common name {name:?}: most clients refuse it"
            ),
            Self::WithoutNames { common_name: None } => {
                f.write_str("the certificate has no host among its subject alternative names: clients refuse it")
            }
            Self::SelfSigned => {
                f.write_str("the certificate is signed by itself: only clients that were given it trust it")
            }
            Self::Authority => f.write_str(
                "the certificate is one of an authority (CA:TRUE): many clients refuse it from a server, and whoever \
                 gets this key can issue certificates that the others trust",
            ),
            Self::NotForServers => {
                f.write_str("the certificate's extendedKeyUsage does not have serverAuth: clients refuse it")
            }
            Self::BrokenHash { subject, hash } => {
                write!(f, "the certificate of {subject:?} is signed over {hash}, which is broken: clients refuse it")
            }
            Self::SmallRsa { subject, bits } => write!(
                f,
                "the RSA key of the issuer {subject:?} has {bits} bits, fewer than {MIN_RSA_BITS}: clients refuse it"
            ),
            Self::LeafNotFirst { index } => {
                write!(f, "the key belongs to certificate {} of the chain, which is sent first instead", index + 1)
            }
            Self::ChainOrder { index } => write!(
                f,
                "certificate {} of the chain did not issue the one before it; clients are sent them in order",
                index + 1
            ),
            Self::ChainGap { index, subject, end, issuer } => write!(
                f,
                "certificate {} of the chain, {subject:?}, issued none of the others; the issuer of {end:?} is {issuer:?}",
                index + 1
            ),
            Self::MissingIntermediate { issuer, url } => write!(
                f,
                "the certificate is sent alone, and its issuer {issuer:?} is none of this system's authorities: clients \
                 that do not have the issuer's certificate refuse it (it is at {url})"
            ),
        }
    }
}

/// How long one certificate of a chain is valid.
#[derive(Clone, Debug)]
pub(super) struct Validity {
    subject: String,
    not_before: i64,
    not_after: i64,
}

impl Validity {
    pub(super) fn of(certificate: &Certificate<'_>) -> Self {
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        Self { subject: certificate.subject_text(), not_before, not_after }
    }

    pub(super) fn lint(&self, now: UnixTime) -> Option<Lint> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let Self { subject, not_before, not_after } = self.clone();
        match () {
            () if now > not_after => Some(Lint::Expired { subject, not_after }),
            () if now < not_before => Some(Lint::NotYetValid { subject, not_before }),
            () if now > not_after - SOON => Some(Lint::ExpiresSoon { subject, not_after }),
            () => None,
        }
    }

    /// When [`Validity::lint`] next says something else, in seconds since 1970.
    pub(super) fn changes(&self, now: UnixTime) -> Option<u64> {
        let changes = [self.not_before, self.not_after - SOON + 1, self.not_after + 1];
        changes.into_iter().filter_map(|at| u64::try_from(at).ok()).filter(|at| *at > now.as_secs()).min()
    }
}

/// What does not change with time. `order` begins with the leaf; the first `linked` issued one another. `is_root` knows
/// names of authorities that clients may be expected to have.
pub(super) fn of_chain(
    chain: &[Certificate<'_>],
    order: &[usize],
    linked: usize,
    is_root: impl Fn(&[u8]) -> bool,
) -> Vec<Lint> {
    let leaf = &chain[order[0]];
    let mut lints = of_leaf(leaf);
    for at in &order[..linked] {
        let certificate = &chain[*at];
        // Nobody verifies what a root says of itself.
        if let Some(hash) = certificate.signed().broken_hash().filter(|_| !certificate.is_self_issued()) {
            lints.push(Lint::BrokenHash { subject: certificate.subject_text(), hash });
        }
        if let Some(bits) = certificate.public_key().rsa_bits().filter(|bits| *bits < MIN_RSA_BITS) {
            lints.push(Lint::SmallRsa { subject: certificate.subject_text(), bits });
        }
    }
    let misplaced = chain.windows(2).position(|pair| pair[0].issuer() != pair[1].subject());
    if let Some(stranger) = order.get(linked) {
        let end = &chain[order[linked - 1]];
        lints.push(Lint::ChainGap {
            index: *stranger,
            subject: chain[*stranger].subject_text(),
            end: end.subject_text(),
            issuer: end.issuer_text(),
        });
    } else if order[0] > 0 {
        lints.push(Lint::LeafNotFirst { index: order[0] });
    } else if let Some(at) = misplaced {
        lints.push(Lint::ChainOrder { index: at + 1 });
    } else if linked == 1
        && !leaf.is_self_issued()
        // A private authority that clients trust itself need not be sent, and looks just like one that is missing.
        // Public ones never issue a leaf by their root, and all of them say where the issuer is to be found.
        && let Some(url) = leaf.extensions().issuer_url()
        && !is_root(leaf.issuer())
    {
        lints.push(Lint::MissingIntermediate { issuer: leaf.issuer_text(), url: url.to_owned() });
    }
    lints
}

fn of_leaf(leaf: &Certificate<'_>) -> Vec<Lint> {
    let mut lints = Vec::new();
    if leaf.is_v1() {
        lints.push(Lint::Version1);
    } else if !leaf.has_names() {
        lints.push(Lint::WithoutNames { common_name: leaf.common_name() });
    } else if leaf.hosts().is_empty() {
        lints.push(Lint::WithoutNames { common_name: None });
    }
    if leaf.extensions().is_authority {
        lints.push(Lint::Authority);
    } else if leaf.is_self_issued() {
        lints.push(Lint::SelfSigned);
    }
    if !leaf.extensions().serves() {
        lints.push(Lint::NotForServers);
    }
    lints
}

/// Whether one of the operating system's authorities has this name. They are read once, and only when it matters.
pub(super) fn is_system_root(name: &[u8]) -> bool {
    static NAMES: OnceLock<HashSet<Vec<u8>>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let roots = rustls_native_certs::load_native_certs().certs;
        let name = |root| webpki::anchor_from_trusted_cert(root).ok().map(|anchor| anchor.subject.to_vec());
        roots.iter().filter_map(name).collect()
    });
    names.contains(name)
}
