//! Volumes on a machine whose kernel has SELinux: labelled by their mount or file by file.

use serde_json::json;
use skiff_kubelet::Config;

use super::super::Stage;
use super::super::fake_csi::{ALL, mounted};
use super::{claimed, source};

/// Lets a kubelet find a kernel with SELinux.
fn with_selinux(config: &mut Config) {
    config.machine_root = config.kubelet_dir().join("machine");
    let dir = config.machine_root.join("sys/fs/selinux");
    std::fs::create_dir_all(&dir).expect("made");
    std::fs::write(dir.join("enforce"), "1").expect("written");
}

/// What a driver is asked for and the runtime told, for a volume that one pod may have.
async fn check(policy: &str, flags: &[&str], relabel: bool) {
    let stage = Stage::with(&["image:1"], with_selinux).await;
    stage.csi_driver(json!({"attachRequired": false, "seLinuxMount": true})).await;
    stage.claim("ReadWriteOncePod", source()).await;
    let driver = stage.driver(&ALL);
    let maker = claimed("web").with(|pod| {
        let security = pod.spec.get_or_insert_default().security_context.get_or_insert_default();
        security.se_linux_options.get_or_insert_default().level = Some("s0:c1,c2".to_owned());
        security.se_linux_change_policy = Some(policy.to_owned());
    });
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    let capabilities =
        [driver.staged().expect("staged").volume_capability, driver.published().expect("published").volume_capability];
    for capability in capabilities {
        assert_eq!(mounted(capability).mount_flags, flags, "{policy}");
    }
    let config = stage.runtime.config("a").expect("made");
    let relabels =
        |path: &str| config.mounts.iter().find(|mount| mount.container_path == path).map(|mount| mount.selinux_relabel);
    assert_eq!((relabels("/v"), relabels("/etc/hosts")), (Some(relabel), Some(true)), "{policy}");
}

#[tokio::test]
async fn a_volume_of_one_pod_is_labelled_by_its_mount_unless_the_pod_wants_it_otherwise() {
    check("MountOption", &["context=\"system_u:object_r:container_file_t:s0:c1,c2\""], false).await;
    check("Recursive", &[], true).await;
}
