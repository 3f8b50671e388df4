//! Shared informers: one list and watch per kind and selector, however many readers.
//!
//! A reflector task keeps the [`store`] equal to what the server has, across restarts of the server. Readers take
//! snapshots of single objects from a [`Lister`], and follow changes as [`Events`]. The store is updated before the
//! event is delivered.

mod events;
mod lister;
mod reflector;
mod store;

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base::{Drain, Env, TaskFailure, Tasks};
use futures::future::BoxFuture;
use kube::core::ApiResource;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

pub use events::{Event, Events};
pub use lister::Lister;
use store::Store;

use crate::Metadata;

/// How long reflectors may take to end after the drain signal.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(5);

/// What an informer can hold: any API object.
pub trait Object: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: kube::Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Object for K {}

/// Restricts an informer to some objects of its kind. Empty strings select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListSelector {
    /// A label selector, `a=b,c in (d)`.
    pub labels: String,
    /// A field selector, `spec.nodeName=n`.
    pub fields: String,
}

impl ListSelector {
    /// Selects by labels.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: selector.into(), ..Self::default() }
    }

    /// Selects by fields.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { fields: selector.into(), ..Self::default() }
    }
}

/// The informers of one process (or of one set of components in it). Cheap to clone.
#[derive(Clone)]
pub struct Informers(Arc<Inner>);

struct Inner {
    client: kube::Client,
    env: Env,
    known: Mutex<HashMap<Identity, Known>>,
    starts: mpsc::UnboundedSender<Start>,
    pending: Mutex<Option<mpsc::UnboundedReceiver<Start>>>,
}

/// What makes two requested informers the same one. The type is part of it because one kind can be held whole, as
/// a dynamic object or as metadata only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    held_as: &'static str,
    resource: String,
    selector: ListSelector,
}

struct Known {
    informer: Box<dyn Any + Send + Sync>,
    /// Dropped to end the reflector alone.
    _stop: base::DrainTrigger,
}

/// A reflector that is to be spawned.
struct Start {
    name: String,
    reflector: Box<dyn FnOnce(Drain) -> BoxFuture<'static, ()> + Send>,
}

/// Why the informers ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// `run` was called before.
    #[error("informers are already running")]
    AlreadyRunning,
    /// A reflector panicked.
    #[error("reflector failed")]
    Reflector(#[from] TaskFailure),
}

impl Informers {
    /// No informer yet. Initial state is fetched by one streaming watch each.
    pub fn new(client: kube::Client, env: Env) -> Self {
        let (starts, pending) = mpsc::unbounded_channel();
        Self(Arc::new(Inner { client, env, known: Mutex::default(), starts, pending: Mutex::new(Some(pending)) }))
    }

    /// The informer of all objects of a type.
    pub fn of<K: Object<DynamicType = ()>>(&self) -> Informer<K> {
        self.informer((), ListSelector::default())
    }

    /// The informer of the objects of a type that a selector matches.
    pub fn filtered<K: Object<DynamicType = ()>>(&self, selector: ListSelector) -> Informer<K> {
        self.informer((), selector)
    }

    /// The informer of the metadata of all objects of a kind known at run time.
    pub fn metadata(&self, resource: &ApiResource) -> Informer<Metadata> {
        self.informer(resource.clone(), ListSelector::default())
    }

    /// Ends the metadata informer of a kind that is no longer served. Its readers keep the last state they saw.
    pub fn stop_metadata(&self, resource: &ApiResource) {
        self.known().remove(&identity::<Metadata>(resource, ListSelector::default()));
    }

    /// The client that the informers use.
    pub fn client(&self) -> &kube::Client {
        &self.0.client
    }

    /// The clock and random numbers that the informers use.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    /// Runs the reflectors of all informers, also of those that are requested later, until the drain signal.
    pub async fn run(&self, drain: Drain) -> Result<(), RunError> {
        let pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut pending = pending.ok_or(RunError::AlreadyRunning)?;
        let mut tasks = Tasks::new();
        loop {
            tokio::select! {
                () = drain.drained() => break,
                Some(start) = pending.recv() => tasks.spawn(start.name, (start.reflector)(drain.clone())),
                Some((_, ended)) = tasks.join_next(), if !tasks.is_empty() => ended?,
            }
        }
        match tasks.shutdown(SHUTDOWN_DEADLINE).await.into_iter().next() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Identity, Known>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn informer<K>(&self, resource: K::DynamicType, selector: ListSelector) -> Informer<K>
    where
        K: Object,
        K::DynamicType: Clone,
    {
        let identity = identity::<K>(&resource, selector.clone());
        let mut known = self.known();
        if let Some(informer) = known.get(&identity).and_then(|known| known.informer.downcast_ref::<Informer<K>>()) {
            return informer.clone();
        }
        let (synced, _) = watch::channel(false);
        let informer = Informer(Arc::new(Shared { store: Store::new(), synced }));
        let (stop, stopped) = base::drain();
        let name = format!("reflector {}", identity.resource);
        known.insert(identity, Known { informer: Box::new(informer.clone()), _stop: stop });

        let (shared, client) = (Arc::clone(&informer.0), self.0.client.clone());
        let env = self.0.env.clone();
        let reflector = move |drain: Drain| -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let reflect = reflector::reflect(client, env, resource, selector, shared);
                tokio::select! {
                    () = drain.drained() => {}
                    () = stopped.drained() => {}
                    () = reflect => {}
                }
            })
        };
        // Nobody receives any more only when `run` has ended: the informer then stays empty and never syncs.
        let _ = self.0.starts.send(Start { name, reflector: Box::new(reflector) });
        informer
    }
}

fn identity<K: Object>(resource: &K::DynamicType, selector: ListSelector) -> Identity {
    let resource = format!("{}/{}", K::api_version(resource), K::plural(resource));
    Identity { held_as: std::any::type_name::<K>(), resource, selector }
}

/// What one reflector writes and all readers of a kind share.
struct Shared<K> {
    store: Store<K>,
    synced: watch::Sender<bool>,
}

/// A shared informer. Cheap to clone; the objects live as long as the [`Informers`] it came from.
pub struct Informer<K>(Arc<Shared<K>>);

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Object> Informer<K> {
    /// An informer that no reflector feeds: tests and simulations fill it with [`Informer::apply`].
    pub fn detached() -> Self {
        let (synced, _) = watch::channel(true);
        Self(Arc::new(Shared { store: Store::new(), synced }))
    }

    /// Puts an object into a detached informer.
    pub fn apply(&self, object: K) {
        self.0.store.apply(object);
    }

    /// Takes an object out of a detached informer.
    pub fn remove(&self, object: K) {
        self.0.store.delete(object);
    }

    /// The reading side.
    pub fn lister(&self) -> Lister<K> {
        Lister(Arc::clone(&self.0))
    }

    /// Follows changes, beginning with an `Added` for every object that is there.
    pub fn subscribe(&self) -> Events<K> {
        self.0.store.subscribe()
    }

    /// Adds an index by which [`Lister::by_index`] finds objects. An index of that name that exists already stays.
    pub fn add_index(&self, name: &'static str, keys: fn(&K) -> Vec<String>) {
        self.0.store.add_index(name, keys);
    }

    /// Waits until the initial state has been read. Pends for ever if the informers were stopped before.
    pub async fn synced(&self) {
        let mut synced = self.0.synced.subscribe();
        if synced.wait_for(|synced| *synced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the initial state has been read.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }
}

/// Weak subscribers of a store.
type Subscribers<K> = Vec<Weak<events::Subscriber<K>>>;
