//! Pods that take memory without end. All pods together have little, so that the machine is not in need.

use serde_json::{Value, json};
use skiff_e2e::Kubectl;

use crate::guests::Guest;
use crate::{is_storm, phase};

/// What all pods may have together, in MiB.
fn for_pods() -> u64 {
    // Ten thousand processes take a gigabyte.
    if is_storm() { 1600 } else { 400 }
}

/// What the system has to keep so that this is left for pods, in Ki.
pub fn all_but_for_pods() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").expect("there is a /proc");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("it says how much there is");
    let total: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    total - (for_pods() << 10)
}

pub fn all() -> Vec<Guest> {
    vec![limited(), eater(), hoarder()]
}

#[track_caller]
fn is_killed_for_memory(kubectl: &Kubectl, name: &str) {
    phase(kubectl, name, "Failed");
    let pod = kubectl.json(&["get", "pod", name]);
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{pod:#}");
}

fn limit(spec: &mut Value) {
    spec["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
}

/// Takes more than it may have.
fn limited() -> Guest {
    let watch = |_: &_, kubectl: &Kubectl| is_killed_for_memory(kubectl, "limited");
    Guest::new("limited", "exec tail -c 100000000 /dev/zero", watch).with(limit)
}

/// Asks for nothing, has no limit of its own, and takes more than there is for all pods.
fn eater() -> Guest {
    let script = format!("exec tail -c {} /dev/zero", (for_pods() << 20) + (200 << 20));
    Guest::new("eater", &script, |_, kubectl| is_killed_for_memory(kubectl, "eater"))
}

/// Puts into a volume in memory what it may not have itself.
fn hoarder() -> Guest {
    let script = "exec head -c 100000000 /dev/zero > /volume/file";
    let guest = Guest::new("hoarder", script, |_, kubectl| phase(kubectl, "hoarder", "Failed"));
    guest.with(limit).with(|spec| {
        spec["volumes"] = json!([{"name": "volume", "emptyDir": {"medium": "Memory"}}]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "volume", "mountPath": "/volume"}]);
    })
}
