//! Patches: what holds for every kind.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use skiff_api::managed::{self, ApplyError, Shape, Write};
use skiff_api::patch::{merge, strategic};

use crate::documents::document;
use crate::oracle::KINDS;

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

/// What a configuration that is applied by force makes of an object; nothing if it is refused, as one with equal keys in
/// a list is.
fn applied(name: &str, live: &Value, config: &Value) -> Option<Value> {
    applied_by("m", name, live, config, true).ok()
}

/// What a manager's configuration makes of an object.
fn applied_by(manager: &str, name: &str, live: &Value, config: &Value, force: bool) -> Result<Value, ApplyError> {
    let write = Write {
        manager,
        subresource: "",
        api_version: "v1",
        shape: Shape::root(name),
        reset: &[],
        now: Timestamp::UNIX_EPOCH,
        convert: &|_, _| None,
    };
    managed::apply(&write, live, config, force)
}

/// An object without who manages it, and with its lists in one order: whoever applies last says in which they are.
fn unmanaged(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    sort_lists(&mut object);
    object
}

fn sort_lists(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(sort_lists),
        Value::Array(items) => {
            items.iter_mut().for_each(sort_lists);
            items.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

/// A document that says what it is.
fn typed(name: &str, choices: &[u8]) -> Value {
    let mut object = document(name, choices);
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("uid");
    }
    object["apiVersion"] = "v1".into();
    object["kind"] = name.rsplit('.').next().unwrap_or_default().into();
    object
}

/// Drops objects that hold nothing. A configuration with such a struct owns it without what it holds, and zero values in
/// it that were there before the first apply are nobody's, so the next apply takes them away, as upstream's does.
fn without_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(without_empty);
            fields.retain(|_, value| !value.as_object().is_some_and(serde_json::Map::is_empty));
        }
        Value::Array(items) => items.iter_mut().for_each(without_empty),
        _ => {}
    }
}

/// A configuration of what can be owned.
fn configuration(name: &str, choices: &[u8]) -> Value {
    let mut configuration = typed(name, choices);
    if let Some(metadata) = configuration.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["creationTimestamp", "generation", "name", "namespace", "resourceVersion", "selfLink"] {
            metadata.remove(field);
        }
    }
    without_empty(&mut configuration);
    configuration
}

proptest! {
    #![proptest_config(crate::cases(16))]

    #[test]
    fn a_patch_twice_is_the_patch_once(document_choices in choices(), patch_choices in choices()) {
        in_time!();
        for (name, _) in KINDS {
            let (document, patch) = (document(name, &document_choices), document(name, &patch_choices));
            let merged = merge::apply(document.clone(), patch.clone()).expect("objects merge");
            prop_assert_eq!(&merge::apply(merged.clone(), patch.clone()).expect("they merge again"), &merged, "{}", name);
            // Elements without their keys are refused, but only where there is a list to look for them in.
            let Ok(once) = strategic::apply(document, patch.clone(), name) else { continue };
            let Ok(twice) = strategic::apply(once.clone(), patch, name) else { continue };
            prop_assert_eq!(twice, once, "{}", name);
        }
    }

    #[test]
    fn applying_twice_is_applying_once(live_choices in choices(), config_choices in choices()) {
        in_time!();
        for (name, _) in KINDS.iter().filter(|(name, _)| api_kind(name)) {
            let (mut live, mut config) = (typed(name, &live_choices), typed(name, &config_choices));
            without_empty(&mut config);
            // What has no identity is not there yet, and nobody owns its fields.
            live["metadata"]["uid"] = "u".into();
            let Some(once) = applied(name, &live, &config) else { continue };
            let twice = applied(name, &once, &config);
            prop_assert_eq!(twice, Some(once), "{}", name);
        }
    }

    #[test]
    fn two_appliers_share_an_object_or_are_in_conflict(a_choices in choices(), b_choices in choices()) {
        in_time!();
        for (name, _) in KINDS.iter().filter(|(name, _)| api_kind(name)) {
            let (a, b) = (configuration(name, &a_choices), configuration(name, &b_choices));
            let nothing = json!({"apiVersion": "v1", "kind": a["kind"], "metadata": {"uid": "u"}});
            let Ok(first) = applied_by("a", name, &nothing, &a, false) else { continue };
            match applied_by("b", name, &first, &b, false) {
                // What b has brought does not touch what is a's.
                Ok(both) => {
                    let again = applied_by("a", name, &both, &a, false);
                    prop_assert_eq!(again.ok().map(unmanaged), Some(unmanaged(both)), "{}", name);
                }
                Err(ApplyError::Conflicts(conflicts)) => {
                    let causes = conflicts.status().details.map(|details| details.causes).unwrap_or_default();
                    let is_a = causes.iter().all(|cause| cause.message == "conflict with \"a\"");
                    prop_assert!(is_a && !causes.is_empty(), "{}: {:?}", name, causes);
                    // By force it is b's, and stays it.
                    let Ok(forced) = applied_by("b", name, &first, &b, true) else { continue };
                    prop_assert_eq!(applied_by("b", name, &forced, &b, false).ok(), Some(forced), "{}", name);
                }
                // Both have elements that cannot be told apart.
                Err(_) => {}
            }
        }
    }
}

/// Whether objects of the type are kept, and so can be applied.
fn api_kind(name: &str) -> bool {
    skiff_api::kinds::all().iter().any(|row| row.schema == name && row.is_stored())
}
