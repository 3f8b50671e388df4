//! From `kubectl apply` to `kubectl apply --server-side`: the annotation in which the former keeps what it applied.
//!
//! The first server-side apply takes over, without a conflict, what the annotation says the same user had applied;
//! as long as the annotation is there, it is kept up to date, so that the way back is open.

use serde_json::Value;

use super::compare::compare;
use super::fields::set_of;
use super::set::Set;
use super::shape::Shape;
use crate::meta;

/// The annotation of client-side apply.
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager of `kubectl apply --server-side`, for which alone this is done.
pub(super) const KUBECTL: &str = "kubectl";

/// A larger annotation is given up.
const MAX_ANNOTATIONS_BYTES: usize = 256 * 1024;

/// The fields that client-side apply has set, and that have still the value that it gave them.
pub(super) fn fields(live: &Value, api_version: &str, shape: Shape<'_>) -> Set {
    let applied = meta::annotation(live, ANNOTATION).and_then(|text| serde_json::from_str::<Value>(text).ok());
    match applied {
        Some(applied) if meta::api_version(&applied) == api_version => {
            set_of(&applied, shape).difference(&compare(&applied, live, shape).all())
        }
        _ => Set::default(),
    }
}

/// Brings the annotation up to date with a configuration, if the object has it.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if meta::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{config}\n");
    if text.len() > MAX_ANNOTATIONS_BYTES {
        if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(ANNOTATION);
        }
        return;
    }
    meta::set_annotation(object, ANNOTATION, &text);
}
