//! The real kubectl (and Helm), against one cluster.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine;

/// kubectl with a cluster's kubeconfig, run on one of its machines.
#[derive(Clone, Debug)]
pub struct Kubectl {
    namespace: String,
    kubeconfig: PathBuf,
    speaks_spdy: bool,
}

/// How long a tool that is to end by itself may run, and one that goes on may take to print what is awaited: longer than
/// anything takes, so that one that hangs is told of by the test that waits for it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where a tool is.
fn program(tool: &str) -> String {
    let program = crate::workspace().join("target/tools").join(tool);
    assert!(program.is_file(), "{} is missing: run `make tools`", program.display());
    program.to_string_lossy().into_owned()
}

/// A tool that goes on until it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    /// Waits for a line of its output that `accept` takes.
    #[track_caller]
    pub fn line(&mut self, accept: impl Fn(&str) -> bool) -> String {
        self.find(accept).unwrap_or_else(|text| panic!("{text}"))
    }

    fn find(&mut self, accept: impl Fn(&str) -> bool) -> Result<String, String> {
        let (begun, mut last) = (Instant::now(), String::new());
        while let Ok(line) = self.lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
            if accept(&line) {
                return Ok(line);
            }
            last = line;
        }
        let _ = self.child.kill();
        let mut errors = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut errors);
        }
        Err(format!("the awaited line did not come; last: {last:?}\n{errors}"))
    }

    /// Sends a line to its input.
    pub fn say(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("standard input is a pipe");
        writeln!(input, "{line}").expect("it reads");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Kubectl {
    pub(crate) fn new(namespace: &str, kubeconfig: &Path) -> Self {
        Self { namespace: namespace.to_owned(), kubeconfig: kubeconfig.to_owned(), speaks_spdy: false }
    }

    /// A kubectl that speaks what older ones do: SPDY alone.
    pub fn old(&self) -> Self {
        Self { speaks_spdy: true, ..self.clone() }
    }

    fn spawn(&self, tool: &str, arguments: &[&str]) -> Child {
        self.spawn_program(&program(tool), arguments)
    }

    fn spawn_program(&self, program: &str, arguments: &[&str]) -> Child {
        let home = self.home();
        let mut command = machine::inside(&self.namespace, program);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).env("HOME", home).current_dir(home);
        if self.speaks_spdy {
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("nsenter is installed")
    }

    /// Starts a program that is to end by itself, and is ended where it does not.
    fn spawn_bounded(&self, program: &str, arguments: &[&str]) -> Child {
        self.spawn_program(
            "timeout",
            &[&["--kill-after=5", &PATIENCE.as_secs().to_string(), program][..], arguments].concat(),
        )
    }

    fn output(&self, tool: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = self.spawn_bounded(&program(tool), arguments);
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        // A tool that does not read its input closes it early.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("the child is ours")
    }

    #[track_caller]
    fn succeed(&self, tool: &str, arguments: &[&str], input: &str) -> String {
        let output = self.output(tool, arguments, input);
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{tool} {arguments:?}: {}\n{stdout}{stderr}", output.status);
        stdout
    }

    /// Runs kubectl; what it printed. Fails the test where kubectl fails.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> String {
        self.succeed("kubectl", arguments, "")
    }

    /// Runs kubectl with an input.
    #[track_caller]
    pub fn run_with(&self, arguments: &[&str], input: &str) -> String {
        self.succeed("kubectl", arguments, input)
    }

    /// Starts kubectl.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self.spawn("kubectl", arguments);
        let lines = BufReader::new(child.stdout.take().expect("standard output is a pipe")).lines();
        let (sender, receiver) = mpsc::channel();
        // It ends with the pipe, which ends with the tool.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines: receiver }
    }

    /// Runs kubectl in a terminal of 101 columns and 33 rows; what the terminal showed.
    #[track_caller]
    pub fn in_terminal(&self, arguments: &str, input: &str) -> String {
        let kubectl = crate::workspace().join("target/tools/kubectl");
        let line = format!("stty cols 101 rows 33; exec {} {arguments}", kubectl.display());
        let mut child = self.spawn_program("script", &["-qec", &line, "/dev/null"]);
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(input.as_bytes()).expect("script reads");
        // The terminal stays until the command has ended.
        let output = child.wait_with_output().expect("the child is ours");
        drop(stdin);
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "kubectl {arguments}: {}\n{stdout}{stderr}", output.status);
        stdout
    }

    /// Runs a program with the kubeconfig in its environment; what it printed.
    #[track_caller]
    pub fn program(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let mut child = self.spawn_bounded(program, arguments);
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the child is ours");
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{program}: {}\n{stdout}{stderr}", output.status);
        stdout
    }

    /// The same cluster as it is seen from a directory of its own: `namespace`, which is made, is the default.
    #[track_caller]
    pub fn in_namespace(&self, namespace: &str, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the directory can be made");
        let kubeconfig = dir.join("kubeconfig");
        std::fs::copy(&self.kubeconfig, &kubeconfig).expect("the kubeconfig can be copied");
        let own = Self { kubeconfig, ..self.clone() };
        own.run(&["config", "set-context", "--current", "--namespace", namespace]);
        own.run(&["create", "namespace", namespace]);
        own
    }

    /// Where its kubeconfig is, its home.
    pub fn home(&self) -> &Path {
        self.kubeconfig.parent().expect("a file has a folder")
    }

    /// Runs a line in a shell that finds all tools and the Python client; what it printed, errors and all, and its exit
    /// code.
    pub fn shell(&self, line: &str) -> (String, i32) {
        let tools = crate::workspace().join("target/tools");
        let tools = tools.display();
        let script = format!("exec 2>&1\nexport PATH={tools}:$PATH PYTHONPATH={tools}/python\n{line}");
        let child = self.spawn_bounded("sh", &["-c", &script]);
        let output = child.wait_with_output().expect("the child is ours");
        (texts(&output).0, output.status.code().unwrap_or(-1))
    }

    /// Runs Helm likewise.
    #[track_caller]
    pub fn helm(&self, arguments: &[&str]) -> String {
        self.succeed("helm", arguments, "")
    }

    /// Runs kubectl, which must fail; what it printed on standard error.
    #[track_caller]
    pub fn fail(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output("kubectl", arguments, input);
        let (stdout, stderr) = texts(&output);
        assert!(!output.status.success(), "kubectl {arguments:?} succeeded:\n{stdout}{stderr}");
        stderr
    }

    /// `kubectl apply -f -` with a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> String {
        self.succeed("kubectl", &["apply", "-f", "-"], manifest)
    }

    /// `kubectl get ... -o json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// The same, or nothing where kubectl fails (a server that is down, an object that is not there).
    pub fn try_json(&self, arguments: &[&str]) -> Option<Value> {
        let output = self.output("kubectl", &[arguments, &["-o", "json", "--request-timeout=5s"]].concat(), "");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
    }

    /// Waits until `kubectl get ARGUMENTS -o jsonpath=PATH` prints what `accept` takes.
    #[track_caller]
    pub fn wait(&self, arguments: &[&str], path: &str, deadline: Duration, accept: impl Fn(&str) -> bool) -> String {
        let template = format!("-o=jsonpath={path}");
        let mut last = String::new();
        let what = format!("{arguments:?} {path}");
        let found = testkit::poll(deadline, || {
            let output = self.output("kubectl", &[&["get"], arguments, &[template.as_str()]].concat(), "");
            last = texts(&output).0;
            (output.status.success() && accept(&last)).then(|| last.clone())
        });
        found.unwrap_or_else(|| panic!("timed out waiting for {what}; last: {last:?}\n{}", self.state()))
    }

    /// What a person would look at first.
    pub fn state(&self) -> String {
        let looks: [&[&str]; 3] = [
            &["get", "nodes,pods,deployments,replicasets,endpointslices", "-A", "-o", "wide"],
            &["get", "events", "-A"],
            &["describe", "pods"],
        ];
        looks.map(|arguments| texts(&self.output("kubectl", arguments, "")).0).join("\n")
    }

    /// Starts a kubectl that goes on printing, and waits for a line that `accept` takes; then ends it.
    #[track_caller]
    pub fn stream(&self, arguments: &[&str], accept: impl Fn(&str) -> bool) {
        if let Err(text) = self.start(arguments).find(accept) {
            panic!("kubectl {arguments:?}: {text}\n{}", self.state());
        }
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}
