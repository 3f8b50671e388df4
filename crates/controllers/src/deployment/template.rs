//! Pod templates: which replica set has the current one, and the hash that tells them apart.

use std::cmp::Ordering;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// The label that keeps the pods of two revisions apart.
pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// The characters of a hash, as in generated names.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Orders replica sets by age, oldest first.
pub(super) fn by_creation(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created(a).cmp(&created(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// The replica set of the deployment's template (of several the oldest), and all others. `sets` are oldest first.
pub(super) fn split(deployment: &Deployment, mut sets: Vec<ReplicaSet>) -> (Option<ReplicaSet>, Vec<ReplicaSet>) {
    let Some(spec) = &deployment.spec else { return (None, sets) };
    let wanted = canonical(&spec.template);
    let is_new = |set: &ReplicaSet| {
        let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template.is_some_and(|template| canonical(template) == wanted)
    };
    let new = sets.iter().position(is_new).map(|index| sets.remove(index));
    (new, sets)
}

/// Whether two templates are the same but for the hash label.
pub(super) fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    canonical(a) == canonical(b)
}

/// A template without the hash label, and without the difference between empty and absent.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(POD_TEMPLATE_HASH);
        }
        metadata.retain(|_, part| part.as_object().is_none_or(|map| !map.is_empty()));
    }
    drop_empty(&mut value);
    value
}

fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for field in fields.values_mut() {
                drop_empty(field);
            }
            fields.retain(|_, field| !field.is_null() && field.as_array().is_none_or(|list| !list.is_empty()));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// The hash of a template: FNV-1a, 32 bits, over its canonical JSON and the number of collisions so far.
pub(super) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let mut bytes = canonical(template).to_string().into_bytes();
    if let Some(collisions) = collisions {
        bytes.extend(collisions.to_le_bytes());
    }
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use testkit::{deployment, pod_template, replica_set};

    use super::*;

    #[test]
    fn the_current_template_is_found_whatever_its_hash_label() {
        let made = deployment("web").image("v2").build();
        let set = |name: &str, image: &str| {
            let labels = [("app", "web"), (POD_TEMPLATE_HASH, name)];
            replica_set(name).template(pod_template(&labels, image)).build()
        };
        let (new, old) = split(&made, vec![set("a", "v1"), set("b", "v2"), set("c", "v2")]);
        let names = |sets: &[ReplicaSet]| sets.iter().filter_map(|set| set.metadata.name.clone()).collect::<Vec<_>>();
        assert_eq!((names(new.as_slice()), names(&old)), (vec!["b".to_owned()], vec!["a".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn absent_and_empty_are_the_same() {
        let template = pod_template(&[("app", "web")], "v1");
        let mut other = template.clone();
        other.metadata.get_or_insert_default().annotations = Some(std::collections::BTreeMap::new());
        other.spec.get_or_insert_default().volumes = Some(Vec::new());
        assert!(same(&template, &other));
        assert_eq!(hash(&template, None), hash(&other, None));
    }

    #[test]
    fn hashes_differ_by_template_and_by_collisions() {
        let (a, b) = (pod_template(&[], "v1"), pod_template(&[], "v2"));
        let hashes = [hash(&a, None), hash(&b, None), hash(&a, Some(1)), hash(&a, Some(2))];
        let different: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(different.len(), 4, "{hashes:?}");
        assert!(hashes.iter().all(|hash| hash.len() <= 10));
    }
}
