//! What a node carries of its pods: of one that has none any more, nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Cluster, machine};

/// How long a node may take to let go of pods that are gone.
const SOON: Duration = Duration::from_secs(60);

/// Everything on the first machine that is there because of pods, a line for each thing.
struct Residue(BTreeSet<String>);

impl Residue {
    /// Looks at processes, mounts, namespaces, cgroups, interfaces, rules, addresses that are given out, and directories.
    fn of(cluster: &Cluster) -> Self {
        let (data, run) = (cluster.data_dir(), cluster.run_dir());
        let mut found = BTreeSet::new();
        found.extend(processes(cluster));
        found.extend(network_namespaces(cluster.machines().first()));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        // The runtime's own directory is a mount as long as the runtime is installed, and others may be disks.
        let own = [run.join("runtime"), data.join("runtime"), data.join("kubelet")];
        let of_pods = |point: &&str| {
            let point = Path::new(point);
            (point.starts_with(&data) || point.starts_with(&run)) && !own.iter().any(|own| own == point)
        };
        found.extend(points.filter(of_pods).map(|point| format!("mount {point}")));
        let instance = base::Instance::new(&data, &run).name();
        found.extend(cgroups(&instance).into_iter().map(|path| format!("cgroup {}", path.display())));
        let namespace = cluster.machines().first();
        let links = output(namespace, &["ip", "-o", "link", "show", "type", "veth"]);
        let of_pods = |line: &&str| line.contains(&format!("master {instance}"));
        found.extend(links.lines().filter(of_pods).map(|line| format!("interface {line}")));
        let table = format!("{instance}-net");
        let ports = output(namespace, &["nft", "list", "set", "inet", &table, "host_port_pods4"]);
        // A set that is empty has no such line.
        found.extend(
            ports.lines().filter(|line| line.contains("elements")).map(|line| format!("ports {}", line.trim())),
        );
        for dir in [
            data.join("runtime/containers"),
            data.join("runtime/sandboxes"),
            data.join("kubelet/pods"),
            data.join("log/pods"),
            run.join("runtime/containers"),
            run.join("runtime/sandboxes"),
            run.join("network/sandboxes"),
        ] {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| format!("file {}", entry.path().display())));
        }
        Self(found)
    }
}

impl fmt::Display for Residue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

impl Cluster {
    /// Deletes every pod and what would make new ones, and waits until nothing of any pod is left on the node.
    #[track_caller]
    pub fn wait_nothing_left_of_pods(&self) {
        let kubectl = self.kubectl();
        let makers = "deployments,statefulsets,daemonsets,replicasets,replicationcontrollers,jobs,cronjobs";
        for kinds in [makers, "pods"] {
            kubectl.run(&["delete", kinds, "--all", "--all-namespaces", "--timeout=120s"]);
        }
        let clean = || Residue::of(self).0.is_empty().then_some(());
        if testkit::poll(SOON, clean).is_none() {
            panic!("left of pods that are gone:\n{}", Residue::of(self));
        }
    }
}

/// A running shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shim {
    /// Its process.
    pub pid: i32,
    /// The container that it runs.
    pub container: String,
}

/// The shims of the node with this run directory.
pub fn shims(run: &Path) -> Vec<Shim> {
    let bundles = run.join("runtime/containers");
    let processes = std::fs::read_dir("/proc").expect("proc is mounted").flatten();
    let shim = |process: std::fs::DirEntry| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        // One that ends meanwhile has no such file.
        let line = std::fs::read_to_string(process.path().join("cmdline")).ok()?;
        let [_, "shim", "run", bundle, ..] = line.split('\0').collect::<Vec<_>>()[..] else { return None };
        let container = Path::new(bundle).strip_prefix(&bundles).ok()?.to_str()?.to_owned();
        Some(Shim { pid, container })
    };
    processes.filter_map(shim).collect()
}

/// Processes in the cgroups of pods, and the cluster's own programs that are none of its parts.
fn processes(cluster: &Cluster) -> Vec<String> {
    let (data, run, own) = (cluster.data_dir(), cluster.run_dir(), cluster.own_processes());
    let of_pods = format!("/{}/kubepods/", base::Instance::new(&data, &run).name());
    let dirs = [data, run].map(|dir| format!("{}/", dir.display()));
    let describe = |process: std::fs::DirEntry| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        // One that ends meanwhile has no such files.
        let line = std::fs::read_to_string(process.path().join("cmdline")).ok()?.replace('\0', " ");
        let cgroups = std::fs::read_to_string(process.path().join("cgroup")).ok()?;
        let is_of_cluster = dirs.iter().any(|dir| line.contains(dir)) || cgroups.contains(&of_pods);
        (is_of_cluster && !own.contains(&pid)).then(|| format!("process {pid} {line}"))
    };
    std::fs::read_dir("/proc").expect("proc is mounted").flatten().filter_map(describe).collect()
}

/// The namespaces that lie at the other end of a machine's cables, those of machines aside: they live as long as anything
/// holds them, seen or unseen.
fn network_namespaces(machine: &str) -> Vec<String> {
    let ids = output(machine, &["ip", "netns", "list-id"]);
    let of_pods = ids.lines().filter(|line| !line.contains("name:"));
    of_pods.map(|line| format!("network namespace {}", line.trim())).collect()
}

/// The cgroups of pods, in all hierarchies.
fn cgroups(instance: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let roots = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    for root in roots.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
        for class in ["", "burstable", "besteffort"] {
            let dir = root.join(instance).join("kubepods").join(class);
            let children = std::fs::read_dir(dir).into_iter().flatten().flatten();
            let of_pods = children.filter(|entry| entry.file_name().to_string_lossy().starts_with("pod"));
            found.extend(of_pods.map(|entry| entry.path()));
        }
    }
    found
}

fn output(namespace: &str, command: &[&str]) -> String {
    let output = machine::inside(namespace, command[0]).args(&command[1..]).output().expect("the tool is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
