//! The CPU and memory that the node has agreed to give to pods. They follow the specification as far as there is room,
//! and are kept on disk, so that a restart of the kubelet neither grants nor takes anything.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use tokio::sync::{Notify, watch};

use super::spec;

/// The file below a pod's directory.
const FILE: &str = "allocated.json";

/// The resources of a pod's containers, by name.
pub type Allocation = BTreeMap<String, ResourceRequirements>;

/// What all pods of the node have. Cheap to clone.
#[derive(Clone, Default)]
pub struct Allocations {
    inner: Arc<Mutex<Inner>>,
    /// Counts what has changed.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    by_uid: HashMap<String, Allocation>,
    /// The workers of pods that wait for room.
    waiting: HashMap<String, Arc<Notify>>,
}

/// What a pod's specification asks for.
pub fn desired(pod: &Pod) -> Allocation {
    let all = spec::init_containers(pod).iter().chain(spec::containers(pod));
    all.map(|container| (container.name.clone(), container.resources.clone().unwrap_or_default())).collect()
}

impl Allocations {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows changes of what pods have.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether a pod was let in and has not stopped.
    pub fn holds(&self, uid: &str) -> bool {
        self.lock().by_uid.contains_key(uid)
    }

    /// Takes note of a pod that was let in: it has what it had before a restart of the kubelet, or what it asks for.
    pub async fn begin(&self, pod: &Pod, dir: &Path) -> io::Result<()> {
        let kept = match tokio::fs::read(dir.join(FILE)).await {
            Ok(bytes) => serde_json::from_slice::<Allocation>(&bytes).ok(),
            Err(_) => None,
        };
        let is_kept = kept.is_some();
        let allocation = kept.unwrap_or_else(|| desired(pod));
        self.lock().by_uid.insert(spec::uid(pod).to_owned(), allocation.clone());
        self.changed();
        if is_kept { Ok(()) } else { write(&allocation, dir).await }
    }

    /// The pod with what it has in the place of what it asks for.
    pub fn allocated(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        let inner = self.lock();
        match inner.by_uid.get(spec::uid(pod)) {
            Some(allocation) if *allocation != desired(pod) => Arc::new(with(pod, allocation)),
            _ => Arc::clone(pod),
        }
    }

    /// Whether a pod asks for something else than it has.
    pub fn differs(&self, pod: &Pod) -> bool {
        self.lock().by_uid.get(spec::uid(pod)).is_some_and(|allocation| *allocation != desired(pod))
    }

    /// Gives a pod what it asks for if `fits` says so. `fits` sees any other pod with what that has; no two pods are
    /// judged at the same time.
    pub fn grant<E>(
        &self,
        pod: &Pod,
        fits: impl FnOnce(&dyn Fn(&Arc<Pod>) -> Arc<Pod>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut inner = self.lock();
        let has = |other: &Arc<Pod>| match inner.by_uid.get(spec::uid(other)) {
            Some(allocation) => Arc::new(with(other, allocation)),
            None => Arc::clone(other),
        };
        fits(&has)?;
        inner.by_uid.insert(spec::uid(pod).to_owned(), desired(pod));
        drop(inner);
        self.changed();
        Ok(())
    }

    /// Writes down what a pod has.
    pub async fn keep(&self, pod: &Pod, dir: &Path) -> io::Result<()> {
        let allocation = self.lock().by_uid.get(spec::uid(pod)).cloned();
        match allocation {
            Some(allocation) => write(&allocation, dir).await,
            None => Ok(()),
        }
    }

    /// Has a worker woken when there may be more room.
    pub fn wait(&self, uid: &str, wake: &Arc<Notify>) {
        self.lock().waiting.insert(uid.to_owned(), Arc::clone(wake));
    }

    /// Ends a pod's wait.
    pub fn stop_waiting(&self, uid: &str) {
        self.lock().waiting.remove(uid);
    }

    /// There may be more room: wakes who waits for it.
    pub fn wake(&self) {
        self.lock().waiting.values().for_each(|wake| wake.notify_one());
    }

    /// Forgets a pod that has stopped, which leaves room.
    pub fn forget(&self, uid: &str) {
        let mut inner = self.lock();
        inner.by_uid.remove(uid);
        inner.waiting.remove(uid);
        drop(inner);
        self.changed();
        self.wake();
    }
}

fn with(pod: &Pod, allocation: &Allocation) -> Pod {
    let mut pod = pod.clone();
    let give = |container: &mut Container| {
        if let Some(resources) = allocation.get(&container.name)
            && container.resources.clone().unwrap_or_default() != *resources
        {
            container.resources = Some(resources.clone());
        }
    };
    if let Some(spec) = pod.spec.as_mut() {
        spec.init_containers.iter_mut().flatten().for_each(give);
        spec.containers.iter_mut().for_each(give);
    }
    pod
}

/// Writes the whole file or nothing.
async fn write(allocation: &Allocation, dir: &Path) -> io::Result<()> {
    tokio::fs::create_dir_all(dir).await?;
    let draft = dir.join(format!("{FILE}.new"));
    tokio::fs::write(&draft, serde_json::to_vec(allocation)?).await?;
    tokio::fs::rename(draft, dir.join(FILE)).await
}

#[cfg(test)]
mod tests {
    use testkit::pod;

    use super::*;

    fn asking(cpu: &str) -> Arc<Pod> {
        let resources = serde_json::json!({"requests": {"cpu": cpu}});
        Arc::new(
            pod("web")
                .container("a", "image")
                .with(|pod| {
                    let container = &mut pod.spec.as_mut().expect("there").containers[0];
                    container.resources = serde_json::from_value(resources).expect("resources");
                })
                .build(),
        )
    }

    #[tokio::test]
    async fn a_pod_keeps_what_it_has_until_more_is_granted() {
        let dir = tempfile::tempdir().expect("a directory");
        let allocations = Allocations::default();
        allocations.begin(&asking("1"), dir.path()).await.expect("written");
        assert!(!allocations.differs(&asking("1")) && allocations.differs(&asking("2")));
        assert_eq!(allocations.allocated(&asking("2")), asking("1"));
        assert_eq!(allocations.grant(&asking("2"), |_| Err("no")), Err("no"));
        assert_eq!(allocations.allocated(&asking("2")), asking("1"));
        assert_eq!(
            allocations.grant(&asking("2"), |has| if has(&asking("3")) == asking("1") { Ok(()) } else { Err(()) }),
            Ok(())
        );
        assert_eq!(allocations.allocated(&asking("3")), asking("2"));
        allocations.keep(&asking("2"), dir.path()).await.expect("written");

        // A kubelet that starts anew finds what the one before has granted.
        let allocations = Allocations::default();
        allocations.begin(&asking("3"), dir.path()).await.expect("read");
        assert_eq!(allocations.allocated(&asking("3")), asking("2"));
        allocations.forget(spec::uid(&asking("3")));
        assert_eq!(allocations.allocated(&asking("3")), asking("3"));
    }
}
