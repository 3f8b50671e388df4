//! What an applied configuration does to an object and its managers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check::check;
use super::compare::compare;
use super::conflict::Conflicts;
use super::fields::set_of;
use super::managers::{Managed, Manager, Managers, tracked};
use super::merge::merge;
use super::remove::remove;
use super::set::Set;
use super::shape::Shape;
use super::update::{before_first_apply, release};
use super::{Write, last_applied};
use crate::meta;
use crate::status::Status;

/// Why a configuration cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The configuration has managers of its own.
    #[error("metadata.managedFields must be nil")]
    HasManagers,
    /// The configuration is of another version than the request.
    #[error("invalid object type: {0}")]
    Type(String),
    /// The configuration is not of its type.
    #[error("failed to create typed patch object ({namespace}/{name}; {kind}): {}", list(.errors))]
    Mistyped {
        /// The namespace in the configuration.
        namespace: String,
        /// The name in the configuration.
        name: String,
        /// The group, version and kind in the configuration.
        kind: String,
        /// What is wrong with it, each with its path.
        errors: Vec<String>,
    },
    /// Others own fields that the configuration sets to other values.
    #[error("apply failed with conflicts")]
    Conflicts(Conflicts),
}

pub(super) fn list(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => {
            let lines: String = many.iter().map(|error| format!("\n  {error}")).collect();
            format!("errors:{lines}\n")
        }
    }
}

impl From<ApplyError> for Status {
    fn from(err: ApplyError) -> Self {
        match err {
            ApplyError::HasManagers | ApplyError::Type(_) => Status::bad_request(err.to_string()),
            ApplyError::Mistyped { .. } => Status::unclassified(err.to_string()),
            ApplyError::Conflicts(conflicts) => conflicts.status(),
        }
    }
}

/// Applies a configuration to the live object: answers the object that it makes, with its managers.
///
/// Fields that the manager applied before and no longer does are removed unless another manager owns them. Fields
/// that others own are taken from them with `force`, else they are conflicts if their value changes.
pub fn apply(write: &Write<'_>, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
    checked(write, config)?;
    let mut managers = Managers::decode(live).unwrap_or_default();
    if managers.0.is_empty() {
        managers = before_first_apply(write, live);
    }
    let mut object = match applied(write, live, config, managers.clone(), force) {
        Err(conflicts) if write.manager == last_applied::KUBECTL => {
            let allowed = last_applied::fields(live, write.api_version, write.shape);
            let rest = conflicts.without(&allowed);
            if !rest.is_empty() {
                return Err(ApplyError::Conflicts(rest));
            }
            applied(write, live, config, managers, true).map_err(ApplyError::Conflicts)?
        }
        result => result.map_err(ApplyError::Conflicts)?,
    };
    if write.manager == last_applied::KUBECTL {
        last_applied::refresh(&mut object, config);
    }
    Ok(object)
}

fn checked(write: &Write<'_>, config: &Value) -> Result<(), ApplyError> {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let found = meta::api_version(config);
    if found != write.api_version {
        return Err(ApplyError::Type(meta::full_kind(config)));
    }
    if meta::metadata(config).and_then(|metadata| metadata.get("managedFields")).is_some_and(|list| !list.is_null()) {
        return Err(ApplyError::HasManagers);
    }
    let errors = check(config, write.shape);
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApplyError::Mistyped {
        namespace: text(meta::namespace(config)),
        name: meta::name(config).to_owned(),
        kind: meta::full_kind(config),
        errors,
    })
}

fn applied(
    write: &Write<'_>,
    live: &Value,
    config: &Value,
    mut managers: Managers,
    force: bool,
) -> Result<Value, Conflicts> {
    let shape = write.shape;
    let reset = write.reset_fields();
    // Status of a configuration that goes to the main resource, for one, is not applied at all.
    let config = &remove(config, &reset, shape);
    let merged = merge(live, config, shape);
    let applier = Manager::applying(write);
    // With the name and the like, which nobody owns in the end: they keep the metadata from being pruned.
    let mut everything = set_of(config, shape);
    everything.drop_subtrees(&reset);
    let set = tracked(everything.clone());
    let before = managers.0.remove(&applier);
    let is_changed = before.as_ref().is_none_or(|before| before.set != set);
    let time = before.as_ref().and_then(|before| before.time.clone());
    let api_version = write.api_version.to_owned();
    managers.0.insert(applier.clone(), Managed { set: everything, api_version, time });

    let mut object = match &before {
        Some(before) if !before.set.is_empty() => prune(write, merged, &managers, before),
        _ => merged,
    };
    if let Some(own) = managers.0.get_mut(&applier) {
        own.set = set;
    }
    let comparison = compare(live, &object, shape).without(&reset);
    let released = release(write, live, &object, &comparison, &managers, Some(&applier));
    if !force && !released.conflicts.is_empty() {
        return Err(released.conflicts);
    }
    released.take_from(&mut managers);
    if let Some(own) = managers.0.get_mut(&applier)
        && (is_changed || !tracked(comparison.all()).is_empty())
        && write.subresource != "scale"
    {
        own.time = Some(meta::format_time(write.now));
    }
    managers.encode_into(&mut object);
    Ok(object)
}

/// The document without what this manager applied before and nobody owns now.
///
/// A field of a declared type goes together with what nobody owns below it, such as defaults.
fn prune(write: &Write<'_>, merged: Value, managers: &Managers, before: &Managed) -> Value {
    let Some((there, shape)) = in_version(write, &merged, write.shape, &before.api_version) else {
        return merged;
    };
    let had = before.set.with_named_fields(shape);
    let pruned = remove(&there, &had, shape);
    let pruned = add_back_owned(write, &there, pruned, shape, managers);
    // Only what the manager itself had applied may go in the end.
    let everything = set_of(&there, shape).with_named_fields(shape);
    let left = set_of(&pruned, shape).with_named_fields(shape);
    let pruned = remove(&there, &everything.difference(&left).intersection(&had), shape);
    if before.api_version == write.api_version {
        return pruned;
    }
    (write.convert)(&pruned, write.api_version).map_or(merged, |(pruned, _)| pruned)
}

/// The pruned document with what any manager owns, this one's new configuration included.
fn add_back_owned<'s>(
    write: &Write<'s>,
    merged: &Value,
    pruned: Value,
    shape: Shape<'s>,
    managers: &Managers,
) -> Value {
    let mut by_version: BTreeMap<&str, Set> = BTreeMap::new();
    for managed in managers.0.values() {
        let owned = by_version.entry(&managed.api_version).or_default();
        *owned = owned.union(&managed.set);
    }
    let home = meta::api_version(merged).to_owned();
    let mut pruned = pruned;
    for (version, owned) in by_version {
        let converted = in_version(write, merged, shape, version).zip(in_version(write, &pruned, shape, version));
        let Some(((there, shape), (left, _))) = converted else { continue };
        let everything = set_of(&there, shape).with_named_fields(shape);
        let kept = set_of(&left, shape).union(&owned).with_named_fields(shape);
        let kept = remove(&there, &everything.difference(&kept), shape);
        if let Some((kept, _)) = in_version(write, &kept, shape, &home) {
            pruned = kept;
        }
    }
    pruned
}

/// The document in a version, with its shape there.
fn in_version<'s>(write: &Write<'s>, value: &Value, shape: Shape<'s>, version: &str) -> Option<(Value, Shape<'s>)> {
    if meta::api_version(value) == version {
        return Some((value.clone(), shape));
    }
    (write.convert)(value, version)
}
