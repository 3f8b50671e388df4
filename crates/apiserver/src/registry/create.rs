//! Create: a new object.

use api::decode::Omitted;
use api::kinds::Resource;
use api::status::Status;
use serde_json::Value;

use super::decode::take_omitted;
use super::{Caller, Put, Registry, Scope, Subject, Write, set_resource_version};
use crate::access::Identity;
use crate::access::attributes::{Attributes, ResourceAttributes};
use crate::access::authorization::Decision;
use crate::admission::{self, Admitted, Operation};
use crate::allocation::Request;
use crate::http::request_info::Verb;
use crate::{convert, strategy};

/// An object to be created: decoded, its defaults set.
#[derive(Clone, Debug)]
pub(crate) struct NewObject {
    pub(crate) value: Value,
    /// Whether the request was to replace or to apply it: then nobody has asked yet whether it may be created.
    pub(crate) by_update: bool,
}

/// How many names are tried for one `generateName`.
const NAME_ATTEMPTS: usize = 8;

/// Longer prefixes are cut, so that a name with its suffix fits a DNS label.
const MAX_GENERATED_PREFIX: usize = 58;

/// The length of a generated suffix.
const SUFFIX: usize = 5;

impl Registry {
    /// Creates an object; returns it with its resourceVersion.
    pub(crate) async fn create(
        &self,
        scope: Scope<'_>,
        object: NewObject,
        caller: Caller<'_>,
    ) -> Result<Value, Status> {
        admission::prepare(self).await?;
        let NewObject { value: mut object, by_update } = object;
        begin(scope, &mut object)?;
        let mut omitted = take_omitted(scope.resource, &mut object);
        if let Some(writer) = caller.writer {
            let kinds = self.kinds();
            let subject = Subject { kinds: &kinds, resource: scope.resource, writer, now: self.env.now() };
            subject.track(None, &mut object);
        }
        api::decode::settle(&mut object, scope.resource.schema);
        let attributes = admission::Attributes::new(self, scope, caller, Operation::Create);
        if admission::admit(&attributes, &mut object).await? == Admitted::Changed {
            check_changed(scope, &object)?;
            clear(scope, &mut object);
            omitted = take_omitted(scope.resource, &mut object);
        }
        let generate = api::meta::generate_name(&object).map(str::to_owned);
        let generate = generate.filter(|_| api::meta::name(&object).is_empty());
        let attempts = if generate.is_some() { NAME_ATTEMPTS } else { 1 };
        let mut last = String::new();
        for _ in 0..attempts {
            let object = object.clone();
            let mut attempt = Attempt { registry: self, scope, caller, omitted: &omitted, object, by_update };
            if let Some(prefix) = &generate {
                api::meta::set_name(&mut attempt.object, &self.generated_name(prefix));
            }
            if let Some(created) = attempt.run().await? {
                return Ok(created);
            }
            last = api::meta::name(&attempt.object).to_owned();
        }
        let (group, plural) = (&scope.resource.group, &scope.resource.plural);
        if generate.is_some() {
            return Err(Status::generate_name_conflict(group, plural, &last));
        }
        let mut status = Status::already_exists(group, plural, &last);
        let there = self.stored(scope.resource, &scope.key(&last)).await?;
        if there.is_some_and(|there| api::meta::is_deleting(&there.value)) {
            status.message = format!("object is being deleted: {}", status.message);
        }
        Err(status)
    }

    fn generated_name(&self, prefix: &str) -> String {
        let mut end = prefix.len().min(MAX_GENERATED_PREFIX);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{}", &prefix[..end], self.env.random().suffix(SUFFIX))
    }
}

/// One attempt to create an object.
struct Attempt<'a> {
    registry: &'a Registry,
    scope: Scope<'a>,
    caller: Caller<'a>,
    omitted: &'a Omitted,
    object: Value,
    by_update: bool,
}

impl Attempt<'_> {
    /// Gives the object what the server alone gives, and creates it; `None` if the name is taken.
    async fn run(&mut self) -> Result<Option<Value>, Status> {
        let Self { registry, scope: Scope { resource, .. }, caller, .. } = *self;
        let object = &mut self.object;
        api::meta::set_uid(object, &registry.env.random().uuid());
        let now = registry.env.now();
        api::meta::set_creation_timestamp(object, now);
        let creation = strategy::Creation { identity: caller.identity, now };
        registry.disabled_fields.drop_from(resource, object, None);
        strategy::prepare_create(resource, object, &creation).into_iter().for_each(|warning| caller.warn(warning));
        // Validation looks at addresses and ports too; what it refuses gives them back.
        let request = Request { registry, resource, dry_run: caller.dry_run };
        let held = registry.services.allocate(request, object, &Value::Null).await?;
        let outcome = self.write().await;
        if let Some(held) = held {
            held.end(registry, matches!(outcome, Ok(Some(_))) && !caller.dry_run).await;
        }
        outcome
    }

    /// Judges and writes the object, which has all it needs; `None` if the name is taken.
    async fn write(&mut self) -> Result<Option<Value>, Status> {
        let Self { registry, scope, caller, omitted, by_update, .. } = *self;
        let (resource, object) = (scope.resource, &mut self.object);
        *object = convert::round_trip(resource, std::mem::take(object));
        let (stored, judged) = convert::judged(resource, object);
        let mut errors = api::validation::create(stored, &judged);
        // Warnings of rules are about what was wrong before.
        registry.rules.judge(&registry.kinds(), stored, &judged, None, &mut errors);
        if !errors.is_empty() {
            let (kind, name) = (api::meta::kind(object), api::meta::name(object));
            return Err(Status::invalid(&resource.storage_group, kind, name, errors));
        }
        api::warnings::create(resource, object).into_iter().for_each(|warning| caller.warn(warning));
        if by_update {
            registry.authorize_create(scope, api::meta::name(object), caller.identity).await?;
        }
        let attributes = admission::Attributes::new(registry, scope, caller, Operation::Create);
        admission::validate(&attributes, object).await?;
        let charge = admission::charge(&attributes, object).await?;
        let key = scope.key(api::meta::name(object));
        let result = if caller.dry_run {
            let is_there = registry.stored(resource, &key).await?.is_some();
            Ok(if is_there { Put::Mismatch(None) } else { Put::Applied(0) })
        } else {
            let write = Write { value: object, omitted, expected: 0 };
            registry.put_converted(resource, &key, write).await
        };
        match result? {
            Put::Applied(revision) => {
                if !caller.dry_run {
                    set_resource_version(object, revision);
                }
                Ok(Some(super::kept(resource, std::mem::take(object))))
            }
            Put::Mismatch(_) => {
                charge.refund(registry).await?;
                Ok(None)
            }
        }
    }
}

impl Registry {
    /// 403 unless somebody who may update or patch an object may create it as well.
    async fn authorize_create(&self, scope: Scope<'_>, name: &str, identity: &Identity) -> Result<(), Status> {
        let Resource { group, version, plural, .. } = scope.resource;
        let namespace = scope.namespace.unwrap_or_default();
        let asked = ResourceAttributes { group, version, resource: plural, namespace, name, ..Default::default() };
        match self.decide(&Attributes::of_verb(identity, Verb::Create.as_str(), asked)).await? {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(refused) | Decision::NoOpinion(refused) => Err(match refused.error {
                Some(error) => Status::internal(error),
                // Upstream says nothing of the user here.
                None => Status::forbidden(group, plural, name, refused.reason),
            }),
        }
    }
}

/// Clears what a client may not bring along, and refuses what it must not.
fn begin(scope: Scope<'_>, object: &mut Value) -> Result<(), Status> {
    if api::meta::resource_version(object).is_some() {
        return Err(Status::unclassified("resourceVersion should not be set on objects to be created"));
    }
    if api::meta::name(object).is_empty() && api::meta::generate_name(object).is_none() {
        let path = api::field::Path::new("metadata").child("name");
        let error = api::field::FieldError::required(&path, "name or generateName is required");
        return Err(Status::invalid(&scope.resource.group, &scope.resource.kind, "", vec![error]));
    }
    clear(scope, object);
    Ok(())
}

/// What webhooks and policies have made of an object must still be one of the request's namespace.
fn check_changed(scope: Scope<'_>, object: &Value) -> Result<(), Status> {
    if api::meta::namespace(object) == scope.namespace {
        return Ok(());
    }
    Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// Clears what only the server sets.
fn clear(scope: Scope<'_>, object: &mut Value) {
    let metadata = api::meta::metadata_mut(object);
    for field in
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"]
    {
        metadata.remove(field);
    }
    match scope.namespace {
        Some(namespace) => api::meta::set_namespace(object, namespace),
        None => {
            metadata.remove("namespace");
        }
    }
}
