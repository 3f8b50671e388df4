//! Endpoint slices: where the pods of a service are and whether they serve.

mod desired;
mod diff;
mod tracker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Drain;
use client::{Controller, ControllerError, Event, Informer, Lister, ObjectKey, Queue, objects};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;

use crate::context::Context;
use crate::error::{Attempt, SyncError};
use crate::pods;

pub(crate) use desired::{find_port, is_headless};
use tracker::Tracker;

const WORKERS: usize = 5;
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// The slices of a service, by `namespace/name`.
const BY_SERVICE: &str = "service";

struct Slices {
    context: Context,
    services: Lister<Service>,
    pods: Lister<Pod>,
    nodes: Lister<Node>,
    slices: Lister<EndpointSlice>,
    tracker: Tracker,
}

/// Runs the controller until the drain signal.
pub(crate) async fn run(context: Context, drain: Drain) -> Result<(), ControllerError> {
    let context = context.recording_as(|all| &all.endpoint_slice);
    let (services, pods) = (context.informers.of::<Service>(), context.informers.of::<Pod>());
    let (nodes, slices) = (context.informers.of::<Node>(), context.informers.of::<EndpointSlice>());
    slices.add_index(BY_SERVICE, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
    let sync = Arc::new(Slices {
        services: services.lister(),
        pods: pods.lister(),
        nodes: nodes.lister(),
        slices: slices.lister(),
        tracker: Tracker::default(),
        context,
    });
    let for_slices = Arc::clone(&sync);
    let controller = Controller::new("endpointslice-controller", sync.context.env.clone())
        .workers(WORKERS)
        .watch_own(&services)
        .reads(&nodes)
        .watch(&slices, move |event, queue| for_slices.on_slice(event, queue));
    watch_pods(controller, &pods, services.lister())
        .run(drain, move |key| {
            let sync = Arc::clone(&sync);
            async move { sync.sync(&key).await }
        })
        .await
}

/// Adds the services whose endpoints a change of a pod may concern.
pub(crate) fn watch_pods(controller: Controller, pods: &Informer<Pod>, services: Lister<Service>) -> Controller {
    controller.watch(pods, move |event, queue| {
        let new = event.object();
        if let Some(old) = event.old()
            && !endpoint_changed(old, new)
        {
            return;
        }
        let labels = |pod: &Pod| pod.metadata.labels.clone().unwrap_or_default();
        let (before, after) = (event.old().map(|old| labels(old)), labels(new));
        for service in services.in_namespace(objects::namespace(&**new)) {
            if selects(&service, &after) || before.as_ref().is_some_and(|before| selects(&service, before)) {
                queue.add(ObjectKey::of(&*service));
            }
        }
    })
}

/// Whether a change of a pod can change an endpoint.
fn endpoint_changed(old: &Pod, new: &Pod) -> bool {
    let facts = |pod: &Pod| {
        let ips: Vec<String> = pod
            .status
            .iter()
            .flat_map(|status| status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).chain(status.pod_ip.clone()))
            .collect();
        let spec = pod.spec.as_ref();
        let names = spec.map(|spec| (spec.hostname.clone(), spec.subdomain.clone(), spec.node_name.clone()));
        (
            ips,
            names,
            pods::is_ready(pod),
            pods::is_terminal(pod),
            objects::is_deleting(pod),
            pod.metadata.labels.clone(),
            pod.metadata.uid.clone(),
        )
    };
    facts(old) != facts(new)
}

/// Whether a service selects pods with these labels; one without selector selects none.
pub(crate) fn selects(service: &Service, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    })
}

/// The service that one of our slices belongs to.
fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY).map(String::as_str) != Some(CONTROLLER) {
        return None;
    }
    labels.get(SERVICE_NAME).map(|name| ObjectKey::namespaced(objects::namespace(slice), name))
}

impl Slices {
    fn on_slice(&self, event: &Event<EndpointSlice>, queue: &Queue<ObjectKey>) {
        let slice = event.object();
        let before = event.old().and_then(|old| service_of(old));
        let after = service_of(slice);
        if event.is_deleted()
            && let Some(service) = &after
        {
            self.tracker.deleted(service, slice);
        }
        for service in before.filter(|before| Some(before) != after.as_ref()).into_iter().chain(after) {
            queue.add(service);
        }
    }

    async fn sync(&self, key: &ObjectKey) -> Result<Option<Duration>, SyncError> {
        let Some(service) = self.services.get_key(key) else {
            // The slices have the service as their owner and are collected with it.
            self.tracker.forget(key);
            return Ok(None);
        };
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        if objects::is_deleting(&*service) || selector.is_none_or(BTreeMap::is_empty) {
            return Ok(None);
        }
        let existing: Vec<Arc<EndpointSlice>> = self
            .slices
            .by_index(BY_SERVICE, &key.to_string())
            .into_iter()
            .filter(|slice| !objects::is_deleting(&**slice))
            .collect();
        if self.tracker.is_stale(key, &existing) {
            let what = "the informer is behind our own writes".to_owned();
            return Err(SyncError::Unfinished { key: key.clone(), what });
        }
        let pods: Vec<Arc<Pod>> = self.pods.in_namespace(key.namespace());
        let of_service =
            pods.iter().filter(|pod| pod.metadata.labels.as_ref().is_some_and(|labels| selects(&service, labels)));
        let zone_of = |node: &str| {
            let node = self.nodes.get(None, node)?;
            node.metadata.labels.as_ref()?.get("topology.kubernetes.io/zone").cloned()
        };
        let desired = desired::of(&service, of_service.map(|pod| &**pod), &zone_of);
        let existing: Vec<EndpointSlice> = existing.iter().map(|slice| EndpointSlice::clone(slice)).collect();
        let changes = diff::diff(&service, existing, desired);
        self.write(key, changes).await?;
        Ok(None)
    }

    async fn write(&self, key: &ObjectKey, changes: diff::Changes) -> Result<(), SyncError> {
        let api: Api<EndpointSlice> = self.context.namespaced(key.namespace());
        for slice in changes.create {
            match api.create(&PostParams::default(), &slice).await {
                Ok(written) => self.tracker.written(key, &written),
                Err(err) if objects::is_namespace_terminating(&err) => return Ok(()),
                Err(err) => return Err(err).attempt("create endpoint slice for", key),
            }
        }
        for slice in changes.update {
            let written = api.replace(objects::name(&slice), &PostParams::default(), &slice).await;
            let written = written.attempt("update endpoint slice", &ObjectKey::of(&slice))?;
            self.tracker.written(key, &written);
        }
        for slice in changes.delete {
            let deleted = api.delete(objects::name(&slice), &objects::delete_uid(objects::uid(&slice))).await;
            objects::ignore_not_found(deleted).attempt("delete endpoint slice", &ObjectKey::of(&slice))?;
            self.tracker.deleted(key, &slice);
        }
        Ok(())
    }
}
