//! What is served all the same but hardly as meant: certificates, the names they are for, and who may read their keys.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::UnixTime;

use super::vault::{Resolved, Use};
use crate::finding::{Finding, Severity, Subject};
use crate::host_pattern::HostPattern;
use crate::model::{self, Locator, Origin, Source};
use crate::object::ObjectKey;
use crate::tls::client_auth::TrustLint;
use crate::tls::credential::{Credential, Lint, names_host};

/// What there is to know of a credential now.
pub(super) fn credential(credential: &Credential, subject: &ObjectKey, used: Use) -> impl Iterator<Item = Finding> {
    let concerns = move |lint: &Lint| used == Use::Listener || concerns_endpoints(lint);
    credential.lints(UnixTime::now()).into_iter().filter(concerns).map(|lint| {
        let (severity, code, remedy) = told(&lint);
        Finding::on(severity, subject, "", code, lint.to_string()).remedy(remedy)
    })
}

/// What there is to know of authorities, whoever is verified by them.
pub(super) fn trust(lint: &TrustLint, origin: &Origin) -> Finding {
    let (severity, code, remedy) = match lint {
        TrustLint::AcceptsVersion1 { .. } => (
            Severity::Info,
            "version-1-clients",
            "once all clients have certificates of version 3, set tls.v1ClientCertificates to false",
        ),
        TrustLint::RefusesVersion1 { .. } => (Severity::Info, "version-1-clients-refused", ""),
        TrustLint::UnreadableAuthority { .. } => (Severity::Error, "unreadable-authority", "correct or remove it"),
        TrustLint::AuthorityExpired { .. } | TrustLint::AuthorityNotYetValid { .. } => {
            (Severity::Error, "authority-out-of-date", "replace it, and what it issued")
        }
        TrustLint::NotAuthority { .. } => (Severity::Warning, "not-an-authority", "trust its issuer instead"),
        TrustLint::WithoutRevocationList { .. }
        | TrustLint::ForeignRevocationList { .. }
        | TrustLint::RevocationListExpired { .. } => {
            (Severity::Error, "revocation-list", "give a current list of every authority, or none at all")
        }
    };
    Finding::on(severity, &origin.object, &origin.field, code, lint.to_string()).remedy(remedy)
}

/// Whether it counts for a certificate that endpoints are shown: they ask for no host, and know their own authorities.
fn concerns_endpoints(lint: &Lint) -> bool {
    match lint {
        Lint::Version1
        | Lint::WithoutNames { .. }
        | Lint::SelfSigned
        | Lint::Authority
        | Lint::NotForServers
        | Lint::MissingIntermediate { .. } => false,
        Lint::Expired { .. }
        | Lint::NotYetValid { .. }
        | Lint::ExpiresSoon { .. }
        | Lint::BrokenHash { .. }
        | Lint::SmallRsa { .. }
        | Lint::LeafNotFirst { .. }
        | Lint::ChainOrder { .. }
        | Lint::ChainGap { .. } => true,
    }
}

fn told(lint: &Lint) -> (Severity, &'static str, &'static str) {
    match lint {
        Lint::Expired { .. } => (Severity::Error, "expired-certificate", "renew it"),
        Lint::NotYetValid { .. } => {
            (Severity::Error, "certificate-not-yet-valid", "check its dates, and this machine's clock")
        }
        Lint::ExpiresSoon { .. } => (Severity::Warning, "certificate-expires-soon", "renew it"),
        Lint::Version1 => (
            Severity::Warning,
            "version-1-certificate",
            "issue it with an extension file that has subjectAltName, which makes it version 3",
        ),
        Lint::WithoutNames { .. } => {
            (Severity::Warning, "certificate-without-names", "issue it with its hosts as subjectAltName")
        }
        Lint::SelfSigned => {
            (Severity::Info, "self-signed-certificate", "have it issued by an authority that its clients trust")
        }
        Lint::Authority => (
            Severity::Warning,
            "authority-as-server",
            "issue a certificate for the gateway by it, and keep the authority's key elsewhere",
        ),
        Lint::NotForServers => {
            (Severity::Warning, "certificate-not-for-servers", "issue it with serverAuth in extendedKeyUsage")
        }
        Lint::BrokenHash { .. } => (Severity::Warning, "weak-certificate", "issue it anew, signed over SHA-256"),
        Lint::SmallRsa { .. } => {
            (Severity::Warning, "weak-certificate", "replace the issuer by one with a larger key, or by ECDSA")
        }
        Lint::LeafNotFirst { .. } | Lint::ChainOrder { .. } => {
            (Severity::Warning, "certificate-order", "put the leaf first and each issuer after what it issued")
        }
        Lint::ChainGap { .. } => (
            Severity::Warning,
            "chain-gap",
            "add the issuer that is missing, and remove certificates that do not belong to the chain",
        ),
        Lint::MissingIntermediate { .. } => (
            Severity::Warning,
            "missing-intermediate",
            "append the issuer's certificate to the chain; authorities offer it as the full chain",
        ),
    }
}

/// The files with private keys that everybody on this machine can read; those of one directory are one finding.
///
/// That a group may read one is not worth a word: nobody grants it by accident, since what is too open by accident is
/// open to everybody, and Kubernetes mounts secrets so for a pod with an `fsGroup`.
pub(super) fn readable_keys(files: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let mut by_directory: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_readable_by_all(file)) {
        by_directory.entry(file.parent().unwrap_or(file)).or_default().push(file);
    }
    let finding = |(directory, files): (&Path, Vec<&Path>)| {
        let (path, keys) = match files.as_slice() {
            [only] => (*only, "the private key in it".to_owned()),
            several => {
                let names = several.iter().filter_map(|file| file.file_name());
                let names = listed(names.map(|name| format!("`{}`", name.display())), "and");
                (directory, format!("the private keys in {names}"))
            }
        };
        let subject = Subject::File { path: path.display().to_string(), at: None };
        let message = format!("every user of this machine can read {keys}");
        let option = if files.len() > 1 { "700" } else { "600" };
        Finding::new(Severity::Warning, subject, "readable-key", message)
            .remedy(format!("make it the gateway's own, and `chmod {option}` it"))
    };
    by_directory.into_iter().map(finding).collect()
}

/// Links are followed, and the way to the file counts.
fn is_readable_by_all(file: &Path) -> bool {
    const READ: u32 = 0o004;
    const ENTER: u32 = 0o001;
    let allows = |path: &Path, bit| path.metadata().is_ok_and(|found| found.mode() & bit != 0);
    let reaches = |real: PathBuf| real.ancestors().skip(1).all(|above| allows(above, ENTER));
    file.is_file() && allows(file, READ) && file.canonicalize().is_ok_and(reaches)
}

/// The hosts of a listener that clients do not find in any of its certificates.
pub(super) fn uncovered_hosts(said: &model::Listener, sources: &[Source], resolved: &[Resolved]) -> Option<Finding> {
    let termination = said.protocol.termination()?;
    let shown: Vec<(&Source, &Credential)> = termination
        .credentials
        .iter()
        .filter_map(|source| Some((&sources[*source], &resolved[*source].credential()?.credential)))
        .collect();
    let (first, _) = shown.first()?;
    let names: Vec<&str> = shown.iter().flat_map(|(_, credential)| &credential.hosts).map(String::as_str).collect();
    let uncovered: Vec<(&HostPattern, Cover)> =
        said.hosts.iter().map(|host| (host, cover(host, &names))).filter(|(_, cover)| *cover != Cover::Whole).collect();
    // That a certificate has no name at all is said of its secret.
    if uncovered.is_empty() || names.is_empty() || said.refused.is_some() {
        return None;
    }
    // Which names of a wildcard are asked for is for routes to say: these may be all.
    let some_wholly = uncovered.iter().any(|(_, cover)| *cover == Cover::Nothing);
    let severity = if some_wholly { Severity::Warning } else { Severity::Info };
    let asked = uncovered.iter().map(|(host, cover)| match cover {
        Cover::Part => format!("other names of `{host}`"),
        Cover::Whole | Cover::Nothing => format!("`{host}`"),
    });
    let message = format!(
        "{} is for {}: clients that ask for {} refuse it",
        listed(shown.iter().map(|(source, _)| secret(source)), "and"),
        listed(names.iter().map(|name| format!("`{name}`")), "and"),
        listed(asked, "or"),
    );
    let origin = &first.origin;
    Some(
        Finding::on(severity, &origin.object, &origin.field, "host-not-covered", message)
            .remedy("correct the hosts, issue a certificate with them as subjectAltName, or name another secret"),
    )
}

/// How much of a host is covered by the names of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cover {
    Whole,
    /// Some names of a wildcard.
    Part,
    Nothing,
}

fn cover(host: &HostPattern, names: &[&str]) -> Cover {
    let wildcard = |suffix: &str| names.iter().any(|name| name.strip_prefix("*.") == Some(suffix));
    let whole = match host {
        HostPattern::Any => true,
        HostPattern::Exact(host) => names.iter().any(|name| names_host(name, host)),
        // Deeper names no certificate covers by one wildcard; who claims them knows that.
        HostPattern::Subdomains(suffix) | HostPattern::OneLabel(suffix) => wildcard(suffix),
    };
    match whole {
        true => Cover::Whole,
        false if names.iter().any(|name| host.matches(name)) => Cover::Part,
        false => Cover::Nothing,
    }
}

fn secret(source: &Source) -> String {
    match source.candidates.first() {
        Some(Locator::Object(key)) => format!("the certificate of {key}"),
        Some(Locator::Files(files)) => {
            format!("the certificate of {}", files.first().map_or("no file", |(_, path)| path.as_str()))
        }
        Some(Locator::SystemRoots) | None => "its certificate".to_owned(),
    }
}

/// At most ten of them, as a sentence has them.
fn listed(items: impl Iterator<Item = String>, word: &str) -> String {
    const MOST: usize = 10;
    let mut items: Vec<String> = items.collect();
    if items.len() > MOST {
        let more = format!("{} more", items.len() - (MOST - 1));
        items.truncate(MOST - 1);
        items.push(more);
    }
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {word} {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_covers_itself_and_a_wildcard_one_label() {
        let exact = |host: &str| HostPattern::Exact(host.to_owned());
        let below = |host: &str| HostPattern::Subdomains(host.to_owned());
        let names = ["a.example.com", "*.example.net", "10.0.0.1"];
        for (host, covered) in [
            (exact("a.example.com"), Cover::Whole),
            (exact("b.example.net"), Cover::Whole),
            (exact("10.0.0.1"), Cover::Whole),
            (HostPattern::Any, Cover::Whole),
            (exact("b.example.com"), Cover::Nothing),
            (exact("example.net"), Cover::Nothing),
            (exact("b.c.example.net"), Cover::Nothing),
            (below("example.net"), Cover::Whole),
            (HostPattern::OneLabel("example.net".to_owned()), Cover::Whole),
            (below("example.com"), Cover::Part),
            (below("net"), Cover::Part),
            (below("b.example.net"), Cover::Nothing),
            (below("example.org"), Cover::Nothing),
        ] {
            assert_eq!(cover(&host, &names), covered, "{host}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let of = |count: usize| listed((0..count).map(|number| number.to_string()), "or");
        assert_eq!((of(1).as_str(), of(3).as_str()), ("0", "0, 1 or 2"));
        assert_eq!(of(20), "0, 1, 2, 3, 4, 5, 6, 7, 8 or 11 more");
    }

    #[test]
    fn a_key_is_readable_where_others_get_to_it() {
        use std::os::unix::fs::PermissionsExt;
        // Another place for temporary files may be its owner's alone.
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let (folder, file, link) =
            (directory.path().join("a"), directory.path().join("a/key"), directory.path().join("link"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&file, "key").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        set(&folder, 0o755);
        for (above, mode, is_open) in [
            (0o755, 0o644, true),
            (0o711, 0o604, true),
            (0o700, 0o644, false),
            (0o755, 0o640, false),
            (0o755, 0o600, false),
        ] {
            set(directory.path(), above);
            set(&file, mode);
            assert_eq!(is_readable_by_all(&file), is_open, "{mode:o} below {above:o}");
            assert_eq!(is_readable_by_all(&link), is_open, "{mode:o} by a link");
        }
        set(&file, 0o644);
        set(directory.path(), 0o755);
        set(&folder, 0o700);
        assert!(!is_readable_by_all(&link), "the way of the file counts, not the link's");
        set(&folder, 0o755);
        assert!(!is_readable_by_all(&folder) && !is_readable_by_all(&directory.path().join("none")));

        let texts = |files: &[&PathBuf]| -> Vec<String> {
            let files = files.iter().map(|file| (*file).clone()).collect();
            readable_keys(&files).iter().map(ToString::to_string).collect()
        };
        let alone = texts(&[&file, &directory.path().join("none")]);
        assert!(alone[0].ends_with("a/key: every user of this machine can read the private key in it (make it the gateway's own, and `chmod 600` it)"), "{alone:?}");
        let other = folder.join("other");
        std::fs::write(&other, "key").unwrap();
        set(&other, 0o644);
        let several = texts(&[&file, &other, &link]);
        assert_eq!(several.len(), 2, "{several:?}");
        assert!(several[1].contains("/a: every user of this machine can read the private keys in `key` and `other`"));
    }
}
