//! Volumes on machines with SELinux: whether a container's runtime is to label the files of one, or the whole of it is
//! mounted with one label.
//!
//! Upstream: <https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#efficient-selinux-volume-relabeling>.

use cri::SecurityModules;
use k8s_openapi::api::core::v1::{Container, Pod, SELinuxOptions};

use crate::pods::{selinux_options, spec};

/// The option with which a file system that one pod may have is mounted, instead of labelling its files one by one.
/// None where the pod wants it otherwise, has no level, or the machine no SELinux; `volume` is its name in the pod.
pub fn mount_option(modules: &SecurityModules, pod: &Pod, volume: &str) -> Result<Option<String>, String> {
    let context = spec::spec(pod).security_context.as_ref();
    if context.and_then(|context| context.se_linux_change_policy.as_deref()) == Some("Recursive") {
        return Ok(None);
    }
    let all = spec::all_containers(pod);
    let users = all.iter().filter(|container| mounts(container, volume));
    let mut label: Option<String> = None;
    for options in users.filter_map(|container| options(pod, container)) {
        let has_level = options.level.as_deref().is_some_and(|level| !level.is_empty());
        let Some(labels) = modules.labels(&selinux_options(options)).filter(|_| has_level) else { return Ok(None) };
        match label.replace(labels.files) {
            Some(other) if Some(&other) != label.as_ref() => {
                let label = label.unwrap_or_default();
                return Err(format!(
                    "volume {volume} is used with two different SELinux contexts in the same pod: {other:?}, {label:?}"
                ));
            }
            _ => {}
        }
    }
    // Levels have commas in them.
    Ok(label.map(|label| format!("context=\"{label}\"")))
}

fn mounts(container: &Container, volume: &str) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.name == volume)
}

/// What a container asks for: its own, or the pod's.
fn options<'a>(pod: &'a Pod, container: &'a Container) -> Option<&'a SELinuxOptions> {
    let own = container.security_context.as_ref().and_then(|context| context.se_linux_options.as_ref());
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|context| context.se_linux_options.as_ref());
    own.or(of_pod)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::VolumeMount;
    use testkit::pod;

    use super::*;

    /// What is found for a pod with one level of its own and those of two containers that have the volume.
    #[track_caller]
    fn check(levels: [Option<&str>; 3], policy: Option<&str>, has_selinux: bool, expected: Result<Option<&str>, &str>) {
        let [of_pod, first, second] = levels.map(|level| {
            level.map(|level| SELinuxOptions { level: Some(level.to_owned()), ..SELinuxOptions::default() })
        });
        let maker = pod("web").container("a", "i").container("b", "i").with(|pod| {
            let spec = pod.spec.get_or_insert_default();
            let context = spec.security_context.get_or_insert_default();
            (context.se_linux_options, context.se_linux_change_policy) = (of_pod, policy.map(str::to_owned));
            for (container, options) in spec.containers.iter_mut().zip([first, second]) {
                container.security_context.get_or_insert_default().se_linux_options = options;
                let mount = VolumeMount { name: "v".to_owned(), ..VolumeMount::default() };
                container.volume_mounts = Some(vec![mount]);
            }
        });
        let root = tempfile::tempdir().expect("a directory");
        if has_selinux {
            std::fs::create_dir_all(root.path().join("sys/fs/selinux/enforce")).expect("made");
        }
        let found = mount_option(&SecurityModules::below(root.path()), &maker.build(), "v");
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), expected);
    }

    #[test]
    fn a_volume_is_mounted_with_the_label_of_all_who_have_it() {
        let option = "context=\"system_u:object_r:container_file_t:s0:c1,c2\"";
        let level = Some("s0:c1,c2");
        check([level, None, None], None, true, Ok(Some(option)));
        check([None, level, level], Some("MountOption"), true, Ok(Some(option)));
        check([level, None, None], Some("Recursive"), true, Ok(None));
        check([level, None, None], None, false, Ok(None));
        check([None, None, None], None, true, Ok(None));
        check([Some(""), None, None], None, true, Ok(None));
        let two = "volume v is used with two different SELinux contexts in the same pod: \
                   \"system_u:object_r:container_file_t:s0:c1,c2\", \"system_u:object_r:container_file_t:s1\"";
        check([level, None, Some("s1")], None, true, Err(two));
    }
}
