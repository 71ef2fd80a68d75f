//! What is kept in the cluster for a Gateway, by the name and with the labels that GEP-1762 gives it.

use std::collections::BTreeMap;

use sekisho_sdk::ObjectKey;
use sekisho_sdk::model::Infrastructure;

use crate::objects::GROUP;
use crate::objects::gateway::GatewaySpec;

/// The most that a label of DNS may have, in bytes.
const MOST: usize = 63;

/// What a Gateway wants kept for it.
pub(crate) fn infrastructure(gateway: &ObjectKey, spec: &GatewaySpec) -> Infrastructure {
    let class = &spec.gateway_class_name;
    let said = spec.infrastructure.as_ref();
    let mut labels = said.map(|said| said.labels.clone()).unwrap_or_default();
    labels.insert(format!("{GROUP}/gateway-name"), label_value(&gateway.name));
    labels.insert(format!("{GROUP}/gateway-class-name"), label_value(class));
    let annotations = said.map(|said| said.annotations.clone()).unwrap_or_default();
    let pairs = |map: BTreeMap<String, String>| map.into_iter().collect();
    Infrastructure { name: name(&gateway.name, class), labels: pairs(labels), annotations: pairs(annotations) }
}

/// `<gateway>-<class>`. Names of Gateways may be longer than a label of DNS, have dots, and begin with a digit: then it is
/// made one, and a hash of the two tells it from others that become the same.
fn name(gateway: &str, class: &str) -> String {
    let whole = format!("{gateway}-{class}");
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = whole.starts_with(|c: char| c.is_ascii_lowercase());
    if whole.len() <= MOST && begins && whole.ends_with(|c: char| c != '-') && whole.chars().all(legal) {
        return whole;
    }
    let mut label: String = whole.chars().map(|c| if legal(c) { c } else { '-' }).collect();
    if !begins {
        label.insert_str(0, "gw-");
    }
    // The slash is in neither name.
    ended_by_hash(&label, &format!("{gateway}/{class}"))
}

/// A name as the value of a label, which has no more bytes than a label of DNS, but may have dots.
fn label_value(name: &str) -> String {
    if name.len() <= MOST { name.to_owned() } else { ended_by_hash(name, name) }
}

/// As much of an ASCII text as leaves room for a hash of the whole.
fn ended_by_hash(text: &str, whole: &str) -> String {
    let end = format!("-{:08x}", hash(whole));
    let kept: String = text.chars().take(MOST - end.len()).collect();
    kept.trim_end_matches(['-', '.']).to_owned() + &end
}

/// FNV-1a: it must stay the same over versions of everything.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_label(name: &str) -> bool {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        name.len() <= MOST
            && name.bytes().all(legal)
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && !name.ends_with('-')
    }

    #[test]
    fn a_name_is_as_the_api_wants_it_where_it_can_be() {
        assert_eq!(name("edge", "sekisho"), "edge-sekisho");
        let longest = "g".repeat(MOST - "-sekisho".len());
        assert_eq!(name(&longest, "sekisho"), format!("{longest}-sekisho"));
    }

    #[test]
    fn a_name_that_is_no_label_is_made_one_of_its_own() {
        let long = "g".repeat(MOST);
        let others = [
            (format!("{long}1"), "sekisho"),
            (format!("{long}2"), "sekisho"),
            ("edge.one".to_owned(), "sekisho"),
            ("edge".to_owned(), "one.sekisho"),
            ("edge-one".to_owned(), "se.kisho"),
            ("edge.one".to_owned(), "se-kisho"),
            ("0edge".to_owned(), "sekisho"),
            ("gw-0edge".to_owned(), "se.kisho"),
        ];
        let names: Vec<_> = others.iter().map(|(gateway, class)| name(gateway, class)).collect();
        for (at, made) in names.iter().enumerate() {
            assert!(is_label(made), "{made}");
            assert!(!names[..at].contains(made), "{names:?}");
        }
        assert_eq!(name("edge.one", "sekisho"), "edge-one-sekisho-2111aeb1", "the same for ever");
    }

    #[test]
    fn a_long_name_is_cut_for_a_label() {
        let long = format!("{}.x", "g".repeat(MOST));
        assert_eq!(label_value("edge.one"), "edge.one");
        assert_eq!(label_value(&long).len(), MOST);
    }
}
