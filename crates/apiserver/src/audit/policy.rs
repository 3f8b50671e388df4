//! The policy: how much is kept of which request.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::access::attributes::{Asked, Attributes, ResourceAttributes};

/// How much is kept of a request.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When an event is written.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(super) enum Stage {
    RequestReceived,
    /// The head of an answer that lasts is sent.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// A policy of `audit.k8s.io/v1`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditPolicy {
    api_version: String,
    kind: String,
    #[serde(rename = "metadata", default)]
    _metadata: Option<Value>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs", default)]
    urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum AuditPolicyError {
    /// It cannot be read.
    #[error("the audit policy cannot be read: {0}")]
    Syntax(String),
    /// It says something that makes no sense.
    #[error("the audit policy is not valid: {0}")]
    Invalid(String),
}

impl FromStr for AuditPolicy {
    type Err = AuditPolicyError;

    fn from_str(text: &str) -> Result<Self, AuditPolicyError> {
        let policy: Self = serde_saphyr::from_str(text).map_err(|err| AuditPolicyError::Syntax(err.to_string()))?;
        let invalid = |why: String| Err(AuditPolicyError::Invalid(why));
        if (policy.api_version.as_str(), policy.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            return invalid(format!("it is a {} of {:?}", policy.kind, policy.api_version));
        }
        if policy.rules.is_empty() {
            return invalid("it has no rules".to_owned());
        }
        let names_objects = |rule: &Rule| !rule.resources.is_empty() || !rule.namespaces.is_empty();
        let both = |rule: &Rule| !rule.urls.is_empty() && names_objects(rule);
        if let Some(index) = policy.rules.iter().position(both) {
            return invalid(format!("rules[{index}] cannot apply to both regular resources and non-resource URLs"));
        }
        Ok(policy)
    }
}

/// What a policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

impl AuditPolicy {
    /// The first rule that matches counts; nothing is kept without one.
    pub(super) fn judge(&self, attributes: &Attributes<'_>) -> Option<Verdict> {
        let rule = self.rules.iter().find(|rule| rule.matches(attributes))?;
        (rule.level != Level::None).then(|| Verdict {
            level: rule.level,
            omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        })
    }
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|entry| entry == value)
}

impl Rule {
    fn matches(&self, attributes: &Attributes<'_>) -> bool {
        let identity = attributes.identity;
        if !self.users.is_empty() && !has(&self.users, &identity.user) {
            return false;
        }
        if !self.user_groups.is_empty() && !self.user_groups.iter().any(|group| identity.is_in(group)) {
            return false;
        }
        if !self.verbs.is_empty() && !has(&self.verbs, "*") && !has(&self.verbs, attributes.verb) {
            return false;
        }
        match &attributes.target {
            Asked::Resource(_) if !self.urls.is_empty() => false,
            Asked::Resource(resource) => {
                (self.namespaces.is_empty() || has(&self.namespaces, resource.namespace))
                    && (self.resources.is_empty() || self.resources.iter().any(|entry| entry.matches(resource)))
            }
            Asked::Path(_) if !(self.resources.is_empty() && self.namespaces.is_empty()) => false,
            Asked::Path(path) => self.urls.is_empty() || self.urls.iter().any(|url| is_path(url, path)),
        }
    }
}

fn is_path(url: &str, path: &str) -> bool {
    match url.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => url == path,
    }
}

impl GroupResources {
    fn matches(&self, resource: &ResourceAttributes<'_>) -> bool {
        let named = self.resource_names.is_empty() || has(&self.resource_names, resource.name);
        let is_meant = |entry: &String| match (entry.split_once('/'), resource.subresource) {
            (None, "") => entry == "*" || entry == resource.resource,
            (None, _) => entry == "*",
            (Some((plural, sub)), subresource) => {
                (plural == resource.resource && (sub == "*" || (!subresource.is_empty() && sub == subresource)))
                    || (plural == "*" && !subresource.is_empty() && sub == subresource)
            }
        };
        self.group == resource.group && (self.resources.is_empty() || (named && self.resources.iter().any(is_meant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Identity;
    use crate::http::request_info::RequestInfo;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: ["watch"]
  resources: [{group: "", resources: ["endpoints", "services"]}]
- level: None
  nonResourceURLs: ["/healthz*", "/version"]
- level: Metadata
  resources: [{group: "", resources: ["secrets", "serviceaccounts/token", "*/status"]}]
- level: RequestResponse
  omitManagedFields: true
  omitStages: [Panic]
  namespaces: ["kube-system"]
  resources: [{group: "", resources: ["configmaps", "pods/*"], resourceNames: ["a"]}]
- level: Request
  userGroups: ["staff"]
  resources: [{group: "apps"}]
- level: Metadata
  nonResourceURLs: ["/api"]
"#;

    #[track_caller]
    fn check(identity: &Identity, method: &str, uri: &str, expected: Level) {
        let policy: AuditPolicy = POLICY.parse().expect("a policy");
        let info = RequestInfo::parse(
            &http::Method::from_bytes(method.as_bytes()).expect("a method"),
            &uri.parse().expect("a URI"),
        );
        let method = method.to_ascii_lowercase();
        let verdict = policy.judge(&Attributes::of_request(identity, &info, &method));
        assert_eq!(verdict.map_or(Level::None, |verdict| verdict.level), expected, "{method} {uri}");
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let (proxy, anna) = (Identity::new("system:kube-proxy", &[]), Identity::new("anna", &["staff"]));
        check(&proxy, "GET", "/api/v1/services?watch=1", Level::None);
        check(&anna, "GET", "/healthz/ping", Level::None);
        check(&anna, "GET", "/api/v1/namespaces/n/secrets/s", Level::Metadata);
        check(&anna, "POST", "/api/v1/namespaces/n/serviceaccounts/s/token", Level::Metadata);
        check(&anna, "PUT", "/api/v1/namespaces/n/pods/p/status", Level::Metadata);
        check(&anna, "GET", "/api/v1/namespaces/kube-system/configmaps/a", Level::RequestResponse);
        check(&anna, "GET", "/api/v1/namespaces/kube-system/configmaps/b", Level::None);
        check(&anna, "GET", "/api/v1/namespaces/kube-system/pods/a", Level::RequestResponse);
        check(&anna, "GET", "/api/v1/namespaces/kube-system/pods/a/log", Level::RequestResponse);
        check(&anna, "GET", "/api/v1/namespaces/n/configmaps/a", Level::None);
        check(&anna, "GET", "/apis/apps/v1/deployments", Level::Request);
        check(&proxy, "GET", "/apis/apps/v1/deployments", Level::None);
        check(&anna, "GET", "/api", Level::Metadata);
        check(&anna, "GET", "/apis", Level::None);
    }

    #[track_caller]
    fn check_refused(rules: &str, part: &str) {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}\n");
        let refusal = text.parse::<AuditPolicy>().expect_err(rules).to_string();
        assert!(refusal.contains(part), "{refusal}");
    }

    #[test]
    fn policies_that_make_no_sense_are_refused() {
        check_refused("[]", "no rules");
        check_refused("[{level: Everything}]", "cannot be read");
        check_refused("[{level: None, user: [a]}]", "cannot be read");
        check_refused("[{level: None, nonResourceURLs: [/a], namespaces: [b]}]", "rules[0] cannot apply to both");
    }
}
