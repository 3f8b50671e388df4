//! What a create, an update or a patch does to the managers of an object.

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::conflict::Conflicts;
use super::element::Element;
use super::managers::{Managed, Manager, Managers, is_reset, tracked};
use super::set::Set;
use super::{Write, cap, zero};
use crate::meta;

/// The manager of what an object held before anything was applied to it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Writes the managers of an object that a request has made into it.
///
/// `live` is what was there; `None` for a create. An update of an object without managers, which somebody has removed,
/// is not tracked, so that they stay removed until something is applied.
pub fn track(write: &Write<'_>, live: Option<&Value>, new: &mut Value) {
    let reset = write.reset_fields();
    let comparison = match live {
        Some(live) => compare(live, new, write.shape),
        None => compare(&zero(write.shape), new, write.shape),
    };
    let comparison = comparison.without(&reset);
    // Most writes of what is there change nothing, and need not know who owns it.
    if let Some(live) = live
        && comparison.is_same()
        && managers_of(live).is_some()
        && managers_of(live) == managers_of(new)
    {
        return;
    }
    let mut managers = Managers::default();
    let of_live = || live.and_then(Managers::decode).unwrap_or_default();
    if !write.subresource.is_empty() {
        // Managers are part of the main resource.
        managers = of_live();
    } else if !is_reset(new) {
        managers = Managers::decode(new).filter(|managers| !managers.0.is_empty()).unwrap_or_else(of_live);
    }
    if live.is_some() && managers.0.is_empty() {
        meta::remove(new, "managedFields");
        return;
    }
    // What is made has no managers but those that the request brings, and nothing that they could lose.
    updated(write, live.unwrap_or(&Value::Null), new, comparison, &mut managers);
    cap::limit(&mut managers);
    managers.encode_into(new);
}

/// The managers of an object that has none, but is about to be applied to.
pub(super) fn before_first_apply(write: &Write<'_>, live: &Value) -> Managers {
    let mut managers = Managers::default();
    // What has no identity is not there yet.
    if meta::uid(live).is_some() {
        let write = Write { manager: BEFORE_FIRST_APPLY, subresource: "", ..*write };
        let comparison = compare(&zero(write.shape), live, write.shape).without(&write.reset_fields());
        updated(&write, &Value::Null, live, comparison, &mut managers);
    }
    managers
}

fn updated(write: &Write<'_>, live: &Value, new: &Value, comparison: Comparison, managers: &mut Managers) {
    if comparison.is_same() {
        return;
    }
    let writer = Manager::updating(write);
    let others = release(write, live, new, &comparison, managers, None);
    others.take_from(managers);
    let mut taken = comparison.modified;
    taken.absorb(comparison.added);
    let taken = tracked(taken);
    if taken.is_empty() {
        return;
    }
    let api_version = write.api_version.to_owned();
    let own = managers.0.entry(writer).or_insert_with(|| Managed { set: Set::default(), api_version, time: None });
    own.set.absorb(taken);
    // A scale is a view of the workload, in which upstream keeps no times of its own.
    if write.subresource != "scale" {
        own.time = Some(meta::format_time(write.now));
    }
}

/// What the managers of an object lose by a change.
#[derive(Default)]
pub(super) struct Released {
    pub(super) conflicts: Conflicts,
    lost: Vec<(Manager, Set)>,
    unknown: Vec<Manager>,
}

impl Released {
    /// Takes it from them; those with nothing left are gone.
    pub(super) fn take_from(self, managers: &mut Managers) {
        for (manager, lost) in self.lost {
            if let Some(managed) = managers.0.get_mut(&manager) {
                managed.set = managed.set.difference(&lost);
            }
        }
        for manager in self.unknown {
            managers.0.remove(&manager);
        }
        managers.0.retain(|_, managed| !managed.set.is_empty());
    }
}

/// Finds what each manager but one loses by a change: fields with another value, which are conflicts, and fields that
/// are gone.
pub(super) fn release(
    write: &Write<'_>,
    live: &Value,
    new: &Value,
    comparison: &Comparison,
    managers: &Managers,
    except: Option<&Manager>,
) -> Released {
    let mut released = Released::default();
    let mut versions: Vec<(&str, Option<Comparison>)> = Vec::new();
    for (manager, managed) in managers.0.iter().filter(|(manager, _)| Some(*manager) != except) {
        let version = managed.api_version.as_str();
        let comparison = if version == write.api_version {
            Some(comparison)
        } else {
            let known = versions.iter().position(|(known, _)| *known == version).unwrap_or_else(|| {
                versions.push((version, in_version(write, live, new, version)));
                versions.len() - 1
            });
            versions[known].1.as_ref()
        };
        let Some(comparison) = comparison else {
            released.unknown.push(manager.clone());
            continue;
        };
        let mut changed = managed.set.intersection(&comparison.modified);
        changed.absorb(managed.set.intersection(&comparison.added));
        let gone = managed.set.intersection(&comparison.removed);
        released.lost.push((manager.clone(), changed.union(&gone)));
        released.conflicts.insert(manager.clone(), changed);
    }
    released
}

/// The comparison in another version; `None` for versions that are not served.
fn in_version(write: &Write<'_>, live: &Value, new: &Value, version: &str) -> Option<Comparison> {
    let (live, _) = (write.convert)(live, version)?;
    let (new, shape) = (write.convert)(new, version)?;
    Some(compare(&live, &new, shape))
}

/// Takes a field away from all managers, for writes of which nobody becomes the owner.
pub fn disown(object: &mut Value, path: &[&str]) {
    let Some(mut managers) = Managers::decode(object) else { return };
    let mut gone = Set::default();
    gone.insert(path.iter().map(|name| Element::field(name)));
    for managed in managers.0.values_mut() {
        managed.set = managed.set.difference(&gone);
    }
    managers.0.retain(|_, managed| !managed.set.is_empty());
    managers.encode_into(object);
}

/// Puts the managers back as they were if a write changes nothing but their times.
pub fn restore_times(new: &mut Value, old: &Value) {
    let is_restored = match (managers_of(new), managers_of(old)) {
        (Some(ours), Some(theirs)) => ours != theirs && same_but_times(ours, theirs) && same_but_managers(new, old),
        _ => false,
    };
    if is_restored && let Some(theirs) = managers_of(old) {
        meta::set(new, "managedFields", Value::Array(theirs.to_vec()));
    }
}

fn managers_of(object: &Value) -> Option<&[Value]> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice)
}

/// Their order depends on the times, so it does not count.
fn same_but_times(ours: &[Value], theirs: &[Value]) -> bool {
    let timeless = |entry: &Value| {
        let mut entry = entry.clone();
        if let Some(fields) = entry.as_object_mut() {
            fields.remove("time");
        }
        entry
    };
    let ours: Vec<Value> = ours.iter().map(timeless).collect();
    ours.len() == theirs.len() && theirs.iter().all(|entry| ours.contains(&timeless(entry)))
}

fn same_but_managers(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let metadata = |object: &serde_json::Map<String, Value>| {
        let mut metadata = object.get("metadata").cloned().unwrap_or_default();
        if let Some(fields) = metadata.as_object_mut() {
            fields.remove("managedFields");
            fields.remove("resourceVersion");
        }
        metadata
    };
    new.len() == old.len()
        && new.iter().all(|(name, value)| name == "metadata" || old.get(name) == Some(value))
        && metadata(new) == metadata(old)
}
