//! Pods that take whatever they can get, beside one that only wants to be left alone: the node stays ready, the
//! neighbour is served all the time, and nothing of the others stays.
//!
//! `SKIFF_STORM_SECONDS` of more than a minute, as in `make storm`, lets each take twenty times as much.

mod crowd;
mod disks;
mod guests;
mod images;
mod memory;
mod registry;

use std::time::{Duration, Instant};

use serde_json::Value;
use skiff_e2e::{Cluster, Kubectl, Layout, http};

use registry::Registry;

const SOON: Duration = Duration::from_secs(120);

/// How long the neighbour may take to answer while others take what they can, on a machine of two cores.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn the_neighbour_is_not_hurt() {
    let mut cluster = Cluster::prepare("hostile", Layout::OneProcess);
    // What is full is these, and not the machine's.
    cluster.mount_disk("runtime", 128);
    cluster.mount_disk("kubelet", 32);
    cluster.start_prepared(&[
        ("--system-reserved", &format!("memory={}Ki", memory::all_but_for_pods())),
        ("--pod-max-pids", &guests::most_processes().to_string()),
    ]);
    cluster.build_hello("1");
    let kubectl = cluster.kubectl();
    kubectl.apply(NEIGHBOUR);
    let ready = "{.status.conditions[?(@.type=='Ready')].status}";
    kubectl.wait(&["pod", "neighbour"], ready, SOON, |status| status == "True");
    let registry = Registry::start(&cluster);
    let neighbourhood = Neighbourhood::look(&cluster, kubectl);

    let (cluster_ref, kubectl) = (&cluster, &neighbourhood.kubectl);
    neighbourhood.during("bits that turn", || images::flipped(&registry, cluster_ref, kubectl));
    neighbourhood.during("wrong images", || images::wrong(&registry, cluster_ref, kubectl));
    neighbourhood.during("an unpack bomb", || images::bomb(&registry, cluster_ref, kubectl));
    // Images are pulled one after the other: no other one meanwhile.
    neighbourhood.during("slow registries", || images::begin_slow(&registry, kubectl));
    neighbourhood.during("a volume that is too full", || disks::begin_too_much(kubectl));
    for guest in guests::all() {
        neighbourhood.during(guest.name, || guest.visit(cluster_ref, kubectl));
    }
    neighbourhood.during("a volume that was too full", || disks::end_too_much(kubectl));
    neighbourhood.during("a full disk of images", || disks::of_the_runtime(cluster_ref, kubectl));
    neighbourhood.during("a full disk of volumes", || disks::of_the_kubelet(cluster_ref, kubectl));
    neighbourhood.during("slow registries", || images::end_slow(&registry, kubectl));

    neighbourhood.assert_unhurt();
    drop(registry);
    cluster.wait_nothing_left_of_pods();
    let left = cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

/// The node and the neighbour, as they were when all was well.
struct Neighbourhood {
    kubectl: Kubectl,
    node: (Value, Value),
    neighbour: Value,
    load: http::Load,
}

impl Neighbourhood {
    fn look(cluster: &Cluster, kubectl: Kubectl) -> Self {
        let (node, neighbour) = (node_ready(&kubectl), kubectl.json(&["get", "pod", "neighbour"]));
        let outside = cluster.machines().second().to_owned();
        let load = http::Load::start(&outside, cluster.node_port(30081), "/version");
        Self { kubectl, node, neighbour, load }
    }

    /// Does something; the neighbour answers afterwards.
    fn during(&self, what: &str, work: impl FnOnce()) {
        let begun = Instant::now();
        work();
        eprintln!("guest: {what}: {:.1} s", begun.elapsed().as_secs_f64());
        let answered = self.load.answered();
        testkit::until(PATIENCE, &format!("an answer of the neighbour of {what}"), || {
            (self.load.answered() > answered).then_some(())
        });
    }

    /// Nobody was hurt.
    fn assert_unhurt(self) {
        let result = self.load.finish();
        eprintln!("{} requests answered, {} failed", result.answered, result.failures.len());
        assert!(result.failures.len() * 100 <= result.answered, "{:?}", result.failures);
        assert_eq!(node_ready(&self.kubectl), self.node, "the node was not ready for a while");
        let after = self.kubectl.json(&["get", "pod", "neighbour"]);
        assert_eq!(after["status"]["containerStatuses"], self.neighbour["status"]["containerStatuses"]);
        assert_eq!(after["status"]["conditions"], self.neighbour["status"]["conditions"]);
    }
}

/// Whether there is time, as in `make storm`.
fn is_storm() -> bool {
    let seconds = std::env::var("SKIFF_STORM_SECONDS").ok().and_then(|text| text.parse::<u64>().ok());
    seconds.is_some_and(|seconds| seconds > 60)
}

/// As much as is said in a storm, a twentieth of it otherwise.
fn scaled(number: u64) -> u64 {
    if is_storm() { number } else { number / 20 }
}

#[track_caller]
fn phase(kubectl: &Kubectl, pod: &str, phase: &str) {
    kubectl.wait(&["pod", pod], "{.status.phase}", SOON, |found| found == phase);
}

/// Waits for a line of a pod that stays.
#[track_caller]
fn says(kubectl: &Kubectl, pod: &str, accept: impl Fn(&str) -> bool) {
    // Nothing is to be read of a container that is being made.
    phase(kubectl, pod, "Running");
    kubectl.stream(&["logs", "-f", pod], accept);
}

/// Waits for an event of a pod.
#[track_caller]
fn events(kubectl: &Kubectl, pod: &str, accept: impl Fn(&str) -> bool) {
    let of_pod = format!("involvedObject.name={pod}");
    let lines = "{range .items[*]}{.message}{\"\\n\"}{end}";
    kubectl.wait(&["events", "--field-selector", &of_pod], lines, SOON, |text| text.lines().any(&accept));
}

/// Whether the node is ready, and since when.
fn node_ready(kubectl: &Kubectl) -> (Value, Value) {
    let node = kubectl.json(&["get", "node", "first"]);
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready = conditions.into_iter().find(|one| one["type"] == "Ready").expect("it is said");
    (ready["status"].clone(), ready["lastTransitionTime"].clone())
}

/// Serves, and is probed. It asks for what it needs, which those that ask for nothing cannot take.
const NEIGHBOUR: &str = "
apiVersion: v1
kind: Pod
metadata: {name: neighbour, labels: {app: neighbour}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: skiff.local/hello:1
    resources: {requests: {cpu: 500m, memory: 32Mi}}
    readinessProbe: &probe {httpGet: {path: /version, port: 8080}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 3}
    livenessProbe: *probe
---
apiVersion: v1
kind: Service
metadata: {name: neighbour}
spec:
  type: NodePort
  selector: {app: neighbour}
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
";
