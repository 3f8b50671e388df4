//! Static pods: pods that the node runs because a file of it says so, or a web server, whether there is an API server or
//! not.
//!
//! [`directory`] reads the manifests and follows them, [`url`] asks for them; the pods' workers run what they say; [`mirror`] shows each one in
//! the API as a mirror pod, which can be read but decides nothing.
//!
//! Upstream: <https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/>.

mod directory;
mod manifest;
mod mirror;
mod url;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Env;
use client::{ObjectKey, Queue};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::pods::spec;

pub use directory::follow;
pub use mirror::{is_mirror, is_mirror_of, run};
pub use url::{ManifestUrl, follow as follow_url};

/// Where a pod comes from: `file`, or `api` where it is absent.
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// What tells one version of a static pod from another: its UID on the node.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// When the node found the manifest.
const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// In a mirror pod, the hash of what it shows.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// What the manifests say, by file or place in an answer.
pub type Manifests = Arc<BTreeMap<PathBuf, Arc<Pod>>>;

/// Who says which pods there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory or a file.
    Files,
    /// A web server.
    Url,
}

/// The static pods of the node: those that manifests ask for, and those that have a worker. Cheap to clone.
#[derive(Clone)]
pub struct StaticPods(Arc<Inner>);

struct Inner {
    /// Nothing until all sources were asked for the first time.
    wanted: watch::Sender<Option<Manifests>>,
    /// What each of them said last.
    found: Mutex<[Option<Manifests>; 2]>,
    running: Mutex<HashMap<ObjectKey, Arc<Pod>>>,
    /// Pods whose mirrors are to be looked at.
    mirrors: Queue<ObjectKey>,
}

impl StaticPods {
    /// None yet; those of a web server are not waited for where there is none.
    pub fn new(env: Env, has_url: bool) -> Self {
        let (wanted, running) = (watch::channel(None).0, Mutex::default());
        let found = Mutex::new([None, (!has_url).then(Manifests::default)]);
        Self(Arc::new(Inner { wanted, found, running, mirrors: Queue::new(env) }))
    }

    /// Takes over what a source says; where it says nothing, what it said last holds.
    fn found(&self, source: Source, manifests: Option<BTreeMap<PathBuf, Arc<Pod>>>) {
        let mut found = self.0.found.lock().unwrap_or_else(PoisonError::into_inner);
        let said = &mut found[source as usize];
        match manifests {
            Some(manifests) => *said = Some(Arc::new(manifests)),
            None => drop(said.get_or_insert_default()),
        }
        let [Some(files), Some(url)] = &*found else { return };
        let all: Manifests =
            Arc::new(files.iter().chain(url.iter()).map(|(at, pod)| (at.clone(), Arc::clone(pod))).collect());
        self.0.wanted.send_if_modified(|wanted| {
            let changed = wanted.as_ref() != Some(&all);
            *wanted = Some(all);
            changed
        });
    }

    /// What a source said last.
    fn of(&self, source: Source) -> Manifests {
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner)[source as usize].clone().unwrap_or_default()
    }

    /// Follows what the manifests say.
    pub fn wanted(&self) -> watch::Receiver<Option<Manifests>> {
        self.0.wanted.subscribe()
    }

    /// The pods that have workers.
    pub fn running(&self) -> Vec<Arc<Pod>> {
        self.lock().values().cloned().collect()
    }

    /// The pod of that name that has a worker.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        self.lock().get(key).cloned()
    }

    /// Notes that a pod has a worker. False where another pod of that name still has one.
    pub fn begin(&self, pod: &Arc<Pod>) -> bool {
        let key = ObjectKey::of(&**pod);
        let mut running = self.lock();
        if running.contains_key(&key) {
            return false;
        }
        running.insert(key.clone(), Arc::clone(pod));
        drop(running);
        self.look_at(key);
        true
    }

    /// Notes that the worker of a pod has ended.
    pub fn end(&self, uid: &str) {
        let mut running = self.lock();
        let key = running.iter().find(|(_, pod)| spec::uid(pod) == uid).map(|(key, _)| key.clone());
        if let Some(key) = key {
            running.remove(&key);
            drop(running);
            self.look_at(key);
        }
    }

    /// Has the mirror of a pod of that name brought in line.
    pub fn look_at(&self, key: ObjectKey) {
        self.0.mirrors.add(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Arc<Pod>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a pod comes from a manifest of this node.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, CONFIG_SOURCE).is_some_and(|source| source != "api") && !is_mirror(pod)
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}
