//! The APIServices of groups and versions that this server answers itself: made for each, and removed with the last
//! definition of a custom resource in it.

use std::collections::{BTreeMap, BTreeSet};

use api::kinds::Resource;
use api::status::Status;
use serde_json::{Value, json};

use crate::access::Identity;
use crate::bootstrap;
use crate::http::options::DeleteOptions;
use crate::registry::{Caller, DeleteTarget, Registry, Scope};

/// Says who keeps an APIService: `onstart` made it once, `true` keeps it as long as its group is served.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Priorities of built-in groups, in upstream's order, and of their versions where those are not [`VERSION`].
const GROUPS: [(&str, i64); 22] = [
    ("", 18000),
    ("apps", 17800),
    ("events.k8s.io", 17750),
    ("authentication.k8s.io", 17700),
    ("authorization.k8s.io", 17600),
    ("autoscaling", 17500),
    ("batch", 17400),
    ("certificates.k8s.io", 17300),
    ("networking.k8s.io", 17200),
    ("policy", 17100),
    ("rbac.authorization.k8s.io", 17000),
    ("storage.k8s.io", 16800),
    ("apiextensions.k8s.io", 16700),
    ("admissionregistration.k8s.io", 16700),
    ("scheduling.k8s.io", 16600),
    ("coordination.k8s.io", 16500),
    ("node.k8s.io", 16300),
    ("discovery.k8s.io", 16200),
    ("flowcontrol.apiserver.k8s.io", 16100),
    ("internal.apiserver.k8s.io", 16000),
    ("resource.k8s.io", 15900),
    ("storagemigration.k8s.io", 15800),
];
const VERSIONS: [((&str, &str), i64); 2] = [(("", "v1"), 1), (("autoscaling", "v2"), 30)];
const VERSION: i64 = 15;
/// Versions that are not settled come after those that are.
const UNSTABLE_VERSION: i64 = 9;

/// The group's and the version's priority of custom resources.
const CUSTOM: (i64, i64) = (1000, 100);

fn priorities(group: &str, version: &str) -> (i64, i64) {
    let Some((_, group_priority)) = GROUPS.iter().find(|(name, _)| *name == group) else { return CUSTOM };
    let settled = if version.contains("alpha") || version.contains("beta") { UNSTABLE_VERSION } else { VERSION };
    let known = VERSIONS.iter().find(|(key, _)| *key == (group, version));
    (*group_priority, known.map_or(settled, |(_, priority)| *priority))
}

/// Makes what is missing of the APIServices for `served` (group and version), and removes those of groups that are not
/// served any more.
pub(super) async fn keep(
    registry: &Registry,
    resource: &Resource,
    served: &BTreeSet<(String, String)>,
) -> Result<(), Status> {
    let scope = Scope { resource, namespace: None };
    let wanted: BTreeMap<String, Value> = served.iter().map(|(group, version)| wanted(group, version)).collect();
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
    let (group_priority, version_priority) = priorities(group, version);
    let managed = if (group_priority, version_priority) == CUSTOM { "true" } else { "onstart" };
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name, "labels": {MANAGED: managed}},
        "spec": {
            "group": group, "version": version, "groupPriorityMinimum": group_priority,
            "versionPriority": version_priority,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_upstreams() {
        #[track_caller]
        fn check(group: &str, version: &str, expected: (i64, i64)) {
            assert_eq!(priorities(group, version), expected);
        }
        check("", "v1", (18000, 1));
        check("autoscaling", "v2", (17500, 30));
        check("apps", "v1", (17800, 15));
        check("storage.k8s.io", "v1beta1", (16800, 9));
        check("example.com", "v1", CUSTOM);
    }
}
