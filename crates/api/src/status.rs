//! API failures (and successes without an object) as `meta/v1` Status, worded like apimachinery's `errors` package.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::field::{ErrorList, quote};

/// The reasons that upstream defines; a webhook or an aggregated server may send others.
pub mod reason {
    #![expect(missing_docs, reason = "each constant is named by its value")]
    pub const ALREADY_EXISTS: &str = "AlreadyExists";
    pub const BAD_REQUEST: &str = "BadRequest";
    pub const CONFLICT: &str = "Conflict";
    pub const EXPIRED: &str = "Expired";
    pub const FORBIDDEN: &str = "Forbidden";
    pub const GONE: &str = "Gone";
    pub const INTERNAL_ERROR: &str = "InternalError";
    pub const INVALID: &str = "Invalid";
    pub const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
    pub const NOT_ACCEPTABLE: &str = "NotAcceptable";
    pub const NOT_FOUND: &str = "NotFound";
    pub const REQUEST_ENTITY_TOO_LARGE: &str = "RequestEntityTooLarge";
    pub const SERVER_TIMEOUT: &str = "ServerTimeout";
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
    pub const TIMEOUT: &str = "Timeout";
    pub const TOO_MANY_REQUESTS: &str = "TooManyRequests";
    pub const UNAUTHORIZED: &str = "Unauthorized";
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "UnsupportedMediaType";
}

/// One cause in the details of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The machine-readable class (`reason` on the wire); may be empty.
    pub reason: Cow<'static, str>,
    /// The text.
    pub message: String,
    /// The path of the field, if the cause is about one.
    pub field: String,
}

/// What a status is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group.
    pub group: String,
    /// The resource (`pods`), for invalid objects the kind (`Pod`).
    pub kind: String,
    /// UID of the object.
    pub uid: String,
    /// The single causes.
    pub causes: Vec<Cause>,
    /// When a retry makes sense; 0 means unset.
    pub retry_after_seconds: u32,
}

/// An answer of the API that is not an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// The machine-readable reason; may be empty.
    pub reason: Cow<'static, str>,
    /// The text for people; may be empty.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
}

/// `plural` or `plural.group`, as messages name a resource (and a kind).
fn qualified<'a>(group: &str, name: &'a str) -> Cow<'a, str> {
    if group.is_empty() { Cow::Borrowed(name) } else { Cow::Owned(format!("{name}.{group}")) }
}

fn about(group: &str, kind: &str, name: &str) -> Details {
    Details { name: name.to_owned(), group: group.to_owned(), kind: kind.to_owned(), ..Details::default() }
}

impl Status {
    fn failure(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Details>) -> Self {
        Self { code, reason: Cow::Borrowed(reason), message: message.into(), details: details.map(Box::new) }
    }

    /// The success that a deletion answers when the object is gone.
    #[must_use]
    pub fn success(details: Option<Details>) -> Self {
        Self { code: 200, reason: Cow::Borrowed(""), message: String::new(), details: details.map(Box::new) }
    }

    /// 404 for an object of a known resource.
    #[must_use]
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, plural), quote(name));
        Self::failure(404, reason::NOT_FOUND, message, Some(about(group, plural, name)))
    }

    /// 404 for a path that no resource serves.
    #[must_use]
    pub fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::failure(404, reason::NOT_FOUND, message, Some(Details::default()))
    }

    /// 409 for a create of what is there.
    #[must_use]
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, plural), quote(name));
        Self::failure(409, reason::ALREADY_EXISTS, message, Some(about(group, plural, name)))
    }

    /// 409 when every generated name was taken.
    #[must_use]
    pub fn generate_name_conflict(group: &str, plural: &str, name: &str) -> Self {
        let message = format!(
            "{} {} already exists, the server was not able to generate a unique name for the object",
            qualified(group, plural),
            quote(name)
        );
        let details = Details { retry_after_seconds: 1, ..about(group, plural, name) };
        Self::failure(409, reason::ALREADY_EXISTS, message, Some(details))
    }

    /// 409 for an update that lost a race or has a wrong precondition.
    #[must_use]
    pub fn conflict(group: &str, plural: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {}: {why}", qualified(group, plural), quote(name));
        Self::failure(409, reason::CONFLICT, message, Some(about(group, plural, name)))
    }

    /// The conflict of a stale resourceVersion.
    #[must_use]
    pub fn modified(group: &str, plural: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, plural, name, why)
    }

    /// 422 with the errors that validation found; `kind` is the kind (`Pod`), not the resource.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: ErrorList) -> Self {
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for error in &errors {
            // Upstream aggregates errors as a set: equal texts appear once.
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let mut message = format!("{} {} is invalid", qualified(group, kind), quote(name));
        match texts.as_slice() {
            [] => {}
            [only] => message.push_str(&format!(": {only}")),
            many => message.push_str(&format!(": [{}]", many.join(", "))),
        }
        let causes = errors
            .into_iter()
            .map(|error| Cause {
                reason: Cow::Borrowed(error.error_type.reason()),
                message: error.body(),
                field: error.field,
            })
            .collect();
        let details = Details { causes, ..about(group, kind, name) };
        Self::failure(422, reason::INVALID, message, Some(details))
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, reason::BAD_REQUEST, message, None)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, reason::UNAUTHORIZED, "Unauthorized", None)
    }

    /// 403 about a resource; `name` may be empty.
    #[must_use]
    pub fn forbidden(group: &str, plural: &str, name: &str, why: impl fmt::Display) -> Self {
        let message = match (plural.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{} is forbidden: {why}", qualified(group, plural)),
            (false, false) => format!("{} {} is forbidden: {why}", qualified(group, plural), quote(name)),
        };
        Self::failure(403, reason::FORBIDDEN, message, Some(about(group, plural, name)))
    }

    /// 405 for a verb that the resource does not have.
    #[must_use]
    pub fn method_not_supported(group: &str, plural: &str, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {}", quote(&qualified(group, plural)));
        Self::failure(405, reason::METHOD_NOT_ALLOWED, message, Some(about(group, plural, "")))
    }

    /// 405 for an HTTP method that the path does not take.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::failure(405, reason::METHOD_NOT_ALLOWED, message, Some(Details::default()))
    }

    /// 410: the resourceVersion or continue token is too old.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, reason::EXPIRED, message, None)
    }

    /// 429.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::failure(429, reason::TOO_MANY_REQUESTS, message, Some(details))
    }

    /// 504.
    #[must_use]
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        let details = Details { retry_after_seconds, ..Details::default() };
        Self::failure(504, reason::TIMEOUT, format!("Timeout: {message}"), Some(details))
    }

    /// The timeout of a read at a resourceVersion that the server has not reached.
    #[must_use]
    pub fn too_large_resource_version(wanted: u64, current: u64) -> Self {
        let mut status = Self::timeout(format_args!("Too large resource version: {wanted}, current: {current}"), 1);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: Cow::Borrowed("ResourceVersionTooLarge"),
                message: "Too large resource version".to_owned(),
                field: String::new(),
            });
        }
        status
    }

    /// 500 with reason ServerTimeout: the operation may have happened or not.
    #[must_use]
    pub fn server_timeout(group: &str, plural: &str, operation: &str, retry_after_seconds: u32) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(group, plural)
        );
        let details = Details { retry_after_seconds, ..about(group, plural, operation) };
        Self::failure(500, reason::SERVER_TIMEOUT, message, Some(details))
    }

    /// 406 for an Accept header that cannot be met.
    #[must_use]
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        Self::failure(406, reason::NOT_ACCEPTABLE, message, None)
    }

    /// 415 for a Content-Type that is not understood.
    #[must_use]
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Self::failure(415, reason::UNSUPPORTED_MEDIA_TYPE, message, None)
    }

    /// 413.
    #[must_use]
    pub fn request_entity_too_large(why: impl fmt::Display) -> Self {
        Self::failure(413, reason::REQUEST_ENTITY_TOO_LARGE, format!("Request entity too large: {why}"), None)
    }

    /// 500 with reason InternalError.
    #[must_use]
    pub fn internal(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        let message = format!("Internal error occurred: {why}");
        let details = Details { causes: vec![Cause { message: why, ..Cause::default() }], ..Details::default() };
        Self::failure(500, reason::INTERNAL_ERROR, message, Some(details))
    }

    /// 500 without a reason, which upstream answers for errors that it does not classify.
    #[must_use]
    pub fn unclassified(message: impl Into<String>) -> Self {
        Self::failure(500, "", message, None)
    }

    /// 503.
    #[must_use]
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, reason::SERVICE_UNAVAILABLE, message, None)
    }

    /// 503 for a path that may be there when the server has started.
    #[must_use]
    pub fn not_installed() -> Self {
        let details = Details { retry_after_seconds: 5, ..Details::default() };
        let why = "the request has been made before all known HTTP paths have been installed, please try again";
        Self::failure(503, reason::SERVICE_UNAVAILABLE, why, Some(details))
    }

    /// A status with any code and reason, for the rare answers without a constructor.
    #[must_use]
    pub fn custom(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Details>) -> Self {
        Self::failure(code, reason, message, details)
    }

    /// Whether this reports a failure.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.code >= 400
    }

    /// The document as sent to clients.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("kind".to_owned(), "Status".into());
        object.insert("apiVersion".to_owned(), "v1".into());
        object.insert("metadata".to_owned(), json!({}));
        object.insert("status".to_owned(), if self.is_failure() { "Failure" } else { "Success" }.into());
        insert_text(&mut object, "message", &self.message);
        insert_text(&mut object, "reason", &self.reason);
        if let Some(details) = &self.details {
            object.insert("details".to_owned(), details.to_json());
        }
        if self.is_failure() {
            object.insert("code".to_owned(), self.code.into());
        }
        Value::Object(object)
    }

    /// Reads a Status document; `None` if `value` is not one.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        if object.get("kind")?.as_str()? != "Status" {
            return None;
        }
        let failed = object.get("status").and_then(Value::as_str) == Some("Failure");
        let code = object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        Some(Self {
            code: code.filter(|code| *code != 0).unwrap_or(if failed { 500 } else { 200 }),
            reason: Cow::Owned(text(object, "reason")),
            message: text(object, "message"),
            details: object.get("details").and_then(Value::as_object).map(|details| Box::new(Details::read(details))),
        })
    }
}

fn text(object: &Map<String, Value>, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn insert_text(object: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.to_owned(), text.into());
    }
}

impl Details {
    fn to_json(&self) -> Value {
        let mut object = Map::new();
        insert_text(&mut object, "name", &self.name);
        insert_text(&mut object, "group", &self.group);
        insert_text(&mut object, "kind", &self.kind);
        insert_text(&mut object, "uid", &self.uid);
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|cause| {
                let mut object = Map::new();
                insert_text(&mut object, "reason", &cause.reason);
                insert_text(&mut object, "message", &cause.message);
                insert_text(&mut object, "field", &cause.field);
                Value::Object(object)
            });
            object.insert("causes".to_owned(), causes.collect());
        }
        if self.retry_after_seconds != 0 {
            object.insert("retryAfterSeconds".to_owned(), self.retry_after_seconds.into());
        }
        Value::Object(object)
    }

    fn read(object: &Map<String, Value>) -> Self {
        let causes = object.get("causes").and_then(Value::as_array).into_iter().flatten();
        Self {
            name: text(object, "name"),
            group: text(object, "group"),
            kind: text(object, "kind"),
            uid: text(object, "uid"),
            causes: causes
                .filter_map(Value::as_object)
                .map(|cause| Cause {
                    reason: Cow::Owned(text(cause, "reason")),
                    message: text(cause, "message"),
                    field: text(cause, "field"),
                })
                .collect(),
            retry_after_seconds: object
                .get("retryAfterSeconds")
                .and_then(Value::as_u64)
                .and_then(|seconds| u32::try_from(seconds).ok())
                .unwrap_or(0),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "status {} {}", self.code, self.reason)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{FieldError, Path};

    #[track_caller]
    fn check(status: &Status, document: Value) {
        assert_eq!(status.to_json(), document);
        assert_eq!(Status::from_json(&document).as_ref(), Some(status));
    }

    #[test]
    fn resources_of_groups_are_qualified() {
        check(
            &Status::not_found("apps", "deployments", "d"),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"d\" not found", "reason": "NotFound",
                "details": {"name": "d", "group": "apps", "kind": "deployments"}, "code": 404}),
        );
        check(
            &Status::no_such_resource(),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "the server could not find the requested resource", "reason": "NotFound",
                "details": {}, "code": 404}),
        );
    }

    #[test]
    fn invalid_lists_each_error_and_its_cause() {
        let path = Path::new("spec");
        let one = FieldError::required(&path.child("a"), "");
        let two = FieldError::invalid(&path.child("b"), "x", "bad");
        assert_eq!(
            Status::invalid("", "Pod", "p", vec![one.clone()]).message,
            "Pod \"p\" is invalid: spec.a: Required value"
        );
        check(
            &Status::invalid("apps", "Deployment", "d", vec![one, two]),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "Deployment.apps \"d\" is invalid: [spec.a: Required value, spec.b: Invalid value: \"x\": bad]",
                "reason": "Invalid",
                "details": {"name": "d", "group": "apps", "kind": "Deployment", "causes": [
                    {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
                    {"reason": "FieldValueInvalid", "message": "Invalid value: \"x\": bad", "field": "spec.b"}]},
                "code": 422}),
        );
    }

    #[test]
    fn a_success_has_no_code() {
        assert_eq!(
            Status::success(None).to_json(),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})
        );
    }
}
