//! The objects of one informer, with indexes and subscribers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use kube::Resource;

use super::events::{Events, Subscriber};
use super::{Object, Subscribers};
use crate::ObjectKey;

/// The state of one informer.
pub(super) struct Store<K>(RwLock<State<K>>);

struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
    subscribers: Subscribers<K>,
}

struct Index<K> {
    name: &'static str,
    keys: fn(&K) -> Vec<String>,
    entries: HashMap<String, BTreeSet<ObjectKey>>,
}

impl<K: Object> Store<K> {
    pub(super) fn new() -> Self {
        Self(RwLock::new(State { objects: BTreeMap::new(), indexes: Vec::new(), subscribers: Vec::new() }))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State<K>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State<K>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.read().objects.len()
    }

    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    pub(super) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = ObjectKey::namespaced(namespace, "");
        let state = self.read();
        let from = state.objects.range(first..);
        from.take_while(|(key, _)| key.namespace() == namespace).map(|(_, object)| Arc::clone(object)).collect()
    }

    pub(super) fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.read();
        let index = state.indexes.iter().find(|index| index.name == name);
        let keys = index.and_then(|index| index.entries.get(value)).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    pub(super) fn add_index(&self, name: &'static str, keys: fn(&K) -> Vec<String>) {
        let mut state = self.write();
        if state.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Index { name, keys, entries: HashMap::new() };
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.indexes.push(index);
    }

    pub(super) fn subscribe(&self) -> Events<K> {
        let subscriber = Arc::new(Subscriber::default());
        let mut state = self.write();
        for (key, object) in &state.objects {
            subscriber.note(key, None, Some(object), object);
        }
        state.subscribers.retain(|known| known.strong_count() > 0);
        state.subscribers.push(Arc::downgrade(&subscriber));
        Events::new(subscriber)
    }

    pub(super) fn apply(&self, object: K) {
        self.write().apply(object);
    }

    pub(super) fn delete(&self, object: K) {
        let key = ObjectKey::of(&object);
        self.write().remove(&key, Some(Arc::new(object)));
    }

    /// Makes the state equal to a complete list: what is not in it was deleted while nobody looked.
    pub(super) fn replace(&self, objects: Vec<K>) {
        let mut state = self.write();
        let mut gone: BTreeSet<ObjectKey> = state.objects.keys().cloned().collect();
        for object in objects {
            gone.remove(&ObjectKey::of(&object));
            state.apply(object);
        }
        for key in gone {
            state.remove(&key, None);
        }
    }
}

impl<K: Object> State<K> {
    fn apply(&mut self, mut object: K) {
        // Nobody who reads through an informer needs them, and they are a third of an object.
        object.meta_mut().managed_fields = None;
        let key = ObjectKey::of(&object);
        let old = self.objects.get(&key).cloned();
        if old.as_ref().is_some_and(|old| same_version(&**old, &object)) {
            return;
        }
        let new = Arc::new(object);
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &new);
        }
        self.objects.insert(key.clone(), Arc::clone(&new));
        self.notify(&key, old.as_ref(), Some(&new), &new);
    }

    /// `last` is the object as the deletion showed it, where one was seen.
    fn remove(&mut self, key: &ObjectKey, last: Option<Arc<K>>) {
        let Some(old) = self.objects.remove(key) else { return };
        for index in &mut self.indexes {
            index.remove(key, &old);
        }
        let last = last.unwrap_or_else(|| Arc::clone(&old));
        self.notify(key, Some(&old), None, &last);
    }

    fn notify(&mut self, key: &ObjectKey, old: Option<&Arc<K>>, new: Option<&Arc<K>>, last: &Arc<K>) {
        self.subscribers.retain(|subscriber| match subscriber.upgrade() {
            Some(subscriber) => {
                subscriber.note(key, old, new, last);
                true
            }
            None => false,
        });
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys)(object) {
            self.entries.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys)(object) {
            if let Some(keys) = self.entries.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}

/// Whether two objects are the same write. Objects without a version (made in tests) never are.
fn same_version<K: Resource>(a: &K, b: &K) -> bool {
    let (a, b) = (a.meta(), b.meta());
    a.resource_version.is_some() && a.resource_version == b.resource_version && a.uid == b.uid
}
