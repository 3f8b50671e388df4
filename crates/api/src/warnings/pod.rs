//! Pods, and templates of pods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::nodes::{deprecated_label, selector_term};
use super::{Found, entries, fractional, has, list, storage, text};
use crate::field::{Path, quote};

/// Annotations that have become fields.
const DEPRECATED_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

const NO_POD: &str = "a null labelSelector results in matching no pod";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const SECCOMP_MESSAGE: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const CONTAINER_APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// A pod.
pub(super) fn pod(object: &Value, found: &mut Found) {
    judge(object, None, found);
}

/// A template of pods.
pub(super) fn template(object: &Value, path: &Path, found: &mut Found) {
    judge(object, Some(path), found);
}

fn judge(object: &Value, at: Option<&Path>, found: &mut Found) {
    let below = |name: &str| at.map_or_else(|| Path::new(name), |at| at.child(name));
    let (spec, path) = (&object["spec"], below("spec"));
    placement(spec, &path, found);
    let annotations = below("metadata").child("annotations");
    for (key, why) in DEPRECATED_ANNOTATIONS {
        if entries(object, "/metadata/annotations").any(|(known, _)| known == key) {
            found.add(&annotations.key(key), why);
        }
    }
    volumes(list(spec, "/volumes"), &path.child("volumes"), found);
    token_paths(list(spec, "/volumes"), &path.child("volumes"), found);
    repeated(list(spec, "/hostAliases"), "ip", &path.child("hostAliases"), found);
    let secrets = list(spec, "/imagePullSecrets");
    let secrets_path = path.child("imagePullSecrets");
    repeated(secrets, "name", &secrets_path, found);
    for (index, _) in secrets.iter().enumerate().filter(|(_, secret)| text(secret, "/name").is_empty()) {
        found.add(&secrets_path.index(index).child("name"), "invalid empty name \"\"");
    }
    bytes(&spec["overhead"], &path.child("overhead"), found);
    security(object, at.is_some(), &annotations, found);
    let all = containers(spec, &path);
    for (container, path) in &all {
        for field in ["limits", "requests"] {
            bytes(&container["resources"][field], &path.child("resources").child(field), found);
        }
        environment(list(container, "/env"), &path.child("env"), found);
    }
    ports(&all, found);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        let why = "must be >= 0; negative values are invalid and will be treated as 1";
        found.add(&path.child("terminationGracePeriodSeconds"), why);
    }
    affinity(&spec["affinity"], &path.child("affinity"), found);
}

/// The containers in upstream's order, with their paths.
fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(&'a Value, Path)> {
    let kinds = ["initContainers", "containers", "ephemeralContainers"];
    let of_kind = |kind: &&str| {
        let list_path = path.child(kind);
        let containers = list(spec, &format!("/{kind}")).iter().enumerate();
        containers.map(move |(index, container)| (container, list_path.index(index))).collect::<Vec<_>>()
    };
    kinds.iter().flat_map(of_kind).collect()
}

/// Where a pod may run: labels that have other names now, constraints that hold for no pod.
fn placement(spec: &Value, path: &Path, found: &mut Found) {
    for (key, _) in entries(spec, "/nodeSelector") {
        if let Some(why) = deprecated_label(key) {
            found.add(&path.child("nodeSelector").key(key), why);
        }
    }
    let node_path = path.child("affinity").child("nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = list(spec, &format!("/affinity/nodeAffinity/{required}/nodeSelectorTerms"));
    for (index, term) in terms.iter().enumerate() {
        selector_term(term, &node_path.child(required).child("nodeSelectorTerms").index(index), found);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (index, term) in list(spec, &format!("/affinity/nodeAffinity/{preferred}")).iter().enumerate() {
        selector_term(&term["preference"], &node_path.child(preferred).index(index).child("preference"), found);
    }
    for (index, constraint) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let key = text(constraint, "/topologyKey");
        if let Some(why) = deprecated_label(key) {
            found.add(&path.child("topologyKey"), format_args!("{key} is {why}"));
        }
        if !has(constraint, "/labelSelector") {
            found.add(&path.child("labelSelector"), NO_POD);
        }
    }
}

fn volumes(volumes: &[Value], list_path: &Path, found: &mut Found) {
    for (index, volume) in volumes.iter().enumerate() {
        let path = list_path.index(index);
        for (source, why) in storage::GONE.iter().filter(|(source, _)| has(volume, &format!("/{source}"))) {
            // Upstream names this one field otherwise here.
            let name = if *source == "storageos" { "storageOS" } else { source };
            found.add(&path.child(name), why);
        }
        if has(volume, "/gitRepo") {
            found.add(&path.child("gitRepo"), "deprecated in v1.11");
        }
        let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
        storage::claim_spec(claim, &path.child("ephemeral").child("volumeClaimTemplate").child("spec"), found);
    }
}

/// Files that a token of the service account covers.
fn token_paths(volumes: &[Value], list_path: &Path, found: &mut Found) {
    let sources = |volume| list(volume, "/projected/sources").iter();
    let tokens = volumes.iter().flat_map(sources).filter(|source| has(source, "/serviceAccountToken"));
    let tokens: BTreeSet<&str> = tokens.map(|source| text(source, "/serviceAccountToken/path")).collect();
    if tokens.is_empty() {
        return;
    }
    for (index, volume) in volumes.iter().enumerate() {
        let path = list_path.index(index).child("projected").child("sources");
        let mut tell = |file: &str, path: &Path| {
            if tokens.contains(file) {
                found.add(path, format_args!("has duplicated path with ServiceAccountToken {}", quote(file)));
            }
        };
        for source in sources(volume) {
            for (kind, name) in [("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")] {
                for (index, item) in list(source, &format!("/{kind}/items")).iter().enumerate() {
                    tell(text(item, "/path"), &path.child(name).index(index));
                }
            }
            if has(source, "/clusterTrustBundle") {
                tell(text(source, "/clusterTrustBundle/path"), &path.child("ClusterTrustBundle"));
            }
        }
    }
}

/// Entries of a list with the same name as one before.
fn repeated(entries: &[Value], field: &str, list_path: &Path, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        let value = entry[field].as_str().unwrap_or_default();
        if !seen.insert(value) {
            found.add(&list_path.index(index).child(field), format_args!("duplicate {field} {}", quote(value)));
        }
    }
}

/// Memory and storage come in whole bytes.
fn bytes(amounts: &Value, path: &Path, found: &mut Found) {
    for resource in ["memory", "ephemeral-storage"] {
        fractional(&amounts[resource], &path.key(resource), found);
    }
}

/// Annotations about profiles that are without effect where no field says the same.
fn security(object: &Value, is_template: bool, annotations: &Path, found: &mut Found) {
    let has_annotation = |key: &str| entries(object, "/metadata/annotations").any(|(known, _)| known == key);
    let spec = &object["spec"];
    if !has(spec, "/securityContext/seccompProfile") && has_annotation(SECCOMP) {
        found.add(&annotations.key(SECCOMP), SECCOMP_MESSAGE);
    }
    for (container, _) in containers(spec, annotations) {
        let name = text(container, "/name");
        let key = format!("{CONTAINER_SECCOMP}{name}");
        if !has(container, "/securityContext/seccompProfile") && has_annotation(&key) {
            found.add(&annotations.key(&key), SECCOMP_MESSAGE);
        }
        let key = format!("{CONTAINER_APPARMOR}{name}");
        let has_field = [spec, container].iter().any(|at| has(at, "/securityContext/appArmorProfile"));
        if is_template && !has_field && has_annotation(&key) {
            found.add(&annotations.key(&key), "deprecated since v1.30; use the \"appArmorProfile\" field instead");
        }
    }
}

/// Variables that hide those before them, other than by building on them.
fn environment(variables: &[Value], list_path: &Path, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (index, variable) in variables.iter().enumerate() {
        let (name, value) = (text(variable, "/name"), text(variable, "/value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if has(variable, "/valueFrom") || value == reference || !value.contains(&reference) {
            let name = quote(name);
            let why = format!("hides previous definition of {name}, which may be dropped when using apply");
            found.add(&list_path.index(index), why);
        }
    }
}

/// Ports of which two are the same, or might be.
fn ports(containers: &[(&Value, Path)], found: &mut Found) {
    let mut seen: BTreeMap<(i64, &str), Vec<(&Value, Path)>> = BTreeMap::new();
    let number = |port: &Value, field: &str| port[field].as_i64().unwrap_or_default();
    for (container, path) in containers {
        for (index, port) in list(container, "/ports").iter().enumerate() {
            let path = path.child("ports").index(index);
            let (host_ip, host_port) = (text(port, "/hostIP"), number(port, "hostPort"));
            let protocol = text(port, "/protocol");
            let container_port = number(port, "containerPort");
            if !host_ip.is_empty() && host_port == 0 {
                let name = text(port, "/name");
                let shown = format!(
                    "{{Name:{name} HostPort:0 ContainerPort:{container_port} Protocol:{protocol} HostIP:{host_ip}}}"
                );
                found.add(&path, format_args!("hostIP set without hostPort: {shown}"));
            }
            let others = seen.entry((container_port, protocol)).or_default();
            for (other, other_path) in others.iter() {
                let (other_ip, other_port) = (text(other, "/hostIP"), number(other, "hostPort"));
                let what = if host_ip == other_ip && host_port == other_port {
                    "duplicate"
                } else if host_port == 0 || other_port == 0 {
                    "overlapping"
                } else if host_port == other_port && host_ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                found.add(&path, format_args!("{what} port definition with {other_path}"));
            }
            others.push((port, path));
        }
    }
}

fn affinity(affinity: &Value, path: &Path, found: &mut Found) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in list(affinity, &format!("/{kind}/{required}")).iter().enumerate() {
            if !has(term, "/labelSelector") {
                found.add(&path.child(kind).child(required).index(index).child("labelSelector"), NO_POD);
            }
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in list(affinity, &format!("/{kind}/{preferred}")).iter().enumerate() {
            if !has(term, "/podAffinityTerm/labelSelector") {
                let path = path.child(kind).child(preferred).index(index);
                found.add(&path.child("podAffinityTerm").child("labelSelector"), NO_POD);
            }
        }
    }
}
