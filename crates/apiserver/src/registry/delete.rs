//! Delete: at once, or step by step where finalizers or a grace period ask for it.

use api::kinds::Resource;
use api::status::{Details, Status};
use serde_json::Value;

use super::{Caller, Current, MAX_RETRIES, Put, Registry, Scope, Write, set_resource_version};
use crate::admission::{self, Operation};
use crate::http::options::{DeleteOptions, ListOptions, Propagation};
use crate::{definitions, strategy};

/// What became of a deletion.
pub(crate) enum Deleted {
    /// The object is gone; what upstream answers is a Status or, for some kinds, its last state.
    Gone(Value),
    /// The object will be gone when its finalizers or its grace period are over.
    Pending(Value),
}

/// What to delete.
pub(crate) struct DeleteTarget<'a> {
    pub(crate) scope: Scope<'a>,
    pub(crate) name: &'a str,
    pub(crate) options: &'a DeleteOptions,
    pub(crate) caller: Caller<'a>,
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion does next.
enum Step {
    /// Nothing: a deletion is under way already.
    Wait,
    /// Write the object as one that is being deleted.
    Mark(Value),
    /// Write it so, and delete it right after.
    MarkAndRemove(Value),
    Remove,
}

impl Registry {
    /// Deletes an object.
    pub(crate) async fn delete(&self, target: DeleteTarget<'_>) -> Result<Deleted, Status> {
        let DeleteTarget { scope, name, options, caller } = target;
        let resource = scope.resource;
        let key = scope.key(name);
        admission::prepare(self).await?;
        let mut current = self.current_converted(resource, &key).await?;
        for _ in 0..MAX_RETRIES {
            let Some(now) = current.take() else { return Err(scope.not_found(name)) };
            if !caller.is_admitted {
                self.admit_delete(scope, name, &now.value, caller).await?;
            }
            let version = now.revision.to_string();
            let refused = check_preconditions(resource, name, options, &now.value, &version).err();
            let step = step(resource, &now.value, options, self.env.now());
            // What is concluded without a write only holds if the cache was not behind the datastore.
            if (refused.is_some() || caller.dry_run || matches!(step, Step::Wait))
                && let Some(newer) = self.newer(resource, &key, &now).await?
            {
                current = newer;
                continue;
            }
            if let Some(status) = refused {
                return Err(status);
            }
            let (mark, removes) = match step {
                Step::Wait => return Ok(Deleted::Pending(now.value)),
                Step::Mark(mark) => (Some(mark), false),
                Step::MarkAndRemove(mark) => (Some(mark), true),
                Step::Remove => (None, true),
            };
            if caller.dry_run {
                let value = mark.unwrap_or(now.value);
                return Ok(if removes { Deleted::Gone(value) } else { Deleted::Pending(value) });
            }
            let mut last = now;
            let is_marked = mark.is_some();
            if let Some(mut mark) = mark {
                let write = Write { value: &mark, omitted: &last.omitted, expected: last.revision };
                match self.put_converted(resource, &key, write).await? {
                    Put::Applied(revision) => {
                        set_resource_version(&mut mark, revision);
                        last = Current {
                            value: mark,
                            revision,
                            from_cache: false,
                            is_stale: false,
                            omitted: last.omitted,
                        };
                    }
                    Put::Mismatch(other) => {
                        current = self.convert_current(resource, other).await?;
                        continue;
                    }
                }
            }
            if !removes {
                return Ok(Deleted::Pending(last.value));
            }
            match self.remove(resource, &key, last.revision).await? {
                Put::Applied(_) => {
                    self.services.release(self, resource, &last.value).await;
                    return Ok(Deleted::Gone(last.value));
                }
                // Somebody who saw the mark, such as a controller that collects pods, was quicker with what this asked for.
                Put::Mismatch(None) if is_marked => return Ok(Deleted::Gone(last.value)),
                Put::Mismatch(other) => current = self.convert_current(resource, other).await?,
            }
        }
        Err(Status::server_timeout(&resource.group, &resource.plural, "delete", 1))
    }

    async fn admit_delete(
        &self,
        scope: Scope<'_>,
        name: &str,
        object: &Value,
        caller: Caller<'_>,
    ) -> Result<(), Status> {
        let attributes = admission::Attributes::new(self, scope, caller, Operation::Delete);
        let attributes = admission::Attributes { path_name: Some(name), ..attributes };
        let mut object = object.clone();
        admission::admit(&attributes, &mut object).await?;
        admission::validate(&attributes, &mut object).await
    }

    /// Deletes every object that the list options select; returns what was there.
    pub(crate) async fn delete_collection(
        &self,
        scope: Scope<'_>,
        list: &ListOptions,
        options: &DeleteOptions,
        caller: Caller<'_>,
    ) -> Result<super::Listed, Status> {
        let listed = self.list(scope, list).await?;
        for object in &listed.objects {
            let scope = Scope { resource: scope.resource, namespace: object.namespace() };
            let target = DeleteTarget { scope, name: object.name(), options, caller };
            match self.delete(target).await {
                // Somebody else was quicker.
                Err(status) if status.code == 404 => {}
                Err(status) => return Err(status),
                Ok(_) => {}
            }
        }
        Ok(listed)
    }
}

impl Deleted {
    /// The Status that says that an object is gone, for kinds that do not answer the object.
    pub(crate) fn status(resource: &Resource, object: &Value) -> Status {
        Status::success(Some(Details {
            name: api::meta::name(object).to_owned(),
            group: resource.group.to_string(),
            kind: resource.plural.to_string(),
            uid: api::meta::uid(object).unwrap_or_default().to_owned(),
            ..Details::default()
        }))
    }
}

/// Whether this is still the object that the client means.
pub(super) fn check_preconditions(
    resource: &Resource,
    name: &str,
    options: &DeleteOptions,
    current: &Value,
    found: &str,
) -> Result<(), Status> {
    // Upstream names the kind here where other conflicts name the resource.
    let conflict = |why: String| Err(Status::conflict(&resource.storage_group, &resource.kind, name, why));
    let uid = api::meta::uid(current).unwrap_or_default();
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return conflict(format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been \
             deleted and then recreated"
        ));
    }
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != found) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({found}). The \
             object might have been modified"
        ));
    }
    Ok(())
}

fn step(resource: &Resource, object: &Value, options: &DeleteOptions, now: jiff::Timestamp) -> Step {
    let is_namespace = resource.group.is_empty() && resource.plural == "namespaces";
    if is_namespace {
        return namespace_step(object, options, now);
    }
    let was_deleting = api::meta::is_deleting(object);
    let mut marked = object.clone();
    if is_definition(resource) && !was_deleting {
        // Its instances are deleted first.
        api::meta::set(&mut marked, "deletionTimestamp", api::meta::format_time(now));
        add_finalizer(&mut marked, definitions::FINALIZER);
        definitions::pending().set(&mut marked, now);
        return Step::Mark(marked);
    }
    let grace = match grace(resource, object, options) {
        Grace::Pending => return Step::Wait,
        Grace::None => None,
        Grace::Period(seconds) => Some(seconds),
    };
    set_propagation(resource, &mut marked, options);
    let waits = api::meta::finalizers(&marked).next().is_some();
    match grace {
        None if !waits => Step::Remove,
        None => {
            if !was_deleting {
                mark(&mut marked, now, 0);
            }
            api::meta::set(&mut marked, "deletionGracePeriodSeconds", 0);
            Step::Mark(marked)
        }
        Some(seconds) => {
            if was_deleting {
                shorten(&mut marked, seconds);
            } else {
                mark(&mut marked, now, seconds);
            }
            match seconds {
                1.. => Step::Mark(marked),
                _ if waits => Step::Mark(marked),
                // Marked by somebody who is about to remove it.
                _ if marked == *object => Step::Remove,
                _ => Step::MarkAndRemove(marked),
            }
        }
    }
}

fn is_definition(resource: &Resource) -> bool {
    resource.group == "apiextensions.k8s.io" && resource.plural == "customresourcedefinitions"
}

/// A namespace is terminated by its controller, which empties it and then its finalizers.
fn namespace_step(object: &Value, options: &DeleteOptions, now: jiff::Timestamp) -> Step {
    let is_empty = |path: &str| object.pointer(path).and_then(Value::as_array).is_none_or(Vec::is_empty);
    if api::meta::is_deleting(object) {
        let is_free = is_empty("/spec/finalizers") && api::meta::finalizers(object).next().is_none();
        return if is_free { Step::Remove } else { Step::Wait };
    }
    let mut marked = object.clone();
    api::meta::set(&mut marked, "deletionTimestamp", api::meta::format_time(now));
    marked["status"]["phase"] = "Terminating".into();
    match options.propagation {
        Some(Propagation::Orphan) => add_finalizer(&mut marked, ORPHAN),
        Some(Propagation::Foreground) => add_finalizer(&mut marked, FOREGROUND),
        Some(Propagation::Background) | None => {}
    }
    Step::Mark(marked)
}

enum Grace {
    /// The kind has none.
    None,
    Period(i64),
    /// One is running, and the request does not shorten it.
    Pending,
}

fn grace(resource: &Resource, object: &Value, options: &DeleteOptions) -> Grace {
    let Some(period) = strategy::grace_period(resource, object, options.grace_period_seconds) else {
        return Grace::None;
    };
    if !api::meta::is_deleting(object) {
        return Grace::Period(period);
    }
    let Some(running) = api::meta::deletion_grace_period_seconds(object) else { return Grace::None };
    // A negative period means the shortest one.
    match options.grace_period_seconds.map(|requested| if requested < 0 { 1 } else { requested }) {
        // Periods only shrink; zero from a kubelet ends the object.
        Some(requested) if requested < running => Grace::Period(requested),
        Some(0) if running == 0 && api::meta::finalizers(object).next().is_none() => Grace::Period(0),
        _ => Grace::Pending,
    }
}

/// Marks an object as deleted from `now` on, ending `seconds` later.
fn mark(object: &mut Value, now: jiff::Timestamp, seconds: i64) {
    let ends = now.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now);
    api::meta::set_deletion(object, ends, seconds);
    let generation = api::meta::generation(object);
    if generation > 0 {
        api::meta::set_generation(object, generation + 1);
    }
}

fn shorten(object: &mut Value, seconds: i64) {
    let Some(ends) = api::meta::deletion_timestamp(object) else { return };
    let before = api::meta::deletion_grace_period_seconds(object).unwrap_or(0);
    let ends = ends.saturating_add(jiff::SignedDuration::from_secs(seconds - before)).unwrap_or(ends);
    api::meta::set_deletion(object, ends, seconds);
}

/// Sets the finalizer that makes the garbage collector treat dependents as asked for.
fn set_propagation(resource: &Resource, object: &mut Value, options: &DeleteOptions) {
    let has = |finalizer: &str| api::meta::finalizers(object).any(|each| each == finalizer);
    let wanted = match options.propagation {
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
        None if has(ORPHAN) => Some(ORPHAN),
        None if has(FOREGROUND) => Some(FOREGROUND),
        None if strategy::orphans_by_default(resource) => Some(ORPHAN),
        None => None,
    };
    let mut finalizers: Vec<String> = api::meta::finalizers(object)
        .filter(|each| (*each != ORPHAN && *each != FOREGROUND) || Some(*each) == wanted)
        .map(str::to_owned)
        .collect();
    if let Some(wanted) = wanted.filter(|wanted| !finalizers.iter().any(|each| each == wanted)) {
        finalizers.push(wanted.to_owned());
    }
    api::meta::set_finalizers(object, finalizers);
}

fn add_finalizer(object: &mut Value, finalizer: &str) {
    let mut finalizers: Vec<String> = api::meta::finalizers(object).map(str::to_owned).collect();
    if !finalizers.iter().any(|each| each == finalizer) {
        finalizers.push(finalizer.to_owned());
    }
    api::meta::set_finalizers(object, finalizers);
}
