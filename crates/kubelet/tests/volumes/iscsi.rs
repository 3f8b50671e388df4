//! Disks behind iSCSI: what is asked of `iscsiadm`, and what becomes of the disk on the node. The program is a stand-in
//! that writes down how it was called and lets a loop device be the disk: no kernel of a test machine needs to have iSCSI.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Secret};
use serde_json::{Value, json};

use super::super::Stage;
use super::{claimed, with_volume};

/// A target with one disk, and the program that reaches it.
struct Target {
    iqn: String,
    device: PathBuf,
    log: PathBuf,
}

fn sh(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("it is installed");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Target {
    fn new(stage: &Stage) -> Self {
        let dir = stage.dir.path();
        let name = dir.file_name().expect("a name").to_string_lossy().replace('.', "-").to_lowercase();
        let iqn = format!("iqn.2026-01.com.example:{name}");
        let disk = dir.join("disk.img");
        std::fs::File::create(&disk).expect("made").set_len(16 << 20).expect("grown");
        let device = PathBuf::from(sh("losetup", &["--find", "--show", &disk.to_string_lossy()]));
        let log = dir.join("iscsiadm.log");
        let script = format!(
            r#"#!/bin/sh
echo "$*" >> {log}
case "$*" in
  *"-m iface"*"-o show"*) echo "iface.iscsi_ifacename = default"; echo "iface.transport_name = tcp" ;;
  *10.9.9.9*--discover*) echo "cannot connect to 10.9.9.9"; exit 4 ;;
  *--login*) mkdir -p /dev/disk/by-path; ln -sfn {device} "/dev/disk/by-path/ip-$4-iscsi-{iqn}-lun-3" ;;
  *--logout*) rm -f "/dev/disk/by-path/ip-$4-iscsi-{iqn}-lun-3" ;;
esac
"#,
            log = log.display(),
            device = device.display(),
        );
        let program = dir.join("programs/iscsiadm");
        std::fs::create_dir_all(program.parent().expect("a directory")).expect("made");
        std::fs::write(&program, script).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        Self { iqn, device, log }
    }

    fn source(&self) -> Value {
        json!({"iscsi": {"targetPortal": "10.0.0.1", "iqn": self.iqn, "lun": 3, "fsType": "ext4"}})
    }

    /// How the program was called since this was asked last.
    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let _ = std::fs::remove_file(&self.log);
        text.lines().map(|line| line.replace(&self.iqn, "IQN")).collect()
    }

    fn link(&self, portal: &str) -> PathBuf {
        PathBuf::from(format!("/dev/disk/by-path/ip-{portal}-iscsi-{}-lun-3", self.iqn))
    }

    fn dir(&self, stage: &Stage, parent: &str) -> PathBuf {
        let name = format!("iface-default/10.0.0.1:3260-{}-lun-3", self.iqn);
        stage.kubelet_dir().join("plugins/kubernetes.io/iscsi").join(parent).join(name)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.link("10.0.0.1:3260"));
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

fn is_mounted(dir: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("read");
    table.lines().any(|line| line.split(' ').nth(4) == dir.to_str())
}

const LOGIN: [&str; 5] = [
    "-m iface -I default -o show",
    "-m discoverydb -t sendtargets -p 10.0.0.1:3260 -I default -o new",
    "-m discoverydb -t sendtargets -p 10.0.0.1:3260 -I default --discover",
    "-m node -p 10.0.0.1:3260 -T IQN -I default --login",
    "-m node -p 10.0.0.1:3260 -T IQN -I default -o update -n node.startup -v manual",
];

const LOGOUT: [&str; 2] =
    ["-m node -p 10.0.0.1:3260 -T IQN -I default --logout", "-m node -p 10.0.0.1:3260 -T IQN -I default -o delete"];

#[tokio::test]
async fn a_disk_is_on_the_node_from_its_first_pod_to_its_last_one_over_restarts() {
    let mut stage = Stage::new(&["image:1"]).await;
    let target = Target::new(&stage);
    let with_group = with_volume("web", target.source()).with(|pod| {
        let security = &mut pod.spec.as_mut().expect("a specification").security_context;
        security.get_or_insert_default().fs_group = Some(4321);
    });
    stage.create(with_group).await;
    stage.until_phase("web", "Running").await;
    assert_eq!(target.calls(), LOGIN);
    let global = target.dir(&stage, "");
    let bound = |pod: &str| stage.dir.path().join(format!("data/kubelet/pods/uid-{pod}/volumes/kubernetes.io~iscsi/v"));
    assert!(is_mounted(&global) && is_mounted(&bound("web")));
    std::fs::write(bound("web").join("file"), "kept").expect("written");
    let mode = std::fs::metadata(bound("web")).expect("there");
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&mode), 4321);
    let mut reading = target.source();
    reading["iscsi"]["readOnly"] = json!(true);
    stage.create(with_volume("api", reading)).await;
    stage.until_phase("api", "Running").await;
    assert_eq!(target.calls(), [""; 0], "the session is shared");
    assert_eq!(std::fs::read_to_string(bound("api").join("file")).expect("read"), "kept");
    let refused = std::fs::write(bound("api").join("file"), "other").expect_err("read-only");
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    stage.stop().await;
    stage.start();
    stage.remove("web").await;
    assert!(is_mounted(&global) && target.calls().is_empty());
    stage.remove("api").await;
    assert_eq!(target.calls(), LOGOUT);
    assert!(!global.exists() && !target.link("10.0.0.1:3260").exists());
}

#[tokio::test]
async fn a_target_may_want_passwords_and_have_many_portals_of_which_one_is_enough() {
    let stage = Stage::new(&["image:1"]).await;
    let target = Target::new(&stage);
    let mut source = target.source();
    let more = json!({
        "portals": ["10.9.9.9:3260"], "chapAuthDiscovery": true, "chapAuthSession": true,
        "secretRef": {"name": "chap"}, "initiatorName": "iqn.2026-01.com.example:node",
    });
    source["iscsi"].as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    stage.create(with_volume("web", source)).await;
    stage.events_say("Couldn't get secret default/chap").await;
    stage
        .make::<Secret>(json!({
            "metadata": {"name": "chap", "namespace": "default"}, "type": "kubernetes.io/iscsi-chap",
            // user, pass
            "data": {
                "discovery.sendtargets.auth.username": "dXNlcg==", "discovery.sendtargets.auth.password": "cGFzcw==",
                "node.session.auth.username": "dXNlcg==", "node.session.auth.password": "cGFzcw==",
            },
        }))
        .await;
    stage.until_phase("web", "Running").await;
    let iface = "10.0.0.1:3260:v";
    let calls = target.calls();
    for call in [
        format!("-m iface -I {iface} -o new"),
        format!("-m iface -I {iface} -o update -n iface.initiatorname -v iqn.2026-01.com.example:node"),
        format!("-m iface -I {iface} -o update -n iface.transport_name -v tcp"),
        format!(
            "-m discoverydb -t sendtargets -p 10.0.0.1:3260 -I {iface} -o update -n discovery.sendtargets.auth.authmethod -v CHAP"
        ),
        format!(
            "-m discoverydb -t sendtargets -p 10.0.0.1:3260 -I {iface} -o update -n discovery.sendtargets.auth.password -v pass"
        ),
        format!("-m node -p 10.0.0.1:3260 -T IQN -I {iface} -o update -n node.session.auth.authmethod -v CHAP"),
        format!("-m node -p 10.0.0.1:3260 -T IQN -I {iface} -o update -n node.session.auth.username -v user"),
        format!("-m node -p 10.0.0.1:3260 -T IQN -I {iface} --login"),
        format!("-m discoverydb -t sendtargets -p 10.9.9.9:3260 -I {iface} -o delete"),
    ] {
        assert!(calls.contains(&call), "{call}: {calls:#?}");
    }
    stage.remove("web").await;
    let calls = target.calls();
    assert_eq!(calls.last().map(String::as_str), Some(format!("-m iface -I {iface} -o delete").as_str()), "{calls:#?}");
}

#[tokio::test]
async fn a_target_that_is_not_reached_is_named_and_nothing_is_left_of_it() {
    let stage = Stage::new(&["image:1"]).await;
    let target = Target::new(&stage);
    let mut source = target.source();
    source["iscsi"]["targetPortal"] = json!("10.9.9.9");
    stage.create(with_volume("web", source)).await;
    stage.events_say("failed to sendtargets to portal 10.9.9.9:3260 output: cannot connect to 10.9.9.9").await;
    stage.remove("web").await;
    let left = std::fs::read_dir(stage.kubelet_dir().join("plugins/kubernetes.io/iscsi")).expect("made").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_claimed_disk_can_be_a_device() {
    let stage = Stage::new(&["image:1"]).await;
    let target = Target::new(&stage);
    let spec = json!({
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
        "claimRef": {"namespace": "default", "name": "c", "uid": "uid-c"}, "iscsi": target.source()["iscsi"],
    });
    stage.make::<PersistentVolume>(json!({"metadata": {"name": "pv"}, "spec": spec})).await;
    stage
        .make::<PersistentVolumeClaim>(json!({
            "metadata": {"name": "c", "namespace": "default", "uid": "uid-c"},
            "spec": {"volumeName": "pv", "accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"},
        }))
        .await;
    let maker = claimed("web").with(|pod| {
        let container = &mut pod.spec.as_mut().expect("a specification").containers[0];
        container.volume_mounts = None;
        let devices = json!([{"name": "v", "devicePath": "/dev/disk"}]);
        container.volume_devices = serde_json::from_value(devices).expect("devices");
    });
    stage.create(maker).await;
    stage.until_phase("web", "Running").await;
    let config = stage.runtime.config("a").expect("made");
    assert_eq!(config.devices[0].host_path, target.device.display().to_string());
    let dir = target.dir(&stage, "volumeDevices");
    assert!(dir.join("uid-web").is_symlink() && dir.join("iscsi.json").exists());
    target.calls();
    stage.remove("web").await;
    assert_eq!(target.calls(), LOGOUT);
    assert!(!dir.exists());
}
