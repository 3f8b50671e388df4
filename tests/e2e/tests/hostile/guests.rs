//! The guests.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_e2e::{Cluster, Kubectl, shims};

use crate::crowd;

const SOON: Duration = Duration::from_secs(120);

/// What a shim may hold of its own, whatever passes through it, in bytes.
const SHIM: u64 = 48 << 20;

/// What the logs of one container may take: three files of 32 KiB by the settings, and what is written until somebody
/// looks, at some hundreds of megabytes a second.
const LOGS: u64 = 2 << 30;

type Watch = Box<dyn Fn(&Cluster, &Kubectl)>;

/// A pod, and what is to be seen while it is there.
pub struct Guest {
    pub name: &'static str,
    pod: Value,
    watch: Watch,
}

impl Guest {
    fn new(name: &'static str, script: &str, watch: impl Fn(&Cluster, &Kubectl) + 'static) -> Self {
        let container = json!({"name": "main", "image": "skiff.local/hello:1", "command": ["sh", "-c", script]});
        let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        Self { name, pod, watch: Box::new(watch) }
    }

    fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.pod["spec"]);
        self
    }

    /// Lets it come, do what it does, and go.
    pub fn visit(&self, cluster: &Cluster, kubectl: &Kubectl) {
        kubectl.apply(&self.pod.to_string());
        (self.watch)(cluster, kubectl);
        kubectl.run(&["delete", "pod", self.name, "--timeout=120s"]);
    }
}

/// As much as is said in `make storm`, a twentieth of it otherwise.
fn scaled(number: u64) -> u64 {
    let seconds = std::env::var("SKIFF_STORM_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    if seconds.is_some_and(|seconds| seconds > 60) { number } else { number / 20 }
}

pub fn all() -> Vec<Guest> {
    vec![writer(), garbage(), forker(), limited(), deaf(), silent(), deep(), crowd()]
}

fn phase(kubectl: &Kubectl, pod: &str, phase: &str) {
    kubectl.wait(&["pod", pod], "{.status.phase}", SOON, |found| found == phase);
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
    let script = format!("yes 'one line like all the others' | head -c {}", scaled(4 << 30));
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
        kubectl.stream(&["logs", "-f", "forker", "--pod-running-timeout=60s"], |line| line == "all there");
        is_bounded(cluster, "forker");
        let processes = kubectl.run(&["exec", "forker", "--", "sh", "-c", "ps | grep -c 'sleep 1000'"]);
        assert!(processes.trim().parse::<u64>().is_ok_and(|found| found >= count), "{processes}");
    })
}

/// Takes more memory than it may have.
fn limited() -> Guest {
    let guest = Guest::new("limited", "exec tail -c 100000000 /dev/zero", |_, kubectl| {
        phase(kubectl, "limited", "Failed");
        let pod = kubectl.json(&["get", "pod", "limited"]);
        let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
        assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("OOMKilled"), &json!(137)), "{ended}");
    });
    guest.with(|spec| spec["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}}))
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
    let count = scaled(100_000);
    // So many at a time as fit into a path.
    let make = |dir: &str| {
        let rounds = count / 512 + 1;
        format!("cd {dir}; n=0; while [ $n -lt {rounds} ]; do n=$((n+1)); mkdir -p $path; cd -P $path; done;")
    };
    let path = "path=d; for n in 1 2 3 4 5 6 7 8 9; do path=$path/$path; done;";
    let script = format!("{path} {} {} cd /; echo all there; sleep 1000", make("/tmp"), make("/volume"));
    let guest = Guest::new("deep", &script, |_, kubectl| {
        kubectl.stream(&["logs", "-f", "deep", "--pod-running-timeout=60s"], |line| line == "all there");
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
        crowd::visit(cluster, "crowd", scaled(3000));
        is_bounded(cluster, "crowd");
    })
}
