//! Ranges of the machine's users for pods that are to have users of their own (`hostUsers: false`): root in the pod is
//! nobody on the machine, and no two pods are the same nobody.
//!
//! A range is kept in the pod's directory, so that the next kubelet gives it to nobody else while the pod runs.
//! See <https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/>.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cri as v1;
use k8s_openapi::api::core::v1::Pod;

use super::spec;

/// The file below a pod's directory.
const FILE: &str = "userns";
/// How many users a pod has. Those below belong to the machine.
const LENGTH: u32 = 65536;
/// How many ranges there are; the last ids are left to the kernel.
const RANGES: u32 = u32::MAX / LENGTH;

/// Why a pod gets no users.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Every range belongs to a pod.
    #[error("no range of users is free for the pod")]
    NoneFree,
    /// The range could not be written down.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// The ranges of all pods of the node, by UID. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct UserRanges(Arc<Mutex<BTreeMap<String, u32>>>);

/// Whether a pod is to have users of its own.
pub fn has_own(pod: &Pod) -> bool {
    spec::spec(pod).host_users == Some(false)
}

impl UserRanges {
    /// What the kubelet before has given to the pods whose directories are in `pods`. Blocks.
    pub fn restore(pods: &Path) -> Self {
        let entries = fs::read_dir(pods).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join(FILE)).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), text.trim().parse().ok()?))
        });
        Self(Arc::new(Mutex::new(kept.collect())))
    }

    /// The first of a pod's users, if it is to have its own: the range that it has, or the first that is free.
    pub async fn of(&self, pod: &Pod, dir: &Path) -> Result<Option<u32>, UsersError> {
        if !has_own(pod) {
            return Ok(None);
        }
        let (first, is_new) = self.reserve(spec::uid(pod))?;
        if is_new && let Err(error) = write(dir, first).await {
            self.forget(spec::uid(pod));
            return Err(UsersError::Write { path: dir.join(FILE), error });
        }
        Ok(Some(first))
    }

    fn reserve(&self, uid: &str) -> Result<(u32, bool), UsersError> {
        let mut ranges = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = ranges.get(uid) {
            return Ok((*first, false));
        }
        let mut all = (1..RANGES).map(|number| number * LENGTH);
        let first = all.find(|first| !ranges.values().any(|taken| taken == first)).ok_or(UsersError::NoneFree)?;
        ranges.insert(uid.to_owned(), first);
        Ok((first, true))
    }

    /// Gives back the range of a pod whose containers are gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// How a pod's users, and its groups, are the machine's.
pub fn mappings(first: u32) -> Vec<v1::IdMapping> {
    vec![v1::IdMapping { host_id: first, container_id: 0, length: LENGTH }]
}

async fn write(dir: &Path, first: u32) -> io::Result<()> {
    tokio::fs::create_dir_all(dir).await?;
    let draft = dir.join(format!("{FILE}.new"));
    tokio::fs::write(&draft, first.to_string()).await?;
    tokio::fs::rename(draft, dir.join(FILE)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str) -> Pod {
        testkit::pod(name)
            .with(|pod| {
                pod.metadata.uid = Some(name.to_owned());
                pod.spec.as_mut().expect("there").host_users = Some(false);
            })
            .build()
    }

    #[tokio::test]
    async fn no_two_pods_have_the_same_users_even_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = async |ranges: &UserRanges, name: &str| {
            ranges.of(&own(name), &dir.path().join(name)).await.expect("a range")
        };
        let ranges = UserRanges::default();
        assert_eq!(ranges.of(&testkit::pod("web").build(), dir.path()).await.expect("no error"), None);
        assert_eq!(of(&ranges, "a").await, Some(65536));
        assert_eq!(of(&ranges, "b").await, Some(131_072));
        assert_eq!(of(&ranges, "a").await, Some(65536), "what it has");

        let next = UserRanges::restore(dir.path());
        assert_eq!(of(&next, "c").await, Some(196_608));
        assert_eq!(of(&next, "b").await, Some(131_072));
        next.forget("a");
        assert_eq!(of(&next, "d").await, Some(65536));
    }

    #[tokio::test]
    async fn a_range_that_cannot_be_kept_is_not_given() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        let ranges = UserRanges::default();
        assert!(matches!(ranges.of(&own("a"), &file).await, Err(UsersError::Write { .. })));
        assert_eq!(ranges.of(&own("b"), &dir.path().join("b")).await.expect("a range"), Some(65536));
    }
}
