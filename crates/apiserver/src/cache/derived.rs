//! Values that are computed from the objects of some resources and brought up to date by whoever reads them.
//!
//! A reader pays for the changes since the last one, and sees everything that the cache has: no task stands between
//! them. Permissions and the objects that belong to a node are such values.

use std::sync::{Arc, PoisonError, RwLock};

use super::Cache;
use super::events::{EventKind, Window};
use super::object::Object;
use super::resource::ResourceCache;

/// A value computed from objects one at a time.
pub(crate) trait Derivation: Default {
    /// Group and plural of the resources whose objects it is computed from.
    const RESOURCES: &'static [(&'static str, &'static str)];

    /// Takes in an object, which may have been there before. `resource` is the number in [`Derivation::RESOURCES`].
    fn put(&mut self, resource: usize, object: &Object);

    /// Takes back what an object has brought; one that was never put is none of its business.
    fn remove(&mut self, resource: usize, object: &Object);
}

/// A derived value, and up to which events it is computed.
pub(crate) struct Derived<T> {
    state: RwLock<State<T>>,
}

struct State<T> {
    sources: Vec<Source>,
    value: T,
}

struct Source {
    cache: Arc<ResourceCache>,
    /// The number of the first event that is not in the value; `None` before anything is.
    next: Option<u64>,
}

impl<T: Derivation> Derived<T> {
    /// A value over the resources of a cache.
    pub(crate) fn new(cache: &Cache) -> Self {
        let resource = |(group, plural): &(&str, &str)| {
            let mut stored = api::kinds::all().iter().filter(|row| row.is_stored() && row.is_storage_version());
            let resource = stored.find(|row| row.group == *group && row.plural == *plural);
            let resource = resource.expect("derivations name built-in resources");
            let cache = cache.resource(resource).expect("built-in resources are cached").clone();
            Source { cache, next: None }
        };
        let sources = T::RESOURCES.iter().map(resource).collect();
        Self { state: RwLock::new(State { sources, value: T::default() }) }
    }

    /// Reads the value as of everything that the cache has.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.sources.iter().all(Source::is_current) {
                return read(&state.value);
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.catch_up();
        read(&state.value)
    }
}

impl Source {
    fn is_current(&self) -> bool {
        self.next == self.cache.number_of_next()
    }
}

impl<T: Derivation> State<T> {
    fn catch_up(&mut self) {
        let Self { sources, value } = self;
        for number in 0..sources.len() {
            loop {
                let source = &mut sources[number];
                let Some(next) = source.next else {
                    if source.cache.number_of_next().is_some() {
                        let (snapshot, next) = source.cache.snapshot_and_next(0);
                        snapshot.objects.values().for_each(|object| value.put(number, object));
                        source.next = Some(next);
                    }
                    break;
                };
                match source.cache.events_from(next) {
                    Window::Events(events, _) if events.is_empty() => break,
                    Window::Events(events, next) => {
                        source.next = Some(next);
                        for event in events {
                            match event.kind {
                                EventKind::Deleted => value.remove(number, &event.object),
                                EventKind::Added | EventKind::Modified => value.put(number, &event.object),
                            }
                        }
                    }
                    Window::Lost => {
                        // What was deleted meanwhile is not told any more.
                        *value = T::default();
                        sources.iter_mut().for_each(|source| source.next = None);
                        return Self::catch_up(self);
                    }
                }
            }
        }
    }
}
