//! What the server says instead of what it was asked for: `Status` objects in the words of the real one, on which clients
//! rely more than they should.

use serde_json::{Value, json};

use super::kinds::Kind;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Details>,
    pub(super) retry_after_seconds: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    group: &'static str,
    plural: &'static str,
    name: String,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, retry_after_seconds: None }
    }

    fn of(mut self, kind: &Kind, name: &str) -> Self {
        self.details = Some(Details { group: kind.group, plural: kind.plural, name: name.to_owned() });
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// `what` says who may not do what.
    pub(super) fn forbidden(kind: &Kind, name: &str, what: &str) -> Self {
        let resource = kind.resource();
        let subject = if name.is_empty() { resource } else { format!("{resource} \"{name}\"") };
        Self::new(403, "Forbidden", format!("{subject} is forbidden: {what}")).of(kind, name)
    }

    /// A path that leads nowhere: no such kind, or no such part of it.
    pub(super) fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource())).of(kind, name)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.resource())).of(kind, name)
    }

    /// `why` is `the object has been modified; …` for an old resourceVersion.
    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::new(409, "Conflict", message).of(kind, name)
    }

    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(super) fn unsupported_media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn invalid(kind: &Kind, name: &str, field: &str) -> Self {
        let message = format!("{}.{} \"{name}\" is invalid: {field}", kind.kind, kind.group);
        Self::new(422, "Invalid", message).of(kind, name)
    }

    /// As a server says it that cannot begin a watch with a list.
    pub(super) fn no_watch_list() -> Self {
        let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden \
                       for watch unless the WatchList feature gate is enabled";
        Self::new(422, "Invalid", message)
    }

    pub(super) fn no_field_manager() -> Self {
        let message =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        Self::new(422, "Invalid", message)
    }

    /// As priority and fairness puts it, when there is too much to do.
    pub(super) fn too_many_requests(retry_after_seconds: u64) -> Self {
        let refusal = Self::new(429, "TooManyRequests", "Too many requests, please try again later.");
        Self { retry_after_seconds: Some(retry_after_seconds), ..refusal }
    }

    /// A server that has troubles of its own: 500, 503, 504.
    pub(super) fn trouble(code: u16) -> Self {
        match code {
            503 => Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => Self::new(504, "Timeout", "the server was unable to return a response in the time allotted"),
            _ => Self::new(code, "InternalError", "Internal error occurred: a test wants it so"),
        }
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            let fields = [("name", details.name.as_str()), ("group", details.group), ("kind", details.plural)];
            for (field, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
                status["details"][field] = json!(value);
            }
        }
        if let Some(seconds) = self.retry_after_seconds {
            status["details"]["retryAfterSeconds"] = json!(seconds);
        }
        status
    }
}
