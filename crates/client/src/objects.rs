//! Helpers on objects and errors that many controllers need.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::api::{DeleteParams, Preconditions};

/// The reference to the controller that owns an object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` is the controller of the object.
pub fn is_controlled_by<K: Resource>(meta: &ObjectMeta, owner: &K) -> bool {
    controller_of(meta).is_some_and(|reference| Some(&reference.uid) == owner.meta().uid.as_ref())
}

/// A reference that makes `owner` the controller of the object it is put on.
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A reference to an object as events carry it.
pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// The namespace of an object, empty for a cluster-scoped one.
pub fn namespace<K: Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

/// The name of an object.
pub fn name<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// The UID of an object.
pub fn uid<K: Resource>(object: &K) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

/// Whether deletion of an object has begun.
pub fn is_deleting<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

/// Deletion of exactly the object with that UID, not of a namesake.
pub fn delete_uid(uid: &str) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    }
}

/// The reason in the server's answer, empty where there was none.
pub fn reason(err: &kube::Error) -> &str {
    match err {
        kube::Error::Api(status) => &status.reason,
        _ => "",
    }
}

/// The server's own words where there are some.
pub fn message(err: &kube::Error) -> String {
    match err {
        kube::Error::Api(status) => status.message.clone(),
        err => err.to_string(),
    }
}

/// Whether the server said that there is no such object.
pub fn is_not_found(err: &kube::Error) -> bool {
    reason(err) == "NotFound"
}

/// Whether the server said that the object was changed meanwhile, or is another one than meant.
pub fn is_conflict(err: &kube::Error) -> bool {
    reason(err) == "Conflict"
}

/// Whether the server said that there is such an object already.
pub fn is_already_exists(err: &kube::Error) -> bool {
    reason(err) == "AlreadyExists"
}

/// Whether the server refused a creation because the namespace is being deleted.
pub fn is_namespace_terminating(err: &kube::Error) -> bool {
    let kube::Error::Api(status) = err else { return false };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.reason == "Forbidden" && causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Turns "there is no such object" into success.
pub fn ignore_not_found<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if is_not_found(&err) => Ok(None),
        Err(err) => Err(err),
    }
}
