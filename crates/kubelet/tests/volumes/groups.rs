//! Who gives the volume of a driver to the pod's group: by `fsGroupPolicy`, the kubelet, nobody, or the driver itself.

use std::os::unix::fs::MetadataExt;

use serde_json::json;

use super::super::Stage;
use super::super::fake_csi::{ALL, mounted};
use super::{claimed, source};

/// What drivers can that give volumes to groups themselves.
const MOUNTS_FOR_GROUP: i32 = 6;

/// The group that a volume belongs to afterwards, and the one that the driver was told.
async fn check(policy: Option<&str>, fs_type: &str, mode: &str, capabilities: &[i32], expected: (bool, &str)) {
    let stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false, "fsGroupPolicy": policy})).await;
    let mut volume = source();
    volume["csi"]["fsType"] = json!(fs_type);
    stage.claim(mode, volume).await;
    let driver = stage.driver(capabilities);
    let maker = claimed("web").with(|pod| {
        let security = &mut pod.spec.as_mut().expect("a specification").security_context;
        security.get_or_insert_default().fs_group = Some(4321);
    });
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    let place = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~csi/pv/mount");
    let is_given = std::fs::metadata(place).expect("mounted").gid() == 4321;
    let told = mounted(driver.published().expect("published").volume_capability).volume_mount_group;
    assert_eq!((is_given, told.as_str()), expected, "{policy:?} {fs_type:?} {mode} {capabilities:?}");
}

#[tokio::test]
async fn the_drivers_policy_says_whether_a_volume_is_given_to_the_group() {
    check(None, "ext4", "ReadWriteOnce", &ALL, (true, "")).await;
    check(Some("ReadWriteOnceWithFSType"), "ext4", "ReadWriteOnce", &ALL, (true, "")).await;
    check(Some("ReadWriteOnceWithFSType"), "", "ReadWriteOnce", &ALL, (false, "")).await;
    check(Some("ReadWriteOnceWithFSType"), "ext4", "ReadWriteMany", &ALL, (false, "")).await;
    check(Some("File"), "", "ReadWriteMany", &ALL, (true, "")).await;
    check(Some("None"), "ext4", "ReadWriteOnce", &ALL, (false, "")).await;
}

#[tokio::test]
async fn a_driver_that_can_gives_its_volume_to_the_group_itself() {
    check(Some("File"), "ext4", "ReadWriteOnce", &[1, 2, 3, MOUNTS_FOR_GROUP], (false, "4321")).await;
}
