//! Cgroups that systemd makes: the kubelet's slices, and the scopes of containers in them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use skiff_e2e::{container, pod};

use crate::{Host, SOON, command};

/// The cgroups that the kubelet makes itself are beside those of systemd, which leaves them as they are.
pub fn leaves_others_alone(host: &Host) {
    let mut main = container("main", "sleep 3600");
    main["resources"] = resources(64, 100);
    host.run(&pod("beside", &json!({"terminationGracePeriodSeconds": 0, "containers": [main]})));
    let cgroup = host.cgroup("beside");
    for reload in [false, true] {
        if reload {
            command("systemctl", &["daemon-reload"]);
        }
        for directory in [cgroup.as_path(), cgroup.parent().expect("a pod's cgroup is around it")] {
            has(directory, 64, 100);
        }
        let controllers = fs::read_to_string(cgroup.join("cgroup.controllers")).expect("the cgroup is there");
        for wanted in ["cpu", "cpuset", "hugetlb", "memory", "pids"] {
            assert!(controllers.split_whitespace().any(|one| one == wanted), "{wanted}: {controllers}");
        }
    }
    host.delete("beside");
}

pub fn slices_hold_over_a_reload(host: &Host) {
    let mut main = container("main", "sleep 3600");
    main["resources"] = resources(64, 100);
    host.run(&pod("sliced", &json!({"terminationGracePeriodSeconds": 0, "containers": [main]})));
    let cgroup = host.cgroup("sliced");
    let slice = cgroup.parent().expect("a pod's cgroup is around it").to_owned();
    let unit = slice.file_name().expect("it has a name").to_string_lossy().into_owned();
    let uid = host.uid("sliced").replace('-', "_");
    assert!(unit.ends_with(&format!("kubepods-burstable-pod{uid}.slice")), "{unit}");
    assert!(cgroup.to_string_lossy().ends_with(".scope"), "{}", cgroup.display());
    are(&slice, &unit, 64, 100);

    // systemd writes what it knows of again: what it was not told of would be lost.
    command("systemctl", &["daemon-reload"]);
    are(&slice, &unit, 64, 100);
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": resources(96, 200)}]}});
    host.kubectl.run(&["patch", "pod", "sliced", "--subresource=resize", "--patch", &patch.to_string()]);
    let resized = || (limit(&slice) == (96 << 20).to_string()).then_some(());
    testkit::until(SOON, "the slice to grow", resized);
    let patched =
        || (fs::read_to_string(cgroup.join("memory.max")).ok()?.trim() == (96 << 20).to_string()).then_some(());
    testkit::until(SOON, "the container to grow", patched);
    command("systemctl", &["daemon-reload"]);
    are(&slice, &unit, 96, 200);

    host.delete("sliced");
    testkit::until(SOON, "the slice to go", || (!slice.exists()).then_some(()));
    let state = command("systemctl", &["show", "-p", "ActiveState", &unit]);
    assert_eq!(state.trim(), "ActiveState=inactive");
}

fn resources(mebibytes: u32, thousandths: u32) -> Value {
    let memory = format!("{mebibytes}Mi");
    json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": memory, "cpu": format!("{thousandths}m")}})
}

fn limit(slice: &Path) -> String {
    fs::read_to_string(slice.join("memory.max")).expect("the slice is there").trim().to_owned()
}

/// The limits of a pod's slice, as the kernel and systemd have them.
#[track_caller]
fn are(slice: &Path, unit: &str, mebibytes: u64, thousandths: u64) {
    has(slice, mebibytes, thousandths);
    let shown = command("systemctl", &["show", "-p", "MemoryMax", "-p", "CPUQuotaPerSecUSec", unit]);
    assert!(shown.contains(&format!("MemoryMax={}", mebibytes << 20)), "{shown}");
    assert!(shown.contains(&format!("CPUQuotaPerSecUSec={thousandths}ms")), "{shown}");
}

/// The limits of a cgroup, as the kernel has them.
#[track_caller]
fn has(cgroup: &Path, mebibytes: u64, thousandths: u64) {
    assert_eq!(limit(cgroup), (mebibytes << 20).to_string());
    let quota = fs::read_to_string(cgroup.join("cpu.max")).expect("the cgroup is there");
    assert_eq!(quota.trim(), format!("{} 100000", thousandths * 100));
}
