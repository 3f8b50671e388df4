//! Between the version of a request and the version in which objects are stored.
//!
//! Most resources are stored in the version in which they are asked for. Versions that differ in name only are renamed;
//! what else differs is a row of [`DIFFERENCES`]. Custom resources are renamed and lose what the schema of the other
//! version does not know.

mod autoscaling;
mod devices;
mod events;

use std::borrow::Cow;

use api::kinds::Resource;
use api::structural::{Malformed, Structural};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// A version of a kind that differs in more than its name from the stored one.
struct Difference {
    /// Group, version and kind.
    kind: (&'static str, &'static str, &'static str),
    to_storage: fn(&mut Object),
    from_storage: fn(&mut Object),
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        kind: ("autoscaling", "v1", "HorizontalPodAutoscaler"),
        to_storage: autoscaling::to_second,
        from_storage: autoscaling::to_first,
    },
    Difference { kind: ("events.k8s.io", "v1", "Event"), to_storage: events::to_core, from_storage: events::from_core },
    Difference {
        kind: ("resource.k8s.io", "v1beta1", "ResourceClaim"),
        to_storage: devices::claim_from_beta,
        from_storage: devices::claim_to_beta,
    },
    Difference {
        kind: ("resource.k8s.io", "v1beta1", "ResourceClaimTemplate"),
        to_storage: devices::template_from_beta,
        from_storage: devices::template_to_beta,
    },
    Difference {
        kind: ("resource.k8s.io", "v1beta1", "ResourceSlice"),
        to_storage: devices::slice_from_beta,
        from_storage: devices::slice_to_beta,
    },
];

/// Whether objects of the resource may look different in the store.
pub(crate) fn is_needed(resource: &Resource) -> bool {
    let has_versions = resource.custom.as_ref().is_some_and(|custom| custom.definition.versions.len() > 1);
    !resource.is_storage_version() || has_versions
}

/// The document as it is stored.
pub(crate) fn to_storage(resource: &Resource, object: &Value) -> Value {
    if let Some(custom) = &resource.custom {
        let storage = custom.definition.version(&resource.storage_version).unwrap_or_else(|| custom.version());
        return custom_version(object, resource.storage_api_version(), &storage.structural);
    }
    converted(resource, object, &resource.storage_api_version(), |difference| difference.to_storage)
}

/// The document as the resource's version shows it.
pub(crate) fn from_storage(resource: &Resource, stored: &Value) -> Value {
    if let Some(custom) = &resource.custom {
        return custom_version(stored, resource.api_version(), &custom.version().structural);
    }
    converted(resource, stored, &resource.api_version(), |difference| difference.from_storage)
}

/// The document as its version shows what would be stored of it. Custom resources are judged as they came.
pub(crate) fn round_trip(resource: &Resource, object: Value) -> Value {
    if is_needed(resource) && resource.custom.is_none() {
        from_storage(resource, &to_storage(resource, &object))
    } else {
        object
    }
}

/// A custom resource under another version, whose schema says what it has there.
fn custom_version(object: &Value, api_version: String, schema: &Structural) -> Value {
    let mut converted = object.clone();
    if api::meta::api_version(object) != api_version {
        converted["apiVersion"] = api_version.into();
        // Defaults are set where an object comes from, never where it goes. What is malformed is dropped, and nobody
        // asks for what is unknown.
        let _ = schema.coerce_metadata(&mut converted, true, Malformed::Drop);
        schema.prune(&mut converted);
        schema.drop_nulls(&mut converted);
    }
    converted
}

/// The document as rules judge it: in the stored version, but for events, whose rules differ between their groups.
pub(crate) fn judged<'a>(resource: &'a Resource, object: &'a Value) -> (&'a Resource, Cow<'a, Value>) {
    let stored = api::kinds::find(&resource.storage_group, &resource.storage_version, &resource.plural);
    match stored.filter(|_| is_needed(resource) && resource.group == resource.storage_group) {
        Some(stored) => (stored, Cow::Owned(to_storage(resource, object))),
        None => (resource, Cow::Borrowed(object)),
    }
}

fn converted(resource: &Resource, object: &Value, api_version: &str, way: fn(&Difference) -> fn(&mut Object)) -> Value {
    let mut object = object.as_object().cloned().unwrap_or_default();
    let kind = (&*resource.group, &*resource.version, &*resource.kind);
    if let Some(difference) = DIFFERENCES.iter().find(|row| row.kind == kind) {
        way(difference)(&mut object);
    }
    object.insert("apiVersion".to_owned(), api_version.into());
    Value::Object(object)
}
