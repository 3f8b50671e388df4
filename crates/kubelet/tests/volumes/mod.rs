//! Volumes of a CSI driver and of claims, with real sockets and real mounts.

mod expansion;
mod groups;
mod identity;
mod interrupted;
mod iscsi;
mod nfs;
mod selinux;
mod tokens;

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, VolumeAttachment};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use skiff_kubelet::Config;
use testkit::{Maker, pod};

use super::Stage;
use super::fake_csi::{ALL, DRIVER, FakeDriver, is_block, mounted};

impl Stage {
    fn driver(&self, capabilities: &[i32]) -> FakeDriver {
        FakeDriver::start(&self.kubelet_dir(), &self.dir.path().join("disks"), capabilities)
    }

    /// Makes an object of the cluster, or of the pods' namespace.
    pub(super) async fn make<K>(&self, object: Value)
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let object: K = serde_json::from_value(object).expect("an object");
        let url = match object.meta().namespace.as_deref() {
            None => K::url_path(&(), None),
            namespace => K::url_path(&(), namespace),
        };
        let body = serde_json::to_vec(&object).expect("text");
        let request = http::Request::post(url).body(body).expect("a request");
        self.client.request::<Value>(request).await.expect("created");
    }

    async fn csi_driver(&self, spec: Value) {
        self.make::<CSIDriver>(json!({"metadata": {"name": DRIVER}, "spec": spec})).await;
    }

    /// A claim `c` that is bound to a volume `pv`, of which `source` says what it is.
    async fn claim(&self, mode: &str, source: Value) {
        let mut spec = json!({
            "capacity": {"storage": "1Gi"}, "accessModes": [mode],
            "claimRef": {"namespace": "default", "name": "c", "uid": "uid-c"},
        });
        spec.as_object_mut().expect("an object").extend(source.as_object().expect("an object").clone());
        self.make::<PersistentVolume>(json!({"metadata": {"name": "pv"}, "spec": spec})).await;
        self.make::<PersistentVolumeClaim>(json!({
            "metadata": {"name": "c", "namespace": "default", "uid": "uid-c"},
            "spec": {"volumeName": "pv", "accessModes": [mode]},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
        }))
        .await;
    }

    async fn until_calls(&self, driver: &FakeDriver, expected: &[&str]) {
        self.until(&format!("{expected:?}"), async || (driver.calls() == expected).then_some(())).await;
    }

    /// Deletes a pod and waits until nothing is left of it on the node.
    async fn remove(&self, name: &str) {
        self.delete(name).await;
        let dir = self.kubelet_dir().join("pods").join(format!("uid-{name}"));
        self.until("removal", async || (!dir.exists()).then_some(())).await;
    }

    pub(super) async fn events_say(&self, part: &str) {
        let events: Api<k8s_openapi::api::core::v1::Event> = Api::namespaced(self.client.clone(), "default");
        let said = async || {
            let events = events.list(&Default::default()).await.expect("a list");
            events
                .items
                .iter()
                .any(|event| event.message.as_deref().is_some_and(|text| text.contains(part)))
                .then_some(())
        };
        self.until(part, said).await;
    }
}

/// A pod of the fake image with a volume `v` at `/v`.
fn with_volume(name: &str, source: Value) -> Maker<Pod> {
    let mut volume = source;
    volume["name"] = json!("v");
    pod(name).container("a", "image:1").with(|pod| {
        let spec = pod.spec.as_mut().expect("a specification");
        spec.volumes = Some(vec![serde_json::from_value(volume).expect("a volume")]);
        let mount = json!([{"name": "v", "mountPath": "/v"}]);
        spec.containers[0].volume_mounts = serde_json::from_value(mount).expect("a mount");
    })
}

fn claimed(name: &str) -> Maker<Pod> {
    with_volume(name, json!({"persistentVolumeClaim": {"claimName": "c"}}))
}

fn source() -> Value {
    json!({"csi": {"driver": DRIVER, "volumeHandle": "v1", "fsType": "ext4", "volumeAttributes": {"a": "b"}}})
}

#[tokio::test]
async fn a_driver_is_on_the_node_from_its_registration_until_its_socket_is_gone() {
    let stage = Stage::new(&[]).await;
    let driver = stage.driver(&ALL);
    let csi_nodes: Api<CSINode> = Api::all(stage.client.clone());
    let drivers = async || csi_nodes.get_opt("n1").await.expect("answered").map(|node| node.spec.drivers);
    let registered = async || drivers().await.filter(|drivers| !drivers.is_empty());
    let found = stage.until("a driver", registered).await.remove(0);
    assert_eq!((found.name.as_str(), found.node_id.as_str()), (DRIVER, "node-one"));
    assert_eq!(found.topology_keys, Some(vec!["topology.fake.example.com/rack".to_owned()]));
    assert_eq!(found.allocatable.expect("a limit").count, Some(7));
    let told = stage.until("an answer", async || driver.told()).await;
    assert!(told.plugin_registered && told.error.is_empty(), "{told:?}");
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let metadata = nodes.get("n1").await.expect("a node").metadata;
    let ids = &metadata.annotations.expect("annotations")["csi.volume.kubernetes.io/nodeid"];
    assert_eq!(serde_json::from_str::<Value>(ids).expect("JSON"), json!({DRIVER: "node-one"}));
    assert_eq!(metadata.labels.expect("labels")["topology.fake.example.com/rack"], "r1");
    driver.leave();
    stage.until("its end", async || drivers().await.filter(Vec::is_empty)).await;
}

#[tokio::test]
async fn a_node_that_is_full_of_volumes_refuses_more_and_asks_again_how_many_it_can_have() {
    let patience = |config: &mut Config| config.csi.attach_patience = Duration::from_secs(1);
    let stage = Stage::with(&["image:1"], patience).await;
    let driver = stage.driver(&ALL);
    let csi_nodes: Api<CSINode> = Api::all(stage.client.clone());
    let count = async || {
        let node = csi_nodes.get_opt("n1").await.expect("answered")?;
        node.spec.drivers.first()?.allocatable.as_ref()?.count
    };
    let until_count = async |expected: i32| {
        stage.until(&format!("{expected}"), async || count().await.filter(|count| *count == expected)).await
    };
    until_count(7).await;
    // Because an attachment has failed for want of room.
    driver.make_room(1);
    stage.csi_driver(json!({"attachRequired": true, "nodeAllocatableUpdatePeriodSeconds": 3600})).await;
    stage.claim("ReadWriteOnce", source()).await;
    stage
        .make::<VolumeAttachment>(json!({
            "metadata": {"name": attachment("v1")},
            "spec": {"attacher": DRIVER, "nodeName": "n1", "source": {"persistentVolumeName": "pv"}},
            "status": {"attached": false, "attachError": {"message": "too many", "errorCode": 8}},
        }))
        .await;
    let attached = json!({"status": {"volumesAttached": [
        {"name": format!("kubernetes.io/csi/{DRIVER}^v1"), "devicePath": ""},
    ]}});
    let nodes: Api<Node> = Api::all(stage.client.clone());
    nodes.patch_status("n1", &PatchParams::default(), &Patch::Merge(attached)).await.expect("patched");
    stage.create(claimed("web")).await;
    stage.events_say("failed: too many").await;
    until_count(8).await;
    let status = stage.until_phase("web", "Failed").await;
    assert_eq!(status.reason.as_deref(), Some("VolumeAttachmentLimitExceeded"));
    let message = "Pod was rejected: Node has reached its volume attachment limit, rejecting pod. \
                   unmounted volumes=[v], unattached volumes=[v], failed to process volumes=[]: ";
    assert!(status.message.as_ref().is_some_and(|text| text.starts_with(message)), "{:?}", status.message);
    // Because its object says so.
    driver.make_room(2);
    let drivers: Api<CSIDriver> = Api::all(stage.client.clone());
    let often = json!({"spec": {"nodeAllocatableUpdatePeriodSeconds": 1}});
    drivers.patch(DRIVER, &PatchParams::default(), &Patch::Merge(often)).await.expect("patched");
    until_count(9).await;
}

#[tokio::test]
async fn a_claimed_volume_is_attached_staged_published_and_taken_back() {
    let stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": true, "podInfoOnMount": true})).await;
    stage.claim("ReadWriteOnce", source()).await;
    let driver = stage.driver(&ALL);
    let maker = claimed("web").with(|pod| {
        let security = &mut pod.spec.as_mut().expect("a specification").security_context;
        security.get_or_insert_default().fs_group = Some(4321);
    });
    stage.create(maker).await;
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let in_use = async || nodes.get("n1").await.expect("a node").status.and_then(|status| status.volumes_in_use);
    let unique = format!("kubernetes.io/csi/{DRIVER}^v1");
    stage.until("use", async || in_use().await.filter(|list| *list == [unique.clone()])).await;
    assert_eq!(driver.calls(), [""; 0], "nothing is mounted before it is attached");

    let pods = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~csi");
    stage
        .make::<VolumeAttachment>(json!({
            "metadata": {"name": attachment("v1")},
            "spec": {"attacher": DRIVER, "nodeName": "n1", "source": {"persistentVolumeName": "pv"}},
            "status": {"attached": true, "attachmentMetadata": {"disk": "xvdb"}},
        }))
        .await;
    let attached = json!({"status": {"volumesAttached": [{"name": unique, "devicePath": ""}]}});
    nodes.patch_status("n1", &PatchParams::default(), &Patch::Merge(attached)).await.expect("patched");
    stage.until_phase("web", "Running").await;
    assert_eq!(driver.calls(), ["NodeStageVolume v1", "NodePublishVolume v1"]);
    let staged = driver.staged().expect("staged");
    assert_eq!((staged.publish_context["disk"].as_str(), staged.volume_context["a"].as_str()), ("xvdb", "b"));
    let published = driver.published().expect("published");
    assert_eq!(published.staging_target_path, staged.staging_target_path);
    assert_eq!(published.volume_context["csi.storage.k8s.io/pod.name"], "web");
    assert_eq!(published.volume_context["csi.storage.k8s.io/ephemeral"], "false");
    let mode = published.volume_capability.as_ref().and_then(|capability| capability.access_mode);
    assert_eq!(mounted(published.volume_capability).fs_type, "ext4");
    assert_eq!(mode.expect("a mode").mode, 1);
    let mount = stage.runtime.config("a").expect("made").mounts.into_iter().find(|mount| mount.container_path == "/v");
    let mount = mount.expect("mounted");
    assert_eq!(mount.host_path, pods.join("pv/mount").display().to_string());
    let metadata = std::fs::metadata(&mount.host_path).expect("there");
    assert_eq!(
        (std::os::unix::fs::MetadataExt::gid(&metadata), std::os::unix::fs::MetadataExt::mode(&metadata) & 0o2070),
        (4321, 0o2070)
    );
    std::fs::write(std::path::Path::new(&mount.host_path).join("file"), "precious").expect("written");
    let (_, summary) = stage.get("/stats/summary", "operators").await;
    let summary: Value = serde_json::from_str(&summary).expect("JSON");
    let volume = &summary["pods"][0]["volume"][0];
    assert_eq!((&volume["name"], &volume["pvcRef"]["name"]), (&json!("v"), &json!("c")), "{summary}");
    let figures = ["capacityBytes", "usedBytes", "availableBytes", "inodesUsed"].map(|name| volume[name].as_u64());
    assert_eq!(figures, [Some(100), Some(40), Some(60), Some(40)], "{summary}");

    stage.remove("web").await;
    let all = ["NodeStageVolume v1", "NodePublishVolume v1", "NodeUnpublishVolume v1", "NodeUnstageVolume v1"];
    stage.until_calls(&driver, &all).await;
    stage.until("release", async || in_use().await.filter(Vec::is_empty)).await;
    let kept = std::fs::read_to_string(stage.dir.path().join("disks/v1/file"));
    assert_eq!(kept.expect("the volume's data stay"), "precious");
    assert!(!std::path::Path::new(&staged.staging_target_path).exists());
}

/// The name that upstream gives the attachment of a volume of the fake driver to the test's node.
fn attachment(handle: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{handle}{DRIVER}n1"));
    digest.iter().fold("csi-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

#[tokio::test]
async fn a_volume_is_staged_once_for_two_pods_and_taken_back_by_the_next_kubelet() {
    let mut stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false})).await;
    stage.claim("ReadWriteMany", source()).await;
    let driver = stage.driver(&ALL);
    stage.create(claimed("one")).await;
    stage.until_phase("one", "Running").await;
    stage.create(claimed("two")).await;
    stage.until_phase("two", "Running").await;
    stage.remove("one").await;
    let so_far = ["NodeStageVolume v1", "NodePublishVolume v1", "NodeStageVolume v1", "NodePublishVolume v1"];
    let mut expected = so_far.to_vec();
    expected.push("NodeUnpublishVolume v1");
    stage.until_calls(&driver, &expected).await;

    // What runs on is left alone by another kubelet; what is gone meanwhile is taken back by it.
    stage.stop().await;
    stage.start();
    stage.create(pod("later").container("b", "image:1")).await;
    stage.until_phase("later", "Running").await;
    assert_eq!(driver.calls(), expected);
    stage.stop().await;
    stage.pods().delete("two", &DeleteParams::default()).await.expect("deleted");
    stage.start();
    expected.extend(["NodeUnpublishVolume v1", "NodeUnstageVolume v1"]);
    stage.until_calls(&driver, &expected).await;
    let gone = stage.kubelet_dir().join("pods/uid-two");
    stage.until("removal", async || (!gone.exists()).then_some(())).await;
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a table");
    assert!(!table.contains(&stage.kubelet_dir().join("pods/uid-two").display().to_string()), "{table}");
}

#[tokio::test]
async fn a_volume_that_cannot_be_taken_back_stays_with_its_data() {
    let stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false})).await;
    stage.claim("ReadWriteOnce", source()).await;
    let driver = stage.driver(&ALL);
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
    let file = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~csi/pv/mount/file");
    std::fs::write(&file, "precious").expect("written");
    driver.fail(Some("NodeUnpublishVolume"));
    stage.delete("web").await;
    let asked =
        async || (driver.calls().iter().filter(|call| *call == "NodeUnpublishVolume v1").count() > 1).then_some(());
    stage.until("attempts", asked).await;
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), "precious");
    driver.fail(None);
    let dir = stage.kubelet_dir().join("pods/uid-web");
    stage.until("removal", async || (!dir.exists()).then_some(())).await;
    let kept = std::fs::read_to_string(stage.dir.path().join("disks/v1/file"));
    assert_eq!(kept.expect("the volume's data stay"), "precious");
}

#[tokio::test]
async fn a_volume_is_made_for_a_pod_with_what_its_driver_wants_to_know() {
    let stage = Stage::new(&["image:1"]).await;
    let secret = json!({"metadata": {"name": "key", "namespace": "default"}, "data": {"user": "bWU="}});
    stage.make::<Secret>(secret).await;
    let inline = json!({"csi": {"driver": DRIVER, "readOnly": true, "nodePublishSecretRef": {"name": "key"}}});
    stage.create(with_volume("web", inline)).await;
    let unsupported = format!("volume mode \"Ephemeral\" not supported by driver {DRIVER}");
    stage.events_say(&format!("{unsupported} (no CSIDriver object)")).await;
    let modes = json!({"volumeLifecycleModes": ["Ephemeral"], "podInfoOnMount": true});
    stage.csi_driver(modes).await;
    stage.events_say("not found in the list of registered CSI drivers").await;
    let driver = stage.driver(&ALL);
    stage.until_phase("web", "Running").await;
    assert_eq!(driver.calls().len(), 1, "what is made for a pod is not staged: {:?}", driver.calls());
    let published = driver.published().expect("published");
    assert!(published.readonly && published.volume_id.starts_with("csi-"), "{published:?}");
    let config = stage.runtime.config("a").expect("made");
    let mount = config.mounts.iter().find(|mount| mount.container_path == "/v").expect("mounted");
    assert!(mount.readonly, "{mount:?}");
    assert_eq!(published.secrets["user"], "me");
    assert_eq!(published.volume_context["csi.storage.k8s.io/ephemeral"], "true");
    assert_eq!(published.volume_context["csi.storage.k8s.io/pod.uid"], "uid-web");
    stage.remove("web").await;
    assert!(driver.calls()[1].starts_with("NodeUnpublishVolume csi-"), "{:?}", driver.calls());
}

#[tokio::test]
async fn a_volume_can_be_a_device_of_a_container() {
    let stage = Stage::new(&["image:1"]).await;
    stage.csi_driver(json!({"attachRequired": false})).await;
    let mut block = source();
    block["volumeMode"] = json!("Block");
    stage.claim("ReadWriteOnce", block).await;
    let driver = stage.driver(&ALL);
    stage.create(claimed("wrong")).await;
    stage.events_say("volume v has volumeMode Block, but is specified in volumeMounts").await;
    let maker = claimed("web").with(|pod| {
        let container = &mut pod.spec.as_mut().expect("a specification").containers[0];
        container.volume_mounts = None;
        let devices = json!([{"name": "v", "devicePath": "/dev/disk"}]);
        container.volume_devices = serde_json::from_value(devices).expect("devices");
    });
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    let config = stage.runtime.config("a").expect("made");
    let device = config.devices.first().expect("a device");
    let target = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~csi/pv/dev");
    assert_eq!((device.container_path.as_str(), device.permissions.as_str()), ("/dev/disk", "mrw"));
    assert_eq!(device.host_path, target.display().to_string());
    assert!(is_block(driver.published().and_then(|request| request.volume_capability).as_ref()));
    stage.remove("web").await;
    assert!(!target.exists());
}

#[tokio::test]
async fn claims_are_waited_for_and_led_to_directories_of_the_node() {
    let stage = Stage::new(&["image:1"]).await;
    let disk = stage.dir.path().join("disk");
    std::fs::create_dir(&disk).expect("made");
    std::fs::write(disk.join("file"), "precious").expect("written");
    stage.create(claimed("web")).await;
    stage.events_say("error processing PVC default/c: failed to fetch PVC from API server").await;
    stage.claim("ReadWriteOncePod", json!({"local": {"path": disk}})).await;
    stage.until_phase("web", "Running").await;
    let target = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~local-volume/pv");
    assert_eq!(std::fs::read_to_string(target.join("file")).expect("bound"), "precious");
    stage.create(claimed("second")).await;
    stage.events_say("ReadWriteOncePod access mode and is already in use by another pod").await;
    stage.remove("web").await;
    stage.until_phase("second", "Running").await;
    stage.remove("second").await;
    assert_eq!(std::fs::read_to_string(disk.join("file")).expect("kept"), "precious");
}

#[tokio::test]
async fn a_volume_has_a_place_for_what_is_mounted_in_it_and_goes_on_being_kept_up_to_date() {
    let stage = Stage::new(&["image:1"]).await;
    let map = json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"key": "1"}});
    stage.make::<ConfigMap>(map).await;
    let maker = with_volume("web", json!({"configMap": {"name": "conf"}})).with(|pod| {
        let spec = pod.spec.as_mut().expect("a specification");
        let cache = serde_json::from_value(json!({"name": "cache", "emptyDir": {}})).expect("a volume");
        spec.volumes.as_mut().expect("volumes").push(cache);
        let mounts = json!([
            {"name": "v", "mountPath": "/v"}, {"name": "cache", "mountPath": "/v/cache"},
            {"name": "v", "mountPath": "/other", "subPath": "missing"},
        ]);
        spec.containers[0].volume_mounts = serde_json::from_value(mounts).expect("mounts");
    });
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    let volume = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~configmap/v");
    assert!(volume.join("cache").is_dir());
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "default");
    let changed = Patch::Merge(json!({"data": {"key": "2"}}));
    maps.patch("conf", &PatchParams::default(), &changed).await.expect("patched");
    let read = async || std::fs::read_to_string(volume.join("key")).ok().filter(|text| text == "2");
    stage.until("the change", read).await;
    assert!(volume.join("cache").is_dir());
}

#[tokio::test]
async fn a_claim_for_one_pod_is_not_held_by_a_volume_that_is_only_called_like_it() {
    let stage = Stage::new(&["image:1"]).await;
    let disk = stage.dir.path().join("disk");
    std::fs::create_dir(&disk).expect("made");
    stage.claim("ReadWriteOncePod", json!({"local": {"path": disk}})).await;
    let other = pod("other").container("b", "image:1").with(|pod| {
        let volumes = json!([{"name": "pv", "emptyDir": {}}]);
        pod.spec.as_mut().expect("a specification").volumes = serde_json::from_value(volumes).expect("volumes");
    });
    stage.create(other).await;
    stage.until_phase("other", "Running").await;
    stage.create(claimed("web")).await;
    stage.until_phase("web", "Running").await;
}

#[tokio::test]
async fn a_container_is_not_started_with_a_path_of_which_a_variable_is_missing() {
    let stage = Stage::new(&["image:1"]).await;
    let maker = with_volume("web", json!({"emptyDir": {}})).with(|pod| {
        let mount = json!([{"name": "v", "mountPath": "/v", "subPathExpr": "$(NONE)"}]);
        let container = &mut pod.spec.as_mut().expect("a specification").containers[0];
        container.volume_mounts = serde_json::from_value(mount).expect("a mount");
    });
    stage.create(maker).await;
    assert_eq!(stage.until_waiting("web", "CreateContainerConfigError").await, "missing value for NONE");
}

#[tokio::test]
async fn an_image_is_pulled_and_handed_to_the_runtime_as_a_volume() {
    let stage = Stage::new(&["image:1"]).await;
    stage
        .create(with_volume("web", json!({"image": {"reference": "data:1"}})).with(|pod| {
            let mount = json!([{"name": "v", "mountPath": "/v", "subPath": "sub"}]);
            let container = &mut pod.spec.as_mut().expect("a specification").containers[0];
            container.volume_mounts = serde_json::from_value(mount).expect("a mount");
        }))
        .await;
    let message = stage.until_waiting("web", "ErrImagePull").await;
    assert!(message.starts_with("failed to get image volumes: ") && message.contains("data:1"), "{message}");
    stage.runtime.add_image("data:1");
    stage.until_phase("web", "Running").await;
    let config = stage.runtime.config("a").expect("made");
    let mount = config.mounts.iter().find(|mount| mount.container_path == "/v").expect("mounted");
    assert_eq!((mount.host_path.as_str(), mount.image_sub_path.as_str(), mount.readonly), ("", "sub", true));
    let image = mount.image.as_ref().expect("an image");
    let id = stage.runtime.profile().image_id("data:1");
    assert_eq!((image.image.as_str(), image.user_specified_image.as_str()), (id.as_str(), "data:1"));
}

#[tokio::test]
async fn a_pod_that_fills_its_volume_beyond_the_limit_is_evicted() {
    let stage = Stage::new(&["image:1"]).await;
    stage.create(with_volume("web", json!({"emptyDir": {"sizeLimit": "64Ki"}}))).await;
    stage.until_phase("web", "Running").await;
    let dir = stage.kubelet_dir().join("pods/uid-web/volumes/kubernetes.io~empty-dir/v");
    std::fs::write(dir.join("file"), vec![1; 100_000]).expect("written");
    let status = stage.until_phase("web", "Failed").await;
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    let message = status.message.expect("a message");
    assert_eq!(message, "Usage of EmptyDir volume \"v\" exceeds the limit \"64Ki\". ");
    stage.events_say("exceeds the limit").await;
    stage.until("removal of volumes", async || (!dir.exists()).then_some(())).await;
    let stopped = stage.runtime.calls().into_iter().any(|call| call.starts_with("StopContainer a "));
    assert!(stopped, "{:?}", stage.runtime.calls());
}
