//! `describe` asks for the same objects again and again.

use sekisho_ordinary::Ordinary;
use sekisho_sdk::{Description, Kind};

/// The plugin.
#[derive(Debug)]
pub struct GreedyDescribe;

impl Ordinary for GreedyDescribe {
    fn describe(ordinary: Description) -> Description {
        let kind = || Kind { group: String::new(), kind: "Service".to_owned(), versions: vec!["v1".to_owned()] };
        Description { reads: (0..100).map(|_| kind()).collect(), ..ordinary }
    }
}

sekisho_ordinary::export!(GreedyDescribe);
