//! What a node does with what only some hosts have: swap, AppArmor, servers of NFS and iSCSI, and systemd, which makes
//! cgroups and shuts the machine down, on a machine that is the test's alone. `make guest` runs these on one; elsewhere
//! they say that they are skipped.

mod apparmor;
mod iscsi;
mod nfs;
mod shutdown;
mod swap;
mod systemd;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use skiff_e2e::{Cluster, Containerd, Kubectl, Layout, Machines, container, pod};

/// A guest has no processor of its own.
const SOON: Duration = Duration::from_secs(300);

/// Whether this machine may be changed at will.
fn is_guest() -> bool {
    let is = std::env::var_os("SKIFF_GUEST").is_some();
    if !is {
        eprintln!("SKIPPED: this machine is not the test's alone: run `make guest`");
    }
    is
}

/// A node on the whole machine.
struct Host {
    cluster: Cluster,
    kubectl: Kubectl,
}

impl Host {
    /// Starts one with these further fields of its kubelet's configuration, over the built-in runtime or another.
    #[track_caller]
    fn start(machines: Machines, configuration: &str, containerd: Option<&Containerd>) -> Self {
        let mut cluster = Cluster::prepare_on(machines, "host", Layout::OneProcess);
        let file = cluster.kubeconfig().with_file_name("kubelet.yaml");
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration";
        fs::write(&file, format!("{head}\n{configuration}\n")).expect("written");
        let mut options = vec![("--kubelet-config", file.to_string_lossy().into_owned())];
        options.extend(containerd.iter().flat_map(|containerd| containerd.options()));
        let options: Vec<(&str, &str)> = options.iter().map(|(name, value)| (*name, value.as_str())).collect();
        cluster.start_prepared(&options);
        if containerd.is_none() {
            cluster.build_hello("1");
        }
        let kubectl = cluster.kubectl();
        Self { cluster, kubectl }
    }

    /// Makes a pod and waits until it is ready.
    #[track_caller]
    fn run(&self, pod: &Value) {
        self.kubectl.apply(&pod.to_string());
        let name = pod["metadata"]["name"].as_str().expect("pods have names");
        let ready = "{.status.conditions[?(@.type=='Ready')].status}";
        self.kubectl.wait(&["pod", name], ready, SOON, |status| status == "True");
    }

    /// Runs a line in the shell of a pod's container; what it printed, errors and all, and its exit code.
    fn shell(&self, pod: &str, line: &str) -> (String, i32) {
        let (text, code) = self.kubectl.shell(&format!("kubectl exec {pod} -- sh -c '{line}'"));
        (text.trim().to_owned(), code)
    }

    /// The same for a line that succeeds.
    #[track_caller]
    fn read(&self, pod: &str, line: &str) -> String {
        let (text, code) = self.shell(pod, line);
        assert_eq!(code, 0, "{line}: {text}");
        text
    }

    #[track_caller]
    fn delete(&self, pod: &str) {
        self.kubectl.run(&["delete", "pod", pod, "--wait=true", "--timeout=300s"]);
    }

    #[track_caller]
    fn uid(&self, pod: &str) -> String {
        self.kubectl.run(&["get", "pod", pod, "-o=jsonpath={.metadata.uid}"])
    }

    /// The directory of a container's cgroup.
    #[track_caller]
    fn cgroup(&self, pod: &str) -> PathBuf {
        let path = "-o=jsonpath={.status.containerStatuses[0].containerID}";
        let id = self.kubectl.run(&["get", "pod", pod, path]);
        let id = id.rsplit('/').next().expect("a text has a last part").to_owned();
        let found = command("find", &["/sys/fs/cgroup", "-type", "d", "-name", &format!("*{id}*")]);
        PathBuf::from(found.lines().next().expect("the container has a cgroup"))
    }

    #[track_caller]
    fn end(mut self) {
        let left = self.cluster.remove();
        assert!(left.is_empty(), "left behind:\n{}", left.join("\n"));
    }
}

/// A pod that does nothing, with a volume of a sort and its source at `/data`.
fn mounting(name: &str, sort: &str, source: &Value) -> Value {
    let mut main = container("main", "sleep 3600");
    main["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let volumes = json!([{"name": "data", sort: source}]);
    pod(name, &json!({"terminationGracePeriodSeconds": 0, "containers": [main], "volumes": volumes}))
}

/// Runs a program of the machine; what it printed.
#[track_caller]
fn command(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the guest has it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}{errors}");
    text
}

#[test]
fn containers_have_of_the_host_what_they_may() {
    if !is_guest() {
        return;
    }
    let swap = swap::Swap::on();
    let host = Host::start(Machines::host(), "failSwapOn: false\nmemorySwap: {swapBehavior: LimitedSwap}", None);
    systemd::leaves_others_alone(&host);
    eprintln!("systemd leaves the node's cgroups alone");
    swap.is_told_and_shared(&host);
    eprintln!("swap is told and shared");
    apparmor::containers_are_confined(&host);
    host.end();
}

#[test]
fn volumes_come_from_servers() {
    if !is_guest() {
        return;
    }
    let host = Host::start(Machines::host(), "", None);
    nfs::pods_share_what_a_server_has(&host);
    eprintln!("pods share what a server of NFS has");
    iscsi::a_pod_has_the_disk_of_a_target(&host);
    host.end();
}

#[test]
fn a_shutdown_waits_for_pods() {
    if !is_guest() {
        return;
    }
    let periods = "shutdownGracePeriod: 60s\nshutdownGracePeriodCriticalPods: 10s";
    let host = Host::start(Machines::host(), periods, None);
    shutdown::waits_for_pods(&host);
    host.end();
}

#[test]
fn systemd_makes_the_cgroups_where_the_runtime_has_it_so() {
    if !is_guest() {
        return;
    }
    let machines = Machines::host();
    let containerd = Containerd::start_with(machines.first(), true);
    let host = Host::start(machines, "cgroupDriver: systemd", Some(&containerd));
    systemd::slices_hold_over_a_reload(&host);
    host.end();
}
