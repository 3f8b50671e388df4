//! A disk of an iSCSI target, over open-iscsi.

use std::fs;
use std::process::Command;

use serde_json::json;
use skiff_e2e::Machines;

use crate::{Host, SOON, command, mounting};

const IQN: &str = "iqn.2026-12.local.skiff:disk";
const FILE: &str = "/var/lib/e2e-disk";

pub fn a_pod_has_the_disk_of_a_target(host: &Host) {
    command("truncate", &["-s", "64M", FILE]);
    command("systemctl", &["restart", "tgt", "iscsid"]);
    let tgtadm = |arguments: &str| {
        let words: Vec<&str> = arguments.split(' ').collect();
        command("tgtadm", &[&["--lld", "iscsi"], &words[..]].concat());
    };
    tgtadm(&format!("--op new --mode target --tid 1 -T {IQN}"));
    tgtadm(&format!("--op new --mode logicalunit --tid 1 --lun 1 -b {FILE}"));
    tgtadm("--op bind --mode target --tid 1 -I ALL");

    let portal = format!("{}:3260", Machines::FIRST_IP);
    let disk = json!({"targetPortal": portal, "iqn": IQN, "lun": 1, "fsType": "ext4"});
    // The disk is empty, so it gets a filesystem with the first pod, which the second finds.
    for (name, line) in [("first", "echo kept > /data/file; cat /data/file"), ("second", "cat /data/file")] {
        host.run(&mounting(name, "iscsi", &disk));
        assert_eq!(host.read(name, line), "kept");
        let mount = host.read(name, "grep \" /data \" /proc/mounts");
        assert!(mount.starts_with("/dev/sd") && mount.contains(" ext4 "), "{mount}");
        assert!(has_session());
        host.delete(name);
        // A disk is left after the pod's last volume of it, which is when the pod is gone.
        testkit::until(SOON, "the end of the session", || (!has_session()).then_some(()));
    }
    command("systemctl", &["stop", "tgt"]);
    fs::remove_file(FILE).expect("removed");
}

fn has_session() -> bool {
    let sessions = Command::new("iscsiadm").args(["-m", "session"]).output().expect("the guest has it");
    String::from_utf8_lossy(&sessions.stdout).contains(IQN)
}
