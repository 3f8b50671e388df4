//! Ranges of the machine's users for pods that are to have users of their own (`hostUsers: false`): root in the pod is
//! nobody on the machine, and no two pods are the same nobody.
//!
//! Ranges are cut from all users that the machine has beyond its first 65536, or from those that `/etc/subuid` and
//! `/etc/subgid` leave to the user `kubelet`. One is kept in the pod's directory, so that the next kubelet gives it to
//! nobody else while the pod runs.
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
/// How many users a pod has where nobody says anything. As many, the first ones, belong to the machine.
const LENGTH: u32 = 65536;
/// Who says which users are left to whom, and who the kubelet is there.
const LEFT: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
const OWNER: &str = "kubelet";

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

/// The users of one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    /// Who root is.
    pub first: u32,
    /// How many there are.
    pub length: u32,
}

impl Users {
    fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.length)
    }

    /// How they, and the groups, are the machine's.
    pub fn mappings(self) -> Vec<v1::IdMapping> {
        vec![v1::IdMapping { host_id: self.first, container_id: 0, length: self.length }]
    }
}

/// The users that pods can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserSettings {
    /// `userNamespaces.idsPerPod`.
    pub ids_per_pod: u32,
    all: Users,
}

impl Default for UserSettings {
    fn default() -> Self {
        // The last ids are left to the kernel.
        Self { ids_per_pod: LENGTH, all: Users { first: LENGTH, length: u32::MAX - 2 * LENGTH + 1 } }
    }
}

/// Users that are left to the kubelet and that it cannot give to pods.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the users of kubelet in /etc/subuid and /etc/subgid cannot be pods': {0}")]
pub struct UnusableUsers(String);

impl UserSettings {
    /// Those that the machine leaves to the kubelet, for so many pods; all that there are where it says nothing.
    pub fn of_machine(self, pods: u32) -> Result<Self, UnusableUsers> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        self.left(&read(LEFT[0]), &read(LEFT[1]), pods)
    }

    fn left(self, uids: &str, gids: &str, pods: u32) -> Result<Self, UnusableUsers> {
        let (uids, gids) = (entries(uids)?, entries(gids)?);
        let all = match (&uids[..], &gids[..]) {
            ([], []) => return Ok(self),
            ([uids], [gids]) if uids == gids => *uids,
            _ => return Err(UnusableUsers("one entry is expected in each, for the same numbers".to_owned())),
        };
        let size = self.ids_per_pod;
        if all.first < LENGTH || all.first % size != 0 || all.length % size != 0 {
            return Err(UnusableUsers(format!("{} of them from {} are no multiples of {size}", all.length, all.first)));
        }
        if all.length / size < pods {
            return Err(UnusableUsers(format!("{} of them are too few for {pods} pods", all.length)));
        }
        Ok(Self { all, ..self })
    }
}

/// What a file of subordinate ids leaves to the kubelet.
fn entries(text: &str) -> Result<Vec<Users>, UnusableUsers> {
    let own = text.lines().filter_map(|line| line.trim().strip_prefix(OWNER)?.strip_prefix(':'));
    let parse = |entry: &str| {
        let (first, length) = entry.split_once(':')?;
        let users = Users { first: first.parse().ok()?, length: length.parse().ok()? };
        Some(users).filter(|users| users.end() <= 1 << 32)
    };
    own.map(|entry| parse(entry).ok_or_else(|| UnusableUsers(format!("{entry:?} is no entry")))).collect()
}

/// The ranges of all pods of the node, by UID. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct UserRanges {
    settings: UserSettings,
    taken: Arc<Mutex<BTreeMap<String, Users>>>,
}

/// Whether a pod is to have users of its own.
pub fn has_own(pod: &Pod) -> bool {
    spec::spec(pod).host_users == Some(false)
}

impl UserRanges {
    /// What the kubelet before has given to the pods whose directories are in `pods`. Blocks.
    pub fn restore(pods: &Path, settings: UserSettings) -> Self {
        let entries = fs::read_dir(pods).into_iter().flatten().flatten();
        let kept = entries.filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join(FILE)).ok()?;
            let mut numbers = text.split_whitespace().map(str::parse);
            let first = numbers.next()?.ok()?;
            let users = Users { first, length: numbers.next().transpose().ok()?.unwrap_or(LENGTH) };
            Some((entry.file_name().to_string_lossy().into_owned(), users))
        });
        Self { settings, taken: Arc::new(Mutex::new(kept.collect())) }
    }

    /// A pod's users, if it is to have its own: the range that it has, or the first that is free.
    pub async fn of(&self, pod: &Pod, dir: &Path) -> Result<Option<Users>, UsersError> {
        if !has_own(pod) {
            return Ok(None);
        }
        let (users, is_new) = self.reserve(spec::uid(pod))?;
        if is_new && let Err(error) = write(dir, users).await {
            self.forget(spec::uid(pod));
            return Err(UsersError::Write { path: dir.join(FILE), error });
        }
        Ok(Some(users))
    }

    fn reserve(&self, uid: &str) -> Result<(Users, bool), UsersError> {
        let mut ranges = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(users) = ranges.get(uid) {
            return Ok((*users, false));
        }
        let UserSettings { ids_per_pod: length, all } = self.settings;
        let mut candidates =
            (0..all.length / length).map(|number| Users { first: all.first + number * length, length });
        // A kubelet that was told otherwise may have given ranges of another length.
        let is_free = |one: &Users| {
            !ranges.values().any(|taken| u64::from(taken.first) < one.end() && u64::from(one.first) < taken.end())
        };
        let users = candidates.find(is_free).ok_or(UsersError::NoneFree)?;
        ranges.insert(uid.to_owned(), users);
        Ok((users, true))
    }

    /// Gives back the range of a pod whose containers are gone.
    pub fn forget(&self, uid: &str) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

async fn write(dir: &Path, users: Users) -> io::Result<()> {
    tokio::fs::create_dir_all(dir).await?;
    let draft = dir.join(format!("{FILE}.new"));
    tokio::fs::write(&draft, format!("{} {}", users.first, users.length)).await?;
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
            let users = ranges.of(&own(name), &dir.path().join(name)).await.expect("a range");
            users.map(|users| (users.first, users.length))
        };
        let ranges = UserRanges::default();
        assert_eq!(ranges.of(&testkit::pod("web").build(), dir.path()).await.expect("no error"), None);
        assert_eq!(of(&ranges, "a").await, Some((65536, 65536)));
        assert_eq!(of(&ranges, "b").await, Some((131_072, 65536)));
        assert_eq!(of(&ranges, "a").await, Some((65536, 65536)), "what it has");

        let next = UserRanges::restore(dir.path(), UserSettings::default());
        assert_eq!(of(&next, "c").await, Some((196_608, 65536)));
        assert_eq!(of(&next, "b").await, Some((131_072, 65536)));
        next.forget("a");
        assert_eq!(of(&next, "d").await, Some((65536, 65536)));
        // With larger ranges, those that are there stay as they are; what an earlier version has written has no length.
        std::fs::create_dir(dir.path().join("old")).expect("made");
        std::fs::write(dir.path().join("old").join(FILE), "458752").expect("written");
        let settings = UserSettings { ids_per_pod: 131_072, ..UserSettings::default() };
        let larger = UserRanges::restore(dir.path(), settings);
        assert_eq!(of(&larger, "b").await, Some((131_072, 65536)));
        assert_eq!(of(&larger, "e").await, Some((262_144 + 65536, 131_072)));
        assert_eq!(of(&larger, "f").await, Some((589_824, 131_072)));
    }

    #[tokio::test]
    async fn a_range_that_cannot_be_kept_is_not_given() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        let ranges = UserRanges::default();
        assert!(matches!(ranges.of(&own("a"), &file).await, Err(UsersError::Write { .. })));
        assert_eq!(
            ranges.of(&own("b"), &dir.path().join("b")).await.expect("a range"),
            Some(Users { first: 65536, length: 65536 })
        );
    }

    #[track_caller]
    fn check_left(uids: &str, gids: &str, expected: Result<(u32, u32), &str>) {
        let left =
            UserSettings::default().left(uids, gids, 2).map(|settings| (settings.all.first, settings.all.length));
        match (left, expected) {
            (Err(err), Err(part)) => assert!(err.to_string().contains(part), "{err}"),
            (left, expected) => assert_eq!(left, expected.map_err(|part| UnusableUsers(part.to_owned()))),
        }
    }

    #[test]
    fn pods_have_the_users_that_the_machine_leaves_to_the_kubelet() {
        let all = Ok((65536, u32::MAX - 131_071));
        check_left("", "", all);
        check_left("me:100000:65536\n", "kubelets:65536:65536\n", all);
        let own = "me:1:1\nkubelet:131072:262144\n";
        check_left(own, own, Ok((131_072, 262_144)));
        check_left(own, "", Err("one entry is expected in each"));
        check_left(own, "kubelet:131072:131072\n", Err("for the same numbers"));
        let of = |entry: &str, part: &str| check_left(entry, entry, Err(part));
        of("kubelet:0:262144", "262144 of them from 0 are no multiples of 65536");
        of("kubelet:65536:70000", "70000 of them from 65536");
        of("kubelet:65536:65536", "65536 of them are too few for 2 pods");
        of("kubelet:many:65536", "\"many:65536\" is no entry");
        of("kubelet:4294901760:131072", "is no entry");
    }
}
