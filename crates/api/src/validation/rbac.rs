//! Roles and role bindings.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};

use super::{check, names};
use crate::field::{ErrorList, FieldError, Path};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Judges a role.
pub(super) fn role(role: &Role, errors: &mut ErrorList) {
    rules(role.rules.as_deref(), true, errors);
}

/// Judges a cluster role.
pub(super) fn cluster_role(role: &ClusterRole, errors: &mut ErrorList) {
    rules(role.rules.as_deref(), false, errors);
    let Some(aggregation) = &role.aggregation_rule else {
        return;
    };
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(&path, why));
    }
    for (index, selector) in selectors.iter().enumerate() {
        check::label_selector(errors, &path.index(index), selector);
    }
}

fn rules(rules: Option<&[PolicyRule]>, namespaced: bool, errors: &mut ErrorList) {
    for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
        let path = Path::new("rules").index(index);
        if rule.verbs.is_empty() {
            errors.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
        }
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let (urls, groups, resources) = (list(&rule.non_resource_urls), list(&rule.api_groups), list(&rule.resources));
        if !urls.is_empty() {
            let path = path.child("nonResourceURLs");
            let names = list(&rule.resource_names);
            if namespaced {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(&path, urls.clone(), why));
            }
            if !groups.is_empty() || !resources.is_empty() || !names.is_empty() {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(&path, urls, why));
            }
            continue;
        }
        if groups.is_empty() {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&path.child("apiGroups"), why));
        }
        if resources.is_empty() {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&path.child("resources"), why));
        }
    }
}

/// Judges a role binding.
pub(super) fn role_binding(binding: &RoleBinding, errors: &mut ErrorList) {
    role_ref(&binding.role_ref, &["ClusterRole", "Role"], errors);
    subjects(binding.subjects.as_deref(), true, errors);
}

/// Judges a cluster role binding.
pub(super) fn cluster_role_binding(binding: &ClusterRoleBinding, errors: &mut ErrorList) {
    role_ref(&binding.role_ref, &["ClusterRole"], errors);
    subjects(binding.subjects.as_deref(), false, errors);
}

fn role_ref(role: &RoleRef, kinds: &[&str], errors: &mut ErrorList) {
    let path = Path::new("roleRef");
    check::one_of(errors, &path.child("apiGroup"), &role.api_group, &[GROUP]);
    check::one_of(errors, &path.child("kind"), &role.kind, kinds);
    check::required_name(errors, &path.child("name"), &role.name, names::path_segment);
}

fn subjects(subjects: Option<&[Subject]>, namespaced: bool, errors: &mut ErrorList) {
    for (index, subject) in subjects.unwrap_or_default().iter().enumerate() {
        let path = Path::new("subjects").index(index);
        check::required(errors, &path.child("name"), &subject.name);
        let group = check::text(&subject.api_group);
        match subject.kind.as_str() {
            "ServiceAccount" => {
                check::optional_name(errors, &path.child("name"), &subject.name, names::dns_subdomain);
                check::one_of(errors, &path.child("apiGroup"), group, &[""]);
                // Without one a role binding means its own namespace.
                if !namespaced {
                    check::required(errors, &path.child("namespace"), check::text(&subject.namespace));
                }
            }
            "User" | "Group" => check::one_of(errors, &path.child("apiGroup"), group, &[GROUP]),
            other => {
                let supported = ["Group", "ServiceAccount", "User"];
                errors.push(FieldError::not_supported(&path.child("kind"), other, &supported));
            }
        }
    }
}

/// Judges an update of a role binding.
pub(super) fn role_binding_update(new: &RoleBinding, old: &RoleBinding, errors: &mut ErrorList) {
    same_role(&new.role_ref, &old.role_ref, errors);
}

/// Judges an update of a cluster role binding.
pub(super) fn cluster_role_binding_update(new: &ClusterRoleBinding, old: &ClusterRoleBinding, errors: &mut ErrorList) {
    same_role(&new.role_ref, &old.role_ref, errors);
}

fn same_role(new: &RoleRef, old: &RoleRef, errors: &mut ErrorList) {
    if new != old {
        errors.push(FieldError::invalid(&Path::new("roleRef"), check::json(new), "cannot change roleRef"));
    }
}
