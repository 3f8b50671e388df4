//! Kubelets that end in the middle of bringing or taking volumes, and pods that are gone when the next one starts.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testkit::Maker;

use super::super::Stage;
use super::super::fake_csi::{ALL, FakeDriver};
use super::{claimed, source};

/// A pod with the claimed volume, one in memory, and files that are in memory.
fn with_mounts() -> Maker<Pod> {
    claimed("web").with(|pod| {
        let spec = pod.spec.as_mut().expect("a specification");
        let items = json!([{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]);
        let further = json!([
            {"name": "memory", "emptyDir": {"medium": "Memory"}},
            {"name": "files", "downwardAPI": {"items": items}},
        ]);
        let further: Vec<_> = serde_json::from_value(further).expect("volumes");
        spec.volumes.get_or_insert_default().splice(..0, further);
    })
}

/// What is mounted below the kubelet's directory.
fn mounts(stage: &Stage) -> Vec<String> {
    let dir = stage.kubelet_dir().display().to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a table");
    table.lines().filter(|line| line.contains(&dir)).map(str::to_owned).collect()
}

/// A kubelet is stopped when the driver fails at `failing`, and the pod is gone when the next one starts: nothing stays.
async fn check(failing: &'static str, is_deleted_before: bool, calls: &[&str]) {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false})).await;
    stage.claim("ReadWriteOnce", source()).await;
    let driver = stage.driver(&ALL);
    if is_deleted_before {
        stage.create(with_mounts()).await;
        stage.until_phase("web", "Running").await;
        driver.fail(Some(failing));
        stage.delete("web").await;
    } else {
        driver.fail(Some(failing));
        stage.create(with_mounts()).await;
    }
    let failed = format!("{failing} v1");
    stage.until(&failed, async || driver.calls().contains(&failed).then_some(())).await;
    stage.stop().await;
    assert!(!mounts(&stage).is_empty(), "nothing was mounted");
    stage.pods().delete("web", &DeleteParams::default()).await.expect("deleted");
    driver.fail(None);
    let before = driver.calls().len();
    stage.start();
    stage.until("no mounts", async || mounts(&stage).is_empty().then_some(())).await;
    let gone = stage.kubelet_dir().join("pods/uid-web");
    stage.until("removal", async || (!gone.exists()).then_some(())).await;
    assert_eq!(since(&driver, before), calls, "{failing}");
}

fn since(driver: &FakeDriver, count: usize) -> Vec<String> {
    driver.calls().split_off(count)
}

#[tokio::test]
async fn what_was_half_brought_or_half_taken_goes_with_the_next_kubelet() {
    let both = ["NodeUnpublishVolume v1", "NodeUnstageVolume v1"];
    check("NodePublishVolume", false, &both).await;
    check("NodeUnpublishVolume", true, &both).await;
    check("NodeUnstageVolume", true, &both[1..]).await;
}

/// A kubelet is ended between the mount of a volume and its group: the next one gives it to the group.
async fn check_group(mode: &str, volume: Value, place: &str) {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false})).await;
    let disk = stage.dir.path().join("disk");
    std::fs::create_dir(&disk).expect("made");
    let volume = if volume.is_null() { json!({"local": {"path": disk}}) } else { volume };
    stage.claim(mode, volume).await;
    let _driver = stage.driver(&ALL);
    let with_group = claimed("web").with(|pod| {
        let security = &mut pod.spec.as_mut().expect("a specification").security_context;
        security.get_or_insert_default().fs_group = Some(4321);
    });
    stage.create(with_group).await;
    stage.until_phase("web", "Running").await;
    stage.stop().await;
    let pod = stage.kubelet_dir().join("pods/uid-web");
    let place = pod.join("volumes").join(place);
    std::fs::remove_dir_all(pod.join("plugins")).expect("the kubelet's marks");
    chown(&place, None, Some(0)).expect("taken back");
    stage.start();
    let group = async || std::fs::metadata(&place).ok().filter(|metadata| metadata.gid() == 4321);
    stage.until("the group", group).await;
}

#[tokio::test]
async fn a_volume_that_was_mounted_and_no_more_is_given_to_its_group_by_the_next_kubelet() {
    check_group("ReadWriteOnce", source(), "kubernetes.io~csi/pv/mount").await;
    check_group("ReadWriteOnce", Value::Null, "kubernetes.io~local-volume/pv").await;
}

/// A driver with a pod that has a volume of it, the kubelet being stopped.
async fn stopped() -> (Stage, FakeDriver) {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false})).await;
    stage.claim("ReadWriteOnce", source()).await;
    let driver = stage.driver(&ALL);
    stage.create(with_mounts()).await;
    stage.until_phase("web", "Running").await;
    stage.stop().await;
    (stage, driver)
}

#[tokio::test]
async fn a_volume_whose_driver_is_gone_waits_for_it_with_its_data() {
    let (mut stage, driver) = stopped().await;
    driver.leave();
    stage.pods().delete("web", &DeleteParams::default()).await.expect("deleted");
    stage.start();
    let pod = stage.kubelet_dir().join("pods/uid-web");
    // What needs no driver goes: the mounts of containers, which are the first.
    let asked = async || stage.runtime.calls().contains(&"StopPodSandbox".to_owned()).then_some(());
    stage.until("the end of the sandbox", asked).await;
    stage.pass(Duration::from_secs(6)).await;
    assert!(mounts(&stage).iter().any(|line| line.contains("uid-web/volumes/kubernetes.io~csi")));
    let driver = stage.driver(&ALL);
    stage.until("removal", async || (!pod.exists()).then_some(())).await;
    assert_eq!(driver.calls(), ["NodeUnpublishVolume v1", "NodeUnstageVolume v1"]);
    assert!(stage.dir.path().join("disks/v1").is_dir(), "the volume stays");
}

/// Empties what is written down of a volume below a directory, as a machine that loses its power may.
fn damage(dir: &Path) -> usize {
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        if entry.file_name() == "vol_data.json" {
            std::fs::write(entry.path(), "").expect("written");
            damaged += 1;
        } else if entry.file_type().expect("known").is_dir() {
            damaged += damage(&entry.path());
        }
    }
    damaged
}

/// A pod is gone when the next kubelet starts, and so are some of the records of its volume.
async fn check_damaged(places: &[&str], calls: &[&str]) {
    let (mut stage, driver) = stopped().await;
    for place in places {
        assert_eq!(damage(&stage.kubelet_dir().join(place)), 1, "{place}");
    }
    stage.pods().delete("web", &DeleteParams::default()).await.expect("deleted");
    let before = driver.calls().len();
    stage.start();
    let gone = stage.kubelet_dir().join("pods/uid-web");
    stage.until("removal", async || (!gone.exists()).then_some(())).await;
    assert_eq!(since(&driver, before), calls, "{places:?}");
    assert!(mounts(&stage).iter().all(|line| !line.contains("uid-web")), "{:?}", mounts(&stage));
    assert!(stage.dir.path().join("disks/v1").is_dir(), "the volume stays");
}

#[tokio::test]
async fn a_volume_is_taken_back_although_what_was_written_down_of_it_is_damaged() {
    let both = ["NodeUnpublishVolume v1", "NodeUnstageVolume v1"];
    check_damaged(&["pods"], &both).await;
    check_damaged(&["plugins/kubernetes.io/csi"], &both).await;
    // Nobody knows any more whose it is.
    check_damaged(&["pods", "plugins/kubernetes.io/csi"], &[]).await;
}

#[tokio::test]
async fn what_is_written_down_of_a_volume_is_written_anew_where_it_is_damaged() {
    let (mut stage, driver) = stopped().await;
    assert_eq!(damage(&stage.kubelet_dir().join("pods")), 1);
    stage.start();
    let file = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~csi/pv/vol_data.json");
    let read = async || serde_json::from_slice::<Value>(&std::fs::read(&file).ok()?).ok();
    let record = stage.until("a record", read).await;
    assert_eq!((&record["volumeHandle"], &record["specVolID"]), (&json!("v1"), &json!("pv")));
    stage.remove("web").await;
    assert_eq!(driver.calls().last().map(String::as_str), Some("NodeUnstageVolume v1"));
}
