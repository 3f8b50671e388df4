//! Affinity to nodes and to other pods.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Affinity, NodeAffinity, NodeSelector, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

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
        // What is only preferred may have values that no label has.
        check::node_selector_term(errors, &path.child("preference"), &term.preference, false);
    }
}

/// Judges a selector of nodes, of a pod or of a volume.
pub(in crate::validation) fn node_selector(selector: &NodeSelector, path: &Path, errors: &mut ErrorList) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        check::node_selector_term(errors, &path.index(index), term, true);
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
    let (keys, others) = (term.match_label_keys.as_deref(), term.mismatch_label_keys.as_deref());
    label_keys(keys, others, term.label_selector.as_ref(), path, errors);
    let key_path = path.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.push(FieldError::required(&key_path, "can not be empty"));
    }
    check::invalid(errors, &key_path, term.topology_key.as_str(), names::label_key(&term.topology_key));
}

/// Label keys whose values are taken from the pod; its creation has added them to the selector.
pub(super) fn label_keys(
    keys: Option<&[String]>,
    others: Option<&[String]>,
    selector: Option<&LabelSelector>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (keys, others) = (keys.unwrap_or_default(), others.unwrap_or_default());
    for (field, keys) in [("matchLabelKeys", keys), ("mismatchLabelKeys", others)] {
        let path = path.child(field);
        if selector.is_none() && !keys.is_empty() {
            errors.push(FieldError::forbidden(&path, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            check::invalid(errors, &path.index(index), key.as_str(), names::label_key(key));
        }
    }
    if let Some(selector) = selector {
        let mut seen: BTreeSet<&String> = selector.match_labels.iter().flatten().map(|(key, _)| key).collect();
        for expression in selector.match_expressions.iter().flatten() {
            let key = &expression.key;
            if !seen.insert(key)
                && let Some(index) = keys.iter().rposition(|found| found == key)
            {
                let why = "exists in both matchLabelKeys and labelSelector";
                errors.push(FieldError::invalid(&path.index(index), key.as_str(), why));
            }
        }
    }
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| others.contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&path.child("matchLabelKeys").index(index), key.as_str(), why));
    }
}
