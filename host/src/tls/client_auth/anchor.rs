//! Trust anchors and revocation lists, read and judged once, when a verifier is made.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList, RawPublicKeyEntity,
    RevocationOptionsBuilder, VerifiedPath, anchor_from_trusted_cert,
};

use super::super::x509::{Certificate, RevocationList, Signed};
use super::lint::{AnchorFault, TrustLint};
use super::{Verdict, check_dates, unix};

/// Why a verifier cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Nothing was given.
    #[error("there is no certificate authority to trust")]
    NoAnchor,
    /// All that was given is unreadable.
    #[error("none of the {count} certificate authorities can be read")]
    NoUsableAnchor {
        /// How many there are.
        count: usize,
    },
    /// One of the lists; leaving it out would let revoked certificates in.
    #[error("revocation list {} cannot be used: {reason}", .index + 1)]
    UnusableRevocationList {
        /// Among those given, from zero.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls found something else.
    #[error("the verifier cannot be built")]
    Verifier(#[from] VerifierBuilderError),
}

/// All that is trusted.
#[derive(Debug)]
pub(super) struct Anchors {
    anchors: Vec<Anchor>,
    unreadable: Vec<usize>,
    /// The newest first.
    lists: Vec<List>,
    groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct Anchor {
    der: CertificateDer<'static>,
    trust: TrustAnchor<'static>,
    pub(super) text: String,
    pub(super) spki: SubjectPublicKeyInfoDer<'static>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    is_authority: bool,
    /// Whether it may vouch for version 1.
    pub(super) fault: Option<AnchorFault>,
    /// Whether keyUsage lets it sign revocation lists.
    signs_lists: bool,
}

impl Anchor {
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let trust = anchor_from_trusted_cert(der).ok()?.to_owned();
        let certificate = Certificate::parse(der).ok()?;
        Some(Self {
            der: der.clone().into_owned(),
            trust,
            text: certificate.subject_text(),
            spki: certificate.spki().to_vec().into(),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            is_authority: certificate.extensions().is_authority,
            fault: AnchorFault::of(&certificate),
            signs_lists: certificate.extensions().key_usage.is_none_or(|usage| usage.signs_revocation_lists()),
        })
    }

    fn subject(&self) -> &[u8] {
        self.trust.subject.as_ref()
    }
}

#[derive(Debug)]
struct List {
    der: CertificateRevocationListDer<'static>,
    entries: CertRevocationList<'static>,
    issuer: String,
    this_update: i64,
    next_update: i64,
    /// Which anchors have its name, and which of these signed it.
    named: Vec<usize>,
    signed: Vec<usize>,
}

/// Anchors with their lists, as webpki can deal with them: it takes the first list with the issuer's name for the
/// issuer's own, so two authorities of one name (a renewed key; the two of the founding task) must not meet.
#[derive(Debug)]
struct Group {
    verifier: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    lists: Vec<usize>,
}

impl Anchors {
    pub(super) fn new(
        ders: &[CertificateDer<'_>],
        crls: &[CertificateRevocationListDer<'_>],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TrustError> {
        let mut anchors: Vec<Anchor> = Vec::new();
        let mut unreadable = Vec::new();
        for (index, der) in ders.iter().enumerate() {
            match Anchor::read(der) {
                None => unreadable.push(index),
                Some(anchor) if anchors.iter().any(|other| other.der == anchor.der) => {}
                Some(anchor) => anchors.push(anchor),
            }
        }
        if anchors.is_empty() && !ders.is_empty() {
            return Err(TrustError::NoUsableAnchor { count: ders.len() });
        }
        let mut lists = crls
            .iter()
            .enumerate()
            .map(|(index, der)| {
                List::read(der, &anchors, &provider.signature_verification_algorithms)
                    .map_err(|reason| TrustError::UnusableRevocationList { index, reason })
            })
            .collect::<Result<Vec<_>, _>>()?;
        lists.sort_by_key(|list| std::cmp::Reverse(list.this_update));
        let groups = groups(&anchors, &lists)
            .map(|(anchors, lists_of_group)| {
                let roots = Arc::new(RootCertStore { roots: anchors });
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider))
                    .with_crls(lists_of_group.iter().map(|at| lists[*at].der.clone()))
                    .enforce_revocation_expiration()
                    .build()?;
                Ok(Group { verifier, roots, lists: lists_of_group })
            })
            .collect::<Result<_, TrustError>>()?;
        Ok(Self { anchors, unreadable, lists, groups })
    }

    pub(super) fn ders(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|anchor| anchor.der.as_ref())
    }

    pub(super) fn crls(&self) -> impl Iterator<Item = &[u8]> {
        self.lists.iter().map(|list| list.der.as_ref())
    }

    pub(super) fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(Anchor::subject)
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.anchors.iter().map(|anchor| anchor.text.as_str())
    }

    pub(super) fn contains(&self, der: &CertificateDer<'_>) -> bool {
        self.anchors.iter().any(|anchor| anchor.der == *der)
    }

    /// Those whose subject is this name, byte for byte.
    pub(super) fn named(&self, subject: &[u8]) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter().filter(move |anchor| anchor.subject() == subject)
    }

    /// rustls' own verdict; of several groups the first that accepts, or else the error that says most.
    pub(super) fn verify_v3(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        max_depth: Option<u8>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let mut error = Error::from(CertificateError::UnknownIssuer);
        for group in &self.groups {
            let verdict = group.verifier.verify_client_cert(leaf, others, now);
            let verdict = verdict.and_then(|_| match max_depth {
                // rustls checks no revocation where it has no list.
                _ if group.lists.is_empty() && !self.lists.is_empty() => {
                    Err(CertificateError::UnknownRevocationStatus.into())
                }
                Some(max_depth) => self.check_depth(group, leaf, others, now, max_depth, algorithms),
                None => Ok(()),
            });
            match verdict {
                Ok(()) => return Ok(()),
                Err(found) if weight(&found) > weight(&error) => error = found,
                Err(_) => {}
            }
        }
        Err(error)
    }

    /// Whether a server's chain, whatever its names, leads to an anchor; an anchor itself may be the leaf.
    pub(super) fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        if let Some(anchor) = self.anchors.iter().find(|anchor| anchor.der == *leaf) {
            return Ok(check_dates(anchor.not_before, anchor.not_after, now)?);
        }
        let certificate = EndEntityCert::try_from(leaf).map_err(of_webpki)?;
        let mut error = Error::from(CertificateError::UnknownIssuer);
        for group in &self.groups {
            let lists: Vec<_> = group.lists.iter().map(|at| &self.lists[*at].entries).collect();
            let revocation = RevocationOptionsBuilder::new(&lists)
                .ok()
                .map(|options| options.with_expiration_policy(ExpirationPolicy::Enforce).build());
            let usage = KeyUsage::server_auth();
            let roots = &group.roots.roots;
            let verdict = certificate.verify_for_usage(algorithms.all, roots, others, now, usage, revocation, None);
            let verdict = match verdict {
                // Without a list webpki checks no revocation.
                Ok(_) if lists.is_empty() && !self.lists.is_empty() => {
                    Err(CertificateError::UnknownRevocationStatus.into())
                }
                Ok(_) => return Ok(()),
                Err(found) => Err(of_webpki(found)),
            };
            match verdict {
                Err(found) if weight(&found) > weight(&error) => error = found,
                Ok(()) | Err(_) => {}
            }
        }
        Err(error)
    }

    /// Whether a path of that length verifies. rustls does not say which path it found, so webpki looks once more.
    fn check_depth(
        &self,
        group: &Group,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        max_depth: u8,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let lists: Vec<_> = group.lists.iter().map(|at| &self.lists[*at].entries).collect();
        let revocation = RevocationOptionsBuilder::new(&lists)
            .ok()
            .map(|options| options.with_expiration_policy(ExpirationPolicy::Enforce).build());
        let short_enough = |path: &VerifiedPath<'_>| match path.intermediate_certificates().count() {
            depth if depth <= usize::from(max_depth) => Ok(()),
            _ => Err(webpki::Error::UnknownIssuer),
        };
        EndEntityCert::try_from(leaf)
            .and_then(|leaf| {
                leaf.verify_for_usage(
                    algorithms.all,
                    &group.roots.roots,
                    others,
                    now,
                    KeyUsage::client_auth(),
                    revocation,
                    Some(&short_enough),
                )
                .map(|_| ())
            })
            .map_err(|_| CertificateError::UnknownIssuer.into())
    }

    /// For a certificate that this anchor issued directly: with any list configured, the newest that the anchor signed
    /// must be in date and must not have the serial number.
    pub(super) fn check_revocation(
        &self,
        issuer: &Anchor,
        serial: &[u8],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        if self.lists.is_empty() {
            return Ok(());
        }
        let Some(list) = self.list_of(issuer) else {
            return Err(CertificateError::UnknownRevocationStatus);
        };
        let next_update = unix(list.next_update);
        if now >= next_update {
            return Err(CertificateError::ExpiredRevocationListContext { time: now, next_update });
        }
        match list.entries.find_serial(serial) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(CertificateError::Revoked),
            Err(_) => Err(CertificateError::UnknownRevocationStatus),
        }
    }

    /// The newest list of an anchor. One that says it covers only a part of its issuer's certificates is not taken.
    fn list_of(&self, issuer: &Anchor) -> Option<&List> {
        let at = self.anchors.iter().position(|anchor| std::ptr::eq(anchor, issuer))?;
        let complete = |list: &&List| list.entries.issuing_distribution_point().is_none();
        self.lists.iter().filter(complete).find(|list| list.signed.contains(&at)).filter(|_| issuer.signs_lists)
    }

    pub(super) fn lints(&self, now: UnixTime, version1: Verdict) -> Vec<TrustLint> {
        let time = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut lints: Vec<_> =
            self.unreadable.iter().map(|index| TrustLint::UnreadableAuthority { index: *index }).collect();
        for (at, anchor) in self.anchors.iter().enumerate() {
            let subject = || anchor.text.clone();
            if time > anchor.not_after {
                lints.push(TrustLint::AuthorityExpired { subject: subject(), not_after: anchor.not_after });
            } else if time < anchor.not_before {
                lints.push(TrustLint::AuthorityNotYetValid { subject: subject(), not_before: anchor.not_before });
            }
            if !anchor.is_authority {
                lints.push(TrustLint::NotAuthority { subject: subject() });
            }
            match anchor.fault {
                _ if version1 == Verdict::Refuse => {}
                None => lints.push(TrustLint::AcceptsVersion1 { subject: subject() }),
                Some(fault) => lints.push(TrustLint::RefusesVersion1 { subject: subject(), fault }),
            }
            if !self.lists.is_empty() && !self.lists.iter().any(|list| list.signed.contains(&at)) {
                lints.push(TrustLint::WithoutRevocationList { subject: subject() });
            }
        }
        for list in &self.lists {
            let issuer = || list.issuer.clone();
            if list.signed.is_empty() && !list.named.is_empty() {
                lints.push(TrustLint::ForeignRevocationList { issuer: issuer() });
            } else if time >= list.next_update {
                lints.push(TrustLint::RevocationListExpired { issuer: issuer(), next_update: list.next_update });
            }
        }
        lints
    }
}

impl List {
    fn read(
        der: &CertificateRevocationListDer<'_>,
        anchors: &[Anchor],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Self, String> {
        let frame = RevocationList::parse(der).map_err(|wrong| wrong.to_string())?;
        if frame.version != 2 {
            return Err(
                "it is of version 1; make it of version 2 (with OpenSSL, set crlnumber in the section of the CA)"
                    .to_owned(),
            );
        }
        let next_update = frame.next_update.ok_or("it does not say when the next one is due (nextUpdate)")?;
        let entries = OwnedCertRevocationList::from_der(der).map_err(|error| match error {
            webpki::Error::UnsupportedDeltaCrl => "it is a delta list; give the complete one".to_owned(),
            webpki::Error::UnsupportedIndirectCrl => "it is an indirect list; give one by the issuer itself".to_owned(),
            other => format!("webpki says {other}"),
        })?;
        let named: Vec<_> = (0..anchors.len()).filter(|at| anchors[*at].subject() == frame.issuer).collect();
        let by = |at: &usize| check_signature(&frame.signed, &anchors[*at].spki, algorithms).is_ok();
        Ok(Self {
            der: der.to_vec().into(),
            entries: entries.into(),
            issuer: frame.issuer_text(),
            this_update: frame.this_update,
            next_update,
            signed: named.iter().copied().filter(by).collect(),
            named,
        })
    }
}

/// Anchors and lists that webpki may see together. Without lists that is everything. Otherwise each group has at most
/// one key of a name, and no list that has the name of an anchor of the group without being signed by it.
fn groups(anchors: &[Anchor], lists: &[List]) -> impl Iterator<Item = (Vec<TrustAnchor<'static>>, Vec<usize>)> {
    let rank = |at: usize| {
        let mut keys: Vec<&[u8]> = Vec::new();
        for other in anchors[..=at].iter().filter(|other| other.subject() == anchors[at].subject()) {
            if !keys.contains(&other.spki.as_ref()) {
                keys.push(other.spki.as_ref());
            }
        }
        keys.iter().position(|key| *key == anchors[at].spki.as_ref()).unwrap_or_default()
    };
    let ranks: Vec<_> = (0..anchors.len()).map(|at| if lists.is_empty() { 0 } else { rank(at) }).collect();
    let groups = ranks.iter().max().map_or(0, |max| max + 1);
    (0..groups).map(move |group| {
        let inside = |at: &usize| ranks[*at] == group;
        let roots = (0..anchors.len()).filter(inside).map(|at| anchors[at].trust.clone()).collect();
        let fits = |at: &usize| {
            let list = &lists[*at];
            !list.named.iter().any(inside) || list.signed.iter().any(inside)
        };
        (roots, (0..lists.len()).filter(fits).collect())
    })
}

/// As rustls says what webpki found, as far as somebody tells it apart.
fn of_webpki(error: webpki::Error) -> Error {
    match error {
        webpki::Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }.into()
        }
        webpki::Error::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after }.into(),
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        webpki::Error::CertRevoked => CertificateError::Revoked.into(),
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        webpki::Error::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }.into()
        }
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature.into(),
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose.into(),
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

/// What says most when several groups refuse: a certificate of one group's anchor is just of unknown issue, or ill
/// signed, to the others.
fn weight(error: &Error) -> u8 {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => 0,
        Error::InvalidCertificate(CertificateError::BadSignature) => 1,
        _ => 2,
    }
}

/// Why a signature does not count.
pub(super) enum SignatureFault {
    /// An algorithm, or a key for it, that is not to be trusted (SHA-1) or not known.
    Unsupported(CertificateError),
    /// Not made by this key.
    Wrong,
}

/// Whether this key signed.
pub(super) fn check_signature(
    signed: &Signed<'_>,
    spki: &SubjectPublicKeyInfoDer<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), SignatureFault> {
    let key = RawPublicKeyEntity::try_from(spki).map_err(|_| SignatureFault::Wrong)?;
    let mut fault = CertificateError::UnsupportedSignatureAlgorithmContext {
        signature_algorithm_id: signed.algorithm.to_vec(),
        supported_algorithms: algorithms.all.iter().map(|algorithm| algorithm.signature_alg_id()).collect(),
    };
    for algorithm in algorithms.all.iter().filter(|known| known.signature_alg_id().as_ref() == signed.algorithm) {
        match key.verify_signature(*algorithm, signed.message, signed.signature) {
            Ok(()) => return Ok(()),
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context)) => {
                fault = CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: context.signature_algorithm_id,
                    public_key_algorithm_id: context.public_key_algorithm_id,
                };
            }
            Err(_) => return Err(SignatureFault::Wrong),
        }
    }
    Err(SignatureFault::Unsupported(fault))
}
