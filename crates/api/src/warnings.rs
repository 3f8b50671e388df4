//! What a client is told about an object that is accepted all the same: what is deprecated, without effect or
//! surprising in it.
//!
//! Objects are valid already. [`KINDS`] lists the kinds with warnings; those of a pod are in [`pod`], whoever makes it.

mod addresses;
mod definitions;
mod nodes;
mod pod;
mod services;
mod storage;

use serde_json::Value;

use crate::field::{Path, quote};
use crate::kinds::Resource;
use crate::meta;
use crate::validation::names;

/// What there is to warn of; told in the order in which it is found.
#[derive(Debug, Default)]
struct Found(Vec<String>);

impl Found {
    fn add(&mut self, path: &Path, what: impl std::fmt::Display) {
        self.0.push(format!("{path}: {what}"));
    }

    fn say(&mut self, what: impl Into<String>) {
        self.0.push(what.into());
    }
}

/// A new object, or an object and what it was.
type Rule = fn(&Value, Option<&Value>, &mut Found);

/// The kinds with warnings, by group and plural.
const KINDS: &[(&str, &str, Rule)] = &[
    ("", "endpoints", addresses::endpoints),
    ("", "nodes", nodes::node),
    ("", "persistentvolumeclaims", storage::claim),
    ("", "persistentvolumes", storage::volume),
    ("", "pods", new_pod),
    ("", "podtemplates", pod_template),
    ("", "replicationcontrollers", named_workload),
    ("", "serviceaccounts", service_account),
    ("", "services", services::service),
    ("apiextensions.k8s.io", "customresourcedefinitions", definitions::definition),
    ("apps", "daemonsets", workload),
    ("apps", "deployments", named_workload),
    ("apps", "replicasets", named_workload),
    ("apps", "statefulsets", stateful_set),
    ("batch", "cronjobs", cron_job),
    ("batch", "jobs", job),
    ("discovery.k8s.io", "endpointslices", addresses::endpoint_slice),
    ("networking.k8s.io", "ingresses", services::ingress),
    ("networking.k8s.io", "networkpolicies", addresses::network_policy),
    ("node.k8s.io", "runtimeclasses", nodes::runtime_class),
    ("storage.k8s.io", "csistoragecapacities", nodes::storage_capacity),
    ("storage.k8s.io", "storageclasses", storage::class),
];

/// What there is to say about a new object.
#[must_use]
pub fn create(resource: &Resource, object: &Value) -> Vec<String> {
    find(resource, object, None)
}

/// What there is to say about an object that replaces another one.
#[must_use]
pub fn update(resource: &Resource, new: &Value, old: &Value) -> Vec<String> {
    find(resource, new, Some(old))
}

fn find(resource: &Resource, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = Found::default();
    if resource.custom.is_some() {
        definitions::finalizers(object, old, &mut found);
        return found.0;
    }
    let key = (&*resource.group, &*resource.plural);
    if let Some((_, _, rule)) = KINDS.iter().find(|(group, plural, _)| (*group, *plural) == key) {
        rule(object, old, &mut found);
    }
    found.0
}

/// The entries of a list, or none.
fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text, or an empty one.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of a map of texts.
fn entries<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = object.pointer(pointer).and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

/// Whether something is there.
fn has(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).is_some_and(|value| !value.is_null())
}

/// Whether the object is new or anything that it is to be has changed.
fn has_begun(object: &Value, old: Option<&Value>) -> bool {
    old.is_none_or(|old| meta::generation(object) != meta::generation(old))
}

/// Pods change often and rarely by hand: only new ones are looked at.
fn new_pod(object: &Value, old: Option<&Value>, found: &mut Found) {
    if old.is_some() {
        return;
    }
    dns_label("the Pod's hostname", object, found);
    pod::pod(object, found);
}

/// A name that becomes part of a host's.
fn dns_label(what: &str, object: &Value, found: &mut Found) {
    let judged = names::dns_label(meta::name(object));
    if !judged.is_empty() {
        found.say(format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            judged.join(" ")
        ));
    }
}

fn pod_template(object: &Value, _: Option<&Value>, found: &mut Found) {
    template(object, &["template"], found);
}

/// The template of pods at a path of members.
fn template(object: &Value, path: &[&str], found: &mut Found) {
    let (mut at, mut value) = (None, object);
    for member in path {
        at = Some(at.map_or_else(|| Path::new(member), |at: Path| at.child(member)));
        value = &value[*member];
    }
    if let Some(path) = at {
        pod::template(value, &path, found);
    }
}

fn workload(object: &Value, old: Option<&Value>, found: &mut Found) {
    if has_begun(object, old) {
        template(object, &["spec", "template"], found);
    }
}

fn named_workload(object: &Value, old: Option<&Value>, found: &mut Found) {
    if old.is_none() {
        dns_label("Pod names and hostnames", object, found);
    }
    workload(object, old, found);
}

fn stateful_set(object: &Value, old: Option<&Value>, found: &mut Found) {
    if !has_begun(object, old) {
        return;
    }
    workload(object, old, found);
    for (index, claim) in list(object, "/spec/volumeClaimTemplates").iter().enumerate() {
        let path = Path::new("spec").child("volumeClaimTemplates").index(index);
        storage::claim_spec(&claim["spec"], &path.child("Spec"), found);
    }
    if object.pointer("/spec/revisionHistoryLimit").and_then(Value::as_i64).is_some_and(|limit| limit < 0) {
        let path = Path::new("spec").child("revisionHistoryLimit");
        found.add(&path, "a negative value retains all historical revisions; a value >= 0 is recommended");
    }
}

fn job(object: &Value, old: Option<&Value>, found: &mut Found) {
    if old.is_none() {
        dns_label("Pod names and hostnames", object, found);
    }
    if has_begun(object, old) {
        job_spec(object, &["spec"], found);
    }
}

fn cron_job(object: &Value, old: Option<&Value>, found: &mut Found) {
    if old.is_none() {
        dns_label("Pod names and hostnames", object, found);
    }
    if has_begun(object, old) {
        job_spec(object, &["spec", "jobTemplate", "spec"], found);
    }
    if old.is_some() && text(object, "/spec/schedule").contains("TZ") {
        found.say(
            "CRON_TZ or TZ used in spec.schedule is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
        );
    }
}

/// From here on the record of the indexes that are done can grow too large.
const MANY_COMPLETIONS: i64 = 100_000;
const MANY_AT_ONCE: i64 = 10_000;

fn job_spec(object: &Value, path: &[&str], found: &mut Found) {
    let spec = &object.pointer(&format!("/{}", path.join("/"))).unwrap_or(&Value::Null);
    let number = |field: &str| spec[field].as_i64().unwrap_or_default();
    if spec["completionMode"] == "Indexed"
        && number("completions") > MANY_COMPLETIONS
        && number("parallelism") > MANY_AT_ONCE
    {
        let why = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
                   Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
        found.add(&Path::new(&path.join(".")), why);
    }
    template(object, &[path, &["template"]].concat(), found);
}

fn service_account(object: &Value, _: Option<&Value>, found: &mut Found) {
    const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";
    if entries(object, "/metadata/annotations").any(|(key, _)| key == MOUNTABLE) {
        let path = Path::new("metadata").child("annotations").key(MOUNTABLE);
        let why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
        found.add(&path, why);
    }
}

/// What is said of an amount of bytes that is none.
fn fractional(amount: &Value, path: &Path, found: &mut Found) {
    let amount = amount.as_str().and_then(|amount| crate::quantity::Quantity::parse(amount).ok());
    if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
        let shown = quote(&amount.to_string());
        found.add(path, format_args!("fractional byte value {shown} is invalid, must be an integer"));
    }
}

#[cfg(test)]
mod tests;
