//! The identity of a verifier: everything that decides, hashed.

use sha2::{Digest, Sha256};

use super::anchor::Anchors;
use super::{ClientPolicy, Pin, Verdict};

/// Lists that are sets are sorted first, so that their order does not count.
pub(super) fn of(anchors: &Anchors, policy: &ClientPolicy) -> [u8; 32] {
    // Taken apart, so that a new field cannot be forgotten here.
    let ClientPolicy { no_certificate, untrusted, names, pins, max_depth, version1 } = policy;
    let mut hash = Sha256::new_with_prefix(b"sekisho client verification 1\0");
    set(&mut hash, anchors.ders());
    set(&mut hash, anchors.crls());
    set(&mut hash, names.iter().map(|name| name.as_bytes().to_vec()));
    set(
        &mut hash,
        pins.iter().map(|pin| match pin {
            Pin::Certificate(digest) => [&[0][..], digest].concat(),
            Pin::PublicKey(digest) => [&[1][..], digest].concat(),
        }),
    );
    let depth = max_depth.map_or([0, 0], |depth| [1, depth]);
    hash.update([verdict(*no_certificate), verdict(*untrusted), verdict(*version1), depth[0], depth[1]]);
    hash.finalize().into()
}

fn set(hash: &mut Sha256, items: impl Iterator<Item = impl AsRef<[u8]> + Ord>) {
    let mut items: Vec<_> = items.collect();
    items.sort_unstable();
    items.dedup();
    hash.update((items.len() as u64).to_be_bytes());
    for item in items {
        hash.update((item.as_ref().len() as u64).to_be_bytes());
        hash.update(item);
    }
}

fn verdict(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Accept => 1,
        Verdict::Refuse => 0,
    }
}
