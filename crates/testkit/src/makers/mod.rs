//! Fluent makers of API objects.

mod node;
mod pod;
mod service;
mod workloads;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;

pub use node::node;
pub use pod::{pod, pod_template};
pub use service::{endpoint_slice, service};
pub use workloads::{deployment, replica_set};

/// An object in the making.
#[derive(Clone, Debug)]
pub struct Maker<K>(pub(crate) K);

/// Begins any object: `namespace/name`, or `name` alone for one without namespace.
///
/// Its UID is `uid-` and the name, its resource version 1, its creation time [`crate::epoch`].
pub fn object<K: Resource<DynamicType = ()> + Default>(key: &str) -> Maker<K> {
    let (namespace, name) = match key.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, key),
    };
    let mut object = K::default();
    *object.meta_mut() = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        uid: Some(format!("uid-{name}")),
        creation_timestamp: Some(Time(crate::epoch())),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    Maker(object)
}

/// `namespace/name` from a key where the namespace may be left out.
fn namespaced(key: &str) -> String {
    if key.contains('/') { key.to_owned() } else { format!("default/{key}") }
}

/// Begins a namespace.
pub fn namespace(name: &str) -> Maker<Namespace> {
    object(name)
}

impl<K: Resource<DynamicType = ()>> Maker<K> {
    /// Sets a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.0.meta_mut().labels.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets an annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0.meta_mut().annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets the UID.
    #[must_use]
    pub fn uid(mut self, uid: &str) -> Self {
        self.0.meta_mut().uid = Some(uid.to_owned());
        self
    }

    /// Sets the resource version.
    #[must_use]
    pub fn resource_version(mut self, version: &str) -> Self {
        self.0.meta_mut().resource_version = Some(version.to_owned());
        self
    }

    /// Sets the generation.
    #[must_use]
    pub fn generation(mut self, generation: i64) -> Self {
        self.0.meta_mut().generation = Some(generation);
        self
    }

    /// Created `seconds` after [`crate::epoch`].
    #[must_use]
    pub fn created(mut self, seconds: i64) -> Self {
        self.0.meta_mut().creation_timestamp = Some(Time(crate::at(seconds)));
        self
    }

    /// Deletion has begun `seconds` after [`crate::epoch`].
    #[must_use]
    pub fn deleting(mut self, seconds: i64) -> Self {
        self.0.meta_mut().deletion_timestamp = Some(Time(crate::at(seconds)));
        self
    }

    /// Adds a finalizer.
    #[must_use]
    pub fn finalizer(mut self, finalizer: &str) -> Self {
        self.0.meta_mut().finalizers.get_or_insert_default().push(finalizer.to_owned());
        self
    }

    /// Makes `owner` the controller of the object.
    #[must_use]
    pub fn controlled_by<O: Resource<DynamicType = ()>>(self, owner: &O) -> Self {
        self.owner_reference(owner, true)
    }

    /// Makes `owner` an owner that is not the controller.
    #[must_use]
    pub fn owned_by<O: Resource<DynamicType = ()>>(self, owner: &O) -> Self {
        self.owner_reference(owner, false)
    }

    fn owner_reference<O: Resource<DynamicType = ()>>(mut self, owner: &O, controller: bool) -> Self {
        self.0.meta_mut().owner_references.get_or_insert_default().push(OwnerReference {
            api_version: O::api_version(&()).into_owned(),
            kind: O::kind(&()).into_owned(),
            name: owner.meta().name.clone().unwrap_or_default(),
            uid: owner.meta().uid.clone().unwrap_or_default(),
            controller: controller.then_some(true),
            block_owner_deletion: controller.then_some(true),
        });
        self
    }

    /// Changes what no other method covers.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut K)) -> Self {
        change(&mut self.0);
        self
    }

    /// The object.
    pub fn build(self) -> K {
        self.0
    }
}
