//! The configurations that there are: read when they change, not when they are used.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::cache::{Derivation, Object};

/// What is made of one configuration object.
pub(crate) trait Configuration: Sized {
    /// The resource of the objects: group and plural.
    const RESOURCE: &'static [(&'static str, &'static str)];

    /// Reads an object: parses its rules, compiles its expressions.
    fn read(object: &Value) -> Self;
}

/// Every configuration of a resource, by name.
pub(crate) struct Configurations<C> {
    by_name: BTreeMap<Arc<str>, Arc<C>>,
    /// The same as requests take it; made again after a change.
    all: Arc<[Arc<C>]>,
}

impl<C> Default for Configurations<C> {
    fn default() -> Self {
        Self { by_name: BTreeMap::new(), all: Arc::from([]) }
    }
}

impl<C> Configurations<C> {
    /// All, in the order of their names.
    pub(crate) fn all(&self) -> Arc<[Arc<C>]> {
        self.all.clone()
    }

    fn changed(&mut self) {
        self.all = self.by_name.values().cloned().collect();
    }
}

impl<C: Configuration> Derivation for Configurations<C> {
    const RESOURCES: &'static [(&'static str, &'static str)] = C::RESOURCE;

    fn put(&mut self, _: usize, object: &Object) {
        self.by_name.insert(object.key.clone(), Arc::new(C::read(&object.value())));
        self.changed();
    }

    fn remove(&mut self, _: usize, object: &Object) {
        self.by_name.remove(&object.key);
        self.changed();
    }
}
