//! Counts what a namespace uses of its resource quotas.
//!
//! Admission raises what is used before an object is written. The controller tells admission what the limits are, and
//! lowers what is used when objects go; as it writes with the version that it read, it never undoes what admission
//! wrote meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::quota::{self, Amounts, Evaluator, amounts};
use base::Drain;
use client::discovery::discover;
use client::{Controller, ControllerError, Event, Lister, Metadata, ObjectKey, Queue, objects};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service};
use kube::Api;
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::pods::is_terminal;

/// How long until quotas are counted again without any event, as upstream does.
const RESYNC: Duration = Duration::from_secs(300);

/// How long until a count is checked that may have missed an object which was admitted but not yet written.
const SETTLE: Duration = Duration::from_secs(5);

/// How long to wait after the server could not be asked for its resources.
const DISCOVERY_RETRY: Duration = Duration::from_secs(5);

/// Resources whose objects use more than their number says.
const MEASURED: [&str; 3] = ["pods", "services", "persistentvolumeclaims"];

type Quotas = Arc<Lister<ResourceQuota>>;

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let counted = loop {
        match built_in(&context).await {
            Ok(counted) => break Arc::new(counted),
            Err(err) => tracing::debug!(err = %objects::message(&err), "discovery failed"),
        }
        if drain.until(context.env.sleep(DISCOVERY_RETRY)).await.is_none() {
            return Ok(());
        }
    };
    let informer = context.informers.of::<ResourceQuota>();
    let quotas: Quotas = Arc::new(informer.lister());
    let mut controller =
        Controller::new("resourcequota-controller", context.env.clone()).watch(&informer, |event, queue| {
            // What admission uses up is no reason to count.
            let has_limits = |quota: &ResourceQuota| {
                let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
                let hard = hard.filter(|hard| !hard.is_empty());
                quota.status.as_ref().and_then(|status| status.hard.as_ref()) == hard
            };
            if !event.is_deleted() && (event.old().is_none() || !has_limits(event.object())) {
                queue.add(ObjectKey::of(&**event.object()));
            }
        });
    let frees = |event: &Event<Pod>| {
        event.is_deleted() || event.old().is_some_and(|old| !is_terminal(old)) && is_terminal(event.object())
    };
    controller = follow(controller, &context.informers.of::<Pod>(), "pods", &quotas, frees);
    let frees =
        |event: &Event<Service>| event.is_deleted() || event.old().is_some_and(|old| old.spec != event.object().spec);
    controller = follow(controller, &context.informers.of::<Service>(), "services", &quotas, frees);
    let frees = |event: &Event<PersistentVolumeClaim>| {
        event.is_deleted()
            || event.old().is_some_and(|old| (&old.spec, &old.status) != (&event.object().spec, &event.object().status))
    };
    let claims = context.informers.of::<PersistentVolumeClaim>();
    controller = follow(controller, &claims, "persistentvolumeclaims", &quotas, frees);
    for resource in counted.iter().filter(|resource| !is_measured(resource)) {
        let (informer, quotas, resource) =
            (context.informers.metadata(resource), Arc::clone(&quotas), resource.clone());
        controller = controller.watch(&informer, move |event: &Event<Metadata>, queue| {
            if event.is_deleted() {
                enqueue(&quotas, evaluator(&resource), objects::namespace(&**event.object()), queue);
            }
        });
    }
    controller
        .run(drain, move |key| {
            let (context, quotas, counted) = (context.clone(), Arc::clone(&quotas), Arc::clone(&counted));
            async move { sync(&context, &quotas, &counted, &key).await }
        })
        .await
}

/// Counts again when an event of a core resource may have freed something.
fn follow<K: client::Object>(
    controller: Controller,
    informer: &client::Informer<K>,
    plural: &'static str,
    quotas: &Quotas,
    frees: impl Fn(&Event<K>) -> bool + Send + 'static,
) -> Controller {
    let quotas = Arc::clone(quotas);
    controller.watch(informer, move |event, queue| {
        if frees(event) {
            enqueue(&quotas, Evaluator { group: "", plural }, objects::namespace(&**event.object()), queue);
        }
    })
}

/// Adds the quotas of a namespace that limit a resource.
fn enqueue(quotas: &Quotas, evaluator: Evaluator<'_>, namespace: &str, queue: &Queue<ObjectKey>) {
    for quota in quotas.in_namespace(namespace) {
        let mut hard = quota.spec.iter().filter_map(|spec| spec.hard.as_ref()).flatten();
        if hard.any(|(name, _)| evaluator.matches(name)) {
            queue.add(ObjectKey::of(&*quota));
        }
    }
}

fn evaluator(resource: &ApiResource) -> Evaluator<'_> {
    Evaluator { group: &resource.group, plural: &resource.plural }
}

fn is_measured(resource: &ApiResource) -> bool {
    resource.group.is_empty() && MEASURED.contains(&resource.plural.as_str())
}

/// The built-in resources that can be counted. Their informers are there for as long as the server.
async fn built_in(context: &Context) -> Result<Vec<ApiResource>, kube::Error> {
    let mut resources = countable(context).await?;
    resources.retain(|resource| api::kinds::find(&resource.group, &resource.version, &resource.plural).is_some());
    Ok(resources)
}

async fn countable(context: &Context) -> Result<Vec<ApiResource>, kube::Error> {
    let offered = discover(&context.client).await?.resources.into_iter();
    let countable = offered.filter(|offered| {
        // Upstream does not count events: they come in masses.
        offered.namespaced && offered.supports(&["create", "list", "watch"]) && offered.resource.plural != "events"
    });
    Ok(countable.map(|offered| offered.resource).collect())
}

async fn sync(
    context: &Context,
    quotas: &Quotas,
    counted: &[ApiResource],
    key: &ObjectKey,
) -> Result<Option<Duration>, SyncError> {
    let Some(quota) = quotas.get_key(key) else { return Ok(None) };
    let mut quota = (*quota).clone();
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone());
    let hard = hard.filter(|hard| !hard.is_empty());
    let used = count(context, counted, key, &quota).await?;
    let used = used.into_iter().map(|(name, amount)| (name, amount.to_k8s())).collect();
    let status = ResourceQuotaStatus { used: hard.is_some().then_some(used), hard };
    if quota.status.clone().unwrap_or_default() == status {
        return Ok(Some(RESYNC));
    }
    quota.status = Some(status);
    let api: Api<ResourceQuota> = context.namespaced(key.namespace.as_deref().unwrap_or_default());
    api.replace_status(&key.name, &PostParams::default(), &quota)
        .await
        .attempt("write status of resource quota", key)?;
    Ok(Some(SETTLE))
}

/// What the namespace uses of everything that a quota limits.
async fn count(
    context: &Context,
    built_in: &[ApiResource],
    key: &ObjectKey,
    quota: &ResourceQuota,
) -> Result<Amounts, SyncError> {
    let limiting = serde_json::to_value(quota).unwrap_or_default();
    let mut used: Amounts = amounts::read(limiting.pointer("/spec/hard"));
    used.values_mut().for_each(|amount| *amount = api::quantity::Quantity::ZERO);
    let names: BTreeSet<String> = used.keys().cloned().collect();
    let limits = |resource: &&ApiResource| names.iter().any(|name| evaluator(resource).matches(name));
    let mut resources: Vec<ApiResource> = built_in.iter().filter(limits).cloned().collect();
    let is_known = |name: &String| resources.iter().any(|resource| evaluator(resource).matches(name));
    if names.iter().any(|name| name.starts_with("count/") && !is_known(name)) {
        let all = countable(context).await.attempt("discover resources for quota", key)?;
        let custom: Vec<_> =
            all.iter().filter(limits).filter(|resource| !built_in.contains(resource)).cloned().collect();
        resources.extend(custom);
    }
    for resource in &resources {
        for object in objects_of(context, resource, key).await? {
            if !quota::contain(&limiting, evaluator(resource), &object) {
                continue;
            }
            for (name, amount) in evaluator(resource).usage(&object, context.env.now()) {
                if let Some(used) = used.get_mut(&name) {
                    *used += amount;
                }
            }
        }
    }
    Ok(used)
}

/// The objects of a resource in the namespace of a quota; of those that are only counted, nothing more is read.
async fn objects_of(context: &Context, resource: &ApiResource, key: &ObjectKey) -> Result<Vec<Value>, SyncError> {
    let (namespace, all) = (key.namespace.as_deref(), ListParams::default());
    let listed = if is_measured(resource) {
        let api: Api<DynamicObject> = context.dynamic(resource, namespace);
        let list = api.list(&all).await;
        list.map(|list| list.items.iter().map(|item| serde_json::to_value(item).unwrap_or_default()).collect())
    } else {
        let api: Api<Metadata> = context.dynamic(resource, namespace);
        api.list_metadata(&all).await.map(|list| list.items.iter().map(|_| Value::Null).collect())
    };
    listed.attempt("list what counts for resource quota", key)
}
