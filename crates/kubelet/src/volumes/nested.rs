//! Mounts of a container inside a volume whose files come from the API: their directories are made with the volume, because
//! nobody can make them in what is mounted read-only.

use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::pods::spec;

/// The directories below a volume on which the pod's containers mount something else, those within others left out.
pub fn mount_points(pod: &Pod, volume: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for container in spec::all_containers(pod) {
        let mounts = container.volume_mounts.iter().flatten();
        let mut all: Vec<PathBuf> = mounts.clone().map(|mount| clean(&mount.mount_path)).collect();
        // The outer ones first.
        all.sort();
        for own in mounts.filter(|mount| mount.name == volume).map(|mount| clean(&mount.mount_path)) {
            let mut outer: Vec<&Path> = Vec::new();
            for inner in all.iter().filter_map(|path| path.strip_prefix(&own).ok()) {
                if !inner.as_os_str().is_empty() && !outer.iter().any(|outer| inner.starts_with(outer)) {
                    outer.push(inner);
                }
            }
            found.extend(outer.into_iter().map(Path::to_owned));
        }
    }
    found
}

/// A path without what does not change where it leads.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::Prefix(_) => {}
            Component::RootDir | Component::Normal(_) => clean.push(part),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::VolumeMount;
    use testkit::pod;

    use super::*;

    #[track_caller]
    fn check(mounts: &[(&str, &str)], expected: &[&str]) {
        let pod = pod("web").container("a", "image:1").with(|pod| {
            let mount = |(name, path): &(&str, &str)| VolumeMount {
                name: (*name).to_owned(),
                mount_path: (*path).to_owned(),
                ..VolumeMount::default()
            };
            let container = &mut pod.spec.as_mut().expect("a specification").containers[0];
            container.volume_mounts = Some(mounts.iter().map(mount).collect());
        });
        let found = mount_points(&pod.build(), "v");
        assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{mounts:?}");
    }

    #[test]
    fn what_is_mounted_in_a_volume_has_its_directory_there() {
        check(&[("v", "/etc/conf"), ("w", "/var/conf")], &[]);
        check(&[("v", "/etc/conf"), ("w", "/etc/configuration")], &[]);
        check(&[("v", "/etc/conf"), ("w", "/etc/conf/sub/")], &["sub"]);
        check(&[("v", "/etc/conf/"), ("w", "/etc/./conf/x/../sub")], &["sub"]);
        check(&[("w", "/c/a/b/x"), ("u", "/c/a/b"), ("v", "/c"), ("t", "/c/d")], &["a/b", "d"]);
        check(&[("v", "/a"), ("v", "/b"), ("w", "/b/c")], &["c"]);
    }
}
