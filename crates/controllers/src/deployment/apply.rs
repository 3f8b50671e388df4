//! Writes what a sync of a deployment has decided: replica sets made, resized and deleted, revisions noted.

use client::{EventType, ObjectKey, objects};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use super::plan::Size;
use super::{Deployments, Rollout, conditions, limits, plan, revision, template};
use crate::error::{Attempt, SyncError};

impl Deployments {
    fn sets(&self, rollout: &Rollout) -> Api<ReplicaSet> {
        self.context.namespaced(rollout.key.namespace())
    }

    /// Brings the revision of the current template's replica set and of the deployment up to date; makes the replica
    /// set where it is missing and `create` says so.
    pub(super) async fn sync_revision(&self, rollout: &mut Rollout, create: bool) -> Result<(), SyncError> {
        let number = revision::next(&rollout.old);
        let (reason, message) = match rollout.new.take() {
            Some(existing) => {
                let new = self.update_new(rollout, existing, number).await?;
                let message = format!("Found new replica set \"{}\"", objects::name(&new));
                rollout.new = Some(new);
                ("FoundNewReplicaSet", message)
            }
            None if create => {
                let new = self.create_new(rollout, number).await?;
                let message = format!("Created new replica set \"{}\"", objects::name(&new));
                rollout.new = Some(new);
                ("NewReplicaSetCreated", message)
            }
            None => return Ok(()),
        };
        self.note_revision(rollout).await?;
        let status = rollout.deployment.status.clone().unwrap_or_default();
        let known = conditions::find(&status, conditions::PROGRESSING).is_some();
        if conditions::deadline(&rollout.deployment).is_some() && (!known || reason == "NewReplicaSetCreated") {
            let mut status = status;
            let now = self.context.env.now();
            conditions::set(&mut status, conditions::make(conditions::PROGRESSING, "True", reason, message, now));
            self.write_status(rollout, status).await?;
        }
        Ok(())
    }

    /// The deployment says at which revision it is.
    async fn note_revision(&self, rollout: &mut Rollout) -> Result<(), SyncError> {
        let Some(new) = &rollout.new else { return Ok(()) };
        let number = revision::of(new).to_string();
        if revision::current(&rollout.deployment) == Some(&number) {
            return Ok(());
        }
        let api: Api<Deployment> = self.context.namespaced(rollout.key.namespace());
        let mut noted = rollout.deployment.clone();
        noted.metadata.annotations.get_or_insert_default().insert(revision::REVISION.to_owned(), number);
        // With the status, so that it counts as no change of what is wanted: the generation stays.
        let written = api.replace_status(&rollout.key.name, &PostParams::default(), &noted).await;
        rollout.deployment = written.attempt("note revision of deployment", &rollout.key)?;
        Ok(())
    }

    async fn update_new(&self, rollout: &Rollout, mut new: ReplicaSet, number: i64) -> Result<ReplicaSet, SyncError> {
        let mut changed = revision::annotate_new(&rollout.deployment, &mut new, number, true);
        let min_ready = rollout.deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
        let spec = new.spec.get_or_insert_default();
        if spec.min_ready_seconds.unwrap_or_default() != min_ready {
            spec.min_ready_seconds = Some(min_ready);
            changed = true;
        }
        if !changed {
            return Ok(new);
        }
        let written = self.sets(rollout).replace(objects::name(&new), &PostParams::default(), &new).await;
        written.attempt("update replica set", &ObjectKey::of(&new))
    }

    async fn create_new(&self, rollout: &mut Rollout, number: i64) -> Result<ReplicaSet, SyncError> {
        let collisions = rollout.deployment.status.as_ref().and_then(|status| status.collision_count);
        let new = describe_new(&rollout.deployment, &rollout.old, number, collisions);
        let key = ObjectKey::of(&new);
        match self.sets(rollout).create(&PostParams::default(), &new).await {
            Ok(created) => {
                if limits::size(&created) > 0 {
                    self.tell_scaled(rollout, &key.name, 0, limits::size(&created));
                }
                Ok(created)
            }
            Err(err) if objects::is_already_exists(&err) => self.resolve_collision(rollout, &new).await,
            Err(err) if objects::is_namespace_terminating(&err) => Err(err).attempt("create replica set", &key),
            Err(err) => {
                let message = format!("Failed to create new replica set \"{}\": {}", key.name, objects::message(&err));
                let about = objects::reference(&rollout.deployment);
                let recorder = self.context.recorder();
                recorder.event(&about, EventType::Warning, "ReplicaSetCreateError", message.clone());
                if conditions::deadline(&rollout.deployment).is_some() {
                    let mut status = rollout.deployment.status.clone().unwrap_or_default();
                    let now = self.context.env.now();
                    let reason = "ReplicaSetCreateError";
                    let condition = conditions::make(conditions::PROGRESSING, "False", reason, message, now);
                    conditions::set(&mut status, condition);
                    self.write_status(rollout, status).await?;
                }
                Err(err).attempt("create replica set", &key)
            }
        }
    }

    /// The name is taken: by our own replica set that the informer has not shown yet, or by one with the same hash.
    async fn resolve_collision(&self, rollout: &mut Rollout, wanted: &ReplicaSet) -> Result<ReplicaSet, SyncError> {
        let key = ObjectKey::of(wanted);
        let existing = self.sets(rollout).get(&key.name).await.attempt("read replica set", &key)?;
        let template_of =
            |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
        if objects::is_controlled_by(&existing.metadata, &rollout.deployment)
            && template::same(&template_of(&existing), &template_of(wanted))
        {
            return Ok(existing);
        }
        let mut status = rollout.deployment.status.clone().unwrap_or_default();
        status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
        self.write_status(rollout, status).await?;
        Err(SyncError::Unfinished { key: rollout.key.clone(), what: "template hash collides".to_owned() })
    }

    /// Gives replica sets their sizes. Returns whether any size changed.
    pub(super) async fn resize(&self, rollout: &mut Rollout, sizes: Vec<Size>) -> Result<bool, SyncError> {
        let api = self.sets(rollout);
        let mut resized = false;
        for Size { name, replicas } in sizes {
            let found = rollout.all().find(|set| objects::name(*set) == name).cloned();
            let Some(mut set) = found else { continue };
            let before = limits::size(&set);
            if before == replicas {
                continue;
            }
            revision::annotate_size(&rollout.deployment, &mut set);
            set.spec.get_or_insert_default().replicas = Some(replicas);
            let key = ObjectKey::of(&set);
            let written = api.replace(&name, &PostParams::default(), &set).await.attempt("resize replica set", &key)?;
            self.tell_scaled(rollout, &name, before, replicas);
            resized = true;
            let slot = rollout.old.iter_mut().chain(&mut rollout.new).find(|set| objects::name(*set) == name);
            if let Some(slot) = slot {
                *slot = written;
            }
        }
        self.note_sizes(rollout).await?;
        Ok(resized)
    }

    /// Active replica sets note for which size of the deployment they stand, also when their own size did not change:
    /// else every sync would take them for not yet scaled.
    async fn note_sizes(&self, rollout: &mut Rollout) -> Result<(), SyncError> {
        let api = self.sets(rollout);
        let deployment = &rollout.deployment;
        for set in rollout.old.iter_mut().chain(&mut rollout.new).filter(|set| limits::size(set) > 0) {
            let mut noted = set.clone();
            if revision::annotate_size(deployment, &mut noted) {
                let key = ObjectKey::of(&noted);
                let written = api.replace(&key.name, &PostParams::default(), &noted).await;
                *set = written.attempt("annotate replica set", &key)?;
            }
        }
        Ok(())
    }

    fn tell_scaled(&self, rollout: &Rollout, set: &str, before: i32, after: i32) {
        let direction = if after > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {set} from {before} to {after}");
        let about = objects::reference(&rollout.deployment);
        self.context.recorder().event(&about, EventType::Normal, "ScalingReplicaSet", message);
    }

    /// Deletes the replica sets of revisions that are no longer kept.
    pub(super) async fn clean_up(&self, rollout: &Rollout) -> Result<(), SyncError> {
        let limit = rollout.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return Ok(()) };
        for set in revision::surplus(&rollout.old, limit) {
            let deleted = self.sets(rollout).delete(objects::name(set), &objects::delete_uid(objects::uid(set))).await;
            objects::ignore_not_found(deleted).attempt("delete replica set", &ObjectKey::of(set))?;
        }
        Ok(())
    }
}

/// The replica set for the current template.
fn describe_new(deployment: &Deployment, old: &[ReplicaSet], number: i64, collisions: Option<i32>) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let hash = template::hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(template::POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(template::POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let mut new = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", objects::name(deployment))),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![objects::controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(plan::new_size(deployment, None, old)),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    };
    revision::annotate_new(deployment, &mut new, number, false);
    new
}
