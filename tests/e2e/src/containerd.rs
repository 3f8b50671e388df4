//! Debian's containerd, as a node's container runtime.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::images::{PAUSE, archives};
use crate::machine;
use crate::process::Process;

/// A running containerd with the images of the tests. Dropping it ends it and what it runs.
#[derive(Debug)]
pub struct Containerd {
    process: Process,
    dir: TempDir,
}

impl Containerd {
    /// Starts one in a network namespace.
    #[track_caller]
    pub fn start(namespace: &str) -> Self {
        Self::start_with(namespace, false)
    }

    /// The same, whose runc has systemd make the cgroups of containers, if that is wanted.
    #[track_caller]
    pub fn start_with(namespace: &str, systemd_cgroup: bool) -> Self {
        let dir = TempDir::with_prefix("skiff-ctd-").expect("a temporary directory can be made");
        let archives = archives(namespace, dir.path());
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let config = format!(
            r#"
version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "{PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin}"
    conf_dir = "{conf}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = {systemd_cgroup}
"#,
            root = path("root"),
            state = path("state"),
            socket = path("containerd.sock"),
            opt = path("opt"),
            bin = path("bin"),
            conf = path("net.d"),
        );
        std::fs::write(dir.path().join("config.toml"), config).expect("written");
        // Its own plugin for the loopback interface; ours comes beside it.
        std::fs::create_dir(dir.path().join("bin")).expect("a directory");
        let loopback = dir.path().join("bin/loopback");
        std::os::unix::fs::symlink("/usr/lib/cni/loopback", loopback).expect("a link");
        let arguments = ["--config".to_owned(), path("config.toml")];
        let log = dir.path().join("containerd.log");
        let program = Path::new("/usr/bin/containerd");
        let mut process = Process::start_program(program, "containerd", namespace, &arguments, &log);
        testkit::until(Duration::from_secs(60), "containerd", || {
            process.assert_running();
            std::os::unix::net::UnixStream::connect(dir.path().join("containerd.sock")).ok()
        });
        let containerd = Self { process, dir };
        for archive in archives {
            containerd.ctr(&["images", "import", &archive.to_string_lossy()]);
        }
        containerd
    }

    /// The directory of all that it has, which its command lines and those of its shims name.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where it serves CRI.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    /// What makes it a node's runtime.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.dir.path().join(name).to_string_lossy().into_owned();
        vec![
            ("--container-runtime-endpoint", format!("unix://{}", self.socket().display())),
            ("--cni-conf-dir", path("net.d")),
            ("--cni-bin-dir", path("bin")),
        ]
    }

    /// The ids of all containers that it has.
    pub fn containers(&self) -> Vec<String> {
        self.ctr(&["containers", "ls", "-q"]).split_whitespace().map(str::to_owned).collect()
    }

    /// The files that were put beside its own to reach the pod network.
    pub fn network_files(&self) -> Vec<PathBuf> {
        let files = ["net.d", "bin"].map(|dir| std::fs::read_dir(self.dir.path().join(dir)).into_iter().flatten());
        let files = files.into_iter().flatten().flatten().map(|file| file.path());
        files.filter(|file| !file.ends_with("loopback")).collect()
    }

    /// Where something of pods is mounted: their network namespaces, shared memory and root filesystems.
    pub fn mounts(&self) -> Vec<PathBuf> {
        machine::mounts_below(self.dir.path())
    }

    #[track_caller]
    fn ctr(&self, arguments: &[&str]) -> String {
        let output = self.try_ctr(arguments);
        assert!(output.status.success(), "ctr {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn try_ctr(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.socket()).args(["--namespace", "k8s.io"]);
        command.args(arguments).output().expect("containerd is installed")
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.process.log_tail(30));
        }
        let tasks = self.try_ctr(&["tasks", "ls", "-q"]);
        for task in String::from_utf8_lossy(&tasks.stdout).split_whitespace() {
            self.try_ctr(&["tasks", "rm", "--force", task]);
        }
        self.process.kill();
        // Those of pods that nobody has removed.
        machine::unmount_below(self.dir.path());
    }
}
