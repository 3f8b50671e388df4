//! Patches: what holds for every kind.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use skiff_api::managed::{self, Shape, Write};
use skiff_api::patch::{merge, strategic};

use crate::documents::document;
use crate::oracle::KINDS;

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

/// What an applied configuration makes of an object; nothing if it is refused, as one with equal keys in a list is.
fn applied(name: &str, live: &Value, config: &Value) -> Option<Value> {
    let write = Write {
        manager: "m",
        subresource: "",
        api_version: "v1",
        shape: Shape::root(name),
        reset: &[],
        now: Timestamp::UNIX_EPOCH,
        convert: &|_, _| None,
    };
    managed::apply(&write, live, config, true).ok()
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_patch_twice_is_the_patch_once(document_choices in choices(), patch_choices in choices()) {
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
}

/// Whether objects of the type are kept, and so can be applied.
fn api_kind(name: &str) -> bool {
    skiff_api::kinds::all().iter().any(|row| row.schema == name && row.is_stored())
}
