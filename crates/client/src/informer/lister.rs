//! The reading side of an informer.

use std::sync::Arc;

use super::{Object, Shared};
use crate::ObjectKey;

/// Reads the objects of an informer. Cheap to clone. What it returns is a moment's state that may lag the server.
pub struct Lister<K>(pub(super) Arc<Shared<K>>);

impl<K> Clone for Lister<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Object> Lister<K> {
    /// The object of that namespace (absent for cluster-scoped kinds) and name.
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        self.get_key(&ObjectKey { namespace: namespace.map(str::to_owned), name: name.to_owned() })
    }

    /// The object of that key.
    pub fn get_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0.store.get(key)
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.store.list()
    }

    /// The objects of a namespace, ordered by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.0.store.in_namespace(namespace)
    }

    /// The objects for which the named index gave `value`; none where there is no such index.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        self.0.store.by_index(index, value)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.store.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
