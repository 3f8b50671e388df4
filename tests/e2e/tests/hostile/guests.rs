//! The guests.

use std::path::Path;

use serde_json::{Value, json};
use skiff_e2e::{Cluster, Kubectl, SmallDisk, shims};

use crate::{SOON, crowd, disks, is_storm, memory, phase, says, scaled};

/// What a shim may hold of its own, whatever passes through it, in bytes.
const SHIM: u64 = 48 << 20;

/// What the logs of one container may take: three files of 32 KiB by the settings, and what is written until somebody
/// looks, at some hundreds of megabytes a second.
const LOGS: u64 = 2 << 30;

type Watch = Box<dyn Fn(&Cluster, &Kubectl)>;

/// A disk for a pod, and how the pod gets it.
type Disk = (Box<dyn Fn(&Cluster) -> SmallDisk>, Box<dyn Fn(&mut Value, &SmallDisk)>);

/// A pod, and what is to be seen while it is there.
pub struct Guest {
    pub name: &'static str,
    pod: Value,
    disk: Option<Disk>,
    watch: Watch,
}

impl Guest {
    pub fn new(name: &'static str, script: &str, watch: impl Fn(&Cluster, &Kubectl) + 'static) -> Self {
        let mut pod = skiff_e2e::pod_of(name, script);
        pod["spec"]["restartPolicy"] = json!("Never");
        Self { name, pod, disk: None, watch: Box::new(watch) }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.pod["spec"]);
        self
    }

    pub fn with_disk(
        mut self,
        mount: impl Fn(&Cluster) -> SmallDisk + 'static,
        change: impl Fn(&mut Value, &SmallDisk) + 'static,
    ) -> Self {
        self.disk = Some((Box::new(mount), Box::new(change)));
        self
    }

    /// Lets it come, do what it does, and go.
    pub fn visit(&self, cluster: &Cluster, kubectl: &Kubectl) {
        let mut pod = self.pod.clone();
        let disk = self.disk.as_ref().map(|(mount, change)| {
            let disk = mount(cluster);
            change(&mut pod["spec"], &disk);
            disk
        });
        kubectl.apply(&pod.to_string());
        (self.watch)(cluster, kubectl);
        kubectl.run(&["delete", "pod", self.name, "--timeout=120s"]);
        drop(disk);
    }
}

pub fn all() -> Vec<Guest> {
    let mut all =
        vec![writer(), garbage(), forker(), bomber(), deaf(), silent(), deep(), crowd(), disks::host_filler()];
    all.extend(memory::all());
    all
}

/// How many processes a pod may have.
pub fn most_processes() -> u64 {
    scaled(10_000) + 100
}

/// Where a pod is at one time: its logs are bounded, and so is its shim.
fn is_bounded(cluster: &Cluster, pod: &str) {
    let sizes = cluster.log_files("default", pod).into_iter().filter_map(|path| path.metadata().ok());
    let size: u64 = sizes.map(|metadata| metadata.len()).sum();
    assert!(size <= LOGS, "the logs of {pod} take {size} bytes");
    for shim in shims(&cluster.run_dir()) {
        let held = private_memory(shim.pid);
        assert!(held <= SHIM, "the shim {shim:?} holds {held} bytes");
    }
}

/// What a process has that it shares with nobody.
fn private_memory(pid: i32) -> u64 {
    // One that ends meanwhile has none.
    let rollup = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"));
    let rollup = rollup.unwrap_or_default();
    let of_line = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    rollup.lines().filter(|line| line.starts_with("Private_")).filter_map(of_line).sum::<u64>() * 1024
}

/// Writes lines as fast as it can.
fn writer() -> Guest {
    let line = "one line like all the others, ".repeat(8);
    let script = format!("yes '{line}' | head -c {}", scaled(4 << 30));
    Guest::new("writer", &script, |cluster, kubectl| {
        let done = || {
            is_bounded(cluster, "writer");
            let pod = kubectl.json(&["get", "pod", "writer"]);
            (pod["status"]["phase"] == "Succeeded").then_some(())
        };
        testkit::until(SOON, "the writer to come to its end", done);
    })
}

/// Writes what is no text and has no lines.
fn garbage() -> Guest {
    let script = format!("head -c {} /dev/zero; head -c 3000000 /dev/urandom; echo; echo last", scaled(1 << 30));
    Guest::new("garbage", &script, |cluster, kubectl| {
        let done = || {
            is_bounded(cluster, "garbage");
            let pod = kubectl.json(&["get", "pod", "garbage"]);
            (pod["status"]["phase"] == "Succeeded").then_some(())
        };
        testkit::until(SOON, "the end of garbage", done);
        assert_eq!(kubectl.run(&["logs", "garbage", "--tail=1"]), "last\n");
    })
}

/// Fills the table of processes.
fn forker() -> Guest {
    let count = scaled(10_000);
    let script = format!("n=0; while [ $n -lt {count} ]; do n=$((n+1)); sleep 1000 & done; echo all there; sleep 1000");
    Guest::new("forker", &script, move |cluster, kubectl| {
        says(kubectl, "forker", |line| line == "all there");
        is_bounded(cluster, "forker");
        let processes = kubectl.run(&["exec", "forker", "--", "sh", "-c", "ps | grep -c 'sleep 1000'"]);
        assert!(processes.trim().parse::<u64>().is_ok_and(|found| found >= count), "{processes}");
    })
}

/// Lets each of its processes start two others.
fn bomber() -> Guest {
    let guest = Guest::new("bomber", "bomb() { bomb | bomb & }; bomb; exec sleep 1000", |_, kubectl| {
        let refusal = "can't fork: Resource temporarily unavailable";
        says(kubectl, "bomber", |line| line.contains(refusal));
        phase(kubectl, "bomber", "Running");
    });
    guest.with(|spec| spec["containers"][0]["resources"] = json!({"limits": {"cpu": "500m"}}))
}

/// Does not hear that it is to end.
fn deaf() -> Guest {
    Guest::new("deaf", "trap '' TERM INT HUP; while true; do sleep 1000 & wait; done", |_, kubectl| {
        phase(kubectl, "deaf", "Running");
    })
}

/// Closes all that it was given.
fn silent() -> Guest {
    Guest::new("silent", "exec <&- >&- 2>&-; sleep 1000", |_, kubectl| {
        phase(kubectl, "silent", "Running");
        assert_eq!(kubectl.run(&["exec", "silent", "--", "echo", "here"]), "here\n");
        assert_eq!(kubectl.run(&["logs", "silent"]), "");
        phase(kubectl, "silent", "Running");
    })
}

/// Makes directories in each other, in its root and in a volume, deeper than any path can say.
fn deep() -> Guest {
    // A shell takes the longer for each the deeper it is.
    let count = if is_storm() { 20_000 } else { 5_000 };
    // So many at a time as fit into a path.
    let make = |dir: &str| {
        let rounds = count / 512 + 1;
        format!("cd {dir}; n=0; while [ $n -lt {rounds} ]; do n=$((n+1)); mkdir -p $path; cd -P $path; done;")
    };
    let path = "path=d; for n in 1 2 3 4 5 6 7 8 9; do path=$path/$path; done;";
    let script = format!("{path} {} {} cd /; echo all there; sleep 1000", make("/tmp"), make("/volume"));
    let guest = Guest::new("deep", &script, |_, kubectl| {
        says(kubectl, "deep", |line| line == "all there");
    });
    guest.with(|spec| {
        spec["volumes"] = json!([{"name": "volume", "emptyDir": {"sizeLimit": "1Gi"}}]);
        spec["containers"][0]["volumeMounts"] = json!([{"name": "volume", "mountPath": "/volume"}]);
    })
}

/// Has many visitors at once.
fn crowd() -> Guest {
    Guest::new("crowd", "trap 'exit 0' TERM; sleep 1000 & wait", |cluster, kubectl| {
        phase(kubectl, "crowd", "Running");
        // Each takes some of the files that one process may have open, of which a machine may let it have no more than 20,000.
        crowd::visit(cluster, "crowd", if is_storm() { 1000 } else { 50 });
        is_bounded(cluster, "crowd");
    })
}
