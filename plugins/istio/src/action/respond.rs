//! `directResponse`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sekisho_sdk::model::{Response, Text};

use crate::findings::{Findings, Place};
use crate::objects::virtual_service::HttpDirectResponse;

/// Istio's limit.
const MOST_BODY: usize = 1 << 20;

pub(super) fn read(said: &HttpDirectResponse, at: &Place<'_>, findings: &mut Findings) -> Option<Response> {
    let status = u16::try_from(said.status).ok().filter(|status| (200..600).contains(status));
    if status.is_none() {
        let message = format!("{} cannot be answered; the rule answers 500", said.status);
        findings.error(&at.field("status"), "invalid-value", message, "write a status from 200 to 599");
    }
    let body = match said.body.as_ref().map(|body| (&body.string, &body.bytes)) {
        None | Some((None, None)) => Some(Vec::new()),
        Some((Some(text), None)) => Some(text.clone().into_bytes()),
        Some((None, Some(bytes))) => {
            let decoded = STANDARD.decode(bytes).ok();
            if decoded.is_none() {
                let message = "the bytes are not Base64; the rule answers 500";
                findings.error(
                    &at.field("body").field("bytes"),
                    "invalid-value",
                    message,
                    "encode them, or write `string`",
                );
            }
            decoded
        }
        Some((Some(_), Some(_))) => {
            let message = "a body is `string` or `bytes`; the rule answers 500";
            findings.error(&at.field("body"), "conflicting-fields", message, "keep one and remove the other");
            None
        }
    }?;
    if body.len() > MOST_BODY {
        let message = format!("the body has more than {MOST_BODY} bytes; the rule answers 500");
        findings.error(&at.field("body"), "invalid-value", message, "let a backend answer");
        return None;
    }
    let mut response = Response::status(status?);
    if !body.is_empty() {
        // Envoy's, unless `headers.response.set` says otherwise.
        response.headers.push(("content-type".to_owned(), Text::literal("text/plain")));
    }
    response.body = body;
    Some(response)
}
