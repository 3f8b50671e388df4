//! One operation: what is sent, what comes back, and what clients call it.

use serde_json::{Value, json};

use super::components::reference;
use super::parameters::{self, Parameter};

/// The media types of objects.
const OBJECTS: [&str; 4] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"];
/// The media types of patches.
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

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
}

impl Verb {
    /// The HTTP method.
    pub(super) fn method(self) -> &'static str {
        match self {
            Verb::Create => "post",
            Verb::Delete | Verb::DeleteCollection => "delete",
            Verb::Get | Verb::List => "get",
            Verb::Patch => "patch",
            Verb::Update => "put",
        }
    }

    /// The word for it in `x-kubernetes-action`.
    fn action(self) -> &'static str {
        match self {
            Verb::DeleteCollection => "deletecollection",
            Verb::List => "list",
            other => other.method(),
        }
    }

    /// The word for it in operation names.
    fn word(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deleteCollection",
            Verb::Get => "read",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "replace",
        }
    }

    fn parameters(self) -> &'static [Parameter] {
        match self {
            Verb::Create | Verb::Update => parameters::WRITE,
            Verb::Delete => parameters::DELETE,
            Verb::DeleteCollection | Verb::List => parameters::LIST,
            Verb::Get => &[],
            Verb::Patch => parameters::PATCH,
        }
    }
}

/// An operation on a resource or a subresource.
pub(super) struct Operation<'a> {
    pub(super) verb: Verb,
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) kind: &'a str,
    /// The schema of what is sent and received; none where the body is anything.
    pub(super) schema: Option<&'a str>,
    /// What the operation's name ends with, such as `NamespacedPodStatus`.
    pub(super) subject: &'a str,
}

impl Operation<'_> {
    /// The operation as it stands in a document.
    pub(super) fn to_json(&self) -> Value {
        let tag = tag(self.group, self.version);
        let name: String = tag.split('_').map(capitalized).collect();
        let mut operation = json!({
            "tags": [tag],
            "operationId": format!("{}{name}{}", self.verb.word(), self.subject),
            "description": format!("{} of {}", self.verb.word(), self.kind),
            "parameters": parameters::in_query(&[parameters::ALWAYS, self.verb.parameters()]),
            "responses": self.responses(),
            "x-kubernetes-action": self.verb.action(),
            "x-kubernetes-group-version-kind": {"group": self.group, "version": self.version, "kind": self.kind},
        });
        if let Some(body) = self.body() {
            operation["requestBody"] = body;
        }
        operation
    }

    fn body(&self) -> Option<Value> {
        const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
        let any = json!({"type": "object"});
        match self.verb {
            Verb::Create | Verb::Update => {
                let schema = self.schema.map_or(any, reference);
                Some(json!({"required": true, "content": {"*/*": {"schema": schema}}}))
            }
            Verb::Patch => Some(json!({"required": true, "content": content(&PATCHES, &any)})),
            Verb::Delete | Verb::DeleteCollection => {
                Some(json!({"content": {"*/*": {"schema": reference(DELETE_OPTIONS)}}}))
            }
            Verb::Get | Verb::List => None,
        }
    }

    fn responses(&self) -> Value {
        const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
        let schema = match (self.verb, self.schema) {
            (Verb::Delete | Verb::DeleteCollection, _) => reference(STATUS),
            (Verb::List, Some(schema)) => reference(&format!("{schema}List")),
            (_, Some(schema)) => reference(schema),
            (_, None) => json!({"type": "string"}),
        };
        let answer = |description: &str| json!({"description": description, "content": content(&OBJECTS, &schema)});
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

fn content(media_types: &[&str], schema: &Value) -> Value {
    media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({"schema": schema}))).collect()
}

/// The tag of a group and version, such as `rbacAuthorization_v1`.
fn tag(group: &str, version: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut parts = group.split('.');
    let first = match parts.next() {
        None | Some("") => "core",
        Some(first) => first,
    };
    let rest: String = parts.map(capitalized).collect();
    format!("{first}{rest}_{version}")
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
