//! A cluster of one server and, where wanted, a second node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::disk::SmallDisk;
use crate::kubectl::Kubectl;
use crate::machine::Machines;
use crate::process::{Process, skiff_binary};

/// How a cluster's parts are laid out over processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Control plane and node in one process.
    OneProcess,
    /// Every part a process of its own, over HTTPS.
    Separate,
    /// The same, and a node is not taken for lost however seldom it says something, and no line of a log is given up.
    SeparatePatient,
    /// The API server alone with these further flags, and no node.
    ApiServer(&'static [(&'static str, &'static str)]),
}

/// The parts of [`Layout::Separate`] that speak to the API server, with the user and groups of each.
const PARTS: &[(&str, &str, &[&str])] = &[
    ("controller-manager", "system:kube-controller-manager", &[]),
    ("scheduler", "system:kube-scheduler", &[]),
    ("kubelet", "system:node:first", &["system:nodes"]),
    ("proxy", "system:kube-proxy", &[]),
    ("dns", "system:serviceaccount:kube-system:kube-dns", &[]),
];

/// Seconds after which a silent node counts as lost: the least that misses no heartbeat, one of which comes every ten.
const GRACE_PERIOD: &str = "16";

/// Logs are rotated early, so that tests see it, and few files are kept.
const LOG_SIZE: &str = "32Ki";
const LOG_FILES: &str = "3";
/// Where all lines are looked for, all files are kept.
const ALL_LOG_FILES: &str = "1000";
/// Images stay however full the disk is that the tests run on: nothing could bring them back.
const NO_IMAGE_GC: &str = "100";

/// The same goes for pods, as long as a test does not want it otherwise.
const NO_EVICTION: &str = "memory.available<1Mi";

const START_DEADLINE: Duration = Duration::from_secs(120);

/// The same where kubelets are killed faster than a slow machine starts them: longer than any test.
const PATIENT_GRACE_PERIOD: &str = "3600";

/// A running cluster. Dropping it stops its processes and removes all that they made.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    /// Further options of [`Layout::OneProcess`], which go before the usual ones.
    options: Vec<String>,
    machines: Machines,
    processes: Vec<Process>,
    agent: Option<Process>,
    /// By the names of their directories.
    disks: BTreeMap<&'static str, SmallDisk>,
    dir: TempDir,
}

impl Cluster {
    /// Starts a cluster; `tag` keeps it apart from those of other tests. Ready when its node is.
    #[track_caller]
    pub fn start(tag: &str, layout: Layout) -> Self {
        let mut cluster = Self::prepare(tag, layout);
        cluster.start_processes();
        cluster.wait_node_ready("first");
        cluster
    }

    /// The same in one process with further options.
    #[track_caller]
    pub fn start_with(tag: &str, options: &[(&str, &str)]) -> Self {
        let mut cluster = Self::prepare(tag, Layout::OneProcess);
        cluster.start_prepared(options);
        cluster
    }

    /// The same of a cluster that was prepared, whose machines have got something else meanwhile.
    #[track_caller]
    pub fn start_prepared(&mut self, options: &[(&str, &str)]) {
        self.options = flags(options);
        self.start_processes();
        self.wait_node_ready("first");
    }

    /// Makes the machines and the empty directories; nothing runs yet.
    pub fn prepare(tag: &str, layout: Layout) -> Self {
        Self::prepare_on(Machines::new(tag), tag, layout)
    }

    /// The same on machines that are there already.
    pub fn prepare_on(machines: Machines, tag: &str, layout: Layout) -> Self {
        let dir = TempDir::with_prefix(format!("skiff-e2e-{tag}-")).expect("a temporary directory can be made");
        Self { layout, options: Vec::new(), machines, processes: Vec::new(), agent: None, disks: BTreeMap::new(), dir }
    }

    /// Gives a directory of the first machine's data directory a disk of its own, of so many MiB.
    pub fn mount_disk(&mut self, dir: &'static str, mebibytes: u32) {
        let disk = SmallDisk::mount(&self.data_dir().join(dir), mebibytes);
        self.disks.insert(dir, disk);
    }

    /// The disk of such a directory.
    #[track_caller]
    pub fn disk(&self, dir: &str) -> &SmallDisk {
        self.disks.get(dir).expect("it has been given one")
    }

    /// Starts the processes of the first machine, over whatever an earlier run left in the directories.
    #[track_caller]
    pub fn start_processes(&mut self) {
        match self.layout {
            Layout::OneProcess => {
                let mut arguments = self.arguments("server");
                let usual = [
                    ("--node-name", "first"),
                    ("--node-ip", Machines::FIRST_IP),
                    ("--node-monitor-grace-period", GRACE_PERIOD),
                    ("--container-log-max-size", LOG_SIZE),
                    ("--container-log-max-files", LOG_FILES),
                    ("--image-gc-high-threshold", NO_IMAGE_GC),
                ];
                let said = |name: &str| self.options.iter().any(|option| option == name);
                arguments.extend(usual.iter().filter(|(name, _)| !said(name)).flat_map(|pair| flags(&[*pair])));
                arguments.extend(self.options.clone());
                if !self.options.iter().any(|option| option == "--eviction-hard") {
                    arguments.extend(flags(&[("--eviction-hard", NO_EVICTION)]));
                }
                self.spawn("server", &arguments);
            }
            Layout::Separate => self.start_parts(GRACE_PERIOD, LOG_FILES),
            Layout::SeparatePatient => self.start_parts(PATIENT_GRACE_PERIOD, ALL_LOG_FILES),
            Layout::ApiServer(further) => self.start_apiserver(further),
        }
    }

    fn start_apiserver(&mut self, further: &[(&str, &str)]) {
        let mut apiserver = self.arguments("apiserver");
        apiserver.extend(flags(&[("--advertise-address", Machines::FIRST_IP)]));
        apiserver.extend(flags(further));
        self.spawn("apiserver", &apiserver);
        let written = self.kubeconfig();
        testkit::until(START_DEADLINE, "the administrator's kubeconfig", || written.is_file().then_some(()));
    }

    fn start_parts(&mut self, grace_period: &str, log_files: &str) {
        self.start_apiserver(&[]);
        self.spawn("runtime", &self.arguments("runtime"));
        for (part, user, groups) in PARTS {
            let kubeconfig = self.dir.path().join(format!("{part}.kubeconfig"));
            self.write_kubeconfig(&kubeconfig, user, groups);
            let mut arguments = self.arguments(part);
            arguments.extend(flags(&[("--kubeconfig", &kubeconfig.to_string_lossy())]));
            match *part {
                "controller-manager" => arguments.extend(flags(&[("--node-monitor-grace-period", grace_period)])),
                "kubelet" => {
                    let pki = self.data_dir().join("pki");
                    let file = |name: &str| pki.join(name).to_string_lossy().into_owned();
                    arguments.extend(flags(&[
                        ("--hostname-override", "first"),
                        ("--node-ip", Machines::FIRST_IP),
                        ("--client-ca-file", &file("client-ca.crt")),
                        ("--container-log-max-size", LOG_SIZE),
                        ("--container-log-max-files", log_files),
                        ("--image-gc-high-threshold", NO_IMAGE_GC),
                        ("--eviction-hard", NO_EVICTION),
                    ]));
                }
                "proxy" => arguments.extend(flags(&[("--hostname-override", "first")])),
                _ => {}
            }
            self.spawn(part, &arguments);
        }
    }

    /// Writes a kubeconfig for somebody on the first machine.
    pub fn write_kubeconfig(&self, out: &Path, user: &str, groups: &[&str]) {
        let mut command = Command::new(skiff_binary());
        command.arg("kubeconfig").arg("--data-dir").arg(self.data_dir()).arg("--run-dir").arg(self.run_dir());
        command.args(["--user", user, "--server", "https://127.0.0.1:6443", "--out"]).arg(out);
        command.args(groups.iter().flat_map(|group| ["--group", group]));
        let output = command.output().expect("the binary runs");
        assert!(output.status.success(), "skiff kubeconfig: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn arguments(&self, command: &str) -> Vec<String> {
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let mut arguments = vec![command.to_owned()];
        arguments.extend(flags(&[
            ("--data-dir", &path(self.data_dir())),
            ("--run-dir", &path(self.run_dir())),
            ("--write-kubeconfig", &path(self.kubeconfig())),
        ]));
        arguments
    }

    fn spawn(&mut self, name: &str, arguments: &[String]) {
        let log = self.log(name);
        self.processes.push(Process::start(name, self.machines.first(), arguments, &log));
    }

    /// Kills every process of the first machine at once; containers stay.
    pub fn kill(&mut self) {
        for mut process in self.processes.drain(..) {
            process.kill();
        }
    }

    /// Joins the second machine as node `second`. Ready when the node is.
    #[track_caller]
    pub fn join_second(&mut self) {
        let (data, run) = (self.dir.path().join("data-second"), self.dir.path().join("run-second"));
        let mut arguments = vec!["agent".to_owned()];
        arguments.extend(flags(&[
            ("--data-dir", &data.to_string_lossy()),
            ("--run-dir", &run.to_string_lossy()),
            ("--server", &format!("https://{}:6443", Machines::FIRST_IP)),
            ("--token-file", &self.data_dir().join("server/token").to_string_lossy()),
            ("--node-name", "second"),
            ("--node-ip", Machines::SECOND_IP),
            ("--image-gc-high-threshold", NO_IMAGE_GC),
            ("--eviction-hard", NO_EVICTION),
        ]));
        self.agent = Some(Process::start("agent", self.machines.second(), &arguments, &self.log("agent")));
        self.wait_node_ready("second");
        crate::build_hello(&data, &run, "1", &[]);
    }

    /// Takes the second machine away, as a power failure would: nothing of it runs on.
    pub fn fail_second(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.kill();
        }
        self.down("data-second", "run-second", self.machines.second(), &["--purge"]);
    }

    #[track_caller]
    fn wait_node_ready(&mut self, node: &str) {
        let kubectl = self.kubectl();
        testkit::until(START_DEADLINE, &format!("node {node} to be ready\n{}", self.logs(15)), || {
            for process in self.processes.iter_mut().chain(&mut self.agent) {
                process.assert_running();
            }
            let node = kubectl.try_json(&["get", "node", node])?;
            let conditions = node["status"]["conditions"].as_array()?;
            conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True").then_some(())
        });
    }

    /// Builds the image of the example on the first node.
    #[track_caller]
    pub fn build_hello(&self, version: &str) {
        self.build_hello_with(version, &[]);
    }

    /// The same with further options of `skiff image build`.
    #[track_caller]
    pub fn build_hello_with(&self, version: &str, further: &[&str]) {
        crate::build_hello(&self.data_dir(), &self.run_dir(), version, further);
    }

    /// kubectl on the first machine.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(self.machines.first(), &self.kubeconfig())
    }

    /// The machines.
    pub fn machines(&self) -> &Machines {
        &self.machines
    }

    /// The first machine's processes.
    pub fn processes(&mut self) -> &mut [Process] {
        &mut self.processes
    }

    /// The process ids of the cluster's own processes.
    pub(crate) fn own_processes(&self) -> Vec<u32> {
        self.processes.iter().chain(&self.agent).map(Process::id).collect()
    }

    /// The process of the first machine that runs this part, or everything.
    #[track_caller]
    pub fn part(&mut self, name: &str) -> &mut Process {
        self.processes.iter_mut().find(|process| process.name() == name).expect("there is such a process")
    }

    /// The address of a NodePort on the first machine.
    pub fn node_port(&self, port: u16) -> SocketAddr {
        SocketAddr::new(Machines::FIRST_IP.parse().expect("an address"), port)
    }

    /// The data directory of the first machine.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The run directory of the first machine.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// The log files of a pod on the first machine, rotated ones included, but for those that are being compressed.
    pub fn log_files(&self, namespace: &str, pod: &str) -> Vec<PathBuf> {
        let logs = self.data_dir().join("log/pods");
        let prefix = format!("{namespace}_{pod}_");
        let is_of_pod = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&prefix);
        let pods = std::fs::read_dir(&logs).expect("pods have logs").flatten().filter(is_of_pod);
        let containers = pods.flat_map(|pod| std::fs::read_dir(pod.path()).into_iter().flatten().flatten());
        let files =
            containers.flat_map(|container| std::fs::read_dir(container.path()).into_iter().flatten().flatten());
        files.map(|file| file.path()).filter(|path| path.extension().is_none_or(|end| end != "tmp")).collect()
    }

    /// The administrator's kubeconfig, which the API server writes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// The last lines of every process's log.
    pub fn logs(&self, lines: usize) -> String {
        let processes = self.processes.iter().chain(&self.agent);
        processes.map(|process| process.log_tail(lines)).collect::<Vec<_>>().join("\n--\n")
    }

    /// Stops everything and removes it; what the kernel still carries of it afterwards.
    #[track_caller]
    pub fn remove(&mut self) -> Vec<String> {
        if let Some(mut agent) = self.agent.take() {
            agent.stop();
        }
        for mut process in self.processes.drain(..).rev() {
            process.stop();
        }
        self.down_all();
        self.leftovers()
    }

    fn down_all(&mut self) {
        self.down("data-second", "run-second", self.machines.second(), &["--purge"]);
        if !self.disks.is_empty() {
            // What uses the disks goes before them, and what they are mounted on after them.
            self.down("data", "run", self.machines.first(), &[]);
            self.disks.clear();
        }
        self.down("data", "run", self.machines.first(), &["--purge"]);
    }

    fn down(&self, data: &str, run: &str, namespace: &str, further: &[&str]) {
        let (data, run) = (self.dir.path().join(data), self.dir.path().join(run));
        if !data.exists() {
            return;
        }
        let mut command = crate::machine::inside(namespace, &skiff_binary().to_string_lossy());
        command.arg("down").args(further).arg("--data-dir").arg(&data).arg("--run-dir").arg(&run);
        // Only the machine that wrote the kubeconfig takes it away.
        let kubeconfig = if namespace == self.machines.first() { self.kubeconfig() } else { data.join("kubeconfig") };
        command.arg("--write-kubeconfig").arg(kubeconfig);
        match command.output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("skiff down: {}", String::from_utf8_lossy(&output.stderr)),
            Err(err) => eprintln!("skiff down: {err}"),
        }
    }

    /// Mounts, processes, interfaces, tables and cgroups that still carry this cluster's names.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let dir = self.dir.path().to_string_lossy().into_owned();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        found.extend(mounts.lines().filter(|line| line.contains(&dir)).map(|line| format!("mount {line}")));
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&dir) {
                found.push(format!("process {line}"));
            }
        }
        for (run, namespace) in [("run", self.machines.first()), ("run-second", self.machines.second())] {
            let name = base::Instance::new("", self.dir.path().join(run)).name();
            let looks: [&[&str]; 2] = [&["ip", "-o", "link"], &["nft", "list", "tables"]];
            for look in looks {
                let mut command = crate::machine::inside(namespace, look[0]);
                let output = command.args(&look[1..]).output().expect("the tool is installed");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let foreign = |line: &&str| line.contains("skiff") || line.contains("veth");
                found.extend(text.lines().filter(foreign).map(|line| format!("{namespace}: {line}")));
            }
            let find = Command::new("find").args(["/sys/fs/cgroup", "-maxdepth", "3", "-name", &name]).output();
            let text = find.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            found.extend(text.lines().map(|line| format!("cgroup {line}")));
        }
        found
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs(60));
            if std::env::var_os("SKIFF_E2E_KEEP").is_some() {
                eprintln!("kept: {}", self.dir.path().display());
                self.dir.disable_cleanup(true);
            }
        }
        self.agent = None;
        self.processes.clear();
        self.down_all();
    }
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
}
