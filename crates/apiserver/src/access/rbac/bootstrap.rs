//! The roles and bindings that every cluster has, after upstream's policy of v1.35.
//!
//! The tables are by theme; [`reconcile`] brings the cluster's objects up to them.

mod components;
mod controllers;
mod reconcile;
mod skiff;
mod trust_bundles;
mod users;

use serde_json::{Value, json};

use super::rule::Rule;

pub(crate) use reconcile::reconcile;

/// A rule, its lists as words with blanks between them; the group `core` is the one without a name.
struct Row {
    verbs: &'static str,
    groups: &'static str,
    resources: &'static str,
    names: &'static str,
    urls: &'static str,
    /// The resource and group without which nobody needs the rule; empty for what every cluster serves.
    given: &'static str,
}

/// A rule about resources.
const fn row(verbs: &'static str, groups: &'static str, resources: &'static str) -> Row {
    Row { verbs, groups, resources, names: "", urls: "", given: "" }
}

/// A rule about some objects of resources.
const fn named(verbs: &'static str, groups: &'static str, resources: &'static str, names: &'static str) -> Row {
    Row { verbs, groups, resources, names, urls: "", given: "" }
}

/// A rule about paths.
const fn paths(verbs: &'static str, urls: &'static str) -> Row {
    Row { verbs, groups: "", resources: "", names: "", urls, given: "" }
}

const READ: &str = "get list watch";
const WRITE: &str = "create update patch delete deletecollection";
const READ_WRITE: &str = "get list watch create update patch delete deletecollection";

/// Whoever records events may.
const EVENTS: Row = row("create update patch", "core events.k8s.io", "events");

/// A role, of the cluster or (with a namespace) of a namespace.
struct Role {
    namespace: &'static str,
    name: &'static str,
    /// The roles into which its rules are gathered: `admin`, `edit`, `view`.
    part_of: &'static str,
    /// Whether its rules are gathered from the parts that name it.
    is_aggregate: bool,
    rules: &'static [Row],
}

const fn role(name: &'static str, rules: &'static [Row]) -> Role {
    Role { namespace: "", name, part_of: "", is_aggregate: false, rules }
}

/// A binding of a role to subjects, which are given as `u:NAME`, `g:NAME` and `s:NAMESPACE:NAME`.
struct Binding {
    namespace: &'static str,
    name: &'static str,
    role: &'static str,
    subjects: &'static [&'static str],
}

/// A binding of a ClusterRole by its name.
const fn bind(role: &'static str, subjects: &'static [&'static str]) -> Binding {
    Binding { namespace: "", name: role, role, subjects }
}

/// The words of a list, sorted as upstream writes them.
fn words(text: &str) -> Vec<String> {
    let words = text.split_whitespace().map(|word| if word == "core" { "" } else { word });
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words
}

impl Row {
    /// The same in clusters that serve a resource of a group.
    const fn given(self, resource: &'static str) -> Self {
        Self { given: resource, ..self }
    }

    fn rule(&self) -> Rule {
        Rule {
            verbs: words(self.verbs),
            api_groups: words(self.groups),
            resources: words(self.resources),
            resource_names: words(self.names),
            non_resource_urls: words(self.urls),
        }
    }
}

fn all_roles() -> impl Iterator<Item = &'static Role> {
    users::ROLES.iter().chain(components::ROLES).chain(skiff::ROLES)
}

/// Whether a group, or a resource with its group, is served.
type Served<'a> = &'a dyn Fn(&str) -> bool;

/// The rules of every role that is gathered into the aggregate `name`, through other aggregates too.
fn gathered(name: &str, is_served: Served<'_>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for part in all_roles().filter(|role| role.part_of == name) {
        let more = if part.is_aggregate { gathered(part.name, is_served) } else { own_rules(part, is_served) };
        for rule in more {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

fn own_rules(role: &Role, is_served: Served<'_>) -> Vec<Rule> {
    role.rules.iter().filter(|row| row.given.is_empty() || is_served(row.given)).map(Row::rule).collect()
}

/// The rules of kubelets that do not depend on what runs on their node.
pub(crate) fn node_rules() -> Vec<Rule> {
    let roles = components::ROLES.iter().filter(|role| role.name == "system:node");
    roles.flat_map(|role| own_rules(role, &|_| true)).collect()
}

const LABEL: &str = "kubernetes.io/bootstrapping";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({
        "name": name, "labels": {LABEL: "rbac-defaults"}, "annotations": {AUTOUPDATE: "true"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn aggregation_label(name: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{name}")
}

fn role_object(namespace: &str, name: &str, rules: &[Rule]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": if namespace.is_empty() { "ClusterRole" } else { "Role" },
        "metadata": metadata(namespace, name),
        "rules": rules,
    })
}

fn binding_object(namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Value {
    let subjects: Vec<Value> = subjects.iter().map(|subject| subject_of(subject)).collect();
    let (kind, of) = if namespace.is_empty() { ("ClusterRoleBinding", "ClusterRole") } else { ("RoleBinding", "Role") };
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata(namespace, name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": of, "name": role},
    });
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    binding
}

impl Role {
    fn object(&self, is_served: Served<'_>) -> Value {
        let rules = if self.is_aggregate { gathered(self.name, is_served) } else { own_rules(self, is_served) };
        let mut object = role_object(self.namespace, self.name, &rules);
        if !self.part_of.is_empty() {
            object["metadata"]["labels"][aggregation_label(self.part_of)] = "true".into();
        }
        if self.is_aggregate {
            object["aggregationRule"] =
                json!({"clusterRoleSelectors": [{"matchLabels": {aggregation_label(self.name): "true"}}]});
        }
        object
    }
}

impl Binding {
    fn object(&self) -> Value {
        binding_object(self.namespace, self.name, self.role, self.subjects)
    }
}

fn subject_of(text: &str) -> Value {
    let (kind, name) = text.split_once(':').unwrap_or(("u", text));
    match (kind, name.split_once(':')) {
        ("s", Some((namespace, name))) => json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}),
        ("g", _) => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name}),
        _ => json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}),
    }
}

/// Every role, and after them every binding, where these groups (or `resource.group`) are served.
fn objects(is_served: impl Fn(&str) -> bool) -> Vec<Value> {
    let (more_roles, more_bindings) = match is_served(trust_bundles::RESOURCE) {
        true => (trust_bundles::ROLES, trust_bundles::BINDINGS),
        false => (&[][..], &[][..]),
    };
    let roles = all_roles().chain(more_roles).map(|role| role.object(&is_served)).chain(controllers::roles(&is_served));
    let bindings = users::BINDINGS.iter().chain(components::BINDINGS).chain(skiff::BINDINGS).chain(more_bindings);
    roles.chain(bindings.map(Binding::object)).chain(controllers::bindings(&is_served)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_make_valid_objects_with_names_of_their_own() {
        let mut seen = std::collections::BTreeSet::new();
        for object in objects(|_| true) {
            let kind = object["kind"].as_str().expect("a kind");
            let resource = api::kinds::find_kind("rbac.authorization.k8s.io", "v1", kind).expect("a built-in kind");
            let errors = api::validation::create(resource, &object);
            assert!(errors.is_empty(), "{}: {errors:?}", object["metadata"]["name"]);
            assert!(seen.insert((kind.to_owned(), object["metadata"].to_string())), "{object}");
        }
    }

    #[test]
    fn aggregates_hold_what_their_parts_hold() {
        let of = |name: &str| gathered(name, &|_| true);
        let (admin, edit, view) = (of("admin"), of("edit"), of("view"));
        assert!(view.iter().all(|rule| edit.contains(rule)) && edit.iter().all(|rule| admin.contains(rule)));
        assert!(view.len() < edit.len() && edit.len() < admin.len());
    }
}
