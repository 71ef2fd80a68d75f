use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

use super::*;

#[test]
fn every_subject_has_keys_of_its_own() {
    let key = ObjectKey::core("Secret", "ns", "name");
    let places = HashMap::from([(key.clone(), Arc::from("a.json"))]);
    let schema: Value = serde_json::from_str(include_str!("../../../docs/check.schema.json")).unwrap();
    let known = &schema["$defs"]["finding"]["properties"];
    let keys = |subject: Subject| {
        let json = Finding::new(Severity::Info, subject, "code", "message").remedy("remedy").to_json(&places);
        for (key, value) in [("severity", "info"), ("code", "code"), ("message", "message"), ("remedy", "remedy")] {
            assert_eq!(json[key], value);
        }
        let own = json.as_object().unwrap().iter();
        let own = own.filter(|(key, _)| !["severity", "code", "message", "remedy"].contains(&key.as_str()));
        let own = own.inspect(|(key, _)| assert!(known[key.as_str()].is_object(), "the schema has no {key}"));
        own.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    let path = || "b.json".to_owned();
    assert_eq!(keys(Subject::File { path: path(), at: None }), r#"file="b.json""#);
    assert_eq!(keys(Subject::File { path: path(), at: Some((2, 3)) }), r#"column=3 file="b.json" line=2"#);
    let object = r#"{"group":"","kind":"Secret","name":"name","namespace":"ns"}"#;
    let field = "data".to_owned();
    assert_eq!(
        keys(Subject::Object { key: key.clone(), field: field.clone() }),
        format!(r#"field="data" file="a.json" object={object}"#)
    );
    let elsewhere = ObjectKey { name: "other".to_owned(), ..key };
    assert!(!keys(Subject::Object { key: elsewhere, field }).contains("file"), "it was read nowhere");
    assert_eq!(keys(Subject::Plugin("p".to_owned())), r#"plugin="p""#);
    assert_eq!(keys(Subject::Socket("[::]:443".to_owned())), r#"socket="[::]:443""#);
    assert_eq!(keys(Subject::Source("kubernetes")), r#"source="kubernetes""#);
}

/// docs/check.md has a row for each code that the host and the built-in plugins have, and for no other.
#[test]
fn every_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut said: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in ["host", "plugins/sdk", "plugins/istio", "plugins/gateway-api", "plugins/kubernetes-secrets"] {
        codes(&root.join(folder).join("src"), &mut said);
    }
    assert!(said.len() > 80, "the sources are read wrongly: {said:?}");
    let docs = std::fs::read_to_string(root.join("docs/check.md")).unwrap();
    let docs = docs.split_once("## Codes").unwrap().1;
    let code = Regex::new("`([a-z0-9-]+)`").unwrap();
    let cells = docs.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let rows: Vec<&str> =
        cells.flat_map(|cell| code.captures_iter(cell)).map(|code| code.get(1).unwrap().as_str()).collect();
    let documented: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(documented.len(), rows.len(), "a code has two rows");
    let missing: Vec<_> = said.iter().filter(|(code, _)| !documented.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "docs/check.md does not have {missing:#?}");
    let gone: Vec<_> = documented.iter().filter(|code| !said.contains_key(**code)).collect();
    assert!(gone.is_empty(), "docs/check.md has {gone:?}, which nothing says");
}

/// The codes in the sources below a folder, each with a file that has it: the first literal of a code's form among the
/// arguments of what makes findings, and what stands beside a severity.
fn codes(folder: &Path, said: &mut BTreeMap<String, PathBuf>) {
    let call = Regex::new(
        r"(?:\b(?:Finding::(?:on|new)|Fault::new|finding|fault|refuse|refusal|of)|\.(?:error|warning|info|warn|say|refuse))\(",
    )
    .unwrap();
    let code = Regex::new(r#""([a-z0-9]+(?:-[a-z0-9]+)+)""#).unwrap();
    let beside = Regex::new(r#"(?:Severity::\w+,|\bcode:)\s*"([a-z0-9]+(?:-[a-z0-9]+)+)""#).unwrap();
    for entry in folder.read_dir().unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            codes(&path, said);
            continue;
        }
        let is_source = path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs");
        let text = if is_source { std::fs::read_to_string(&path).unwrap() } else { String::new() };
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let in_calls = call.find_iter(text).filter_map(|call| code.captures(arguments(&text[call.end()..])));
        for found in in_calls.chain(beside.captures_iter(text)) {
            said.entry(found[1].to_owned()).or_insert_with(|| path.clone());
        }
    }
}

/// Up to the parenthesis that closes the call.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}
