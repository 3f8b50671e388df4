//! Kubelets that end in the middle of bringing or taking volumes, and pods that are gone when the next one starts.

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;
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
