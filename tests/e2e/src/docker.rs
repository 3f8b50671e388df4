//! Debian's Docker Engine and `skiff cri-docker` before it, as a node's container runtime.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use crate::images::archives;
use crate::machine;
use crate::process::Process;

/// How long Docker Engine or the adapter may take to come up on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Docker Engine with the images of the tests, and the adapter. Dropping it ends them and what they run.
#[derive(Debug)]
pub struct Docker {
    adapter: Process,
    engine: Process,
    namespace: String,
    dir: TempDir,
}

impl Docker {
    /// Starts both in a network namespace.
    #[track_caller]
    pub fn start(namespace: &str) -> Self {
        let dir = TempDir::with_prefix("skiff-dkr-").expect("a temporary directory can be made");
        let archives = archives(namespace, dir.path());
        for directory in ["bin", "net.d"] {
            std::fs::create_dir(dir.path().join(directory)).expect("a directory");
        }
        let engine = start_engine(namespace, dir.path());
        let adapter = start_adapter(namespace, dir.path());
        let docker = Self { adapter, engine, namespace: namespace.to_owned(), dir };
        // The adapter makes its own image for what holds a pod's namespaces.
        for archive in archives.iter().filter(|archive| !archive.ends_with("pause.tar")) {
            docker.docker(&["load", "--input", &archive.to_string_lossy()]);
        }
        docker
    }

    /// What makes it a node's runtime.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        vec![
            ("--container-runtime-endpoint", format!("unix://{}", path("cri-docker.sock"))),
            ("--cni-conf-dir", path("net.d")),
            ("--cni-bin-dir", path("bin")),
        ]
    }

    /// Kills the adapter and starts another one.
    #[track_caller]
    pub fn restart_adapter(&mut self) {
        self.adapter.kill();
        self.adapter = start_adapter(&self.namespace, self.dir.path());
    }

    /// The ids of all containers that it has.
    pub fn containers(&self) -> Vec<String> {
        self.docker(&["ps", "--all", "--quiet"]).split_whitespace().map(str::to_owned).collect()
    }

    /// The files that were put beside its own to reach the pod network, and those that tell how pods are connected.
    pub fn network_files(&self) -> Vec<PathBuf> {
        let directories = ["net.d", "bin", "cni/results"].map(|dir| std::fs::read_dir(self.dir.path().join(dir)));
        directories.into_iter().flatten().flatten().flatten().map(|file| file.path()).collect()
    }

    fn try_docker(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.arg("--host").arg(format!("unix://{}", self.dir.path().join("docker.sock").display())).args(arguments);
        command.output().expect("docker.io is installed")
    }

    #[track_caller]
    fn docker(&self, arguments: &[&str]) -> String {
        let output = self.try_docker(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.engine.log_tail(20), self.adapter.log_tail(20));
        }
        self.adapter.kill();
        // Those of a test that failed: it ends faster without.
        let left = self.try_docker(&["ps", "--all", "--quiet"]);
        for container in String::from_utf8_lossy(&left.stdout).split_whitespace() {
            self.try_docker(&["rm", "--force", container]);
        }
        // Asked to, it ends its own containerd too.
        if self.engine.try_stop(PATIENCE).is_none() {
            eprintln!("Docker Engine does not end, and is killed");
            self.engine.kill();
        }
        // The engine binds its own network namespace here, and leaves it so: the directory could not be removed.
        machine::unmount_below(self.dir.path());
    }
}

#[track_caller]
fn start_engine(namespace: &str, dir: &Path) -> Process {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let directories = [("--data-root", "root"), ("--exec-root", "exec"), ("--pidfile", "docker.pid")];
    let mut arguments = vec!["--host".to_owned(), format!("unix://{}", path("docker.sock"))];
    arguments.extend(directories.into_iter().flat_map(|(option, name)| [option.to_owned(), path(name)]));
    // The node connects pods, and rules over packets.
    let alone = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"];
    arguments.extend(alone.map(str::to_owned));
    arguments.extend(["--oom-score-adjust=0", "--shutdown-timeout=1"].map(str::to_owned));
    let program = Path::new("/usr/sbin/dockerd");
    let mut engine = Process::start_program(program, "dockerd", namespace, &arguments, &dir.join("dockerd.log"));
    let socket = dir.join("docker.sock");
    testkit::until(PATIENCE, "Docker Engine", || {
        engine.assert_running();
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    engine
}

#[track_caller]
fn start_adapter(namespace: &str, dir: &Path) -> Process {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let options = [
        ("--data-dir", path("adapter")),
        ("--run-dir", path("adapter-run")),
        ("--listen", path("cri-docker.sock")),
        ("--docker-endpoint", format!("unix://{}", path("docker.sock"))),
        ("--cni-conf-dir", path("net.d")),
        ("--cni-bin-dir", path("bin")),
        ("--cni-cache-dir", path("cni")),
    ];
    let options = options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]);
    let arguments: Vec<String> = std::iter::once("cri-docker".to_owned()).chain(options).collect();
    let mut adapter = Process::start("cri-docker", namespace, &arguments, &dir.join("cri-docker.log"));
    let socket = dir.join("cri-docker.sock");
    testkit::until(PATIENCE, "the Docker adapter", || {
        adapter.assert_running();
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    adapter
}
