//! Writes pods' statuses to the API: in order for each pod, only what has changed, until it has succeeded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{Drain, Env, TaskFailure};
use client::{Queue, run_workers};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::conditions::OWNED;
use super::spec;
use crate::metrics::Metrics;
use crate::static_pods::is_static;

/// How many statuses are written at a time.
const WORKERS: usize = 4;

/// Writes pods' statuses. Cheap to clone.
#[derive(Clone)]
pub struct StatusManager(Arc<Inner>);

struct Inner {
    client: kube::Client,
    env: Env,
    metrics: Arc<Metrics>,
    queue: Queue<String>,
    pods: Mutex<HashMap<String, Entry>>,
    /// What the API has of static pods, by their UIDs here.
    mirrors: Mutex<HashMap<String, Target>>,
    /// Counts what was written, so that a waiter sees progress.
    progress: watch::Sender<u64>,
}

struct Entry {
    namespace: String,
    name: String,
    /// What is to be written.
    wanted: PodStatus,
    /// Where; nowhere while a static pod has no mirror.
    target: Option<Target>,
    /// Since when the API has another status.
    changed: Option<Instant>,
}

/// The pod in the API that a status is written to.
#[derive(Clone)]
struct Target {
    uid: String,
    /// What it had when it was last read or written.
    written: Option<PodStatus>,
}

impl Target {
    fn of(pod: &Pod) -> Self {
        Self { uid: spec::uid(pod).to_owned(), written: pod.status.clone() }
    }
}

/// A status that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the status of pod {namespace}/{name}: {source}")]
pub struct WriteError {
    namespace: String,
    name: String,
    source: Box<kube::Error>,
}

impl StatusManager {
    /// Writes through `client`; has to be run.
    pub fn new(client: kube::Client, env: Env, metrics: Arc<Metrics>) -> Self {
        let queue = Queue::new(env.clone());
        Self(Arc::new(Inner {
            client,
            env,
            metrics,
            queue,
            pods: Mutex::default(),
            mirrors: Mutex::default(),
            progress: watch::channel(0).0,
        }))
    }

    /// Writes statuses until the drain signal.
    pub async fn run(&self, drain: Drain) -> Result<(), TaskFailure> {
        let manager = self.clone();
        run_workers("kubelet status", self.0.queue.clone(), WORKERS, drain, move |uid| {
            let manager = manager.clone();
            async move { manager.write(&uid).await }
        })
        .await
    }

    /// Has a status written if it differs from what the API has; `pod` is the pod as read from the API.
    pub fn publish(&self, pod: &Pod, status: PodStatus) {
        // Of a pod that is gone maybe only its directory was found: it has no name, and the API knows nothing of it.
        if spec::name(pod).is_empty() {
            return;
        }
        let uid = spec::uid(pod).to_owned();
        let mut pods = self.lock();
        let target = || if is_static(pod) { self.mirrors().get(&uid).cloned() } else { Some(Target::of(pod)) };
        let entry = pods.entry(uid.clone()).or_insert_with(|| Entry {
            namespace: spec::namespace(pod).to_owned(),
            name: spec::name(pod).to_owned(),
            wanted: PodStatus::default(),
            target: target(),
            changed: None,
        });
        if entry.wanted == status {
            return;
        }
        entry.wanted = status;
        entry.changed.get_or_insert_with(|| self.0.env.instant());
        drop(pods);
        self.0.queue.add(uid);
    }

    /// Has the status of a static pod written to its mirror, which may be a new one or gone.
    pub fn mirror(&self, uid: &str, mirror: Option<&Pod>) {
        let target = mirror.map(Target::of);
        match &target {
            Some(target) => self.mirrors().insert(uid.to_owned(), target.clone()),
            None => self.mirrors().remove(uid),
        };
        let mut pods = self.lock();
        let Some(entry) = pods.get_mut(uid) else { return };
        let is_other = |target: &Option<Target>| target.as_ref().map(|target| target.uid.clone());
        if is_other(&entry.target) != is_other(&target) {
            entry.target = target;
            drop(pods);
            self.0.queue.add(uid.to_owned());
        }
    }

    /// Waits until the last published status of a pod is written, or the pod is known to be gone.
    pub async fn flush(&self, uid: &str) {
        let mut progress = self.0.progress.subscribe();
        // The sender lives as long as `self`, so waiting ends only by the condition.
        let _ = progress.wait_for(|_| self.lock().get(uid).is_none_or(Entry::is_written)).await;
    }

    /// Forgets a pod that is gone.
    pub fn forget(&self, uid: &str) {
        self.mirrors().remove(uid);
        self.lock().remove(uid);
    }

    fn mirrors(&self) -> MutexGuard<'_, HashMap<String, Target>> {
        self.0.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, uid: &str) -> Result<Option<std::time::Duration>, WriteError> {
        let Some((namespace, name, wanted, target)) = self.lock().get(uid).and_then(|entry| {
            let target = entry.target.clone()?;
            Some((entry.namespace.clone(), entry.name.clone(), entry.wanted.clone(), target))
        }) else {
            return Ok(None);
        };
        let patch = patch(target.written.as_ref(), &wanted);
        let is_changed = !patch.is_empty();
        if is_changed {
            let body = json!({"metadata": {"uid": target.uid}, "status": patch});
            let api: Api<Pod> = Api::namespaced(self.0.client.clone(), &namespace);
            match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(body)).await {
                Ok(_) => {}
                // Gone, or another pod of this name: nothing is left to be said of this one.
                Err(kube::Error::Api(status))
                    if status.code == 404 || is_replaced(&api, &name, &target.uid, status.code).await =>
                {
                    tracing::debug!(namespace, name, uid, "pod is gone, its status is not written");
                    self.lose(uid, &target.uid);
                    self.0.progress.send_modify(|count| *count += 1);
                    return Ok(None);
                }
                Err(source) => return Err(WriteError { namespace, name, source: Box::new(source) }),
            }
        }
        let changed = self.note_written(uid, &target.uid, wanted);
        if is_changed && let Some(changed) = changed {
            self.0.metrics.status_written(self.0.env.instant().saturating_duration_since(changed));
        }
        self.0.progress.send_modify(|count| *count += 1);
        Ok(None)
    }

    /// Takes note of what the API has of a pod; since when it had something else, where it has all of it now.
    fn note_written(&self, uid: &str, target: &str, written: PodStatus) -> Option<Instant> {
        let mut pods = self.lock();
        let entry = pods.get_mut(uid)?;
        let now = entry.target.as_mut().filter(|now| now.uid == target)?;
        now.written = Some(written);
        if entry.is_written() { entry.changed.take() } else { None }
    }

    /// Takes note that a pod of the API is gone. A static pod may have another mirror soon.
    fn lose(&self, uid: &str, target: &str) {
        if uid == target {
            return self.forget(uid);
        }
        if let Some(entry) = self.lock().get_mut(uid)
            && entry.target.as_ref().is_some_and(|now| now.uid == target)
        {
            entry.target = None;
        }
    }
}

impl Entry {
    fn is_written(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.written.as_ref() == Some(&self.wanted))
    }
}

/// Whether a conflict comes from another pod that now has this name.
async fn is_replaced(api: &Api<Pod>, name: &str, uid: &str, code: u16) -> bool {
    if code != 409 {
        return false;
    }
    match api.get_opt(name).await {
        Ok(pod) => pod.is_none_or(|pod| spec::uid(&pod) != uid),
        Err(_) => false,
    }
}

/// A strategic merge patch from one status to another. Conditions that others own are never part of it.
fn patch(old: Option<&PodStatus>, new: &PodStatus) -> Map<String, Value> {
    let object = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (old, new) = (old.map(object).unwrap_or_default(), object(new));
    let mut patch = Map::new();
    for (field, value) in &new {
        if field == "conditions" {
            let changed = changed_conditions(old.get(field), value);
            if !changed.is_empty() {
                patch.insert(field.clone(), Value::Array(changed));
            }
        } else if old.get(field) != Some(value) {
            patch.insert(field.clone(), replaced(field, value));
        }
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    patch
}

/// Lists that are merged by a key would keep elements that are gone.
fn replaced(field: &str, value: &Value) -> Value {
    match value {
        Value::Array(items) if matches!(field, "podIPs" | "hostIPs" | "resourceClaimStatuses") => {
            let mut items = items.clone();
            items.push(json!({"$patch": "replace"}));
            Value::Array(items)
        }
        value => value.clone(),
    }
}

fn changed_conditions(old: Option<&Value>, new: &Value) -> Vec<Value> {
    let by_type = |list: Option<&Value>| -> BTreeMap<String, Value> {
        let items = list.and_then(Value::as_array).cloned().unwrap_or_default();
        items.into_iter().map(|item| (item["type"].as_str().unwrap_or_default().to_owned(), item)).collect()
    };
    let (old, new) = (by_type(old), by_type(Some(new)));
    let mut changed = Vec::new();
    for type_ in old.keys().filter(|type_| OWNED.contains(&type_.as_str()) && !new.contains_key(*type_)) {
        changed.push(json!({"type": type_, "$patch": "delete"}));
    }
    for (type_, condition) in new {
        let before = old.get(&type_);
        if !OWNED.contains(&type_.as_str()) || before == Some(&condition) {
            continue;
        }
        let mut condition = condition;
        // A merge keeps what is not named.
        for field in ["reason", "message"] {
            if condition.get(field).is_none() && before.is_some_and(|before| before.get(field).is_some()) {
                condition[field] = Value::Null;
            }
        }
        changed.push(condition);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: Value) -> PodStatus {
        serde_json::from_value(text).expect("a status")
    }

    #[test]
    fn a_patch_holds_what_changed_and_leaves_the_conditions_of_others() {
        let old = status(json!({
            "phase": "Pending", "podIPs": [{"ip": "10.0.0.1"}], "hostIPs": [{"ip": "10.1.0.1"}], "reason": "x",
            "conditions": [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                           {"type": "Initialized", "status": "True"},
                           {"type": "PodResizeInProgress", "status": "True"},
                           {"type": "example.org/gate", "status": "True"}],
        }));
        let new = status(json!({
            "phase": "Pending", "podIPs": [{"ip": "10.0.0.2"}], "hostIPs": [{"ip": "10.1.0.2"}],
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}],
        }));
        assert_eq!(
            Value::Object(patch(Some(&old), &new)),
            json!({
                "reason": null,
                "podIPs": [{"ip": "10.0.0.2"}, {"$patch": "replace"}],
                "hostIPs": [{"ip": "10.1.0.2"}, {"$patch": "replace"}],
                "conditions": [{"type": "PodResizeInProgress", "$patch": "delete"},
                               {"type": "Ready", "status": "True", "reason": null}],
            })
        );
        assert!(patch(Some(&new), &new).is_empty());
    }
}
