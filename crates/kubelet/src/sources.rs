//! Objects that pods of this node refer to: each set of them is watched on its own, as long as somebody needs it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base::{Drain, DrainTrigger, Env, Spawner};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

/// How long a reader waits for the first answer of a watch.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Objects by their names.
pub type Objects<K> = BTreeMap<String, Arc<K>>;

/// What is known of a set: nothing yet, or its objects, or that the API server has no such resource.
type Known<K> = Option<Result<Arc<Objects<K>>, Unread>>;

/// A set: a namespace (empty for all, and for what has none) and a field selector.
type Key = (String, String);

/// The objects of a kind in a namespace.
type ApiOf<K> = Box<dyn Fn(&str) -> Api<K> + Send + Sync>;

/// The sets of objects of one kind that are watched.
pub struct Watched<K> {
    api: ApiOf<K>,
    env: Env,
    spawner: Spawner,
    drain: Drain,
    entries: Mutex<HashMap<Key, Entry<K>>>,
}

struct Entry<K> {
    state: watch::Receiver<Known<K>>,
    wakes: Wakes,
    keeper: Weak<DrainTrigger>,
}

/// Whom a change wakes.
type Wakes = Arc<Mutex<Vec<Weak<Notify>>>>;

/// One reader's hold on a set: the watch ends when the last one is dropped.
pub struct Subscription<K> {
    state: watch::Receiver<Known<K>>,
    env: Env,
    _keeper: Arc<DrainTrigger>,
}

/// Objects that could not be read.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum Unread {
    /// There was no answer in time.
    #[error("timed out waiting for the API server's answer")]
    Timeout,
    /// There is no such resource.
    #[error("the API server does not serve this resource")]
    NotServed,
}

/// The field selector of the object of a name.
pub fn named(name: &str) -> String {
    format!("metadata.name={name}")
}

/// The objects of a kind in a namespace.
pub fn namespaced<K>(client: &kube::Client) -> impl Fn(&str) -> Api<K> + use<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let client = client.clone();
    move |namespace| Api::namespaced(client.clone(), namespace)
}

/// The objects of a kind that are in no namespace.
pub fn of_cluster<K>(client: &kube::Client) -> impl Fn(&str) -> Api<K> + use<K>
where
    K: kube::Resource<DynamicType = ()>,
{
    let client = client.clone();
    move |_| Api::all(client.clone())
}

impl<K> Watched<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Watches with what `api` gives for a namespace, with tasks of the spawner until the drain signal.
    pub fn new(
        api: impl Fn(&str) -> Api<K> + Send + Sync + 'static,
        env: Env,
        (spawner, drain): (Spawner, Drain),
    ) -> Self {
        Self { api: Box::new(api), env, spawner, drain, entries: Mutex::default() }
    }

    /// Holds the objects of a namespace that a field selector selects; `wake` is notified whenever they change.
    pub fn subscribe(&self, namespace: &str, fields: &str, wake: &Arc<Notify>) -> Subscription<K> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.keeper.strong_count() > 0);
        let key = (namespace.to_owned(), fields.to_owned());
        if let Some(entry) = entries.get(&key)
            && let Some(keeper) = entry.keeper.upgrade()
        {
            let mut wakes = entry.wakes.lock().unwrap_or_else(PoisonError::into_inner);
            wakes.retain(|wake| wake.strong_count() > 0);
            wakes.push(Arc::downgrade(wake));
            return Subscription { state: entry.state.clone(), env: self.env.clone(), _keeper: keeper };
        }
        let (trigger, drain) = self.drain.child();
        let (sender, state) = watch::channel(None);
        let wakes = Arc::new(Mutex::new(vec![Arc::downgrade(wake)]));
        let task = follow((self.api)(namespace), fields.to_owned(), sender, Arc::clone(&wakes), drain);
        self.spawner.spawn(format!("watch {namespace}/{fields}"), task);
        let keeper = Arc::new(trigger);
        entries.insert(key, Entry { state: state.clone(), wakes, keeper: Arc::downgrade(&keeper) });
        Subscription { state, env: self.env.clone(), _keeper: keeper }
    }
}

impl<K> Subscription<K> {
    /// The objects; waits for the first answer.
    pub async fn all(&self) -> Result<Arc<Objects<K>>, Unread> {
        let mut state = self.state.clone();
        tokio::select! {
            known = state.wait_for(Option::is_some) => {
                known.ok().and_then(|known| known.clone()).unwrap_or(Err(Unread::Timeout))
            }
            () = self.env.sleep(FIRST_ANSWER) => Err(Unread::Timeout),
        }
    }

    /// One of the objects, or `None` if it does not exist; waits for the first answer.
    pub async fn get(&self, name: &str) -> Result<Option<Arc<K>>, Unread> {
        Ok(self.all().await?.get(name).cloned())
    }
}

/// Follows a set until the last subscription is dropped.
async fn follow<K>(api: Api<K>, fields: String, state: watch::Sender<Known<K>>, wakes: Wakes, drain: Drain)
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&fields);
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut objects: Objects<K> = Objects::new();
    while let Some(Some(event)) = drain.until(events.next()).await {
        let known = match event {
            Ok(watcher::Event::Init) => {
                objects.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                put(&mut objects, object);
                continue;
            }
            Ok(watcher::Event::Apply(object)) => {
                put(&mut objects, object);
                Ok(Arc::new(objects.clone()))
            }
            Ok(watcher::Event::Delete(object)) => {
                objects.remove(object.meta().name.as_deref().unwrap_or_default());
                Ok(Arc::new(objects.clone()))
            }
            Ok(watcher::Event::InitDone) => Ok(Arc::new(objects.clone())),
            Err(err) if is_not_served(&err) => {
                if matches!(*state.borrow(), Some(Err(Unread::NotServed))) {
                    continue;
                }
                Err(Unread::NotServed)
            }
            Err(err) => {
                tracing::debug!(fields, err = %err, "watch of referenced objects failed and is tried again");
                continue;
            }
        };
        state.send_replace(Some(known));
        let waiting = wakes.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().filter_map(Weak::upgrade).for_each(|wake| wake.notify_one());
    }
}

fn put<K: kube::Resource>(objects: &mut Objects<K>, object: K) {
    let name = object.meta().name.clone().unwrap_or_default();
    objects.insert(name, Arc::new(object));
}

/// Whether the API server says that it has no such resource.
fn is_not_served(err: &watcher::Error) -> bool {
    match err {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}
