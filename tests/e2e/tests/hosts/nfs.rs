//! Volumes of a server of NFS, the kernel's own.

use std::fs;

use serde_json::json;
use skiff_e2e::Machines;

use crate::{Host, SOON, command, mounting};

const EXPORT: &str = "/srv/e2e";

pub fn pods_share_what_a_server_has(host: &Host) {
    fs::create_dir_all(EXPORT).expect("a directory");
    fs::write("/etc/exports", format!("{EXPORT} *(rw,no_root_squash,no_subtree_check,insecure)\n")).expect("written");
    command("systemctl", &["restart", "nfs-server"]);
    command("exportfs", &["-ra"]);

    host.run(&mounting("writes", "nfs", &json!({"server": Machines::FIRST_IP, "path": EXPORT})));
    host.run(&mounting("reads", "nfs", &json!({"server": Machines::FIRST_IP, "path": EXPORT, "readOnly": true})));
    host.read("writes", "echo shared > /data/file");
    assert_eq!(host.read("reads", "cat /data/file"), "shared");
    assert_eq!(fs::read_to_string(format!("{EXPORT}/file")).expect("the server has it"), "shared\n");
    let (said, code) = host.shell("reads", "echo no > /data/file");
    assert!(code != 0 && said.contains("ead-only"), "{code}: {said}");

    host.kubectl
        .apply(&mounting("lost", "nfs", &json!({"server": Machines::FIRST_IP, "path": "/srv/nowhere"})).to_string());
    let failed = ["events", "--field-selector=involvedObject.name=lost,reason=FailedMount"];
    host.kubectl.wait(&failed, "{.items[*].message}", SOON, |told| told.contains("/srv/nowhere"));

    for pod in ["writes", "reads", "lost"] {
        host.delete(pod);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the kernel tells");
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(EXPORT)).collect();
    assert!(left.is_empty(), "{left:#?}");
    command("systemctl", &["stop", "nfs-server"]);
}
