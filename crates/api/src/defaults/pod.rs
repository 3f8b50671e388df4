//! Pods, pod templates and all that is in them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Object;
use super::edit::{child, each, is_true, is_unset, made, set, set_nonzero, text};
use super::storage;
use crate::quantity::Quantity;

const CONTAINER_LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Annotations that held what init containers are before there were fields. Old kubelets would still believe them.
const INIT_CONTAINERS: [&str; 4] = [
    "pod.alpha.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.beta.kubernetes.io/init-containers",
];

pub(super) fn pod(object: &mut Object) {
    drop_init_containers(object);
    let spec = made(object, "spec");
    pod_spec(spec);
    set(spec, "enableServiceLinks", true);
    let host_network = is_true(spec, "hostNetwork");
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            if let Some(resources) = child(container, "resources") {
                requests_from_limits(resources);
            }
            if host_network {
                host_ports(container);
            }
        }
    }
    pod_requests(spec);
    set(made(object, "status"), "phase", "Pending");
}

pub(super) fn pod_template(object: &mut Object) {
    template(object, "template");
}

/// A pod template in a field.
pub(super) fn template(object: &mut Object, key: &str) {
    let Some(template) = child(object, key) else { return };
    drop_init_containers(template);
    if let Some(spec) = child(template, "spec") {
        pod_spec(spec);
    }
}

fn drop_init_containers(pod: &mut Object) {
    let Some(metadata) = child(pod, "metadata") else { return };
    let Some(annotations) = child(metadata, "annotations") else { return };
    let there = annotations.len();
    annotations.retain(|key, _| !INIT_CONTAINERS.contains(&key.as_str()));
    if annotations.is_empty() && there > 0 {
        metadata.remove("annotations");
    }
}

fn pod_spec(spec: &mut Object) {
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set(spec, "securityContext", Map::new());
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "schedulerName", "default-scheduler");
    // The second name is the old one of the first, and always says the same.
    let account = if is_unset(spec, "serviceAccountName") { "serviceAccount" } else { "serviceAccountName" };
    let account = text(spec, account).to_owned();
    if !account.is_empty() {
        spec.insert("serviceAccountName".to_owned(), account.clone().into());
        spec.insert("serviceAccount".to_owned(), account.into());
    }
    for list in CONTAINER_LISTS {
        each(spec, list).for_each(container);
    }
    each(spec, "volumes").for_each(volume);
}

fn container(container: &mut Object) {
    let policy = pull_policy(text(container, "image"));
    set(container, "imagePullPolicy", policy);
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    for env in each(container, "env") {
        if let Some(field) = child(env, "valueFrom").and_then(|source| child(source, "fieldRef")) {
            set(field, "apiVersion", "v1");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = child(container, name) else { continue };
        set_nonzero(probe, "timeoutSeconds", 1);
        set_nonzero(probe, "periodSeconds", 10);
        set_nonzero(probe, "successThreshold", 1);
        set_nonzero(probe, "failureThreshold", 3);
        http_get(probe);
    }
    if let Some(lifecycle) = child(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(handler) = child(lifecycle, name) {
                http_get(handler);
            }
        }
    }
}

fn http_get(handler: &mut Object) {
    if let Some(get) = child(handler, "httpGet") {
        set(get, "path", "/");
        set(get, "scheme", "HTTP");
    }
}

/// Images that may change under their name are always pulled: those of tag `latest`, said or implied.
pub(super) fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    let latest = match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    };
    if latest { "Always" } else { "IfNotPresent" }
}

fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    if limits.is_empty() {
        return;
    }
    let requests = made(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

fn host_ports(container: &mut Object) {
    for port in each(container, "ports") {
        if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
            set_nonzero(port, "hostPort", number);
        }
    }
}

/// Requests of the whole pod where only limits are said: the sum of its containers' requests, else the limit.
fn pod_requests(spec: &mut Object) {
    let limits = spec.get("resources").and_then(|resources| resources.get("limits")).and_then(Value::as_object);
    let limits = limits.cloned().unwrap_or_default();
    if child(spec, "resources").is_none() {
        return;
    }
    let sums = aggregate_requests(spec);
    let supported = |name: &str| name == "cpu" || name == "memory" || name.starts_with("hugepages-");
    let resources = made(spec, "resources");
    let mut requests = resources.get("requests").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, sum) in sums.into_iter().filter(|(name, _)| supported(name)) {
        requests.entry(name).or_insert_with(|| sum.to_string().into());
    }
    for (name, limit) in limits.into_iter().filter(|(name, _)| supported(name)) {
        requests.entry(name).or_insert(limit);
    }
    if !requests.is_empty() {
        resources.insert("requests".to_owned(), requests.into());
    }
}

/// What all containers need together: those that run side by side are added up, those that run before are not.
fn aggregate_requests(spec: &Object) -> BTreeMap<String, Quantity> {
    let mut running: BTreeMap<String, Quantity> = BTreeMap::new();
    let mut peak: BTreeMap<String, Quantity> = BTreeMap::new();
    let zero = |format| Quantity::new(0, format);
    for container in list(spec, "initContainers") {
        let sidecar = text(container, "restartPolicy") == "Always";
        for (name, amount) in requests_of(container) {
            let mut together = running.get(&name).copied().unwrap_or_else(|| zero(amount.format()));
            together += amount;
            if sidecar {
                running.insert(name, together);
            } else {
                let peak = peak.entry(name).or_insert(together);
                *peak = (*peak).max(together);
            }
        }
    }
    for container in list(spec, "containers") {
        for (name, amount) in requests_of(container) {
            let sum = running.entry(name).or_insert_with(|| zero(amount.format()));
            *sum += amount;
        }
    }
    for (name, amount) in peak {
        let sum = running.entry(name).or_insert(amount);
        *sum = (*sum).max(amount);
    }
    running
}

fn list<'a>(spec: &'a Object, key: &str) -> impl Iterator<Item = &'a Object> {
    spec.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

fn requests_of(container: &Object) -> impl Iterator<Item = (String, Quantity)> {
    let requests = container.get("resources").and_then(|resources| resources.get("requests"));
    requests
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?)))
}

fn volume(volume: &mut Object) {
    if volume.keys().all(|key| key == "name") {
        volume.insert("emptyDir".to_owned(), Map::new().into());
    }
    for (source, items) in [("secret", false), ("configMap", false), ("downwardAPI", true), ("projected", false)] {
        let Some(source) = child(volume, source) else { continue };
        set(source, "defaultMode", 0o644);
        if items {
            downward_items(source);
        }
    }
    if let Some(projected) = child(volume, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = child(source, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = child(source, "downwardAPI") {
                downward_items(downward);
            }
        }
    }
    if let Some(path) = child(volume, "hostPath") {
        // An empty type is a type of its own: no check.
        path.entry("type").or_insert_with(|| "".into());
    }
    if let Some(image) = child(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        set(image, "pullPolicy", policy);
    }
    if let Some(template) = child(volume, "ephemeral").and_then(|source| child(source, "volumeClaimTemplate"))
        && let Some(spec) = child(template, "spec")
    {
        storage::claim_spec(spec);
    }
}

fn downward_items(source: &mut Object) {
    for item in each(source, "items") {
        if let Some(field) = child(item, "fieldRef") {
            set(field, "apiVersion", "v1");
        }
    }
}
