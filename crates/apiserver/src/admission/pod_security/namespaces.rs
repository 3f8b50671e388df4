//! Namespaces: their labels must be right, and whoever makes them stricter hears of the pods that are there.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use api::field::ErrorList;
use api::pod_security::{Level, LevelVersion, Policy};
use api::status::Status;
use serde_json::Value;

use super::super::Attributes;
use super::configuration;
use crate::registry::Scope;

/// How many pods are looked at, and for how long.
const MAX_PODS: usize = 3000;
const TIMEOUT: Duration = Duration::from_secs(1);

/// Refuses labels that are wrong and were not so before.
pub(super) fn validate(attributes: &Attributes<'_>, namespace: &Value) -> Result<(), Status> {
    if !attributes.caller.subresource.is_empty() {
        return Ok(());
    }
    let (_, errors) = read(attributes, namespace);
    if errors.is_empty() || attributes.old.is_some_and(|old| read(attributes, old).1 == errors) {
        return Ok(());
    }
    Err(Status::invalid("", "Namespace", api::meta::name(namespace), errors))
}

/// Warns of the pods of a namespace that an update makes stricter.
pub(in super::super) async fn judge_existing(attributes: &Attributes<'_>, namespace: &Value) -> Result<(), Status> {
    let Some(old) = attributes.old.filter(|_| attributes.is("", "namespaces")) else { return Ok(()) };
    let (policy, before) = (read(attributes, namespace).0.enforce, read(attributes, old).0.enforce);
    let name = api::meta::name(namespace);
    if !is_stricter(policy, before) || configuration(attributes).has_namespace(name) {
        return Ok(());
    }
    // Pods count that were there before the request.
    attributes.registry.fresh().await?;
    for warning in judge_pods(attributes, name, policy) {
        attributes.warn(warning);
    }
    Ok(())
}

fn read(attributes: &Attributes<'_>, namespace: &Value) -> (Policy, ErrorList) {
    Policy::from_labels(|key| api::meta::label(namespace, key), &configuration(attributes).defaults)
}

/// Whether pods that were right before may be wrong now.
fn is_stricter(new: LevelVersion, old: LevelVersion) -> bool {
    new != old && new.level != Level::Privileged && (new.version != old.version || new.level > old.level)
}

/// Warnings of the pods of a namespace that a policy would refuse.
fn judge_pods(attributes: &Attributes<'_>, namespace: &str, policy: LevelVersion) -> Vec<String> {
    let registry = attributes.registry;
    let start = registry.env.now();
    let has_time = || start.duration_until(registry.env.now()).unsigned_abs() < TIMEOUT;
    let mut tally = Tally { policy, checked: 0, found: BTreeMap::new() };
    let (mut total, mut controllers, mut replicas) = (0, HashSet::new(), Vec::new());
    let inside = Attributes { scope: Scope { namespace: Some(namespace), ..attributes.scope }, ..*attributes };
    for object in inside.in_namespace("", "v1", "pods") {
        let pod = object.value();
        if configuration(attributes).has_runtime_class(&pod) {
            continue;
        }
        total += 1;
        // Pods of one controller are likely alike, so the others of them come last.
        let controller = api::meta::controller_of(&pod).map(|owner| owner.uid.to_owned());
        if controller.is_some_and(|uid| !controllers.insert(uid)) {
            replicas.push(object);
        } else if tally.checked < MAX_PODS && has_time() {
            tally.judge(&pod);
        }
    }
    for object in replicas {
        if tally.checked >= MAX_PODS || !has_time() {
            break;
        }
        tally.judge(&object.value());
    }
    tally.warnings(namespace, total)
}

/// What was found in pods.
struct Tally {
    policy: LevelVersion,
    checked: usize,
    /// By what is wrong: the first name of a pod, and how many there are.
    found: BTreeMap<String, (String, usize)>,
}

impl Tally {
    fn judge(&mut self, pod: &Value) {
        self.checked += 1;
        let violations = api::pod_security::evaluate(self.policy, pod);
        if violations.is_empty() {
            return;
        }
        let name = api::meta::name(pod);
        let (first, count) = self.found.entry(violations.reasons()).or_insert_with(|| (name.to_owned(), 0));
        if name < first.as_str() {
            name.clone_into(first);
        }
        *count += 1;
    }

    fn warnings(self, namespace: &str, total: usize) -> Vec<String> {
        let Self { policy, checked, found } = self;
        let partial = (checked < total).then(|| {
            format!("new PodSecurity enforce level only checked against the first {checked} of {total} existing pods")
        });
        let heading = (!found.is_empty()).then(|| {
            format!("existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{policy}\"")
        });
        let mut each: Vec<String> = found
            .into_iter()
            .map(|(reasons, (name, count))| match count {
                1 => format!("{name}: {reasons}"),
                2 => format!("{name} (and 1 other pod): {reasons}"),
                _ => format!("{name} (and {} other pods): {reasons}", count - 1),
            })
            .collect();
        each.sort();
        partial.into_iter().chain(heading).chain(each).collect()
    }
}
