//! Mounts.

use std::fs;
use std::path::Path;

use bollard::models::{Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountType};
use cri::{MountPropagation, Status};

/// Mounts in Docker's two forms: the older one is the only one that can have files labelled anew.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Mounts {
    pub mounts: Vec<Mount>,
    pub binds: Vec<String>,
}

/// What Docker is asked to mount; directories of the machine that are missing are made.
pub(super) fn mounts(mounts: &[cri::Mount], has_selinux: bool) -> Result<Mounts, Status> {
    let mut all = Mounts::default();
    for mount in mounts {
        if mount.image.is_some() {
            return Err(Status::invalid_argument("this adapter mounts no images into Docker's containers"));
        }
        if mount.recursive_read_only {
            return Err(Status::invalid_argument("Docker Engine is not asked for recursive read-only mounts"));
        }
        if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
            return Err(Status::invalid_argument("Docker Engine has no mounts with mapped owners"));
        }
        let source = Path::new(&mount.host_path);
        if !source.exists() {
            fs::create_dir_all(source)
                .map_err(|err| Status::internal(format!("cannot make {}: {err}", mount.host_path)))?;
        }
        if mount.selinux_relabel && has_selinux {
            all.binds.push(relabelled(mount));
        } else {
            all.mounts.push(bind(mount));
        }
    }
    Ok(all)
}

fn bind(mount: &cri::Mount) -> Mount {
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => MountBindOptionsPropagationEnum::RPRIVATE,
        MountPropagation::PropagationHostToContainer => MountBindOptionsPropagationEnum::RSLAVE,
        MountPropagation::PropagationBidirectional => MountBindOptionsPropagationEnum::RSHARED,
    };
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.host_path.clone()),
        target: Some(mount.container_path.clone()),
        read_only: Some(mount.readonly),
        bind_options: Some(MountBindOptions { propagation: Some(propagation), ..MountBindOptions::default() }),
        ..Mount::default()
    }
}

fn relabelled(mount: &cri::Mount) -> String {
    let propagation = match mount.propagation() {
        MountPropagation::PropagationPrivate => "rprivate",
        MountPropagation::PropagationHostToContainer => "rslave",
        MountPropagation::PropagationBidirectional => "rshared",
    };
    let access = if mount.readonly { "ro" } else { "rw" };
    format!("{}:{}:{access},Z,{propagation}", mount.host_path, mount.container_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(change: impl FnOnce(&mut cri::Mount)) -> cri::Mount {
        let mut mount =
            cri::Mount { host_path: "/".to_owned(), container_path: "/data".to_owned(), ..Default::default() };
        change(&mut mount);
        mount
    }

    #[test]
    fn mounts_propagate_as_they_are_told() {
        let shared = mount(|mount| mount.set_propagation(MountPropagation::PropagationBidirectional));
        let found = mounts(&[shared], false).expect("can be mounted");
        let options = found.mounts[0].bind_options.clone().expect("options");
        assert_eq!(options.propagation, Some(MountBindOptionsPropagationEnum::RSHARED));
        assert_eq!((&found.mounts[0].read_only, found.binds.len()), (&Some(false), 0));
    }

    #[test]
    fn labels_are_written_anew_where_there_are_any() {
        let wanted = mount(|mount| (mount.selinux_relabel, mount.readonly) = (true, true));
        assert_eq!(mounts(std::slice::from_ref(&wanted), true).expect("can be").binds, ["/:/data:ro,Z,rprivate"]);
        assert_eq!(mounts(&[wanted], false).expect("can be").mounts.len(), 1);
    }

    #[test]
    fn what_docker_cannot_do_is_refused() {
        assert!(mounts(&[mount(|mount| mount.recursive_read_only = true)], false).is_err());
        assert!(mounts(&[mount(|mount| mount.image = Some(Default::default()))], false).is_err());
    }
}
