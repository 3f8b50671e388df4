//! Devices of a plugin, as a container sees them.

use std::fs;
use std::path::PathBuf;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use plugin_api::device_plugin::{CdiDevice, ContainerAllocateResponse, DeviceSpec, Mount};
use serde_json::json;
use tempfile::TempDir;
use testkit::{DevicePlugin, device};

use crate::{SOON, Stage, pod_of};

const RESOURCE: &str = "e2e.skiff.local/thing";
/// One whose only device is near to a node that the machine does not have.
const FAR: &str = "e2e.skiff.local/far";
const LIMITS: &str = "resources: {limits: {memory: 16Mi, e2e.skiff.local/thing: 1}}";

/// A file of the Container Device Interface. Dropping it removes it.
pub struct CdiFile(PathBuf);

impl CdiFile {
    /// Describes a device that sets a variable and has a node like `/dev/zero`.
    pub fn write(kind: &str, device: &str, variable: &str, node: &str) -> Self {
        let dir = PathBuf::from("/var/run/cdi");
        fs::create_dir_all(&dir).expect("made");
        let file = dir.join(format!("{}-{device}-{}.json", kind.replace('/', "-"), std::process::id()));
        let edits = json!({
            "env": [variable],
            "deviceNodes": [{"path": node, "hostPath": "/dev/zero", "type": "c", "major": 1, "minor": 5, "permissions": "r"}],
        });
        let devices = json!([{"name": device, "containerEdits": edits}]);
        let text = json!({"cdiVersion": "0.6.0", "kind": kind, "devices": devices}).to_string();
        fs::write(&file, text).expect("written");
        Self(file)
    }
}

impl Drop for CdiFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The plugin, and what it gives.
pub struct Devices {
    plugin: Option<DevicePlugin>,
    far: Option<DevicePlugin>,
    dir: TempDir,
    _cdi: CdiFile,
    /// The device of the pod `equipped`.
    given: String,
}

impl Devices {
    pub fn start(stage: &Stage) -> Self {
        let dir = TempDir::with_prefix("skiff-e2e-thing-").expect("a temporary directory");
        fs::write(dir.path().join("library"), "of the vendor").expect("written");
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&dir.path().join("node"), SFlag::S_IFCHR, mode, makedev(1, 5)).expect("root may make devices");
        let cdi = CdiFile::write("e2e.skiff.local/extra", "all", "EXTRA=cdi", "/dev/extra");
        let mut devices = Self { plugin: None, far: None, dir, _cdi: cdi, given: String::new() };
        devices.begin(stage);
        let far =
            plugin_api::device_plugin::TopologyInfo { nodes: vec![plugin_api::device_plugin::NumaNode { id: 63 }] };
        let far = plugin_api::device_plugin::Device { topology: Some(far), ..device("away", "Healthy") };
        let _inside = stage.runtime.enter();
        let mut plugin =
            DevicePlugin::start(&stage.kubelet_dir(), FAR, &[far], |_| ContainerAllocateResponse::default());
        stage.runtime.block_on(plugin.register());
        devices.far = Some(plugin);
        devices
    }

    /// Starts the plugin, in place of one before.
    fn begin(&mut self, stage: &Stage) {
        let dir = self.dir.path().to_owned();
        let path = move |name: &str| dir.join(name).to_string_lossy().into_owned();
        let answer = move |ids: &[String]| ContainerAllocateResponse {
            envs: [("THINGS".to_owned(), ids.join(","))].into(),
            mounts: vec![Mount { container_path: "/vendor".to_owned(), host_path: path(""), read_only: true }],
            devices: vec![DeviceSpec {
                container_path: "/dev/thing".to_owned(),
                host_path: path("node"),
                permissions: "rw".to_owned(),
            }],
            annotations: [("e2e.skiff.local/things".to_owned(), ids.join(","))].into(),
            cdi_devices: vec![CdiDevice { name: "e2e.skiff.local/extra=all".to_owned() }],
        };
        let _inside = stage.runtime.enter();
        let offered = [device("one", "Healthy"), device("two", "Healthy")];
        let mut plugin = DevicePlugin::start(&stage.kubelet_dir(), RESOURCE, &offered, answer);
        stage.runtime.block_on(plugin.register());
        self.plugin = Some(plugin);
        stage.until_shown(RESOURCE, "2 2");
    }

    pub fn are_seen_by_a_container(&mut self, stage: &Stage) {
        stage.run("equipped", LIMITS, "");
        self.given = stage.shell("equipped", "echo $THINGS");
        assert!(["one", "two"].contains(&self.given.as_str()), "{}", self.given);
        check(stage, "equipped");
        let socket = stage.cluster.run_dir().join("cri.sock");
        let annotations = stage.runtime.block_on(async {
            let (mut runtime, _) = cri::connect(&socket).await.expect("the runtime serves");
            let listed = runtime.list_containers(cri::ListContainersRequest::default()).await.expect("a list");
            listed.into_inner().containers.into_iter().map(|container| container.annotations)
        });
        let name = "e2e.skiff.local/things";
        let given: Vec<String> = annotations.filter_map(|mut annotations| annotations.remove(name)).collect();
        assert_eq!(given, std::slice::from_ref(&self.given));
        self.told(stage);
    }

    fn told(&self, stage: &Stage) {
        let told = stage.watcher().container("equipped").devices;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].resource_name.as_str(), &told[0].device_ids), (RESOURCE, &vec![self.given.clone()]));
    }

    pub fn far_from_the_memory_are_refused(&self, stage: &Stage) {
        stage.until_shown(FAR, "1 1");
        stage.kubectl.apply(&pod_of("torn", &LIMITS.replace(RESOURCE, FAR).replace("memory", "cpu: 100m, memory"), ""));
        let reason = "{.status.phase} {.status.reason}: {.status.message}";
        let expected =
            "Failed TopologyAffinityError: Pod was rejected: Resources cannot be allocated with Topology locality";
        stage.kubectl.wait(&["pod", "torn"], reason, SOON, |shown| shown == expected);
        stage.delete("torn");
    }

    /// Registers with the kubelet that has started anew.
    pub fn come_back(&mut self, stage: &Stage) {
        let _inside = stage.runtime.enter();
        for plugin in [&mut self.plugin, &mut self.far].into_iter().flatten() {
            stage.runtime.block_on(plugin.register());
        }
        stage.until_shown(RESOURCE, "2 2");
    }

    pub fn are_still_given(&mut self, stage: &Stage) {
        self.told(stage);
        // A plugin that is started anew changes nothing of that: the next pod gets the other device.
        self.plugin = None;
        stage.until_shown(RESOURCE, "2 0");
        self.begin(stage);
        self.told(stage);
        stage.run("next", LIMITS, "");
        let other = if self.given == "one" { "two" } else { "one" };
        assert_eq!(stage.shell("next", "echo $THINGS"), other);
        check(stage, "next");
        stage.delete("next");
    }

    pub fn that_are_ill_are_not_offered(&self, stage: &Stage) {
        let plugin = self.plugin.as_ref().expect("it runs");
        plugin.list(&[device("one", "Unhealthy"), device("two", "Unhealthy")]);
        stage.until_shown(RESOURCE, "2 0");
        let told = stage.watcher().allocatable().devices;
        assert!(!told.iter().any(|device| device.resource_name == RESOURCE), "{told:?}");
        stage.delete("equipped");
    }
}

/// Looks at all that the container was given with its device.
#[track_caller]
fn check(stage: &Stage, pod: &str) {
    let zeros = "AAAA";
    assert_eq!(stage.shell(pod, "head -c 3 /dev/thing | base64"), zeros);
    assert_eq!(stage.shell(pod, "echo x >/dev/thing && cat /vendor/library"), "of the vendor");
    assert_eq!(stage.shell(pod, "echo y 2>/dev/null >/vendor/new || echo refused"), "refused");
    assert_eq!(stage.shell(pod, "echo $EXTRA && head -c 3 /dev/extra | base64"), format!("cdi\n{zeros}"));
}
