//! Processes that a test starts and ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::machine;

/// The binary under test: `SKIFF_BIN`, or the newest build of this checkout.
pub fn skiff_binary() -> PathBuf {
    let built = || {
        let target = crate::workspace().join("target/x86_64-unknown-linux-gnu");
        let candidates = ["release", "debug"].map(|profile| target.join(profile).join("skiff"));
        let age = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
        candidates.into_iter().filter(|path| path.is_file()).max_by_key(age)
    };
    let path = std::env::var_os("SKIFF_BIN").map(PathBuf::from).or_else(built);
    path.expect("build the binary first: cargo build -p skiff, or set SKIFF_BIN")
}

/// A running program, `skiff` most of all, with its log in a file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    namespace: String,
    arguments: Vec<String>,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// How many files it may open without asking for more, as most systems have it.
    pub const OPEN_FILES: u64 = 1024;

    /// Starts `skiff ARGUMENTS` in a network namespace; standard error goes to `log`, which is appended to.
    pub fn start(name: &str, namespace: &str, arguments: &[String], log: &Path) -> Self {
        Self::start_program(&skiff_binary(), name, namespace, arguments, log)
    }

    /// The same for another program.
    pub fn start_program(program: &Path, name: &str, namespace: &str, arguments: &[String], log: &Path) -> Self {
        let child = spawn(program, namespace, arguments, log);
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            namespace: namespace.to_owned(),
            arguments: arguments.to_owned(),
            child,
            log: log.to_owned(),
        }
    }

    /// Ends it at once, and starts it again as it was started.
    pub fn crash(&mut self) {
        self.kill();
        self.child = spawn(&self.program, &self.namespace, &self.arguments, &self.log);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("process ids fit"));
        // It may have ended by itself.
        let _ = kill(pid, signal);
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Asks it to end and waits for that.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(Duration::from_secs(30))
    }

    /// Asks it to end; how it did, unless it takes longer than this.
    pub fn try_stop(&mut self, deadline: Duration) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        testkit::poll(deadline, || self.child.try_wait().expect("the child is ours"))
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        testkit::until(deadline, &what, || self.child.try_wait().expect("the child is ours"))
    }

    /// Fails the test if it has ended.
    #[track_caller]
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the child is ours") {
            panic!("{} ended with {status}:\n{}", self.name, self.log_tail(40));
        }
    }

    /// What it was called when it was started.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

fn spawn(program: &Path, namespace: &str, arguments: &[String], log: &Path) -> Child {
    let file = File::options().create(true).append(true).open(log).expect("the log can be written");
    let errors = file.try_clone().expect("a file can be cloned");
    let mut command = machine::inside(namespace, "prlimit");
    command
        .arg(format!("--nofile={}:", Process::OPEN_FILES))
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .env_remove("KUBECONFIG");
    command.spawn().expect("nsenter is installed")
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
