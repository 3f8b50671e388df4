//! What containers get of the node for themselves, with real containers: CPUs, memory, devices of plugins and devices
//! of claims, over kills of the node, and what watchers of devices are told.

mod claims;
mod cpus;
mod devices;
mod watcher;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use skiff_e2e::{Cluster, Kubectl, Layout};
use tokio::runtime::Runtime;

use claims::Claims;
use devices::Devices;
use watcher::Watcher;

const SOON: Duration = Duration::from_secs(120);

/// How the kubelet is set up: one CPU and 64 MiB are the system's.
fn configuration(cpu_policy: &str) -> String {
    format!(
        r#"
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cpuManagerPolicy: {cpu_policy}
reservedSystemCPUs: "{}"
memoryManagerPolicy: Static
systemReserved: {{memory: 63Mi}}
evictionHard: {{memory.available: 1Mi}}
reservedMemory: [{{numaNode: 0, limits: {{memory: 64Mi}}}}]
topologyManagerPolicy: single-numa-node
"#,
        cpus::reserved()
    )
}

/// A node with managers, its plugins, and who watches over devices.
struct Stage {
    cluster: Cluster,
    kubectl: Kubectl,
    runtime: Runtime,
    huge_pages: HugePages,
}

impl Stage {
    fn new() -> Self {
        let huge_pages = HugePages::reserve();
        let mut cluster = Cluster::prepare("managers", Layout::OneProcess);
        let file = cluster.kubeconfig().with_file_name("kubelet.yaml");
        fs::write(&file, configuration("static")).expect("written");
        cluster.start_prepared(&[("--kubelet-config", &file.to_string_lossy())]);
        cluster.build_hello("1");
        let (kubectl, runtime) = (cluster.kubectl(), Runtime::new().expect("a runtime"));
        Self { cluster, kubectl, runtime, huge_pages }
    }

    fn kubelet_dir(&self) -> PathBuf {
        self.cluster.data_dir().join("kubelet")
    }

    /// Who watches over devices.
    fn watcher(&self) -> Watcher<'_> {
        Watcher::connect(&self.runtime, self.kubelet_dir().join("pod-resources/kubelet.sock"))
    }

    /// Creates a pod of one container that does nothing, and waits until it runs. `container` and `pod` are further
    /// fields, as YAML on one line.
    #[track_caller]
    fn run(&self, name: &str, container: &str, pod: &str) {
        self.kubectl.apply(&pod_of(name, container, pod));
        let ready = "{.status.conditions[?(@.type=='Ready')].status}";
        self.kubectl.wait(&["pod", name], ready, SOON, |status| status == "True");
    }

    /// Runs a line in the shell of a pod's container; what it printed.
    #[track_caller]
    fn shell(&self, pod: &str, line: &str) -> String {
        self.kubectl.run(&["exec", pod, "--", "sh", "-c", line]).trim().to_owned()
    }

    /// How many of a resource the node has, and how many can be given.
    #[track_caller]
    fn until_shown(&self, resource: &str, expected: &str) {
        let key = resource.replace('.', "\\.");
        let path = format!("{{.status.capacity.{key}}} {{.status.allocatable.{key}}}");
        self.kubectl.wait(&["node", "first"], &path, SOON, |shown| shown == expected);
    }

    #[track_caller]
    fn delete(&self, pod: &str) {
        self.kubectl.run(&["delete", "pod", pod, "--wait=true", "--timeout=120s"]);
    }

    /// How each container of the pods runs: when it started, and how often.
    fn instances(&self) -> String {
        let path = "-o=jsonpath={range .items[*].status.containerStatuses[*]}{.containerID} {.restartCount}\n{end}";
        self.kubectl.run(&["get", "pods", path])
    }
}

fn pod_of(name: &str, container: &str, pod: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: main, image: "skiff.local/hello:1", command: [sleep, "3600"], {container}}}
  {pod}
"#
    )
}

/// Pages of 2 MiB that the test has the kernel set aside, if it does. Dropping this gives them back.
struct HugePages {
    before: String,
    count: u64,
}

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn reserve() -> Self {
        let read = || fs::read_to_string(HUGE_PAGES).unwrap_or_default().trim().to_owned();
        let before = read();
        let is_usual = std::path::Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
        let has: u64 = before.parse().unwrap_or(0);
        // A kernel that refuses, or has no memory in one piece, is one without huge pages.
        let _ = fs::write(HUGE_PAGES, (has + 4).to_string());
        let count = read().parse().ok().filter(|_| is_usual).unwrap_or(0);
        Self { before, count }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        let _ = fs::write(HUGE_PAGES, &self.before);
    }
}

#[test]
fn containers_have_what_they_are_given_over_a_kill_of_the_node() {
    if !cpus::can_be_given() {
        eprintln!("the machine has no CPUs to give");
        return;
    }
    let mut stage = Stage::new();
    let mut devices = Devices::start(&stage);
    let claims = Claims::start(&stage);
    cpus::neighbour_runs_everywhere(&stage);
    devices.far_from_the_memory_are_refused(&stage);
    huge_pages_are_mounted_and_counted(&stage);
    let pinned = cpus::guaranteed_pod_has_its_own_cpu(&stage);
    devices.are_seen_by_a_container(&stage);
    claims.are_seen_by_a_container(&stage);

    let before = stage.instances();
    let cpu_state = stage.kubelet_dir().join("cpu_manager_state");
    let kept = fs::read_to_string(&cpu_state).expect("the state is kept");
    stage.cluster.part("server").crash();
    devices.come_back(&stage);
    claims.come_back(&stage);
    let serves = || (stage.kubectl.shell("kubectl exec pinned -- true").1 == 0).then_some(());
    testkit::until(SOON, "the kubelet to serve", serves);
    assert_eq!(stage.instances(), before, "a container was started again");
    assert_eq!(fs::read_to_string(&cpu_state).expect("the state is kept"), kept);
    cpus::have_not_moved(&stage, &pinned);
    devices.are_still_given(&stage);

    devices.that_are_ill_are_not_offered(&stage);
    cpus::neighbour_has_them_back(&stage);
    claims.are_given_back(&stage);
    drop((devices, claims));
    another_policy_is_refused(&mut stage);
    let left = stage.cluster.remove();
    assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
}

fn huge_pages_are_mounted_and_counted(stage: &Stage) {
    if stage.huge_pages.count < 4 {
        eprintln!("the kernel sets no huge pages aside");
        return;
    }
    let bytes = format!("{}Mi", stage.huge_pages.count * 2);
    stage.until_shown("hugepages-2Mi", &format!("{bytes} {bytes}"));
    stage.run(
        "huge",
        "resources: {limits: {cpu: 100m, memory: 32Mi, hugepages-2Mi: 4Mi}}, volumeMounts: [{name: huge, mountPath: /huge}]",
        "volumes: [{name: huge, emptyDir: {medium: HugePages}}]",
    );
    let mount = stage.shell("huge", "grep ' /huge ' /proc/mounts");
    assert!(mount.contains("hugetlbfs") && mount.contains("pagesize=2M"), "{mount}");
    let memory = stage.watcher().container("huge").memory;
    let sizes: Vec<(&str, u64)> = memory.iter().map(|block| (block.memory_type.as_str(), block.size)).collect();
    assert_eq!(sizes, [("hugepages-2Mi", 4 << 20), ("memory", 32 << 20)]);
    stage.delete("huge");
}

/// With the CPUs of before, whoever changes the policy is told what to do.
fn another_policy_is_refused(stage: &mut Stage) {
    stage.cluster.kill();
    let file = stage.cluster.kubeconfig().with_file_name("kubelet.yaml");
    fs::write(&file, configuration("none")).expect("written");
    stage.cluster.start_processes();
    let said = "could not restore state from checkpoint: configured policy \"none\" differs from state checkpoint policy \
                \"static\", please drain this node and delete the CPU manager checkpoint file";
    testkit::until(SOON, said, || stage.cluster.logs(50).replace('\\', "").contains(said).then_some(()));
    let status = stage.cluster.part("server").wait(SOON);
    assert!(!status.success(), "{status}");
}
