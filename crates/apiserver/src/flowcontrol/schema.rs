//! Flow schemas: which requests belong together, and which priority level they have.

use std::sync::Arc;

use http::HeaderValue;
use serde::Deserialize;

use super::level::Level;
use super::metrics::Counters;
use crate::access::Identity;
use crate::access::attributes::ResourceAttributes;
use crate::access::identity::service_account;
use crate::http::request_info::{RequestInfo, Target};

/// Stands for everything in a list.
const ALL: &str = "*";

/// The part of a FlowSchema that this server reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SchemaSpec {
    pub(super) matching_precedence: i32,
    pub(super) priority_level_configuration: Named,
    distinguisher_method: Option<MethodSpec>,
    rules: Vec<Rules>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Named {
    pub(super) name: String,
}

#[derive(Clone, Debug, Deserialize)]
struct MethodSpec {
    #[serde(rename = "type")]
    method: Method,
}

/// By what the requests of a schema are told apart.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Method {
    ByUser,
    ByNamespace,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rules {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind")]
enum Subject {
    User {
        user: Named,
    },
    Group {
        group: Named,
    },
    ServiceAccount {
        #[serde(rename = "serviceAccount")]
        account: Account,
    },
}

#[derive(Clone, Debug, Deserialize)]
struct Account {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    cluster_scope: bool,
    namespaces: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

/// A request as schemas look at it.
#[derive(Clone, Copy)]
pub(super) struct Digest<'a> {
    pub(super) identity: &'a Identity,
    pub(super) info: &'a RequestInfo,
    /// The HTTP method.
    pub(super) method: &'a str,
}

/// A schema whose level exists.
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) uid: HeaderValue,
    pub(super) level: Arc<Level>,
    pub(super) level_uid: HeaderValue,
    pub(super) counters: Counters,
    spec: SchemaSpec,
}

impl Schema {
    /// A schema of a name and UID, with its level and the UID of that.
    pub(super) fn new(
        (name, uid): (String, HeaderValue),
        (level, level_uid): (Arc<Level>, HeaderValue),
        spec: SchemaSpec,
        counters: Counters,
    ) -> Self {
        Self { name, uid, level, level_uid, counters, spec }
    }

    /// Where it stands among others: the first that matches counts.
    pub(super) fn order(&self) -> (i32, &str) {
        (self.spec.matching_precedence, &self.name)
    }

    pub(super) fn matches(&self, digest: Digest<'_>) -> bool {
        self.spec.rules.iter().any(|rules| rules.matches(digest))
    }

    /// What tells the flow of a request from others of this schema.
    pub(super) fn distinguisher<'a>(&self, identity: &'a Identity, info: &'a RequestInfo) -> &'a str {
        match (self.spec.distinguisher_method.as_ref().map(|spec| spec.method), &info.target) {
            (Some(Method::ByUser), _) => &identity.user,
            (Some(Method::ByNamespace), Target::Resource(request)) => ResourceAttributes::of_request(request).namespace,
            (Some(Method::ByNamespace), Target::Path) | (None, _) => "",
        }
    }
}

impl Rules {
    fn matches(&self, digest: Digest<'_>) -> bool {
        if !self.subjects.iter().any(|subject| subject.matches(digest.identity)) {
            return false;
        }
        match &digest.info.target {
            Target::Resource(request) => {
                let (verb, resource) = (request.verb.as_str(), ResourceAttributes::of_request(request));
                self.resource_rules.iter().any(|rule| rule.matches(verb, &resource))
            }
            Target::Path => self.non_resource_rules.iter().any(|rule| rule.matches(digest.method, &digest.info.path)),
        }
    }
}

impl Subject {
    fn matches(&self, identity: &Identity) -> bool {
        match self {
            Self::User { user } => user.name == ALL || user.name == identity.user,
            Self::Group { group } => group.name == ALL || identity.is_in(&group.name),
            Self::ServiceAccount { account } => service_account(&identity.user).is_some_and(|(namespace, name)| {
                namespace == account.namespace && (account.name == ALL || account.name == name)
            }),
        }
    }
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry == value)
}

/// Verbs are written in lower case, methods are not.
fn has_verb(list: &[String], verb: &str) -> bool {
    list.iter().any(|entry| entry == ALL || entry.eq_ignore_ascii_case(verb))
}

impl ResourceRule {
    fn matches(&self, verb: &str, resource: &ResourceAttributes<'_>) -> bool {
        let in_scope = match resource.namespace {
            "" => self.cluster_scope,
            namespace => has(&self.namespaces, namespace),
        };
        in_scope && has_verb(&self.verbs, verb) && has(&self.api_groups, resource.group) && self.names(resource)
    }

    fn names(&self, resource: &ResourceAttributes<'_>) -> bool {
        self.resources.iter().any(|entry| match (entry.as_str(), resource.subresource) {
            (ALL, _) => true,
            (entry, "") => entry == resource.resource,
            (entry, subresource) => {
                entry.split_once('/').is_some_and(|(plural, sub)| plural == resource.resource && sub == subresource)
            }
        })
    }
}

impl PathRule {
    fn matches(&self, method: &str, path: &str) -> bool {
        let names = |url: &String| match url.strip_suffix('*') {
            Some("") => true,
            Some(prefix) => path.starts_with(prefix),
            None => url == path,
        };
        has_verb(&self.verbs, method) && self.urls.iter().any(names)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(rules: &Value, identity: &Identity, request: (&str, &str), expected: bool) {
        let rules: Rules = serde_json::from_value(rules.clone()).expect("rules");
        let method = http::Method::from_bytes(request.0.as_bytes()).expect("a method");
        let info = RequestInfo::parse(&method, &request.1.parse().expect("a URI"));
        let digest = Digest { identity, info: &info, method: request.0 };
        assert_eq!(rules.matches(digest), expected, "{} {request:?}", identity.user);
    }

    #[test]
    fn subjects_are_users_groups_and_accounts() {
        let anything = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
        let check = |subject: Value, identity: &Identity, expected: bool| {
            let rules = json!({"subjects": [subject], "nonResourceRules": anything});
            check(&rules, identity, ("GET", "/version"), expected);
        };
        let (anna, account) = (Identity::new("anna", &["staff"]), Identity::service_account("kube-system", "job"));
        check(json!({"kind": "User", "user": {"name": "anna"}}), &anna, true);
        check(json!({"kind": "User", "user": {"name": "*"}}), &anna, true);
        check(json!({"kind": "User", "user": {"name": "bob"}}), &anna, false);
        check(json!({"kind": "Group", "group": {"name": "staff"}}), &anna, true);
        check(json!({"kind": "Group", "group": {"name": "others"}}), &anna, false);
        let of = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}});
        check(of("kube-system", "*"), &account, true);
        check(of("kube-system", "job"), &account, true);
        check(of("kube-system", "other"), &account, false);
        check(of("default", "*"), &account, false);
        check(of("kube-system", "*"), &anna, false);
    }

    #[test]
    fn rules_name_resources_and_paths() {
        let anna = Identity::new("anna", &[]);
        let with = |resource_rule: Value, path_rule: Value| {
            json!({
                "subjects": [{"kind": "User", "user": {"name": "*"}}],
                "resourceRules": [resource_rule], "nonResourceRules": [path_rule],
            })
        };
        let rules = with(
            json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "nodes/status"],
                "clusterScope": true, "namespaces": ["n"]}),
            json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}),
        );
        for (method, uri, expected) in [
            ("GET", "/api/v1/namespaces/n/pods/p", true),
            ("GET", "/api/v1/pods", true),
            ("GET", "/api/v1/namespaces/other/pods", false),
            ("POST", "/api/v1/namespaces/n/pods", false),
            ("GET", "/api/v1/namespaces/n/pods/p/status", false),
            ("GET", "/api/v1/nodes/x/status", true),
            ("GET", "/api/v1/nodes/x", false),
            ("GET", "/apis/apps/v1/namespaces/n/pods", false),
            ("GET", "/healthz", true),
            ("GET", "/healthz/ping", false),
            ("GET", "/logs/kubelet", true),
            ("PUT", "/healthz", false),
        ] {
            check(&rules, &anna, (method, uri), expected);
        }
        let namespaced = with(
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}),
            json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
        );
        check(&namespaced, &anna, ("GET", "/apis/apps/v1/namespaces/n/deployments/d/scale"), true);
        check(&namespaced, &anna, ("GET", "/api/v1/nodes"), false);
        check(&namespaced, &anna, ("GET", "/api/v1/namespaces/n"), true);
    }
}
