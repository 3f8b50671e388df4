//! An event, as it is written.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use super::policy::{Level, Stage};
use crate::access::Identity;

/// An event of `audit.k8s.io/v1`, its fields in upstream's order.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    pub(super) kind: &'static str,
    pub(super) api_version: &'static str,
    pub(super) level: Level,
    #[serde(rename = "auditID")]
    pub(super) audit_id: String,
    pub(super) stage: Stage,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: String,
    pub(super) verb: String,
    pub(super) user: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impersonated_user: Option<Value>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub(super) source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_object: Option<Value>,
    pub(super) request_received_timestamp: String,
    pub(super) stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The object that a request is to.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) subresource: String,
}

/// A user as events write it.
pub(super) fn user(identity: &Identity) -> Value {
    let mut user = json!({"username": identity.user, "groups": identity.groups});
    if let Some(uid) = &identity.uid {
        user["uid"] = uid.clone().into();
    }
    if !identity.extra.is_empty() {
        user["extra"] = json!(identity.extra);
    }
    user
}

impl Event {
    /// The event as a line of JSON.
    pub(super) fn json(&self) -> String {
        // Maps have text for keys, so that nothing here can fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// The event as a line of upstream's first format, which has the metadata alone.
    pub(super) fn legacy(&self) -> String {
        let quote = api::field::quote;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let groups = |user: &Value| {
            let list = user["groups"].as_array().into_iter().flatten();
            let list: Vec<String> = list.map(|group| quote(&text(group))).collect();
            if list.is_empty() { "\"<none>\"".to_owned() } else { list.join(",") }
        };
        let or = |value: String, none: &str| if value.is_empty() { none.to_owned() } else { value };
        let other = self.impersonated_user.as_ref();
        let namespace = self.object_ref.as_ref().map(|object| object.namespace.clone()).unwrap_or_default();
        let code = self.response_status.as_ref().and_then(|status| status["code"].as_u64());
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            line,
            "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={} asgroups={} user-agent={} namespace={} \
             uri={} response=\"{}\"",
            self.stage_timestamp,
            quote(&self.audit_id),
            quote(&format!("{:?}", self.stage)),
            quote(&or(self.source_ips.first().cloned().unwrap_or_default(), "<unknown>")),
            quote(&self.verb),
            quote(&or(text(&self.user["username"]), "<none>")),
            groups(&self.user),
            quote(&or(other.map(|user| text(&user["username"])).unwrap_or_default(), "<self>")),
            other.map_or_else(|| "\"<lookup>\"".to_owned(), groups),
            quote(&self.user_agent),
            quote(&or(namespace, "<none>")),
            quote(&self.request_uri),
            code.map_or_else(|| "<deferred>".to_owned(), |code| code.to_string()),
        );
        line
    }
}
