//! Objects that plugins look at in every other request, parsed once for all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Attributes;
use crate::cache::{Derivation, Object};

/// The resources of which the objects are kept, in the order of [`Documents::RESOURCES`].
#[derive(Clone, Copy)]
pub(super) enum Kept {
    LimitRanges,
    RuntimeClasses,
    PriorityClasses,
    StorageClasses,
    IngressClasses,
}

/// The objects of each resource by their keys.
#[derive(Default)]
pub(super) struct Documents([BTreeMap<Arc<str>, Arc<Value>>; 5]);

impl Derivation for Documents {
    const RESOURCES: &'static [(&'static str, &'static str)] = &[
        ("", "limitranges"),
        ("node.k8s.io", "runtimeclasses"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("storage.k8s.io", "storageclasses"),
        ("networking.k8s.io", "ingressclasses"),
    ];

    fn put(&mut self, resource: usize, object: &Object) {
        self.0[resource].insert(object.key.clone(), Arc::new(object.value()));
    }

    fn remove(&mut self, resource: usize, object: &Object) {
        self.0[resource].remove(&object.key);
    }
}

impl Attributes<'_> {
    /// The objects of a resource whose keys begin so, in their order.
    fn documents(&self, kept: Kept, prefix: &str) -> Vec<Arc<Value>> {
        self.registry.admission.documents.read(|documents| {
            let from = documents.0[kept as usize].range(Arc::from(prefix)..);
            from.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, document)| document.clone()).collect()
        })
    }

    /// All objects of a resource of the cluster, by name.
    pub(super) fn all(&self, kept: Kept) -> Vec<Arc<Value>> {
        self.documents(kept, "")
    }

    /// The objects of a resource in the namespace of the request, by name.
    pub(super) fn all_here(&self, kept: Kept) -> Vec<Arc<Value>> {
        self.scope.namespace.map(|namespace| self.documents(kept, &format!("{namespace}/"))).unwrap_or_default()
    }

    /// One object of a resource of the cluster.
    pub(super) fn named(&self, kept: Kept, name: &str) -> Option<Arc<Value>> {
        self.registry.admission.documents.read(|documents| documents.0[kept as usize].get(name).cloned())
    }
}
