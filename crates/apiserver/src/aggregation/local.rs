//! The APIServices of groups and versions that this server answers itself: made for each, and removed with the last
//! definition of a custom resource in it.

use std::collections::{BTreeMap, BTreeSet};

use api::kinds::Resource;
use api::status::Status;
use serde_json::{Value, json};

use crate::access::Identity;
use crate::bootstrap;
use crate::http::options::DeleteOptions;
use crate::kinds::priorities::{CUSTOM, FIRST, Priorities};
use crate::registry::{Caller, DeleteTarget, Registry, Scope};

/// Says who keeps an APIService: `onstart` made it once, `true` keeps it as long as its group is served.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Makes what is missing of the APIServices for `served` (group and version), and removes those of groups that are not
/// served any more.
pub(super) async fn keep(
    registry: &Registry,
    resource: &Resource,
    served: &BTreeSet<(String, String)>,
) -> Result<(), Status> {
    let scope = Scope { resource, namespace: None };
    let kept = served.iter().filter(|(group, _)| group != FIRST);
    let wanted: BTreeMap<String, Value> = kept.map(|(group, version)| wanted(group, version)).collect();
    for (name, object) in &wanted {
        if registry.cached(resource, name).is_none() {
            bootstrap::create(registry, scope, object.clone()).await?;
        }
    }
    let snapshot = registry.resource_cache(resource)?.snapshot(0);
    for object in snapshot.range(None) {
        let is_kept = object.labels.get(MANAGED).is_some_and(|how| how == "true");
        if is_kept && !wanted.contains_key(object.name()) {
            delete(registry, scope, object.name()).await?;
        }
    }
    Ok(())
}

fn wanted(group: &str, version: &str) -> (String, Value) {
    let name = format!("{version}.{group}");
    let priorities = Priorities::of(group, version);
    let managed = if priorities == CUSTOM { "true" } else { "onstart" };
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name, "labels": {MANAGED: managed}},
        "spec": {
            "group": group, "version": version, "groupPriorityMinimum": priorities.group,
            "versionPriority": priorities.version,
        },
    });
    (name, object)
}

async fn delete(registry: &Registry, scope: Scope<'_>, name: &str) -> Result<(), Status> {
    let identity = Identity::server();
    let caller = Caller::of(&identity);
    let target = DeleteTarget { scope, name, options: &DeleteOptions::default(), caller };
    match registry.delete(target).await {
        Err(status) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}
