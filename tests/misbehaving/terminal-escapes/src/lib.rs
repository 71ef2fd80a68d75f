//! Everything that it says for people to read would recolour and retitle their terminal.

use sekisho_ordinary::{MISBEHAVE, Ordinary, origin};
use sekisho_sdk::model::{Action, Response, Route, Translation};
use sekisho_sdk::{Finding, Severity, Status};

/// Red, a title, a bell, a new line as the log writes them, and text that runs backwards.
const ESCAPES: &str = "\u{1b}[31m\u{1b}]0;title\u{7}\r\n\u{9b}1mERROR \u{202e}sdrawkcab";
/// The same as JSON writes it.
const IN_JSON: &str = r"\u001b[31m\u001b]0;title\u0007\r\n\u009b1mERROR \u202esdrawkcab";

/// The plugin.
#[derive(Debug)]
pub struct TerminalEscapes;

impl Ordinary for TerminalEscapes {
    fn translate(mut ordinary: Translation, _what: &str) -> Translation {
        let mut origin = origin();
        origin.field = format!("spec{ESCAPES}");
        origin.object.name = format!("object{ESCAPES}");
        ordinary.findings.push(Finding {
            severity: Severity::Warning,
            code: format!("code{ESCAPES}"),
            origin: origin.clone(),
            message: format!("message{ESCAPES}"),
            remedy: format!("remedy{ESCAPES}"),
        });
        // Its name goes into the line of every request, and why it is refused into a finding.
        let refused = Action::Respond(Response::status(99));
        ordinary.routes.push(Route::new(format!("route{ESCAPES}"), origin.clone(), refused).into());
        ordinary.listeners[0].name = format!("listener{ESCAPES}");
        ordinary.listeners[0].origin = origin;
        ordinary
    }

    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        sekisho_sdk::log::info(&format!("logged{ESCAPES}"));
        assert_ne!(path, MISBEHAVE, "panic{ESCAPES}");
        if path == "/refused" { Some(1) } else { ordinary }
    }

    fn report(mut ordinary: Vec<Status>) -> Vec<Status> {
        for status in &mut ordinary {
            status.object.name = format!("status{ESCAPES}");
            status.json = status.json.replace("\"Accepted\", \"status\"", &format!("\"type{IN_JSON}\", \"status\""));
        }
        ordinary
    }
}

sekisho_ordinary::export!(TerminalEscapes);
