//! A node that runs short, with real containers: of disk, and of the memory that all pods may have together.

use std::fs;
use std::time::Duration;

use serde_json::json;
use skiff_e2e::{Cluster, Kubectl, Layout, SmallDisk, pod_of};

const SOON: Duration = Duration::from_secs(120);

/// What the system has to keep so that this is left for pods, in Ki.
fn all_but(left: i64) -> i64 {
    let text = fs::read_to_string("/proc/meminfo").expect("there is a /proc");
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("it says how much there is");
    line.trim().trim_end_matches(" kB").parse::<i64>().expect("a number") - left
}

#[test]
fn a_node_that_runs_short_ends_the_pod_that_took_most_and_comes_back() {
    let mut cluster = Cluster::prepare("short", Layout::OneProcess);
    cluster.mount_disk("root", 64);
    let root = cluster.disk("root").place().to_owned();
    let reserved = format!("memory={}Ki", all_but(400 << 10));
    cluster.start_prepared(&[
        ("--root-dir", &root.to_string_lossy()),
        ("--system-reserved", &reserved),
        ("--eviction-hard", "memory.available<100Mi,nodefs.available<50%"),
        ("--eviction-pressure-transition-period", "5s"),
    ]);
    cluster.build_hello("1");
    let kubectl = cluster.kubectl();
    disk_fills(&kubectl, cluster.disk("root"));
    memory_runs_out(&kubectl);
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

/// A pod that writes so many MiB into an emptyDir.
fn writer(name: &str, mebibytes: u32) -> String {
    let mut pod = pod_of(name, &format!("dd if=/dev/zero of=/v/file bs=1M count={mebibytes} && exec sleep 3600"));
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    pod["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    pod.to_string()
}

fn disk_fills(kubectl: &Kubectl, disk: &SmallDisk) {
    let taints = ["node", "first"];
    let keys = "{.spec.taints[*].key}";
    kubectl.apply(&writer("small", 4));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/small", "--timeout=120s"]);
    kubectl.apply(&writer("large", 40));
    evicted(kubectl, "large", "The node was low on resource: ephemeral-storage. Threshold quantity: 32Mi, available: ");
    // What no pod has taken cannot be had back from one.
    kubectl.run(&["delete", "pod/small", "--wait=true"]);
    disk.fill(20 << 20);
    kubectl.wait(&taints, keys, SOON, |keys| keys.contains("node.kubernetes.io/disk-pressure"));
    disk.clear();
    kubectl.wait(&taints, keys, SOON, |keys| !keys.contains("node.kubernetes.io/disk-pressure"));
    kubectl.apply(&writer("after", 1));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/after", "--timeout=120s"]);
}

/// A pod that asks for some MiB of memory and uses others.
fn eater(name: &str, asks: u32, eats: u32) -> String {
    let mut pod = pod_of(name, &format!("head -c {} /dev/zero | tail -n 1 | sleep 3600", eats << 20));
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"memory": format!("{asks}Mi")}});
    pod.to_string()
}

fn memory_runs_out(kubectl: &Kubectl) {
    kubectl.apply(&eater("modest", 100, 60));
    kubectl.run(&["wait", "--for=condition=Ready", "pod/modest", "--timeout=120s"]);
    // Beyond what is left before the node is short, within what the kernel allows.
    kubectl.apply(&eater("greedy", 10, 270));
    evicted(kubectl, "greedy", "The node was low on resource: memory. ");
    let message = kubectl.json(&["get", "pod", "greedy"])["status"]["message"].clone();
    let part = "request is 10Mi, has larger consumption of memory. ";
    assert!(message.as_str().is_some_and(|message| message.ends_with(part)), "{message}");
    assert_eq!(kubectl.json(&["get", "pod", "modest"])["status"]["phase"], "Running");
    kubectl.wait(&["node", "first"], "{.spec.taints[*].key}", SOON, |keys| !keys.contains("memory-pressure"));
}

#[track_caller]
fn evicted(kubectl: &Kubectl, pod: &str, message: &str) {
    kubectl.wait(&["pod", pod], "{.status.phase}", SOON, |phase| phase == "Failed");
    let status = &kubectl.json(&["get", "pod", pod])["status"];
    assert_eq!(status["reason"], "Evicted", "{status:#}");
    assert!(status["message"].as_str().is_some_and(|text| text.starts_with(message)), "{status:#}");
    let conditions = status["conditions"].as_array().expect("conditions");
    let disruption = conditions.iter().find(|condition| condition["type"] == "DisruptionTarget");
    assert_eq!(disruption.expect("it is there")["reason"], "TerminationByKubelet", "{status:#}");
    let of_pod = format!("involvedObject.name={pod},reason=Evicted");
    let told = kubectl.run(&["get", "events", "--field-selector", &of_pod, "-o", "jsonpath={.items[*].message}"]);
    assert!(told.contains(message), "{told}");
}
