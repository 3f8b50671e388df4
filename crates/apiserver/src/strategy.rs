//! In what kinds differ: which parts of an object each request may set, what begins a new generation, what a deletion
//! waits for.
//!
//! Facts are rows of the tables here; what a kind does beyond them is a function in a module of its own, called from
//! [`prepare_create`] and [`prepare_update`].

mod certificates;
mod definition;
mod devices;
mod node;
mod pod;
mod replacement;
mod workload;

pub(crate) use replacement::{is_created_by_update, needs_resource_version};
pub(crate) use workload::TEMPLATE_GENERATION;

use api::kinds::Resource;
use serde_json::{Value, json};

use crate::access::Identity;
use crate::aggregation::Availability;

/// Kinds that count generations: `metadata.generation` grows when anything but metadata and status changes.
const GENERATIONS: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceslices"),
    ("scheduling.k8s.io", "priorityclasses"),
];

/// Kinds of which upstream counts the changes, but not the beginning.
const GROWING_GENERATIONS: &[(&str, &str)] = &[("storage.k8s.io", "csidrivers")];

/// Metadata of which a change counts as well: a deployment's annotations go to its replica sets, a slice's labels say
/// whose endpoints it has.
const COUNTED_METADATA: &[((&str, &str), &str)] =
    &[(("apps", "deployments"), "annotations"), (("discovery.k8s.io", "endpointslices"), "labels")];

/// Kinds of which upstream compares values as Go does and not by what they mean: a list, a map or bytes that are empty
/// differ from none.
const COMPARED_EXACTLY: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("networking.k8s.io", "networkpolicies"),
];

/// Whether what is empty and there counts as a change of what is not there.
pub(crate) fn compares_exactly(resource: &Resource) -> bool {
    COMPARED_EXACTLY.contains(&key(resource))
}

/// Kinds of which only a status is new at creation, with that status.
///
/// Kinds that are not listed lose any status sent with a create, unless they keep it ([`KEEPS_STATUS`]).
const NEW_STATUS: &[((&str, &str), &str)] = &[
    (("", "namespaces"), r#"{"phase":"Active"}"#),
    (("", "persistentvolumeclaims"), r#"{"phase":"Pending"}"#),
    (("", "persistentvolumes"), r#"{"phase":"Pending"}"#),
    (("", "replicationcontrollers"), r#"{"replicas":0}"#),
    (("", "services"), r#"{"loadBalancer":{}}"#),
    (
        ("apps", "daemonsets"),
        r#"{"currentNumberScheduled":0,"desiredNumberScheduled":0,"numberMisscheduled":0,"numberReady":0}"#,
    ),
    (("apps", "replicasets"), r#"{"replicas":0}"#),
    (("apps", "statefulsets"), r#"{"availableReplicas":0,"replicas":0}"#),
    (("autoscaling", "horizontalpodautoscalers"), r#"{"currentMetrics":null,"desiredReplicas":0}"#),
    (("networking.k8s.io", "ingresses"), r#"{"loadBalancer":{}}"#),
    (
        ("policy", "poddisruptionbudgets"),
        r#"{"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}"#,
    ),
    (("storage.k8s.io", "volumeattachments"), r#"{"attached":false}"#),
];

/// Kinds whose creators report a status at once.
const KEEPS_STATUS: &[(&str, &str)] = &[("", "nodes")];

/// Kinds of whose metadata an update of the status changes nothing that a client could set.
const STATUS_KEEPS_METADATA: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("apiregistration.k8s.io", "apiservices"),
    ("certificates.k8s.io", "podcertificaterequests"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("internal.apiserver.k8s.io", "storageversions"),
    ("resource.k8s.io", "devicetaintrules"),
    ("resource.k8s.io", "resourceclaims"),
];

/// Kinds whose `status` is written through the main resource, because they have no `status` subresource.
fn has_status_subresource(resource: &Resource) -> bool {
    resource.subresource("status").is_some()
}

fn key(resource: &Resource) -> (&str, &str) {
    (&resource.group, &resource.plural)
}

/// Whether the kind counts generations.
fn counts_generations(resource: &Resource) -> bool {
    resource.custom.is_some() || GENERATIONS.contains(&key(resource))
}

/// Who creates an object, and when.
pub(crate) struct Creation<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) now: jiff::Timestamp,
}

/// Sets what a new object of the kind begins with, whatever the client sent; tells what of that is deprecated.
pub(crate) fn prepare_create(resource: &Resource, object: &mut Value, creation: &Creation<'_>) -> Vec<String> {
    // Of other kinds upstream keeps what the client says.
    if counts_generations(resource) {
        api::meta::metadata_mut(object).insert("generation".to_owned(), 1.into());
    }
    if resource.custom.is_some() {
        if let Some(object) = object.as_object_mut().filter(|_| has_status_subresource(resource)) {
            object.remove("status");
        }
        return Vec::new();
    }
    if has_status_subresource(resource) && !KEEPS_STATUS.contains(&key(resource)) {
        let new = NEW_STATUS.iter().find(|(row, _)| *row == key(resource)).map_or("{}", |(_, status)| *status);
        object["status"] = serde_json::from_str(new).expect("the table holds JSON");
    }
    match key(resource) {
        ("", "pods") => return pod::prepare_create(object, creation.now),
        ("", "namespaces") => add_kubernetes_finalizer(object),
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition::prepare_create(object),
        ("apps", "daemonsets") => workload::prepare_daemon_set(object, None),
        ("", "nodes") => node::prepare_create(object),
        ("batch", "jobs") => workload::prepare_job(object),
        ("certificates.k8s.io", "certificatesigningrequests") => set_requestor(object, creation.identity),
        ("apiregistration.k8s.io", "apiservices") => set_available(object),
        ("resource.k8s.io", "devicetaintrules") => devices::date_rule(object, None, creation.now),
        ("resource.k8s.io", "resourceslices") => devices::date_slice(object, creation.now),
        _ => {}
    }
    Vec::new()
}

/// What this server answers itself is available from the start.
fn set_available(object: &mut Value) {
    let is_local = object.pointer("/spec/service").is_none_or(Value::is_null);
    if let Some(now) = api::meta::creation_timestamp(object).filter(|_| is_local) {
        Availability::local().set(object, now);
    }
}

/// A namespace stays until its controller has emptied it.
fn add_kubernetes_finalizer(object: &mut Value) {
    let mut finalizers = object.pointer("/spec/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
        finalizers.push("kubernetes".into());
    }
    object["spec"] = json!({"finalizers": finalizers});
}

/// A certificate request is made in the name of who made it.
fn set_requestor(object: &mut Value, identity: &Identity) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".to_owned(), identity.user.clone().into());
    if !identity.groups.is_empty() {
        spec.insert("groups".to_owned(), identity.groups.clone().into());
    }
    if let Some(uid) = &identity.uid {
        spec.insert("uid".to_owned(), uid.clone().into());
    }
    if !identity.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(identity.extra));
    }
}

/// Keeps what an update of the main resource may not touch, and counts the generation.
pub(crate) fn prepare_update(resource: &Resource, new: &mut Value, old: &Value, now: jiff::Timestamp) {
    if has_status_subresource(resource) {
        copy(new, old, "status");
    }
    match key(resource) {
        ("", "pods") => pod::prepare_update(new, old),
        ("", "namespaces") => copy_at(new, old, &["spec", "finalizers"]),
        ("apiextensions.k8s.io", "customresourcedefinitions") => definition::add_stored_version(new),
        ("apps", "daemonsets") => workload::prepare_daemon_set(new, Some(old)),
        ("certificates.k8s.io", "certificatesigningrequests") => copy(new, old, "spec"),
        ("resource.k8s.io", "devicetaintrules") => devices::date_rule(new, Some(old), now),
        ("resource.k8s.io", "resourceslices") => devices::date_slice(new, now),
        _ => {}
    }
    if !counts_generations(resource) && !GROWING_GENERATIONS.contains(&key(resource)) {
        copy_at(new, old, &["metadata", "generation"]);
        return;
    }
    let generation = api::meta::generation(old);
    let counted = COUNTED_METADATA.iter().filter(|(row, _)| *row == key(resource));
    let metadata = counted.into_iter().any(|(_, field)| words_differ(new, old, field));
    let next = generation + i64::from(metadata || begins_generation(resource, new, old));
    if next > 0 {
        api::meta::metadata_mut(new).insert("generation".to_owned(), next.into());
    }
}

/// Begins a generation of an object of which nothing differs that shows.
pub(crate) fn begin_generation(resource: &Resource, new: &mut Value, old: &Value) {
    if counts_generations(resource) {
        let next = api::meta::generation(old) + 1;
        api::meta::metadata_mut(new).insert("generation".to_owned(), next.into());
    }
}

/// Whether a map of the metadata differs; an empty one is none.
fn words_differ(new: &Value, old: &Value, field: &str) -> bool {
    let of = |object: &Value| {
        api::meta::metadata(object)?.get(field)?.as_object().filter(|words| !words.is_empty()).cloned()
    };
    of(new) != of(old)
}

/// Whether anything but metadata and status differs. A custom resource without the subresource has no status: the
/// field is one like any other.
fn begins_generation(resource: &Resource, new: &Value, old: &Value) -> bool {
    let status_counts = resource.custom.is_some() && !has_status_subresource(resource);
    let relevant = |object: &Value| -> Vec<(String, Value)> {
        let members = object.as_object().into_iter().flatten();
        members
            .filter(|(key, _)| match key.as_str() {
                "apiVersion" | "kind" | "metadata" => false,
                "status" => status_counts,
                _ => true,
            })
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    relevant(new) != relevant(old)
}

/// Keeps all but the status (and of the metadata what the kind lets a status update set).
pub(crate) fn prepare_status_update(resource: &Resource, new: &mut Value, old: &Value, now: jiff::Timestamp) {
    let status = new.get("status").cloned();
    let metadata = new.get("metadata").cloned();
    let mut kept = old.clone();
    match status {
        Some(status) => kept["status"] = status,
        None => {
            if let Some(object) = kept.as_object_mut() {
                object.remove("status");
            }
        }
    }
    match metadata {
        // Of a custom resource's metadata nothing changes but who owns the status.
        Some(metadata) if resource.custom.is_some() => {
            let wrapped = json!({"metadata": metadata});
            for field in ["managedFields", "resourceVersion"] {
                copy_at(&mut kept, &wrapped, &["metadata", field]);
            }
        }
        Some(metadata) => kept["metadata"] = metadata,
        None => {}
    }
    *new = kept;
    if STATUS_KEEPS_METADATA.contains(&key(resource)) {
        for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
            copy_at(new, old, &["metadata", field]);
        }
    }
    let generation = api::meta::generation(old);
    let metadata = api::meta::metadata_mut(new);
    if generation > 0 {
        metadata.insert("generation".to_owned(), generation.into());
    }
    match key(resource) {
        ("apps", "deployments") => copy_at(new, old, &["metadata", "labels"]),
        ("", "pods") => {
            copy_at(new, old, &["metadata", "ownerReferences"]);
            pod::prepare_status_update(new, old);
        }
        ("certificates.k8s.io", "certificatesigningrequests") => {
            certificates::keep_conditions(&["Approved", "Denied"], new, old);
            certificates::date_conditions(new, old, now);
        }
        ("certificates.k8s.io", "podcertificaterequests") => {
            certificates::keep_conditions(&["Issued", "Denied", "Failed"], new, old);
            certificates::date_transitions(new, old, now);
        }
        _ => {}
    }
}

/// Completes what a subresource with rules of its own has changed.
pub(crate) fn prepare_special_update(resource: &Resource, new: &mut Value, old: &Value, now: jiff::Timestamp) {
    if key(resource) == ("certificates.k8s.io", "certificatesigningrequests") {
        certificates::date_conditions(new, old, now);
    }
}

/// Sets a top-level member to what it was.
pub(crate) fn copy(new: &mut Value, old: &Value, member: &str) {
    copy_at(new, old, &[member]);
}

/// Sets the value at a path to what it was, or removes it.
pub(crate) fn copy_at(new: &mut Value, old: &Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let before = path.iter().try_fold(old, |value, member| value.get(member)).cloned();
    let mut at = new;
    for parent in parents {
        let Some(object) = at.as_object_mut() else { return };
        if before.is_none() && !object.contains_key(*parent) {
            return;
        }
        at = object.entry(*parent).or_insert_with(|| json!({}));
    }
    let Some(object) = at.as_object_mut() else { return };
    match before {
        Some(value) => object.insert((*last).to_owned(), value),
        None => object.remove(*last),
    };
}

/// Which finalizer a deletion without a policy of its own adds, for kinds with upstream's old default.
pub(crate) fn orphans_by_default(resource: &Resource) -> bool {
    // Jobs of batch/v1 and replication controllers keep the behaviour they had before garbage collection.
    matches!(key(resource), ("batch", "jobs") | ("", "replicationcontrollers"))
}

/// How long a deleted object may take to end by itself; `None` for kinds that vanish at once.
pub(crate) fn grace_period(resource: &Resource, object: &Value, requested: Option<i64>) -> Option<i64> {
    match key(resource) {
        ("", "pods") => pod::grace_period(object, requested),
        _ => None,
    }
}

/// Kinds of which a deletion answers the object as it last was, not a Status.
const RETURNS_DELETED: &[(&str, &str)] = &[
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
];

/// Whether a deletion answers the object.
pub(crate) fn returns_deleted(resource: &Resource) -> bool {
    RETURNS_DELETED.contains(&key(resource))
}
