//! The translation names something that is not in it; its `config` says what: `binding`, `credential`, `trust`, `target`
//! or `mirror`, or `name` for two listeners of one name.

use sekisho_ordinary::{Ordinary, origin};
use sekisho_sdk::model::{
    Action, ClientVerification, Destination, Forward, Fraction, Mirror, Protocol, Response, Route, Target, Termination,
    TlsVersion, Translation, Verdict,
};

/// The plugin.
#[derive(Debug)]
pub struct IndexInTranslation;

impl Ordinary for IndexInTranslation {
    fn translate(mut ordinary: Translation, what: &str) -> Translation {
        let listener = &mut ordinary.listeners[0];
        match what {
            "binding" => listener.binding = 7,
            "credential" => listener.protocol = https(vec![7], Vec::new()),
            "trust" => listener.protocol = https(Vec::new(), vec![7]),
            "name" => ordinary.listeners.extend_from_within(..),
            "target" => {
                let target = Target::new(1, Destination::Cluster(7));
                ordinary.routes.push(forward(Forward::to(vec![target])).into());
            }
            "mirror" => {
                let target = Target::new(1, Destination::Respond(Response::status(200)));
                let share = Fraction { numerator: 1, denominator: 1 };
                let mirror = Mirror { cluster: 7, share, host_suffix: String::new() };
                ordinary.routes.push(forward(Forward { mirrors: vec![mirror], ..Forward::to(vec![target]) }).into());
            }
            other => panic!("{other:?} is nothing that a translation has"),
        }
        ordinary
    }
}

fn https(credentials: Vec<u32>, trust: Vec<u32>) -> Protocol {
    let client = ClientVerification {
        trust,
        no_certificate: Verdict::Refuse,
        untrusted: Verdict::Refuse,
        names: Vec::new(),
        pins: Vec::new(),
        max_depth: None,
    };
    Protocol::Https(Termination {
        credentials,
        client: Some(client),
        min_version: TlsVersion::Tls12,
        max_version: TlsVersion::Tls13,
        cipher_suites: Vec::new(),
        alpn: Vec::new(),
    })
}

fn forward(forward: Forward) -> Route {
    Route::new("forward", origin(), Action::Forward(forward))
}

sekisho_ordinary::export!(IndexInTranslation);
