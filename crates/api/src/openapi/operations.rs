//! One operation: what is sent, what comes back, and what clients call it.

use serde_json::{Value, json};

use super::components::reference;
use super::names;
use super::parameters::{self, Parameter};

/// The media types in which built-in objects are answered.
const OBJECTS: &[&str] = &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
/// The media types in which custom objects are answered.
const CUSTOM_OBJECTS: &[&str] = &["application/json", "application/yaml"];
/// The media types of lists, which may become watches.
const LISTS: &[&str] = &[
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
];
/// The media types of logs.
const LOGS: &[&str] = &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml", "text/plain"];
/// What passes through to a node.
const ANYTHING: &[&str] = &["*/*"];
/// The media types of patches.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
/// The media types of patches of custom objects, whose types have no merge strategies.
const CUSTOM_PATCHES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];

/// What is done with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Delete,
    DeleteCollection,
    Get,
    List,
    Patch,
    Update,
    /// The old form of a watch of one object.
    Watch,
    /// The old form of a watch of a list.
    WatchList,
    /// A request by the HTTP method that is passed on to a node.
    Connect(&'static str),
}

impl Verb {
    /// The HTTP method.
    pub(super) fn method(self) -> &'static str {
        match self {
            Verb::Create => "post",
            Verb::Delete | Verb::DeleteCollection => "delete",
            Verb::Get | Verb::List | Verb::Watch | Verb::WatchList => "get",
            Verb::Patch => "patch",
            Verb::Update => "put",
            Verb::Connect(method) => method,
        }
    }

    /// The word for it in `x-kubernetes-action`.
    fn action(self) -> &'static str {
        match self {
            Verb::DeleteCollection => "deletecollection",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::WatchList => "watchlist",
            Verb::Connect(_) => "connect",
            other => other.method(),
        }
    }

    /// The words for it in operation names: before the group, and after it.
    fn words(self) -> (&'static str, String) {
        let word = match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => return ("delete", "Collection".to_owned()),
            Verb::Get => "read",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "replace",
            Verb::Watch | Verb::WatchList => "watch",
            Verb::Connect(method) => return ("connect", names::operation_part(method, true)),
        };
        (word, String::new())
    }

    fn description(self, kind: &str) -> String {
        match self {
            Verb::Create => format!("create a new {kind}"),
            Verb::Delete => format!("delete one {kind}"),
            Verb::DeleteCollection => format!("delete every {kind} that is selected"),
            Verb::Get => format!("read one {kind}"),
            Verb::List => format!("list {kind} objects, or watch them"),
            Verb::Patch => format!("change parts of one {kind}"),
            Verb::Update => format!("replace one {kind} as a whole"),
            Verb::Watch => format!("watch one {kind}; deprecated: list with `watch` and a field selector"),
            Verb::WatchList => format!("watch {kind} objects; deprecated: list with `watch`"),
            Verb::Connect(method) => format!("pass a {} request on ({kind})", method.to_uppercase()),
        }
    }

    fn parameters(self) -> &'static [Parameter] {
        match self {
            Verb::Create | Verb::Update => parameters::WRITE,
            Verb::Delete => parameters::DELETE,
            Verb::DeleteCollection => parameters::DELETE_COLLECTION,
            Verb::List | Verb::Watch | Verb::WatchList => parameters::LIST,
            Verb::Get | Verb::Connect(_) => &[],
            Verb::Patch => parameters::PATCH,
        }
    }
}

/// What an operation answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    /// The schema with this name.
    Schema(&'a str),
    /// Text.
    Text,
    /// The lines of a log.
    Log,
}

/// An operation on a resource or a subresource.
pub(super) struct Operation<'a> {
    pub(super) verb: Verb,
    /// Group and version of the path.
    pub(super) at: (&'a str, &'a str),
    /// Group, version and kind of what is sent.
    pub(super) kind: (&'a str, &'a str, &'a str),
    /// What the operation's name ends with, such as `NamespacedPodStatus`.
    pub(super) subject: &'a str,
    /// The schema of what is sent, if anything is.
    pub(super) body: Option<&'a str>,
    pub(super) answer: Answer<'a>,
    /// Parameters that only this operation takes.
    pub(super) parameters: &'a [Parameter],
    /// Whether the resource is defined at run time.
    pub(super) custom: bool,
}

impl Operation<'_> {
    /// The operation as it stands in a document.
    pub(super) fn to_json(&self) -> Value {
        let (group, version, kind) = self.kind;
        let tag = names::tag(self.at.0, self.at.1);
        let (word, rest) = self.verb.words();
        let place: String = tag.split('_').map(|part| names::operation_part(part, true)).collect();
        // What is passed on is not indented.
        let always = if matches!(self.verb, Verb::Connect(_)) { &[] } else { parameters::ALWAYS };
        let mut operation = json!({
            "tags": [tag],
            "operationId": format!("{word}{place}{rest}{}", self.subject),
            "description": self.verb.description(kind),
            "parameters": parameters::in_query(&[always, self.verb.parameters(), self.parameters]),
            "responses": self.responses(),
            "x-kubernetes-action": self.verb.action(),
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        if let Some(body) = self.request_body() {
            operation["requestBody"] = body;
        }
        operation
    }

    fn request_body(&self) -> Option<Value> {
        let schema = reference(self.body?);
        let patches = if self.custom { CUSTOM_PATCHES } else { PATCHES };
        Some(match self.verb {
            Verb::Patch => json!({"required": true, "content": content(patches, &schema)}),
            Verb::Delete | Verb::DeleteCollection => json!({"content": content(ANYTHING, &schema)}),
            _ => json!({"required": true, "content": content(ANYTHING, &schema)}),
        })
    }

    fn responses(&self) -> Value {
        let media_types = match (self.answer, self.verb) {
            (Answer::Text, _) => ANYTHING,
            (Answer::Log, _) => LOGS,
            (Answer::Schema(_), _) if self.custom => CUSTOM_OBJECTS,
            (Answer::Schema(_), Verb::List | Verb::Watch | Verb::WatchList) => LISTS,
            (Answer::Schema(_), _) => OBJECTS,
        };
        let schema = match self.answer {
            Answer::Schema(name) => reference(name),
            Answer::Text | Answer::Log => json!({"type": "string"}),
        };
        let answer = |description: &str| json!({"description": description, "content": content(media_types, &schema)});
        let mut responses = json!({"200": answer("OK"), "401": {"description": "Unauthorized"}});
        if matches!(self.verb, Verb::Create | Verb::Update | Verb::Patch) {
            responses["201"] = answer("Created");
        }
        if matches!(self.verb, Verb::Create | Verb::Delete) {
            responses["202"] = answer("Accepted");
        }
        responses
    }
}

/// Bodies of one schema in several media types.
pub(super) fn content(media_types: &[&str], schema: &Value) -> Value {
    media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({"schema": schema}))).collect()
}
