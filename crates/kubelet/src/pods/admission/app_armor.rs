//! Whether the node's kernel can confine a pod's containers by AppArmor as the pod wants it.

use cri::SecurityModules;
use k8s_openapi::api::core::v1::Pod;

use super::Refusal;
use crate::pods::spec;

/// Whether nobody asks for a profile, or the kernel has AppArmor. Which profiles it has, the runtime looks up.
pub fn check(pod: &Pod, modules: &SecurityModules) -> Result<(), Refusal> {
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|security| security.app_armor_profile.as_ref());
    let asks = spec::all_containers(pod).iter().any(|container| {
        let own = container.security_context.as_ref().and_then(|security| security.app_armor_profile.as_ref());
        own.or(of_pod).is_some_and(|profile| profile.type_ != "Unconfined")
    });
    if asks && !modules.has_app_armor() { Err(Refusal::AppArmor) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::AppArmorProfile;
    use testkit::pod;

    use super::*;

    #[track_caller]
    fn check_pod(of_pod: Option<&str>, own: Option<&str>, is_enabled: bool, is_let_in: bool) {
        let profile = |type_: Option<&str>| {
            type_.map(|type_| AppArmorProfile { type_: type_.to_owned(), ..AppArmorProfile::default() })
        };
        let pod = pod("web").container("a", "image").with(|pod| {
            let spec = pod.spec.as_mut().expect("there");
            spec.security_context.get_or_insert_default().app_armor_profile = profile(of_pod);
            spec.containers[0].security_context.get_or_insert_default().app_armor_profile = profile(own);
        });
        let root = tempfile::tempdir().expect("a directory");
        if is_enabled {
            std::fs::create_dir_all(root.path().join("sys/kernel/security/apparmor")).expect("made");
            let parameters = root.path().join("sys/module/apparmor/parameters");
            std::fs::create_dir_all(&parameters).expect("made");
            std::fs::write(parameters.join("enabled"), "Y\n").expect("written");
        }
        let refused = check(&pod.build(), &SecurityModules::below(root.path()));
        let refused = refused.map_err(|refusal| (refusal.reason().into_owned(), refusal.to_string()));
        let message = "Cannot enforce AppArmor: AppArmor is not enabled on the host";
        assert_eq!(refused, if is_let_in { Ok(()) } else { Err(("AppArmor".to_owned(), message.to_owned())) });
    }

    #[test]
    fn who_asks_for_a_profile_needs_a_kernel_that_has_them() {
        check_pod(None, None, false, true);
        check_pod(None, Some("RuntimeDefault"), true, true);
        check_pod(None, Some("RuntimeDefault"), false, false);
        check_pod(Some("Localhost"), None, false, false);
        check_pod(Some("Localhost"), Some("Unconfined"), false, true);
    }
}
