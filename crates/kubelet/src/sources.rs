//! ConfigMaps and Secrets that pods of this node refer to: each is watched on its own, as long as somebody needs it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base::{Drain, DrainTrigger, Env};
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use crate::spawner::Spawner;

/// How long a reader waits for the first answer of a watch.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// What is known of an object: nothing yet, or whether it exists.
type Known<K> = Option<Option<Arc<K>>>;

/// The objects of one kind that are watched.
pub struct Watched<K> {
    client: kube::Client,
    env: Env,
    spawner: Spawner,
    entries: Mutex<HashMap<(String, String), Entry<K>>>,
}

struct Entry<K> {
    state: watch::Receiver<Known<K>>,
    wakes: Arc<Mutex<Vec<Weak<Notify>>>>,
    keeper: Weak<DrainTrigger>,
}

/// One reader's hold on an object: the watch ends when the last one is dropped.
pub struct Subscription<K> {
    state: watch::Receiver<Known<K>>,
    env: Env,
    _keeper: Arc<DrainTrigger>,
}

/// An object that could not be read in time.
#[derive(Debug, thiserror::Error)]
#[error("timed out waiting for the API server's answer")]
pub struct Timeout;

impl<K> Watched<K>
where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Watches through `client`, with tasks in the spawner's set.
    pub fn new(client: kube::Client, env: Env, spawner: Spawner) -> Self {
        Self { client, env, spawner, entries: Mutex::default() }
    }

    /// Holds an object; `wake` is notified whenever it changes.
    pub fn subscribe(&self, namespace: &str, name: &str, wake: &Arc<Notify>) -> Subscription<K> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.keeper.strong_count() > 0);
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(entry) = entries.get(&key)
            && let Some(keeper) = entry.keeper.upgrade()
        {
            let mut wakes = entry.wakes.lock().unwrap_or_else(PoisonError::into_inner);
            wakes.retain(|wake| wake.strong_count() > 0);
            wakes.push(Arc::downgrade(wake));
            return Subscription { state: entry.state.clone(), env: self.env.clone(), _keeper: keeper };
        }
        let (trigger, drain) = self.spawner.drain().child();
        let (sender, state) = watch::channel(None);
        let wakes = Arc::new(Mutex::new(vec![Arc::downgrade(wake)]));
        let api = Api::namespaced(self.client.clone(), namespace);
        let task = follow(api, name.to_owned(), sender, Arc::clone(&wakes), drain);
        self.spawner.spawn(format!("watch {namespace}/{name}"), task);
        let keeper = Arc::new(trigger);
        entries.insert(key, Entry { state: state.clone(), wakes, keeper: Arc::downgrade(&keeper) });
        Subscription { state, env: self.env.clone(), _keeper: keeper }
    }
}

impl<K> Subscription<K> {
    /// The object, or `None` if it does not exist; waits for the first answer.
    pub async fn get(&self) -> Result<Option<Arc<K>>, Timeout> {
        let mut state = self.state.clone();
        tokio::select! {
            known = state.wait_for(Option::is_some) => known.map(|known| known.clone().flatten()).map_err(|_| Timeout),
            () = self.env.sleep(FIRST_ANSWER) => Err(Timeout),
        }
    }
}

/// Follows one object until the last subscription is dropped.
async fn follow<K>(
    api: Api<K>,
    name: String,
    state: watch::Sender<Known<K>>,
    wakes: Arc<Mutex<Vec<Weak<Notify>>>>,
    drain: Drain,
) where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher(api, config).default_backoff());
    // The object as seen within an initial list: absent unless the list brings it.
    let mut listed: Option<K> = None;
    while let Some(Some(event)) = drain.until(events.next()).await {
        let known = match event {
            Ok(watcher::Event::Apply(object)) => Some(object),
            Ok(watcher::Event::Delete(_)) => None,
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed = Some(object);
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.take(),
            Err(err) => {
                tracing::debug!(name, err = %err, "watch of a referenced object failed and is tried again");
                continue;
            }
        };
        state.send_replace(Some(known.map(Arc::new)));
        let waiting = wakes.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().filter_map(Weak::upgrade).for_each(|wake| wake.notify_one());
    }
}
