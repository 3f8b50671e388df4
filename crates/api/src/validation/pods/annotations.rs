//! Annotations of pods that the server understands: what they may say, that they say what fields say, and what may
//! change in them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, Toleration};

use super::{containers, scheduling};
use crate::field::{ErrorList, FieldError, Path, quote};
use crate::validation::check;

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";

const LOCALHOST: &str = "localhost/";
const RUNTIME_DEFAULT: &str = "runtime/default";
const UNCONFINED: &str = "unconfined";
/// What the runtime's default was called before there were other runtimes.
const DOCKER_DEFAULT: &str = "docker/default";

type Annotations = Option<BTreeMap<String, String>>;

/// Judges the annotations of a pod or of a template.
pub(super) fn annotations(annotations: &Annotations, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(annotations) = annotations else {
        return;
    };
    if let Some(value) = annotations.get(MIRROR).filter(|_| check::text(&spec.node_name).is_empty()) {
        let why = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(FieldError::invalid(&path.key(MIRROR), value.as_str(), why));
    }
    if let Some(text) = annotations.get(TOLERATIONS).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Vec<Toleration>>(text) {
            Ok(list) => scheduling::tolerations(&list, &path.child(TOLERATIONS), errors),
            Err(error) => errors.push(FieldError::invalid(path, TOLERATIONS, error.to_string())),
        }
    }
    if let Some(cost) = annotations.get(DELETION_COST).filter(|cost| !is_deletion_cost(cost)) {
        errors.push(FieldError::invalid(&path.key(DELETION_COST), cost.as_str(), "must be a 32bit integer"));
    }
    let of_containers = annotations.iter().filter(|(key, _)| key.starts_with(CONTAINER_SECCOMP));
    for (key, profile) in annotations.get_key_value(SECCOMP).into_iter().chain(of_containers) {
        seccomp(profile, &path.child(key), errors);
    }
    for (key, profile) in annotations {
        if let Some(name) = key.strip_prefix(APP_ARMOR) {
            app_armor(profile, name, spec, &path.key(key), errors);
        }
    }
}

/// A number without a plus or leading zeros.
fn is_deletion_cost(text: &str) -> bool {
    let first = text.as_bytes().first();
    let begins_well = text == "0" || first.is_some_and(|first| matches!(first, b'-' | b'1'..=b'9'));
    begins_well && text.parse::<i32>().is_ok()
}

fn seccomp(profile: &str, path: &Path, errors: &mut ErrorList) {
    if let Some(file) = profile.strip_prefix(LOCALHOST) {
        check::descending_path(errors, path, file);
    } else if ![RUNTIME_DEFAULT, DOCKER_DEFAULT, UNCONFINED].contains(&profile) {
        errors.push(FieldError::invalid(path, profile, "must be a valid seccomp profile"));
    }
}

fn app_armor(profile: &str, container: &str, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    if !containers::every(spec).any(|found| found.name == container) {
        errors.push(FieldError::invalid(path, container, "container not found"));
    }
    if !["", RUNTIME_DEFAULT, UNCONFINED].contains(&profile) && !profile.starts_with(LOCALHOST) {
        let why = format!("invalid AppArmor profile name: {}", quote(profile));
        errors.push(FieldError::invalid(path, profile, why));
    }
}

/// Judges whether annotations and fields name the same profiles, where both do.
pub(super) fn profiles(annotations: &Annotations, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let Some(annotations) = annotations else {
        return;
    };
    let context = spec.security_context.as_ref();
    if let (Some(profile), Some(annotation)) =
        (context.and_then(|context| context.seccomp_profile.as_ref()), annotations.get(SECCOMP))
    {
        let path = path.child("securityContext").child("seccompProfile");
        same_profile(annotation, of_seccomp(profile), &path, errors);
    }
    for container in containers::every(spec) {
        let profile = container.security.and_then(|context| context.seccomp_profile.as_ref());
        let annotation = annotations.get(&format!("{CONTAINER_SECCOMP}{}", container.name));
        if let (Some(profile), Some(annotation)) = (profile, annotation) {
            let path = container.path(path).child("securityContext").child("seccompProfile");
            same_profile(annotation, of_seccomp(profile), &path, errors);
        }
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = context.and_then(|context| context.app_armor_profile.as_ref());
    for container in containers::every(spec) {
        let profile = container.security.and_then(|context| context.app_armor_profile.as_ref()).or(of_pod);
        let annotation = annotations.get(&format!("{APP_ARMOR}{}", container.name));
        if let (Some(profile), Some(annotation)) = (profile, annotation) {
            let path = container.path(path).child("securityContext").child("appArmorProfile");
            same_profile(annotation, of_app_armor(profile), &path, errors);
        }
    }
}

/// A profile of a field, as annotations name it.
struct Profile<'a> {
    system: &'a str,
    kind: &'a str,
    file: Option<&'a str>,
    defaults: &'a [&'a str],
}

fn of_seccomp(profile: &SeccompProfile) -> Profile<'_> {
    let defaults = &[RUNTIME_DEFAULT, DOCKER_DEFAULT];
    Profile { system: "seccomp", kind: &profile.type_, file: profile.localhost_profile.as_deref(), defaults }
}

fn of_app_armor(profile: &AppArmorProfile) -> Profile<'_> {
    let defaults = &[RUNTIME_DEFAULT];
    Profile { system: "apparmor", kind: &profile.type_, file: profile.localhost_profile.as_deref(), defaults }
}

fn same_profile(annotation: &str, profile: Profile<'_>, path: &Path, errors: &mut ErrorList) {
    let file = annotation.strip_prefix(LOCALHOST);
    let same_kind = match profile.kind {
        "Unconfined" => annotation == UNCONFINED,
        "RuntimeDefault" => profile.defaults.contains(&annotation),
        "Localhost" => file.is_some(),
        _ => true,
    };
    let (field, what) = match profile.kind {
        _ if !same_kind => ("type", "type"),
        "Localhost" if file != profile.file => ("localhostProfile", "profile"),
        _ => return,
    };
    let why = format!("{} {what} in annotation and field must match", profile.system);
    errors.push(FieldError::forbidden(&path.child(field), why));
}

/// Judges what changes in the annotations of a pod, and what they are then.
pub(super) fn update(new: &Annotations, old: &Annotations, spec: &PodSpec, path: &Path, errors: &mut ErrorList) {
    let mut refuse = |key: &str, what: &str| {
        let whose = match key {
            MIRROR => "mirror pod annotation",
            _ if key.starts_with(APP_ARMOR) => "AppArmor annotations",
            _ => return,
        };
        errors.push(FieldError::forbidden(&path.key(key), format!("may not {what} {whose}")));
    };
    let get = |annotations: &Annotations, key: &str| annotations.as_ref().and_then(|all| all.get(key).cloned());
    for (key, value) in old.iter().flatten() {
        if get(new, key).as_ref() != Some(value) {
            refuse(key, "remove or update");
        }
    }
    for (key, _) in new.iter().flatten().filter(|(key, _)| get(old, key).is_none()) {
        refuse(key, "add");
    }
    annotations(new, spec, path, errors);
}
