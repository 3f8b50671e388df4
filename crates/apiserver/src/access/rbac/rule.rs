//! A rule of a role, and what it allows.

use serde::{Deserialize, Deserializer, Serialize};

use crate::access::attributes::{Asked, Attributes, ResourceAttributes};

/// A PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(deserialize_with = "nullable")]
    pub(crate) verbs: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) api_groups: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) non_resource_urls: Vec<String>,
}

fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The parts of a role that authorization looks at.
#[derive(Debug, Deserialize)]
struct Role {
    #[serde(default, deserialize_with = "nullable")]
    rules: Vec<Rule>,
}

/// The rules in an encoded Role or ClusterRole.
pub(crate) fn rules_of(role: &[u8]) -> Result<Vec<Rule>, serde_json::Error> {
    serde_json::from_slice::<Role>(role).map(|role| role.rules)
}

/// Every value.
pub(super) const ALL: &str = "*";

impl Rule {
    /// Whether the rule alone allows what is asked.
    pub(crate) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        has(&self.verbs, attributes.verb)
            && match &attributes.target {
                Asked::Resource(resource) => {
                    has(&self.api_groups, resource.group)
                        && self.has_resource(resource)
                        && (self.resource_names.is_empty()
                            || self.resource_names.iter().any(|name| name == resource.name))
                }
                Asked::Path(path) => self.non_resource_urls.iter().any(|url| url_covers(url, path)),
            }
    }

    fn has_resource(&self, asked: &ResourceAttributes<'_>) -> bool {
        self.resources.iter().any(|resource| {
            if resource == ALL {
                return true;
            }
            match resource.split_once('/') {
                None => asked.subresource.is_empty() && resource == asked.resource,
                Some((plural, subresource)) => {
                    subresource == asked.subresource && (plural == ALL || plural == asked.resource)
                }
            }
        })
    }
}

fn has(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == ALL || value == wanted)
}

/// Whether a URL of a rule, which may end in `*`, means a path.
pub(super) fn url_covers(url: &str, path: &str) -> bool {
    url == path || url.strip_suffix(ALL).is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::access::Identity;

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).expect("a rule")
    }

    /// `asked` is `verb group resource name`, with `-` for nothing, or `verb /path`.
    #[track_caller]
    fn check(rule: &Rule, asked: &str, expected: bool) {
        let identity = Identity::new("u", &[]);
        let words: Vec<&str> = asked.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let target = match words.as_slice() {
            [_, path] => Asked::Path(path),
            [_, group, resource, name] => {
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                Asked::Resource(ResourceAttributes { group, resource, subresource, name, ..Default::default() })
            }
            _ => panic!("not a question: {asked}"),
        };
        let attributes = Attributes { identity: &identity, verb: words[0], target };
        assert_eq!(rule.allows(&attributes), expected, "{asked}");
    }

    #[test]
    fn resources_and_subresources_are_apart() {
        let pods = rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale", "nodes/*"]}));
        check(&pods, "get - pods -", true);
        check(&pods, "get - pods p", true);
        check(&pods, "list - pods -", false);
        check(&pods, "get apps pods -", false);
        check(&pods, "get - pods/log p", false);
        check(&pods, "get - deployments/scale d", true);
        check(&pods, "get - deployments d", false);
        check(&pods, "get - nodes/proxy n", false);
        let all = rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        check(&all, "escalate x y/z n", true);
        check(&all, "get /metrics", false);
    }

    #[test]
    fn names_limit_a_rule() {
        let named = rule(json!({
            "verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"],
        }));
        check(&named, "get - secrets a", true);
        check(&named, "get - secrets b", false);
        check(&named, "list - secrets -", false);
    }

    #[test]
    fn urls_may_end_in_a_star() {
        let urls = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"], "resources": null}));
        check(&urls, "get /healthz", true);
        check(&urls, "get /healthz/ping", false);
        check(&urls, "get /apis/apps/v1", true);
        check(&urls, "get /apis", false);
        check(&urls, "post /healthz", false);
        check(&urls, "get - healthz -", false);
        check(&rule(json!({"verbs": ["get"], "nonResourceURLs": ["*"]})), "get /any", true);
    }
}
