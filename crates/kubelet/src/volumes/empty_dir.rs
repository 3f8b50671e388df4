//! Directories that live as long as their pod: on the node's disk, in memory, or in huge pages.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};

use super::memory::{mount_huge_pages, mount_tmpfs};
use super::ownership::{self, Ownership};
use super::ready::Ready;
use super::table::is_mount_point;
use crate::pods::spec;
use crate::resources::{self, Amounts};

/// Where the files of an emptyDir are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Medium {
    /// On the node's disk.
    Disk,
    /// In memory, up to so many bytes.
    Memory(Option<i64>),
    /// In huge pages of so many bytes.
    HugePages(i64),
}

impl Medium {
    /// What a volume asks for; an error is a message for the user.
    pub fn of(pod: &Pod, source: &EmptyDirVolumeSource, allocatable: &Amounts) -> Result<Self, String> {
        match source.medium.as_deref().unwrap_or_default() {
            "" => Ok(Self::Disk),
            "Memory" => {
                // What is in memory counts for the pod's limit, so that more is of no use.
                let of_node = allocatable.get("memory").copied();
                let of_pod = resources::pod_limits(pod).get("memory").copied();
                let all = [of_node, of_pod, size_limit(source)?];
                let size = all.into_iter().flatten().filter(|bytes| *bytes > 0).min();
                Ok(Self::Memory(size))
            }
            "HugePages" => only_page_size(pod).map(Self::HugePages),
            medium => match medium.strip_prefix("HugePages-").map(Quantity::parse) {
                Some(Ok(size)) => Ok(Self::HugePages(size.value())),
                _ => Err(format!("unknown storage medium \"{medium}\"")),
            },
        }
    }
}

/// The bytes that a volume may take, if it says so.
pub fn size_limit(source: &EmptyDirVolumeSource) -> Result<Option<i64>, String> {
    let limit = source.size_limit.as_ref().map(|limit| Quantity::parse(&limit.0).map(Quantity::value));
    let limit = limit.transpose().map_err(|err| format!("invalid sizeLimit: {err}"))?;
    Ok(limit.filter(|limit| *limit > 0))
}

/// The one size of huge pages that the pod's containers ask for.
fn only_page_size(pod: &Pod) -> Result<i64, String> {
    let names: BTreeSet<String> = resources::pod_requests(pod).into_keys().collect();
    let mut sizes = names.iter().filter_map(|name| Quantity::parse(name.strip_prefix("hugepages-")?).ok());
    match (sizes.next(), sizes.next()) {
        (Some(size), None) => Ok(size.value()),
        (None, _) => Err(format!("medium HugePages is used by pod {}, which asks for no huge pages", spec::name(pod))),
        (Some(_), Some(_)) => {
            Err("medium HugePages can only be used if one size of huge pages is asked for".to_owned())
        }
    }
}

/// Makes the directory, unless that was done; an error is a message for the user.
pub fn bring(dir: &Path, medium: &Medium, fs_group: Option<i64>, ready: &Ready) -> Result<(), String> {
    let is_there = match medium {
        Medium::Disk => Ok(dir.is_dir()),
        Medium::Memory(_) | Medium::HugePages(_) => is_mount_point(dir),
    };
    if ready.is_set() && is_there.map_err(|err| format!("cannot look at {}: {err}", dir.display()))? {
        return Ok(());
    }
    ready.clear()?;
    fs::create_dir_all(dir).map_err(|err| format!("cannot create {}: {err}", dir.display()))?;
    match medium {
        Medium::Disk => {}
        Medium::Memory(size) => mount_tmpfs(dir, *size)?,
        Medium::HugePages(size) => mount_huge_pages(dir, *size)?,
    }
    // Whoever the containers run as may write here.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))
        .map_err(|err| format!("cannot open {}: {err}", dir.display()))?;
    if let Some(group) = fs_group {
        ownership::apply(dir, Ownership { group, read_only: false, on_root_mismatch: false })
            .map_err(|err| format!("cannot set the owner of {}: {err}", dir.display()))?;
    }
    ready.set()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
    use testkit::pod;

    use super::*;

    #[track_caller]
    fn check(requests: &[(&str, &str)], medium: &str, limit: Option<&str>, expected: Result<Medium, &str>) {
        let source = EmptyDirVolumeSource {
            medium: Some(medium.to_owned()),
            size_limit: limit.map(|limit| ApiQuantity(limit.to_owned())),
        };
        let pod = pod("web").requests(requests).with(|pod| {
            let container = &mut pod.spec.as_mut().expect("a specification").containers[0];
            let resources = container.resources.as_mut().expect("resources");
            resources.limits.clone_from(&resources.requests);
        });
        let allocatable = Amounts::from([("memory".to_owned(), 1 << 30)]);
        let found = Medium::of(&pod.build(), &source, &allocatable);
        match expected {
            Ok(medium) => assert_eq!(found, Ok(medium)),
            Err(part) => assert!(found.as_ref().is_err_and(|err| err.contains(part)), "{found:?}"),
        }
    }

    #[test]
    fn a_volume_in_memory_is_as_large_as_volume_pod_and_node_allow() {
        check(&[], "", Some("1Mi"), Ok(Medium::Disk));
        check(&[], "Memory", None, Ok(Medium::Memory(Some(1 << 30))));
        check(&[], "Memory", Some("2Gi"), Ok(Medium::Memory(Some(1 << 30))));
        check(&[("memory", "1Mi")], "Memory", None, Ok(Medium::Memory(Some(1 << 20))));
        check(&[("memory", "1Mi")], "Memory", Some("512Ki"), Ok(Medium::Memory(Some(1 << 19))));
        check(&[], "Memory", Some("0"), Ok(Medium::Memory(Some(1 << 30))));
        check(&[], "Tape", None, Err("unknown storage medium \"Tape\""));
    }

    #[test]
    fn huge_pages_have_the_size_that_is_named_or_the_only_one() {
        check(&[], "HugePages-2Mi", None, Ok(Medium::HugePages(2 << 20)));
        check(&[("hugepages-1Gi", "1Gi")], "HugePages", None, Ok(Medium::HugePages(1 << 30)));
        check(&[], "HugePages", None, Err("asks for no huge pages"));
        check(&[("hugepages-1Gi", "1Gi"), ("hugepages-2Mi", "2Mi")], "HugePages", None, Err("one size"));
    }

    #[track_caller]
    fn check_finished(half_made: impl FnOnce(&Path), medium: &Medium) {
        let top = tempfile::tempdir().expect("a directory");
        let (dir, ready) = (top.path().join("volumes/v"), Ready::at(top.path().join("plugins/v")));
        fs::create_dir_all(&dir).expect("made");
        half_made(&dir);
        let attributes = || fs::metadata(&dir).map(|metadata| (metadata.mode() & 0o7777, metadata.gid()));
        let outcome = bring(&dir, medium, Some(4321), &ready);
        let made = attributes();
        // What the pod makes of it afterwards is its own.
        let changed = fs::set_permissions(&dir, fs::Permissions::from_mode(0o700));
        let again = bring(&dir, medium, Some(4321), &ready);
        let kept = attributes();
        super::super::table::detach(&dir).expect("unmounted");
        changed.expect("changed");
        assert_eq!((outcome, again), (Ok(()), Ok(())));
        assert_eq!((made.expect("there"), kept.expect("there")), ((0o2777, 4321), (0o700, 4321)));
    }

    #[test]
    fn what_an_ended_kubelet_left_half_made_is_finished() {
        check_finished(|_| {}, &Medium::Disk);
        check_finished(|_| {}, &Medium::Memory(Some(1 << 20)));
        let mounted = |dir: &Path| mount_tmpfs(dir, None).expect("mounted");
        check_finished(mounted, &Medium::Memory(Some(1 << 20)));
    }
}
