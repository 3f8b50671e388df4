//! Creates and deletes pods until there are as many as wanted.

use std::collections::HashMap;
use std::sync::Arc;

use client::{EventType, ObjectKey, objects};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use super::{BY_CONTROLLER, ReplicaSets, rank};
use crate::error::{Attempt, SyncError};
use crate::pods;

/// How many pods one sync creates or deletes at most.
const BURST: usize = 500;

/// Why pods could not be created or deleted.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the condition: `FailedCreate` or `FailedDelete`.
    pub(super) reason: &'static str,
    pub(super) error: SyncError,
}

impl ReplicaSets {
    pub(super) async fn manage(
        &self,
        key: &ObjectKey,
        replica_set: &ReplicaSet,
        active: &[Arc<Pod>],
    ) -> Result<(), Failure> {
        let wanted = replica_set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let wanted = usize::try_from(wanted).unwrap_or_default();
        if active.len() < wanted {
            let missing = (wanted - active.len()).min(BURST);
            let created = self.create(key, replica_set, missing).await;
            created.map_err(|error| Failure { reason: "FailedCreate", error })
        } else if active.len() > wanted {
            let surplus = (active.len() - wanted).min(BURST);
            let deleted = self.delete(key, replica_set, active, surplus).await;
            deleted.map_err(|error| Failure { reason: "FailedDelete", error })
        } else {
            Ok(())
        }
    }

    /// Creates pods in batches of 1, 2, 4 and so on: where one cannot be created, mostly none can, and the server is
    /// not to be asked hundreds of times to find out.
    async fn create(&self, key: &ObjectKey, replica_set: &ReplicaSet, count: usize) -> Result<(), SyncError> {
        tracing::debug!(namespace = key.namespace(), name = key.name, count, "creating pods");
        self.expectations.expect_creations(key, count);
        let api: Api<Pod> = self.context.namespaced(key.namespace());
        let pod = pod_of(replica_set);
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| self.create_one(key, replica_set, &api, &pod))).await;
            left -= size;
            batch *= 2;
            if let Some(Err(err)) = results.into_iter().find(Result::is_err) {
                self.expectations.creations_observed(key, left);
                return Err(err);
            }
        }
        Ok(())
    }

    async fn create_one(
        &self,
        key: &ObjectKey,
        replica_set: &ReplicaSet,
        api: &Api<Pod>,
        pod: &Pod,
    ) -> Result<(), SyncError> {
        let (recorder, about) = (self.context.recorder(), objects::reference(replica_set));
        match api.create(&PostParams::default(), pod).await {
            Ok(created) => {
                let message = format!("Created pod: {}", objects::name(&created));
                recorder.event(&about, EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(err) => {
                self.expectations.creation_observed(key);
                if objects::is_namespace_terminating(&err) {
                    // Everything here is about to be deleted; no use in trying again or in saying so.
                    return Ok(());
                }
                let message = format!("Error creating: {}", objects::message(&err));
                recorder.event(&about, EventType::Warning, "FailedCreate", message);
                Err(err).attempt("create pod for", key)
            }
        }
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        replica_set: &ReplicaSet,
        active: &[Arc<Pod>],
        count: usize,
    ) -> Result<(), SyncError> {
        let related = self.pods_of_related(replica_set);
        let on_node = rank::pods_on_nodes(related.iter().map(|pod| &**pod));
        let victims = rank::to_delete(active, &on_node, count, self.context.env.now());
        tracing::debug!(namespace = key.namespace(), name = key.name, count, "deleting pods");
        self.expectations.expect_deletions(key, victims.iter().map(|pod| objects::uid(&**pod).to_owned()));
        let api: Api<Pod> = self.context.namespaced(key.namespace());
        let results = join_all(victims.iter().map(|pod| self.delete_one(key, replica_set, &api, pod))).await;
        results.into_iter().collect()
    }

    async fn delete_one(
        &self,
        key: &ObjectKey,
        replica_set: &ReplicaSet,
        api: &Api<Pod>,
        pod: &Pod,
    ) -> Result<(), SyncError> {
        let (recorder, about) = (self.context.recorder(), objects::reference(replica_set));
        let (name, uid) = (objects::name(pod), objects::uid(pod));
        match api.delete(name, &objects::delete_uid(uid)).await {
            Ok(_) => {
                recorder.event(&about, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(err) => {
                self.expectations.deletion_observed(key, uid);
                if objects::is_not_found(&err) {
                    return Ok(());
                }
                let message = format!("Error deleting: {}", objects::message(&err));
                recorder.event(&about, EventType::Warning, "FailedDelete", message);
                Err(err).attempt("delete pod", &ObjectKey::of(pod))
            }
        }
    }

    /// The active pods of all replica sets with the same controller: while a deployment rolls out, the new set's pods
    /// count where the old set looks for nodes that have too many.
    fn pods_of_related(&self, replica_set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let related = match objects::controller_of(&replica_set.metadata) {
            None => vec![objects::uid(replica_set).to_owned()],
            Some(controller) => {
                let all = self.replica_sets.in_namespace(objects::namespace(replica_set));
                let of_same = |other: &Arc<ReplicaSet>| {
                    objects::controller_of(&other.metadata).is_some_and(|other| other.uid == controller.uid)
                };
                all.into_iter().filter(of_same).map(|other| objects::uid(&*other).to_owned()).collect()
            }
        };
        let pods = related.iter().flat_map(|uid| self.pods.by_index(BY_CONTROLLER, uid));
        pods.filter(|pod| pods::is_active(pod)).collect()
    }
}

/// The pod that the template describes.
fn pod_of(replica_set: &ReplicaSet) -> Pod {
    let template = replica_set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", objects::name(replica_set))),
            namespace: replica_set.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![objects::controller_reference(replica_set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// How many pods are on each node.
pub(super) type OnNode = HashMap<String, usize>;
