//! Revisions: the annotations by which `kubectl rollout history` and `undo` know them.

use std::collections::BTreeMap;

use client::objects;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::limits;

/// The revision of a replica set, and the current one of a deployment.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The revisions that a replica set had before it was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The size of the deployment when the replica set was last resized.
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with surge.
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// What a replica set does not take over from its deployment.
const NOT_COPIED: [&str; 6] = [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO];

/// How long the list of earlier revisions may become, in characters.
const HISTORY_LIMIT: usize = 2000;

fn annotation<'a>(annotations: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    annotations?.get(key).map(String::as_str)
}

/// A number in an annotation of a replica set.
pub(super) fn number(set: &ReplicaSet, key: &str) -> Option<i32> {
    annotation(set.metadata.annotations.as_ref(), key)?.parse().ok()
}

/// The revision of a replica set; 0 where it has none.
pub(super) fn of(set: &ReplicaSet) -> i64 {
    annotation(set.metadata.annotations.as_ref(), REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// The revision that the deployment says it is at.
pub(super) fn current(deployment: &Deployment) -> Option<&str> {
    annotation(deployment.metadata.annotations.as_ref(), REVISION)
}

/// The revision of the current template: the one after all earlier ones.
pub(super) fn next(old: &[ReplicaSet]) -> i64 {
    old.iter().map(of).max().unwrap_or_default() + 1
}

/// Gives the new replica set what it should have of annotations. Returns whether something changed.
pub(super) fn annotate_new(deployment: &Deployment, new: &mut ReplicaSet, revision: i64, exists: bool) -> bool {
    let mut changed = copy(deployment, new);
    let known = annotation(new.metadata.annotations.as_ref(), REVISION).map(str::to_owned);
    // A replica set that already has a later revision keeps it: its deployment's view is old.
    if known.as_ref().and_then(|text| text.parse::<i64>().ok()).unwrap_or_default() < revision {
        let annotations = new.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.to_owned(), revision.to_string());
        if let Some(known) = known {
            let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
            append(history, &known);
        }
        changed = true;
    }
    if !exists {
        changed |= annotate_size(deployment, new);
    }
    changed
}

fn append(history: &mut String, revision: &str) {
    if history.is_empty() {
        revision.clone_into(history);
        return;
    }
    while history.len() + revision.len() + 1 > HISTORY_LIMIT {
        match history.split_once(',') {
            Some((_, rest)) => *history = rest.to_owned(),
            None => return,
        }
    }
    history.push(',');
    history.push_str(revision);
}

fn copy(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if NOT_COPIED.contains(&key.as_str()) {
            continue;
        }
        let old = set.metadata.annotations.get_or_insert_default().insert(key.clone(), value.clone());
        changed |= old.as_ref() != Some(value);
    }
    changed
}

/// Notes on a replica set for which size of the deployment it was sized. Returns whether something changed.
pub(super) fn annotate_size(deployment: &Deployment, set: &mut ReplicaSet) -> bool {
    let wanted = [(DESIRED_REPLICAS, limits::replicas(deployment)), (MAX_REPLICAS, limits::max_total(deployment))];
    let mut changed = false;
    for (key, number) in wanted {
        let annotations = set.metadata.annotations.get_or_insert_default();
        let old = annotations.insert(key.to_owned(), number.to_string());
        changed |= old != Some(number.to_string());
    }
    changed
}

/// The old replica sets that go when no more than `limit` are to be kept: the earliest revisions, but none that
/// still has pods or whose last change was not seen yet by its controller.
pub(super) fn surplus(old: &[ReplicaSet], limit: i32) -> Vec<&ReplicaSet> {
    let mut kept: Vec<&ReplicaSet> = old.iter().filter(|set| !objects::is_deleting(*set)).collect();
    let count = kept.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    kept.sort_by_key(|set| of(set));
    let idle = |set: &&ReplicaSet| {
        let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or_default();
        limits::observed(set) == 0 && limits::size(set) == 0 && set.metadata.generation.unwrap_or_default() <= observed
    };
    kept.into_iter().take(count).filter(idle).collect()
}

#[cfg(test)]
mod tests {
    use testkit::{deployment, replica_set};

    use super::*;

    #[test]
    fn a_rolled_back_replica_set_gets_the_next_revision_and_remembers_its_earlier_ones() {
        let made = deployment("web").annotation("team", "a").annotation(REVISION, "4").build();
        let mut set = replica_set("web-1").annotation(REVISION, "2").build();
        assert!(annotate_new(&made, &mut set, 5, true));
        assert!(!annotate_new(&made, &mut set, 5, true));
        assert!(annotate_new(&made, &mut set, 7, true));
        let get = |key: &str| annotation(set.metadata.annotations.as_ref(), key);
        assert_eq!((get(REVISION), get(REVISION_HISTORY), get("team")), (Some("7"), Some("2,5"), Some("a")));
        assert_eq!(get(DESIRED_REPLICAS), None);
    }

    #[test]
    fn history_forgets_its_beginning_when_it_is_too_long() {
        let mut history = "1".repeat(1000) + "," + &"2".repeat(998);
        append(&mut history, "3");
        assert_eq!(history, "2".repeat(998) + ",3");
    }

    #[track_caller]
    fn check_surplus(limit: i32, expected: &[&str]) {
        let set = |name: &str, revision: &str| {
            let made = replica_set(name).annotation(REVISION, revision).replicas(0);
            made.with(|set| set.status.get_or_insert_default().observed_generation = Some(1))
        };
        let old = [
            set("a", "3").build(),
            set("b", "1").build(),
            set("running", "2").observed(1, 1, 1).build(),
            set("unseen", "4").generation(2).build(),
            set("leaving", "0").deleting(1).build(),
        ];
        let names: Vec<&str> = surplus(&old, limit).into_iter().map(objects::name).collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_earliest_idle_revisions_go() {
        check_surplus(10, &[]);
        check_surplus(4, &[]);
        check_surplus(3, &["b"]);
        check_surplus(2, &["b"]);
        check_surplus(1, &["b", "a"]);
        check_surplus(0, &["b", "a"]);
    }
}
