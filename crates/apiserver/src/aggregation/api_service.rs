//! An APIService that names an extension API server, as this server needs it.

use base64::Engine;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::priorities::Priorities;

/// The condition that says whether requests can be passed on.
pub(super) const AVAILABLE: &str = "Available";

/// A group and version that an extension API server behind a Service answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiService {
    /// The object's name: `<version>.<group>`.
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
    /// Whether any certificate will do.
    pub(crate) insecure: bool,
    /// The authorities that its certificate may come from, as PEM; empty for those that the machine trusts.
    pub(crate) ca_bundle: Vec<u8>,
    pub(crate) priorities: Priorities,
    /// What its condition says.
    pub(crate) is_available: bool,
}

impl ApiService {
    /// Reads an object; `None` for a group and version that this server answers itself.
    pub(crate) fn parse(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let service = spec.get("service").filter(|service| service.is_object())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let bundle = spec["caBundle"].as_str().unwrap_or_default();
        Some(Self {
            name: api::meta::name(object).to_owned(),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            namespace: text(&service["namespace"]),
            service: text(&service["name"]),
            port: service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
            insecure: spec["insecureSkipTLSVerify"].as_bool().unwrap_or(false),
            ca_bundle: base64::prelude::BASE64_STANDARD.decode(bundle).unwrap_or_default(),
            priorities: Priorities {
                group: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
                version: spec["versionPriority"].as_i64().unwrap_or(0),
            },
            is_available: condition(object).is_some_and(|available| available["status"] == "True"),
        })
    }

    /// The name that the server's certificate must have.
    pub(crate) fn host(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Whether the other is asked at the same place in the same way.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        let here = |api: &Self| (api.group.clone(), api.version.clone(), api.port);
        self.is_reached_as(other) && here(self) == here(other)
    }

    /// Whether requests are passed on in the same way.
    pub(crate) fn is_reached_as(&self, other: &Self) -> bool {
        let Self { insecure, ca_bundle, .. } = other;
        self.host() == other.host() && self.insecure == *insecure && self.ca_bundle == *ca_bundle
    }
}

fn condition(object: &Value) -> Option<&Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == AVAILABLE)
}

/// Whether requests can be passed on, with the reason and the message of the condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Availability {
    pub(crate) is_available: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Availability {
    /// What is said of groups and versions that this server answers itself.
    pub(crate) fn local() -> Self {
        let message = "Local APIServices are always available".to_owned();
        Self { is_available: true, reason: "Local", message }
    }

    /// Sets the condition of an object; its time changes with its status.
    pub(crate) fn set(&self, object: &mut Value, now: Timestamp) {
        let status = if self.is_available { "True" } else { "False" };
        let before = condition(object).filter(|condition| condition["status"] == status);
        let since = before.and_then(|condition| condition["lastTransitionTime"].as_str()).map(str::to_owned);
        let condition = json!({
            "type": AVAILABLE, "status": status, "reason": self.reason, "message": self.message,
            "lastTransitionTime": since.unwrap_or_else(|| api::meta::format_time(now)),
        });
        let conditions = &mut object["status"]["conditions"];
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        let Some(conditions) = conditions.as_array_mut() else { return };
        match conditions.iter_mut().find(|condition| condition["type"] == AVAILABLE) {
            Some(there) => *there = condition,
            None => conditions.push(condition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
            "metadata": {"name": "v1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 15,
                "caBundle": "eA==", "service": {"namespace": "kube-system", "name": "metrics", "port": 8443},
            },
        })
    }

    #[test]
    fn only_those_with_a_service_are_somewhere_else() {
        let parsed = ApiService::parse(&object()).expect("it has a service");
        assert_eq!((parsed.host().as_str(), parsed.port), ("metrics.kube-system.svc", 8443));
        assert_eq!(parsed.ca_bundle, b"x");
        assert!(!parsed.is_available);
        let mut local = object();
        local["spec"]["service"] = Value::Null;
        assert_eq!(ApiService::parse(&local), None);
    }

    #[test]
    fn the_time_of_the_condition_changes_with_its_status() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let time = |object: &Value| object["status"]["conditions"][0]["lastTransitionTime"].clone();
        let no = |message: &str| Availability {
            is_available: false,
            reason: "ServiceNotFound",
            message: message.to_owned(),
        };
        let mut object = object();
        no("a").set(&mut object, at(0));
        let first = time(&object);
        no("b").set(&mut object, at(60));
        assert_eq!((time(&object), object["status"]["conditions"][0]["message"].as_str()), (first.clone(), Some("b")));
        Availability::local().set(&mut object, at(60));
        assert_ne!(time(&object), first);
        assert_eq!(object["status"]["conditions"].as_array().map(Vec::len), Some(1));
        assert!(ApiService::parse(&object).expect("it has a service").is_available);
    }
}
