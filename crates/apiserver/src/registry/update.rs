//! Update and patch: a change of what is there.

use api::decode::Omitted;
use api::kinds::Resource;
use api::status::{Status, reason};
use serde_json::Value;

use super::decode::take_omitted;
use super::{Caller, Current, MAX_RETRIES, NewObject, Put, Registry, Scope, Subject, Write, set_resource_version};
use crate::admission::{self, Admitted, Attributes, Charge, Operation};
use crate::allocation::Request;
use crate::{cache, convert, strategy};

/// Makes the new object from the one that is there. Called again when another write came first.
pub(crate) type Change<'a> = dyn Fn(&Value) -> Result<Value, Status> + Send + Sync + 'a;

/// What became of an update.
pub(crate) struct Updated {
    pub(crate) value: Value,
    /// Whether the update made the object, which some kinds allow.
    pub(crate) created: bool,
}

/// What became of one attempt to update.
enum Attempt {
    Written(Value),
    /// A dry run, or nothing differed.
    Unwritten(Value),
    /// Another write came first; this is there now.
    Superseded(Option<Current>),
}

/// Which part of an object a request changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but the status.
    Main,
    Status,
    /// What a subresource with rules of its own changes; its handler keeps the rest.
    Special,
}

/// What one attempt changes.
struct Changed<'a> {
    name: &'a str,
    part: Part,
    /// As it was.
    current: &'a Current,
    /// What is empty in the new one and does not show.
    omitted: &'a Omitted,
}

impl Registry {
    /// Changes an object.
    pub(crate) async fn update(
        &self,
        scope: Scope<'_>,
        name: &str,
        part: Part,
        caller: Caller<'_>,
        change: &Change<'_>,
    ) -> Result<Updated, Status> {
        let makes_missing = part == Part::Main && strategy::is_created_by_update(scope.resource);
        let key = scope.key(name);
        admission::prepare(self).await?;
        let mut current = self.current_converted(scope.resource, &key).await?;
        for _ in 0..MAX_RETRIES {
            let Some(now) = current.take() else {
                if !makes_missing {
                    return Err(scope.not_found(name));
                }
                return self.update_missing(scope, caller, change).await;
            };
            let outcome = match self.try_update(scope, name, part, caller, change, &now).await {
                Ok(Attempt::Superseded(other)) => {
                    current = other;
                    continue;
                }
                Ok(Attempt::Written(value)) => return Ok(Updated { value, created: false }),
                Ok(Attempt::Unwritten(value)) => Ok(Updated { value, created: false }),
                Err(status) => Err(status),
            };
            // Nothing was compared with the datastore, so the conclusion only holds if the cache was not behind.
            match self.newer(scope.resource, &key, &now).await? {
                Some(newer) => current = newer,
                None => return outcome,
            }
        }
        Err(Status::server_timeout(&scope.resource.group, &scope.resource.plural, "update", 1))
    }

    /// [`Registry::update`] that makes an object of any kind if there is none.
    pub(crate) async fn apply(
        &self,
        scope: Scope<'_>,
        name: &str,
        caller: Caller<'_>,
        change: &Change<'_>,
    ) -> Result<Updated, Status> {
        for _ in 0..MAX_RETRIES {
            match self.update(scope, name, Part::Main, caller, change).await {
                Err(status) if status.reason == reason::NOT_FOUND => {}
                other => return other,
            }
            match self.update_missing(scope, caller, change).await {
                // Somebody else made it meanwhile.
                Err(status) if status.reason == reason::ALREADY_EXISTS => {}
                other => return other,
            }
        }
        Err(Status::server_timeout(&scope.resource.group, &scope.resource.plural, "patch", 1))
    }

    async fn update_missing(
        &self,
        scope: Scope<'_>,
        caller: Caller<'_>,
        change: &Change<'_>,
    ) -> Result<Updated, Status> {
        // A patch of nothing is not found; a replacement does not look at what was there.
        let mut value = change(&Value::Null)?;
        api::meta::remove(&mut value, "resourceVersion");
        let value = self.create(scope, NewObject { value, by_update: true }, caller).await?;
        Ok(Updated { value, created: true })
    }

    /// One attempt.
    async fn try_update(
        &self,
        scope: Scope<'_>,
        name: &str,
        part: Part,
        caller: Caller<'_>,
        change: &Change<'_>,
        current: &Current,
    ) -> Result<Attempt, Status> {
        let resource = scope.resource;
        if let Some(warnings) = caller.warnings {
            warnings.forget();
        }
        let old = &current.value;
        let mut new = change(old)?;
        let mut omitted = match part {
            Part::Main => take_omitted(resource, &mut new),
            Part::Status | Part::Special => current.omitted.clone(),
        };
        check_identity(resource, name, &new, current)?;
        if let Some(writer) = caller.writer {
            let kinds = self.kinds();
            let subject = Subject { kinds: &kinds, resource, writer, now: self.env.now() };
            subject.track(Some(old), &mut new);
        }
        api::decode::settle(&mut new, resource.schema);
        let now = self.env.now();
        self.prepare(resource, part, &mut new, old, now);
        let attributes = Attributes::new(self, scope, caller, Operation::Update);
        let attributes = Attributes { path_name: Some(name), old: Some(old), ..attributes };
        if !caller.is_admitted && admission::admit(&attributes, &mut new).await? == Admitted::Changed {
            check_identity(resource, name, &new, current)?;
            omitted = take_omitted(resource, &mut new);
            self.prepare(resource, part, &mut new, old, now);
        }
        if part == Part::Main && omitted != current.omitted {
            strategy::begin_generation(resource, &mut new, old);
        }
        // Validation looks at addresses and ports too; what it refuses gives them back.
        let request = Request { registry: self, resource, dry_run: caller.dry_run };
        let held = match part {
            Part::Main => self.services.allocate(request, &mut new, old).await?,
            Part::Status | Part::Special => None,
        };
        let outcome = self.write_changed(attributes, Changed { name, part, current, omitted: &omitted }, new).await;
        if let Some(held) = held {
            held.end(self, matches!(outcome, Ok(Attempt::Written(_)))).await;
        }
        outcome
    }

    /// Judges and writes an object that has all it needs.
    async fn write_changed(
        &self,
        attributes: Attributes<'_>,
        changed: Changed<'_>,
        mut new: Value,
    ) -> Result<Attempt, Status> {
        let Changed { name, part, current, omitted } = changed;
        let (scope, caller, old) = (attributes.scope, attributes.caller, &current.value);
        let resource = scope.resource;
        new = convert::round_trip(resource, new);
        let ((stored, judged), (_, before)) = (convert::judged(resource, &new), convert::judged(resource, old));
        let mut errors = match part {
            Part::Main => api::validation::update(stored, &judged, &before),
            Part::Status => api::validation::status_update(stored, &judged, &before, self.env.now()),
            // The change itself knows what its subresource allows: a binding sets what no update may.
            Part::Special => Vec::new(),
        };
        let warned = self.rules.judge(&self.kinds(), stored, &judged, Some(&before), &mut errors);
        warned.into_iter().for_each(|warning| caller.warn(warning));
        if !errors.is_empty() {
            return Err(Status::invalid(&resource.storage_group, api::meta::kind(&new), name, errors));
        }
        if part == Part::Main {
            api::warnings::update(resource, &new, old).into_iter().for_each(|warning| caller.warn(warning));
        }
        let charge = match caller.is_admitted {
            true => Charge::default(),
            false => {
                admission::validate(&attributes, &mut new).await?;
                admission::charge(&attributes, &new).await?
            }
        };
        api::managed::restore_times(&mut new, old);
        if !current.is_stale && cache::encode(resource, &new) == cache::encode(resource, old) {
            return Ok(Attempt::Unwritten(old.clone()));
        }
        // What is answered without a write shows the revision that it was made from.
        set_resource_version(&mut new, current.revision);
        if caller.dry_run {
            return Ok(Attempt::Unwritten(new));
        }
        let key = scope.key(name);
        if ends_with_update(resource, &new, old) {
            return Ok(match self.remove(resource, &key, current.revision).await? {
                Put::Applied(_) => {
                    self.services.release(self, resource, &new).await;
                    self.services.release_replaced(self, resource, &new, old).await;
                    Attempt::Written(new)
                }
                Put::Mismatch(now) => {
                    charge.refund(self).await?;
                    Attempt::Superseded(self.convert_current(resource, now).await?)
                }
            });
        }
        let write = Write { value: &new, omitted, expected: current.revision };
        match self.put_converted(resource, &key, write).await? {
            Put::Applied(revision) => {
                self.services.release_replaced(self, resource, &new, old).await;
                set_resource_version(&mut new, revision);
                Ok(Attempt::Written(super::kept(resource, new)))
            }
            Put::Mismatch(now) => {
                charge.refund(self).await?;
                Ok(Attempt::Superseded(self.convert_current(resource, now).await?))
            }
        }
    }

    /// Puts back what an update may not touch.
    fn prepare(&self, resource: &Resource, part: Part, new: &mut Value, old: &Value, now: jiff::Timestamp) {
        self.disabled_fields.drop_from(resource, new, Some(old));
        strategy::copy_at(new, old, &["metadata", "creationTimestamp"]);
        // What is left out stays; a value that differs is for validation to refuse.
        for field in ["uid", "namespace", "deletionGracePeriodSeconds"] {
            if api::meta::metadata(new).is_none_or(|metadata| !metadata.contains_key(field)) {
                strategy::copy_at(new, old, &["metadata", field]);
            }
        }
        if api::meta::is_deleting(old) {
            strategy::copy_at(new, old, &["metadata", "deletionTimestamp"]);
        }
        api::meta::remove(new, "selfLink");
        if !old.is_null() && api::meta::metadata(new).is_some_and(|m| m.get("resourceVersion").is_some()) {
            strategy::copy_at(new, old, &["metadata", "resourceVersion"]);
        }
        match part {
            Part::Main => strategy::prepare_update(resource, new, old, now),
            Part::Status => strategy::prepare_status_update(resource, new, old, now),
            Part::Special => strategy::prepare_special_update(resource, new, old, now),
        }
    }
}

/// Whether this is still the object that the client means.
fn check_identity(resource: &Resource, name: &str, new: &Value, current: &Current) -> Result<(), Status> {
    let (group, plural) = (&resource.group, &resource.plural);
    match api::meta::resource_version(new) {
        None | Some("0") if strategy::needs_resource_version(resource) => {
            let path = api::field::Path::new("metadata").child("resourceVersion");
            let error = api::field::FieldError::invalid(&path, 0, "must be specified for an update");
            Err(Status::invalid(group, plural, name, vec![error]))
        }
        None | Some("0") => Ok(()),
        Some(version) => {
            // Upstream does not classify its failure to read the number.
            let version = crate::http::options::parse_resource_version(version).map_err(|_| {
                Status::unclassified(format!(
                    "strconv.ParseUint: parsing {}: invalid syntax",
                    api::field::quote(version)
                ))
            })?;
            if version == current.revision { Ok(()) } else { Err(Status::modified(group, plural, name)) }
        }
    }
}

/// Whether the update was the last thing that a deletion waited for.
fn ends_with_update(resource: &Resource, new: &Value, old: &Value) -> bool {
    if !api::meta::is_deleting(old) || api::meta::finalizers(new).next().is_some() {
        return false;
    }
    if resource.group.is_empty() && resource.plural == "namespaces" {
        let finalizers = new.pointer("/spec/finalizers").and_then(Value::as_array);
        return finalizers.is_none_or(Vec::is_empty);
    }
    // A pod still has its time: its kubelet deletes it.
    api::meta::deletion_grace_period_seconds(new).unwrap_or(0) == 0
}
