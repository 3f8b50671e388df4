//! Aggregated cluster roles: their rules are those of the cluster roles that their selectors match.

use std::sync::Arc;
use std::time::Duration;

use api::selector::LabelSelector;
use base::Drain;
use client::{Controller, ControllerError, Lister, ObjectKey, objects};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::Api;
use kube::api::PostParams;

use crate::context::Context;
use crate::error::{Attempt, SyncError};

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let roles = context.informers.of::<ClusterRole>();
    let lister = Arc::new(roles.lister());
    let of_event = Arc::clone(&lister);
    Controller::new("clusterrole-aggregation-controller", context.env.clone())
        // Any role may be part of any other: its labels say of which, and may just have said otherwise.
        .watch(&roles, move |_, queue| {
            for role in of_event.list() {
                if role.aggregation_rule.is_some() {
                    queue.add(ObjectKey::of(&*role));
                }
            }
        })
        .run(drain, move |key| {
            let (context, lister) = (context.clone(), Arc::clone(&lister));
            async move { sync(&context, &lister, &key).await }
        })
        .await
}

async fn sync(context: &Context, roles: &Lister<ClusterRole>, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
    let Some(role) = roles.get_key(key).filter(|role| role.aggregation_rule.is_some()) else { return Ok(None) };
    let mut all = roles.list();
    all.sort_by(|a, b| objects::name(&**a).cmp(objects::name(&**b)));
    let rules = gathered(&role, &all).map_err(|source| SyncError::Selector { key: key.clone(), source })?;
    if role.rules.as_deref().unwrap_or_default() == rules {
        return Ok(None);
    }
    let mut wanted = (*role).clone();
    wanted.rules = Some(rules);
    let api: Api<ClusterRole> = context.cluster();
    api.replace(&key.name, &PostParams::default(), &wanted).await.attempt("write rules of cluster role", key)?;
    Ok(None)
}

/// The rules of the selected roles, by selector and then by name, each rule once.
fn gathered(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Result<Vec<PolicyRule>, api::selector::SelectorError> {
    let mut rules: Vec<PolicyRule> = Vec::new();
    let selectors = role.aggregation_rule.iter().flat_map(|rule| rule.cluster_role_selectors.iter().flatten());
    let none = std::collections::BTreeMap::new();
    for selector in selectors {
        let selector = LabelSelector::from_k8s(selector)?;
        for part in all {
            if objects::name(&**part) == objects::name(role)
                || !selector.matches(part.metadata.labels.as_ref().unwrap_or(&none))
            {
                continue;
            }
            for rule in part.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::rbac::v1::AggregationRule;
    use testkit::object;

    use super::*;

    fn role(name: &str, labels: &[&str], verbs: &[&str]) -> ClusterRole {
        object::<ClusterRole>(name)
            .with(|role| {
                role.metadata.labels = Some(labels.iter().map(|key| ((*key).to_owned(), "true".to_owned())).collect());
                let rule = |verb: &&str| PolicyRule { verbs: vec![(*verb).to_owned()], ..PolicyRule::default() };
                role.rules = Some(verbs.iter().map(rule).collect());
            })
            .build()
    }

    #[track_caller]
    fn check(label: &str, all: &[ClusterRole], expected: &[&str]) {
        let selector = k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector {
            match_labels: Some([(label.to_owned(), "true".to_owned())].into()),
            ..Default::default()
        };
        let whole = object::<ClusterRole>("whole")
            .with(|role| {
                let selectors = Some(vec![selector.clone()]);
                role.aggregation_rule = Some(AggregationRule { cluster_role_selectors: selectors });
            })
            .build();
        let all: Vec<Arc<ClusterRole>> = all.iter().cloned().map(Arc::new).collect();
        let rules = gathered(&whole, &all).expect("a selector");
        let verbs: Vec<&str> = rules.iter().flat_map(|rule| &rule.verbs).map(String::as_str).collect();
        assert_eq!(verbs, expected);
    }

    #[test]
    fn rules_of_selected_roles_are_gathered_once() {
        let all = [
            role("a", &["x"], &["get", "list"]),
            role("b", &["x", "y"], &["list", "watch"]),
            role("c", &[], &["bind"]),
        ];
        check("x", &all, &["get", "list", "watch"]);
        check("y", &all, &["list", "watch"]);
        check("z", &all, &[]);
        check("x", &[role("whole", &["x"], &["get"])], &[]);
    }
}
