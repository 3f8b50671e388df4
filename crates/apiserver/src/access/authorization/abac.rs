//! Attribute-based access control: policies in a file, one a line, each of which lets somebody do something.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::access::attributes::{Asked, Attributes};
use crate::access::authorization::Decision;
use crate::access::identity::{AUTHENTICATED, Identity};
use crate::access::rbac::Rule;

/// Why a file of policies is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It cannot be read.
    #[error("cannot read the policy file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line is no policy.
    #[error("policy file {}, line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

/// What a policy says. What is not given is empty and means nothing; `*` means everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Policy {
    user: String,
    group: String,
    readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    non_resource_path: String,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    api_version: String,
    kind: String,
    spec: Policy,
}

/// A line of the form before there were versions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[derive(Default)]
struct OldLine {
    user: String,
    group: String,
    readonly: bool,
    resource: String,
    namespace: String,
}

const VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const ALL: &str = "*";
const READS: [&str; 3] = ["get", "list", "watch"];

/// The policies of a file.
#[derive(Debug)]
pub(super) struct Policies(Vec<Policy>);

impl Policies {
    pub(super) fn load(path: &Path) -> Result<Self, PolicyFileError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| PolicyFileError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|(line, why)| PolicyFileError::Line { path: path.to_owned(), line, why })
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        lines.map(|(number, line)| parse(line).map_err(|why| (number, why))).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a policy lets it be done.
    pub(super) fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        if self.0.iter().any(|policy| policy.allows(attributes)) {
            return Decision::allow();
        }
        Decision::no_opinion("No policy matched.")
    }

    /// What the policies let somebody do in a namespace.
    pub(super) fn rules_for(&self, identity: &Identity, namespace: &str) -> Vec<Rule> {
        let is_there = |policy: &&Policy| policy.namespace == ALL || policy.namespace == namespace;
        self.0.iter().filter(|policy| policy.is_for(identity)).filter(is_there).flat_map(Policy::rules).collect()
    }
}

fn parse(line: &str) -> Result<Policy, String> {
    let document: serde_json::Value = serde_json::from_str(line).map_err(|err| err.to_string())?;
    if document.get("apiVersion").is_none() && document.get("kind").is_none() {
        return serde_json::from_value::<OldLine>(document).map(OldLine::policy).map_err(|err| err.to_string());
    }
    let Line { api_version, kind, spec } = serde_json::from_value(document).map_err(|err| err.to_string())?;
    if (api_version.as_str(), kind.as_str()) != (VERSION, "Policy") {
        return Err(format!("it is a {kind} of {api_version}, not a Policy of {VERSION}"));
    }
    Ok(spec.for_authenticated())
}

impl OldLine {
    /// What such a line leaves out means everything.
    fn policy(self) -> Policy {
        let all = |text: &str| if text.is_empty() { ALL.to_owned() } else { text.to_owned() };
        let is_for_paths = self.namespace.is_empty() && self.resource.is_empty();
        let is_for_all = self.user.is_empty() && self.group.is_empty();
        let policy = Policy {
            group: if is_for_all { ALL.to_owned() } else { self.group },
            user: self.user,
            readonly: self.readonly,
            api_group: ALL.to_owned(),
            resource: all(&self.resource),
            namespace: all(&self.namespace),
            non_resource_path: if is_for_paths { ALL.to_owned() } else { String::new() },
        };
        policy.for_authenticated()
    }
}

impl Policy {
    /// Everybody is everybody who has said who he is.
    fn for_authenticated(self) -> Self {
        if self.user == ALL || self.group == ALL {
            return Self { user: String::new(), group: AUTHENTICATED.to_owned(), ..self };
        }
        self
    }

    fn is_for(&self, identity: &Identity) -> bool {
        let is_user = self.user.is_empty() || self.user == identity.user;
        let is_group = self.group.is_empty() || identity.is_in(&self.group);
        is_user && is_group && !(self.user.is_empty() && self.group.is_empty())
    }

    fn allows(&self, attributes: &Attributes<'_>) -> bool {
        let covers = |given: &str, asked: &str| given == ALL || given == asked;
        self.is_for(attributes.identity)
            && (!self.readonly || READS.contains(&attributes.verb))
            && match attributes.target {
                Asked::Resource(asked) => {
                    covers(&self.namespace, asked.namespace)
                        && covers(&self.resource, asked.resource)
                        && covers(&self.api_group, asked.group)
                }
                Asked::Path(path) => {
                    let prefix = self.non_resource_path.strip_suffix(ALL);
                    self.non_resource_path == path || prefix.is_some_and(|prefix| path.starts_with(prefix))
                }
            }
    }

    fn rules(&self) -> Vec<Rule> {
        let verbs: Vec<String> = match self.readonly {
            true => READS.map(str::to_owned).to_vec(),
            false => vec![ALL.to_owned()],
        };
        let one = |text: &str| vec![text.to_owned()];
        let resources = (!self.resource.is_empty()).then(|| Rule {
            verbs: verbs.clone(),
            api_groups: one(&self.api_group),
            resources: one(&self.resource),
            ..Rule::default()
        });
        let paths = (!self.non_resource_path.is_empty()).then(|| Rule {
            verbs: verbs.clone(),
            non_resource_urls: one(&self.non_resource_path),
            ..Rule::default()
        });
        resources.into_iter().chain(paths).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::attributes::ResourceAttributes;

    const FILE: &str = r#"
# readers, and one who may write in a namespace
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"group": "readers", "readonly": true, "apiGroup": "*", "resource": "*", "namespace": "*"}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "jane", "apiGroup": "apps", "resource": "deployments", "namespace": "a"}}
{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {"user": "*", "readonly": true, "nonResourcePath": "/api*"}}
{"user": "old", "namespace": "b"}
"#;

    /// `asked` is `verb group resource namespace`, with `-` for nothing, or `verb /path`.
    #[track_caller]
    fn check(user: &str, groups: &[&str], asked: &str, expected: bool) {
        let identity = if user.is_empty() { Identity::anonymous() } else { Identity::new(user, groups) };
        let words: Vec<&str> = asked.split(' ').map(|word| if word == "-" { "" } else { word }).collect();
        let target = match words.as_slice() {
            [_, path] => Asked::Path(path),
            [_, group, resource, namespace] => {
                Asked::Resource(ResourceAttributes { group, resource, namespace, ..Default::default() })
            }
            other => panic!("{other:?}"),
        };
        let attributes = Attributes { identity: &identity, verb: words[0], target };
        let policies = Policies::parse(FILE).expect("good lines");
        assert_eq!(policies.decide(&attributes).is_allowed(), expected, "{user} {asked}");
    }

    #[test]
    fn policies_let_somebody_do_something() {
        check("ann", &["readers"], "list - pods x", true);
        check("ann", &["readers"], "delete - pods x", false);
        check("ann", &[], "list - pods x", false);
        check("jane", &[], "create apps deployments a", true);
        check("jane", &[], "create apps deployments b", false);
        check("jane", &[], "create - deployments a", false);
        check("jane", &[], "get /apis/apps", true);
        check("jane", &[], "post /apis/apps", false);
        check("jane", &[], "get /metrics", false);
        check("", &[], "get /api", false);
        check("old", &[], "delete apps deployments b", true);
        check("old", &[], "delete apps deployments a", false);
        check("old", &[], "get /metrics", false);
    }

    #[track_caller]
    fn check_wrong(line: &str, expected: &str) {
        let (number, why) = Policies::parse(&format!("\n{line}")).expect_err("a wrong line");
        assert!(number == 2 && why.contains(expected), "{number}: {why}");
    }

    #[test]
    fn wrong_lines_are_named() {
        check_wrong("{", "EOF");
        check_wrong(r#"{"apiVersion": "v1", "kind": "Policy", "spec": {}}"#, "not a Policy of");
        check_wrong(r#"{"user": "a", "readOnly": true}"#, "unknown field `readOnly`");
    }
}
