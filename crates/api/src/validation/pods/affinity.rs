//! Affinity to nodes and to other pods.

use k8s_openapi::api::core::v1::{Affinity, NodeAffinity, NodeSelector, PodAffinityTerm, WeightedPodAffinityTerm};

use crate::field::{ErrorList, FieldError, Path};
use crate::validation::{check, names};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Judges the affinity of a pod.
pub(super) fn affinity(affinity: &Affinity, path: &Path, errors: &mut ErrorList) {
    if let Some(node) = &affinity.node_affinity {
        node_affinity(node, &path.child("nodeAffinity"), errors);
    }
    if let Some(pods) = &affinity.pod_affinity {
        let path = path.child("podAffinity");
        required(pods.required_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
        preferred(pods.preferred_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        let path = path.child("podAntiAffinity");
        required(pods.required_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
        preferred(pods.preferred_during_scheduling_ignored_during_execution.as_deref(), &path, errors);
    }
}

fn node_affinity(affinity: &NodeAffinity, path: &Path, errors: &mut ErrorList) {
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        node_selector(selector, &path.child(REQUIRED), errors);
    }
    let terms = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in terms.enumerate() {
        let path = path.child(PREFERRED).index(index);
        weight(term.weight, &path, errors);
        check::node_selector_term(errors, &path.child("preference"), &term.preference);
    }
}

/// Judges a selector of nodes, of a pod or of a volume.
pub(in crate::validation) fn node_selector(selector: &NodeSelector, path: &Path, errors: &mut ErrorList) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        check::node_selector_term(errors, &path.index(index), term);
    }
}

fn weight(weight: i32, path: &Path, errors: &mut ErrorList) {
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn required(terms: Option<&[PodAffinityTerm]>, path: &Path, errors: &mut ErrorList) {
    for (index, term) in terms.unwrap_or_default().iter().enumerate() {
        pod_term(term, &path.child(REQUIRED).index(index), errors);
    }
}

fn preferred(terms: Option<&[WeightedPodAffinityTerm]>, path: &Path, errors: &mut ErrorList) {
    for (index, term) in terms.unwrap_or_default().iter().enumerate() {
        let path = path.child(PREFERRED).index(index);
        weight(term.weight, &path, errors);
        pod_term(&term.pod_affinity_term, &path.child("podAffinityTerm"), errors);
    }
}

fn pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut ErrorList) {
    if let Some(selector) = &term.label_selector {
        check::label_selector(errors, &path.child("labelSelector"), selector);
    }
    if let Some(selector) = &term.namespace_selector {
        check::label_selector(errors, &path.child("namespaceSelector"), selector);
    }
    for namespace in term.namespaces.iter().flatten() {
        check::invalid(errors, &path.child("namespace"), namespace.as_str(), names::dns_label(namespace));
    }
    for (field, keys) in [("matchLabelKeys", &term.match_label_keys), ("mismatchLabelKeys", &term.mismatch_label_keys)]
    {
        label_keys(keys.as_deref(), term.label_selector.is_some(), &path.child(field), errors);
    }
    let others = term.mismatch_label_keys.as_deref().unwrap_or_default();
    for (index, key) in term.match_label_keys.iter().flatten().enumerate().filter(|(_, key)| others.contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&path.child("matchLabelKeys").index(index), key.as_str(), why));
    }
    let key_path = path.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(&key_path, "can not be empty"));
    }
    check::invalid(errors, &key_path, term.topology_key.as_str(), names::label_key(&term.topology_key));
}

/// Label keys whose values are taken from the pod.
pub(super) fn label_keys(keys: Option<&[String]>, has_selector: bool, path: &Path, errors: &mut ErrorList) {
    let keys = keys.unwrap_or_default();
    if !keys.is_empty() && !has_selector {
        errors.push(FieldError::forbidden(path, "must not be specified when labelSelector is not set"));
    }
    for (index, key) in keys.iter().enumerate() {
        check::invalid(errors, &path.index(index), key.as_str(), names::label_key(key));
    }
}
