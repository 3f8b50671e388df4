//! Disks that are full: whoever filled one, the runtime's own, and the kubelet's.

use serde_json::{Value, json};
use skiff_e2e::{Cluster, IMAGE, Kubectl, SmallDisk};

use crate::guests::Guest;
use crate::{SOON, events, phase, says};

/// What a full disk says.
const FULL: &str = "No space left on device";

/// A pod that stays, with these volumes at `/` and their names.
fn pod(name: &str, volumes: &Value) -> Value {
    let mounts = volumes.as_array().expect("a list").iter().map(|volume| {
        let name = volume["name"].as_str().expect("a name");
        json!({"name": name, "mountPath": format!("/{name}")})
    });
    let container = json!({
        "name": "main", "image": IMAGE, "volumeMounts": mounts.collect::<Vec<_>>(),
    });
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes});
    skiff_e2e::pod(name, &spec)
}

/// Fills a disk of the machine that it was given.
pub fn host_filler() -> Guest {
    let script = "busybox dd if=/dev/zero of=/volume/file bs=1M count=10; echo written; exec sleep 1000";
    let guest = Guest::new("host-filler", script, |_, kubectl| {
        says(kubectl, "host-filler", |line| line == "written");
        let said = kubectl.run(&["logs", "host-filler"]);
        assert!(said.contains(FULL), "{said}");
    });
    let place = |cluster: &Cluster| cluster.data_dir().join("small");
    guest.with_disk(
        move |cluster| SmallDisk::mount(&place(cluster), 4),
        |spec, disk| {
            spec["volumes"] = json!([{"name": "volume", "hostPath": {"path": disk.place()}}]);
            spec["containers"][0]["volumeMounts"] = json!([{"name": "volume", "mountPath": "/volume"}]);
        },
    )
}

/// Writes more into a volume than that may have.
pub fn begin_too_much(kubectl: &Kubectl) {
    let mut pod = pod("filler", &json!([{"name": "volume", "emptyDir": {"sizeLimit": "4Mi"}}]));
    let script = "head -c 12000000 /dev/zero > /volume/file; exec sleep 1000";
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
    kubectl.apply(&pod.to_string());
}

/// It has been ended for that.
pub fn end_too_much(kubectl: &Kubectl) {
    phase(kubectl, "filler", "Failed");
    let status = &kubectl.json(&["get", "pod", "filler"])["status"];
    let message = "Usage of EmptyDir volume \"volume\" exceeds the limit \"4Mi\". ";
    assert_eq!((&status["reason"], &status["message"]), (&json!("Evicted"), &json!(message)), "{status:#}");
    kubectl.run(&["delete", "pod", "filler", "--timeout=120s"]);
}

/// A pod for which the runtime has no room says so, and runs when there is.
pub fn of_the_runtime(cluster: &Cluster, kubectl: &Kubectl) {
    let disk = cluster.disk("runtime");
    disk.fill(0);
    kubectl.apply(&pod("no-room", &json!([])).to_string());
    events(kubectl, "no-room", |text| text.contains("Failed to create pod sandbox: ") && text.contains(FULL));
    disk.clear();
    phase(kubectl, "no-room", "Running");
    kubectl.run(&["delete", "pod", "no-room", "--timeout=120s"]);
}

/// A pod for whose volumes the kubelet has no room says so, and gets them whole when there is.
pub fn of_the_kubelet(cluster: &Cluster, kubectl: &Kubectl) {
    let disk = cluster.disk("kubelet");
    let text = "all of it ".repeat(20_000);
    let file = cluster.data_dir().join("large");
    std::fs::write(&file, &text).expect("written");
    let from = format!("--from-file=text={}", file.display());
    kubectl.run(&["create", "configmap", "large", &from]);
    let volumes = json!([{"name": "volume", "configMap": {"name": "large"}}, {"name": "empty", "emptyDir": {}}]);
    disk.fill(0);
    kubectl.apply(&pod("no-volume", &volumes).to_string());
    events(kubectl, "no-volume", |text| {
        text.contains("MountVolume.SetUp failed for volume \"volume\" : ") && text.contains(FULL)
    });
    // Nothing half written is left to keep it full.
    let half = || {
        let pods = std::fs::read_dir(disk.place().join("pods")).expect("listed").flatten();
        let volumes = pods.map(|pod| pod.path().join("volumes/kubernetes.io~configmap/volume"));
        let sets = volumes.flat_map(|volume| std::fs::read_dir(volume).into_iter().flatten().flatten());
        sets.map(|set| set.path()).collect::<Vec<_>>()
    };
    testkit::until(SOON, "half written files to be gone", || half().is_empty().then_some(()));
    disk.clear();
    phase(kubectl, "no-volume", "Running");
    let read = kubectl.run(&["exec", "no-volume", "--", "cat", "/volume/text"]);
    assert!(read == text, "{} bytes", read.len());
    kubectl.run(&["delete", "pod", "no-volume", "--timeout=120s"]);
    kubectl.run(&["delete", "configmap", "large"]);
}
