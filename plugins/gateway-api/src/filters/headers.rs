//! RequestHeaderModifier and ResponseHeaderModifier.

use std::collections::HashMap;

use sekisho_sdk::model::{HeaderOp, Text};

use crate::field::Field;
use crate::finding::Fault;
use crate::matches::is_token;
use crate::objects::http_route::{Header, HeaderFilter};

/// The changes, by lower-case name.
pub(super) fn read(spec: &HeaderFilter, field: Field<'_>) -> Result<Vec<HeaderOp>, Fault> {
    let set = spec.set.iter().enumerate().map(|(index, header)| ("set", index, &header.name, Some(header)));
    let add = spec.add.iter().enumerate().map(|(index, header)| ("add", index, &header.name, Some(header)));
    let remove = spec.remove.iter().enumerate().map(|(index, name)| ("remove", index, name, None));
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut changes = Vec::new();
    for (list, index, name, header) in set.chain(add).chain(remove) {
        let list_field = field.below(list);
        let place = list_field.at(index);
        if !is_token(name) {
            let message = format!("`{name}` is not a header name");
            return Err(Fault::new("invalid-filter", place, message, "use letters, digits and `-`"));
        }
        let name = name.to_ascii_lowercase();
        match seen.insert(name.clone(), list) {
            // The API: of equivalent names in one list only the first counts.
            Some(earlier) if earlier == list => continue,
            Some(earlier) => {
                let message =
                    format!("header `{name}` is in `{earlier}` already; one filter does one thing to a header");
                return Err(Fault::new("invalid-filter", place, message, "keep one of the two"));
            }
            None => {}
        }
        changes.push(match header {
            None => HeaderOp::Remove(name),
            Some(header) => {
                let value = (name, Text::literal(value(header, place)?));
                if list == "set" { HeaderOp::Set(value) } else { HeaderOp::Add(value) }
            }
        });
    }
    Ok(changes)
}

fn value<'h>(header: &'h Header, field: Field<'_>) -> Result<&'h str, Fault> {
    let legal = |b: u8| b == b'\t' || (b >= b' ' && b != 0x7f);
    if header.value.is_empty() || !header.value.bytes().all(legal) {
        let message = format!("the value of header `{}` is empty or has control characters", header.name);
        return Err(Fault::new("invalid-filter", format!("{field}.value"), message, "give a value in one line"));
    }
    Ok(&header.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::SPEC;

    fn changes(json: &str) -> Result<Vec<HeaderOp>, Fault> {
        read(&serde_json::from_str(json).unwrap(), SPEC)
    }

    #[test]
    fn names_are_lower_case_and_the_first_of_a_list_counts() {
        let json = r#"{"set":[{"name":"X-A","value":"1"},{"name":"x-a","value":"2"}],"remove":["X-B"]}"#;
        let expected = [HeaderOp::Set(("x-a".to_owned(), Text::literal("1"))), HeaderOp::Remove("x-b".to_owned())];
        assert_eq!(changes(json).unwrap(), expected);
    }

    #[test]
    fn one_header_has_one_change() {
        assert!(changes(r#"{"set":[{"name":"x-a","value":"1"}],"remove":["X-A"]}"#).is_err());
        assert!(changes(r#"{"add":[{"name":"x a","value":"1"}]}"#).is_err());
        assert!(changes(r#"{"add":[{"name":"x-a","value":"a\r\nb"}]}"#).is_err());
    }
}
