//! Deployments, replica sets, stateful sets, daemon sets, controller revisions, replication controllers.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, DaemonSetUpdateStrategy, Deployment, DeploymentStrategy, ReplicaSet, StatefulSet,
    StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde_json::Value;

use super::{check, pods};
use crate::field::{ErrorList, FieldError, Path};
use crate::selector;

mod status;

pub(super) use status::{
    daemon_set_status, deployment_status, replica_set_status, replication_controller_status, stateful_set_status,
};

/// A workload, and whether its document has a selector at all, which the type cannot tell from an empty one.
pub(super) struct Workload<K> {
    object: K,
    has_selector: bool,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Workload<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let has_selector = value.pointer("/spec/selector").is_some_and(|selector| !selector.is_null());
        let object = K::deserialize(value).map_err(D::Error::custom)?;
        Ok(Self { object, has_selector })
    }
}

/// What the workloads have in common.
struct Common<'a> {
    /// The word for the kind in messages about selectors.
    noun: &'a str,
    /// The kind.
    kind: &'a str,
    selector: Option<&'a LabelSelector>,
    template: &'a PodTemplateSpec,
}

impl Common<'_> {
    fn judge(&self, path: &Path, errors: &mut ErrorList) {
        let selector_path = path.child("selector");
        match self.selector {
            None => errors.push(FieldError::required(&selector_path, "")),
            Some(selector) => {
                check::label_selector(errors, &selector_path, selector);
                if is_empty(selector) {
                    let why = format!("empty selector is invalid for {}", self.noun);
                    errors.push(FieldError::invalid(&selector_path, check::json(selector), why));
                }
            }
        }
        let labels = labels_of(self.template);
        let matches = match self.selector.map(selector::LabelSelector::from_k8s) {
            Some(Ok(selector)) => selector.matches(&labels),
            Some(Err(_)) => {
                let why = "invalid label selector";
                errors.push(FieldError::invalid(&selector_path, check::json(&self.selector), why));
                true
            }
            // A selector that is not there selects nothing.
            None => false,
        };
        let path = path.child("template");
        if !matches {
            labels_do_not_match(&labels, &path, errors);
            if self.kind == "DaemonSet" {
                // Upstream looks twice at these.
                labels_do_not_match(&labels, &path, errors);
            }
        }
        template(self.template, self.kind, &path, errors);
    }
}

fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

pub(super) fn labels_of(template: &PodTemplateSpec) -> BTreeMap<String, String> {
    template.metadata.as_ref().and_then(|metadata| metadata.labels.clone()).unwrap_or_default()
}

/// `path` is that of the template.
pub(super) fn labels_do_not_match(labels: &BTreeMap<String, String>, path: &Path, errors: &mut ErrorList) {
    let path = path.child("metadata").child("labels");
    errors.push(FieldError::invalid(&path, check::json(labels), "`selector` does not match template `labels`"));
}

fn template(template: &PodTemplateSpec, kind: &str, path: &Path, errors: &mut ErrorList) {
    pods::template_spec(template, path, errors);
    let Some(spec) = &template.spec else {
        return;
    };
    let path = path.child("spec");
    let policy = check::text(&spec.restart_policy);
    if !["", "Always"].contains(&policy) {
        errors.push(FieldError::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if spec.active_deadline_seconds.is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path.child("activeDeadlineSeconds"), why));
    }
}

/// Judges a deployment.
pub(super) fn deployment(workload: &Workload<Deployment>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = workload.object.spec.clone().unwrap_or_default();
    check::optional_non_negative(errors, &path.child("replicas"), spec.replicas);
    let selector = workload.has_selector.then_some(&spec.selector);
    Common { noun: "deployment", kind: "ReplicaSet", selector, template: &spec.template }.judge(&path, errors);
    deployment_strategy(&spec.strategy.unwrap_or_default(), &path.child("strategy"), errors);
    let ready_seconds = spec.min_ready_seconds.unwrap_or(0);
    check::non_negative(errors, &path.child("minReadySeconds"), ready_seconds);
    check::optional_non_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit);
    if let Some(deadline) = spec.progress_deadline_seconds {
        let path = path.child("progressDeadlineSeconds");
        check::non_negative(errors, &path, deadline);
        if deadline <= ready_seconds {
            errors.push(FieldError::invalid(&path, deadline, "must be greater than minReadySeconds"));
        }
    }
}

fn deployment_strategy(strategy: &DeploymentStrategy, path: &Path, errors: &mut ErrorList) {
    let rolling_path = path.child("rollingUpdate");
    match (check::text(&strategy.type_), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&rolling_path, why));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.push(FieldError::required(&rolling_path, "this should be defaulted and never be nil"));
        }
        ("RollingUpdate", Some(rolling)) => {
            let zero = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
            let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
            let unavailable_path = rolling_path.child("maxUnavailable");
            check::count_or_percent(errors, &unavailable_path, unavailable);
            check::count_or_percent(errors, &rolling_path.child("maxSurge"), surge);
            if check::is_zero(unavailable) && check::is_zero(surge) {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&unavailable_path, check::json(unavailable), why));
            }
            check::at_most_all(errors, &unavailable_path, unavailable);
        }
        _ => errors.push(FieldError::not_supported(path, check::json(strategy), &["Recreate", "RollingUpdate"])),
    }
}

/// Judges an update of a deployment.
pub(super) fn deployment_update(new: &Deployment, old: &Deployment, errors: &mut ErrorList) {
    let selector = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.selector.clone());
    check::immutable(errors, &Path::new("spec").child("selector"), &selector(new), &selector(old));
}

/// Judges a replica set.
pub(super) fn replica_set(workload: &Workload<ReplicaSet>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = workload.object.spec.clone().unwrap_or_default();
    check::optional_non_negative(errors, &path.child("replicas"), spec.replicas);
    check::optional_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
    let selector = workload.has_selector.then_some(&spec.selector);
    let template = spec.template.clone().unwrap_or_default();
    Common { noun: "deployment", kind: "ReplicaSet", selector, template: &template }.judge(&path, errors);
}

/// Judges an update of a replica set.
pub(super) fn replica_set_update(new: &ReplicaSet, old: &ReplicaSet, errors: &mut ErrorList) {
    let selector = |set: &ReplicaSet| set.spec.as_ref().map(|spec| spec.selector.clone());
    check::immutable(errors, &Path::new("spec").child("selector"), &selector(new), &selector(old));
}

/// Judges a replication controller.
pub(super) fn replication_controller(controller: &ReplicationController, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = controller.spec.clone().unwrap_or_default();
    check::optional_non_negative(errors, &path.child("replicas"), spec.replicas);
    check::optional_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
    let wanted = spec.selector.unwrap_or_default();
    if wanted.is_empty() {
        errors.push(FieldError::required(&path.child("selector"), ""));
    }
    let path = path.child("template");
    let Some(found) = &spec.template else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    let labels = labels_of(found);
    if !wanted.is_empty() && !selector::LabelSelector::from_labels(&wanted).matches(&labels) {
        labels_do_not_match(&labels, &path, errors);
    }
    template(found, "ReplicationController", &path, errors);
}

/// Judges a stateful set.
pub(super) fn stateful_set(workload: &Workload<StatefulSet>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = workload.object.spec.clone().unwrap_or_default();
    let policy = check::text(&spec.pod_management_policy);
    let policy_path = path.child("podManagementPolicy");
    if check::required(errors, &policy_path, policy) && !["OrderedReady", "Parallel"].contains(&policy) {
        errors.push(FieldError::invalid(&policy_path, policy, "must be 'OrderedReady' or 'Parallel'"));
    }
    let strategy = spec.update_strategy.clone().unwrap_or_default();
    stateful_strategy(&strategy, &path.child("updateStrategy"), errors);
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let path = path.child("persistentVolumeClaimRetentionPolicy");
        let policies = ["Delete", "Retain"];
        check::optional_one_of(errors, &path.child("whenDeleted"), &retention.when_deleted, &policies);
        check::optional_one_of(errors, &path.child("whenScaled"), &retention.when_scaled, &policies);
    }
    check::optional_non_negative(errors, &path.child("replicas"), spec.replicas);
    check::optional_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
    if let Some(ordinals) = &spec.ordinals {
        check::optional_non_negative(errors, &path.child("ordinals").child("start"), ordinals.start);
    }
    let selector = workload.has_selector.then_some(&spec.selector);
    Common { noun: "statefulset", kind: "StatefulSet", selector, template: &spec.template }.judge(&path, errors);
}

fn stateful_strategy(strategy: &StatefulSetUpdateStrategy, path: &Path, errors: &mut ErrorList) {
    let rolling_path = path.child("rollingUpdate");
    match (check::text(&strategy.type_), &strategy.rolling_update) {
        ("", _) => errors.push(FieldError::required(path, "")),
        ("OnDelete", Some(rolling)) => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(&rolling_path, check::json(rolling), why));
        }
        ("RollingUpdate", Some(rolling)) => {
            check::optional_non_negative(errors, &rolling_path.child("partition"), rolling.partition);
            if let Some(unavailable) = &rolling.max_unavailable {
                let path = rolling_path.child("maxUnavailable");
                check::count_or_percent(errors, &path, unavailable);
                if check::is_zero(unavailable) {
                    errors.push(FieldError::invalid(&path, check::json(unavailable), "cannot be 0"));
                }
                check::at_most_all(errors, &path, unavailable);
            }
        }
        ("OnDelete" | "RollingUpdate", None) => {}
        _ => {
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(path, check::json(strategy), why));
        }
    }
}

/// Judges an update of a stateful set.
pub(super) fn stateful_set_update(new: &StatefulSet, old: &StatefulSet, errors: &mut ErrorList) {
    let (new, old) = (new.spec.clone().unwrap_or_default(), old.spec.clone().unwrap_or_default());
    let rest = StatefulSetSpec {
        replicas: old.replicas,
        ordinals: old.ordinals.clone(),
        template: old.template.clone(),
        update_strategy: old.update_strategy.clone(),
        revision_history_limit: old.revision_history_limit,
        persistent_volume_claim_retention_policy: old.persistent_volume_claim_retention_policy.clone(),
        min_ready_seconds: old.min_ready_seconds,
        ..new
    };
    if rest != old {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden(&Path::new("spec"), why));
    }
}

/// Judges a daemon set.
pub(super) fn daemon_set(workload: &Workload<DaemonSet>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = workload.object.spec.clone().unwrap_or_default();
    let selector = workload.has_selector.then_some(&spec.selector);
    Common { noun: "daemonset", kind: "DaemonSet", selector, template: &spec.template }.judge(&path, errors);
    check::optional_non_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
    check::optional_non_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit);
    daemon_strategy(&spec.update_strategy.unwrap_or_default(), &path.child("updateStrategy"), errors);
}

fn daemon_strategy(strategy: &DaemonSetUpdateStrategy, path: &Path, errors: &mut ErrorList) {
    let rolling_path = path.child("rollingUpdate");
    match (check::text(&strategy.type_), &strategy.rolling_update) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.push(FieldError::required(&rolling_path, "")),
        ("RollingUpdate", Some(rolling)) => {
            let zero = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
            let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
            let (unavailable_path, surge_path) = (rolling_path.child("maxUnavailable"), rolling_path.child("maxSurge"));
            for (path, value) in [(&unavailable_path, unavailable), (&surge_path, surge)] {
                check::count_or_percent(errors, path, value);
                check::at_most_all(errors, path, value);
            }
            match (check::is_zero(unavailable), check::is_zero(surge)) {
                (true, true) => errors.push(FieldError::required(&unavailable_path, "cannot be 0 when maxSurge is 0")),
                (false, false) => {
                    let why = "may not be set when maxUnavailable is non-zero";
                    errors.push(FieldError::invalid(&surge_path, check::json(surge), why));
                }
                _ => {}
            }
        }
        _ => errors.push(FieldError::not_supported(path, check::json(strategy), &["OnDelete", "RollingUpdate"])),
    }
}

/// Judges an update of a daemon set.
pub(super) fn daemon_set_update(new: &DaemonSet, old: &DaemonSet, errors: &mut ErrorList) {
    let selector = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.selector.clone());
    check::immutable(errors, &Path::new("spec").child("selector"), &selector(new), &selector(old));
}

/// Judges a controller revision.
pub(super) fn controller_revision(revision: &ControllerRevision, errors: &mut ErrorList) {
    if revision.data.is_none() {
        errors.push(FieldError::required(&Path::new("data"), "data is mandatory"));
    }
    check::non_negative(errors, &Path::new("revision"), revision.revision);
}

/// Judges an update of a controller revision.
pub(super) fn controller_revision_update(new: &ControllerRevision, old: &ControllerRevision, errors: &mut ErrorList) {
    check::immutable(errors, &Path::new("data"), &new.data, &old.data);
}
