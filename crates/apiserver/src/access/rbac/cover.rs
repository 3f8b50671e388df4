//! Whether rules allow all that other rules allow.
//!
//! Rules are broken down to single permissions; a permission is covered if one rule covers it.

use api::field::quote;

use super::rule::{ALL, Rule, url_covers};

/// The permissions in `wanted` that no rule of `held` covers.
pub(crate) fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let permissions = wanted.iter().flat_map(break_down);
    permissions.filter(|permission| !held.iter().any(|rule| covers(rule, permission))).collect()
}

/// The permissions of a rule: of every list at most one value.
fn break_down(rule: &Rule) -> Vec<Rule> {
    let mut permissions = Vec::new();
    for verb in &rule.verbs {
        for url in &rule.non_resource_urls {
            let non_resource_urls = vec![url.clone()];
            permissions.push(Rule { verbs: vec![verb.clone()], non_resource_urls, ..Rule::default() });
        }
    }
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let permission = Rule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    permissions.push(permission);
                    continue;
                }
                let names = rule.resource_names.iter();
                permissions.extend(names.map(|name| Rule { resource_names: vec![name.clone()], ..permission.clone() }));
            }
        }
    }
    permissions
}

fn covers(held: &Rule, permission: &Rule) -> bool {
    let has_all = |held: &[String], wanted: &[String]| {
        held.iter().any(|value| value == ALL) || wanted.iter().all(|value| held.contains(value))
    };
    let names = &held.resource_names;
    has_all(&held.verbs, &permission.verbs)
        && has_all(&held.api_groups, &permission.api_groups)
        && permission.resources.iter().all(|resource| covers_resource(held, resource))
        && (names.is_empty()
            || (!permission.resource_names.is_empty()
                && permission.resource_names.iter().all(|name| names.contains(name))))
        && permission
            .non_resource_urls
            .iter()
            .all(|url| held.non_resource_urls.iter().any(|held| url_covers(held, url)))
}

fn covers_resource(held: &Rule, wanted: &str) -> bool {
    held.resources.iter().any(|resource| {
        resource == ALL
            || resource == wanted
            || resource.strip_prefix("*/").is_some_and(|sub| wanted.split_once('/').is_some_and(|(_, own)| own == sub))
    })
}

/// Permissions as upstream lists them: those for one resource together, a line each, sorted.
pub(crate) fn describe(permissions: &[Rule]) -> String {
    let mut together: Vec<Rule> = Vec::new();
    for permission in permissions {
        let same = together.iter_mut().find(|known| {
            known.non_resource_urls.is_empty()
                && known.api_groups == permission.api_groups
                && known.resources == permission.resources
                && known.resource_names == permission.resource_names
                && permission.non_resource_urls.is_empty()
        });
        match same {
            Some(known) => {
                let more = permission.verbs.iter().filter(|verb| !known.verbs.contains(verb)).cloned();
                known.verbs = known.verbs.iter().cloned().chain(more.collect::<Vec<_>>()).collect();
            }
            None => together.push(permission.clone()),
        }
    }
    let mut lines: Vec<String> = together.iter().map(describe_one).collect();
    lines.sort();
    lines.join("\n")
}

fn describe_one(rule: &Rule) -> String {
    let lists = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let shown = lists.iter().filter(|(_, values)| !values.is_empty());
    let parts: Vec<String> = shown.map(|(name, values)| format!("{name}:{}", quote_list(values))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// A list as Go's `%q` writes it.
pub(crate) fn quote_list(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quote(value)).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(held: Value, wanted: Value, expected: &str) {
        let rules = |value: Value| -> Vec<Rule> { serde_json::from_value(value).expect("rules") };
        assert_eq!(describe(&uncovered(&rules(held), &rules(wanted))), expected);
    }

    #[test]
    fn what_is_not_held_is_listed_by_resource() {
        let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        let pods = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets", "pods"]}]);
        check(all.clone(), pods.clone(), "");
        check(
            json!([]),
            pods.clone(),
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}",
        );
        check(
            pods,
            json!([{"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"]}]),
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}",
        );
        check(
            all,
            json!([{"verbs": ["get"], "nonResourceURLs": ["/x"]}]),
            "{NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}",
        );
    }

    #[test]
    fn names_and_wildcards_cover_what_is_narrower() {
        let named = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]}]);
        let pods = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        check(pods.clone(), named.clone(), "");
        check(named.clone(), named.clone(), "");
        check(named, pods, "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}");
        let scale = |resource: &str| json!([{"verbs": ["get"], "apiGroups": ["apps"], "resources": [resource]}]);
        check(scale("*/scale"), scale("deployments/scale"), "");
        check(
            scale("deployments/scale"),
            scale("*/scale"),
            "{APIGroups:[\"apps\"], Resources:[\"*/scale\"], Verbs:[\"get\"]}",
        );
        let urls = |url: &str| json!([{"verbs": ["get"], "nonResourceURLs": [url]}]);
        check(urls("/apis/*"), urls("/apis/apps/*"), "");
    }
}
